"""Filters learned from tilt series: of known specimens, or from a series itself."""
