"""Shares of the phases beside a stop-watch: a bar stands within a tenth of where the time does."""

import numpy as np
import pytest
from strategies_projects import BlankImages, tilt_series

from tomofilt.jobs.effort import Effort
from tomofilt.jobs.outputs import Outputs
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.projects import Destination


def effort(tmp_path, shape_zyx, frames=False, **settings):
    _, ny, nx = shape_zyx
    tilt_deg = np.linspace(-60, 60, 41)
    images = BlankImages((41, ny, nx))
    series = tilt_series(
        images=images,
        geometry=TiltGeometry.from_angles(tilt_deg),
        views=np.arange(41),
        tilt_deg=tilt_deg,
        grid=VolumeGrid.centred(shape_zyx, 10.0),
        excluded=(),
        dose_e_per_a2=None,
        halves=(images, images) if frames else None,
    )
    chosen = Settings(device="cpu", threads=1, **settings)
    problem = make_problem(series, chosen)
    outputs = Outputs.wanted(problem, Destination(tmp_path / "rec.mrc"), chosen)
    return Effort.of(problem, {output.name: output for output in outputs}, chosen)


#: Seconds of one core, taken with time.process_time around each phase: images, gold and measuring,
#: training and testing networks, and the volumes.
TIMED = (
    # EMPIAR-10499, series 00254, refused in the end
    ((180, 630, 652), False, (0.38, 1.03, 5.00, 1.64)),
    # a simulated one with frame halves, denoised
    ((96, 192, 192), True, (0.11, 0.28, 2.42, 0.41)),
)


@pytest.mark.parametrize(("shape", "frames", "timed"), TIMED)
def test_of_denoising(tmp_path, shape, frames, timed):
    found = effort(tmp_path, shape, frames, filter="wiener-exact:match", denoise=True)
    volume = found.volume + found.denoising * frames
    images = 41 * found.image * (3 if frames else 1)
    told = np.array([images, found.gold + found.measuring, found.deciding, volume])
    np.testing.assert_allclose(told / told.sum(), np.array(timed) / sum(timed), atol=0.1)


def test_the_parts_are_the_whole(tmp_path):
    shape = (96, 192, 192)
    plain = effort(tmp_path, shape, filter="ramp", gold="as-is")
    assert plain.total == pytest.approx(41 * plain.image + plain.volume)
    assert plain.gold == plain.measuring == plain.deciding == plain.denoising == 0
    three = effort(tmp_path, shape, frames=True, filter="ramp", gold="as-is", halves="frames")
    assert three.total == pytest.approx(3 * plain.total)


def test_slow_methods(tmp_path):
    shape = (96, 192, 192)
    fast, sirt, direct = (
        effort(tmp_path, shape, filter=filter, projector=projector).volume
        for filter, projector in (("ramp", "fast"), ("sirt:10", "fast"), ("ramp", "direct"))
    )
    assert 5 < sirt / fast < 20
    assert 3 < direct / fast < 8
