"""OME-Zarr 0.5: a tomogram in three sizes, for napari, Neuroglancer and other viewers.

The format: https://ngff.openmicroscopy.org/0.5. Whether files are valid is tested with
ome-zarr-models.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.files import partial_folder
from tomofilt.io.mrc import MrcStack

__all__ = ["own_mark", "require_zarr", "write_ome_zarr"]

_AXES = ("z", "y", "x")
_LEVELS = ("0", "1", "2")
#: Edge of the cubes that each become a file: 8 MB of float32, so that a tomogram is some hundred.
_CHUNK = 128
#: Attributes of ours, by which a folder is known as tomofilt's.
_OURS = "tomofilt"

Block = NDArray[Any]
#: Voxels [z, y, x] of a volume.
Read = Callable[[slice, slice, slice], Block]


def require_zarr() -> None:
    """Raise InputError where zarr is not installed."""
    if importlib.util.find_spec("zarr") is None:
        raise InputError("--zarr needs the package zarr: pip install 'tomofilt[zarr]'")


def write_ome_zarr(
    final: Path,
    volume: Path,
    *,
    orientation: Literal["zyx", "xzy"],
    voxel_angst: float,
    origin_angst: tuple[float, float, float],
    name: str,
    window: dict[str, float],
    mark: str,
) -> None:
    """Write the voxels of an MRC file as OME-Zarr, a block at a time, in place of an earlier one.

    Each further level is half as large; its voxels are means of eight. The folder is whole or
    absent (:func:`tomofilt.io.files.partial_folder`).

    Parameters
    ----------
    final : Path
        The folder.
    volume : Path
        The MRC file.
    orientation : "zyx" or "xzy"
        Axes of the MRC file, as :class:`tomofilt.io.mrc.MrcWriter` has them; those of the OME-Zarr
        are always z, y, x.
    voxel_angst : float
    origin_angst : (x, y, z)
        In IMOD's sign, as in MRC headers: half the size where the middle of the volume is zero.
    name : str
        What a viewer calls it.
    window : mapping
        ``start`` and ``end``, the densities that are black and white; ``min`` and ``max``, those
        that occur.
    mark : str
        See :func:`own_mark`.

    Raises
    ------
    InputError, OutputError
        The MRC file cannot be read; the folder cannot be written.
    """
    import zarr
    from zarr.codecs import BloscCodec

    stack = MrcStack(volume, voxel_angst)
    shape, read = _upright(stack, orientation)
    # IMOD's bytes count from 0 to 255, however they are stored
    stored = np.dtype(np.uint8) if stack.header.value_offset else stack.header.dtype
    dtype = stored.newbyteorder("=")
    with (
        # a chunk that is missing later was lost, and is not one of zeros
        zarr.config.set({"array.write_empty_chunks": True}),
        partial_folder(final, _bytes(shape, dtype)) as folder,
    ):
        group = zarr.create_group(
            folder,
            zarr_format=3,
            attributes={
                "ome": _metadata(voxel_angst, origin_angst, name, window),
                _OURS: {"fingerprint": mark},
            },
        )
        # tomograms are mostly noise, at which slower ones gain nothing
        compressor = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")
        for level in _LEVELS:
            chunks = tuple(min(_CHUNK, n) for n in shape)
            array = group.create_array(
                level,
                shape=shape,
                chunks=chunks,
                dtype=dtype,
                dimension_names=_AXES,
                compressors=compressor,
            )
            # rows of the MRC file are read whole
            steps = chunks if level != _LEVELS[0] else (*chunks[:2], shape[2])
            for where in _boxes(shape, steps):
                block = read(*where)
                array[where] = np.rint(block) if dtype.kind in "iu" else block
            shape, read = tuple((n + 1) // 2 for n in shape), _halved(array)


def own_mark(folder: Path) -> str | None:
    """The fingerprint that :func:`write_ome_zarr` was given; None where others made the folder.

    A folder to which somebody has added something, labels say, is no longer tomofilt's alone.
    """
    try:
        attributes = json.loads((folder / "zarr.json").read_text())["attributes"]
        mark = attributes[_OURS]["fingerprint"]
        added = {path.name for path in folder.iterdir()} - {"zarr.json", *_LEVELS}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if added else str(mark)


def _upright(stack: MrcStack, orientation: Literal["zyx", "xzy"]) -> tuple[tuple[int, ...], Read]:
    """Shape (z, y, x) of a volume, and what reads whole rows of it."""
    first, second, nx = stack.shape
    if orientation == "zyx":
        return stack.shape, lambda z, y, x: np.stack(
            [stack.read(i, y.start, y.stop)[:, x] for i in range(z.start, z.stop)]
        )
    # each section has its z downwards
    return (second, first, nx), lambda z, y, x: np.stack(
        [stack.read(i, second - z.stop, second - z.start)[::-1, x] for i in range(y.start, y.stop)],
        axis=1,
    )


def _boxes(shape: tuple[int, ...], steps: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes of some size that fill an array."""
    for corner in itertools.product(*map(range, (0, 0, 0), shape, steps)):
        yield tuple(
            slice(a, min(a + step, n)) for a, step, n in zip(corner, steps, shape, strict=True)
        )


def _halved(array: Any) -> Read:
    """What reads voxels of half as large an array; the last one of an odd axis counts twice."""

    def read(*where: slice) -> Block:
        block = array[tuple(slice(2 * one.start, 2 * one.stop) for one in where)]
        even = [(0, n % 2) for n in block.shape]
        block = np.pad(block.astype(np.float32, copy=False), even, "edge")
        block = block[0::2] + block[1::2]
        block = block[:, 0::2] + block[:, 1::2]
        halved: Block = (block[..., 0::2] + block[..., 1::2]) / np.float32(8)
        return halved

    return read


def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of all levels, uncompressed."""
    return sum(
        dtype.itemsize * int(np.prod([-(-n // 2**level) for n in shape]))
        for level in range(len(_LEVELS))
    )


def _metadata(
    voxel_angst: float,
    origin_angst: tuple[float, float, float],
    name: str,
    window: dict[str, float],
) -> dict[str, Any]:
    """What OME-Zarr calls ``ome``: scales, places and grey levels."""
    datasets = []
    for level, path in enumerate(_LEVELS):
        scale = voxel_angst * 2**level
        # of the centre of the first voxel, where an MRC file counts from its corner
        place = [scale / 2 - origin for origin in reversed(origin_angst)]
        datasets.append(
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [scale] * 3},
                    {"type": "translation", "translation": place},
                ],
            }
        )
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "type": "mean",
                "axes": [{"name": axis, "type": "space", "unit": "angstrom"} for axis in _AXES],
                "datasets": datasets,
            }
        ],
        "omero": {
            "channels": [{"label": name, "color": "FFFFFF", "active": True, "window": window}]
        },
    }
