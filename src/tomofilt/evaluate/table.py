"""Scores of several tomograms side by side, as text: for the terminal and for reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import LeftOut
from tomofilt.evaluate.scores import Scores

__all__ = ["Row", "names", "rows"]

Float64 = NDArray[np.float64]

#: FSC is averaged up to this frequency, cycles per voxel.
_MEAN_FSC_UP_TO = 0.35


@dataclass(frozen=True)
class Row:
    """One figure of every tomogram.

    Attributes
    ----------
    section : str
        What it was measured by.
    name : str
    values : tuple of str
        Empty where a tomogram has no such figure.
    best : frozenset of int
        The tomograms that have the best value, when there is one and they differ.
    """

    section: str
    name: str
    values: tuple[str, ...]
    best: frozenset[int] = frozenset()


def names(scores: Sequence[Scores]) -> list[str]:
    """A short name for each tomogram: its filter, or its file where filters are alike."""
    labels = [each.tomogram.label for each in scores]
    stems = [each.tomogram.path.stem for each in scores]
    paths = [str(each.tomogram.path) for each in scores]
    for candidates in (labels, stems):
        if len(set(candidates)) == len(candidates):
            return candidates
    return paths


def rows(scores: Sequence[Scores]) -> list[Row]:
    """Every figure that some tomogram has."""
    made = [
        *_truth_rows(scores),
        *_half_rows(scores),
        *_left_out_rows(scores),
        *_specimen_rows(scores),
    ]
    return [row for row in made if any(row.values)]


Number = Callable[[Scores], float | None]


def _row(
    scores: Sequence[Scores], section: str, name: str, number: Number, form: str, better: int = 1
) -> Row:
    """A row of plain numbers, of which large (1), small (-1) or none (0) are better."""
    numbers = [number(each) for each in scores]
    values = tuple("" if value is None else format(value, form) for value in numbers)
    best: frozenset[int] = frozenset()
    if better and len({value for value in values if value}) > 1:
        known = [better * value for value in numbers if value is not None and not np.isnan(value)]
        best = frozenset(
            i
            for i, value in enumerate(numbers)
            if value is not None and format(better * value, form) == format(max(known), form)
        )
    return Row(section, name, values, best)


def _truth_rows(scores: Sequence[Scores]) -> list[Row]:
    section = "against the truth"

    def of_truth(name: str) -> Number:
        return lambda each: None if each.truth is None else float(getattr(each.truth, name))

    def fsc(region: str) -> Number:
        def mean(each: Scores) -> float | None:
            curve = each.truth and each.truth.fsc.get(region)
            return curve.mean(_MEAN_FSC_UP_TO) if curve else None

        return mean

    plain = [
        ("PSNR, scale matched (dB)", "psnr_db", ".2f", 1),
        ("PSNR, as it is (dB)", "psnr_raw_db", ".2f", 1),
        ("SSIM, scale matched", "ssim", ".3f", 1),
        ("SSIM, as it is", "ssim_raw", ".3f", 1),
        ("correlation of voxels", "correlation", ".3f", 0),
        ("factor to the truth", "slope", ".3g", 0),
    ]
    inverted = [each.truth is not None and each.truth.slope < 0 for each in scores]
    return [
        Row(section, "contrast", tuple("inverted" * each for each in inverted)),
        *(
            _row(scores, section, name, of_truth(attribute), form, better)
            for name, attribute, form, better in plain
        ),
        *(
            _row(scores, section, f"mean FSC, {where}", fsc(region), ".3f")
            for region, where in (
                ("all", "everywhere"),
                ("sampled", "sampled region"),
                ("wedge", "missing wedge"),
            )
        ),
    ]


def _half_rows(scores: Sequence[Scores]) -> list[Row]:
    section = "between halves"

    def resolution(threshold: float) -> tuple[str, ...]:
        texts = []
        for each in scores:
            if each.halves is None:
                texts.append("")
                continue
            value = each.halves.resolution_angst(threshold)
            if value is None:
                texts.append("< " + format(2 * each.tomogram.voxel_angst, ".4g"))
            else:
                texts.append("none" if np.isinf(value) else format(value, ".4g"))
        return tuple(texts)

    return [
        *(
            Row(section, f"FSC falls to {threshold:g} at (A)", resolution(threshold))
            for threshold in (0.5, 0.143)
        ),
        _row(
            scores,
            section,
            "mean FSC",
            lambda each: None if each.halves is None else each.halves.mean(_MEAN_FSC_UP_TO),
            ".3f",
            0,  # a filter that both halves share does not change it
        ),
    ]


def _left_out_rows(scores: Sequence[Scores]) -> list[Row]:
    known = [each.left_out for each in scores if each.left_out is not None]
    if not known:
        return []
    spans = [f"{low:.3g} to {high:.3g}" for low, high in known[0].bands[:-1]]
    spans.append("all, as in the volume")
    section = "left-out views: the record's recipe made again without them, by cycles/px"
    columns = [
        None if found is None else (found.mean, found.standard_error, found.has_signal)
        for found in (each.left_out for each in scores)
    ]
    made = []
    for band, span in enumerate(spans):
        numbers = [
            column[0][band] if column is not None and column[2][band] else -np.inf
            for column in columns
        ]
        best = {int(np.argmax(numbers))} if len(known) > 1 and max(numbers) > -np.inf else set()
        made.append(Row(section, span, _with_errors(columns, band, ".3f"), frozenset(best)))
    first = scores[0].left_out
    if first is None or len(known) < 2:
        return made
    section = "gain over the first, view by view"
    gains = [None, *(_gain(each.left_out, first) for each in scores[1:])]
    made += [
        Row(section, span, _with_errors(gains, band, "+.3f")) for band, span in enumerate(spans)
    ]
    return made


#: Mean and standard error of each band, and whether it tells anything.
Column = tuple[Float64, Float64, NDArray[np.bool_]]


def _gain(found: LeftOut | None, first: LeftOut) -> Column | None:
    try:
        if found is None:
            return None
        return (*found.gain_over(first), found.has_signal | first.has_signal)
    except InputError:
        return None  # other views or voxels: nothing to be paired


def _with_errors(columns: Sequence[Column | None], band: int, form: str) -> tuple[str, ...]:
    texts = []
    for column in columns:
        if column is None:
            texts.append("")
        elif not column[2][band]:
            texts.append("no signal")
        else:
            texts.append(f"{column[0][band]:{form}} ± {column[1][band]:.3f}")
    return tuple(texts)


def _specimen_rows(scores: Sequence[Scores]) -> list[Row]:
    made = []
    for name in dict.fromkeys(name for each in scores for name in each.contrast):
        made.append(
            Row(
                "contrast to noise",
                name,
                tuple(
                    format(each.contrast[name], "+.3f") if name in each.contrast else ""
                    for each in scores
                ),
            )
        )
    kinds = dict.fromkeys(kind for each in scores for kind in each.detection)
    for section, attribute in (
        ("detection (area under ROC)", "auc"),
        ("detection, spectrum flattened", "auc_whitened"),
    ):
        for kind in kinds:

            def value(each: Scores, kind: str = kind, attribute: str = attribute) -> float | None:
                found = each.detection.get(kind)
                return None if found is None else float(getattr(found, attribute))

            made.append(_row(scores, section, kind, value, ".3f"))
    return made
