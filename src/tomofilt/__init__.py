"""Filtered back-projection for cryo-electron tomography.

The names below are loaded when first used. The modules hold the rest:
:mod:`tomofilt.jobs.one` makes one tomogram, :mod:`tomofilt.jobs.many` many.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tomofilt.errors import InputError, ResourceError, TomofiltError
    from tomofilt.filters.protocol import Filter
    from tomofilt.filters.registry import parse
    from tomofilt.jobs.many import Job, run
    from tomofilt.projectors.vectors import to_astra, to_tomosipo
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.series.geometry import TiltGeometry, VolumeGrid
    from tomofilt.series.projects import Destination, detect
    from tomofilt.series.tiltseries import TiltSeries

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
    "Destination": "series.projects",
    "Filter": "filters.protocol",
    "InputError": "errors",
    "Job": "jobs.many",
    "ResourceError": "errors",
    "Settings": "reconstruction.settings",
    "TiltGeometry": "series.geometry",
    "TiltSeries": "series.tiltseries",
    "TomofiltError": "errors",
    "VolumeGrid": "series.geometry",
    "detect": "series.projects",
    "parse": "filters.registry",
    "run": "jobs.many",
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
