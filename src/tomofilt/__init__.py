"""Filtered back-projection for cryo-electron tomography.

The names below are the library's face. Each is loaded when it is first used, so that importing
tomofilt costs nothing.

========================  ==========================================================================
:func:`open`              a tilt series from an IMOD folder, a RELION STAR file or another project,
                          with :class:`SeriesOptions`: its views, pixel size and box
:class:`TiltSeries`       its images, geometry, exposure and CTF; ``select`` takes some of its views
:func:`aligned`           its images on the tilt axis, an :class:`AlignedStack`
:class:`Operator`         projection ``A`` and back-projection ``A.T``, with gradients in torch
:class:`Filter`           what a filter is; :class:`RampTimes` makes one of a function of frequency
:class:`Settings`         everything that can be chosen about a reconstruction
:func:`tomogram`          a tomogram in memory
:func:`reconstruct`       a tomogram on disk, with its record and its picture
:func:`read_volume`       an MRC file into an array; :func:`write_volume` the other way round
:func:`save_filter`       a filter of one's own as a bundle for ``tomofilt reconstruct -m``
:func:`to_tomosipo`       the geometry for tomosipo; :func:`to_astra` for ASTRA
:func:`simulated_series`  a tilt series of a known specimen
========================  ==========================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tomofilt.align.stack import AlignedStack
    from tomofilt.errors import InputError, OutputError, ResourceError, TomofiltError
    from tomofilt.filters.analytic import RampTimes
    from tomofilt.filters.learned import save_filter
    from tomofilt.filters.protocol import Filter
    from tomofilt.io.volumes import read_volume, write_volume
    from tomofilt.jobs.one import reconstruct
    from tomofilt.projectors.operator import Operator
    from tomofilt.projectors.vectors import to_astra, to_tomosipo
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.reconstruction.solve import aligned, tomogram
    from tomofilt.series.projects import SeriesOptions
    from tomofilt.series.projects import open_series as open
    from tomofilt.series.tiltseries import TiltSeries
    from tomofilt.simulate.series import simulated_series

__version__ = "0.1.0"

__all__ = [
    "AlignedStack",
    "Filter",
    "InputError",
    "Operator",
    "OutputError",
    "RampTimes",
    "ResourceError",
    "SeriesOptions",
    "Settings",
    "TiltSeries",
    "TomofiltError",
    "__version__",
    "aligned",
    "open",
    "read_volume",
    "reconstruct",
    "save_filter",
    "simulated_series",
    "to_astra",
    "to_tomosipo",
    "tomogram",
    "write_volume",
]

#: Where each name is, and what it is called there if that is something else.
_HOMES = {
    "AlignedStack": "align.stack",
    "Filter": "filters.protocol",
    "InputError": "errors",
    "Operator": "projectors.operator",
    "OutputError": "errors",
    "RampTimes": "filters.analytic",
    "ResourceError": "errors",
    "SeriesOptions": "series.projects",
    "Settings": "reconstruction.settings",
    "TiltSeries": "series.tiltseries",
    "TomofiltError": "errors",
    "aligned": "reconstruction.solve",
    "open": "series.projects:open_series",
    "read_volume": "io.volumes",
    "reconstruct": "jobs.one",
    "save_filter": "filters.learned",
    "simulated_series": "simulate.series",
    "to_astra": "projectors.vectors",
    "to_tomosipo": "projectors.vectors",
    "tomogram": "reconstruction.solve",
    "write_volume": "io.volumes",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        module, _, there = _HOMES[name].partition(":")
        value: object = getattr(import_module(f"tomofilt.{module}"), there or name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tomofilt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
