"""What is said of files of data that cannot be read is done word for word, and then they are read."""

import gzip
import io
import os
import re
import struct
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

from vgfast import _check, datasets
from vgfast.datasets import idx

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 3), np.uint8)
LABELS = np.arange(4, dtype=np.uint8)


def packed(array, kind=0x08, dtype="u1"):
    array = np.asarray(array)
    header = bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(dtype).tobytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(packed(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(packed(LABELS))
    return tmp_path


@pytest.fixture
def images(folder):
    return folder / "train-images-idx3-ubyte"


@pytest.fixture
def labels(folder):
    return folder / "train-labels-idx1-ubyte"


def told(call, *args, **kwargs):
    with pytest.raises((TypeError, ValueError, OSError)) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_read(path):
    np.testing.assert_array_equal(idx.read(path, 3), IMAGES)


# ---- files of other kinds, and damaged ones -------------------------------------------------------------------


def saved(save, *args):
    file = io.BytesIO()
    save(file, *args)
    return file.getvalue()


AGAIN = {
    "a damaged one": (packed(IMAGES)[:-1], "get the file again"),
    "a damaged gzip file": (gzip.compress(packed(IMAGES))[:-9], "get the file again"),
    "an empty one": (b"", "get the file again"),
    "a web page": (b"<html>", "what was downloaded is not the file itself: get it again"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "get the file itself with git lfs pull"),
}


@pytest.mark.parametrize("case", AGAIN)
def test_the_file_is_got_again(images, case):
    whole = images.read_bytes()
    images.write_bytes(AGAIN[case][0])
    assert told(idx.read, images, 3).endswith(f"; {AGAIN[case][1]}")
    images.write_bytes(whole)
    is_read(images)


@pytest.mark.parametrize("many", [True, False])
def test_arrays_of_numpy_are_read_with_numpy(images, many):
    images.write_bytes(saved(np.savez, IMAGES) if many else saved(np.save, IMAGES))
    load = re.search("; read it with (.*)$", told(idx.read, images, 3))[1]
    found = eval(load, {"numpy": np})(images)
    with found if many else nullcontext():
        np.testing.assert_array_equal(found["arr_0"] if many else found, IMAGES)


@pytest.mark.parametrize("archive", ["zip", "gzip"])
def test_what_is_packed_is_unpacked(images, archive):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as inside:
        inside.writestr("images", packed(IMAGES))
    images.write_bytes(file.getvalue() if archive == "zip" else gzip.compress(gzip.compress(packed(IMAGES))))
    what = {"zip": "a zip archive", "gzip": "a gzip file"}[archive]
    assert told(idx.read, images, 3).endswith(f"is {what}, not an IDX file; unpack it first")
    if archive == "zip":
        with zipfile.ZipFile(images) as inside:
            images = inside.extract("images", images.parent / "unpacked")
    else:
        images.write_bytes(gzip.decompress(images.read_bytes()))
    is_read(images)


# ---- files that are others than were meant --------------------------------------------------------------------------


def test_the_file_that_has_the_dimensions_is_named(images, labels):
    assert told(idx.read, labels, 3).endswith("; name the file that has them")
    is_read(images)


def test_a_file_that_has_entries_is_named(images, folder):
    empty = folder / "empty"
    empty.write_bytes(packed(IMAGES[:0]))
    assert told(idx.read, empty, 3).endswith("; name a file that has some")
    is_read(images)


def test_both_files_are_taken_from_one_data_set(folder, labels):
    labels.write_bytes(packed(LABELS[:3]))
    assert told(datasets.mnist, folder).endswith("; take both from one data set")
    labels.write_bytes(packed(LABELS))
    assert datasets.mnist(folder).X.shape == (4, 9)


def test_a_file_that_is_too_large_is_split(images, monkeypatch):
    monkeypatch.setattr(_check, "MOST_ELEMENTS", 18)
    assert told(idx.read, images, 3).endswith("; split it")
    parts = [images.parent / f"part{i}" for i in range(2)]
    for i, part in enumerate(parts):
        part.write_bytes(packed(IMAGES[2 * i : 2 * i + 2]))
    np.testing.assert_array_equal(np.concatenate([idx.read(part, 3) for part in parts]), IMAGES)


def test_entries_of_another_type_are_read_with_idx_read(folder, images):
    images.write_bytes(packed(IMAGES / 255, 0x0D, ">f4"))
    read = re.search("; read it with (.*)$", told(datasets.mnist, folder))[1]
    np.testing.assert_array_equal(eval(read, {"idx": idx})(images, 3), (IMAGES / 255).astype("f4"))


def test_labels_of_another_data_set(folder, labels):
    labels.write_bytes(packed([0, 1, 2, 99]))
    assert told(datasets.mnist, folder).endswith("; get the file again")
    labels.write_bytes(packed(LABELS))
    assert datasets.mnist(folder).y.tolist() == LABELS.tolist()
    for path in folder.glob("train*"):
        path.rename(folder / f"emnist-letters-{path.name}")
    assert told(datasets.emnist, folder).endswith("got 0 in row 0; get the file again")
    (folder / f"emnist-letters-{labels.name}").write_bytes(packed(LABELS + 1))
    assert datasets.emnist(folder).y.tolist() == LABELS.tolist()


# ---- folders and names ---------------------------------------------------------------------------------------------


def test_the_path_of_a_folder_is_given(folder, monkeypatch):
    (folder / "data").mkdir()
    for path in folder.glob("train*"):
        path.rename(folder / "data" / path.name)
    monkeypatch.chdir(folder)
    for what in (None, 5):
        path = eval(re.search("; give its path, such as ('.*')$", told(datasets.mnist, what))[1])
        assert datasets.mnist(path).X.shape == (4, 9)


@pytest.mark.parametrize("other", ["nowhere", "train-images-idx3-ubyte"])
def test_another_folder_is_named(folder, other):
    assert told(datasets.mnist, folder / other).endswith("; name another")
    assert datasets.mnist(folder).X.shape == (4, 9)


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_the_file_is_put_there(folder, kind):
    """By any of the names of the list."""
    contents = (folder / f"train-{kind}-ubyte").read_bytes()
    (folder / f"train-{kind}-ubyte").unlink()
    text = told(datasets.mnist, folder)
    assert text.endswith("; put the file there")
    for name in re.search("there is none of (.*) in ", text)[1].split(", "):
        (folder / name).write_bytes(gzip.compress(contents) if name.endswith("gz") else contents)
        assert datasets.mnist(folder).X.shape == (4, 9)
        (folder / name).unlink()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_in_the_place_of_a_file(folder, images, make):
    contents = images.read_bytes()
    images.unlink()
    make(images)
    advice = re.search("; (.*)$", told(datasets.mnist, folder))[1]
    if make is os.mkdir:
        assert advice == "name a file in it"
        (images / "images").write_bytes(contents)
        is_read(images / "images")
    else:
        assert advice == "put the file in its place"
        images.unlink()
        images.write_bytes(contents)
        is_read(images)


def test_names_that_are_meant(folder):
    part = eval(re.search("did you mean ('.*')", told(datasets.mnist, folder, "trian"))[1])
    assert datasets.mnist(folder, part).X.shape == (4, 9)
    for path in folder.glob("train*"):
        path.rename(folder / f"emnist-digits-{path.name}")
    split = eval(re.search("did you mean ('.*')", told(datasets.emnist, folder, "digit"))[1])
    assert datasets.emnist(folder, split).X.shape == (4, 9)


# ---- open files, contents -----------------------------------------------------------------------------------------


def test_a_closed_file_is_opened_again(images):
    with open(images, "rb") as file:
        pass
    assert told(idx.read, file, 3).endswith("; open it again to read")
    with open(images, "rb") as file:
        is_read(file)


@pytest.mark.parametrize("mode", ["r", "ab"])
def test_the_mode_of_a_file(images, mode):
    with open(images, mode) as file:
        right = re.search("; open it with mode '(.*)'$", told(idx.read, file, 3))[1]
    with open(images, right) as file:
        is_read(file)


def test_contents_of_a_pipe_are_wrapped(images):
    there, other = os.pipe()
    with open(other, "wb") as file:
        file.write(images.read_bytes())
    with open(there, "rb") as file:
        wrap = re.search(r"; wrap its contents in (io\.BytesIO)$", told(idx.read, file, 3))[1]
        is_read(eval(wrap, {"io": io})(file.read()))


def test_contents_are_wrapped_or_written(images, folder):
    contents = images.read_bytes()
    wrap = re.search(r"can be wrapped in (io\.BytesIO)$", told(idx.read, bytearray(contents), 3))[1]
    is_read(eval(wrap, {"io": io})(contents))
    assert told(idx.read, contents, 3).endswith("; a file's contents go into a file first")
    (folder / "other").write_bytes(contents)
    is_read(folder / "other")


def test_numbers_of_rows_and_dimensions(images):
    for arguments in ((3.0, 4), (3, "4")):
        use = int(re.search("; use (.*)$", told(idx.read, images, *arguments))[1])
        right = [use if isinstance(it, float | str) else it for it in arguments]
        np.testing.assert_array_equal(idx.read(images, *right), IMAGES)
