"""Data that need not fit memory: sources, which ``net.fit(source)`` takes in place of X and y.

A source says by ``len(source)`` how many rows it has, and gives them block by block, once in each epoch; there may be
more of them than fit memory. While C trains on some, a thread asks for the next, checks them as ``fit`` checks arrays,
and converts them into one of two places of 32 MB each. What is left of these rows when they are cut into batches joins
the next. So with ``shuffle=False`` any source gives the bits of the run in memory, whatever its blocks. With
``shuffle=True`` the blocks come in random order, where the source can do that, and the rows that are in one of the two
places at a time are mixed.

``from_arrays``, ``from_npy``, ``from_hdf5``, ``from_parquet``, ``from_function`` and ``from_loader`` make sources. Any
object of these two methods and this attribute is one too:

``len(source)``
    rows of an epoch.
``source.n_blocks``
    of how many blocks the order is shuffled; None: they come as they come.
``source.blocks(order)``
    an iterator of (X, y) or (X, y, sample_weight), or of ``Block``, of any number of rows each; order: the numbers
    0 to n_blocks - 1 (int64) in the order that is wanted, or None for that of the source. It is run by another thread;
    what it has given it may write to again once it is asked for the next.

Several processes that train one net may have a source each, of their own rows: see ``vgfast.mpi.fit`` and
``vg.Reducer``. If one source fails, all processes end with its error.

Weights of 0, or from 1e-30 to 1e30, are taken. Errors, by ``fit``: ValueError or TypeError for rows that it would
refuse in memory, and for a source that has fewer rows than it says, or more; RuntimeError where the source itself
raises an error, which is its cause. Each names the block, counted in this epoch from 0, and the net is as of the last
step, as after Ctrl-C.

>>> import numpy as np, vgfast as vg
>>> from vgfast.data import blocks
>>> X, y = np.eye(8), np.arange(8) % 2
>>> net, same = vg.MLP([8, 4, 2], rng=0), vg.MLP([8, 4, 2], rng=0)
>>> def halves():
...     yield X[:4], y[:4]
...     yield X[4:], y[4:]
>>> _ = net.fit(blocks.from_function(halves, rows=8), epochs=3, batch_size=3, shuffle=False)
>>> _ = same.fit(X, y, epochs=3, batch_size=3, shuffle=False)
>>> bool((net.params == same.params).all())
True
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.data import parts
from vgfast.data.parts import Part
from vgfast.data.sources import BLOCK_BYTES, Source
from vgfast.data.sources import Block as Block


class SlicedSource(Source):
    """Rows of things that can be sliced."""

    def __init__(self, X: Part, y: Part, sample_weight: Part | None) -> None:
        self.parts = [part for part in (X, y, sample_weight) if part is not None]
        super().__init__(len(X))
        for name, part in zip(("y", "sample_weight"), self.parts[1:], strict=False):
            if len(part) != len(X):
                raise ValueError(
                    f"{name} must have a row for each of the {len(X)} of X, got {len(part)}; take both whole"
                )
        rows = max(1, BLOCK_BYTES // max(1, sum(part.row_bytes for part in self.parts)))
        self.block_rows = max(1, rows // X.chunk_rows) * X.chunk_rows
        self.n_blocks = -(-self.rows // self.block_rows)

    def blocks(self, order: np.ndarray | None) -> Iterator[Block]:
        with ExitStack() as stack:
            reads = [stack.enter_context(part.open(self.block_rows)) for part in self.parts]
            for number in range(self.n_blocks or 0) if order is None else order.tolist():
                first = number * self.block_rows
                last = min(first + self.block_rows, self.rows)
                x, y, *weights = (read(first, last) for read in reads)
                x = x.reshape(len(x), -1) if x.ndim > 2 else x
                yield Block(x, y, weights[0] if weights else None, f"rows {first} to {last - 1}")


def from_arrays(X: Any, y: Any, sample_weight: Any = None) -> Source:
    """X (rows, n_in), y and sample_weight as ``fit`` takes them, in blocks of 32 MB: arrays, ``np.memmap``, open
    datasets of h5py, whatever has a ``shape``, a ``dtype`` and slices. Rows of several dimensions are taken for one.
    Errors: TypeError for something else, ValueError for other numbers of rows.

    >>> import numpy as np
    >>> from vgfast.data import blocks
    >>> source = blocks.from_arrays(np.zeros((1000, 28, 28)), np.zeros(1000, int))
    >>> len(source), source.n_blocks
    (1000, 1)
    """
    return _sliced(parts.Sliced, X, y, sample_weight)


def from_npy(X: Any, y: Any, sample_weight: Any = None) -> Source:
    """The same of files that ``np.save`` wrote, which are read and not mapped: each argument is a path, or an array.
    Errors: ValueError for a file that is none, or whose array is in Fortran's order; OSError."""
    return _sliced(parts.npy, X, y, sample_weight)


def _sliced(part: Callable[[str, Any], Part], X: Any, y: Any, sample_weight: Any) -> Source:
    return SlicedSource(
        part("X", X), part("y", y), None if sample_weight is None else part("sample_weight", sample_weight)
    )


def from_hdf5(path: str | os.PathLike[str], X: str = "X", y: str = "y", sample_weight: str | None = None) -> Source:
    """The same of datasets of an HDF5 file, by their names. Blocks are whole chunks of X. It needs h5py. Errors:
    ValueError for a name that there is not; OSError."""
    names = {"X": X, "y": y} | ({} if sample_weight is None else {"sample_weight": sample_weight})
    found = [parts.Hdf5(which, path, name) for which, name in names.items()]
    return SlicedSource(found[0], found[1], found[2] if sample_weight is not None else None)


def from_parquet(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    y: str | Sequence[str],
    X: Sequence[str] | None = None,
    sample_weight: str | None = None,
) -> Source:
    """Columns of Parquet files: y, one name, or several for as many outputs; X, their names, or None for all others.
    What is shuffled are row groups. It needs pyarrow. Errors: ValueError for columns that there are not; OSError."""
    from vgfast.data.parquet import ParquetSource  # only read when asked for

    return ParquetSource(path, y, X, sample_weight)


class FunctionSource(Source):
    """What a function gives."""

    def __init__(self, make: Callable[[], Iterable[Any]], rows: int) -> None:
        super().__init__(rows)
        self.make = make

    def blocks(self, order: np.ndarray | None) -> Iterator[Any]:
        return iter(self.make())


def from_function(make: Callable[[], Iterable[Any]], rows: int) -> Source:
    """make(), which is called in each epoch: an iterator of blocks (X, y) or (X, y, sample_weight), with so many rows
    in all; for example a generator function. Blocks come as it gives them. Errors: TypeError for no function."""
    if not callable(make):
        once = "; give the function itself, as each epoch calls it again" if hasattr(make, "__next__") else ""
        raise TypeError(f"make must be a function that gives an iterator of blocks, got {_check.quote(make)}{once}")
    return FunctionSource(make, _check.integer("rows", rows, 1))


class LoaderSource(Source):
    """What is iterated over again in each epoch."""

    def __init__(self, loader: Iterable[Any], rows: int) -> None:
        super().__init__(rows)
        self.loader = loader

    def blocks(self, order: np.ndarray | None) -> Iterator[Any]:
        for item in self.loader:
            if isinstance(item, tuple | list) and getattr(item[0] if item else None, "ndim", 0) > 2:
                yield (item[0].reshape(len(item[0]), -1), *item[1:])
            else:
                yield item


def from_loader(loader: Iterable[Any], rows: int | None = None) -> Source:
    """A ``torch.utils.data.DataLoader``, or anything else that gives (X, y) or (X, y, sample_weight) each time that it
    is iterated over. Rows of several dimensions are taken for one; the loader's own batches do not matter, nor does
    ``fit`` shuffle them, but the rows that are in memory at a time. rows: of an epoch; None: as its dataset has.
    Errors: TypeError for a loader whose number of rows is not known.
    """
    if rows is None:
        dataset, size = getattr(loader, "dataset", None), getattr(loader, "batch_size", None)
        if not hasattr(dataset, "__len__"):
            raise TypeError(f"from_loader cannot know how many rows {_check.quote(loader)} has; give rows=")
        rows = len(dataset)  # type: ignore[arg-type]
        rows -= rows % size if getattr(loader, "drop_last", False) and size else 0
    if not hasattr(loader, "__iter__") or hasattr(loader, "__next__"):
        raise TypeError(f"loader must be something that can be iterated over again, got {_check.quote(loader)}")
    return LoaderSource(loader, _check.integer("rows", rows, 1))
