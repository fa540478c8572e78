"""Any bundle comes back as it was; no damage to its file goes unnoticed."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_bundles import bundles

from tomofilt.errors import InputError
from tomofilt.io.bundle import SUFFIX, Bundle, load_bundle, save_bundle

WHOLE = Bundle(
    "filter",
    {"coefficients": np.linspace(-1, 2, 12).reshape(3, 4), "tilt_deg": np.arange(3)},
    {"licence": "CC0-1.0", "training": {"loss": "mse", "pixel_angst": 10.0}},
)


def assert_same(found, expected):
    assert found.kind == expected.kind
    assert found.metadata == expected.metadata
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        assert found.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(found.tensors[name], value)


@given(bundles)
def test_round_trip(bundle):
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"any{SUFFIX}"
        save_bundle(path, bundle)
        found = load_bundle(path)
        assert_same(found, bundle)
        save_bundle(path, found, overwrite=True)
        assert load_bundle(path).sha256 == found.sha256


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / f"whole{SUFFIX}"
    save_bundle(path, WHOLE)
    return path


@settings(max_examples=300)
@given(st.data())
def test_damage_is_noticed(whole, data):
    content = bytearray(whole.read_bytes())
    what = data.draw(st.sampled_from(["flip", "cut", "append", "insert"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if what == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif what == "cut":
        del content[place:]
    elif what == "append":
        content += data.draw(st.binary(min_size=1, max_size=9))
    else:
        content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    damaged = whole.with_name(f"damaged{SUFFIX}")
    damaged.write_bytes(content)
    try:
        found = load_bundle(damaged)
    except InputError:
        pass
    else:
        # a changed blank, or the version of the program, which changes no meaning
        assert_same(found, WHOLE)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(whole, content):
    path = whole.with_name("foreign")
    path.write_bytes(content)
    with pytest.raises(InputError, match="no bundle"):
        load_bundle(path)
