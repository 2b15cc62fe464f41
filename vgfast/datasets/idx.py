"""IDX, the format of MNIST's files: two zeros, the type of an entry, the number of dimensions n, n sizes of four bytes,
the most significant first, and the entries, likewise, the last dimension running fastest.

A reader of files from anywhere: it believes nothing. What a header claims is held against what the file can hold before
there is memory for it.

>>> import tempfile
>>> with tempfile.NamedTemporaryFile() as file:
...     _ = file.write(b"\\0\\0\\10\\1" + b"\\0\\0\\0\\3" + b"\\5\\0\\4")
...     file.flush()
...     read(file.name, dimensions=1).tolist()
[5, 0, 4]
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from vgfast import _check
from vgfast.files import foreign, gzip

_PARTS = {"train": "train", "test": "t10k"}
_TYPES: dict[int, np.dtype] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
# What the files of MNIST and its kin have so many dimensions of.
_USUAL = {1: " (labels)", 3: " (images)"}

# Of each split: the least label in its files, and how many there are.
EMNIST = {
    "byclass": (0, 62),
    "bymerge": (0, 47),
    "balanced": (0, 47),
    "letters": (1, 26),
    "digits": (0, 10),
    "mnist": (0, 10),
}


def read(path: str | os.PathLike[str] | BinaryIO, dimensions: int, rows: int | None = None) -> np.ndarray:
    """The array of so many dimensions that an IDX file holds, gzipped or not, whatever its name. A binary file that is
    open is read from where it stands to its end.

    Its dtype is the file's: uint8 (as of MNIST), int8, int16, int32 (as of QMNIST's labels), float32 or float64, in
    this machine's order of bytes. rows: how many there must be, if that is known. Errors: FileNotFoundError if there
    is no file; ValueError if it is anything but a whole file of such an array.
    """
    name, dimensions = foreign.given_path(path, "read"), _check.integer("dimensions", dimensions, 1, 255)
    rows = None if rows is None else _check.integer("rows", rows, 1)
    if name is None:
        return _told(cast(BinaryIO, path), foreign.file_name(path), dimensions, rows)
    with foreign.opened(name, "an IDX file") as file:
        return _told(file, name, dimensions, rows)


def _told(file: BinaryIO, name: str, dimensions: int, rows: int | None) -> np.ndarray:
    """``_whole``, with errors that are whole sentences."""
    try:
        return _whole(file, dimensions, rows)
    except foreign.Misused as error:
        raise TypeError(f"{name} {error}") from None
    except foreign.Other as error:
        raise ValueError(f"{name} {error}") from None
    except ValueError as error:
        raise ValueError(f"{name} is not the IDX file that it should be: {error}; get the file again") from None


def _size(file: BinaryIO) -> int:
    """Bytes from where the file stands to its end; ``Misused`` if none can be read from it, or its size is unknown."""
    if isinstance(file, io.TextIOBase):
        raise foreign.Misused("must give bytes, got str; open it with mode 'rb'")
    if not getattr(file, "readable", lambda: True)():
        raise foreign.Misused("must be open for reading; open it with mode 'rb'")
    try:
        here = file.tell()
        size = file.seek(0, os.SEEK_END) - here
        file.seek(here)
    except (AttributeError, OSError, ValueError) as error:
        raise foreign.Misused(
            f"must be one of which the size can be told ({error}); wrap its contents in io.BytesIO"
        ) from None
    return size


def _whole(file: BinaryIO, dimensions: int, rows: int | None) -> np.ndarray:
    """The array; ValueError says in half a sentence how the file is damaged, ``Other`` that it is another."""
    on_disk = _size(file)
    here = file.tell()
    zipped = file.read(2) == gzip.MAGIC
    file.seek(here)
    pieces = gzip.inflate(file) if zipped else iter(lambda: file.read(gzip.PIECE), b"")
    data = bytearray()
    dtype, given = _kind(pieces, data)
    start = 4 + 4 * given
    shape = _shape(pieces, data, given)
    size = start + math.prod(shape) * dtype.itemsize
    says = f"its header says {_times(shape)} of {dtype.name}, {_count(size - start)} bytes"
    if not zipped and size != on_disk:
        raise ValueError(f"{says}, and it holds {on_disk - start}")
    if zipped and size > on_disk * gzip.EXPANSION:
        raise ValueError(f"{says}, which cannot be unzipped from {on_disk}")
    _check_wanted(shape, dimensions, rows)
    _take(pieces, data, size + 1)
    if len(data) != size:
        holds = "more" if len(data) > size else len(data) - start
        raise ValueError(f"{says}, and it holds {holds}")
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _take(pieces: Iterator[bytes], data: bytearray, size: int) -> None:
    """Read until there are so many bytes, or a piece more, or no more to read."""
    while len(data) < size and (piece := next(pieces, b"")):
        data += piece


def _kind(pieces: Iterator[bytes], data: bytearray) -> tuple[np.dtype, int]:
    """(the type of an entry, the number of dimensions), if the file begins as one of IDX does."""
    _take(pieces, data, foreign.BEGINNING)
    if not data:
        raise ValueError("it is empty")
    known = foreign.kind(bytes(data[: foreign.BEGINNING]))
    if known is not None:
        raise foreign.Other(f"is {known.what}, not an IDX file; {known.how}")
    if len(data) < 4 or data[:2] != b"\0\0":
        begins = data[:4].hex(" ")
        raise ValueError(f"it must begin with two zeros, a type and a number of dimensions, and begins with {begins}")
    if data[2] not in _TYPES:
        types = ", ".join(f"{number:02x} ({dtype.name})" for number, dtype in _TYPES.items())
        raise ValueError(f"the type of its entries must be one of {types}, and is {data[2]:02x}")
    if data[3] == 0:
        raise ValueError("its header says that it has no dimensions")
    return _TYPES[data[2]], data[3]


def _shape(pieces: Iterator[bytes], data: bytearray, dimensions: int) -> tuple[int, ...]:
    """The sizes in the header."""
    end = 4 + 4 * dimensions
    _take(pieces, data, end)
    if len(data) < end:
        raise ValueError(f"it ends after {len(data)} bytes, within its header of {end}")
    return tuple(np.frombuffer(data[4:end], ">u4").tolist())


def _check_wanted(shape: tuple[int, ...], dimensions: int, rows: int | None) -> None:
    """``Other`` for a file that may be good, and is not the one that was meant."""
    if len(shape) != dimensions:
        raise foreign.Other(
            f"has {len(shape)} dimensions{_USUAL.get(len(shape), '')}, where {dimensions}{_USUAL.get(dimensions, '')} "
            f"are wanted; name the file that has them"
        )
    if rows is not None and shape[0] != rows:
        raise foreign.Other(f"must have {rows} entries, one an image, and has {shape[0]}; take both from one data set")
    if 0 in shape:
        raise foreign.Other(f"has {_times(shape)} entries, which is nothing; name a file that has some")
    if math.prod(shape) > _check.MOST_ELEMENTS:
        raise foreign.Other(f"has {_times(shape)} entries, and an array may have fewer than 2**31; split it")


def _count(number: int) -> str:
    return str(number) if number < 2**63 else f"2**{number.bit_length() - 1} or more"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if len(shape) < 9 else f"{len(shape)} sizes, {shape[0]} x ..."


def check_folder(folder: str | os.PathLike[str], of: str = "MNIST") -> Path:
    """As a path; FileNotFoundError if it is not there, NotADirectoryError if it is something else."""
    if not isinstance(folder, str | bytes | os.PathLike):
        raise TypeError(
            f"folder must name a folder with {of}'s files, got {type(folder).__name__}; give its path, such as 'data'"
        )
    where = Path(os.fsdecode(folder))
    if not where.exists():
        raise FileNotFoundError(f"there must be a folder with {of}'s files, and {where} does not exist; name another")
    if not where.is_dir():
        raise NotADirectoryError(f"there must be a folder with {of}'s files, and {where} is no folder; name another")
    return where


def _find(folder: Path, stem: str, kind: str) -> Path:
    """The file of this kind, "images-idx3" or "labels-idx1"; FileNotFoundError if there is none."""
    names = [f"{stem}-{spelt}-ubyte" for spelt in (kind, kind.replace("-", "."))]
    names += [f"{name}.gz" for name in names]
    present = [folder / name for name in names if (folder / name).exists()]
    if not present:
        how = "put the file there"
        if not stem.startswith("emnist") and any(folder.glob("emnist-*")):
            how = "EMNIST's files, which are there, are read with datasets.emnist"
        raise FileNotFoundError(f"there is none of {', '.join(names)} in {folder}; {how}")
    # Some archives unpack to folders of the same names next to the files.
    return next((path for path in present if path.is_file()), present[0])


def _pair(folder: Path, stem: str) -> tuple[np.ndarray, np.ndarray, Path]:
    """(images (n, height, width), labels (n,), the path of the labels), the arrays uint8."""
    paths = _find(folder, stem, "images-idx3"), _find(folder, stem, "labels-idx1")
    images = read(paths[0], 3)
    labels = read(paths[1], 1, rows=len(images))
    for path, array in zip(paths, (images, labels), strict=True):
        if array.dtype != np.uint8:
            raise ValueError(f"{path} must have entries of uint8, and has {array.dtype}; read it with idx.read")
    return images, labels, paths[1]


def _check_labels(labels: np.ndarray, least: int, most: int, path: Path, how: str = "get the file again") -> None:
    bad = (labels < least) | (labels > most)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{path} must hold labels from {least} to {most}, got {labels[row]} in row {row}; {how}")


def read_images(folder: str | os.PathLike[str], part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """(images (n, height, width), labels (n,)), both uint8, of MNIST's files in a folder: 60,000 to "train", or 10,000
    to "test". They are found by their usual names, with a dot or a hyphen before idx, with .gz or without.

    Errors: those of ``check_folder``; FileNotFoundError, with the names, if there are no such files; ValueError if they
    are not what their names say, if there are not as many labels as images, or labels above 9.
    """
    part = _check.choice("part", part, tuple(_PARTS))
    images, labels, path = _pair(check_folder(folder), _PARTS[part])
    how = "get the file again"
    if 9 < labels.max() < 62:  # EMNIST's have the names of MNIST's in some collections
        split = "letters" if labels.min() > 0 and labels.max() < 27 else "balanced" if labels.max() < 47 else "byclass"
        how = f"if these are EMNIST's, name them emnist-{split}-{part}-... and read them with datasets.emnist"
    _check_labels(labels, 0, 9, path, how)
    return images, labels


def read_emnist(folder: str | os.PathLike[str], split: str, part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """(images (n, 28, 28), labels (n,)), both uint8, of EMNIST's files in a folder, the images upright, which they are
    not in the files, and the labels from 0, as they are there but for those of "letters". Errors: as of
    ``read_images``."""
    least, classes = EMNIST[_check.choice("split", split, tuple(EMNIST))]
    part = _check.choice("part", part, tuple(_PARTS))
    images, labels, path = _pair(check_folder(folder, "EMNIST"), f"emnist-{split}-{part}")
    _check_labels(labels, least, least + classes - 1, path)
    return images.transpose(0, 2, 1), labels - np.uint8(least)
