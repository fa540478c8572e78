"""`tomofilt evaluate` on the example's tomograms, from end to end."""

import json
import re
import shutil

import pytest
from strategies_evaluate import EXAMPLE, tomograms_of_the_example


@pytest.fixture(scope="module")
def tomograms(tmp_path_factory):
    return tomograms_of_the_example(tmp_path_factory.mktemp("tomograms"))


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")


def test_comparison_on_the_terminal(tomograms, call):
    code, out, err = call("evaluate", *tomograms, "--series", EXAMPLE)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["ramp", "exact"]
    score, gain = (line for line in lines if line.startswith("  all, as in the volume"))
    found = [float(value) for value in re.findall(r"(0\.\d+) ±", score)]
    assert all(0.2 < value < 0.95 for value in found)
    assert float(re.search(r"([+-]0\.\d+) ±", gain)[1]) == pytest.approx(
        found[1] - found[0], abs=0.0011
    )
    assert "FSC falls to 0.143 at (A)" in out


def test_json(tomograms, call):
    code, out, _ = call("evaluate", tomograms[0], "--truth", tomograms[1], "--json")
    assert code == 0
    (result,) = json.loads(out)["results"]
    assert result["filter"] == "ramp"
    assert result["left_out"] is None
    assert 0.3 < result["truth"]["correlation"] < 1
    assert set(result["truth"]["fsc"]) == {"all", "sampled", "wedge"}


def test_halves_by_name(tomograms, call, tmp_path):
    """Given by name, the halves are those that are found beside the tomogram."""
    rec = tmp_path / "rec.mrc"
    shutil.copy(tomograms[1], rec)
    halves = [tomograms[1].with_stem(f"00254_tomofilt_rec_half{i}") for i in (1, 2)]
    code, given, _ = call("evaluate", rec, "--half1", halves[0], "--half2", halves[1], "--json")
    assert code == 0
    _, found, _ = call("evaluate", tomograms[1], "--json")
    one, other = (json.loads(text)["results"][0]["halves"] for text in (given, found))
    assert one == other
    assert one["resolution_0.5_angst"] > 160


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to measure"),
        (["--half1", "a.mrc"], "give both"),
        (["--truth", "absent.mrc"], "absent.mrc"),
        (["--tilts", "60"], "no such file"),
        (["--tilts", "1:2:0"], "-60:60:3"),
        (["--tilts", "nan:2:1"], "-60:60:3"),
        (["--series", "."], "no project of a known kind"),
    ],
)
def test_refusals(tomograms, call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("evaluate", tomograms[0], *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_tilt_file(tomograms, call, tmp_path):
    (tmp_path / "some.tlt").write_text("-30\n  0.0\n\n30\n")
    given = ("--truth", tomograms[1], "--tilts")
    code, out, _ = call("evaluate", tomograms[0], *given, tmp_path / "some.tlt", "--json")
    assert code == 0
    views = json.loads(out)["results"][0]["by_view"]["truth"]
    assert views["tilt_deg"] == pytest.approx([-30, 0, 30])
    _, same, _ = call("evaluate", tomograms[0], *given, "-30:30:30", "--json")
    assert same == out
    (tmp_path / "bad.tlt").write_text("-30\nleft\n")
    code, _, err = call("evaluate", tomograms[0], *given, tmp_path / "bad.tlt")
    assert (code, "one angle in degrees on each line" in err) == (2, True)


def test_two_tomograms_do_not_share_halves(tomograms, call):
    halves = ("--half1", tomograms[0], "--half2", tomograms[0])
    code, _, err = call("evaluate", *tomograms, *halves)
    assert code == 2
    assert "one at a time" in err
