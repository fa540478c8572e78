"""Areas under ROC curves by brute force; particles that are there are found, others are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from tomofilt.errors import InputError
from tomofilt.evaluate.contrast import contrast_to_noise, labelled_contrast
from tomofilt.evaluate.detection import auc, background_places, detection, radial_template

SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auc_counts_pairs(positives, negatives):
    """By definition: every positive against every negative, ties counting half."""
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert auc(np.array(positives), np.array(negatives)) == pytest.approx(np.mean(pairs))


def test_auc_is_the_area_under_the_curve():
    """By the trapezoidal rule under the curve itself."""
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(1, 1, 80), rng.normal(0, 1, 300)
    thresholds = np.sort(np.concatenate([positives, negatives, [np.inf]]))[::-1]
    hits = [(positives >= t).mean() for t in thresholds]
    alarms = [(negatives >= t).mean() for t in thresholds]
    assert auc(positives, negatives) == pytest.approx(np.trapezoid(hits, alarms))


@pytest.fixture(scope="module")
def scene():
    """Balls of radius 4 at places that are no voxel centres, in a slab of a volume."""
    rng = np.random.default_rng(4)
    shape = (40, 80, 90)
    grid = np.indices(shape)
    truth, centres = np.zeros(shape, np.float32), []
    while len(centres) < 30:
        place = rng.uniform([12, 6, 6], [28, 73, 83])
        if all(np.linalg.norm(place - other) > 10 for other in centres):
            centres.append(place)
            distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, place, strict=True)))
            truth += np.clip(4.5 - distance, 0, 1).astype(np.float32)
    return truth, np.array(centres)


def test_template_is_the_mean_profile(scene):
    truth, centres = scene
    template = radial_template(truth, centres, 12)
    reach = len(template) // 2
    assert template.shape == (2 * reach + 1,) * 3
    assert 4 <= reach <= 6
    distance = np.linalg.norm(np.indices(template.shape) - reach, axis=0)
    np.testing.assert_allclose(template[distance < 3], 1, atol=0.02)
    assert abs(template[distance > 5.5]).max() < 0.1
    assert template[distance.round(6) == 4].mean() == pytest.approx(0.5, abs=0.15)
    with pytest.raises(InputError, match="right particle list"):
        radial_template(truth, np.array([[1.0, 1.0, 1.0]]), 5)


def test_particles_in_noise_are_found(scene):
    truth, centres = scene
    template = radial_template(truth, centres, 12)
    background = background_places(truth.shape, centres, 10, 5)
    noise = np.random.default_rng(1).standard_normal(truth.shape).astype(np.float32)
    areas = []
    for sigma in (1e-3, 4.0, 30.0, 1e6):
        found = detection(truth + sigma * noise, template, centres, background)
        assert found.particles == 30
        areas.append(found.auc)
    assert areas[0] == 1
    assert areas[0] > areas[1] > areas[2]
    assert areas[1] > 0.9
    assert areas[3] == pytest.approx(0.5, abs=3.5 * 0.29 / np.sqrt(30))  # chance
    wrong = detection(truth + 4 * noise, template, centres + np.array([0, 9, 0]), background)
    assert wrong.auc < 0.75


def test_scores_are_the_correlation_with_the_template(scene):
    """Against sums over voxels, at the places themselves."""
    truth, centres = scene
    noise = np.random.default_rng(1).standard_normal(truth.shape)
    volume = (truth + 15 * noise).astype(np.float32)
    template = radial_template(truth, centres, 12)
    background = background_places(truth.shape, centres, 10, 8)[:400]
    middle = template - template.mean()
    reach = len(template) // 2

    def score(place):
        z, y, x = np.rint(place).astype(int)
        box = (slice(at - reach, at + reach + 1) for at in (z, y, x))
        return (volume[tuple(box)] * middle).sum()

    expected = auc(
        np.array([score(place) for place in centres]),
        np.array([score(place) for place in background]),
    )
    found = detection(volume, template, centres, background)
    assert 0.6 < expected < 0.97
    assert found.auc == pytest.approx(expected, abs=1e-12)


def test_whitening_undoes_a_radial_filter(scene):
    truth, centres = scene
    noise = np.random.default_rng(2).standard_normal(truth.shape)
    volume = (truth + 6 * noise).astype(np.float32)
    template = radial_template(truth, centres, 12)
    background = background_places(truth.shape, centres, 10, 5)
    k = np.sqrt(
        np.fft.fftfreq(40)[:, None, None] ** 2
        + np.fft.fftfreq(80)[:, None] ** 2
        + np.fft.rfftfreq(90) ** 2
    )
    spectrum = np.fft.rfftn(volume) * (0.02 + k)
    sharp = np.fft.irfftn(spectrum, volume.shape, axes=(0, 1, 2)).astype(np.float32)
    before, after = (
        detection(each, template, centres, background) for each in (volume, 50 * sharp + 3)
    )
    assert after.auc_whitened == pytest.approx(before.auc_whitened, abs=2e-3)
    assert abs(after.auc - before.auc) > 0.02


def test_background_places(scene):
    truth, centres = scene
    places = background_places(truth.shape, centres, 10, 7)
    assert len(places) > 500
    gaps = np.linalg.norm(places[:, None] - centres, axis=2).min(axis=1)
    assert gaps.min() >= 10
    assert places[:, 0].min() >= centres[:, 0].min()
    assert places[:, 0].max() <= centres[:, 0].max()
    assert places[:, 1:].min() >= 7
    np.testing.assert_array_equal(places, background_places(truth.shape, centres, 10, 7))
    with pytest.raises(InputError, match="particles fill the volume"):
        background_places(truth.shape, centres, 80, 7)
    with pytest.raises(InputError, match="no place 60"):
        background_places(truth.shape, centres, 10, 60)


def test_impossible_detection_is_refused(scene):
    truth, centres = scene
    template = radial_template(truth, centres, 12)
    with pytest.raises(InputError, match="0 of 1 particles"):
        detection(truth, template, np.array([[-5.0, 0, 0]]), centres)
    with pytest.raises(InputError, match="odd"):
        detection(truth, template[:-1], centres, centres)
    with pytest.raises(InputError, match="fit into"):
        detection(truth[:5], template, centres, centres)
    with pytest.raises(InputError, match="positives and negatives"):
        auc(np.empty(0), np.ones(3))


def test_contrast_is_in_standard_deviations_of_the_background():
    rng = np.random.default_rng(0)
    labels = np.zeros((30, 40, 40), np.int16)
    labels[10:20, 5:15, 5:15], labels[12:18, 25:35, 25:35] = 1, 3
    volume = rng.normal(7, 2, labels.shape).astype(np.float32)
    volume[labels == 1] += 4
    volume[labels == 3] -= 1
    volume[:10] *= 50  # planes without objects are not the background
    found = labelled_contrast(volume, labels, {1: "a", 2: "b", 3: "c"})
    assert set(found) == {"a", "c"}
    assert found["a"] == pytest.approx(2, abs=0.05)
    assert found["c"] == pytest.approx(-0.5, abs=0.1)
    inside, around = labels == 1, (labels == 0) & (np.arange(30) >= 10)[:, None, None]
    around &= (np.arange(30) < 20)[:, None, None]
    expected = (volume[inside].mean() - volume[around].mean()) / volume[around].std()
    assert found["a"] == pytest.approx(expected, rel=1e-5)
    assert contrast_to_noise(volume, inside, around) == found["a"]


def test_impossible_contrast_is_refused():
    volume = gaussian_filter(np.random.default_rng(0).standard_normal((6, 6, 6)), 1)
    inside = np.zeros(volume.shape, bool)
    with pytest.raises(InputError, match="mask of the object is empty"):
        contrast_to_noise(volume, inside, ~inside)
    with pytest.raises(InputError, match="mask of the background is empty"):
        contrast_to_noise(volume, ~inside, inside)
    with pytest.raises(InputError, match=r"background has \(5, 6, 6\)"):
        contrast_to_noise(volume, ~inside, inside[1:])
    inside[2] = True
    with pytest.raises(InputError, match="no noise"):
        contrast_to_noise(np.ones_like(volume), inside, ~inside)
    with pytest.raises(InputError, match="every label is 0"):
        labelled_contrast(volume, np.zeros(volume.shape, int), {1: "a"})
    with pytest.raises(InputError, match="labels have"):
        labelled_contrast(volume, np.zeros((5, 6, 6), int), {1: "a"})
