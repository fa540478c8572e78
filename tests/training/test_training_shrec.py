"""A miniature of SHREC 2021 with all its quirks; the real one is 60 GB."""

import numpy as np
import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt.simulate import simulated_series
from tomofilt.training.shrec import PIXEL_ANGST, shrec_case, shrec_cases

# the specimen is made on larger voxels, so that something fits into so few
WIDTH, THICKNESS, MADE_ANGST = 64, 22, 20.0
TILTS = np.array([-58.2, -45.1, -31.4, -20.0, -9.5, 0.3, 10.6, 21.7, 33.0, 47.9, 61.3])


def write_nameless_mrc(path, volume):
    """An MRC file without the word MAP, a machine stamp or a pixel size."""
    header = np.zeros(256, "<i4")
    header[:4] = (*volume.shape[::-1], 2)
    path.write_bytes(header.tobytes() + volume.astype("<f4").tobytes())


def write_model(folder, number, *, reverse=True, negate=True, shift_sign=-1, binned_too=False):
    made = simulated_series(
        number,
        shape=(THICKNESS, WIDTH, WIDTH),
        pixel_angst=MADE_ANGST,
        tilt_deg=TILTS,
        snr=2.0,
        dose_e_per_a2=0,
        shift_angst=30.0,
        membranes=1,
    )
    model = folder / f"model_{number}"
    model.mkdir(parents=True)
    name = "projections_unbinne.mrc" if number == 9 else "projections_unbinned.mrc"
    images = -340 * made.images + 5000
    shift = made.geometry.image_from_volume[:, :, 3] / MADE_ANGST
    angles = made.scheme.tilt_deg
    # what is listed is the other way round
    listed = angles[::-1] if reverse else angles
    write_nameless_mrc(model / name, images)
    lines = ["# AlignmentTransX AlignmentTransY TiltAngle InPlaneRotation Magnification File"]
    lines += [""] + ["#"] * 4
    for view, (dx, dy) in enumerate(shift_sign * shift):
        angle = -listed[view] if negate else listed[view]
        lines.append(f"{dx:.4f}\t{dy:.4f} {angle:.4f} 0.000 1.000 proj_{view}.mrc")
    (model / "alignment_simulated.txt").write_text("\n".join(lines) + "\n")
    grand = np.zeros((WIDTH, WIDTH, WIDTH), np.float32)
    first = (WIDTH - THICKNESS) // 2
    grand[first : first + THICKNESS] = made.truth
    write_nameless_mrc(model / "grandmodel.mrc", grand)
    return made


@pytest.fixture(scope="module")
def shrec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrec21")
    made = {
        0: write_model(folder, 0),
        1: write_model(folder, 1, reverse=False, negate=True, shift_sign=1),
        9: write_model(folder / "full", 9, reverse=True, negate=False),
    }
    return folder, made


@pytest.mark.parametrize("number", [0, 1, 9])
def test_geometry_sign_and_scale_are_found(shrec, number):
    folder, made = shrec
    case = shrec_case(folder, number, downsample=2)
    assert case.problem.grid.voxel_angst == 2 * PIXEL_ANGST
    assert case.problem.grid.shape == case.truth.shape == (THICKNESS // 2, WIDTH // 2, WIDTH // 2)
    known = made[number].geometry.image_from_volume.copy()
    known[:, :, 3] *= PIXEL_ANGST / MADE_ANGST
    listed = case.series.geometry.image_from_volume
    np.testing.assert_allclose(listed, known, atol=1e-3)
    assert case.scale < 0
    assert 1 / case.scale == pytest.approx(-340, rel=0.1)


def test_downsampling_keeps_low_frequencies_alone(shrec):
    folder, made = shrec
    truth = made[0].truth
    reduced = shrec_case(folder, 0, downsample=2).truth
    full, half = np.fft.fftn(truth), np.fft.fftn(reduced)
    low = np.s_[:5, :15, :15]
    np.testing.assert_allclose(half[low], full[low] / 8, atol=1e-3 * np.abs(full).max())


def test_a_grand_model_of_the_other_archive(shrec, tmp_path):
    """Unpacked beside: half as wide, under the same name; the wider one is taken."""
    folder, _ = shrec
    model = tmp_path / "shrec" / "model_0"
    model.mkdir(parents=True)
    for name in ("projections_unbinned.mrc", "alignment_simulated.txt"):
        (model / name).symlink_to(folder / "model_0" / name)
    grand = np.zeros((WIDTH // 2,) * 3, np.float32)
    small = shrec_case(folder, 0, downsample=2)
    first = (WIDTH // 2 - THICKNESS // 2) // 2
    grand[first : first + THICKNESS // 2] = small.truth
    write_nameless_mrc(model / "grandmodel.mrc", grand)
    case = shrec_case(tmp_path / "shrec", 0, downsample=2)
    np.testing.assert_array_equal(case.truth, small.truth)


def test_one_purpose_for_each_model(shrec):
    folder, _ = shrec
    with pytest.raises(InputError, match="model 1 is in --train-models and in --test-models"):
        shrec_cases(folder, train=[0, 1], test=[1], downsample=2)
    cases = shrec_cases(folder, train=[0, 1], test=[9], downsample=2)
    assert [case.name for case in cases.validation] == ["model_1"]


def test_missing_and_wrong_files(shrec, tmp_path):
    folder, _ = shrec
    with pytest.raises(MissingFileError, match="model_7"):
        shrec_case(folder, 7)
    with pytest.raises(InputError, match="cannot be downsampled 5 fold"):
        shrec_case(folder, 0, downsample=5)
    model = tmp_path / "model_0"
    model.mkdir()
    for name in ("projections_unbinned.mrc", "grandmodel.mrc"):
        (model / name).symlink_to(folder / "model_0" / name)
    with pytest.raises(MissingFileError, match=r"alignment_simulated\.txt"):
        shrec_case(tmp_path, 0)
    table = (folder / "model_0" / "alignment_simulated.txt").read_text()
    alignment = model / "alignment_simulated.txt"
    alignment.write_text("\n".join(table.splitlines()[:-1]))
    with pytest.raises(InputError, match=r"lists 10 images, but projections_unbinned\.mrc has 11"):
        shrec_case(tmp_path, 0, downsample=2)
    alignment.write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no table"):
        shrec_case(tmp_path, 0, downsample=2)
    alignment.write_text(table)
    stack = folder / "model_0" / "projections_unbinned.mrc"
    (model / "projections_unbinned.mrc").unlink()
    (model / "projections_unbinned.mrc").write_bytes(stack.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated"):
        shrec_case(tmp_path, 0, downsample=2)
