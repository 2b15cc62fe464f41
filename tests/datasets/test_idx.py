"""IDX files of every type, gzipped in every way, and EMNIST's."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile

import fuzz_files
import numpy as np
import pytest

from vgfast import datasets
from vgfast.datasets import idx

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


def packed(array, kind=0x08):
    array = np.asarray(array)
    data = array.astype(np.dtype(TYPES[kind]).newbyteorder(">")).tobytes()
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + data


def told(call, *args, **kwargs):
    """The sentence of a refusal."""
    with pytest.raises(ValueError, match="; ") as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


# ---- what is given -----------------------------------------------------------------------------------------


def test_an_open_file_is_read_from_where_it_stands(path):
    array = np.arange(6, dtype="u1").reshape(2, 3)
    for data in (packed(array), gzip.compress(packed(array))):
        np.testing.assert_array_equal(idx.read(io.BytesIO(data), 2), array)
        path.write_bytes(b"before" + data)
        for buffering in (-1, 0):
            with open(path, "rb", buffering) as file:
                file.seek(6)
                np.testing.assert_array_equal(idx.read(file, 2, rows=2), array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", packed(array))
    with zipfile.ZipFile(path) as archive, archive.open("images") as inside:
        np.testing.assert_array_equal(idx.read(inside, 2), array)


def test_an_open_file_of_something_else(path):
    assert told(idx.read, io.BytesIO(b""), 1) == (
        "the given file is not the IDX file that it should be: it is empty; get the file again"
    )
    path.write_bytes(packed([1, 2, 3])[:-1])
    with open(path, "rb") as file:
        assert told(idx.read, file, 1).startswith(f"{path} is not the IDX file that it should be: its header says 3 of")
    with open(path, "rb") as file:
        file.close()
        assert told(idx.read, file, 1) == "the file that is given is closed; open it again to read"
    with open("/dev/zero", "rb") as endless:
        assert "the type of its entries must be one of" in told(idx.read, endless, 1)


def test_an_open_file_that_cannot_be_read_so(path):
    path.write_bytes(packed([200, 2, 3]))
    with open(path) as text:
        with pytest.raises(TypeError) as caught:
            idx.read(text, 1)
        assert str(caught.value) == f"{path} must give bytes, got str; open it with mode 'rb'"
    with open(path, "ab") as file, pytest.raises(TypeError, match="must be open for reading"):
        idx.read(file, 1)
    there, other = os.pipe()
    with open(there, "rb") as file, open(other, "wb"), pytest.raises(TypeError) as caught:
        idx.read(file, 1)
    assert str(caught.value).startswith("the given file must be one of which the size can be told")
    assert str(caught.value).endswith("; wrap its contents in io.BytesIO")


@pytest.mark.parametrize("what", [None, 5, bytearray(b"ab")])
def test_what_is_neither_path_nor_file(what):
    with pytest.raises(TypeError, match=f"^path must name a file, .*, got {type(what).__name__}; "):
        idx.read(what, 1)


@pytest.mark.parametrize("read", [datasets.mnist, datasets.fashion_mnist, datasets.emnist, idx.check_folder])
def test_what_is_no_folders_name(read):
    for what in (None, 5, io.BytesIO()):
        with pytest.raises(TypeError) as caught:
            read(what)
        assert str(caught.value).startswith("folder must name a folder with ")
        assert f", got {type(what).__name__}; " in str(caught.value)


def test_a_folders_name_in_bytes(tmp_path):
    assert idx.check_folder(os.fsencode(tmp_path)) == tmp_path


@pytest.mark.parametrize(("rows", "error"), [("a", TypeError), (3.0, TypeError), (True, TypeError), (0, ValueError)])
def test_rows_that_are_no_number(rows, error, path):
    path.write_bytes(packed([1, 2, 3]))
    with pytest.raises(error, match=r"^rows must be "):
        idx.read(path, 1, rows)


# ---- types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sizes", [(7,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("kind", TYPES)
def test_each_type_in_this_machines_order_of_bytes(kind, sizes, zipped, path):
    dtype = np.dtype(TYPES[kind])
    low, high = (-1e30, 1e30) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    array = np.random.default_rng(0).uniform(low, high, sizes).astype(dtype)
    array.flat[:2] = low, high
    data = packed(array, kind)
    path.write_bytes(gzip.compress(data) if zipped else data)
    got = idx.read(path, len(sizes))
    assert (got.dtype, got.dtype.isnative, got.flags.c_contiguous) == (dtype, True, True)
    np.testing.assert_array_equal(got, array)


def test_the_order_of_bytes_in_a_file(path):
    path.write_bytes(b"\0\0\x0c\1" + b"\0\0\0\2" + b"\0\0\1\2" + b"\xff\xff\xff\xfe")
    assert idx.read(path, 1).tolist() == [258, -2]


def test_labels_as_of_qmnist(path):
    """Eight columns of int32: the class, the series, the writer and so on."""
    array = np.random.default_rng(0).integers(0, 10**6, (9, 8))
    path.write_bytes(gzip.compress(packed(array, 0x0C)))
    np.testing.assert_array_equal(idx.read(path, 2), array)
    np.testing.assert_array_equal(idx.read(path, 2, rows=9), array)


def test_floats_are_read_as_they_are(path):
    array = np.array([np.nan, np.inf, -0.0, 1e-45], np.float32)
    path.write_bytes(packed(array, 0x0D))
    assert idx.read(path, 1).tobytes() == array.tobytes()


def test_an_unknown_type_is_answered_with_those_that_there_are(path):
    path.write_bytes(b"\0\0\x0a\1" + b"\0\0\0\1\5")
    text = told(idx.read, path, 1)
    assert "one of 08 (uint8), 09 (int8), 0b (int16), 0c (int32), 0d (float32), 0e (float64), and is 0a" in text
    assert text.endswith("; get the file again")


def test_a_byte_that_is_wanting_of_a_wide_type(path):
    path.write_bytes(packed([1, 2, 3], 0x0E)[:-1])
    assert "its header says 3 of float64, 24 bytes, and it holds 23; get the file again" in told(idx.read, path, 1)


# ---- gzip ------------------------------------------------------------------------------------------------------

RAW = packed([1, 2, 3, 4])


def z(data=b""):
    return gzip.compress(data, mtime=0)


MEMBERS = {
    "two": z(RAW[:10]) + z(RAW[10:]),
    "one a byte": b"".join(z(RAW[i : i + 1]) for i in range(len(RAW))),
    "empty ones": z() + z() + z(RAW[:3]) + z() + z(RAW[3:]) + z(),
    "zeros after the last": z(RAW) + bytes(1000),
    "zeros between and after": z(RAW[:5]) + bytes(3) + z(RAW[5:]) + bytes(1),
    "many zeros": z(RAW) + bytes(200_000),
    "many zeros and an empty one": z(RAW) + bytes((1 << 16) - len(z(RAW)) - 1) + z(),
    "a magic that is cut in reading": z(RAW[:5]) + bytes((1 << 16) - len(z(RAW[:5])) - 1) + z(RAW[5:]),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_several_members_are_read_as_one(case, path):
    data = MEMBERS[case]
    assert gzip.decompress(data) == RAW  # as Python's own module reads them
    path.write_bytes(data)
    assert idx.read(path, 1).tolist() == [1, 2, 3, 4]


NOT_WHOLE = {
    "the second cut": (z(RAW[:10]) + z(RAW[10:])[:-1], "cannot be unzipped, as it ends too soon"),
    "an empty one cut": (z(RAW) + z()[:10], "cannot be unzipped, as it ends too soon"),
    "a magic": (z(RAW) + b"\x1f\x8b", "cannot be unzipped, as it ends too soon"),
    "half a magic": (z(RAW) + b"\x1f", "something follows after what is gzipped"),
    "something after zeros": (z(RAW) + bytes(9) + b"more", "something follows after what is gzipped"),
    "something between": (z(RAW[:10]) + b"more" + z(RAW[10:]), "something follows after what is gzipped"),
    "a byte too many": (z(RAW) + z(b"\0"), "4 bytes, and it holds more"),
    "a byte too few": (z(RAW[:10]) + z(RAW[10:-1]), "4 bytes, and it holds 3"),
}


@pytest.mark.parametrize("case", NOT_WHOLE)
def test_members_that_are_not_whole(case, path):
    data, words = NOT_WHOLE[case]
    path.write_bytes(data)
    text = told(idx.read, path, 1)
    assert words in text
    assert text.endswith("; get the file again")


def test_a_bomb_of_many_members(path):
    path.write_bytes(z(RAW) + z(bytes(10**7)) * 300)
    tracemalloc.start()
    try:
        assert "holds more" in told(idx.read, path, 1)
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


# ---- good files that are others than were wanted --------------------------------------------------------------------


def zipped(name, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


def saved(save, array):
    out = io.BytesIO()
    save(out, array)
    return out.getvalue()


OTHERS = {
    "labels for images": (RAW, "has 1 dimensions (labels), where 3 (images) are wanted; name the file that has them"),
    "two": (packed(np.ones((2, 2))), "has 2 dimensions, where 3 (images) are wanted; name the file that has them"),
    "none": (packed(np.ones((0, 2, 2))), "has 0 x 2 x 2 entries, which is nothing; name a file that has some"),
    "none wide": (packed(np.ones((2, 2, 0))), "has 2 x 2 x 0 entries, which is nothing; name a file that has some"),
    "gzip twice": (z(z(RAW)), "is a gzip file, not an IDX file; unpack it first"),
    "zip": (zipped("train-images", RAW), "is a zip archive, not an IDX file; unpack it first"),
    "npz": (saved(np.savez, np.ones(3)), "is a NumPy file (.npz), not an IDX file; read it with numpy.load"),
    "npy": (saved(np.save, np.ones(3)), "is a NumPy file (.npy), not an IDX file; read it with numpy.load"),
    "html": (
        b"<!DOCTYPE html>\n<html>...",
        "is a web page (HTML), not an IDX file; what was downloaded is not the file itself: get it again",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_good_file_that_is_another(case, path):
    data, words = OTHERS[case]
    path.write_bytes(data)
    assert told(idx.read, path, 3) == f"{path} {words}"


def test_the_contents_of_a_file_are_no_path(path):
    assert told(idx.read, RAW, 1).endswith("a file's contents go into a file first")
    path.write_bytes(RAW)
    assert idx.read(path, 1).tolist() == idx.read(bytes(path), 1).tolist() == [1, 2, 3, 4]


def test_a_zipped_file_is_got_at_as_was_told(path):
    path.write_bytes(z(z(RAW)))
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert idx.read(path, 1).tolist() == [1, 2, 3, 4]


# ---- data sets -------------------------------------------------------------------------------------------------------

# Labels in a file, and as they are given
SPLITS = {
    "letters": ([1, 26, 13], [0, 25, 12]),
    "balanced": ([0, 46, 13], [0, 46, 13]),
    "bymerge": ([0, 46, 13], [0, 46, 13]),
    "byclass": ([0, 61, 13], [0, 61, 13]),
    "digits": ([0, 9, 3], [0, 9, 3]),
    "mnist": ([0, 9, 3], [0, 9, 3]),
}


def write(folder, stem, labels, end=""):
    """Files of images (n, 5, 5) that have to be told from their transposes; returns the images."""
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 5, 5), np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", np.asarray(labels))):
        data = packed(array)
        (folder / f"{stem}-{name}-ubyte{end}").write_bytes(z(data) if end else data)
    return images


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("split", SPLITS)
def test_emnist_is_upright_and_its_labels_begin_at_zero(split, part, end, tmp_path):
    labels, given = SPLITS[split]
    images = write(tmp_path, f"emnist-{split}-{part}", labels, end)
    data = datasets.emnist(tmp_path, split, part)
    assert data.y.tolist() == given
    assert (data.X.dtype, data.y.dtype, data.shape) == (np.float32, np.int64, (5, 5))
    for row, image in zip(data.X, images, strict=True):
        np.testing.assert_array_equal(row.reshape(5, 5), image.T / np.float32(255))
    assert split in data.name
    assert part in data.name
    assert "EMNIST" in data.licence


@pytest.mark.parametrize(("split", "bad", "span"), [("letters", 0, "1 to 26"), ("letters", 27, "1 to 26")])
def test_labels_that_a_split_does_not_have(split, bad, span, tmp_path):
    write(tmp_path, f"emnist-{split}-train", [1, 2, bad])
    text = told(datasets.emnist, tmp_path, split)
    assert text.endswith(f"labels-idx1-ubyte must hold labels from {span}, got {bad} in row 2; get the file again")


def test_what_there_is_not_of_emnist(tmp_path):
    assert "unknown split 'letter'; did you mean 'letters'?" in told(datasets.emnist, tmp_path, "letter")
    assert "unknown part 'tests'; did you mean 'test'?" in told(datasets.emnist, tmp_path, "letters", "tests")
    with pytest.raises(FileNotFoundError, match=r"none of emnist-letters-train-images-idx3-ubyte, .*; put the file"):
        datasets.emnist(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"a folder with EMNIST's files, and .*none does not exist"):
        datasets.emnist(tmp_path / "none")


def test_a_folder_of_emnist_where_mnist_is_wanted(tmp_path):
    write(tmp_path, "emnist-letters-train", [1, 2])
    with pytest.raises(FileNotFoundError, match=r"; EMNIST's files, which are there, are read with datasets.emnist$"):
        datasets.mnist(tmp_path)
    assert len(datasets.emnist(tmp_path).X) == 2  # as was told


@pytest.mark.parametrize(
    ("labels", "split"), [([1, 26], "letters"), ([0, 26], "balanced"), ([0, 46], "balanced"), ([0, 61], "byclass")]
)
def test_emnist_by_the_names_of_mnist(labels, split, tmp_path):
    write(tmp_path, "train", labels)
    text = told(datasets.mnist, tmp_path)
    name = f"emnist-{split}-train-"
    assert f"must hold labels from 0 to 9, got {labels[1]} in row 1; if these are EMNIST's, name them {name}..." in text
    assert text.endswith("and read them with datasets.emnist")
    for kind in ("images-idx3", "labels-idx1"):  # as was told
        (tmp_path / f"train-{kind}-ubyte").rename(tmp_path / f"{name}{kind}-ubyte")
    assert len(datasets.emnist(tmp_path, split).X) == 2


def test_labels_that_are_nobodys(tmp_path):
    write(tmp_path, "train", [0, 62])
    assert told(datasets.mnist, tmp_path).endswith("labels from 0 to 9, got 62 in row 1; get the file again")


def test_images_of_floats_where_mnist_is_wanted(tmp_path):
    images = write(tmp_path, "train", [0, 1])
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(packed(images / 255, 0x0D))
    assert (
        told(datasets.mnist, tmp_path) == f"{path} must have entries of uint8, and has float32; read it with idx.read"
    )
    assert idx.read(path, 3).dtype == np.float32  # as was told


def test_files_of_two_data_sets(tmp_path):
    write(tmp_path, "train", [0, 1])
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(packed([0, 1, 2]))
    text = told(datasets.mnist, tmp_path)
    assert text == f"{path} must have 2 entries, one an image, and has 3; take both from one data set"


def test_files_that_were_altered():
    outcomes, *_ = fuzz_files.run("idx", 500)
    assert outcomes["damaged"] > 200
    assert outcomes["the array"] > 50
    assert outcomes["another kind"] > 0
