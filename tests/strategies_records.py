"""A record as a finished tomogram has it, for tests of those who read records."""

from msgspec.structs import replace

from tomofilt.io.record import (
    AppliedFilter,
    InputFile,
    Output,
    Record,
    Scale,
    Unbinned,
    View,
)

OUTPUT = Output(
    file="TS_01.mrc",
    kind="whole",
    shape_zyx=(16, 38, 44),
    voxel_angst=16.0,
    specimen_centre_zyx=(8.0, 19.0, 22.0),
    orientation="zyx",
    flip_z=False,
    dtype="float32",
    data="0123456789abcdef",
    minimum=-1.0,
    maximum=1.0,
    mean=0.0,
    rms=0.5,
    clipped_voxels=0,
    scaled_by=Scale(factor=1.0, then_add=0.0),
)
FILTER = AppliedFilter(
    spec="ramp",
    parameters="Ramp()",
    interpolation="fine",
    padded_px=64,
    gains_sha256="0",
    factor=1.0,
    measured={},
    gains=None,
)


def a_record(*, output=(), spec="ramp", **changes):
    """A record with some fields of its own; ``output`` holds fields of the output."""
    given = {
        "schema": 2,
        "version": "0.1.0",
        "finished": "2025-01-01T00:00:00+00:00",
        "command": ("tomofilt", "reconstruct"),
        "fingerprint": "0123",
        "depends_on": {"filter": spec},
        "series": "TS_01",
        "unbinned": Unbinned(pixel_angst=8.0, size_xyz=(88, 76, 32)),
        "output": replace(OUTPUT, **dict(output)),
        "filter": replace(FILTER, spec=spec),
        "corrections": {},
        "denoising": None,
        "projector": "slice",
        "gpus": (),
        "settings": {"filter": spec},
        "applied": {},
        "views": (View(image=1, tilt_deg=3.0, image_from_volume=((1.0, 0, 0, 0), (0, 1.0, 0, 0))),),
        "excluded": (),
        "notes": (),
        "inputs": (InputFile(file="TS_01.st", bytes=6, modified_ns=1, content="0"),),
        "seconds": {"read": 0.1},
        "peak_memory_bytes": 1,
        "threads": 1,
        "machine": {},
        "libraries": {},
    }
    return Record(**(given | changes))
