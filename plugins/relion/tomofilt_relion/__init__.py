"""RELION 5 tomography projects for tomofilt: STAR files, geometry, and a step of the pipeline."""
