"""Whether a GPU can be called here, found out without calling it.

ASTRA's 3-D operations do not raise where there is no GPU: they kill the process (SIGFPE). So
nothing calls them before :func:`problem` has found driver, torch, ASTRA and GPU in place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from tomofilt.errors import ResourceError

__all__ = ["ENGINES", "Engine", "built_for", "no_gpu", "problem", "require", "triton_problem"]

#: What computes on a GPU.
Engine: TypeAlias = Literal["triton", "astra"]

#: Their names for people, the usual one first.
ENGINES: dict[Engine, str] = {"triton": "Triton", "astra": "ASTRA"}

#: One of these exists wherever a driver is loaded: NVIDIA's on Linux and in its containers and
#: on WSL 2, AMD's.
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


@cache
def problem(gpu: int = 0) -> str | None:
    """Why ASTRA cannot be called on a GPU here, and the mend; None when it can.

    Safe on every machine, and quick where there is no driver: torch is not even imported then.
    """
    return _driver_problem() or _torch_problem(gpu) or _astra_problem()


@cache
def triton_problem(gpu: int = 0) -> str | None:
    """Why Triton's kernels cannot be called on a GPU here, as :func:`problem`."""
    return _driver_problem() or _torch_problem(gpu) or _triton_problem()


def _driver_problem() -> str | None:
    if any(path.exists() for path in DRIVER_FILES):
        return None
    return "no NVIDIA driver, and none of AMD's, is loaded on this machine"


def built_for() -> str:
    """What GPUs torch is built for, ``"CUDA 13.0"`` say; empty where it is for the CPU alone."""
    import torch

    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else ""


def _torch_problem(gpu: int) -> str | None:
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except Exception as error:
        return f"torch fails when it looks for GPUs ({error}): install it again"
    if not built_for():
        return (
            f"torch {torch.__version__} is built without CUDA: install a CUDA build of it "
            "(ROCm for AMD's GPUs)"
        )
    if count == 0:
        return (
            f"torch {torch.__version__} ({built_for()}) finds no GPU: see whether `nvidia-smi` "
            "(AMD: `rocm-smi`) lists one, whether its driver is recent enough, and what "
            "CUDA_VISIBLE_DEVICES says"
        )
    if gpu >= count:
        return f"there is no GPU {gpu}: they are numbered 0 to {count - 1} here"
    return None


def _astra_problem() -> str | None:
    try:
        import astra
    except Exception as error:
        return f"ASTRA cannot be imported ({error}): pip install 'tomofilt[astra]'"
    if not astra.has_feature("cuda"):
        return (
            f"astra-toolbox {astra.__version__} is built without CUDA: "
            "pip install 'tomofilt[astra]'"
        )
    if not hasattr(astra.projector3d, "direct_BP"):
        return f"astra-toolbox {astra.__version__} is too old: 2.5.0 or later is needed"
    if not astra.use_cuda():
        return (
            f"astra-toolbox {astra.__version__} finds no GPU that it can use, though torch does: "
            "install a build of it for this GPU and driver"
        )
    return None


def _triton_problem() -> str | None:
    try:
        import triton  # noqa: F401
    except Exception as error:
        return f"Triton cannot be imported ({error}): it comes with torch for Linux"
    return None


def require(gpu: int, engine: Engine = "astra") -> None:
    """Raise ResourceError where an engine cannot be called; ASTRA would kill the process."""
    reason = problem(gpu) if engine == "astra" else triton_problem(gpu)
    if reason is not None:
        raise no_gpu(gpu, reason)


def no_gpu(gpus: int | str, reason: str) -> ResourceError:
    """The error for GPUs that were asked for and do not work."""
    return ResourceError(f"GPU {gpus} cannot be used: {reason}; or compute with --device cpu")
