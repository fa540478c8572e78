"""Contrast-to-noise ratio of the objects that a label volume marks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError

__all__ = ["contrast_to_noise", "labelled_contrast"]


def contrast_to_noise(
    volume: NDArray[np.float32], inside: NDArray[np.bool_], background: NDArray[np.bool_]
) -> float:
    """Mean of an object minus that of its background, in standard deviations of the background.

    Negative where the object is darker.

    Raises
    ------
    InputError
        One of the masks is empty or has another shape, or the background is constant.
    """
    for name, mask in (("object", inside), ("background", background)):
        if mask.shape != volume.shape:
            raise InputError(f"the mask of the {name} has {mask.shape} voxels, not {volume.shape}")
        if not mask.any():
            raise InputError(f"the mask of the {name} is empty: there is nothing to measure")
    around = volume[background].astype(np.float64)
    noise = float(around.std())
    if not noise > 0:
        raise InputError("the background has no noise at all: is this the right volume?")
    return float((volume[inside].mean(dtype=np.float64) - around.mean()) / noise)


def labelled_contrast(
    volume: NDArray[np.float32], labels: NDArray[np.integer], names: Mapping[int, str]
) -> dict[str, float]:
    """Contrast-to-noise ratio of every label.

    Parameters
    ----------
    volume : (z, y, x) float32
    labels : (z, y, x) int
        0 is the background. Only planes that hold an object are used, so that the empty planes
        above and below the specimen do not count.
    names : mapping of label to name
        Labels that do not occur are left out.

    Raises
    ------
    InputError
        As :func:`contrast_to_noise`.
    """
    if labels.shape != volume.shape:
        raise InputError(f"the labels have {labels.shape} voxels, the volume {volume.shape}")
    planes = np.flatnonzero(labels.any(axis=(1, 2)))
    if len(planes) == 0:
        raise InputError("every label is 0: there is nothing to measure")
    specimen = slice(int(planes[0]), int(planes[-1]) + 1)
    volume, labels = volume[specimen], labels[specimen]
    background = labels == 0
    present = [(label, name) for label, name in names.items() if np.any(labels == label)]
    return {name: contrast_to_noise(volume, labels == label, background) for label, name in present}
