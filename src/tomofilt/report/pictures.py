"""Pictures for a page: slices of tomograms as ``data:`` addresses."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.preview import VolumeSlices, grey_limits, middle
from tomofilt.evaluate.tomograms import Tomogram

__all__ = ["slice_uris"]

Float32 = NDArray[np.float32]

#: Widest picture, in pixels.
_WIDEST = 900


def slice_uris(tomogram: Tomogram, *, inverted: bool = False) -> tuple[str, str]:
    """Central XY and XZ slice of a tomogram, each the mean of a few planes, y and z upwards.

    Both go from mean - 3 (black) to mean + 3 standard deviations (white) of the XY slice, so that
    tomograms of different density scales look alike.

    Parameters
    ----------
    tomogram : Tomogram
    inverted : bool
        Draw larger values darker.
    """
    record = tomogram.record
    lies = record is not None and record.output.orientation == "xzy"
    volume = VolumeSlices(tomogram.path, "xzy" if lies else "zyx")
    nz, ny, _ = volume.shape
    flat, upright = volume.planes_z(*middle(nz)), volume.planes_y(*middle(ny))
    if record is not None and record.output.flip_z:
        upright = upright[::-1]
    low, high = grey_limits(flat)
    black, white = (high, low) if inverted else (low, high)
    return _slice_uri(flat, black, white), _slice_uri(upright, black, white)


def _slice_uri(plane: Float32, black: float, white: float) -> str:
    from PIL import Image

    levels = np.clip((np.nan_to_num(plane) - black) * (255 / (white - black)), 0, 255)
    picture = Image.fromarray(np.ascontiguousarray(np.rint(levels[::-1]).astype(np.uint8)))
    if picture.width > _WIDEST:
        height = max(1, round(picture.height * _WIDEST / picture.width))
        picture = picture.resize((_WIDEST, height), Image.Resampling.HAMMING)
    png = io.BytesIO()
    picture.save(png, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
