import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tomofilt.filters import FilterContext, parse
from tomofilt.filters.analytic import (
    WINDOWS,
    Exact,
    Frequency,
    Gaussian,
    Radial,
    SirtLike,
    Unfiltered,
    Windowed,
    angular_steps,
)
from tomofilt.filters.apply import RowFilter
from tomofilt.series.geometry import TiltGeometry
from tomofilt_imod.tilt_filter import ImodFilter, imod_padded_length
from tomofilt_imod.tilt_program import TiltProgram
from tomofilt_imod.tilt_rows import TiltRows

positive = st.floats(1e-3, 1e4)
frequencies = st.builds(Frequency, positive, st.booleans())
analytic = st.one_of(
    st.builds(Windowed, st.sampled_from(sorted(WINDOWS)), st.none() | frequencies),
    st.builds(Gaussian, frequencies),
    st.builds(Radial, frequencies, frequencies),
    st.builds(SirtLike, st.integers(1, 1000)),
    st.builds(Exact, st.none() | positive),
    st.builds(Unfiltered),
)
imod = st.builds(
    ImodFilter,
    hamming_from=st.none() | st.floats(0.01, 0.45),
    flat_fraction=st.floats(0, 1),
    density_weights=st.sampled_from([(), (2.0, 2 / 3), (1.0, 1.0, 1.0)]),
)
tilts = st.lists(st.floats(-75, 75), min_size=1, max_size=12).map(np.array)


@given(analytic)
def test_the_spec_spells_the_filter(chosen):
    assert parse(chosen.spec) == chosen


@given(analytic | imod, tilts, st.integers(1, 40))
def test_gains_are_finite_and_not_negative(chosen, tilt_deg, width):
    padded = width + width % 2 + 64
    context = FilterContext(tilt_deg, np.ones(len(tilt_deg)), 7.0, 3.5, 900.0, width, padded)
    k_across = np.fft.rfftfreq(padded, 7.0)
    k_across[0] = 2 / np.pi**2 * k_across[1]
    along = np.linspace(-0.05, 0.05, 3)[:, None]
    gains = chosen.gains(k_across, along, context)
    assert gains.shape == (len(tilt_deg), 3, len(k_across))
    assert np.isfinite(gains).all()
    assert gains.min() >= 0
    mirrored = chosen.gains(-k_across, -along, context)
    np.testing.assert_array_equal(gains, mirrored)


@given(tilts, st.randoms(use_true_random=False))
def test_steps_belong_to_their_views(tilt_deg, random):
    steps = angular_steps(tilt_deg)
    assert np.all(steps > 0)
    order = list(range(len(tilt_deg)))
    random.shuffle(order)
    # Views closer than 0.001 degrees are one tilt, and may chain differently when shuffled.
    np.testing.assert_allclose(angular_steps(tilt_deg[order]), steps[order], atol=1e-4)


@given(st.integers(1, 5000), st.sampled_from([5, 13, 19]))
def test_padded_length(nx, largest):
    length = imod_padded_length(nx, largest)
    assert length % 2 == 0
    assert length >= nx + 15
    rest = length
    for prime in (2, 3, 5, 7, 11, 13, 17, 19):
        while prime <= largest and rest % prime == 0:
            rest //= prime
    assert rest == 1


@settings(max_examples=40)
@given(
    analytic | imod,
    st.integers(1, 90),
    st.sampled_from(["fine", "linear"]),
    st.integers(0, 2**32 - 1),
)
def test_filtering_is_linear(chosen, width, interpolation, seed):
    rng = np.random.default_rng(seed)
    _, slices = TiltGeometry.from_angles([-50.0, 0.0, 10.0]).factor()
    is_imod = isinstance(chosen, ImodFilter)
    own = {"needed_px": np.zeros(3), "weights": np.ones(3)}
    filtered = (TiltRows if is_imod else RowFilter)(
        TiltProgram(chosen) if is_imod else chosen,
        slices,
        pixel_angst=10.0,
        density_pixel_angst=10.0,
        thickness_angst=1000.0,
        width_px=width,
        **(own if is_imod else {"interpolation": interpolation}),
    )
    a, b = rng.standard_normal((2, 3, width)).astype(np.float32)
    for view in range(3):
        both = filtered.filter_rows(view, a + 2 * b)
        apart = filtered.filter_rows(view, a) + 2 * filtered.filter_rows(view, b)
        np.testing.assert_allclose(both, apart, rtol=0, atol=1e-5 * np.abs(apart).max())
