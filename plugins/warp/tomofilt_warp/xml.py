"""Warp's metadata of a tilt series: an .xml file with a value a tilt, and grids.

Lengths are in angstrom and defocus in micrometres; a list has one value a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import open_input

__all__ = ["WarpXml", "looks_like_tilt_series", "read_xml"]

FloatArray = NDArray[np.float64]

#: Bytes in which the root element of a file begins.
_START = 4096


@dataclass(frozen=True, eq=False)
class WarpXml:
    """What the file of a tilt series holds, as far as it is of use.

    Parameters
    ----------
    path : Path
    attributes : mapping of str to str
        Of the root element.
    lists : mapping of str to tuple of str
        Values a tilt, by the element's name.
    ctf : mapping of str to str
        Parameters that all tilts share.
    grids : mapping of str to (t, z, y, x) array
        Values on a lattice, by the element's name; z counts tilts in grids of images.
    """

    path: Path
    attributes: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    ctf: Mapping[str, str]
    grids: Mapping[str, FloatArray]

    @property
    def tilts(self) -> int:
        """How many there are."""
        return len(self.lists["Angles"])

    def numbers(self, name: str) -> FloatArray | None:
        """A list as numbers, one a tilt; None if there is no such list.

        Raises
        ------
        InputError
            It holds something else, or another amount.
        """
        texts = self.texts(name)
        if texts is None:
            return None
        try:
            values = np.array([float(text) for text in texts])
        except ValueError:
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: {name} holds something that is no number")
        return values

    def alignment(self, name: str) -> FloatArray:
        """A list of numbers without which there is no alignment.

        Raises
        ------
        InputError
            It is not there, or as :meth:`numbers`.
        """
        values = self.numbers(name)
        if values is None:
            raise InputError(
                f"{self.path} has no {name}: align the tilt series in Warp first "
                "(ts_import_alignments, ts_aretomo or ts_etomo_patches)"
            )
        return values

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list as it is; None if there is none.

        Raises
        ------
        InputError
            It has another amount of values than there are angles.
        """
        texts = self.lists.get(name)
        if texts is not None and len(texts) != self.tilts:
            raise InputError(
                f"{self.path} has {self.tilts} Angles, but {len(texts)} values in {name}: save it "
                "again from Warp"
            )
        return texts

    def vector(self, name: str, length: int) -> FloatArray | None:
        """An attribute of some numbers, or None if it is not there or says nothing (0)."""
        fields = [field for field in re.split(r"[,\s]+", self.attributes.get(name, "")) if field]
        try:
            values = np.array([float(field) for field in fields])
        except ValueError:
            raise InputError(f"{self.path}: {name} is {self.attributes[name]!r}") from None
        return values if len(values) == length and np.any(values) else None

    def number(self, name: str) -> float:
        """An attribute that is a number; 0 if it is not there."""
        found = self.vector(name, 1)
        return 0.0 if found is None else float(found[0])

    def image_grid(self, name: str) -> FloatArray | None:
        """Nodes (tilt or 1, y, x) of a grid over images; None if there is none for each tilt."""
        grid = self.grids.get(name)
        if grid is None or grid.shape[0] != 1 or grid.shape[1] not in (1, self.tilts):
            return None
        nodes: FloatArray = grid[0]
        return nodes

    def per_tilt(self, name: str) -> FloatArray | None:
        """Mean over the image of such a grid, one value a tilt."""
        grid = self.image_grid(name)
        if grid is None:
            return None
        return np.broadcast_to(grid.mean(axis=(1, 2)), self.tilts).copy()


def looks_like_tilt_series(path: Path) -> bool:
    """Whether a file is the .xml of a tilt series; never raises."""
    if path.suffix != ".xml":
        return False
    try:
        with open_input(path) as file:
            start = file.read(_START)
    except (OSError, InputError):
        return False
    return b"<TiltSeries" in start.replace(b"\0", b"")  # UTF-16 too


def read_xml(path: Path) -> WarpXml:
    """Read the file of a tilt series, in whatever encoding it declares.

    Raises
    ------
    MissingFileError, InputError
        It is not there, or is no such file; the message names the line.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file") from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except ElementTree.ParseError as error:
        raise InputError(f"{path} line {error.position[0]}: not readable XML ({error})") from error
    if root.tag != "TiltSeries":
        raise InputError(f"{path} holds a {root.tag}, and not a TiltSeries: give the .xml of one")
    lists = {
        child.tag: tuple(line.strip() for line in (child.text or "").strip().splitlines())
        for child in root
        if not len(child) and not child.attrib
    }
    if not lists.get("Angles"):
        raise InputError(f"{path} has no Angles: import the tilt series again")
    ctf = root.find("CTF")
    return WarpXml(
        path=path,
        attributes=dict(root.attrib),
        lists=lists,
        ctf={p.get("Name", ""): p.get("Value", "") for p in ctf or ()},
        grids={child.tag: _grid(child, path) for child in root if child.tag.startswith("Grid")},
    )


def _grid(element: ElementTree.Element, path: Path) -> FloatArray:
    sizes = [int(element.get(key, "1")) for key in ("Duration", "Depth", "Height", "Width")]
    try:
        values = np.array([float(node.get("Value", "")) for node in element])
        return values.reshape(sizes)
    except ValueError:
        raise InputError(
            f"{path}: {element.tag} has {len(element)} values, not one for each of "
            f"{' x '.join(map(str, sizes))} nodes"
        ) from None
