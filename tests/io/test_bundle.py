"""Bundles: what is refused, in which words, and what is left behind."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from tomofilt.errors import InputError, MissingFileError, OutputError, OutputExistsError
from tomofilt.io import bundle as module
from tomofilt.io.bundle import SUFFIX, Bundle, load_bundle, save_bundle

GOOD = Bundle("filter", {"coefficients": np.ones((2, 3))}, {"licence": "CC0-1.0"})


def tampered(path, change):
    """Write the file again with its header changed, arrays and all other words as they were."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def entry_with(**words):
    def change(header):
        entry = json.loads(header["__metadata__"]["tomofilt"])
        entry |= words
        header["__metadata__"]["tomofilt"] = json.dumps(entry)

    return change


@pytest.fixture
def path(tmp_path):
    path = tmp_path / f"good{SUFFIX}"
    save_bundle(path, GOOD)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (entry_with(schema=2), "schema 2.*update tomofilt"),
        (entry_with(schema=None), "schema None"),
        (entry_with(kind="head"), "damaged or edited"),
        (entry_with(metadata='{"licence": "mine"}'), "damaged or edited"),
        (entry_with(metadata=3), "does not say its metadata"),
        (entry_with(sha256=None), "does not say its sha256"),
        (lambda header: header.pop("__metadata__"), "no bundle of tomofilt's"),
        (lambda header: header["__metadata__"].update(tomofilt="[1]"), "no bundle of tomofilt's"),
        (lambda header: header["coefficients"].update(dtype="BF16"), "'BF16'.*float32"),
        (lambda header: header["coefficients"].update(shape=[3, 2]), "damaged or edited"),
        (lambda header: header["coefficients"].update(shape=[3, 3]), "do not fit the file"),
        (lambda header: header["coefficients"].update(data_offsets=[0, 8]), "do not fit"),
        (lambda header: header.update(other=header.pop("coefficients")), "damaged or edited"),
        (lambda header: header.update({"../x": header.pop("coefficients")}), "no name for"),
        (lambda header: header.update(coefficients=3), "is of type None"),
    ],
)
def test_a_tampered_header(path, change, says):
    tampered(path, change)
    with pytest.raises(InputError, match=says):
        load_bundle(path)


def test_numbers_that_are_not_finite(path):
    content = bytearray(path.read_bytes())
    content[-8:] = np.array([np.nan]).tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match="1 of 6 numbers in array 'coefficients'"):
        load_bundle(path)


@pytest.mark.parametrize("literal", ["NaN", "-Infinity", "1e999"])
def test_metadata_that_are_not_finite(tmp_path, literal):
    metadata = f'{{"psnr": {literal}}}'
    digest = module._digest("filter", GOOD.tensors, metadata)
    words = {"schema": 1, "kind": "filter", "sha256": digest, "metadata": metadata}
    path = tmp_path / "made"
    path.write_bytes(save(dict(GOOD.tensors), {"tomofilt": json.dumps(words)}))
    with pytest.raises(InputError, match="metadata cannot be read"):
        load_bundle(path)


def test_a_header_that_claims_to_be_huge(path):
    content = path.read_bytes()
    path.write_bytes((2**62).to_bytes(8, "little") + content[8:])
    with pytest.raises(InputError, match="no bundle"):
        load_bundle(path)


def test_a_file_that_is_too_large_is_not_read(path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    with pytest.raises(InputError, match="more than any bundle has"):
        load_bundle(path)
    with pytest.raises(InputError, match="fewer parameters"):
        save_bundle(path, GOOD, overwrite=True)
    assert path.stat().st_size > 100


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("content", [b"", pickle.dumps(Bomb()), b"\x93NUMPY" + bytes(200)])
def test_foreign_files(tmp_path, content):
    path = tmp_path / f"foreign{SUFFIX}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no bundle"):
        load_bundle(path)
    with pytest.raises(OutputExistsError, match="is no bundle of tomofilt's"):
        save_bundle(path, GOOD, overwrite=True)
    assert path.read_bytes() == content


def test_another_programs_safetensors(tmp_path):
    path = tmp_path / "network.safetensors"
    path.write_bytes(save({"weight": np.ones(3)}, {"format": "pt"}))
    with pytest.raises(InputError, match="no bundle"):
        load_bundle(path)


def test_another_kind(path):
    assert load_bundle(path, "filter").kind == "filter"
    with pytest.raises(InputError, match="of kind 'filter', not 'head'"):
        load_bundle(path, "head")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFileError, match="no such bundle"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(InputError, match="is a folder, not a regular file"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("bundle", "says"),
    [
        (replace(GOOD, kind="other"), "'other' is no kind"),
        (replace(GOOD, tensors={}), "0 arrays"),
        (replace(GOOD, tensors={"No": np.ones(2)}), "'No' is no name"),
        (replace(GOOD, tensors={"c": np.ones(2, complex)}), "complex128"),
        (replace(GOOD, tensors={"c": np.array([1, np.inf])}), "1 of 2 numbers"),
        (replace(GOOD, metadata={"psnr": np.nan}), "cannot be written as JSON"),
        (replace(GOOD, metadata={"path": object()}), "cannot be written as JSON"),
    ],
)
def test_what_is_not_written(tmp_path, bundle, says):
    with pytest.raises(InputError, match=says):
        save_bundle(tmp_path / f"bad{SUFFIX}", bundle)
    assert not list(tmp_path.iterdir())


def test_names(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.tomofilt\.safetensors"):
        save_bundle(tmp_path / "filter.pt", GOOD)


def test_nothing_is_replaced_unasked(path):
    before = path.read_bytes()
    other = replace(GOOD, tensors={"coefficients": np.zeros((2, 3))})
    with pytest.raises(OutputExistsError, match="--overwrite"):
        save_bundle(path, other)
    assert path.read_bytes() == before
    save_bundle(path, other, overwrite=True)
    assert not load_bundle(path).tensors["coefficients"].any()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_nothing_is_left_of_a_bundle_that_failed(tmp_path, monkeypatch):
    def full(fd, buffer, offset):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(OutputError, match=r"disk of.*is full"):
        save_bundle(tmp_path / f"new{SUFFIX}", GOOD)
    assert not list(tmp_path.iterdir())
