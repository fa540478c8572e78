"""Defocus files in every dialect: what is written is read again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tomofilt_imod.defocus import DefocusTable, read_defocus

ASTIGMATISM, AXIS_RAD, PHASE, PHASE_RAD, INVERT, CUT_ON = 1, 2, 4, 8, 16, 32


@st.composite
def tables(draw):
    """A table, the flags of its file (None: version 2), and the stack's tilts."""
    flags = draw(st.one_of(st.none(), st.integers(0, 63)))
    bits = flags or 0
    views = draw(st.integers(1, 12))
    tilt = np.round(np.linspace(-60, 60, views) + draw(st.floats(-3, 3)), 2)
    width = draw(st.sampled_from([1, 2, 3]))
    first = np.arange(1, views + 1, width)
    last = np.minimum(first + width - 1, views)
    number = len(first)
    values = st.lists(
        st.floats(600, 9000).map(lambda x: round(x, 2)), min_size=number, max_size=number
    ).map(np.array)
    angles = st.lists(
        st.floats(-85, 85).map(lambda x: round(x, 2)), min_size=number, max_size=number
    ).map(np.array)
    u = draw(values)
    zero = np.zeros(number)
    table = DefocusTable(
        first,
        last,
        np.stack([tilt[first - 1], tilt[last - 1]], axis=1),
        u,
        draw(values) if bits & ASTIGMATISM else u,
        draw(angles) if bits & ASTIGMATISM else zero,
        draw(angles) + 90 if bits & PHASE else zero,
        bool(bits & CUT_ON),
        bool(bits & INVERT),
    )
    return table, flags, tilt


@given(tables())
def test_what_is_written_is_read(tmp_path_factory, case):
    table, flags, _ = case
    path = tmp_path_factory.mktemp("defocus") / "TS.defocus"
    path.write_text(table.text(flags))
    read = read_defocus(path)
    for name in ("first", "last", "tilt_deg", "u_nm", "v_nm"):
        np.testing.assert_allclose(getattr(read, name), getattr(table, name), atol=6e-3)
    for name in ("axis_deg", "phase_deg"):  # four decimals, of a radian perhaps
        np.testing.assert_allclose(getattr(read, name), getattr(table, name), atol=6e-3)
    assert read.has_cut_on == table.has_cut_on
    assert read.angles_not_inverted == table.angles_not_inverted


@given(tables())
def test_views_get_what_their_line_says(case):
    table, _, tilt = case
    u, v, axis, phase = table.at(tilt)
    single = table.first == table.last
    views = table.first[single] - 1
    swapped = table.u_nm[single] < table.v_nm[single]
    expected = np.where(swapped, table.v_nm[single], table.u_nm[single])
    np.testing.assert_allclose(u[views], expected, rtol=1e-9)
    np.testing.assert_allclose(u[views] + v[views], (table.u_nm + table.v_nm)[single], rtol=1e-9)
    np.testing.assert_allclose(phase[views], table.phase_deg[single], rtol=1e-9, atol=1e-9)
    turned = np.radians(2 * (axis[views] - table.axis_deg[single] - 90 * swapped))
    astigmatic = np.abs(u - v)[views] > 1e-3
    np.testing.assert_allclose(np.cos(turned)[astigmatic], 1, atol=1e-5)
    assert np.all(u >= v)
    assert np.all((u + v) / 2 <= ((table.u_nm + table.v_nm) / 2).max() + 1e-6)
