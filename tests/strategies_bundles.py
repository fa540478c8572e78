"""Strategies for bundles."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tomofilt.io.bundle import Bundle

names = st.from_regex(r"[a-z][a-z0-9_.]{0,12}", fullmatch=True)
finite = {"allow_nan": False, "allow_infinity": False}
arrays = st.one_of(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0), elements=st.floats(width=32, **finite)),
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=0), elements=st.floats(**finite)),
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=0)),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(**finite) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
bundles = st.builds(
    Bundle,
    st.sampled_from(["filter", "head"]),
    st.dictionaries(names, arrays, min_size=1, max_size=4),
    st.dictionaries(st.text(max_size=8), values, max_size=4),
)
