"""The conda recipe and the citation say what the package says."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import tomofilt

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: What conda-forge calls what PyPI has under another name.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text())


def conda(requirement):
    name, floor = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    return f"{CONDA_NAMES.get(name, name)} >={floor}"


def test_dependencies(recipe):
    asked = PROJECT["project"]["dependencies"]
    run = recipe["requirements"]["run"]
    assert run[0] == "python >=${{ python_min }}"
    assert sorted(run[1:]) == sorted(map(conda, asked))
    backend = PROJECT["build-system"]["requires"]
    assert set(map(conda, backend)) <= set(recipe["requirements"]["host"])


def test_version_and_words(recipe):
    project = PROJECT["project"]
    assert recipe["context"]["version"] == project["version"] == tomofilt.__version__
    assert recipe["about"]["summary"] == project["description"]
    assert recipe["about"]["license"] == project["license"]
    scripts = [f"{name} = {where}" for name, where in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts


def test_packages(recipe):
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert recipe["tests"][0]["python"]["imports"] == sorted(Path(each).name for each in wheel)


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == tomofilt.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert {"cff-version", "message", "title", "abstract", "authors", "keywords"} <= set(citation)


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/check.yml",
        ".github/ISSUE_TEMPLATE/bug.yml",
        ".github/ISSUE_TEMPLATE/wish.yml",
        ".pre-commit-config.yaml",
    ],
)
def test_other_files_can_be_read(path):
    assert yaml.safe_load((ROOT / path).read_text())


def test_precommit_runs_what_ci_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    run = (ROOT / ".ci" / "run").read_text()
    for hook in config["repos"][0]["hooks"]:
        assert f'"$venv/bin/{hook["entry"].split()[0]}"' in run
