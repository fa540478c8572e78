"""The pipeline from prepared images to a finished file, on small made-up series."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from doubles import Images
from runs import reconstructed

from tomofilt.errors import InputError, OutputError, OutputExistsError, ResourceError
from tomofilt.reconstruction import budget
from tomofilt.reconstruction.methods import fbp
from tomofilt.reconstruction.methods.fbp import middle_first
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import LocalGeometry, TiltGeometry, VolumeGrid
from tomofilt.series.projects import Destination, SeriesOptions
from tomofilt.series.tiltseries import TiltSeries


def make_series(tmp_path, *, shape=(24, 20), views=9, nz=14, geometry=None, seed=0, **changes):
    tilts = np.linspace(-56, 60, views)
    stack = np.random.default_rng(seed).normal(100, 10, size=(views, *shape))
    series = TiltSeries(
        name="TS",
        images=Images(stack, tmp_path / "TS.mrc"),
        geometry=geometry or TiltGeometry.from_angles(tilts),
        views=np.arange(views),
        tilt_deg=tilts,
        grid=VolumeGrid.centred((nz, *shape), 10.0),
    )
    return replace(series, **changes)


@pytest.fixture
def run(tmp_path):
    def call(series, name="rec", **settings):
        destination = Destination(tmp_path / "out" / f"{name}.mrc")
        chosen = Settings(
            **{
                "filter": "sirt-like:10",
                "preview": False,
                "threads": 2,
                "device": "cpu",
                **settings,
            }
        )
        result, heard = reconstructed(series, destination, chosen)
        return mrcfile.read(destination.volume), result, heard

    return call


def test_results_do_not_depend_on_how_the_work_is_cut(tmp_path, run, monkeypatch):
    """Slabs in y, planes in z, threads and memory limits: not one bit changes."""
    geometry = TiltGeometry.from_angles(np.linspace(-56, 60, 9), rotation_deg=3.0, xtilt_deg=2.0)
    series = make_series(tmp_path, shape=(300, 20), geometry=geometry)
    whole, _, _ = run(series, "a")
    assert whole.shape == (14, 300, 20)
    one_thread, _, _ = run(series, "b", threads=1)
    np.testing.assert_array_equal(one_thread, whole)
    frugal = make_problem(series).room.used_bytes
    monkeypatch.setattr(budget, "DEFAULT_BYTES", frugal - 100_000)
    assert make_problem(series).room.planes < 14
    cut, _, _ = run(series, "c")
    np.testing.assert_array_equal(cut, whole)
    top = replace(series, grid=VolumeGrid((14, 90, 20), 10.0, (6.5, 149.5, 9.5)))
    rows, _, _ = run(top, "d")
    np.testing.assert_array_equal(rows, whole[:, :90])


def test_blocks_of_few_planes_are_the_whole_tomogram(tmp_path, run, monkeypatch):
    series = make_series(tmp_path, nz=150)
    blocks, _, _ = run(series, "blocks")
    monkeypatch.setattr(fbp, "_MOST_PLANES", 150)
    whole, _, _ = run(series, "whole")
    np.testing.assert_array_equal(blocks, whole)


@pytest.mark.parametrize("filter", ["ramp", "gaussian:0.2"])
def test_fast_and_direct_agree_on_smooth_images(tmp_path, run, filter):
    """In-plane rotation, magnification, x tilt and shifts through two independent ways."""
    rng = np.random.default_rng(3)
    tilts = np.linspace(-50, 50, 21)
    maps = TiltGeometry.from_angles(
        tilts, 84.0, 3.0, rng.uniform(-20, 20, size=(21, 2))
    ).image_from_volume.copy()
    maps[:, :, :3] *= 1.01
    y, x = np.mgrid[0:90, 0:100]
    stack = np.zeros((21, 90, 100))
    points = np.array([[0, 0, 0], [120, -60, 50], [-90, 140, -60], [60, 100, 70]])
    for view, where in enumerate(TiltGeometry(maps).project(points)):
        for u, v in where / 10:
            stack[view] += np.exp(-((x - 49.5 - u) ** 2 + (y - 44.5 - v) ** 2) / (2 * 2.5**2))
    series = make_series(
        tmp_path,
        views=21,
        geometry=TiltGeometry(maps),
        images=Images(stack, tmp_path / "blobs.mrc"),
        tilt_deg=tilts,
        grid=VolumeGrid((30, 64, 60), 10.0, (14.0, 31.25, 30.5)),
    )
    fast, _, _ = run(series, "fast", filter=filter, interpolation="linear")
    direct, _, _ = run(series, "direct", filter=filter, projector="direct")
    assert np.corrcoef(fast.ravel(), direct.ravel())[0, 1] > 0.999
    assert np.std(fast - direct) < 0.05 * np.std(fast)
    for px, py, pz in points:
        at = (14.0 + pz / 10, 31.25 + py / 10, 30.5 + px / 10)
        box = tuple(slice(round(c) - 3, round(c) + 4) for c in at)
        weights = np.clip(fast[box], 0, None) ** 2
        found = [
            (weights * (np.arange(s.start, s.stop).reshape(shape))).sum() / weights.sum()
            for s, shape in zip(box, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
        ]
        np.testing.assert_allclose(found, at, atol=0.35)


def test_density_scale_and_binning(tmp_path, run):
    """A fully sampled slab returns the specimen's density, at any bin and magnification."""
    tilts = np.arange(-90.0, 90.0, 1.0)
    geometry = TiltGeometry.from_angles(tilts)
    u = np.arange(160) - 79.5
    radius = 40.0
    chord = 2 * np.sqrt(np.clip(radius**2 - u**2, 0, None))  # a cylinder of density 0.5 along y
    stack = np.broadcast_to(0.5 * chord, (180, 16, 160))
    series = make_series(
        tmp_path,
        views=180,
        geometry=geometry,
        images=Images(stack, tmp_path / "cylinder.mrc"),
        tilt_deg=tilts,
        grid=VolumeGrid.centred((100, 16, 160), 10.0),
    )
    for settings in ({}, {"bin": 2.0}, {"pixel_angst": 25.0}):
        volume, result, _ = run(series, f"bin{len(str(settings))}", filter="ramp", **settings)
        inside = tuple(slice(int(0.4 * n), int(0.6 * n)) for n in volume.shape)
        assert volume[inside].mean() == pytest.approx(0.5, rel=0.02)
        factor = 1 if not settings else settings.get("bin", 2.5)
        assert volume.shape == tuple(int(n / factor) for n in (100, 16, 160))
        assert result.record.output.voxel_angst == pytest.approx(10 * factor)


def test_local_alignment_follows_a_local_shift(tmp_path, run):
    """A shift of 2 px everywhere, given as local maps, moves the tomogram like a global one."""
    geometry = TiltGeometry.from_angles(np.linspace(-56, 60, 9))
    moved = geometry.image_from_volume.copy()
    moved[:, 0, 3] += 20.0
    patches = np.broadcast_to(moved[:, None, None], (9, 2, 2, 2, 4)).copy()
    edges = np.array([-100.0, 100.0])
    local = TiltGeometry(geometry.image_from_volume, LocalGeometry(edges, edges, patches))
    series = make_series(tmp_path, geometry=local)
    through_patches, _, _ = run(series, "local")
    by_map, _, _ = run(make_series(tmp_path, geometry=TiltGeometry(moved)), "global")
    np.testing.assert_allclose(through_patches, by_map, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("change", [{"flip_z": True}, {"orientation": "xzy"}])
def test_tomograms_that_particles_are_looked_up_in_are_not_turned(tmp_path, run, change):
    series = make_series(tmp_path, axes_fixed=True)
    run(series, "plain")
    with pytest.raises(InputError, match="neither mirrored nor turned"):
        run(series, "turned", **change)


def test_output_variants(tmp_path, run):
    series = make_series(tmp_path)
    plain, _, _ = run(series, "plain")
    inverted, _, _ = run(series, "inverted", invert=True)
    np.testing.assert_allclose(inverted, -plain, atol=1e-6)
    flipped, _, _ = run(series, "flipped", flip_z=True)
    np.testing.assert_array_equal(flipped, plain[::-1])
    turned, _, _ = run(series, "turned", orientation="xzy")
    np.testing.assert_array_equal(turned, plain.transpose(1, 0, 2)[:, ::-1])
    half, _, _ = run(series, "half", dtype="float16")
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, plain, atol=0.02)
    for dtype in ("int16", "int8"):
        stored, result, _ = run(series, dtype, dtype=dtype)
        assert stored.dtype == np.dtype(dtype)
        assert np.corrcoef(stored.ravel(), plain.ravel())[0, 1] > 0.999
        assert result.record.output.clipped_voxels < 0.01 * stored.size


def test_halves_of_tilts_average_to_the_whole(tmp_path, run):
    series = make_series(tmp_path)
    whole, _, _ = run(series, "rec", halves="tilts")
    halves = [mrcfile.read(tmp_path / "out" / f"rec_half{i}.mrc") for i in (1, 2)]
    np.testing.assert_allclose((halves[0] + halves[1]) / 2, whole, atol=1e-5)
    assert np.abs(halves[0] - halves[1]).max() > 0.1
    with pytest.raises(InputError, match="--halves tilts"):
        run(series, "other", halves="frames")


def test_record_tells_everything(tmp_path, run):
    series = make_series(tmp_path, notes=("something is not used",), excluded=(9,))
    volume, result, listener = run(series)
    record = json.loads(result.destination.record.read_text())
    assert record["fingerprint"] in mrcfile.open(result.destination.volume).get_labels()[0]
    assert record["inputs"][0]["bytes"] == 6
    assert record["filter"]["spec"] == "sirt-like:10"
    assert record["excluded"] == [10]
    assert record["output"]["minimum"] == pytest.approx(volume.min())
    assert record["output"]["mean"] == pytest.approx(volume.mean(), abs=1e-6)
    assert set(record["seconds"]) == {"align", "filter", "back-project", "write"}
    assert record["peak_memory_bytes"] > 1e7
    assert len(record["views"]) == 9
    assert any("something is not used" in note for note in listener.notes)
    assert listener.steps == sorted(listener.steps)
    assert listener.steps[-1] == 1.0


class TestNothingIsLost:
    def test_finished_work_is_kept(self, tmp_path, run):
        series = make_series(tmp_path)
        _, first, _ = run(series)
        written = first.destination.volume.stat().st_mtime_ns
        _, again, _ = run(series)
        assert again.skipped
        assert again.destination.volume.stat().st_mtime_ns == written

    def test_other_settings_need_overwrite(self, tmp_path, run):
        series = make_series(tmp_path)
        before, _, _ = run(series)
        with pytest.raises(OutputExistsError, match="--overwrite"):
            run(series, filter="ramp")
        after, result, _ = run(series, filter="ramp", overwrite=True)
        assert not result.skipped
        assert not np.array_equal(before, after)

    def test_changed_input_is_noticed(self, tmp_path, run):
        series = make_series(tmp_path)
        run(series)
        (tmp_path / "TS.mrc").write_bytes(b"new images")
        with pytest.raises(OutputExistsError, match="other settings or inputs"):
            run(series)

    @pytest.mark.parametrize("suffix", ["mrc", "json", "png"])
    def test_foreign_files_are_never_touched(self, tmp_path, run, suffix):
        series = make_series(tmp_path)
        foreign = tmp_path / "out" / f"rec.{suffix}"
        foreign.parent.mkdir()
        foreign.write_bytes(b"years of work" * 200)
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError, match="did not make it"):
                run(series, overwrite=overwrite, preview=True)
        assert foreign.read_bytes() == b"years of work" * 200
        assert [path.name for path in foreign.parent.iterdir()] == [foreign.name]

    def test_truncated_result_is_redone(self, tmp_path, run):
        series = make_series(tmp_path)
        whole, result, _ = run(series)
        with result.destination.volume.open("r+b") as file:
            file.truncate(3000)
        redone, again, _ = run(series)
        assert not again.skipped
        np.testing.assert_array_equal(redone, whole)

    def test_result_without_record_is_redone(self, tmp_path, run):
        series = make_series(tmp_path)
        _, result, _ = run(series)
        result.destination.record.unlink()
        _, again, _ = run(series)
        assert not again.skipped
        assert result.destination.record.exists()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_disk_trouble_leaves_nothing(self, tmp_path, run, monkeypatch, number):
        series = make_series(tmp_path)
        real, calls = os.pwrite, []

        def failing(fd, data, offset):
            calls.append(offset)
            if len(calls) > 1:  # the densities are written, the header is not
                raise OSError(number, os.strerror(number))
            return real(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", failing)
        with pytest.raises(OutputError, match="cannot be written"):
            run(series)
        assert list((tmp_path / "out").iterdir()) == []
        monkeypatch.undo()
        run(series)

    def test_interrupt_leaves_nothing(self, tmp_path, run):
        series = make_series(tmp_path)
        read = series.images.read
        calls = []

        def interrupted(image, y_start=0, y_stop=None):
            calls.append(image)
            if len(calls) > 5:
                raise KeyboardInterrupt
            return read(image, y_start, y_stop)

        series.images.read = interrupted
        with pytest.raises(KeyboardInterrupt):
            run(series, threads=1)
        assert list((tmp_path / "out").iterdir()) == []

    def test_kill_and_rerun(self, tmp_path):
        """SIGKILL while writing: nothing under the final name, and the rerun succeeds."""
        script = tmp_path / "slow.py"
        script.write_text(
            "import sys, time, pathlib\n"
            f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
            "import test_reconstruct as t\n"
            "from tomofilt.jobs.sink import VolumeSink\n"
            "put = VolumeSink.put\n"
            "def slow(self, *block):\n"
            "    put(self, *block)\n"
            "    print('writing', flush=True)\n"
            "    time.sleep(float(sys.argv[2]))\n"
            "VolumeSink.put = slow\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "series = t.make_series(folder, shape=(300, 20))\n"
            "out = t.Destination(folder / 'rec.mrc')\n"
            "t.reconstructed(series, out)\n"
        )
        command = [sys.executable, str(script), str(tmp_path)]
        with subprocess.Popen([*command, "60"], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"writing\n"
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "rec.mrc").exists()
        assert not (tmp_path / "rec.json").exists()
        # what the kill left behind is taken over, not in the way
        subprocess.run([*command, "0"], check=True, stdout=subprocess.DEVNULL)
        assert mrcfile.validate(tmp_path / "rec.mrc")
        assert {path.suffix for path in tmp_path.iterdir()} == {".mrc", ".json", ".png", ".py"}

    def test_two_processes_on_one_result(self, tmp_path, run):
        from tomofilt.io.files import PartialFile

        series = make_series(tmp_path)
        (tmp_path / "out").mkdir()
        with (
            PartialFile(tmp_path / "out" / "rec.mrc"),
            pytest.raises(OutputError, match="another process"),
        ):
            run(series)


class TestRefusals:
    def test_broken_pixels(self, tmp_path, run):
        series = make_series(tmp_path)
        series.images.stack[3, 5, 5] = np.nan
        with pytest.raises(InputError, match=r"image 4 holds NaN.*--exclude 4"):
            run(series)

    def test_blank_images(self, tmp_path, run):
        series = make_series(tmp_path)
        series.images.stack[2] = 7.0
        _, _, listener = run(series)
        assert any("--exclude 3" in note for note in listener.notes)
        series.images.stack[:] = 7.0
        with pytest.raises(InputError, match="every image is blank"):
            run(series, "blank")

    def test_contradictions(self, tmp_path, run):
        series = make_series(tmp_path)
        with pytest.raises(InputError, match="--bin and --pixel-size"):
            run(series, bin=2.0, pixel_angst=20.0)
        with pytest.raises(InputError, match=r"5 A is smaller than .* 10 A"):
            run(series, pixel_angst=5.0)
        with pytest.raises(InputError, match="no voxel left"):
            run(series, bin=30.0)

    def test_memory(self, tmp_path, run):
        with pytest.raises(ResourceError, match="--max-memory"):
            run(make_series(tmp_path), max_memory_bytes=1000)


def test_sizes_asked_for(tmp_path, run):
    series = make_series(tmp_path)
    # a smaller box about the same middle holds the same densities
    whole, _, _ = run(series, "whole", filter="ramp")
    smaller = replace(series, grid=SeriesOptions(shape_px=(16, 22, 10)).grid(series.grid))
    cut, _, _ = run(smaller, "cut", filter="ramp")
    np.testing.assert_allclose(cut, whole[2:12, 1:23, 2:18], atol=1e-4)


def test_time_is_not_in_the_result(tmp_path, run):
    """Two runs of the same work are the same file but for the date in the label."""
    series = make_series(tmp_path)
    run(series, "one")
    time.sleep(0.01)
    run(series, "two")
    one, two = ((tmp_path / "out" / f"{n}.mrc").read_bytes() for n in ("one", "two"))
    assert one[1024:] == two[1024:]
    assert one[:224] == two[:224]


def test_logarithm_of_counts(tmp_path, run):
    """IMOD's LOG: log10(max(value + base, (max - min) / 1000)) of the images, any filter."""
    series = make_series(tmp_path)
    stack = series.images.stack
    base = 10.0
    logged = np.log10(np.maximum(stack + base, 0.001 * (stack.max() - stack.min())))
    by_hand = replace(series, images=Images(logged, tmp_path / "logged.mrc"))
    own, _, _ = run(replace(series, log_base=base), "own", filter="imod")
    hand, _, _ = run(by_hand, "hand", filter="imod")
    np.testing.assert_allclose(own, hand, rtol=1e-5, atol=1e-6)


def test_count_normalisation_is_a_mean(tmp_path, run):
    """Constant images minus their mean are nothing; a step is averaged over those that see it."""
    series = make_series(tmp_path)
    series.images.stack[:] = 3.0
    series.images.stack[:, :, 10:] = 5.0
    settings = {"filter": "none", "normalise": "count"}
    volume, _, _ = run(series, "mean", **settings)
    assert volume.min() >= -1.0 - 1e-5
    assert volume.max() <= 1.0 + 1e-5
    assert volume[7, 12, 2] == pytest.approx(-1.0, abs=1e-5)
    assert volume[7, 12, 17] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("length", "step", "first"), [(80, 64, 0), (156, 128, 0), (180, 64, 64), (256, 128, 128)]
)
def test_the_piece_with_the_middle_comes_first(length, step, first):
    """The scale of integers is that of the first block: the end of a tomogram is too empty."""
    starts = middle_first(0, length, step)
    assert starts[0] == first
    assert first <= length / 2 < first + step
    assert sorted(starts) == list(range(0, length, step))
