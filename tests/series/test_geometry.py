"""View maps from angles, and what they refuse."""

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.series.geometry import TiltGeometry, VolumeGrid


def test_rotations_are_right_handed_and_in_order():
    """Rx first, then Ry, then Rz; each takes the first named axis towards the second."""
    x, y, z = np.eye(3) * 10
    about_y = TiltGeometry.from_angles(90.0).project([z])[0, 0]
    np.testing.assert_allclose(about_y, [10, 0], atol=1e-12)
    about_x = TiltGeometry.from_angles(0.0, xtilt_deg=90.0).project([z])[0, 0]
    np.testing.assert_allclose(about_x, [0, -10], atol=1e-12)
    about_z = TiltGeometry.from_angles(0.0, rotation_deg=90.0).project([x])[0, 0]
    np.testing.assert_allclose(about_z, [0, 10], atol=1e-12)
    # y -> z (about x) -> x (about y) -> y (about z)
    everything = TiltGeometry.from_angles(90.0, 90.0, 90.0, shift_angst=(1, 2)).project([y])[0, 0]
    np.testing.assert_allclose(everything, [1, 12], atol=1e-12)


def test_repr_is_code():
    geometry = TiltGeometry.from_angles([-3.0, 3.0], 85.0, 1.0, (4.0, 5.0))
    again = eval(repr(geometry), {"TiltGeometry": TiltGeometry, "np": np})
    np.testing.assert_allclose(again.image_from_volume, geometry.image_from_volume, atol=1e-7)


def test_binned_grids_keep_the_specimen_in_place():
    """IMOD's rule keeps the middle of the box, RELION's the centre of the first voxel."""
    grid = VolumeGrid((31, 61, 64), 8.0, (15.0, 30.0, 32.0))
    imod = grid.binned(2.5)
    assert imod.shape == (12, 24, 25)
    assert imod.centre == ((12 - 1) / 2, (24 - 1) / 2, (25 - 1) / 2 + 0.5 / 2.5)
    relion = grid.binned(2.5, first_voxel_kept=True)
    assert relion.shape == (12, 24, 26)  # as RELION made job009 of its golden project
    assert relion.centre == (15.0 / 2.5, 30.0 / 2.5, 32.0 / 2.5)


def test_select_keeps_order():
    geometry = TiltGeometry.from_angles([-10.0, 0.0, 10.0])
    picked = geometry.select([2, 0]).image_from_volume
    np.testing.assert_array_equal(picked, geometry.image_from_volume[[2, 0]])


def test_bad_maps_are_refused():
    with pytest.raises(InputError, match="shape"):
        TiltGeometry(np.zeros((3, 3)))
    with pytest.raises(InputError, match="NaN"):
        TiltGeometry(np.full((1, 2, 4), np.nan))
    with pytest.raises(InputError, match="along the tilt axis"):
        TiltGeometry.from_angles(0.0, xtilt_deg=90.0).factor()
    with pytest.raises(InputError, match="empty"):
        VolumeGrid.centred((0, 4, 4), 1.0)
