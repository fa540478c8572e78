"""Files of an AreTomo output: the alignments of a folder, and what belongs to each of them.

AreTomo3 writes ``TS.aln`` with ``TS.mrc``, ``TS_EVN.mrc``, ``TS_ODD.mrc``, ``TS_CTF.txt`` and
``TS_TLT.txt`` into one folder, and with -OutImod also a folder ``TS_Imod``, whose stack
``TS_st.mrc`` is by ascending tilt and without the dark images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tomofilt.errors import InputError, MissingFileError

__all__ = ["Layout", "find_alignments", "imod_folders", "looks_like_aretomo", "refuse_missing"]

_STACKS = (".mrc", ".st", ".mrcs", ".ali")
_IMOD = "_Imod"


@dataclass(frozen=True)
class Layout:
    """The files of one alignment.

    Parameters
    ----------
    aln : Path
    """

    aln: Path

    @property
    def folder(self) -> Path:
        """Where the alignment is."""
        return self.aln.parent

    @property
    def name(self) -> str:
        """Base name of the tilt series; AreTomo2 leaves the ending of a ``.st`` in it."""
        return self.aln.stem.removesuffix(".st")

    @property
    def imod_folder(self) -> Path:
        """What -OutImod makes."""
        return self.folder / f"{self.name}{_IMOD}"

    def beside(self, suffix: str) -> Path:
        """Append a suffix to the base name."""
        return self.folder / f"{self.name}{suffix}"

    def raw_stack(self) -> Path | None:
        """The stack that was aligned, beside the alignment or one folder up."""
        folders = (self.folder, self.folder.parent)
        found = (folder / f"{self.name}{ending}" for folder in folders for ending in _STACKS)
        return next((path for path in found if path.is_file()), None)

    def bright_stack(self) -> Path | None:
        """The stack of -OutImod 2: raw images of the alignment alone; -OutImod 3 has moved them."""
        path = self.imod_folder / f"{self.name}_st.mrc"
        if not path.is_file():
            return None
        try:
            fields = path.with_suffix(".xf").read_text().split()[:4]
        except OSError:
            return path
        return None if fields == ["1.000", "0.000", "0.000", "1.000"] else path

    def missing_stack(self) -> MissingFileError:
        """Say where the images were looked for."""
        return MissingFileError(
            f"{self.aln}: its images are not there, neither {self.name}.mrc nor {self.name}.st in "
            f"{self.folder} or one folder up, nor raw ones in {self.imod_folder.name}: copy "
            "the stack that AreTomo has aligned there, or link it"
        )

    def halves(self, stack: Path) -> list[Path]:
        """Stacks of even and odd frames beside a stack, as far as there are any."""
        found = [stack.with_name(f"{stack.stem}_{half}{stack.suffix}") for half in ("EVN", "ODD")]
        return [path for path in found if path.is_file()]

    def volume_thickness_px(self) -> int | None:
        """Thickness that AreTomo gave its own tomogram, which only tilt.com of -OutImod tells."""
        try:
            text = (self.imod_folder / "tilt.com").read_text(errors="replace")
        except OSError:
            return None
        match = re.search(r"^THICKNESS\s+(\d+)", text, re.MULTILINE)
        return int(match[1]) if match and int(match[1]) > 0 else None


def looks_like_aretomo(path: Path) -> bool:
    """Tell whether the path is an .aln file, or a folder with some or with ``*_Imod``.

    A ``*_Imod`` folder itself counts if the alignment it was made from is beside it, which has more
    digits; a folder that etomo works in does not.
    """
    try:
        if path.suffix != ".aln" and not path.name.endswith(_IMOD) and _is_imod_folder(path):
            return False
        return bool(_holds_any(path))
    except OSError:
        return False


def refuse_missing(path: Path) -> None:
    """Raise MissingFileError or InputError if there is nothing of AreTomo here."""
    if not path.exists():
        raise MissingFileError(f"{path}: there is no such file or folder")
    if not _holds_any(path):
        raise InputError(
            f"{path} holds no alignment of AreTomo: give an .aln file, or the folder that AreTomo "
            "wrote it to"
        )


def _holds_any(path: Path) -> bool:
    return bool(find_alignments(path) or imod_folders(path))


def _is_imod_folder(path: Path) -> bool:
    return (path / "tilt.com").is_file() or any(path.glob("*.edf"))


def find_alignments(path: Path) -> list[Layout]:
    """Alignments of a folder, in order of their names, or the one given."""
    if path.suffix == ".aln":
        return [Layout(path)]
    folder = path.resolve() if path.name in ("", "..") else path
    if folder.name.endswith(_IMOD):
        aln = folder.with_name(f"{folder.name.removesuffix(_IMOD)}.aln")
        return [Layout(aln)] if aln.is_file() else []
    return [Layout(aln) for aln in sorted(path.glob("*.aln"))]


def imod_folders(path: Path) -> dict[str, Path]:
    """Folders of -OutImod in a folder, by the name of their tilt series."""
    return {
        folder.name.removesuffix(_IMOD): folder
        for folder in sorted(path.glob(f"*{_IMOD}"))
        if (folder / "tilt.com").is_file()
    }
