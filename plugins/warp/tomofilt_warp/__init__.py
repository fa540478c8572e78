"""Warp's tilt series as tomofilt projects: their .xml files and averages."""
