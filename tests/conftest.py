"""How Hypothesis runs: without clocks, which tell of the machine and not of the code.

And how Triton does where there is no GPU: its kernels are interpreted. Triton must know before it
is imported, be it by torch.
"""

import os

from hypothesis import settings

from tomofilt.projectors.gpu import DRIVER_FILES

settings.register_profile("tomofilt", deadline=None)
settings.load_profile("tomofilt")

if not any(path.exists() for path in DRIVER_FILES):
    os.environ.setdefault("TRITON_INTERPRET", "1")
