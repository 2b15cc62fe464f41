"""IDX, the format of MNIST's files: two zeros, the type of an entry, the number of dimensions n, n sizes of four bytes,
the most significant first, and the entries, the last dimension running fastest. Of types there is the one that MNIST
has, 8, a byte an entry.

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

import math
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vgfast import _check

_PARTS = {"train": "train", "test": "t10k"}
_GZIP = b"\x1f\x8b"
_UBYTE = 8
# What deflate makes of a byte at most: 258 bytes from two bits, a length and a distance of one bit each.
_EXPANSION = 1032
_PIECE = 1 << 16  # bytes read at a time


def read(path: str | os.PathLike[str], dimensions: int, rows: int | None = None) -> np.ndarray:
    """The uint8 array of so many dimensions that an IDX file holds, gzipped or not, whatever its name.

    rows: how many there must be, if that is known. Errors: FileNotFoundError if there is no file; ValueError if it is
    anything but a whole file of such an array.
    """
    name, dimensions = os.fspath(path), _check.integer("dimensions", dimensions, 1, 255)
    mode = os.stat(name).st_mode  # before it is opened, which would wait for the writer of a FIFO
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise ValueError(f"{name} must be an IDX file, and is {what}; put the file in its place")
    with open(name, "rb") as file:
        try:
            return _whole(file, dimensions, rows)
        except ValueError as error:
            raise ValueError(f"{name} is not the IDX file that it should be: {error}; get the file again") from None


def _whole(file: BinaryIO, dimensions: int, rows: int | None) -> np.ndarray:
    """The array; ValueError says what is wrong in half a sentence."""
    on_disk = os.fstat(file.fileno()).st_size
    zipped = file.read(2) == _GZIP
    file.seek(0)
    pieces = _inflated(file) if zipped else iter(lambda: file.read(_PIECE), b"")
    data = bytearray()
    start = 4 + 4 * dimensions
    _take(pieces, data, start)
    shape = _shape(bytes(data[:start]), dimensions, rows)
    size = start + math.prod(shape)
    says = f"its header says {_times(shape)} bytes"
    if zipped and size > on_disk * _EXPANSION:
        raise ValueError(f"{says}, which cannot be unzipped from {on_disk}")
    if not zipped and size != on_disk:
        raise ValueError(f"{says}, and it holds {on_disk - start}")
    _take(pieces, data, size + 1)
    if len(data) != size:
        raise ValueError(f"{says}, and it holds {'more' if len(data) > size else len(data) - start}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _take(pieces: Iterator[bytes], data: bytearray, size: int) -> None:
    """Read until there are so many bytes, or a piece more, or no more to read."""
    while len(data) < size and (piece := next(pieces, b"")):
        data += piece


def _shape(header: bytes, dimensions: int, rows: int | None) -> tuple[int, ...]:
    """The sizes, if the header is one of an array of so many dimensions."""
    magic = bytes((0, 0, _UBYTE, dimensions))
    if not header:
        raise ValueError("it is empty")
    if header[:4] != magic:
        hint = ""
        if header[:3] == magic[:3] and len(header) > 3:
            hint = f", which has {header[3]} dimensions: images have 3, labels 1"
        raise ValueError(f"it must begin with {magic.hex(' ')}, and begins with {header[:4].hex(' ')}{hint}")
    if len(header) < 4 + 4 * dimensions:
        raise ValueError(f"it ends after {len(header)} bytes, within its header of {4 + 4 * dimensions}")
    shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
    if 0 in shape:
        raise ValueError(f"its header says {_times(shape)}, which is nothing")
    if rows is not None and shape[0] != rows:
        raise ValueError(f"it must have {rows} entries, one an image, and has {shape[0]}")
    if math.prod(shape) > _check.MOST_ELEMENTS:
        raise ValueError(f"its header says {_times(shape)} bytes, and an array may have fewer than 2**31")
    return shape


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """What is gzipped in the file, in pieces that are never empty nor larger than ``_PIECE``."""
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # of gzip, with its checksum
    while not inflate.eof:
        given = inflate.unconsumed_tail or file.read(_PIECE)
        try:
            piece = inflate.decompress(given, _PIECE)
        except zlib.error as error:
            raise ValueError(f"it cannot be unzipped ({error})") from None
        if piece:
            yield piece
        elif not given:
            raise ValueError("it cannot be unzipped, as it ends too soon")
    if inflate.unused_data or file.read(1):
        raise ValueError("something follows after what is gzipped")


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """As a path; FileNotFoundError if it is not there, NotADirectoryError if it is something else."""
    where = Path(folder)
    if not where.exists():
        raise FileNotFoundError(f"there must be a folder with MNIST's files, and {where} does not exist; name another")
    if not where.is_dir():
        raise NotADirectoryError(f"there must be a folder with MNIST's files, and {where} is no folder; name another")
    return where


def _find(folder: Path, part: str, kind: str) -> Path:
    """The file of this kind, "images-idx3" or "labels-idx1"; FileNotFoundError if there is none."""
    names = [f"{_PARTS[part]}-{spelt}-ubyte" for spelt in (kind, kind.replace("-", "."))]
    names += [f"{name}.gz" for name in names]
    present = [folder / name for name in names if (folder / name).exists()]
    if not present:
        raise FileNotFoundError(f"there is none of {', '.join(names)} in {folder}; put the file there")
    # Some archives unpack to folders of the same names beside the files.
    return next((path for path in present if path.is_file()), present[0])


def read_images(folder: str | os.PathLike[str], part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """(images (n, height, width), labels (n,)), both uint8, of MNIST's files in a folder: 60,000 to "train", or 10,000
    to "test". They are found by their usual names, with a dot or a hyphen before idx, with .gz or without.

    Errors: those of ``check_folder``; FileNotFoundError, with the names, if there are no such files; ValueError if they
    are not what their names say, if there are not as many labels as images, or labels above 9.
    """
    part = _check.choice("part", part, tuple(_PARTS))
    where = check_folder(folder)
    images_path, labels_path = _find(where, part, "images-idx3"), _find(where, part, "labels-idx1")
    images = read(images_path, 3)
    labels = read(labels_path, 1, rows=len(images))
    if labels.max() > 9:
        row = int((labels > 9).argmax())
        raise ValueError(
            f"{labels_path} must hold labels from 0 to 9, got {labels[row]} in row {row}; get the file again"
        )
    return images, labels
