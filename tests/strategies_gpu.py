"""Small problems in slice geometry, for the kernels of GPUs in an interpreter."""

from hypothesis import strategies as st

from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid


@st.composite
def cpu_projectors(draw):
    """Projectors of the CPU: odd and even sizes, steep views, x tilt, fine samples, centres."""
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 11), st.integers(1, 23)))
    nz, ny, nx = size
    tilts = draw(st.lists(st.floats(-89.9, 89.9), min_size=1, max_size=3, unique=True))
    geometry = TiltGeometry.from_angles(
        sorted(tilts),
        xtilt_deg=draw(st.sampled_from([0.0, 3.0, -11.0])),
        shift_angst=draw(st.tuples(st.floats(-30, 30), st.floats(-30, 30))),
    )
    magnified = geometry.image_from_volume.copy()
    magnified[:, 0] *= draw(st.sampled_from([1.0, 0.9, 1.15]))
    _, slices = TiltGeometry(magnified).factor()
    offset = draw(st.sampled_from([0.0, 0.5, -1.25]))
    volume = VolumeGrid(size, 8.0, ((nz - 1) / 2, (ny - 1) / 2 + offset, nx / 2))
    rows, width = draw(st.tuples(st.integers(1, 12), st.integers(1, 25)))
    oversampling = draw(st.sampled_from([1, 2]))
    table = slice_table(
        slices, volume, ImageGrid.centred((rows, width), 8.0), 0.0, 1 / oversampling
    )
    return SliceProjector(table, (len(tilts), rows, oversampling * (width - 1) + 1), size)
