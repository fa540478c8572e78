"""The record beside each tomogram: what went in, what was applied, what came out.

The record's fingerprint, which the tomogram's header repeats, is how a finished tomogram is told
from one made with other settings, or from a file that is none of tomofilt's business.
"""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, OutputExistsError
from tomofilt.io.mrc_header import parse_header
from tomofilt.jobs.outputs import Output
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["build_record", "fingerprint", "finished"]

#: Settings that change no voxel, or (device) by no more than a GPU's interpolation, 1e-3; and the
#: path of a model, whose contents the filter has.
_INDIFFERENT = {
    "model",
    "device",
    "threads",
    "max_memory_bytes",
    "overwrite",
    "preview",
    "halves",
    "denoise",  # the denoised tomogram is one of its own
    "head",
}
_GAIN_SAMPLES = 129


def fingerprint(problem: Problem, settings: Settings, output: Output) -> str:
    """Sixteen hexadecimal digits that change with anything that changes the tomogram."""
    series, corrections = problem.series, problem.corrections
    chosen = {k: v for k, v in asdict(settings).items() if k not in _INDIFFERENT}
    local = series.geometry.local
    parts = {
        "version": version("tomofilt"),
        "settings": chosen,
        "method": repr(problem.method),
        "output": output.name,
        "head": _digest(settings.head) if output.is_denoised else None,
        "grid": repr(problem.grid),
        "views": [int(i) for i in series.views[output.part.views]],
        "maps": series.geometry.image_from_volume.round(9).tobytes().hex(),
        "local": "" if local is None else local.image_from_volume.round(9).tobytes().hex(),
        "log": series.log_base,
        "corrections": [corrections.ctf, corrections.dose],
        "ctf": _digits(asdict(series.ctf)) if series.ctf and corrections.ctf != "none" else "",
        "dose": _digits(series.dose_e_per_a2) if corrections.dose else "",
        "pixel": series.images.pixel_angst,
        "images": [_file_facts(path) for path in _image_files(series, output)],
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _image_files(series: TiltSeries, output: Output) -> tuple[Path, ...]:
    if series.halves is None or output.part.source == "whole":
        return series.images.files
    return series.halves[output.part.source == "half2"].files


def finished(destination: Destination, mark: str, *, overwrite: bool) -> bool:
    """Whether the tomogram is there, whole and made with the same settings.

    Raises
    ------
    OutputExistsError
        If a file is in the way that must not be replaced.
    """
    volume, record = destination.volume, destination.record
    if record.exists() and not _is_record(record):
        raise OutputExistsError(
            f"{record} exists and tomofilt did not make it: "
            "move it away, or choose another folder with -o"
        )
    if not volume.exists():
        preview = destination.preview
        if preview.exists() and not record.exists():
            raise OutputExistsError(
                f"{preview} exists and tomofilt did not make it: "
                "move it away, or choose another folder with -o"
            )
        return False
    try:
        with volume.open("rb") as file:
            header = parse_header(file.read(1024))
    except InputError:
        ours = []
        whole = False
    else:
        ours = [label for label in header.labels if label.startswith("TOMOFILT:")]
        whole = volume.stat().st_size >= header.file_bytes
    if not ours:
        raise OutputExistsError(
            f"{volume} exists and tomofilt did not make it: "
            "move it away, or choose another folder with -o"
        )
    if whole and any(mark in label for label in ours):
        # without its record the run was cut short: it is made again, bit for bit
        return not overwrite and record.exists()
    if whole and not overwrite:
        made = ours[-1].removeprefix("TOMOFILT:").split()
        raise OutputExistsError(
            f"{volume} was made with other settings or inputs ({' '.join(made[1:])}): "
            "give --overwrite to replace it, or another folder with -o"
        )
    return False


def build_record(
    problem: Problem,
    settings: Settings,
    output: Output,
    mark: str,
    *,
    seconds: Mapping[str, float],
    statistics: Mapping[str, object],
    denoising: Mapping[str, object] | None = None,
    gold: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Everything about one finished tomogram, ready for JSON."""
    series, grid, method = problem.series, problem.grid, problem.method
    rows_filter = problem.row_filter
    return {
        "program": "tomofilt",
        "version": version("tomofilt"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "fingerprint": mark,
        "series": series.name,
        "size_px": series.grid.shape[::-1],  # (x, y, z) in unbinned pixels
        "output": {
            "file": output.destination.volume.name,
            "shape_zyx": grid.shape,
            "voxel_angst": grid.voxel_angst,
            "specimen_centre_zyx": grid.centre,
            "orientation": settings.orientation,
            "dtype": settings.dtype or method.dtype,
            **statistics,
        },
        "filter": {
            "spec": method.spec,
            "parameters": repr(method),
            "interpolation": method.interpolation,
            "padded_px": rows_filter.padded_px,
            "gains_sha256": rows_filter.gains_sha256(),
            "factor": output.part.gain,
            "measured": dict(problem.filter.facts()),
            # what an iterative method does to a frequency is no number
            "gains": _gains(problem) if method.is_linear_filter else None,
        },
        "corrections": asdict(problem.corrections),
        "gold": gold,
        "denoising": denoising,
        "projector": "astra" if problem.device.gpus else method.projector,
        "gpus": list(problem.device.gpus),
        "settings": {k: v for k, v in asdict(settings).items() if v is not None},
        "applied": {
            name: {"value": fact.value, "source": fact.source}
            for name, fact in series.facts.items()
        },
        "views": [
            {
                "image": int(series.views[i]) + 1,
                "tilt_deg": round(float(series.tilt_deg[i]), 4),
                "image_from_volume": series.geometry.image_from_volume[i].round(6).tolist(),
            }
            for i in output.part.views
        ],
        "excluded": [i + 1 for i in series.excluded],
        "notes": list(series.notes),
        "inputs": [
            _file_facts(path)
            for path in dict.fromkeys((*series.files, *_image_files(series, output)))
        ],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_bytes": peak_memory_bytes(),
        "threads": problem.threads,
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "libraries": {name: version(name) for name in ("numpy", "scipy", "numba", "mrcfile")},
    }


def _gains(problem: Problem) -> dict[str, object]:
    """Gains of every view across the tilt axis, from next to zero to half a cycle per pixel.

    Lines of numbers are texts, or the record would be mostly line breaks.
    """
    context = problem.filter_context
    cycles = np.linspace(0, 0.5, _GAIN_SAMPLES)
    cycles[0] = 2 / np.pi**2 / context.padded_px  # zero frequency as filters take it
    gains = problem.filter.gains(cycles / context.pixel_angst, np.zeros(1), context)
    return {
        "tilt_deg": _text(context.tilt_deg),
        "cycles_per_px": _text(cycles),
        "of_views": [_text(view) for view in gains],
    }


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.5g}" for value in values)


def peak_memory_bytes() -> int:
    """Largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _digits(value: object) -> str:
    """Numbers as text that changes with any digit that matters."""
    if isinstance(value, dict):
        return " ".join(f"{name} {_digits(each)}" for name, each in value.items())
    return "-" if value is None else " ".join(f"{x:.6g}" for x in np.ravel(np.asarray(value)))


def _file_facts(path: Path) -> dict[str, object]:
    facts = path.stat()
    return {"file": str(path), "bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}


def _is_record(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text())["program"] == "tomofilt")
    except (OSError, ValueError, KeyError, TypeError):
        return False
