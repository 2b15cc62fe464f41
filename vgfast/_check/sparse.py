"""Sparse matrices that users give, SciPy's or others' that have its methods: read as rows whose zeros are left out, or
refused, with the place of what is no number. SciPy itself is imported by whoever has made one."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast._check import arrays


class SparseRows:
    """Rows (n, n_in) of which only some values are kept: those of row i are ``values[starts[i] : starts[i + 1]]``, in
    these ``columns``, which ascend. ``values`` may be the user's array; the other two never are, as they say where in
    memory something is. ``len``, slices, arrays of row numbers and ``copy`` are as of a matrix; one row is dense."""

    __slots__ = ("columns", "shape", "starts", "values")
    ndim = 2

    def __init__(self, values: np.ndarray, columns: np.ndarray, starts: np.ndarray, n_in: int) -> None:
        self.values, self.columns, self.starts = values, columns, starts
        self.shape = len(starts) - 1, n_in

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice) and rows.step in (None, 1):
            first, last, _ = rows.indices(len(self))
            return SparseRows(self.values, self.columns, self.starts[first : max(first, last) + 1], self.shape[1])
        chosen = np.arange(len(self))[rows]
        taken = self._take(np.atleast_1d(chosen))
        return taken if chosen.ndim else taken.toarray()[0]

    def _take(self, rows: np.ndarray) -> SparseRows:
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return SparseRows(self.values[entries], self.columns[entries], starts, self.shape[1])

    def copy(self) -> SparseRows:
        return SparseRows(self.values.copy(), self.columns.copy(), self.starts.copy(), self.shape[1])

    def toarray(self) -> np.ndarray:
        """With the zeros."""
        dense = np.zeros(self.shape, self.dtype)
        some = slice(self.starts[0], self.starts[-1])
        dense[np.repeat(np.arange(len(self)), np.diff(self.starts)), self.columns[some]] = self.values[some]
        return dense

    def count(self) -> int:
        """Values in all rows together."""
        return int(self.starts[-1] - self.starts[0])

    def count_most(self, rows: int) -> int:
        """Values that so many rows have at most."""
        lengths = np.diff(self.starts)
        rows = min(rows, len(lengths))
        return int(np.partition(lengths, len(lengths) - rows)[len(lengths) - rows :].sum())


# What nets take: dense rows, or these.
Rows = np.ndarray | SparseRows


def to_dense(x: Rows) -> np.ndarray:
    """The rows with their zeros."""
    return x.toarray() if isinstance(x, SparseRows) else x


def is_sparse(value: Any) -> bool:
    """Whether it is one of SciPy's sparse matrices or arrays, in whatever format, or has their methods."""
    return hasattr(value, "tocsr") and hasattr(value, "toarray")


def inputs(name: str, value: Any, n_columns: int, dtype: np.dtype) -> SparseRows:
    """X: (rows, n_columns), of any format, as rows of the net's dtype, finite. What is stored twice is added up, as
    SciPy does it."""
    _check_shape(name, value, n_columns)
    if np.dtype(value.dtype).kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {value.dtype}; use {name}.real or abs({name})")
    kind = getattr(value, "format", "")
    if kind in ("csr", "csc"):
        _check_structure(name, value, *(value.shape if kind == "csr" else value.shape[::-1]))
    rows = value.tocsr()
    starts = np.array(rows.indptr, np.int64)
    n = int(starts[-1])
    if not _ascend(rows.indices[:n], starts):
        rows = rows.copy()
        rows.sum_duplicates()
        starts = np.array(rows.indptr, np.int64)
        n = int(starts[-1])
    columns, given = np.array(rows.indices[:n], np.int32), rows.data[:n]
    with np.errstate(over="ignore", under="ignore"):
        values = np.ascontiguousarray(given, dtype)
    finite = np.isfinite(values)
    if not finite.all():
        entry = int(np.argmin(finite))
        row = int(np.searchsorted(starts, entry, "right")) - 1
        arrays.refuse_entry(name, given[entry], dtype, arrays.place(value, row, int(columns[entry])))
    return SparseRows(values, columns, starts, n_columns)


def _check_shape(name: str, value: Any, n_columns: int) -> None:
    shape = tuple(value.shape)
    if len(shape) != 2:
        fix = f"; for one sample use {name}.reshape(1, -1)" if shape == (n_columns,) else ""
        raise ValueError(
            f"{name} must be a matrix (samples, {n_columns}), got {len(shape)} dimension(s), shape {shape}{fix}"
        )
    if shape[1] != n_columns:
        fix = f"; use {name}.T if it has a sample a column" if shape[0] == n_columns else ""
        raise ValueError(
            f"{name} must have {n_columns} columns, as many as the net has inputs; got {shape[1]} (shape {shape}){fix}"
        )
    if shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {shape}: there is no sample")


def _check_structure(name: str, value: Any, n_major: int, n_minor: int) -> None:
    """Of a compressed format: who has changed its arrays may have left places that there are not."""
    starts, places, n_values = np.asarray(value.indptr), np.asarray(value.indices), len(value.data)
    major, minor = ("row", "column") if value.format == "csr" else ("column", "row")
    fix = f"make it anew, for example of {name}.data and the row and column of each"
    if starts.shape != (n_major + 1,) or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError(
            f"{name} must say where each {major} begins, in indptr, {n_major + 1} numbers from 0 on that do not "
            f"fall, and does not; {fix}"
        )
    last = int(starts[-1])
    if last > min(len(places), n_values):
        raise ValueError(
            f"{name} must have as many indices and data as indptr ends with, {last}, got {len(places)} and "
            f"{n_values}; {fix}"
        )
    beyond = (places[:last] < 0) | (places[:last] >= n_minor)
    if beyond.any():
        entry = int(np.argmax(beyond))
        where = int(np.searchsorted(starts, entry, "right")) - 1
        raise ValueError(
            f"{name} must have {minor} numbers from 0 to {n_minor - 1}, got {places[entry]} in {major} {where}; {fix}"
        )


def _ascend(columns: np.ndarray, starts: np.ndarray) -> bool:
    """Whether those of each row do, without one that is there twice."""
    falls = columns[1:] <= columns[:-1]
    between = starts[1:-1]
    falls[between[(between > 0) & (between < len(columns))] - 1] = False
    return not falls.any()


def checksum(x: Rows, *arrays: np.ndarray | None) -> str:
    """Of rows and what belongs to them."""
    import zlib

    found = 0
    rows = (x.values, x.columns, x.starts) if isinstance(x, SparseRows) else (x,)
    for array in (*rows, *arrays):
        found = found if array is None else zlib.crc32(array.data, found)
    return f"{found:08x}"
