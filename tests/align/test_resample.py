"""Resampling against scipy's splines."""

import numpy as np
import pytest
from scipy import ndimage

from tomofilt.align.resample import _coefficients, warp
from tomofilt.series.geometry import ImageGrid


def noise(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(63, 65), (100, 33), (17, 16), (8, 1), (1, 7), (2, 2), (1, 1)])
def test_coefficients(shape):
    image = noise(shape)
    expected = ndimage.spline_filter(image, 3, output=np.float64, mode="mirror")
    if min(shape) == 1:  # scipy leaves an axis of one pixel as it is; so does this
        expected = ndimage.spline_filter1d(image.ravel(), 3, mode="mirror").reshape(shape)
    np.testing.assert_allclose(
        _coefficients(image), expected, rtol=0, atol=2e-6 * np.abs(expected).max()
    )


@pytest.mark.parametrize("degrees", [0.0, 7.0, 84.0])
@pytest.mark.parametrize("shape", [(40, 50), (9, 50)])
def test_a_turned_and_shifted_image(degrees, shape):
    image, pixel, shift = noise(shape), 8.0, np.array([[3.3], [-5.2]])
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s], [s, c]])
    grid = ImageGrid.centred((37, 41), pixel)
    found = np.empty((37 + 4, 41), dtype=np.float32)
    warp(image, pixel, np.hstack([turn, shift]), grid, found, halo=2, fill=0.0, like_newstack=False)
    v, u = np.mgrid[-2:39, 0:41].astype(float)
    v, u = v - grid.centre[0], u - grid.centre[1]
    centre = ImageGrid.centred(shape, pixel).centre
    x, y = (turn @ np.stack([u.ravel(), v.ravel()]) + shift / pixel).reshape(2, *u.shape)
    x, y = x + centre[1], y + centre[0]
    expected = ndimage.map_coordinates(image.astype(float), [y, x], order=3, mode="mirror")
    # there are data up to half a pixel beyond the outermost ones
    inside = (np.abs(x - (shape[1] - 1) / 2) < shape[1] / 2) & (
        np.abs(y - (shape[0] - 1) / 2) < shape[0] / 2
    )
    assert 0.1 < inside.mean() <= 1
    np.testing.assert_allclose(found[inside], expected[inside], rtol=0, atol=2e-5)
    assert not found[~inside].any()
