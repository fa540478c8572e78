"""Whether ASTRA can be called on a GPU, found out without calling it.

ASTRA's 3-D operations do not raise where there is no GPU: they kill the process (SIGFPE). So
nothing calls them before :func:`problem` has found driver, torch, ASTRA and GPU in place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tomofilt.errors import ResourceError

__all__ = ["no_gpu", "problem", "require"]

#: One of these exists wherever an NVIDIA driver is loaded: Linux and its containers, and WSL 2.
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@cache
def problem(gpu: int = 0) -> str | None:
    """Why ASTRA cannot be called on a GPU here, and the mend; None when it can.

    Safe on every machine, and quick where there is no driver: torch is not even imported then.
    """
    if not any(path.exists() for path in DRIVER_FILES):
        return "no NVIDIA driver is loaded on this machine"
    return _torch_problem(gpu) or _astra_problem()


def _torch_problem(gpu: int) -> str | None:
    import torch

    built_for = torch.version.cuda
    if built_for is None:
        return f"torch {torch.__version__} is built without CUDA: install a CUDA build of it"
    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} (CUDA {built_for}) finds no GPU: see whether `nvidia-smi` "
            "lists one, whether its driver is recent enough for that CUDA, and what "
            "CUDA_VISIBLE_DEVICES says"
        )
    count = torch.cuda.device_count()
    if gpu >= count:
        return f"there is no GPU {gpu}: they are numbered 0 to {count - 1} here"
    return None


def _astra_problem() -> str | None:
    try:
        import astra
    except ImportError as error:
        return f"ASTRA cannot be imported ({error}): pip install 'tomofilt[astra]'"
    if not hasattr(astra.projector3d, "direct_BP"):
        return f"astra-toolbox {astra.__version__} is too old: 2.5.0 or later is needed"
    if not astra.use_cuda():
        return (
            f"astra-toolbox {astra.__version__} finds no GPU that it can use, though torch does: "
            "install a build of it for this GPU and driver"
        )
    return None


def require(gpu: int) -> None:
    """Raise ResourceError where ASTRA would kill the process."""
    reason = problem(gpu)
    if reason is not None:
        raise no_gpu(gpu, reason)


def no_gpu(gpu: int, reason: str) -> ResourceError:
    """The error for a GPU that was asked for and does not work."""
    return ResourceError(f"GPU {gpu} cannot be used: {reason}; or compute with --device cpu")
