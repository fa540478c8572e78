"""What is quick stays quick: heavy libraries are loaded by the work that needs them, no other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numba", "scipy", "matplotlib", "pandas", "starfile", "gemmi", "jinja2"}
TESTS = Path(__file__).parents[1]

INSPECT = f"""
sys.path.insert(0, {str(TESTS)!r})
from strategies_projects import FakeProject
import tomofilt.series.projects
tomofilt.series.projects.detect = lambda path: FakeProject(["TS_01", "TS_02"])
from tomofilt.cli.app import main
assert main(["inspect", "here"]) == 0
"""


@pytest.mark.parametrize(
    "script",
    [
        "import tomofilt",
        "from tomofilt.cli.app import main; assert main(['--help']) == 0",
        "from tomofilt.cli.app import main; assert main(['reconstruct', '--help']) == 0",
        "from tomofilt.cli.app import main; assert main(['filters', 'list']) == 0",
        "import tomofilt; tomofilt.Settings, tomofilt.TiltSeries, tomofilt.open",
        INSPECT,
    ],
    ids=["import", "help", "reconstruct help", "filters list", "names", "inspect"],
)
def test_loads_no_heavy_library(script):
    report = "\nimport json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}{report}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr))
    assert loaded & HEAVY == set()
