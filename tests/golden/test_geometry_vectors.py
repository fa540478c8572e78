"""View maps as tomosipo's and ASTRA's vectors, against vectors and projections that those made."""

from pathlib import Path

import numpy as np
import pytest

from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.vectors import DetectorVectors, to_astra
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid

DATA = Path(__file__).parents[1] / "data" / "geometry" / "geometry_bp.npz"


class Case:
    """One case of the golden file; its centres are floor(n / 2), as RELION's."""

    def __init__(self, name):
        self.name = name
        with np.load(DATA) as data:
            self.data = {k.removeprefix(f"{name}/"): data[k] for k in data if k.startswith(name)}
        pixel, voxel = float(self["pixel"]), float(self["voxel"])
        self.geometry = TiltGeometry.from_angles(
            self["tilt_deg"], self["rot_deg"], self["xtilt_deg"], self["shift_px_xy"] * pixel
        )
        shapes = [tuple(int(n) for n in self[key]) for key in ("det_shape", "vol_shape")]
        centres = [tuple(float(n // 2) for n in shape) for shape in shapes]
        self.images = ImageGrid(shapes[0], (pixel, pixel), centres[0])
        self.volume = VolumeGrid(shapes[1], voxel, centres[1])

    def __getitem__(self, key):
        return self.data[key]


@pytest.fixture(params=["simple", "full", "odd"])
def case(request):
    return Case(request.param)


def test_vectors(case):
    vectors = DetectorVectors.from_geometry(case.geometry, case.images)
    for ours, theirs in [
        (vectors.ray, "ray_zyx"),
        (vectors.centre, "det_pos_zyx"),
        (vectors.u, "det_u_zyx"),
        (vectors.v, "det_v_zyx"),
    ]:
        np.testing.assert_allclose(ours[:, ::-1], case[theirs], rtol=0, atol=1e-9)


def test_astra_rows(case):
    volume, projections = to_astra(case.geometry, case.volume, case.images)
    np.testing.assert_allclose(projections["Vectors"], case["astra_vectors"], rtol=0, atol=1e-9)
    window = volume["option"]
    middle = [(window[f"WindowMin{a}"] + window[f"WindowMax{a}"]) / 2 for a in "ZYX"]
    np.testing.assert_allclose(middle, case["vol_pos_zyx"], rtol=0, atol=1e-9)


def test_tomosipo_objects(case):
    pytest.importorskip("tomosipo", reason="tomosipo is not installed")
    from tomofilt.projectors.vectors import to_tomosipo

    volume, projections = to_tomosipo(case.geometry, case.volume, case.images)
    np.testing.assert_allclose(volume.pos[0], case["vol_pos_zyx"], rtol=0, atol=1e-9)
    for theirs in ("ray_dir", "det_pos", "det_u", "det_v"):
        key = {"ray_dir": "ray_zyx"}.get(theirs, f"{theirs}_zyx")
        np.testing.assert_allclose(getattr(projections, theirs), case[key], rtol=0, atol=1e-9)


def test_points_land_where_astra_projects_them(case):
    """The view maps themselves, against ``astra.experimental.projectPoint``."""
    seen = case.geometry.project(case["points_zyx"][:, ::-1])
    columns_rows = seen / float(case["pixel"]) + np.array(case.images.centre)[::-1]
    np.testing.assert_allclose(
        columns_rows.transpose(1, 0, 2), case["projected_colrow"], rtol=0, atol=1e-9
    )


def test_backprojection_up_to_the_scale(case):
    """ASTRA's back-projection is our plain sum times voxel volume over pixel area."""
    images = case["sino_v_t_u"].transpose(1, 0, 2).astype(np.float64)
    ours = DirectProjector(case.geometry, case.volume, case.images).adjoint(images)
    scale = case.volume.voxel_angst**3 / case.images.pixel_angst[0] ** 2
    theirs = case["bp_zyx"]
    assert np.abs(scale * ours - theirs).max() <= 1e-6 * np.abs(theirs).max()
