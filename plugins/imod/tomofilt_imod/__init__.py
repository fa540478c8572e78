"""IMOD folders as tomofilt projects: alignment, geometry and options from etomo's files."""
