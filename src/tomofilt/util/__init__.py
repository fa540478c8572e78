"""Small helpers that know nothing of tomography: threads, numba kernels, progress."""
