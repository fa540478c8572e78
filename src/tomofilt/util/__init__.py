"""Small tools that any program could use: threads, numba kernels, progress."""
