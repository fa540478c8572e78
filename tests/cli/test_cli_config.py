"""A TOML file gives options; the command line overrides it; mistakes are named."""

import pytest

from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "tomofilt.toml"
        path.write_text(text)
        return path

    return write


def test_every_kind_of_value(stage, run, config):
    path = config(
        """
        imod-dir = ["A", "B"]
        filter = "ramp"
        cutoff = 0.3
        angpix = 10
        shape = [512, 400, 200]
        exclude = "1-3,7"
        flip_z = true
        preview = false
        max-memory = "2GB"
        threads = 3
        halves = "tilts"
        """
    )
    assert run("reconstruct", "--config", path)[0] == 0
    assert stage.settings == Settings(
        filter="ramp",
        cutoff="0.3",
        pixel_angst=10.0,
        flip_z=True,
        preview=False,
        max_memory_bytes=2_000_000_000,
        threads=3,
        halves="tilts",
    )
    assert [str(path) for _, path, _ in stage.opened] == ["A", "B"]
    assert stage.opened[0][2].read_with["A"] == SeriesOptions(
        exclude=(1, 2, 3, 7), shape_px=(512, 400, 200)
    )


def test_lists_and_single_values_may_stand_for_each_other(stage, run, config):
    path = config('imod_dir = "A"\nexclude = [2, 5]\n')
    assert run("reconstruct", "--config", path)[0] == 0
    assert stage.opened[0][2].read_with["A"] == SeriesOptions(exclude=(2, 5))


def test_the_command_line_overrides(stage, run, config):
    path = config('imod-dir = ["A"]\nfilter = "ramp"\npreview = false\nbin = 4\nthickness-px = 200')
    given = ["-f", "hann", "--preview", "--imod-dir", "B", "--pixel-size", "20"]
    assert run("reconstruct", "--config", path, *given)[0] == 0
    # --pixel-size stands against bin, although the file does not name it
    assert stage.settings == Settings(filter="hann", pixel_angst=20.0)
    assert stage.opened[0][2].read_with["B"] == SeriesOptions(thickness_px=200)
    assert [str(path) for _, path, _ in stage.opened] == ["B"]


def test_the_command_lines_project_overrides(stage, run, config):
    path = config('imod-dir = ["A"]')
    assert run("reconstruct", "--config", path, "--relion-star", "t.star")[0] == 0
    assert [(kind, str(path)) for kind, path, _ in stage.opened] == [("relion", "t.star")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thicknes = 1500", "thicknes is no option of this command: did you mean thickness"),
        ("pixelsize = 10", "did you mean pixel-size"),
        ("xyzzy = 1", "xyzzy is no option of this command: remove it"),
        ("config = 'other.toml'", "config is no option"),
        ("no-preview = true", "no-preview is no option of this command: did you mean preview"),
        ("[reconstruct]\nbin = 4", "reconstruct is no option"),
        ("bin = 4\npixel-size = 10", "--pixel-size and --bin exclude each other"),
        ("filter = { name = 'ramp' }", "filter = {'name': 'ramp'} is no value"),
        ("halves = 'thirds'", "--halves 'thirds' is not one of"),
        ("thickness = '5um'", "--thickness 5um: give a length in angstrom"),
        ("thickness = nan", "--thickness nan: give a length in angstrom"),
        ("bin = -2", "--bin -2: give a factor above 0"),
        ("shape = [512, 400]", "--shape"),
        ("threads = 2.5", "--threads 2.5: give a whole number"),
        ("bin =", "not a readable TOML file"),
    ],
)
def test_mistakes(stage, run, config, text, said):
    code, _, err = run("reconstruct", "A", "--config", config(text))
    assert code == 2
    assert said in err
    assert stage.calls == []


def test_a_file_that_is_not_there(stage, run, tmp_path):
    code, _, err = run("reconstruct", "A", "--config", tmp_path / "none.toml")
    assert code == 2
    assert "none.toml: there is no such file" in err
