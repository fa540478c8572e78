"""How Hypothesis runs: without clocks, which tell of the machine and not of the code.

And how Triton does where there is no GPU: its kernels are interpreted. Triton must know before it
is imported, be it by torch.
"""

import os

import pytest
from hypothesis import settings

from tomofilt.projectors.gpu import DRIVER_FILES

settings.register_profile("tomofilt", deadline=None)
settings.load_profile("tomofilt")

if not any(path.exists() for path in DRIVER_FILES):
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def cuda(monkeypatch):
    """Two GPUs of :mod:`fake_cuda`, with ASTRA and Triton."""
    triton_slice = pytest.importorskip("tomofilt.projectors.triton_slice", reason="no triton here")
    if type(triton_slice.gather_images).__name__ != "InterpretedFunction":
        pytest.skip("there is a GPU: tests/gpu and bench/gpu.py run on it")
    import fake_cuda  # needs torch, which not all tests do

    with fake_cuda.install(monkeypatch) as made:
        yield made
