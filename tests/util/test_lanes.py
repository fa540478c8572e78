"""The vector instructions against the plain loops that they stand for."""

import numpy as np
import pytest

from tomofilt.util.jit import kernel
from tomofilt.util.lanes import (
    SQUARE,
    cache_lines,
    four_by_four,
    plain_four_by_four,
    plain_taps_adder,
    plain_transpose,
    taps_adder,
    transpose,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [16, 128, 144])
@pytest.mark.parametrize("stretches", [1, 2])
def test_sums_equal_plain_loops(dtype, length, stretches):
    fast, plain = taps_adder(length, stretches), plain_taps_adder(length, stretches)

    @kernel
    def both(out, expected, source, taps, weights):
        fast(out, 5, source, 200, taps, weights, 1, 3, len(taps) // 3)
        plain(expected, 5, source, 200, taps, weights, 1, 3, len(taps) // 3)

    rng = np.random.default_rng(1)
    source = rng.normal(size=1000).astype(dtype)
    taps = rng.integers(0, 600, 48).astype(np.int32)
    weights = rng.normal(size=(stretches, 48)).astype(dtype)
    out = rng.normal(size=length + 10).astype(dtype)
    before, expected = out.copy(), out.copy()
    both(out, expected, source, taps, weights)
    tolerance = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)
    inside = slice(5, 5 + length)
    assert np.all(out[inside] != before[inside])
    np.testing.assert_array_equal(np.delete(out, inside), np.delete(before, inside))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transpose_equals_plain_loops(dtype):
    @kernel
    def both(source, out, expected):
        transpose(source, 3, 20, out, 7, 33)
        plain_transpose(source, 3, 20, expected, 7, 33)

    source = np.random.default_rng(2).normal(size=(SQUARE + 1, 20)).astype(dtype)
    out, expected = np.zeros((2, SQUARE + 2, 33), dtype)
    both(source, out, expected)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(
        out.ravel()[7 : 7 + 33 * SQUARE].reshape(SQUARE, 33)[:, :SQUARE],
        source.ravel()[3 : 3 + 20 * SQUARE].reshape(SQUARE, 20)[:, :SQUARE].T,
    )


def test_four_by_four_equals_plain_loops():
    @kernel
    def both(source, weights):
        arguments = source, 5, 20, weights, 3, 6
        return four_by_four(*arguments), plain_four_by_four(*arguments)

    rng = np.random.default_rng(3)
    source = rng.normal(size=(5, 20)).astype(np.float32)
    weights = rng.normal(size=(8, 6)).astype(np.float32)
    fast, plain = both(source, weights)
    expected = weights[4:, 3] @ source[:4, 5:9] @ weights[:4, 3]
    assert fast == pytest.approx(expected, rel=1e-5)
    assert plain == pytest.approx(expected, rel=1e-5)


def test_cache_lines_start_on_one():
    for shape in ((3, 5), (1,), (7, 2, 3)):
        memory = cache_lines(shape, np.float32)
        assert memory.shape == shape
        assert memory.ctypes.data % 64 == 0
