"""The example that hands a geometry to tomosipo."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "tomosipo_geometry.py"


def test_tomosipo_example(capsys):
    pytest.importorskip("tomosipo", reason="tomosipo is not installed")
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    printed = capsys.readouterr().out
    assert float(printed.split("same place, to ")[1].split()[0]) < 1e-9
    assert "operator from (80, 156, 162) (z, y, x) to (157, 41, 163) (y, view, x)" in printed
