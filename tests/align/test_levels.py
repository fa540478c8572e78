"""Images without contrast, among those of a series."""

import numpy as np

from tomofilt.align.levels import LevelledImages
from tomofilt.simulate.series import ImagesInMemory


def without_contrast(stack):
    images = LevelledImages(
        ImagesInMemory(stack, 10.0),
        np.arange(len(stack)),
        background="image",
        across_axis=1,
        log_base=None,
        threads=1,
    )
    for view in range(len(stack)):
        images.read(view)
    images.check("TS")
    return images.blank.tolist()


def test_blank_images_and_those_hidden_from_the_beam_have_none():
    rng = np.random.default_rng(0)
    counts = np.array([30.0, 60.0, 100.0, 100.0, 60.0, 30.0])  # steep views get fewer electrons
    stack = rng.poisson(counts[:, None, None], (6, 64, 64)).astype(np.float32)
    assert without_contrast(stack) == []
    stack[1] = 7.0
    stack[4] = rng.poisson(1.0, (64, 64))
    assert without_contrast(stack) == [1, 4]
