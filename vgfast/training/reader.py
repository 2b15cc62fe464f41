"""A thread that reads a source's blocks, checks them, and converts them into rows as C takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from vgfast import _check, _core
from vgfast.data.sources import BLOCK_BYTES, Block
from vgfast.model.architecture import Architecture

# Rows of so many bytes are checked and converted at a time: what was just read is then still in a cache.
_AT_ONCE = 1 << 19
# Weights other than 0: no sum or product of these overflows, and none is rounded away, whatever the largest of all is.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-30, 1e30
# After an error, the thread is waited for so long: it ends when the source has given the block that it is reading.
_PATIENCE = 1.0


class SourceError(Exception):
    """``kind(text)`` is what to raise, once it is known how many steps there were; ``cause``: whence it is."""

    def __init__(self, kind: type[Exception], text: str, cause: BaseException | None) -> None:
        super().__init__(text)
        self.kind, self.text, self.cause = kind, text, cause


class Rows:
    """A place for rows, before which there is room for what the place before has left over. ``last``: whether the epoch
    has no more. ``left``: which of them, once the others have been trained on, are left for the next."""

    def __init__(self, shape: Shape) -> None:
        self.head, n = shape.batch_size - 1, shape.batch_size - 1 + shape.most
        self.x = np.empty((n, shape.net.sizes[0]), shape.net.dtype)
        n_out = () if shape.labelled else (shape.net.sizes[-1],)
        self.t = np.empty((n, *n_out), np.int32 if shape.labelled else shape.net.dtype)
        self.weights = np.empty(n) if shape.weighted else None
        self.empty()

    def empty(self) -> None:
        """For other rows."""
        self.first, self.n, self.last = self.head, 0, False
        self.left: np.ndarray | slice = slice(0)

    def join(self, before: Rows) -> None:
        """Put the rows, fewer than a batch, that are left in another place before the others."""
        x, t, weights = before.filled()
        n = len(t[before.left])
        self.first = self.head - n
        to = slice(self.first, self.head)
        self.x[to], self.t[to] = x[before.left], t[before.left]
        if weights is not None and self.weights is not None:
            self.weights[to] = weights[before.left]

    def filled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """x, t and weights of all that are here."""
        rows = slice(self.first, self.head + self.n)
        return self.x[rows], self.t[rows], None if self.weights is None else self.weights[rows]


class Shape:
    """What is the same of all blocks of a source. ``most``: rows in a place. Known from the first block on:
    ``labelled``, ``weighted``, and the names of ``columns``, if it has any."""

    def __init__(self, net: Architecture, batch_size: int, n_rows: int) -> None:
        self.net, self.batch_size = net, batch_size
        target = 4 if net.loss == "cross_entropy" else net.sizes[-1] * net.dtype.itemsize
        row = net.sizes[0] * net.dtype.itemsize + target + 16  # and a weight and a place in the order
        self.most = min(max(1, BLOCK_BYTES // row), n_rows)
        self.checked_rows = max(1, _AT_ONCE // row)
        self.known = False
        self.labelled = self.weighted = False
        self.columns: list[Any] | None = None

    def learn(self, block: Block) -> None:
        """From the first."""
        _, t = self.net.check_batch(_part(block.X, 0, 1), _part(block.y, 0, 1))
        self.labelled, self.weighted = t.ndim == 1, block.sample_weight is not None
        self.columns, self.known = _columns(block.X), True

    def compare(self, block: Block) -> None:
        """ValueError for one that is not like the first."""
        if (block.sample_weight is not None) != self.weighted:
            has, had = ("none", "weights") if self.weighted else ("weights", "none")
            raise ValueError(f"sample_weight must be given with every block or with none, got {has} after {had}")
        columns = _columns(block.X)
        if columns is not None and self.columns is not None and columns != self.columns:
            raise ValueError(
                f"X must have the columns of the first block, {_check.quote(self.columns)}, got "
                f"{_check.quote(columns)}; give all blocks the same ones in the same order"
            )


def _columns(X: Any) -> list[Any] | None:
    """The names of a frame's."""
    return list(X.columns) if hasattr(X, "iloc") and hasattr(X, "columns") else None


def _part(array: Any, first: int, last: int) -> Any:
    return array.iloc[first:last] if hasattr(array, "iloc") else array[first:last]


def _length(array: Any) -> int:
    """-1 of what has none, which checks then refuse."""
    shape = getattr(array, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) > 0 else -1
    return len(array) if hasattr(array, "__len__") else -1


class Reader:
    """An epoch of a source, as ``Rows``, one after the other, each with what was left of the one before. To be used in
    a ``with``, at whose end the thread is gone, or on its way."""

    def __init__(self, source: Any, order: np.ndarray | None, shape: Shape, places: list[Rows]) -> None:
        """places: to be used again; none in the first epoch."""
        self.source, self.order, self.shape, self.places = source, order, shape, places
        self.n_rows, self.number, self.where, self.taken = len(source), 0, "", 0
        self.free: queue.SimpleQueue[Rows | None] = queue.SimpleQueue()
        self.ready: queue.SimpleQueue[Rows | SourceError] = queue.SimpleQueue()
        self.stopped = False
        for place in places:
            self.free.put(place)
        self.thread = threading.Thread(target=self._read, name="vgfast-reader", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self.stopped = True
        self.free.put(None)
        if kind is None or issubclass(kind, Exception):  # and not Ctrl-C
            self.thread.join(None if kind is None else _PATIENCE)

    def __iter__(self) -> Iterator[Rows]:
        """``SourceError`` in its place."""
        before = None
        while True:
            rows = self.ready.get()
            if isinstance(rows, SourceError):
                raise rows
            if before is not None:
                rows.join(before)
                self.free.put(before)
            yield rows
            if rows.last:
                return
            before = rows

    # ---- in the thread ----------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            with _core.standard_arithmetic():
                self._read_blocks()
        except _Stopped:
            pass
        except SourceError as error:
            self.ready.put(error)
        except BaseException as error:  # of the source
            text = " ".join(str(error).split())
            of = f"{type(error).__name__}: {text}" if text else type(error).__name__
            self.ready.put(
                SourceError(RuntimeError, f"the source failed where block {self.number} was due ({of})", error)
            )

    def _read_blocks(self) -> None:
        given = iter(self.source.blocks(self.order))
        try:
            rows: Rows | None = None
            for item in given:
                rows = self._take_block(item, rows)
                self.number += 1
            if self.taken < self.n_rows or rows is None:
                raise SourceError(
                    ValueError,
                    f"the source ended after {self.number} blocks with {self.taken} rows, and must give the "
                    f"{self.n_rows} that it has by len(source); let that be how many it gives",
                    None,
                )
            rows.last = True
            self.ready.put(rows)
        finally:
            if hasattr(given, "close"):
                given.close()

    def _take_block(self, item: Any, rows: Rows | None) -> Rows | None:
        """The place that its last rows went to, after this place."""
        if self.stopped:
            raise _Stopped
        where = ""
        try:
            block = _as_block(item)
            where = f", {block.where}" if block.where else ""
            n = _length(block.X)
            if n == 0 and self.shape.known:
                return rows
            if self.taken + n > self.n_rows:
                raise ValueError(
                    f"its rows make {self.taken + n} in this epoch, and the source has {self.n_rows} by len(source); "
                    f"let that be how many there are"
                )
            try:
                return self._add(block, n, rows)
            except (TypeError, ValueError):
                self._refuse(block, n)  # the whole block, so that its rows have their numbers
                raise
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise SourceError(kind, f"block {self.number} of the source{where}: {error}", error) from None

    def _add(self, block: Block, n: int, rows: Rows | None) -> Rows:
        """Its n rows to this place, and what it has no room for to others; the last of those."""
        shape = self.shape
        if not shape.known:
            shape.learn(block)
        shape.compare(block)
        if _length(block.y) != n or (shape.weighted and _length(block.sample_weight) != n):
            self._refuse(block, n)
        rows = rows or self._take_place()
        if rows.n > 0 and rows.n + n > shape.most:
            rows = self._next_place(rows)
        first = 0
        while first < n:
            if rows.n == shape.most:
                rows = self._next_place(rows)
            last = min(n, first + shape.checked_rows, first + shape.most - rows.n)
            self._convert(block, first, last, rows)
            first = last
        self.taken += n
        return rows

    def _take_place(self) -> Rows:
        if len(self.places) < 2:
            self.places.append(Rows(self.shape))
            self.free.put(self.places[-1])
        rows = self.free.get()
        if rows is None or self.stopped:
            raise _Stopped
        rows.empty()
        return rows

    def _next_place(self, rows: Rows) -> Rows:
        """When this one is handed over."""
        self.ready.put(rows)
        return self._take_place()

    def _convert(self, block: Block, first: int, last: int, rows: Rows) -> None:
        """The rows from first to last of a block to where this place has room."""
        x, t = self.shape.net.check_batch(_part(block.X, first, last), _part(block.y, first, last))
        if (t.ndim == 1) != self.shape.labelled:
            now, before = ("labels", "probabilities") if t.ndim == 1 else ("probabilities", "labels")
            raise ValueError(f"y must hold {before}, as in the first block, got {now}; give all blocks the same")
        to = slice(rows.head + rows.n, rows.head + rows.n + last - first)
        rows.x[to], rows.t[to] = x, t
        if rows.weights is not None:
            rows.weights[to] = _weights(_part(block.sample_weight, first, last), last - first)
        rows.n += last - first

    def _refuse(self, block: Block, n: int) -> None:
        """The error of a block as a whole."""
        self.shape.net.check_batch(block.X, block.y)
        if block.sample_weight is not None:
            _weights(block.sample_weight, n)


def _as_block(item: Any) -> Block:
    if isinstance(item, Block):
        return item
    if isinstance(item, tuple | list) and len(item) in (2, 3):
        return Block(*item)
    raise TypeError(
        f"a block must be (X, y) or (X, y, sample_weight), got {_check.quote(item)} ({type(item).__name__})"
    )


def _weights(value: Any, n: int) -> np.ndarray:
    weights = _check.weights_as_given("sample_weight", value, n)
    off = (weights != 0) & ((weights < _LEAST_WEIGHT) | (weights > _MOST_WEIGHT))
    if off.any():
        row = int(off.argmax())
        raise ValueError(
            f"sample_weight must hold 0, or weights from {_LEAST_WEIGHT:g} to {_MOST_WEIGHT:g}, got {weights[row]!s} "
            f"in row {row}; divide all by the same number"
        )
    return weights


class _Stopped(Exception):
    """Nobody wants the rest."""
