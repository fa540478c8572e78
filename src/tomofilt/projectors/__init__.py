"""Projectors: from images to tomogram and back, on the CPU (default), exactly, and in torch."""
