"""Pictures of tomograms for RELION's display: sums of some slices (``--do_proj``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tomofilt.errors import OutputExistsError
from tomofilt.io.mrc import MrcStack, MrcWriter, label, read_header
from tomofilt.series.projects import Destination

__all__ = ["Projection"]

_WORDS = "sum of central slices"


@dataclass(frozen=True)
class Projection:
    """Which slices are summed, in voxels of the tomogram, as RELION counts.

    Parameters
    ----------
    centre : int
        Of them, from the middle slice.
    thickness : int
        How far the first and the last are apart.
    """

    centre: int = 0
    thickness: int = 10

    def slices(self, planes: int) -> range:
        """The slices, of a tomogram with so many planes."""
        middle, half = planes // 2 + self.centre, self.thickness // 2
        return range(max(0, middle - half), min(planes, middle + half + 1))

    def path(self, tomogram: Destination) -> Path:
        """Where the projection of a tomogram goes: ``projections/`` in the job's folder."""
        return tomogram.volume.parent.parent / "projections" / tomogram.volume.name

    def write(self, tomogram: Destination) -> Path:
        """Write the projection of a finished tomogram.

        Returns
        -------
        Path

        Raises
        ------
        OutputExistsError
            A file that tomofilt did not write is in the way.
        """
        stack, path = MrcStack(tomogram.volume), self.path(tomogram)
        total = np.zeros(stack.shape[1:], dtype=np.float64)
        for plane in self.slices(stack.shape[0]):
            total += stack.read(plane)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not any(_WORDS in text for text in read_header(path).labels):
            raise OutputExistsError(
                f"{path} exists and tomofilt did not write it: choose the folder of a new job"
            )
        with MrcWriter(
            path,
            (1, *total.shape),
            stack.pixel_angst,
            labels=(label(_WORDS),),
            is_volume=False,
            replace=True,
            allow_constant=True,
        ) as writer:
            writer.write(total[None].astype(np.float32))
            writer.commit()
        return path
