"""Areas without data, continued."""

import numpy as np

from tomofilt.align.edges import continue_level


def test_levels_go_on_without_a_step_and_without_detail():
    rng = np.random.default_rng(0)
    y, x = np.indices((150, 205))
    image = (5 + x / 50 + 0.1 * rng.normal(size=x.shape)).astype(np.float32)
    missing = (y + x / 8 < 30) | (x > 190)
    image[missing] = 0
    filled = continue_level(image)
    np.testing.assert_array_equal(filled[~missing], image[~missing])
    corner = missing & (x < 180)
    np.testing.assert_allclose(filled[corner], (5 + x / 50)[corner], atol=0.4)
    assert np.abs(np.diff(filled[:, :160], axis=0))[:5].max() < 0.05


def test_nothing_to_continue():
    empty = np.zeros((40, 40), dtype=np.float32)
    assert continue_level(empty) is empty
    full = np.ones((40, 40), dtype=np.float32)
    assert continue_level(full) is full
    speck = full.copy()
    speck[7, 9] = 0
    np.testing.assert_allclose(continue_level(speck), 1)
