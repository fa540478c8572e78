"""The verdict on a finished series: what somebody should look at, from what was measured anyway.

Each check is a function of the record and the series. docs/sessions.md lists them, with what they
found in series that were spoiled on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tomofilt.io.record import Flag, Record
from tomofilt.series.checks import views_that_miss
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.snr.model import NO_WEIGHT
from tomofilt.util.words import listed

__all__ = ["CHECKS", "Check", "flags_of"]

Check = Callable[[Record, TiltSeries], Flag | None]

#: Neighbours that lie on each other match at the same place. Of good series none to one pair in
#: twenty does not (a steep view, a fold in the film); of those with a quarter of the shifts wrong
#: by 4 px, two in five.
_SHIFTED_SHARE, _FEWEST_SHIFTED = 0.2, 3
#: How surely all neighbours match, together: -2 to 1 for noise, 22 for the weakest good series (SNR
#: 0.046), 4 to 14 where all shifts are wrong by 8 px or more.
_ALL_TOGETHER = 8.0
#: How unevenly neighbours match: 0 to 0.05 in good series (0.29 in one of 18 views that are 8
#: degrees apart), 0.6 and more where angles are in the wrong order.
_UNEVEN = 0.4
#: A tilt axis elsewhere is believed if it is so much more likely (in log likelihood: good series 7,
#: tilted by 30 degrees alone 23; axis turned by 5 degrees 40 and more, but 6 in a faint series),
#: and if that is so much of the whole (a very clear real series 0.2 %; turned by 5 degrees 2.5 %).
_AXIS_GAIN, _AXIS_SHARE = 30.0, 0.01
#: A share of the box by which the specimen may reach out of it on one side: in the middle, one that
#: is thicker than the box by a tenth. The thickness is known to a tenth.
_OUTSIDE, _UNSURE = 0.05, 1.1
#: Share of the views that may be without weight or miss the tomogram.
_LOST_VIEWS = 0.1
#: Share of the contrast in spots from which on the SNR tells of them as much as of the specimen.
_SPOTS = 0.2


def flags_of(record: Record, series: TiltSeries) -> tuple[Flag, ...]:
    """What is to be looked at in a finished tomogram, the worst first; empty if nothing is."""
    found = (check(record, series) for check in CHECKS)
    return tuple(flag for flag in found if flag is not None)


def _measured(record: Record) -> dict[str, Any]:
    return record.filter.measured


def _neighbours(record: Record) -> dict[str, Any]:
    return _measured(record).get("neighbours") or {}


def _views_disagree(record: Record, series: TiltSeries) -> Flag | None:
    found = _neighbours(record)
    shifted, matching = found.get("shifted", 0), found.get("matching", 0)
    if shifted < _FEWEST_SHIFTED or shifted < _SHIFTED_SHARE * (shifted + matching):
        return None
    angst = found["median_shift_px"] * found["pixel_angst"]
    return Flag(
        name="views disagree",
        sentence=f"{shifted} of {found['pairs']} neighbouring views lie apart, by "
        f"{angst:.0f} A ({found['median_shift_px']:.1f} voxels) on the median",
        mend="check the alignment: shifts, tilt axis and angles, and that they are this series'",
    )


def _nothing_in_common(record: Record, series: TiltSeries) -> Flag | None:
    found = _neighbours(record)
    if not found or (_measured(record)["has_signal"] and found["all_together"] >= _ALL_TOGETHER):
        return None
    return Flag(
        name="views have nothing in common",
        sentence="neighbouring views match hardly better than noise does "
        f"({found['all_together']:.1f} standard errors; good series more than {_ALL_TOGETHER:g})",
        mend="check the alignment, and that the images are of this series",
    )


def _wrong_order(record: Record, series: TiltSeries) -> Flag | None:
    found = _neighbours(record)
    if not found or found["unevenness"] < _UNEVEN:
        return None
    return Flag(
        name="neighbours are unlike",
        sentence="some neighbouring views match well and others hardly do: the match changes by "
        f"{100 * found['unevenness']:.0f} % from one pair to the next (good series less than 30 %)",
        mend="check that tilt angles and images are in the same order",
    )


def _single_views_apart(record: Record, series: TiltSeries) -> Flag | None:
    apart = _neighbours(record).get("views_apart_angst") or {}
    if not apart:
        return None
    images = [record.views[int(view)].image for view in apart]
    return Flag(
        name="single views apart",
        sentence=f"view{'s' * (len(apart) > 1)} {listed(np.array(images))} lie"
        f"{'s' * (len(apart) == 1)} apart from both neighbours, by up to "
        f"{max(apart.values()):.0f} A",
        mend=f"align again, or leave out: --exclude {','.join(map(str, images))}",
    )


def _single_views_unlike(record: Record, series: TiltSeries) -> Flag | None:
    unlike = _neighbours(record).get("views_unlike") or []
    if not unlike:
        return None
    images = [record.views[view].image for view in unlike]
    return Flag(
        name="single views unlike",
        sentence=f"view{'s' * (len(images) > 1)} {listed(np.array(images))} match"
        f"{'es' * (len(images) == 1)} neither neighbour, though the views around match: of another "
        "series, hidden from the beam, or shifted far",
        mend=f"look at them, and leave bad ones out: --exclude {','.join(map(str, images))}",
    )


def _neighbours_unlike(record: Record, series: TiltSeries) -> Flag | None:
    """The worst of what neighbouring views show; what follows from it is not said too."""
    checks = (
        *(_views_disagree, _nothing_in_common, _wrong_order),
        *(_single_views_unlike, _single_views_apart, _axis_off),
    )
    found = (check(record, series) for check in checks)
    return next((flag for flag in found if flag is not None), None)


def _axis_off(record: Record, series: TiltSeries) -> Flag | None:
    found = _measured(record).get("tilt_axis")
    if not found or found["gain"] < _AXIS_GAIN or found["share"] < _AXIS_SHARE:
        return None
    return Flag(
        name="tilt axis off",
        sentence="views are most alike about an axis that lies about "
        f"{abs(found['off_deg']):.0f} degrees from the tilt axis of the alignment",
        mend="check the angle of the tilt axis, and align again",
    )


def _box(record: Record) -> float:
    return record.output.shape_zyx[0] * record.output.voxel_angst


def _thickness(record: Record, series: TiltSeries) -> float | None:
    """Of the specimen; None where it was not measured.

    Where views do not lie on each other, what looks like thickness is their shifts.
    """
    found = _measured(record)
    if "the thickness is the tomogram's" in found.get("from", "") or not found.get("has_signal"):
        return None
    if _views_disagree(record, series) or _wrong_order(record, series):
        return None
    thickness: float | None = found.get("specimen_thickness_angst")
    return thickness


def _reaches_out(record: Record, series: TiltSeries) -> Flag | None:
    """A specimen that is thicker than the tomogram, or not in its middle: a part is cut off."""
    thickness, box = _thickness(record, series), _box(record)
    if thickness is None:
        return None
    height = _measured(record)["specimen_height_angst"]
    reach = abs(height) + thickness / 2
    outside = reach - box / 2
    if outside <= _OUTSIDE * box:
        return None
    needed = f"--thickness {100 * np.ceil(2 * _UNSURE * reach / 100):.0f}"
    side = "above" if height > 0 else "below"
    if thickness > box:
        return Flag(
            name="specimen thicker than the box",
            sentence=f"the specimen is {thickness:.0f} A thick, the tomogram {box:.0f} A: "
            f"{outside:.0f} A are cut off {side}",
            mend=needed,
        )
    return Flag(
        name="specimen off the middle",
        sentence=f"the middle of the specimen lies {abs(height):.0f} A {side} that of the "
        f"tomogram, which is {box:.0f} A thick: {outside:.0f} A of the specimen are cut off",
        mend=f"{needed}, or shift it in the alignment",
    )


def _views_without_weight(record: Record, series: TiltSeries) -> Flag | None:
    factors = np.array(_measured(record).get("snr", {}).get("factor", []))
    lost = np.flatnonzero(factors <= 2 * np.exp(NO_WEIGHT))
    if len(lost) <= _LOST_VIEWS * len(factors) or not _measured(record)["has_signal"]:
        return None
    images = [record.views[int(view)].image for view in lost]
    return Flag(
        name="views without weight",
        sentence=f"{len(lost)} of {len(factors)} views show nothing of what their neighbours show: "
        f"{listed(np.array(images))}",
        mend=f"look at them, and leave bad ones out: --exclude {','.join(map(str, images))}",
    )


def _blank_views(record: Record, series: TiltSeries) -> Flag | None:
    if not record.blank:
        return None
    return Flag(
        name="blank views",
        sentence=f"images without contrast, blank or dark: {listed(np.array(record.blank))}",
        mend=f"leave them out: --exclude {','.join(map(str, record.blank))}",
    )


def _views_miss(record: Record, series: TiltSeries) -> Flag | None:
    lost = views_that_miss(series)
    if len(lost) <= _LOST_VIEWS * len(series.views):
        return None
    return Flag(
        name="views miss the tomogram",
        sentence=f"{len(lost)} of {len(series.views)} views show no part of the tomogram: "
        f"{listed(lost + 1)}",
        mend="check the shifts of the alignment, and that it is of images with this binning",
    )


def _spots(record: Record, series: TiltSeries) -> Flag | None:
    share = _measured(record).get("spots", 0.0)
    if share <= _SPOTS:
        return None
    return Flag(
        name="contrast in spots",
        sentence=f"{100 * share:.0f} % of the contrast is in spots far darker or brighter than the "
        "rest, gold beads perhaps: the SNR tells of them as much as of the specimen",
        mend="if there is nothing else, give another filter, -f gaussian:0.1 say",
    )


def _pixel_size_in_doubt(record: Record, series: TiltSeries) -> Flag | None:
    for note in record.notes:
        if "--input-pixel-size" in note:
            return Flag(
                name="pixel size in doubt",
                sentence=note.split("; give --input-pixel-size")[0],
                mend="give --input-pixel-size",
            )
    return None


def _halves_not_used(record: Record, series: TiltSeries) -> Flag | None:
    if series.halves_refused is None:
        return None
    return Flag(
        name="halves not used",
        sentence=series.halves_refused,
        mend="make the frame halves again; the SNR is from neighbouring views until then",
    )


#: All checks, the worst first.
CHECKS: tuple[Check, ...] = (
    _neighbours_unlike,
    _views_miss,
    _reaches_out,
    _views_without_weight,
    _blank_views,
    _pixel_size_in_doubt,
    _halves_not_used,
    _spots,
)
