"""Tilt series of other programs as a part of a RELION project: what the files say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from strategies_aretomo import aln_text, rows_of, write_mrc
from strategies_projects import BlankImages, tilt_series
from strategies_records import a_record
from typer.testing import CliRunner

from tomofilt.errors import InputError, OutputExistsError
from tomofilt.io.record import View, write_record
from tomofilt.io.star import read_star
from tomofilt.series.ctf import Ctf
from tomofilt.series.geometry import TiltGeometry
from tomofilt.series.projects import Destination, detect
from tomofilt_relion.part import export_series


def on_disk(tmp_path, name="TS_01", **changes):
    """A series whose images are a real stack."""
    path = tmp_path / "data" / f"{name}.st"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        write_mrc(path, BlankImages().shape)
    return tilt_series(name, images=BlankImages(files=(path,)), **changes)


def destination(tmp_path, name="TS_01"):
    return Destination(tmp_path / "data" / f"{name}_tomofilt_rec.mrc")


def exported(tmp_path, series, name="TS_01"):
    """Export one series; its notes, its row, and its table of images."""
    folder = tmp_path / "project"
    notes = export_series(folder, [(series, destination(tmp_path, name))])
    rows = {
        row["rlnTomoName"]: row for row in read_star(folder / "tomograms.star")["global"].rows()
    }
    return notes[name], rows[name], read_star(folder / "tilt_series" / f"{name}.star")[name]


def record(tmp_path, series, binning=2.0, **changes):
    """A tomogram of the series, with as much of its record as counts."""
    grid = series.grid.binned(binning)
    place = destination(tmp_path)
    place.volume.write_bytes(b"")
    output = {
        "orientation": "zyx",
        "shape_zyx": grid.shape,
        "voxel_angst": grid.voxel_angst,
        "specimen_centre_zyx": grid.centre,
    }
    views = tuple(
        View(image=int(view) + 1, tilt_deg=0.0, image_from_volume=m.round(6).tolist())
        for view, m in zip(series.views, series.geometry.image_from_volume, strict=True)
    )
    output |= changes.pop("output", {})
    write_record(place.record, a_record(output=output, **({"views": views} | changes)))
    return grid


def test_stack_is_linked_and_named(tmp_path):
    series = on_disk(tmp_path)
    notes, row, table = exported(tmp_path, series)
    link = tmp_path / "project" / "tilt_series" / "TS_01.mrcs"
    assert link.resolve() == series.images.files[0]
    assert list(table["rlnMicrographName"]) == [
        f"{number:06d}@tilt_series/TS_01.mrcs" for number in (1, 3, 4, 5)
    ]
    assert row["rlnTomoTiltSeriesStarFile"] == "tilt_series/TS_01.star"
    assert row["rlnTomoSizeX"] == "40"
    assert list(map(float, table["rlnMicrographPreExposure"])) == [0, 3, 6, 9]
    assert any("no defocus is known" in note for note in notes)
    exported(tmp_path, series)  # once more: the link is its own
    link.unlink()
    link.write_text("something else")
    with pytest.raises(OutputExistsError, match="not a link of tomofilt's"):
        exported(tmp_path, series)


def test_images_with_a_file_each_and_halves(tmp_path):
    def named(text):
        return BlankImages(files=tuple(Path(f"/x/{text}/{i}.mrc") for i in range(5)))

    series = tilt_series(images=named("average"), halves=(named("even"), named("odd")))
    _, _, table = exported(tmp_path, series)
    assert list(table["rlnMicrographName"]) == [f"/x/average/{i}.mrc" for i in (0, 2, 3, 4)]
    assert list(table["rlnMicrographNameOdd"]) == [f"/x/odd/{i}.mrc" for i in (0, 2, 3, 4)]
    mixed = tilt_series(images=BlankImages(files=(Path("/x/a.mrc"), Path("/x/b.mrc"))))
    with pytest.raises(InputError, match="5 images in 2 files"):
        exported(tmp_path, mixed)


def test_odd_sizes_become_even(tmp_path):
    """RELION counts particles from N / 2 and projects from floor(N / 2)."""
    series = on_disk(tmp_path)
    odd = replace(series, grid=series.grid.resized((13, 31, 41)))
    _, row, _ = exported(tmp_path, odd)
    assert [row[f"rlnTomoSize{axis}"] for axis in "XYZ"] == ["42", "32", "14"]


def test_tomogram_of_tomofilt_is_relions(tmp_path):
    series = on_disk(tmp_path)
    grid = record(tmp_path, series)
    for number in (1, 2):
        destination(tmp_path).half(number).volume.write_bytes(b"")
    notes, row, _ = exported(tmp_path, series)
    assert row["rlnTomoReconstructedTomogram"].endswith("data/TS_01_tomofilt_rec.mrc")
    assert row["rlnTomoReconstructedTomogramHalf2"].endswith("TS_01_tomofilt_rec_half2.mrc")
    assert float(row["rlnTomoTomogramBinning"]) == 2.0
    assert not any("no tomogram" in note for note in notes)
    again = detect(tmp_path / "project" / "tomograms.star").read("TS_01")
    voxels = np.array([[0.0, 0.0, 0.0], [19, 14, 5], [3, 9, 2.5]])
    ours = series.geometry.project((voxels - grid.centre[::-1]) * grid.voxel_angst)
    theirs = again.geometry.project((2 * voxels - again.grid.centre[::-1]) * 10.0)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"output": {"flip_z": True}},
        {"output": {"orientation": "xzy"}},
        {"views": (View(image=1, tilt_deg=0.0, image_from_volume=np.eye(2, 4).tolist()),)},
        {"views": (View(image=2, tilt_deg=0.0, image_from_volume=np.eye(2, 4).tolist()),)},
        {"views": ()},
    ],
)
def test_tomograms_made_otherwise_are_not(tmp_path, changes):
    series = on_disk(tmp_path)
    record(tmp_path, series, **changes)
    notes, row, _ = exported(tmp_path, series)
    assert "rlnTomoReconstructedTomogram" not in row
    assert float(row["rlnTomoTomogramBinning"]) == 1.0
    assert any("no tomogram of tomofilt's with this alignment" in note for note in notes)


def test_defocus_is_that_of_relions_centre(tmp_path):
    """At any place of the middle plane, RELION's hand and depth give the underfocus of ours."""
    series = on_disk(tmp_path)
    count = len(series.views)
    ctf = Ctf(
        defocus_u_angst=np.linspace(30000, 31000, count),
        defocus_v_angst=np.linspace(29000, 30000, count),
        astigmatism_deg=np.linspace(0, 40, count),
        phase_shift_deg=np.full(count, 5.0),
        voltage_kv=200.0,
        cs_mm=2.2,
        amplitude_contrast=0.1,
        hand=-1.0,
        origin_angst=np.zeros((count, 2)),
    )
    series = replace(series, ctf=ctf)
    _, row, _ = exported(tmp_path, series)
    assert float(row["rlnVoltage"]) == 200.0
    again = detect(tmp_path / "project" / "tomograms.star").read("TS_01")
    np.testing.assert_allclose(again.ctf.phase_shift_deg, 5.0)
    np.testing.assert_allclose(again.ctf.astigmatism_deg, ctf.astigmatism_deg, atol=1e-5)
    slope, origin = ctf.gradient(series.geometry)
    maps = again.geometry.image_from_volume
    depth = np.cross(maps[:, 0, :3], maps[:, 1, :3])
    for voxel in ([0, 0], [39, 5], [17, 29]):
        plane = np.array([*voxel, series.grid.centre[0]])
        place = series.geometry.project([(plane - series.grid.centre[::-1]) * 10.0])[:, 0]
        ours = ctf.defocus_angst + np.einsum("vi,vi->v", slope, place - origin)
        moved = (plane - again.grid.centre[::-1]) * 10.0
        theirs = again.ctf.defocus_angst + again.ctf.hand * depth @ moved
        np.testing.assert_allclose(theirs, ours, atol=0.05)


def test_what_relion_cannot_say_is_said(tmp_path):
    series = on_disk(tmp_path)
    maps = series.geometry.image_from_volume.copy()
    maps[:, :, :3] *= 1.01
    larger = replace(series, geometry=TiltGeometry(maps), dose_e_per_a2=None, ctf_done="flipped")
    notes, _, _ = exported(tmp_path, larger)
    # corners are (20, 15, 6) px from the middle: a hundredth of what is seen of that
    lost = [float(n.split("up to ")[1].split()[0]) for n in notes if "magnification" in n]
    assert lost == [pytest.approx(0.25, abs=0.06)]
    assert any("no exposure is known" in note for note in notes)
    assert any("once more: flipped" in note for note in notes)


def test_other_series_stay_and_other_files_are_left_alone(tmp_path):
    exported(tmp_path, on_disk(tmp_path, "TS_01"))
    exported(tmp_path, on_disk(tmp_path, "TS_02"), "TS_02")
    names = read_star(tmp_path / "project" / "tomograms.star")["global"]["rlnTomoName"]
    assert list(names) == ["TS_01", "TS_02"]
    series = on_disk(tmp_path)
    with pytest.raises(InputError, match="two of the tilt series are called TS_01"):
        export_series(tmp_path / "new", [(series, destination(tmp_path))] * 2)
    star = tmp_path / "project" / "tomograms.star"
    star.write_text(star.read_text().replace("Created by tomofilt", "version 50001"))
    with pytest.raises(OutputExistsError, match="tomofilt did not write it"):
        exported(tmp_path, series)


def test_command(tmp_path):
    from tomofilt.cli.app import make_app

    write_mrc(tmp_path / "TS.mrc", (4, 32, 48))
    rows = rows_of([-40.0, -20.0, 0.0, 20.0], range(1, 5))
    (tmp_path / "TS.aln").write_text(aln_text(rows, (48, 32, 4)))
    project = tmp_path / "project"
    command = ["export", "--relion", str(project), str(tmp_path / "TS.aln"), "--thickness", "240"]
    result = CliRunner().invoke(make_app(), command)
    assert result.exit_code == 0, result.output
    assert "TS: written" in result.output
    assert "note: no defocus is known" in result.output
    series = detect(project / "tomograms.star").read("TS")
    assert series.grid.shape == (24, 48, 32)
