"""Filtered back-projection for cryo-electron tomography.

The names below are loaded when first used. The modules hold the rest:
:mod:`tomofilt.reconstruct` makes one tomogram, :mod:`tomofilt.batch` many.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tomofilt.batch import Job, run
    from tomofilt.errors import InputError, ResourceError, TomofiltError
    from tomofilt.filters.protocol import Filter
    from tomofilt.filters.registry import parse
    from tomofilt.geometry import TiltGeometry, VolumeGrid
    from tomofilt.projectors.vectors import to_astra, to_tomosipo
    from tomofilt.projects import Destination, detect
    from tomofilt.settings import Settings
    from tomofilt.tiltseries import TiltSeries

__version__ = "0.1.0"

__all__ = [
    "Destination",
    "Filter",
    "InputError",
    "Job",
    "ResourceError",
    "Settings",
    "TiltGeometry",
    "TiltSeries",
    "TomofiltError",
    "VolumeGrid",
    "__version__",
    "detect",
    "parse",
    "run",
    "to_astra",
    "to_tomosipo",
]

_HOMES = {
    "Destination": "projects",
    "Filter": "filters.protocol",
    "InputError": "errors",
    "Job": "batch",
    "ResourceError": "errors",
    "Settings": "settings",
    "TiltGeometry": "geometry",
    "TiltSeries": "tiltseries",
    "TomofiltError": "errors",
    "VolumeGrid": "geometry",
    "detect": "projects",
    "parse": "filters.registry",
    "run": "batch",
    "to_astra": "projectors.vectors",
    "to_tomosipo": "projectors.vectors",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value: object = getattr(import_module(f"tomofilt.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tomofilt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
