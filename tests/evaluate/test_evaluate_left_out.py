"""Leaving views out: what is left out stays out, projections land where the images are."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from strategies_evaluate import tomogram_of

from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import LeftOut, left_out_correlation, measured_slabs, spread_views
from tomofilt.evaluate.views import columns_inside, halves_by_view, volumes_by_view
from tomofilt.filters.registry import parse
from tomofilt.reconstruction.methods import fbp
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, LocalGeometry, TiltGeometry, VolumeGrid
from tomofilt.simulate import simulated_series
from tomofilt.simulate.projection import project
from tomofilt.simulate.series import ImagesInMemory

SHAPE = (32, 64, 96)


@pytest.fixture(scope="module")
def made():
    return simulated_series(seed=1, shape=SHAPE, snr=0.5)


def seen_through(made, geometry, pixel_angst=10.0):
    """The simulated specimen, without noise, through other view maps."""
    images = ImageGrid.centred((80, 112), pixel_angst)
    stack = project(made.phantom.density, made.phantom.grid, geometry, images)
    return replace(
        made.tilt_series(clean=True),
        images=ImagesInMemory(stack, pixel_angst),
        geometry=geometry,
    )


@pytest.mark.parametrize("settings", [{}, {"bin": 1.5}, {"projector": "direct"}, {"invert": True}])
@pytest.mark.parametrize(("rotation", "xtilt"), [(0.0, 0.0), (-5.0, 0.0), (86.0, 4.0)])
def test_views_without_noise_are_predicted(made, rotation, xtilt, settings):
    """In any geometry: a projection that lay a pixel off would not correlate above 0.1 cycles."""
    rng = np.random.default_rng(0)
    shifts = rng.uniform(-25, 25, (41, 2))
    geometry = TiltGeometry.from_angles(made.scheme.tilt_deg, rotation, xtilt, shifts)
    found = left_out_correlation(seen_through(made, geometry), Settings(filter="exact", **settings))
    assert len(np.unique(found.images)) == len(found.images) >= 6
    inside = found.bands[:, 0] > 1.2 / 64  # several periods fit into the volume
    inside &= found.bands[:, 1] < 0.3
    assert (found.mean[inside] > 0.93).all(), found.mean
    assert (found.standard_error[inside] < 0.02).all()


@pytest.mark.parametrize("filter", ["imod", "gaussian:0.2"])
def test_other_kinds_of_filters(made, filter):
    geometry = TiltGeometry.from_angles(made.scheme.tilt_deg, 2.0, 5.0)
    found = left_out_correlation(seen_through(made, geometry), Settings(filter=filter))
    assert (found.mean[2:6] > 0.9).all(), found.mean


def test_local_alignment_is_followed(made):
    """Patches that all say the same are no local alignment; shifted ones are followed."""
    geometry = TiltGeometry.from_angles(made.scheme.tilt_deg)
    series = seen_through(made, geometry)
    maps = np.tile(geometry.image_from_volume[:, None, None], (1, 2, 2, 1, 1))
    edges = np.array([-200.0, 200.0])
    plain = left_out_correlation(series, Settings(filter="exact"))
    same = replace(geometry, local=LocalGeometry(edges, edges, maps))
    found = left_out_correlation(replace(series, geometry=same), Settings(filter="exact"))
    np.testing.assert_allclose(found.mean[1:7], plain.mean[1:7], atol=0.02)
    wrong = maps.copy()
    wrong[:, :, 1, 0, 3] += np.where(np.arange(41) % 2, 40.0, -40.0)[:, None]
    torn = replace(geometry, local=LocalGeometry(edges, edges, wrong))
    lost = left_out_correlation(replace(series, geometry=torn), Settings(filter="exact"))
    assert (lost.mean[2:7] < plain.mean[2:7] - 0.1).all()


def test_what_is_left_out_does_not_come_in(made):
    """Images replaced by noise are not predicted, though the reconstruction could show them."""
    series = made.tilt_series()
    folds = spread_views(series.tilt_deg)
    stack = made.images.copy()
    left = np.array(folds[0])
    stack[left] = 9 * stack.std() * np.random.default_rng(5).standard_normal(stack[left].shape)
    noise = replace(series, images=ImagesInMemory(stack, 10.0))
    found = left_out_correlation(noise, Settings(filter="ramp"), [folds[0]])
    # chance alone: as many values as the band's ring has in a window of about 50 columns
    values = len(left) * np.pi * (found.bands[:, 1] ** 2 - found.bands[:, 0] ** 2) * SHAPE[1] * 50
    assert (abs(found.mean) < 4 / np.sqrt(values))[2:].all(), found.mean
    whole = tomogram_of(noise, filter="ramp")
    shown = left_out_correlation(noise, Settings(), [folds[0]], slabs_of=lambda *_: [(0, 0, whole)])
    assert (shown.mean > 8 / np.sqrt(values))[4:].all(), shown.mean


def test_noise_tells_filters_apart(made):
    series = made.tilt_series()
    ramp, gauss, exact = (
        left_out_correlation(series, Settings(filter=name))
        for name in ("ramp", "gaussian:0.12", "exact")
    )
    wide = -1
    gain, error = gauss.gain_over(ramp)
    assert gain[wide] > 5 * error[wide] > 0
    # within a band, a gain that all views share makes no difference
    np.testing.assert_allclose(gauss.mean[1:4], ramp.mean[1:4], atol=0.02)
    gain, error = exact.gain_over(ramp)
    assert gain[0] > error[0]
    np.testing.assert_allclose(gain, (exact.correlation - ramp.correlation).mean(axis=0))
    spread = (exact.correlation - ramp.correlation).std(axis=0, ddof=1)
    np.testing.assert_allclose(error, spread / np.sqrt(10))


def test_any_maker_of_tomograms_can_be_judged(made):
    """A filter as an object gives what its name gives; the truth predicts best of all."""
    series = made.tilt_series()
    by_name = left_out_correlation(series, Settings(filter="hann:0.3", dose_weight="off"))
    kept = []

    def filtered(problem, images):
        kept.append(problem.series.views)
        return problem.with_filter(parse("hann:0.3")).slabs(images)

    by_object = left_out_correlation(series, Settings(), slabs_of=filtered)
    np.testing.assert_array_equal(by_object.correlation, by_name.correlation)
    assert [len(views) for views in kept] == [36, 36]
    truth = left_out_correlation(series, Settings(), slabs_of=lambda *_: [(0, 0, made.truth)])
    assert (truth.mean[2:7] > by_name.mean[2:7]).all()


def test_rows_blocks_and_memory_do_not_change_the_figures(made, monkeypatch):
    geometry = TiltGeometry.from_angles(made.scheme.tilt_deg, 3.0, 2.0)
    series = seen_through(made, geometry)
    whole = left_out_correlation(series, Settings(filter="exact"))

    def in_pieces(problem, images):
        for y, z, block in measured_slabs(problem, images):
            for row in range(0, block.shape[1], 13):
                for plane in range(0, len(block), 7):
                    yield y + row, z + plane, block[plane : plane + 7, row : row + 13]

    cut = left_out_correlation(series, Settings(filter="exact"), slabs_of=in_pieces)
    np.testing.assert_allclose(cut.correlation, whole.correlation, atol=1e-5)
    monkeypatch.setattr(fbp, "SLAB_ROWS", 16)
    few = left_out_correlation(series, Settings(filter="exact"), rows_px=48)
    np.testing.assert_allclose(few.mean[2:6], whole.mean[2:6], atol=0.03)
    with pytest.raises(InputError, match="0 rows"):
        left_out_correlation(series, Settings(), rows_px=0)


def test_views_are_spread_inside_the_range():
    tilts = np.arange(-60.0, 61, 3)
    order = np.random.default_rng(0).permutation(41)
    folds = spread_views(tilts[order])
    chosen = [np.sort(order[fold]) for fold in folds]
    assert [len(fold) for fold in folds] == [5, 5]
    for fold in chosen:
        assert np.diff(fold).min() >= 3
        assert fold.min() >= 6
        assert fold.max() <= 34
    assert not set(chosen[0]) & set(chosen[1])
    low = spread_views(tilts, usable=np.abs(tilts) < 40)
    assert np.abs(tilts[np.concatenate(low)]).max() < 40
    assert [len(fold) for fold in spread_views(tilts[:7])] == [1, 1]
    with pytest.raises(InputError, match="6 views are too few"):
        spread_views(tilts[:6])
    with pytest.raises(InputError, match="whole thickness"):
        spread_views(tilts, usable=np.zeros(41, bool))


def test_columns_whose_rays_stay_inside():
    """Walk along the rays of each column, plane by plane."""
    grid = VolumeGrid((20, 8, 60), 10.0, (9.0, 3.5, 31.0))
    images = ImageGrid((8, 70), (10.0, 10.0), (3.5, 33.0))
    geometry = TiltGeometry.from_angles([-40.0, 0.0, 35.0], shift_angst=(17.0, 0.0))
    _, slices = geometry.factor()
    for view, columns in enumerate(columns_inside(slices, grid, images)):
        z = (np.arange(20) - 9.0) * 10
        u = (np.arange(70)[:, None] - 33.0) * 10
        x = (u - slices.u0_angst[view] - slices.b[view] * z) / slices.a[view] / 10 + 31.0
        inside = np.flatnonzero(((x >= 0) & (x <= 59)).all(axis=1))
        assert (columns.start, columns.stop - 1) == (inside[0], inside[-1])
    steep = TiltGeometry.from_angles([75.0]).factor()[1]
    assert columns_inside(steep, grid, images) == [None]


def thick_series(planes):
    """A specimen as thick as told, wider than what is shown."""
    tall = simulated_series(seed=1, shape=(planes, 64, 96), snr=1.0)
    return tall.tilt_series()


def test_too_thick_a_specimen_is_refused():
    with pytest.raises(
        InputError, match=r"-45.0 deg stays inside a tomogram 96 voxels wide and \d+ thick"
    ):
        left_out_correlation(thick_series(88), Settings(), [[5]])


def test_empty_planes_do_not_count(made):
    """A box that is far too thick holds noise that no image knows of, filter by filter."""
    series = made.tilt_series()
    _, ny, nx = series.grid.shape
    thick = replace(series, grid=series.grid.resized((80, ny, nx)))
    fold = [spread_views(series.tilt_deg)[0]]
    close, wide = (
        left_out_correlation(each, Settings(filter="ramp"), fold) for each in (series, thick)
    )
    np.testing.assert_allclose(wide.mean[1:6], close.mean[1:6], atol=0.05)


def test_a_specimen_thicker_than_the_box_is_said(caplog):
    series = thick_series(48)
    _, ny, nx = series.grid.shape
    thin = replace(series, grid=series.grid.resized((16, ny, nx)))
    with caplog.at_level(logging.INFO):
        left_out_correlation(thin, Settings(filter="ramp"), [[15, 25]])
    assert "images show more than it can predict" in caplog.text


def with_beads(made, strength):
    """The images of a series, with dark beads in the specimen."""
    stack = made.images.copy()
    y, x = np.indices(stack.shape[1:])
    places = np.array([[-220.0, 150.0, 40.0], [180.0, -210.0, -30.0], [20.0, 40.0, 0.0]])
    for view, tilt in enumerate(np.radians(made.scheme.tilt_deg)):
        for place in places:
            u = place[0] * np.cos(tilt) + place[2] * np.sin(tilt)
            r = 10 * np.hypot(x - 47.5 - u / 10, y - 31.5 - place[1] / 10)
            stack[view] += strength * np.clip((50 - r) / 10 + 0.5, 0, 1)
    return replace(made.tilt_series(), halves=None, images=ImagesInMemory(stack, 10.0))


def test_beads_are_not_what_is_predicted(made):
    """Beads that are filled change nothing, and beads that are not gain nothing but streaks."""
    settings = Settings(filter="wiener-exact:match", gold="erase")
    fold = [spread_views(made.scheme.tilt_deg)[0]]
    without = left_out_correlation(with_beads(made, 0.0), settings, fold)
    beads = with_beads(made, 60.0)
    filled = left_out_correlation(beads, settings, fold)
    np.testing.assert_allclose(filled.mean[1:5], without.mean[1:5], atol=0.1)
    seen = left_out_correlation(beads, replace(settings, gold="as-is"), fold)
    assert (seen.mean[1:] < filled.mean[1:] + 0.03).all()
    assert seen.mean[-1] < filled.mean[-1]


def test_everyone_is_compared_with_the_same_images(made):
    """Weighting for dose makes the images smoother: their own prediction would gain by that."""
    series = made.tilt_series()
    truth = [(0, 0, made.truth)]
    off, on = (
        left_out_correlation(series, Settings(dose_weight=dose), slabs_of=lambda *_: truth)
        for dose in ("off", "on")
    )
    np.testing.assert_array_equal(on.correlation, off.correlation)


def test_bands_without_signal_are_known(made):
    found = left_out_correlation(made.tilt_series(), Settings(filter="exact"))
    assert found.has_signal[:4].all()
    assert found.has_signal[-1]
    noise = np.random.default_rng(0).standard_normal((10, 2)) * [0.01, 0.01] + [0.3, 0.001]
    only = LeftOut(found.images, found.tilt_deg, found.bands[:2], 10.0, noise)
    assert only.has_signal.tolist() == [True, False]


def test_only_like_is_compared_with_like(made):
    series = made.tilt_series()
    one = left_out_correlation(series, Settings(), [[5, 15]])
    other = left_out_correlation(series, Settings(), [[5, 16]])
    with pytest.raises(InputError, match="views 6, 16 at 10 A and 6, 17 at 10 A"):
        one.gain_over(other)
    single = LeftOut(one.images[:1], one.tilt_deg[:1], one.bands, 10.0, one.correlation[:1])
    assert np.isnan(single.standard_error).all()


def test_projections_of_volumes_correlate_view_by_view(made):
    """Where one view's central slice is wrong, that view alone shows it."""
    tilts = np.array([-30.0, 0.0, 30.0])
    _, slices = TiltGeometry.from_angles(tilts).factor()
    grid = made.grid
    same = volumes_by_view(made.truth, 2 * made.truth, grid, slices)
    np.testing.assert_allclose(same[:, 1:], 1, atol=1e-5)
    spectrum = np.fft.fftn(made.truth)
    nz, _, nx = grid.shape
    angle = np.degrees(np.arctan2(np.fft.fftfreq(nz)[:, None], np.fft.fftfreq(nx)))
    wrong = np.abs((angle + 90) % 180 - 90) < 12  # about the slice of the view at 0 degrees
    wrong |= np.hypot(np.fft.fftfreq(nz)[:, None], np.fft.fftfreq(nx)) < 0.01
    spectrum[np.broadcast_to(wrong[:, None], spectrum.shape)] = 0
    lost = volumes_by_view(np.fft.ifftn(spectrum).real.astype(np.float32), made.truth, grid, slices)
    assert (lost[1, 3:7] < 0.5).all(), lost
    assert (lost[[0, 2], 3:7] > 0.8).all(), lost


def test_halves_of_images_correlate_by_their_signal(made):
    found = halves_by_view(made.tilt_series())
    assert found.shape == (41, 9)
    middle, steep = found[20], found[0]
    assert middle[1] > 0.5 > 0.3 > abs(middle[7])
    assert middle[1:5].mean() > steep[1:5].mean()  # thicker ice and more damage
    assert halves_by_view(made.tilt_series(clean=True)) is None
