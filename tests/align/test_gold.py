"""Gold beads: found, filled and put back, in images made of discs, blobs and noise."""

import numpy as np
import pytest

from tomofilt.align.beads import Beads
from tomofilt.align.gold import find_beads
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid

GRID = ImageGrid.centred((180, 170), 10.0)
TILTS = np.arange(-50.0, 51, 5)
PLACES = np.array(
    [[-310.0, 250, 120], [0, -440, -150], [420, 80, 40], [-520, -280, 0], [150, 520, -60]]
)


def slices():
    return TiltGeometry.from_angles(TILTS).factor()[1]


def image(view, drawn, grid, noise, places=PLACES, shape=(180, 170)):
    """White noise, and what ``drawn`` says of the distance from each place, in angstrom."""
    made = np.random.default_rng(view).normal(0, noise, shape).astype(np.float32)
    tilt = np.radians(TILTS[view])
    y, x = np.indices(shape)
    for place in places:
        u = place[0] * np.cos(tilt) + place[2] * np.sin(tilt)
        far_x = (x - grid.centre[1]) * grid.pixel_angst[1] - u
        far_y = (y - grid.centre[0]) * grid.pixel_angst[0] - place[1]
        made += drawn(np.hypot(far_x, far_y)).astype(np.float32)
    return made


def distance_angst(view):
    """How far each pixel of a view is from the nearest bead."""
    return np.min([image(view, lambda r: r, GRID, 0.0, [place]) for place in PLACES], axis=0)


def disc(radius, height, pixel=10.0):
    return lambda r: height * np.clip((radius - r) / pixel + 0.5, 0, 1)


def search(drawn, noise=1.0, pixel=10.0, places=PLACES):
    grid = ImageGrid.centred((180, 170), pixel)
    images = [image(view, drawn, grid, noise, places) for view in range(len(TILTS))]
    return find_beads(lambda view: images[view], slices(), grid, 600.0, 2), images


def in_order(places):
    return places[np.lexsort(np.round(places, -2).T)]


@pytest.mark.parametrize("height", [-4.0, 4.0])
@pytest.mark.parametrize("diameter", [60.0, 100.0, 150.0, 300.0])
def test_beads_are_found_where_they_are(diameter, height):
    beads, _ = search(disc(diameter / 2, height))
    assert len(beads) == len(PLACES)
    np.testing.assert_allclose(in_order(beads.places_angst), in_order(PLACES), atol=12)
    np.testing.assert_allclose(2 * beads.radii_angst, diameter, rtol=0.12)
    np.testing.assert_allclose(beads.contrasts, height, rtol=0.2)


def test_other_pixels():
    beads, _ = search(disc(50.0, -4.0, 7.0), pixel=7.0)
    inside = np.abs(PLACES[:, :2]).max(axis=1) < 480
    assert len(beads) >= inside.sum()
    np.testing.assert_allclose(2 * beads.radii_angst, 100.0, rtol=0.1)


@pytest.mark.parametrize(
    ("pixel", "diameter", "count"), [(40.0, 300.0, 5), (40.0, 100.0, 0), (3.0, 50.0, 1)]
)
def test_beads_of_fewer_than_three_pixels_are_left_alone(pixel, diameter, count):
    """Of pixels of 3 A, the images are so small that they show one bead."""
    beads, _ = search(disc(diameter / 2, -9.0, pixel), pixel=pixel)
    assert len(beads) == count
    np.testing.assert_allclose(2 * beads.radii_angst, diameter, rtol=0.1)


def test_beads_that_somebody_tells_of_are_believed():
    """Of one that is found anyway, and of one where nothing is seen, in three views."""
    grid = ImageGrid.centred((180, 170), 10.0)
    images = [image(view, disc(50.0, -4.0), grid, 1.0) for view in range(len(TILTS))]
    nothing = np.array([300.0, -400.0, 100.0])
    told = np.full((2, len(TILTS), 2), np.nan)
    for bead, place in enumerate((PLACES[2], nothing)):
        for view in (2, 9, 18):
            tilt = np.radians(TILTS[view])
            told[bead, view] = place[0] * np.cos(tilt) + place[2] * np.sin(tilt), place[1]
    beads = find_beads(lambda view: images[view], slices(), grid, 600.0, 2, told)
    assert (len(beads), beads.told) == (len(PLACES) + 1, 1)
    np.testing.assert_allclose(beads.places_angst[-1], nothing, atol=1)
    assert beads.radii_angst[-1] == pytest.approx(50.0, rel=0.1)
    assert beads.facts()["from_the_project"] == 1
    assert "(1 by the project's model alone)" in beads.summary()


def test_a_bead_beside_another_is_where_it_is():
    """To half a voxel, though its spots run into those of its neighbour in many views."""
    beads, _ = search(disc(50.0, -4.0), places=np.array([[0.0, 0, 100], [130.0, 60, -60]]))
    assert len(beads) == 2
    np.testing.assert_allclose(
        beads.places_angst[np.argsort(beads.places_angst[:, 0])],
        [[0, 0, 100], [130, 60, -60]],
        atol=5,
    )


def test_neither_noise_nor_molecules_are_gold():
    """Blobs that stand out as much but have no edge, and single spots, are left alone."""
    for drawn in (
        lambda r: 0 * r,
        lambda r: -5 * np.exp(-((r / 90) ** 2) / 2),
        lambda r: -8 * np.exp(-((r / 40) ** 2) / 2),
    ):
        beads, images = search(drawn)
        assert len(beads) == 0
        assert beads.facts() == {"beads": 0}
        assert beads.fill(3, images[3], GRID) is images[3]


def test_a_filled_image_has_the_level_and_the_grain_of_what_is_around():
    beads, images = search(disc(50.0, -9.0))
    for view in (0, 10):
        filled, far = beads.fill(view, images[view], GRID), distance_angst(view)
        # beyond the radius of 50 A: 10 A, one and a half pixels, and an error of the place
        np.testing.assert_array_equal(filled[far > 85], images[view][far > 85])
        bead = far < 70
        assert abs(filled[bead].mean()) < 0.1
        assert 0.8 < filled[bead].std() < 1.2
        assert images[view][bead].mean() < -2  # the image itself is as it was
    np.testing.assert_array_equal(beads.fill(10, images[10], GRID), filled)


def test_beads_at_an_edge_are_filled_as_far_as_they_are_seen():
    """Of one that is half outside, one in a corner half without data, and one beside the image."""
    middles = np.array([[-850.0, 0, 0], [845.0, 840, 0], [0, 5000, 0]])
    shifts = np.zeros((3, len(TILTS), 2))
    beads = Beads(middles, np.full(3, 80.0), np.full(3, -9.0), shifts, slices())
    bead = image(10, disc(80.0, -9.0), GRID, 0.0, middles) < -8
    before = 5 + image(10, disc(80.0, -9.0), GRID, 1.0, middles)
    before[-4:] = 0
    filled = beads.fill(10, before, GRID)
    np.testing.assert_array_equal(filled[-4:], 0)
    for part in (np.s_[:, :20], np.s_[:-4, -20:]):
        values = filled[part][bead[part]]
        assert len(values) > 50
        assert abs(values.mean() - 5) < 0.5
        assert 0.6 < values.std() < 1.4
    away = beads.select(np.array([False, False, True]))
    assert away.fill(10, before, GRID) is before


def test_rows_before_and_behind_the_grid_change_hardly_anything():
    beads, images = search(disc(50.0, -9.0))
    filled, halo = beads.fill(7, images[7], GRID), 4
    padded = ImageGrid.centred((180 + 2 * halo, 170), 10.0)
    high = beads.fill(7, np.pad(images[7], [(halo, halo), (0, 0)]), padded)
    inside, bead = high[halo:-halo], filled != images[7]
    np.testing.assert_array_equal(inside != images[7], bead)
    # the level is measured in blocks, which begin elsewhere; noise has a deviation of 1
    assert (inside[bead] - filled[bead]).std() < 0.2


def test_put_back_beads_have_their_size_and_weight_in_any_block():
    diameter, height = 100.0, -6.0
    beads, _ = search(disc(diameter / 2, height))
    grid = VolumeGrid.centred((60, 130, 130), 10.0)
    whole = np.zeros(grid.shape, dtype=np.float32)
    beads.put_back(whole, grid, 0, 0, 10.0)
    place = beads.places_angst[np.abs(beads.places_angst).sum(axis=1).argmin()]
    z, y, x = np.rint(place[::-1] / 10 + grid.centre).astype(int)
    line = whole[z, y, x - 10 : x + 11]
    width = 10.0 * (line < line.min() / 2).sum()
    assert width == pytest.approx(diameter, rel=0.2)
    # what it projects to is as much as was in the images
    ball = whole[z - 8 : z + 9, y - 8 : y + 9, x - 8 : x + 9]
    assert ball.sum() == pytest.approx(height * np.pi * (diameter / 20) ** 2, rel=0.25)
    blocks = np.zeros_like(whole)
    for z_start in (0, 25):
        for y_start in (0, 70):
            part = np.s_[z_start : z_start + 35, y_start : y_start + 70]
            block = np.zeros_like(blocks[part])
            beads.put_back(block, grid, y_start, z_start, 10.0)
            blocks[part] = block
    np.testing.assert_array_equal(blocks, whole)


def test_a_flat_image_has_no_beads():
    grid = ImageGrid.centred((180, 170), 10.0)
    flat = np.full((180, 170), 3.0, dtype=np.float32)
    assert len(find_beads(lambda view: flat, slices(), grid, 600.0, 1)) == 0
    assert len(find_beads(lambda view: 0 * flat, slices(), grid, 600.0, 1)) == 0
