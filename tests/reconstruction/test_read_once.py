"""Each image is read once and resampled once in a run, whatever is made of it."""

from collections import Counter
from dataclasses import replace

import pytest
from runs import reconstructed

from tomofilt.align import stack
from tomofilt.denoise import examples
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination
from tomofilt.simulate import simulated_series


class Counted:
    """Images that count how often each is read."""

    def __init__(self, images):
        self.shape, self.pixel_angst, self.files = images.shape, images.pixel_angst, images.files
        self._images, self.reads = images, Counter()

    def read(self, image, y_start=0, y_stop=None):
        self.reads[image] += 1
        return self._images.read(image, y_start, y_stop)


@pytest.fixture
def resampled(monkeypatch):
    """How many images have been resampled."""
    calls, warp = [], stack.warp

    def counted(*arguments, **more):
        calls.append(1)
        warp(*arguments, **more)

    monkeypatch.setattr(stack, "warp", counted)
    monkeypatch.setattr(examples, "_VOXELS", 30_000)
    return calls


@pytest.mark.parametrize(
    ("rotation_deg", "settings"),
    [
        (84.0, {}),
        (0.0, {}),
        (84.0, {"halves": "tilts"}),
        (84.0, {"filter": "wiener-exact:match", "denoise": True}),
        (84.0, {"filter": "imod"}),
        (0.0, {"filter": "imod"}),
        (84.0, {"filter": "sirt:2", "halves": "tilts"}),
    ],
)
def test_each_image_once(tmp_path, resampled, settings, rotation_deg):
    made = simulated_series(2, shape=(48, 72, 80), snr=0.5, rotation_deg=rotation_deg)
    images = Counted(made.tilt_series().images)
    series = replace(made.tilt_series(), halves=None, images=images)
    reconstructed(series, Destination(tmp_path / "rec.mrc"), Settings(preview=False, **settings))
    assert set(images.reads) == set(range(41))
    assert set(images.reads.values()) == {1}
    assert len(resampled) == (41 if rotation_deg else 0)


def test_frame_halves_once_each(tmp_path, resampled):
    made = simulated_series(2, shape=(24, 48, 56), snr=0.5, rotation_deg=84.0)
    plain = made.tilt_series()
    halves = tuple(Counted(half) for half in plain.halves)
    whole = Counted(plain.images)
    series = replace(plain, images=whole, halves=halves)
    settings = Settings(preview=False, halves="frames")
    reconstructed(series, Destination(tmp_path / "rec.mrc"), settings)
    for images in (whole, *halves):
        assert set(images.reads.values()) == {1}
    assert len(resampled) == 3 * 41
