"""Series that come while the work goes on: none with half its images, each done once."""

import pytest
from strategies_imod import ImodFolder, write_stack

from tomofilt.errors import InputError
from tomofilt.jobs import watch as module
from tomofilt.jobs.many import Job
from tomofilt.jobs.watch import watch
from tomofilt.reconstruction.settings import Settings
from tomofilt_imod.project import PROJECT_TYPE

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
            jobs = []
            for folder in sorted(tmp_path.glob("TS_*")):
                try:
                    jobs.append(Job(PROJECT_TYPE.open(folder), folder.name))
                except InputError:
                    continue
            return jobs

        def watch(self, idle=300.0):
            listener = Listener()
            summary = watch(
                self.find,
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
    assert "TS_2 was not complete" in scene.said[0]
    assert "truncated" in scene.said[0]


def test_a_newer_alignment_is_followed(scene):
    imod = scene.add("TS_1")
    scene.events = {4: lambda: imod.write(".tlt", "-41 -20 1 20 40")}
    summary, finished = scene.watch()
    assert [name for name, error in finished if error is None] == ["TS_1", "TS_1"]
    assert summary.exit_code == 0
    assert len(summary.outcomes) == 1
    assert summary.outcomes[0].result.record.views[0].tilt_deg == -41


def test_a_file_named_stop_ends_it(scene):
    scene.events = {2: (scene.folder / "stop").touch}
    summary, finished = scene.watch(idle=1e9)
    assert (summary.outcomes, finished) == ((), [])
    assert scene.looks == 3
