"""What tilt.com says besides the geometry: read for ``-f imod``, or told to be unused."""

from __future__ import annotations

import numpy as np

from tomofilt.errors import InputError
from tomofilt.io.text import count, read_numbers
from tomofilt.series.geometry import TiltGeometry
from tomofilt_imod.com import Command
from tomofilt_imod.geometry import TiltOptions
from tomofilt_imod.layout import Layout
from tomofilt_imod.ledger import Ledger
from tomofilt_imod.stacks import Images
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import TiltProgram

__all__ = ["note_unused_options", "read_program"]

_FOLLOWED = (
    "RADIAL",
    "FalloffIsTrueSigma",
    "MultiplyByGaussian",
    "HammingLikeFilter",
    "FakeSIRTiterations",
    "FlatFilterFraction",
    "DENSWEIGHT",
    "COSINTERP",
    "XTILTINTERP",
    "WeightFile",
    "SCALE",
    "MODE",
)
#: With these, ``tilt`` computes something that is not computed here.
_REFUSED = (
    "ANGLES",
    "BaseRecFile",
    "COMPFRACTION",
    "COMPRESS",
    "ConstrainSign",
    "ExactFilterSize",
    "MASK",
    "MinMaxMean",
    "ProjectModel",
    "RecFileToReproject",
    "REPLICATE",
    "REPROJECT",
    "SIRTIterations",
    "SIRTSubtraction",
    "SubtractFromBase",
    "WeightAngleFile",
)
#: These change how the result is written, or which part of it.
_NOT_FOLLOWED = (*_REFUSED, "PARALLEL", "ReferenceSDofScaling", "RotateBy90", "TOTALSLICES")
#: newst.com options that interpolate raw images in another way than is done here.
_RAW_REFUSED = ("LinearInterpolation", "NearestNeighbor")
_NUMBERS = (("RADIAL", 2, 2), ("SCALE", 2, 2), ("DENSWEIGHT", 1, 100), ("COSINTERP", 1, 2))
_DEFAULT_COSINE = (1, 2)


def read_program(
    layout: Layout, images: Images, options: TiltOptions, alone: TiltGeometry, ledger: Ledger
) -> TiltProgram:
    """Read what ``tilt`` would do with the aligned images.

    Parameters
    ----------
    layout : Layout
        Has a tilt.com.
    images : Images
    options : TiltOptions
    alone : TiltGeometry
        View maps of all sections without x tilt, Z factors and local alignment.
    ledger : Ledger
        Gets a note when ``-f imod`` cannot do it; the program then says why.
    """
    tilt = layout.tilt
    for key, least, most in _NUMBERS:  # what is no number is wrong whatever it is read for
        tilt.numbers(key, least, most)
    try:
        _refuse(layout, images)
        middle = (images.frame.shape[0] - 1) / 2 + options.axis_px(images.frame.shape)[1]
        pixel = images.frame.pixel_angst
        return TiltProgram(
            _read_filter(tilt),
            cosine=_cosine(tilt),
            xtilt_order=_xtilt_order(tilt),
            vertical_slices=bool(
                (tilt.text("XTILTFILE") or tilt.number("XAXISTILT"))
                and _xtilt_order(tilt)
                and not tilt.text("ZFACTORFILE")
            ),
            view_weights=_weights(tilt, images, ledger),
            tilts_alone=alone,
            rows_angst=(-middle * pixel, (images.frame.shape[0] - 1 - middle) * pixel),
        )
    except InputError as error:
        ledger.notes.append(f"{tilt.path.name}: -f imod cannot be used, {error}")
        return TiltProgram(ImodFilter(), refused=f"{tilt.path}: {error}")


def _refuse(layout: Layout, images: Images) -> None:
    tilt, newst = layout.tilt, layout.newst
    found = [key for key in _REFUSED if key in tilt]
    if found:
        raise InputError(
            f"{', '.join(found)} is not followed: run tilt itself, or take another filter"
        )
    slices = tilt.numbers("SLICE", 2, 3)
    if slices is not None and len(slices) == 3 and slices[2] != 1:
        raise InputError(f"SLICE has an interval of {slices[2]:g}, and all rows are made here")
    found = [key for key in _RAW_REFUSED if newst.flag(key)]
    if found and images.raw_from_aligned is not None:
        raise InputError(
            f"{newst.path.name} has {found[0]}, but raw images are interpolated cubically here: "
            f"run newst.com to make the aligned stack, {layout.name}_ali.mrc, first"
        )


def _read_filter(tilt: Command) -> ImodFilter:
    cutoff, falloff = tilt.numbers("RADIAL", 2) or (None, None)
    add, multiply = tilt.numbers("SCALE", 2) or (0.0, 1.0)
    mode = tilt.integer("MODE")
    return ImodFilter(
        radial_cutoff=cutoff,
        radial_falloff=falloff,
        true_sigma=tilt.flag("FalloffIsTrueSigma"),
        multiply_gaussian=tilt.flag("MultiplyByGaussian"),
        hamming_from=tilt.number("HammingLikeFilter"),
        fake_sirt_iterations=tilt.integer("FakeSIRTiterations") or None,
        flat_fraction=tilt.number("FlatFilterFraction") or 0.0,
        density_weights=_density_weights(tilt),
        output_add=add,
        output_mul=multiply,
        output_mode=2 if mode in (None, 12) else mode,  # 12: float16, which few programs read
    )


def _density_weights(tilt: Command) -> tuple[float, ...]:
    """DENSWEIGHT: how many neighbours count, and how much each; 1 / (n - 1/2) if it is not said."""
    given = tilt.numbers("DENSWEIGHT", 1, 100) or (2.0,)
    neighbours = round(given[0])
    if len(given) == 1:
        return tuple(1 / (number + 0.5) for number in range(neighbours))
    if len(given) != neighbours + 1:
        raise InputError(
            f"DENSWEIGHT {tilt.text('DENSWEIGHT')}: {neighbours} neighbours need as many weights"
        )
    return tuple(given[1:])


def _cosine(tilt: Command) -> tuple[int, int]:
    """COSINTERP: order, no more than 3, and factor."""
    given = tilt.numbers("COSINTERP", 1, 2)
    if given is None:
        return _DEFAULT_COSINE
    order = min(3, max(0, round(given[0])))
    factor = round(given[1]) if len(given) > 1 else _DEFAULT_COSINE[1]
    return (order, factor) if order and factor > 0 else (0, 0)


def _xtilt_order(tilt: Command) -> int:
    order = tilt.integer("XTILTINTERP")
    if order == 2:
        raise InputError("XTILTINTERP 2 is not followed: give 1 or 3, or take another filter")
    return 1 if order is None else min(order, 3)


def _weights(tilt: Command, images: Images, ledger: Ledger) -> tuple[float, ...]:
    path, sections = tilt.input_file("WeightFile"), images.stack.shape[0]
    if path is None:
        return ()
    numbers = read_numbers(path)
    if len(numbers) < sections:
        raise InputError(
            f"{path.name} has {count(len(numbers), 'weight')}, but {images.stack.path.name} has "
            f"{count(sections, 'section')}"
        )
    ledger.files.append(path)
    return tuple(float(number) for number in np.asarray(numbers)[:sections])


def note_unused_options(tilt: Command, ledger: Ledger) -> None:
    """Say which options are not used, or only with ``-f imod``."""
    notes, name = ledger.notes, tilt.path.name
    followed = [key for key in _FOLLOWED if key in tilt]
    if followed:
        notes.append(f"{name} {', '.join(followed)}: applied only with -f imod")
    others = [key for key in _NOT_FOLLOWED if key in tilt]
    if others:
        notes.append(f"{name} {', '.join(others)}: not followed by tomofilt")
    slices = tilt.numbers("SLICE", 2, 3)
    if slices is not None and len(slices) == 3 and slices[2] != 1:
        notes.append(f"{name} SLICE: the interval of {slices[2]:g} is not used")
