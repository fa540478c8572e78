"""Pictures for a page: slices of tomograms and images of filters, as ``data:`` addresses."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.preview import VolumeSlices, grey_limits, middle
from tomofilt.evaluate.tomograms import Tomogram

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["heat_uri", "slice_uris"]

Float32 = NDArray[np.float32]

#: Widest picture, in pixels.
_WIDEST = 900
# Anchors of a scale from light to dark that grows evenly in lightness.
_SCALE = (
    (247, 250, 247),
    (199, 225, 214),
    (120, 182, 178),
    (52, 125, 146),
    (26, 66, 104),
    (14, 22, 52),
)


def slice_uris(tomogram: Tomogram, *, inverted: bool = False) -> tuple[str, str]:
    """Central XY and XZ slice of a tomogram, each the mean of a few planes, y and z upwards.

    Both go from mean - 3 (black) to mean + 3 standard deviations (white) of the XY slice, so that
    tomograms of different density scales look alike.

    Parameters
    ----------
    tomogram : Tomogram
    inverted : bool
        Draw the larger value black.
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


def heat_uri(values: NDArray[np.float64]) -> str:
    """An image of values from 0 to 1, light to dark, the first row on top."""
    from PIL import Image

    anchors = np.array(_SCALE, dtype=np.float64)
    at = np.clip(values, 0, 1) * (len(anchors) - 1)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    return _uri(Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8)))


def _slice_uri(plane: Float32, black: float, white: float) -> str:
    from PIL import Image

    levels = np.clip((np.nan_to_num(plane) - black) * (255 / (white - black)), 0, 255)
    picture = Image.fromarray(np.ascontiguousarray(np.rint(levels[::-1]).astype(np.uint8)))
    if picture.width > _WIDEST:
        height = max(1, round(picture.height * _WIDEST / picture.width))
        picture = picture.resize((_WIDEST, height), Image.Resampling.HAMMING)
    return _uri(picture)


def _uri(picture: Image.Image) -> str:
    png = io.BytesIO()
    picture.save(png, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
