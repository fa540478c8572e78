"""What the pages name is there: files, modules, and pages in the site's navigation."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")]
TESTS = {path.name for path in (ROOT / "tests").rglob("test_*.py")}


def module_or_name(dotted):
    """Whether a dotted name is a module of the package, or a name in one."""
    *parents, name = dotted.split(".")
    place, within = ROOT.joinpath("src", *parents), ROOT.joinpath("src", *parents, name)
    if within.is_dir() or within.with_suffix(".py").is_file():
        return True
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file() and re.search(rf"\b{name}\b", file.read_text()):
            return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    files = re.findall(r"`(?:python |pytest )?((?:tests|bench|examples|src)/[\w/.-]+)`", text)
    made = [file for file in files if "_tomofilt_" in file]  # by the first command
    assert [file for file in files if file not in made and not (ROOT / file).exists()] == []
    assert [name for name in re.findall(r"`(test_\w+\.py)`", text) if name not in TESTS] == []
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    names = set(re.findall(r"`(tomofilt\.[a-z][\w.]+)`", text)) - {*groups, "tomofilt.filters"}
    assert [name for name in names if not module_or_name(name)] == []


def test_navigation_has_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = set(re.findall(r"[\w/-]+\.md", navigation))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert there <= named
