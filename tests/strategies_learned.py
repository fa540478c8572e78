"""Strategies for learned filters."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tomofilt.filters.learned import GridNodes, LearnedFilter, RadialNodes

tilt_lists = st.lists(
    st.floats(-75, 75).map(lambda tilt: round(tilt, 1)), min_size=1, max_size=8, unique=True
).map(np.array)
frequencies = st.lists(
    st.floats(1e-4, 0.2), min_size=1, max_size=6, unique_by=lambda k: round(k, 4)
)
radial = frequencies.map(lambda k: RadialNodes(np.sort(k)))


@st.composite
def grids(draw):
    across, along = (np.sort(draw(frequencies)) for _ in range(2))
    zero = [0.0] if draw(st.booleans()) else []
    return GridNodes(np.array([0.0, *across]), np.array([*-along[::-1], *zero, *along]))


@st.composite
def learned_filters(draw):
    base = draw(st.sampled_from(["flat", "ramp", "radial-ramp"]))
    angles = draw(st.sampled_from(["shared", "per-tilt", "polynomial"]))
    tilts, placed, order = draw(tilt_lists), draw(radial | grids()), draw(st.integers(0, 4))
    terms = {"shared": 1, "per-tilt": len(tilts), "polynomial": order + 1}[angles]
    finite = st.floats(-5, 5, width=32)
    coefficients = draw(hnp.arrays(np.float32, (terms, *placed.shape), elements=finite))
    return LearnedFilter(base, angles, placed, tilts, coefficients, order)
