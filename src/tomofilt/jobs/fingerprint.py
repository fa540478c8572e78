"""What a tomogram depends on, part by part, so that a finished one is told from a stale one.

The parts are contents: of the images, of the alignment, of settings as they were settled. Neither
the spelling of a path counts nor a time, so that a project may be moved and copied. The record
keeps them by name, and a message can say which of them differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt import __version__
from tomofilt.errors import InputError
from tomofilt.io.files import content_digest
from tomofilt.io.record import InputFile
from tomofilt.reconstruction.images import Source
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["Inputs", "dependencies", "differences", "fingerprint", "image_files", "input_files"]

#: Longer values are kept as a digest, which tells that they differ but not by what.
_READABLE = 60
_DIGEST = "sha256:"


class Inputs:
    """The files that are read, as they were when the work began.

    Parameters
    ----------
    paths : iterable of Path
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files = {path: _input_file(path) for path in dict.fromkeys(paths)}

    def __getitem__(self, path: Path) -> InputFile:
        return self._files[path]

    def refuse_changed(self) -> None:
        """Raise InputError if a file is no longer what it was when the work began."""
        for path, then in self._files.items():
            try:
                now = path.stat()
            except OSError as error:
                raise InputError(
                    f"{path} was taken away while it was read ({error.strerror}): nothing was "
                    "written; run the same command again when it is there"
                ) from error
            if (now.st_size, now.st_mtime_ns) != (then.bytes, then.modified_ns):
                size = f"{then.bytes:,} bytes then, {now.st_size:,} now"
                what = size if now.st_size != then.bytes else "its size is the same, its time not"
                raise InputError(
                    f"{path} was changed while it was read ({what}): nothing was written, for it "
                    "would be made of both states; run the same command again when nothing writes "
                    "to the file any more"
                )


def _input_file(path: Path) -> InputFile:
    # the state first: what changes while the digest is made is noticed at the end
    facts = path.stat()
    return InputFile(
        file=str(path),
        bytes=facts.st_size,
        modified_ns=facts.st_mtime_ns,
        content=content_digest(path),
    )


def dependencies(
    series: TiltSeries,
    source: Source,
    members: NDArray[np.intp],
    inputs: Inputs,
    chosen: Mapping[str, object],
    *,
    ctf: str,
    dose: bool,
    measured: bool,
    network: Path | None = None,
) -> dict[str, str]:
    """Everything that a volume depends on, by names that a message can use.

    Parameters
    ----------
    series : TiltSeries
    source : "whole", "half1" or "half2"
        What the volume is made of: the series' images, or one of its frame halves.
    members : (view,) int
        Positions, among the series' used views, of the views that take part.
    inputs : Inputs
        Has the files of the images, and of the frame halves if the filter is measured.
    chosen : mapping
        Settings as they were settled, by name: the filter, the grid, the data type.
    ctf : str
        How the contrast transfer is corrected, "none" for not at all.
    dose : bool
        Whether views are weighted for their exposure.
    measured : bool
        Whether the filter is measured in the images: in the frame halves where there are some.
    network : Path, optional
        Bundle that denoises it.
    """
    local = series.geometry.local
    parts: dict[str, object] = {
        "version of tomofilt": __version__,
        **chosen,
        "views": _ranges(series.views[members]),
        # a measured filter has seen all views, whichever of them take part
        "views of the series": _ranges(series.views),
        "tilt angles": _digits(series.tilt_deg),
        "alignment": _digits(series.geometry.image_from_volume),
        "local alignment": "none" if local is None else _digits(*vars(local).values()),
        "logarithm of the images": series.log_base,
        "pixel size": series.images.pixel_angst,
        "CTF correction": ctf,
        "CTF": _digits(*vars(series.ctf).values()) if series.ctf and ctf != "none" else "unused",
        "dose weighting": dose,
        "exposure": _digits(series.dose_e_per_a2) if dose else "unused",
        "origin in the header": series.origin_angst,
    }
    parts |= _contents("image file", image_files(series, source), inputs)
    if measured and series.halves is not None:
        for number, half in enumerate(series.halves, start=1):
            parts |= _contents(f"file of frame half {number}", half.files, inputs)
    if network is not None:
        parts["network"] = content_digest(network)
    return {name: _short(str(value)) for name, value in parts.items()}


def image_files(series: TiltSeries, source: Source) -> tuple[Path, ...]:
    """The files of all frames, or of the even or the odd ones."""
    if source == "whole" or series.halves is None:
        return series.images.files
    return series.halves[source == "half2"].files


def input_files(series: TiltSeries) -> tuple[Path, ...]:
    """Every file that a series is read from, its images and those of frame halves too."""
    sources = (series.images, *(series.halves or ()))
    return tuple(dict.fromkeys((*series.files, *(path for s in sources for path in s.files))))


def fingerprint(depends_on: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits that change with any part."""
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which parts differ: ``alignment; pixel size (10.0 then, 12.0 now)``."""
    told = []
    for name in dict.fromkeys((*then, *now)):
        old, new = then.get(name), now.get(name)
        if old == new:
            continue
        if old is None or new is None:
            told.append(f"{name} ({'was not used' if old is None else 'is no longer used'})")
        elif old.startswith(_DIGEST) or new.startswith(_DIGEST):
            told.append(name)
        else:
            told.append(f"{name} ({old} then, {new} now)")
    return "; ".join(told)


def _contents(what: str, files: Sequence[Path], inputs: Inputs) -> dict[str, str]:
    """Content of each file, by its name and its place among the others."""
    many = len(files) > 1
    return {
        f"{what} {path.name}" + f" (number {number})" * many: _DIGEST + inputs[path].content
        for number, path in enumerate(files, start=1)
    }


def _short(text: str) -> str:
    if len(text) <= _READABLE:
        return text
    return _DIGEST + hashlib.sha256(text.encode()).hexdigest()[:16]


def _ranges(images: NDArray[np.intp]) -> str:
    """Image numbers, counted from 1, in their order: ``1-20,22``."""
    runs: list[list[int]] = []
    for image in (int(index) + 1 for index in images):
        if runs and image == runs[-1][1] + 1:
            runs[-1][1] = image
        else:
            runs.append([image, image])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _digits(*values: float | NDArray[np.float64] | None) -> str:
    """A digest of numbers that changes with any digit that matters, and with no other."""
    text = ""
    for value in values:
        if value is not None:
            # rounded twice: tiny numbers are those of another mathematics library; + 0: no -0
            text += " ".join(f"{x:.9g}" for x in np.ravel(np.round(value, 9) + 0.0))
        text += ";"
    return _DIGEST + hashlib.sha256(text.encode()).hexdigest()[:16]
