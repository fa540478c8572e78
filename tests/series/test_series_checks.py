"""What no tilt series can be is refused, and what is odd is said, whatever reader it is from."""

import re
from dataclasses import replace

import numpy as np
import pytest
from strategies_projects import BlankImages, FakeProject, tilt_series

from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.checks import checked
from tomofilt.series.ctf import Ctf
from tomofilt.series.geometry import LocalGeometry, TiltGeometry, VolumeGrid
from tomofilt.series.projects import detect, read_series
from tomofilt.series.tiltseries import Sourced


class Noise(BlankImages):
    """Images of noise, each another."""

    def __init__(self, shape, seed=0, level=1.0):
        super().__init__(shape)
        self.values = np.random.default_rng(seed).normal(size=shape) * level

    def read(self, image, y_start=0, y_stop=None):
        return self.values[image, y_start:y_stop].astype(np.float32)


TILTS = np.linspace(-50, 50, 11)


def plain(tilts=TILTS, *, rotation=0.0, xtilt=0.0, shift=(0.0, 0.0), **changes):
    """A series that nothing is wrong with: 11 images of 32 x 32 px."""
    tilts = np.asarray(tilts, float)
    if "geometry" not in changes:
        changes["geometry"] = TiltGeometry.from_angles(tilts, rotation, xtilt, shift)
    given = {
        "images": BlankImages((len(tilts), 32, 32)),
        "views": np.arange(len(tilts)),
        "tilt_deg": tilts,
        "grid": VolumeGrid.centred((12, 32, 32), 10.0),
        "excluded": (),
        "dose_e_per_a2": None,
        "facts": {"tilt_angles": Sourced("11", "TS.tlt")},
        "notes": (),
    }
    return tilt_series(**(given | changes))


def test_a_right_series_passes_as_it_is():
    assert checked(plain()).notes == ()
    assert checked(plain(xtilt=3.0)).notes == ()  # a constant x tilt is normal
    assert checked(plain(rotation=175.0)).notes == ()
    assert checked(plain([0.0], views=np.array([0]))).notes == ()


@pytest.mark.parametrize("angle", [900.0, -90.5, np.nan, np.inf])
def test_a_tilt_that_no_stage_has(angle):
    tilts = TILTS.copy()
    tilts[4] = angle
    series = plain(tilts, geometry=TiltGeometry.from_angles(TILTS))
    with pytest.raises(InputError, match=r"TS_01 \(TS\.tlt\), view 5, has a tilt of .* 90 deg at"):
        checked(series)


def test_angles_that_are_all_equal():
    with pytest.raises(InputError, match=r"TS\.tlt.*: all tilt angles are 0,"):
        checked(plain(np.zeros(11)))
    with pytest.raises(InputError, match="all tilt angles are 3"):
        checked(plain([3.0, 3.0]))


def test_angles_in_radians():
    with pytest.raises(InputError, match=r"all 11 tilt angles are within -0\.9 and 0\.9.*radians"):
        checked(plain(np.linspace(-0.9, 0.9, 11)))
    assert checked(plain(np.linspace(-0.9, 0.9, 10)))  # so few may be a test of the stage


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[4.0, 0], [0, 4.0]], r"view 1, has a transform that magnifies by 4, but 0\.5 to 2"),
        ([[0.1, 0], [0, 0.1]], r"magnifies by 0\.1"),
        ([[1.5, 0], [0, 1.0]], r"stretches one axis 1\.50 times the other"),
        ([[1.0, 0.3], [0, 1.0]], r"skews the axes by 17 deg"),
        ([[0.0, 0], [0, 0]], r"magnifies by 0"),
    ],
)
def test_view_maps_that_no_alignment_makes(matrix, message):
    maps = np.array(matrix) @ plain().geometry.image_from_volume
    with pytest.raises(InputError, match=message):
        checked(plain(geometry=TiltGeometry(maps)))
    fine = plain().geometry.image_from_volume
    lattice = np.broadcast_to(fine[:, None, None], (11, 2, 2, 2, 4)).copy()
    lattice[:, 1, 0] = maps
    local = LocalGeometry(np.array([0.0, 9.0]), np.array([0.0, 9.0]), lattice)
    with pytest.raises(InputError, match="local alignment of view 1, has a transform"):
        checked(plain(geometry=TiltGeometry(fine, local)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": VolumeGrid.centred((12, 10**30, 32), 10.0)}, r"32 x 1e\+30 x 12 px .* larger"),
        ({"grid": VolumeGrid.centred((10**5, 10**5, 10**5), 10.0)}, "larger than any file"),
        ({"grid": VolumeGrid((12, 32, 32), 10.0, (6.0, 1e30, 16.0))}, r"1e\+30 px beside"),
        ({"grid": VolumeGrid((12, 32, 32), 10.0, (6.0, np.nan, 16.0))}, "beside the tomogram"),
        ({"binning": 33.0}, "binning by 33 leaves nothing of a tomogram of 32 px"),
        ({"binning": np.nan}, "binning by nan leaves nothing"),
        ({"binning": -1.0}, "binning by -1 leaves nothing"),
        ({"images": BlankImages((11, 32, 32), pixel_angst=1e30)}, "a pixel size of 1e.30 A"),
        ({"images": BlankImages((11, 32, 32), pixel_angst=np.nan)}, "a pixel size of nan A"),
    ],
)
def test_sizes_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        checked(plain(**changes))


def test_images_beside_the_tomogram():
    with pytest.raises(InputError, match=r"no view meets the tomogram: .* 32 x 32 px, .* 300 px"):
        checked(plain(shift=(3000.0, 0.0)))
    shifts = np.zeros((11, 2))
    shifts[[3, 4, 8]] = 3000.0, -200.0
    (note,) = checked(plain(shift=shifts)).notes
    assert "3 of 11 views show no part of the tomogram, 4-5,9" in note


def test_a_tomogram_wider_than_its_images():
    grid = VolumeGrid.centred((12, 32, 64), 10.0)
    (note,) = checked(plain(grid=grid)).notes
    assert "64 unbinned px wide in x, but the least tilted image fills only 32" in note
    turned = plain(rotation=90.0, images=BlankImages((11, 64, 32)), grid=grid)
    assert checked(turned).notes == ()


def test_views_that_alignment_left_out():
    rotation = np.full(11, 85.0)
    rotation[[2, 6]] = 0.0
    (note,) = checked(plain(rotation=rotation)).notes
    assert "the tilt axis of views 3,7 lies apart from that of the others" in note


def ctf(**changes):
    zero = np.zeros(11)
    right = Ctf(zero + 30000, zero + 29000, zero, zero, 300.0, 2.7, 0.07)
    return replace(right, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voltage_kv": 0.0}, "a voltage of 0 kV"),
        ({"voltage_kv": 300000.0}, "a voltage of 300000 kV"),
        ({"voltage_kv": np.nan}, "a voltage of nan kV"),
        ({"cs_mm": 2.7e7}, "a spherical aberration of 2.7e.07 mm"),
        ({"amplitude_contrast": 7.0}, "an amplitude contrast of 7"),
        ({"amplitude_contrast": -0.1}, "an amplitude contrast of -0.1"),
        ({"defocus_u_angst": np.full(11, np.inf)}, "a defocus of inf A in view 1"),
        ({"defocus_u_angst": np.full(11, 1e9)}, "a defocus of 1e.09 A in view 1"),
    ],
)
def test_optics_that_cannot_be_are_unknown(changes, message):
    assert checked(plain(ctf=ctf())).ctf is not None
    series = checked(plain(ctf=ctf(**changes)))
    assert series.ctf is None
    (note,) = series.notes
    assert note.startswith("the CTF is not known: ")
    assert re.search(message, note)


def test_voltage_and_exposure_that_cannot_be_are_unknown():
    series = checked(plain(voltage_kv=0.0, dose_e_per_a2=np.linspace(-3, 30, 11)))
    assert (series.voltage_kv, series.dose_e_per_a2) == (None, None)
    assert "a voltage of 0 kV cannot be" in series.notes[0]
    assert "an exposure of -3 to 30 electrons/A^2 cannot be" in series.notes[1]


# ------------------------------------------------------------------------------ halves, logarithm


def with_halves(change=None):
    """A series whose images are the sums of their halves, after a change of the halves."""
    even, odd = Noise((11, 32, 32), 1), Noise((11, 32, 32), 2)
    whole = Noise((11, 32, 32))
    whole.values = even.values + odd.values
    for half, name in ((even, "TS_EVN.mrc"), (odd, "TS_ODD.mrc")):
        half.files = (half.files[0].with_name(name),)
    if change:
        change(even.values, odd.values, whole.values)
    return plain(images=whole, halves=(even, odd))


def test_halves_that_are_right_are_kept():
    series = checked(with_halves())
    assert series.halves is not None
    assert series.halves_refused is None
    assert series.notes == ()


def blank(even, odd, whole):
    odd[:] = 0.0


def blank_in_some(even, odd, whole):
    even[[3, 4]] = 7.0


def broken(even, odd, whole):
    odd[2, 16] = np.nan


def equal(even, odd, whole):
    odd[:] = even


def scaled(even, odd, whole):
    odd[:] = 2 * even + 3


def not_halved(even, odd, whole):
    even[:] = whole / 2


def reversed_order(even, odd, whole):
    odd[:] = odd[::-1].copy()


def swapped(even, odd, whole):
    even[[2, 3]] = even[[3, 2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (blank, "TS_ODD.mrc is blank"),
        (blank_in_some, "TS_EVN.mrc is blank (or not finite) in images 4-5"),
        (broken, "TS_ODD.mrc is blank (or not finite) in images 3"),
        (equal, "image 1 of TS_ODD.mrc is that of TS_EVN.mrc"),
        (scaled, "image 1 of TS_ODD.mrc is that of TS_EVN.mrc"),
        (not_halved, "image 1 of TS_EVN.mrc is the whole image"),
        (reversed_order, "TS_ODD.mrc has its images in another order: its image 1 resembles"),
        (swapped, "TS_EVN.mrc has its images in another order: its image 3 resembles image 4"),
    ],
)
def test_halves_that_cannot_be_trusted_are_said_and_not_used(change, message):
    series = checked(with_halves(change))
    assert series.halves is None
    assert series.halves_refused.startswith(message)
    (note,) = series.notes
    assert note.startswith(message)
    assert "the whole images alone" in note


def test_a_blank_view_is_no_fault_of_the_halves():
    def without_a_view(even, odd, whole):
        for each in (even, odd, whole):
            each[5] = 0.0

    assert checked(with_halves(without_a_view)).halves is not None


def test_rows_without_contrast_say_nothing():
    """The middle of an image may be blank, a cut-out border say, though the image is not."""

    def without_rows(even, odd, whole):
        for each in (even, odd, whole):
            each[5, 4:28] = 0.0

    assert checked(with_halves(without_rows)).halves is not None


def test_a_logarithm_of_nothing():
    images = Noise((11, 32, 32), level=5.0)
    images.values -= 32650
    with pytest.raises(InputError, match=r"\(LOG\) leaves no positive value, .* -326.* to -326"):
        checked(plain(images=images, log_base=0.0))
    assert checked(plain(images=images, log_base=32768.0)).log_base == 32768.0


# ------------------------------------------------------------------------------------- the door


def test_every_read_is_checked(monkeypatch):
    project = FakeProject()
    monkeypatch.setattr(project, "read", lambda name, options: plain(np.zeros(11)))
    with pytest.raises(InputError, match="all tilt angles are 0"):
        read_series(project, "TS_01")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("job/aligned_tilt_series.star", r"STAR files of RELION: give one of .*job/aligned_tilt"),
        ("sets/TS_1/TS_1.xf", r"no project of a known kind \(.*\) is here$"),
        ("TS_1/TS_1.edf", r"IMOD folders are in it: give one of .*TS_1"),
        ("rec.mrc", r"MRC files, but no alignment"),
        ("readme.txt", r"no project of a known kind \(.*\) is here$"),
    ],
)
def test_what_is_no_project_is_told_for_what_it_is(tmp_path, made, message):
    path = tmp_path / made
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    folder = tmp_path / "job" if made.startswith("job") else tmp_path
    with pytest.raises(InputError, match=message):
        detect(folder)


def test_an_image_file_is_no_project(tmp_path):
    from tomofilt.series.projects import write_stack

    write_stack(tmp_path / "rec.mrc", Noise((3, 4, 5)))
    with pytest.raises(InputError, match=r"an MRC file of 5 x 4 x 3 voxels: give the folder"):
        detect(tmp_path / "rec.mrc")
    with pytest.raises(MissingFileError, match="there is no such file or folder"):
        detect(tmp_path / "absent")
