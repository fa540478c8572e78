"""Simulated series on disk: two projects and the truth, all on the same voxels."""

import json
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from tomofilt.errors import OutputExistsError
from tomofilt.io.star import read_star
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid
from tomofilt.series.projects import detect
from tomofilt.simulate import simulated_series
from tomofilt.simulate.folder import refuse_occupied, write_series
from tomofilt.simulate.series import damaged_projections


def lone(shape, rotation_deg):
    """A series without noise of a specimen that ends within the tomogram."""
    series = simulated_series(
        3,
        shape=shape,
        tilt_deg=np.arange(-60, 61, 4),
        snr=np.inf,
        dose_e_per_a2=0.0,
        rotation_deg=rotation_deg,
        shift_angst=25.0,
    )
    truth = (series.truth * window(shape)).astype(np.float32)
    clean = damaged_projections(
        truth,
        series.grid,
        series.geometry,
        series.scheme,
        ImageGrid.centred(series.clean.shape[1:], 10.0),
    )
    return replace(series, truth=truth, clean=clean, halves=np.stack([clean, clean]) / 2)


def window(shape):
    z, y, x = (np.hanning(n + 2)[1:-1] for n in shape)
    return z[:, None, None] * y[:, None] * x


def offset_px(volume, truth):
    """By how much a volume is shifted (z, y, x): peak of the correlation where tilts see both."""
    spectra = [np.fft.fftn((a - a.mean()) * window(a.shape)) for a in (volume, truth)]
    k = np.meshgrid(*map(np.fft.fftfreq, truth.shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in k))
    seen = (radius > 0.03) & (radius < 0.25)
    seen &= np.abs(k[0]) < np.abs(k[2]) * np.tan(np.radians(57))
    cross = (spectra[0] * np.conj(spectra[1]))[seen]
    turns = 2j * np.pi * np.stack([axis[seen] for axis in k], axis=1)

    def correlation(shift):
        return -float((cross * np.exp(turns @ shift)).real.sum() / np.abs(cross).sum())

    return minimize(correlation, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-4}).x


@pytest.mark.parametrize(
    ("shape", "rotation_deg"), [((40, 64, 72), 3.3), ((41, 65, 71), 84.3), ((33, 70, 61), -95.0)]
)
def test_truth_and_tomogram_coincide_by_both_routes(tmp_path, shape, rotation_deg):
    """Odd and even sizes, and whatever each program takes for the centre: within 0.05 px."""
    simulated = lone(shape, rotation_deg)
    imod, relion, _ = write_series(tmp_path / "out", simulated, {})
    corners = np.array([[x, y, z] for x in (-400, 400) for y in (-300, 300) for z in (-150, 150)])
    truth = mrcfile.read(tmp_path / "out" / "truth" / "volume.mrc")
    volumes = []
    for path in (imod, relion):
        project = detect(path)
        (name,) = project.names
        destination = project.destination(name, tmp_path / path.name)
        series = project.read(name)
        # one geometry, up to the digits in the files, though about different centres
        moved = (np.array(series.grid.centre) - simulated.grid.centre)[::-1] * 10.0
        np.testing.assert_allclose(
            series.geometry.project(corners - moved),
            simulated.geometry.project(corners),
            atol=0.02,
        )
        reconstruct(series, destination, Settings(filter="ramp", preview=False))
        volumes.append(mrcfile.read(destination.volume))
        assert volumes[-1].shape == truth.shape
        np.testing.assert_allclose(offset_px(volumes[-1], truth), 0.0, atol=0.05)
    assert np.corrcoef(volumes[0].ravel(), volumes[1].ravel())[0, 1] > 0.999


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "out"
    series = simulated_series(
        2, shape=(40, 71, 90), tilt_deg=[-50, -20, 0, 20, 50], rotation_deg=10.0, shift_angst=30.0
    )
    paths = write_series(folder, series, {"seed": 2})
    return folder, series, paths


def test_imod_folder_holds_images_halves_and_metadata(written):
    _, series, (imod, _, _) = written
    assert sorted(path.name for path in imod.iterdir()) == [
        "TS_01.mrc",
        "TS_01.mrc.mdoc",
        "TS_01.rawtlt",
        "TS_01.tlt",
        "TS_01.xf",
        "TS_01_EVN.mrc",
        "TS_01_ODD.mrc",
        "newst.com",
        "tilt.com",
    ]
    for path in imod.glob("*.mrc"):
        assert mrcfile.validate(path)
    np.testing.assert_array_equal(mrcfile.read(imod / "TS_01.mrc"), series.images)
    read = detect(imod).read("TS_01")
    np.testing.assert_array_equal(read.halves[1].read(3), series.halves[1, 3])
    np.testing.assert_allclose(read.tilt_deg, series.scheme.tilt_deg, atol=1e-4)
    doses = [
        float(line.split("=")[1])
        for line in (imod / "TS_01.mrc.mdoc").read_text().splitlines()
        if line.startswith("PriorRecordDose")
    ]
    np.testing.assert_allclose(doses, series.scheme.exposure_before_e_per_a2)


def test_relion_project_has_every_column_that_relion_needs(written):
    folder, series, (_, relion, _) = written
    row = next(read_star(relion)["global"].rows())
    assert {
        "rlnTomoName",
        "rlnTomoTiltSeriesStarFile",
        "rlnTomoHand",
        "rlnVoltage",
        "rlnSphericalAberration",
        "rlnAmplitudeContrast",
        "rlnTomoTiltSeriesPixelSize",
    } <= set(row)
    table = read_star(folder / "relion" / row["rlnTomoTiltSeriesStarFile"])[row["rlnTomoName"]]
    assert {
        "rlnMicrographPreExposure",
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
        "rlnMicrographName",
        "rlnMicrographNameEven",
        "rlnMicrographNameOdd",
        "rlnTomoXTilt",
        "rlnTomoYTilt",
        "rlnTomoZRot",
        "rlnTomoXShiftAngst",
        "rlnTomoYShiftAngst",
    } <= set(table.columns)
    read = detect(relion).read("TS_01")
    np.testing.assert_array_equal(read.images.read(4), series.images[4])
    np.testing.assert_array_equal(read.halves[0].read(4), series.halves[0, 4])
    np.testing.assert_allclose(read.dose_e_per_a2, series.scheme.exposure_before_e_per_a2)
    assert read.grid.shape == series.grid.shape


def test_truth_says_where_everything_is(written):
    folder, series, (_, _, record) = written
    facts = json.loads(record.read_text())
    labels = mrcfile.read(folder / "truth" / "labels.mrc")
    volume = mrcfile.read(folder / "truth" / "volume.mrc")
    assert labels.shape == volume.shape == series.truth.shape
    table = read_star(folder / "truth" / "particles.star")["particles"]
    assert sum(facts["particles"].values()) == len(table) > 0
    inside = {particle.position_angst: particle for particle in series.phantom.particles}
    places = np.array(list(inside))
    for row in table.rows():
        coordinates = np.array([float(row[f"rlnCenteredCoordinate{a}Angst"]) for a in "XYZ"])
        voxel = coordinates / 10 + np.array([90, 71, 40]) / 2  # RELION's rule
        z, y, x = np.clip(np.rint(voxel[::-1]).astype(int), 0, np.array(volume.shape) - 1)
        box = labels[max(z - 4, 0) : z + 5, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5]
        assert facts["labels"][row["rlnGroupName"]] in box
        about_centre = (voxel - np.array([44.5, 35.0, 19.5])) * 10
        nearest = places[np.linalg.norm(places - about_centre, axis=1).argmin()]
        np.testing.assert_allclose(about_centre, nearest, atol=1e-3)
        angles = [float(row[f"rlnAngle{name}"]) for name in ("Rot", "Tilt", "Psi")]
        found = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
        np.testing.assert_allclose(found, inside[tuple(nearest)].rotation, atol=1e-5)
    assert facts["seed"] == 2
    assert len(facts["views"]) == 5


def test_same_series_same_bytes(tmp_path, written):
    folder, series, _ = written
    write_series(tmp_path / "again", series, {"seed": 2})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) > 15
    for path in files:
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_occupied_folders_are_left_alone(tmp_path, written):
    refuse_occupied(tmp_path)
    (tmp_path / "mine.txt").write_text("x")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(OutputExistsError, match="choose a new one"):
            write_series(path, written[1], {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_series_too_small_for_any_particle(tmp_path):
    made = simulated_series(seed=2, shape=(16, 28, 32), tilt_deg=np.arange(-40, 41, 20), snr=0.5)
    _, _, path = write_series(tmp_path / "out", made, {})
    assert json.loads(path.read_text())["particles"] == {}
    table = read_star(path.with_name("particles.star"))["particles"]
    assert len(table["rlnTomoName"]) == 0
    assert "rlnGroupName" in table.columns
