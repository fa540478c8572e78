"""Series that come while the work goes on: none with half its images, each done once."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from strategies_imod import ImodFolder, write_stack

from tomofilt.errors import InputError
from tomofilt.io.record import read_record
from tomofilt.io.star import read_star
from tomofilt.jobs import watch as module
from tomofilt.jobs.many import Job
from tomofilt.jobs.watch import watch
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import VolumeGrid
from tomofilt.series.projects import Acquisition
from tomofilt_imod.project import PROJECT_TYPE
from tomofilt_relion.project import PROJECT_TYPE as RELION

SETTINGS = Settings(filter="ramp", device="cpu", threads=1, preview=False)


class Listener:
    def __init__(self):
        self.finished = []

    def start(self, name, number, count):
        pass

    def progress(self, done, total):
        pass

    def finish(self, outcome):
        self.finished.append((outcome.name, outcome.error))


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A folder to which something happens at each look; the clock goes on a minute each."""

    class Scene:
        folder, looks, said, events = tmp_path, 0, [], {}

        def add(self, name):
            imod = ImodFolder(tmp_path / name, name)
            imod.ali.unlink()
            write_stack(imod.ali, seed=len(name))
            return imod

        def find(self):
            self.events.get(self.looks, lambda: None)()
            self.looks += 1
            jobs, missing = [], []
            for folder in sorted(tmp_path.glob("TS_*")):
                try:
                    jobs.append(Job(PROJECT_TYPE.open(folder), folder.name))
                except InputError as error:
                    missing.append(str(error))
            return jobs, missing

        def relion(self, names):
            """A project of several small series."""
            row, parts = None, []
            for name in names:
                made = self.add(name).read()
                grid = VolumeGrid.centred((8, 12, 10), 2.0)
                zero = np.zeros(len(made.views))
                star = RELION.create(
                    tmp_path / "one",
                    replace(made, name=name, grid=grid),
                    Acquisition(made.tilt_deg, 3.0, zero, 300.0, 2.7, 0.1, -1),
                )
                head, row = star.read_text().rstrip().rsplit("\n", 1)
                parts.append(row)
                star.unlink()
                shutil.rmtree(tmp_path / name)
            star.write_text("\n".join([head, *parts, ""]))
            return star

        def find_relion(self):
            self.events.get(self.looks, lambda: None)()
            self.looks += 1
            star = tmp_path / "one/AlignTiltSeries/job005/aligned_tilt_series.star"
            try:
                project = RELION.open(star)
            except InputError as error:
                return [], [str(error)]
            return [Job(project, name, tmp_path / "out") for name in project.names], []

        def watch(self, idle=300.0, find=None):
            listener = Listener()
            summary = watch(
                find or self.find,
                SETTINGS,
                listener,
                idle_seconds=idle,
                stop=tmp_path / "stop",
                say=self.said.append,
            )
            return summary, listener.finished

    scene = Scene()
    scene.said, scene.events = [], {}
    monkeypatch.setattr(module.time, "monotonic", lambda: 60.0 * scene.looks)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    return scene


def test_each_is_done_once_when_it_is_whole(scene):
    scene.add("TS_1")
    stack = scene.folder / "TS_2" / "TS_2_ali.mrc"
    whole = []

    def arrives_cut_short():
        scene.add("TS_2")
        whole.append(stack.read_bytes())
        stack.write_bytes(whole[0][:2000])

    scene.events = {2: arrives_cut_short, 6: lambda: stack.write_bytes(whole[0])}
    summary, finished = scene.watch()
    assert finished == [("TS_1", None), ("TS_2", None)]
    assert summary.exit_code == 0
    assert scene.said == []
    assert (scene.folder / "TS_2" / "TS_2_tomofilt_rec.mrc").exists()


def test_what_never_gets_whole_is_told_and_is_no_failure(scene):
    scene.add("TS_1")
    imod = scene.add("TS_2")
    imod.ali.write_bytes(imod.ali.read_bytes()[:2000])
    summary, finished = scene.watch()
    assert finished == [("TS_1", None)]
    assert summary.exit_code == 0
    assert "not complete: TS_2: " in scene.said[0]
    assert "truncated" in scene.said[0]


@pytest.mark.parametrize("order", [(".com", ".tlt", ".mrc"), (".mrc", ".tlt", ".com")])
def test_parts_that_come_in_any_order_and_in_pieces(scene, order):
    scene.add("TS_1")
    parts = {}
    for path in scene.add("TS_2").path.iterdir():
        parts[path.suffix] = path, path.read_bytes()
        path.unlink()

    def comes(suffix, share):
        path, whole = parts[suffix]
        return lambda: path.write_bytes(whole[: round(share * len(whole))])

    for i, suffix in enumerate(order):
        for j, share in enumerate((0.3, 0.6, 1.0)):
            scene.events[3 + 4 * i + j] = comes(suffix, share)
    summary, finished = scene.watch(idle=1200.0)
    assert finished == [("TS_1", None), ("TS_2", None)]
    assert scene.said == []
    record = read_record(scene.folder / "TS_2" / "TS_2_tomofilt_rec.json")
    assert [view.tilt_deg for view in record.views] == [-40, -20, 1, 20, 40]
    # the overview of the two stands in the folder that they have in common
    assert summary.overview == scene.folder / "tomofilt_session.html"
    assert not (scene.folder / "TS_1" / "tomofilt_session.html").exists()


def test_what_is_written_again_as_it_was_is_no_news(scene):
    imod = scene.add("TS_1")
    scene.events = {4: lambda: os.utime(imod.ali, (0, 0)), 7: imod.ali.touch}
    _, finished = scene.watch()
    assert finished == [("TS_1", None)]


def test_files_that_did_not_change_are_not_read_again(scene, monkeypatch):
    scene.add("TS_1")
    read, counted = module.read_series, []
    monkeypatch.setattr(module, "read_series", lambda *given: counted.append(1) or read(*given))
    scene.watch(idle=3000.0)
    assert scene.looks > 50
    assert len(counted) < 6


def test_a_star_file_that_grows(scene):
    project = scene.relion(["TS_1", "TS_2", "TS_3"])
    star = project.read_text()
    rows = {name: line for line in star.splitlines() for name in [line[:4]] if name[:3] == "TS_"}
    without = {
        count: "".join(
            line for line in star.splitlines(keepends=True) if line[:4] not in list(rows)[count:]
        )
        for count in (1, 2)
    }
    project.write_text(without[1])
    scene.events = {
        3: lambda: project.write_text(without[2][:-20]),  # caught in the middle of writing
        4: lambda: project.write_text(without[2]),
        8: lambda: project.write_text(star),
    }
    summary, finished = scene.watch(find=scene.find_relion)
    assert finished == [("TS_1", None), ("TS_2", None), ("TS_3", None)]
    assert summary.exit_code == 0
    table = read_star(scene.folder / "out" / "tomograms.star")["global"]
    assert list(table["rlnTomoName"]) == ["TS_1", "TS_2", "TS_3"]


def test_a_newer_alignment_is_followed(scene):
    imod = scene.add("TS_1")
    scene.events = {4: lambda: imod.write(".tlt", "-41 -20 1 20 40")}
    summary, finished = scene.watch()
    assert finished == [("TS_1", None), ("TS_1", None)]
    assert summary.exit_code == 0
    assert len(summary.outcomes) == 1
    assert read_record(imod.path / "TS_1_tomofilt_rec.json").views[0].tilt_deg == -41


def test_a_file_named_stop_ends_it(scene):
    scene.events = {2: (scene.folder / "stop").touch}
    summary, finished = scene.watch(idle=1e9)
    assert (summary.outcomes, finished) == ((), [])
    assert scene.looks == 3
