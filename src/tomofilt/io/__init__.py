"""Files: MRC, STAR, bundles, and writing that leaves whole files or none."""
