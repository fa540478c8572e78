"""Filtered back-projection for cryo-electron tomography."""

__version__ = "0.1.0"
