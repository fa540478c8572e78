"""The picture beside a finished tomogram: worth having, and never worth the tomogram."""

from __future__ import annotations

import logging
from typing import Literal

from tomofilt.series.projects import Destination

__all__ = ["draw_picture"]

log = logging.getLogger(__name__)


def draw_picture(
    destination: Destination,
    name: str,
    spec: str,
    orientation: Literal["zyx", "xzy"],
) -> None:
    """Draw the preview of a finished tomogram; what keeps it from being written is a note.

    Parameters
    ----------
    destination : Destination
    name : str
        Of the tilt series, for the caption.
    spec : str
        Of the filter, for the caption.
    orientation : "zyx" or "xzy"
        Axes of the file.
    """
    from tomofilt.draw.preview import VolumeSlices, write_preview

    try:
        volume = VolumeSlices(destination.volume, orientation)
        write_preview(volume, destination.preview, name, [spec])
    except Exception as error:
        log.info("  note: the tomogram is finished, but there is no picture of it: %s", error)
