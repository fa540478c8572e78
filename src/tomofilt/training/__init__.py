"""Filters learned from tilt series of which the truth is known."""
