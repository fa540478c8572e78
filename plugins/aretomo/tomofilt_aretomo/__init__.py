"""AreTomo's alignments as tomofilt projects: .aln files and AreTomo3's output folders."""
