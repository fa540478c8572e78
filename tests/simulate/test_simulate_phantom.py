"""Made-up specimens: what is in them, and where."""

from importlib.resources import files

import mrcfile
import numpy as np
import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.geometry import VolumeGrid
from tomofilt.simulate.molecules import BUNDLED, Molecule, bundled, read_molecule, read_volume
from tomofilt.simulate.phantom import LEAFLETS_ANGST, Contents, make_phantom

GRID = VolumeGrid((40, 70, 90), 10.0, (19.5, 34.0, 44.25))


def make(seed=0, grid=GRID, ice=360.0, threads=2, **contents):
    wanted = Contents(**{"molecules": bundled(), "membranes": 1, **contents})
    return make_phantom(grid, ice, wanted, np.random.default_rng(seed), threads=threads)


def test_one_seed_one_specimen():
    first, again = make(3), make(3, threads=1)
    np.testing.assert_array_equal(first.density, again.density)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.particles == again.particles
    assert not np.array_equal(first.density, make(4).density)


def test_molecules_do_not_overlap_and_lie_in_the_ice():
    phantom = make(5, grid=VolumeGrid.centred((50, 120, 130), 10.0), ice=420.0, gold=3)
    radii = {molecule.name: molecule.radius_angst for molecule in bundled()} | {"gold": 50.0}
    kinds = [particle.kind for particle in phantom.particles]
    assert set(kinds) == set(radii)
    places = np.array([particle.position_angst for particle in phantom.particles])
    radius = np.array([radii[kind] for kind in kinds])
    gaps = np.linalg.norm(places[:, None] - places, axis=2) - radius[:, None] - radius
    assert gaps[~np.eye(len(gaps), dtype=bool)].min() > 0
    assert (np.abs(places[:, 2]) + radius).max() <= 210.0
    beyond = np.abs(np.arange(50) - 24.5) * 10.0 > 210.0 + 15.0
    assert np.abs(phantom.density[beyond]).max() < 0.02


def test_densities_are_protein_lipid_and_gold():
    phantom = make(2, grid=VolumeGrid.centred((46, 80, 90), 10.0), ice=440.0, gold=2)
    density, labels = phantom.density, phantom.labels
    kinds = {kind: labels == i + 1 for i, kind in enumerate(phantom.kinds)}
    ribosome = density[kinds["5mrc"]]
    assert 0.8 < np.percentile(ribosome, 90) < 1.3
    assert 0.3 < np.median(density[kinds["membrane"]]) < 0.7
    assert density[kinds["gold"]].max() == pytest.approx(8.0, rel=0.05)
    # a membrane's label ends one sigma beyond its leaflets
    assert density[labels == 0].max() < 0.6 * np.exp(-0.5) + 1e-3
    assert abs(np.median(density[labels == 0])) < 1e-6


def test_membranes_are_bilayers():
    """Across a membrane, head groups 38 A apart, and a dip between them."""
    grid = VolumeGrid.centred((120, 120, 120), 4.0)
    phantom = make(1, grid=grid, ice=480.0, molecules=(), membranes=1)
    line = max(
        (phantom.density[z, y] for z in range(40, 80, 4) for y in range(20, 100, 4)),
        key=lambda row: row.max(),
    )
    inside = np.flatnonzero(line > 0.05)
    assert inside.size
    peaks = [
        i
        for i in range(1, len(line) - 1)
        if line[i] > 0.55 and line[i] >= line[i - 1] and line[i] > line[i + 1]
    ]
    distances = np.diff(peaks) * 4.0
    assert distances.min() >= LEAFLETS_ANGST - 6  # not less: a row cuts the membrane obliquely
    dip = line[peaks[0] : peaks[1]].min() if distances[0] < 100 else 0.0
    assert dip < 0.2


def test_a_particle_is_its_map_turned_and_moved():
    """A lone lopsided molecule: each of its blobs is at position + rotation r."""
    offsets = np.array([[0.0, 0, 0], [60, 0, 0], [0, 40, 0], [0, 0, 100]])  # (x, y, z)
    axis = np.arange(31) - 15
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    weights = (1.0, 0.9, 0.8, 0.7)
    density = sum(
        w * np.exp(-((x - a / 10) ** 2 + (y - b / 10) ** 2 + (z - c / 10) ** 2) / (2 * 1.5**2))
        for w, (a, b, c) in zip(weights, offsets, strict=True)
    ).astype(np.float32)
    lopsided = Molecule("lopsided", density, 10.0)
    grid = VolumeGrid.centred((60, 60, 60), 10.0)
    phantom = make(7, grid=grid, ice=600.0, molecules=(lopsided,), membranes=0, crowding=0.03)
    (particle,) = phantom.particles
    rotation = np.array(particle.rotation)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    z, y, x = np.indices(grid.shape)
    expected = np.zeros(grid.shape)
    for weight, offset in zip(weights, offsets, strict=True):
        a, b, c = (np.array(particle.position_angst) + rotation @ offset) / 10 + 29.5
        expected += weight * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * 1.5**2))
    np.testing.assert_allclose(phantom.density, expected, atol=0.02)


def test_finer_and_coarser_voxels_hold_the_same_matter():
    sums = []
    for voxel, size in ((5.0, 120), (10.0, 60), (20.0, 30)):
        grid, kind = VolumeGrid.centred((size,) * 3, voxel), bundled(["1bxn"])
        phantom = make(1, grid=grid, ice=600.0, molecules=kind, membranes=0, crowding=0.05)
        sums.append(float(phantom.density.sum()) * voxel**3)
    np.testing.assert_allclose(sums, sums[0], rtol=0.005)
    whole = len(phantom.particles) * float(kind[0].density.sum()) * 1e3
    assert 0.9 * whole < sums[0] < whole  # the sides of the grid cut some


def test_refusals():
    with pytest.raises(InputError, match="500 A does not fit into a volume of 400 A"):
        make(ice=500.0)
    with pytest.raises(InputError, match="different names"):
        make(molecules=(*bundled(["1bxn"]), *bundled(["1bxn"])))
    with pytest.raises(InputError, match=r"no molecule 9xyz: choose from 1bxn"):
        bundled(["9xyz"])


class TestMaps:
    def write(self, path, data, voxel=7.5):
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.zeros_like(data, dtype=np.float32))
            mrc.data[:] = data
            mrc.voxel_size = voxel
        return path

    def test_bundled_maps_and_their_licence_are_installed(self):
        folder = files("tomofilt.simulate") / "templates"
        assert "Apache License" in (folder / "LICENSE-Apache-2.0").read_text()
        assert "polnet" in (folder / "README.md").read_text()
        for molecule in bundled(BUNDLED):
            assert molecule.voxel_angst == 10.0
            middle = (np.array(molecule.density.shape) - 1) / 2
            weights = molecule.density / molecule.density.sum()
            mass = [(weights * axis).sum() for axis in np.indices(molecule.density.shape)]
            np.testing.assert_allclose(mass, middle, atol=0.5)
        assert 60 < bundled(["1bxn"])[0].radius_angst < 100  # RuBisCO is about 11 nm wide
        assert 130 < bundled(["5mrc"])[0].radius_angst < 200  # a ribosome about 28 nm

    def test_own_map(self, tmp_path):
        data = np.zeros((9, 9, 9))
        data[3:6, 3:6, 3:6] = 42.0
        molecule = read_molecule(self.write(tmp_path / "mine.mrc", data))
        assert (molecule.name, molecule.voxel_angst) == ("mine", 7.5)
        assert molecule.density.max() == pytest.approx(1.0)

    def test_unusable_maps(self, tmp_path):
        data = np.zeros((5, 5, 5))
        with pytest.raises(InputError, match="no positive density"):
            read_molecule(self.write(tmp_path / "empty.mrc", data))
        data[1, 2, 3] = np.nan
        with pytest.raises(InputError, match=r"nan\.mrc: 1 of 125 voxels are NaN"):
            read_volume(self.write(tmp_path / "nan.mrc", data))
        flat = self.write(tmp_path / "flat.mrc", np.ones((5, 5, 5)), (5.0, 5.0, 10.0))
        with pytest.raises(InputError, match="5 A in x but 10 A in z"):
            read_volume(flat)
        with pytest.raises(MissingFileError):
            read_volume(tmp_path / "absent.mrc")
