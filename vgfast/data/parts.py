"""What a source is made of: X, y and weights, each in an array or a file, of which slices of rows are read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast.files import npz

Read = Callable[[int, int], Any]


class Part(Protocol):
    """``row_bytes``: of a row. ``chunk_rows``: how many rows are best read together."""

    row_bytes: int
    chunk_rows: int

    def __len__(self) -> int: ...

    def open(self, most: int) -> AbstractContextManager[Read]:
        """read(first, last), for at most so many rows at a time; what it gave is overwritten by the next."""


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape[1:]) * dtype.itemsize


class Sliced:
    """Of something with a shape, a dtype and slices."""

    def __init__(self, name: str, value: Any) -> None:
        if not hasattr(value, "shape") or not hasattr(value, "dtype") or not value.shape:
            raise TypeError(
                f"{name} must be something with a shape, a dtype and slices, such as an array, got "
                f"{_check.quote(value)} ({type(value).__name__}); use np.asarray({name})"
            )
        self.value = value
        self.row_bytes = _row_bytes(value.shape, value.dtype)
        chunks = getattr(value, "chunks", None)
        self.chunk_rows = chunks[0] if isinstance(chunks, tuple) and isinstance(chunks[0], int) else 1

    def __len__(self) -> int:
        return int(self.value.shape[0])

    def open(self, most: int) -> AbstractContextManager[Read]:
        return nullcontext(lambda first, last: self.value[first:last])


def npy(name: str, value: Any) -> Part:
    """Of a path, or of an array."""
    return Npy(name, value) if isinstance(value, str | os.PathLike) else Sliced(name, value)


class Npy:
    """Of a file of ``np.save``, which is read: a map of all of it would need as much of the address space."""

    chunk_rows = 1

    def __init__(self, name: str, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self.shape, fortran, self.dtype, self.begins = npz.despite_threads(self._read_header)
        except ValueError as error:
            raise ValueError(f"{name} must name a file of np.save, and {self.path} is none ({error})") from None
        if fortran and len(self.shape) > 1:
            raise ValueError(
                f"{name} must name a file whose rows lie one after the other, and {self.path} is in Fortran's order; "
                f"use blocks.from_arrays with np.load({self.path!r}, mmap_mode='r'), or save it in C's order"
            )
        if not self.shape or self.dtype.hasobject:
            got = "a single number" if not self.shape else "Python objects"
            raise ValueError(f"{name} must name a file with rows of numbers, and {self.path} has {got}; save such rows")
        self.row_bytes = _row_bytes(self.shape, self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def _read_header(self) -> tuple[tuple[int, ...], bool, np.dtype, int]:
        """(shape, whether in Fortran's order, dtype, where the rows begin)."""
        with open(self.path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
            return *getattr(np.lib.format, read)(file), file.tell()

    @contextmanager
    def open(self, most: int) -> Iterator[Read]:
        place = np.empty((most, *self.shape[1:]), self.dtype)
        with open(self.path, "rb", buffering=0) as file:

            def read(first: int, last: int) -> np.ndarray:
                rows = place[: last - first]
                left = rows.reshape(-1).view(np.uint8).data
                file.seek(self.begins + first * self.row_bytes)
                while left:
                    n = file.readinto(left)
                    if not n:
                        raise EOFError(f"{self.path} ends within rows {first} to {last - 1} of {self.shape[0]}")
                    left = left[n:]
                return rows

            yield read


class Hdf5:
    """Of a dataset in an HDF5 file."""

    def __init__(self, name: str, path: str | os.PathLike[str], dataset: str) -> None:
        self.h5py = packages.require("h5py", "blocks.from_hdf5", "'vgfast[data]'")
        self.path, self.dataset = os.fspath(path), dataset
        with self.h5py.File(self.path, "r") as file:
            if not hasattr(file.get(dataset), "shape"):
                there = ", ".join(map(repr, file)) or "nothing"
                raise ValueError(f"{name} must name a dataset of {self.path}, got {dataset!r}; it has {there}")
            sliced = Sliced(name, file[dataset])
            self.rows, self.row_bytes, self.chunk_rows = len(sliced), sliced.row_bytes, sliced.chunk_rows

    def __len__(self) -> int:
        return self.rows

    @contextmanager
    def open(self, most: int) -> Iterator[Read]:
        with self.h5py.File(self.path, "r") as file:
            found = file[self.dataset]
            yield lambda first, last: found[first:last]
