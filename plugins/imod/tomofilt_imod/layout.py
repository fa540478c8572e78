"""Files of an IMOD folder: the base name of its tilt series, and where its parts are.

Two naming styles are in use: old (``TS.st``, ``TS.ali``) and new (``TS.mrc``, ``TS_ali.mrc``).
Com files name the files that were used and come first; the styles are for what they do not name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tomofilt.errors import InputError
from tomofilt.io.text import read_text
from tomofilt_imod.com import Command, read_command

__all__ = ["Layout", "find_layouts", "looks_like_imod"]

_ALIGNED = re.compile(r"(_(ctfcorr|erase|filt|3dfind))?(_ali\.(mrc|hdf)|\.ali)$")
_OTHER_XF = re.compile(r"(_fid|_nonfid|local)$")
_OURS = re.compile(r".*\.(edf|xf|tlt)|(tilt|newst)[ab]?\.com")


@dataclass(frozen=True)
class Layout:
    """The files of one tilt series.

    Parameters
    ----------
    folder : Path
    name : str
        Base name of the data set, with the axis.
    tilt, newst : Command
        tilt.com and newst.com; without entries when there is no such file.
    edf : mapping of str to str
        Settings of etomo's project file, empty without one.
    edf_path : Path, optional
    axis : "", "a" or "b"
        Which series of a dual-axis data set; its com files are tilta.com and so on.
    """

    folder: Path
    name: str
    tilt: Command
    newst: Command
    edf: Mapping[str, str] = field(default_factory=dict)
    edf_path: Path | None = None
    axis: str = ""

    def com_file(self, name: str) -> Path:
        """Where the com file of a name is, with the axis."""
        return self.folder / f"{name}{self.axis}.com"

    def beside(self, suffix: str) -> Path:
        """Append a suffix to the base name."""
        return self.folder / f"{self.name}{suffix}"

    def aligned_stack(self) -> Path | None:
        """Find the aligned stack: tilt.com's, else the one named by either style."""
        return _first_file([self.tilt.file("InputProjections"), *self._aligned(self.name)])

    def raw_stack(self) -> Path | None:
        """Find the raw stack: newst.com's, else the one named by etomo or either style.

        AreTomo's newst.com (-OutImod 1) names a stack that it leaves one folder up.
        """
        named = self.newst.file("InputFile")
        found = _first_file([named, *self._raw(self.name)])
        if found is None and named is not None and self.folder.name.endswith("_Imod"):
            return _first_file([self.folder.parent / named.name])
        return found

    def halves(self, aligned: bool) -> list[Path]:
        """Find stacks of even and odd frames, aligned or raw, as far as there are any."""
        candidates = self._aligned if aligned else self._raw
        halves = ("EVN", "ODD")
        found = [_first_file(candidates(f"{self.name}_{half}")) for half in halves]
        raw = None if aligned or any(found) else self.raw_stack()
        if raw is not None:  # of another name, as AreTomo's
            found = [_first_file([raw.with_stem(f"{raw.stem}_{half}")]) for half in halves]
        return [path for path in found if path is not None]

    def defocus_file(self) -> Path | None:
        """Find the defocus file of this name, or AreTomo's, which is of the same format."""
        aretomo = self.folder / f"{self.name.removesuffix('_st')}_ctf.txt"
        return _first_file([self.beside(".defocus"), aretomo])

    def _aligned(self, name: str) -> list[Path]:
        return [self.folder / f"{name}_ali.mrc", self.folder / f"{name}.ali"]

    def _raw(self, name: str) -> list[Path]:
        suffixes = [self.edf.get("Setup.RawImageStackExt", "st"), "st", "mrc"]
        return [self.folder / f"{name}.{suffix}" for suffix in suffixes]


def looks_like_imod(path: Path) -> bool:
    """Tell whether the path is a folder with IMOD's files, or one of those; never raises."""
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return any(_OURS.fullmatch(file.name) and file.is_file() for file in files)
    except OSError:
        return False


def find_layouts(path: Path) -> tuple[Layout, ...]:
    """Find the files of a tilt series from its folder, or its .edf, .xf, .tlt or com file.

    Returns
    -------
    One layout, or one for each axis of a dual-axis data set.

    Raises
    ------
    InputError
        There is none, or more than one.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such folder")
    folder = path if path.is_dir() else path.parent
    named = path if path.is_file() and path.suffix in (".edf", ".xf", ".tlt") else None
    edf_path = _edf_path(folder, named)
    edf = {} if edf_path is None else _read_edf(edf_path)
    axes = [axis for axis in "ab" if (folder / f"tilt{axis}.com").is_file()]
    if not axes and edf.get("Setup.AxisType") == "Dual Axis":
        raise InputError(
            f"{edf_path} describes a dual-axis data set, but neither tilta.com nor tiltb.com is "
            "there: have etomo write them"
        )
    found = [_layout(folder, axis, named, edf_path, edf) for axis in axes or ("",)]
    chosen = [layout for layout in found if named is not None and layout.name == named.stem]
    return tuple(chosen or found)


def _layout(
    folder: Path, axis: str, named: Path | None, edf_path: Path | None, edf: Mapping[str, str]
) -> Layout:
    tilt, newst = (
        read_command(file, program) if file.is_file() else Command(file)
        for file, program in (
            (folder / f"tilt{axis}.com", "tilt"),
            (folder / f"newst{axis}.com", "newstack"),
        )
    )
    dataset = edf.get("Setup.DatasetName")
    name = f"{dataset}{axis}" if dataset else _name_in_com(tilt, newst)
    if named is not None and not axis:
        name = name or named.stem
        if name != named.stem and named != edf_path:
            raise InputError(
                f"{named} was given, but the com files and settings beside it are those of {name}: "
                f"give {folder}, or keep each tilt series in a folder of its own"
            )
    name = name or _name_of_files(folder)
    if not name or name.startswith("-") or re.search(r"[/\\\0]|^\.+$", name):
        raise InputError(f"{folder}: {name!r} cannot be the name of a data set: correct {edf_path}")
    return Layout(folder, name, tilt, newst, edf, edf_path, axis)


def _read_edf(path: Path) -> dict[str, str]:
    """Read a Java properties file, as far as it is plain."""
    pairs = (line.split("=", 1) for line in read_text(path).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _name_in_com(tilt: Command, newst: Command) -> str | None:
    """Take the base name from the files that the com files name."""
    aligned, angles = tilt.file("InputProjections"), tilt.file("TILTFILE")
    if aligned is not None and _ALIGNED.search(aligned.name):
        return _ALIGNED.sub("", aligned.name)
    if angles is not None:
        return angles.stem.removesuffix("_fid")
    raw = newst.file("InputFile")
    return None if raw is None else raw.stem


def _name_of_files(folder: Path) -> str:
    for suffix in (".xf", ".tlt"):
        stems = {file.stem for file in folder.glob(f"*{suffix}")}
        names = sorted(stem for stem in stems if not _OTHER_XF.search(stem))
        if len(names) == 1:
            return names[0]
        if names:
            raise _several(folder, [f"{name}{suffix}" for name in names])
    raise InputError(
        f"{folder} holds no tilt series that IMOD has aligned: an .edf, tilt.com, .xf or .tlt file "
        "is needed"
    )


def _edf_path(folder: Path, named: Path | None) -> Path | None:
    """Find etomo's project file: that of the given file, or the folder's only one."""
    if named is not None:
        return _first_file([named.with_suffix(".edf")])
    found = sorted(folder.glob("*.edf"))
    if len(found) > 1:
        raise _several(folder, [file.name for file in found])
    return found[0] if found else None


def _first_file(candidates: Iterable[Path | None]) -> Path | None:
    return next((file for file in candidates if file is not None and file.is_file()), None)


def _several(folder: Path, names: list[str]) -> InputError:
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return InputError(
        f"{folder} holds {len(names)} tilt series ({shown}): give one of these files instead of "
        "the folder"
    )
