"""The OME-Zarr beside a finished tomogram."""

from __future__ import annotations

from tomofilt.io.record import OutputFolder
from tomofilt.jobs.finished import folder_facts
from tomofilt.jobs.outputs import Output
from tomofilt.jobs.plan import Plan
from tomofilt.jobs.sink import origin_angst

__all__ = ["make_zarr"]


def make_zarr(
    plan: Plan, output: Output, mark: str, minimum: float, maximum: float
) -> OutputFolder | None:
    """Write it, if it is wanted, from the MRC file, with the grey levels of the preview.

    Parameters
    ----------
    plan : Plan
    output : Output
        Its MRC file is finished.
    mark : str
        Fingerprint of the tomogram.
    minimum, maximum : float
        Densities that occur.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if output.zarr is None:
        return None
    from tomofilt.draw.preview import VolumeSlices, preview_limits
    from tomofilt.io.ome_zarr import write_ome_zarr

    orientation = plan.settings.axes(plan.problem.series)
    volume = output.destination.volume
    black, white = preview_limits(VolumeSlices(volume, orientation))
    write_ome_zarr(
        output.zarr,
        volume,
        orientation=orientation,
        voxel_angst=plan.problem.grid.voxel_angst,
        origin_angst=origin_angst(plan.problem),
        name=volume.stem,
        window={"start": black, "end": white, "min": minimum, "max": maximum},
        mark=mark,
    )
    return folder_facts(output.zarr)
