"""Which rows of each batch a process takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vgfast import _core

# Rows that are ordered at a time.
_AT_ONCE = 1 << 18


def share_batches(n_rows: int, batch_size: int, rank: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of an epoch of rows which all processes have: (the places in its order that a process takes, int64; BATCH of each
    step). Lower ranks have the first rows of each batch; the numbers of rows differ by one at most."""
    starts = np.arange(0, n_rows, batch_size)
    whole = np.minimum(batch_size, n_rows - starts)
    offset = whole * rank // size
    rows = whole * (rank + 1) // size - offset
    batches = _batches(rows, offset, whole)
    places = np.repeat(starts + offset - batches["first"].astype(np.int64), rows) + np.arange(rows.sum())
    return places, batches


def share_shards(counts: np.ndarray, batch_size: int, rank: int) -> np.ndarray:
    """BATCH of each step, where process i has counts[i] rows of its own, and takes them in its own order: of each batch
    as large a part as it has of all rows, to the next row. Row j of process i comes at the time (j + 0.5) / counts[i]
    of the epoch; of those at one time, the one of the lowest rank comes first."""
    n = int(counts.sum())
    ends = np.append(np.arange(batch_size, n, batch_size), n)
    taken = np.zeros((len(ends) + 1, 2), np.int64)  # of lower ranks, and of this one, before each step
    at_once = max(1, _AT_ONCE // (3 * len(counts)))
    for first in range(0, len(ends), at_once):
        part = slice(first, first + at_once)
        taken[1:][part] = _count_first(counts, ends[part], rank)
    offset, rows = np.diff(taken, axis=0).T
    return _batches(rows, offset, np.diff(ends, prepend=0))


def _count_first(counts: np.ndarray, ends: np.ndarray, rank: int) -> np.ndarray:
    """How many of the first ends[k] rows of the epoch are of lower ranks, and of this one: int64 (len(ends), 2). Only
    the few rows that can be in question are looked at, as a number for each of all rows may be too much memory."""
    size, n = len(counts), int(counts.sum())
    # By rounding, at most half a row of each process comes too early; another row is for the rounding of times.
    early = (ends - size / 2 - 1) / n
    surely = np.clip(np.ceil(early[:, None] * counts - 0.5), 0, counts).astype(np.int64)  # (steps, size) before that
    owners, after = np.array(list(_next_rows(counts))).T
    row = surely[:, owners] + after
    time = np.where(row < counts[owners], (row + 0.5) / np.maximum(1, counts[owners]), np.inf)
    in_order = owners[np.argsort(time, axis=1, kind="stable")]
    first = np.arange(len(owners)) < (ends - surely.sum(axis=1))[:, None]
    lower = surely[:, :rank].sum(axis=1) + ((in_order < rank) & first).sum(axis=1)
    mine = surely[:, rank] + ((in_order == rank) & first).sum(axis=1)
    return np.stack([lower, mine], axis=1)


def _next_rows(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """(owner, which of its rows) of those that may follow."""
    size, n = len(counts), int(counts.sum())
    for owner, count in enumerate(counts.tolist()):
        for after in range(min(count, (size + 3) * count // n + 2)):
            yield owner, after


def _batches(rows: np.ndarray, offset: np.ndarray, whole: np.ndarray) -> np.ndarray:
    batches = np.empty(len(rows), _core.BATCH)
    batches["rows"], batches["offset"], batches["total"] = rows, offset, whole
    batches["first"] = np.cumsum(rows) - rows
    return batches
