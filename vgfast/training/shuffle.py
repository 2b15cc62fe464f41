"""The order of the rows in each epoch."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from vgfast import _core
from vgfast._check import quote

# Held while rows are shuffled, and during a fork: a generator has a lock, and a child process would wait for ever for a
# lock that another thread of its parent held. A fork waits for so many seconds at most, as the thread that forks may
# itself hold the lock of a generator.
_shuffling = threading.RLock()
_PATIENCE = 2.0
_forking = threading.local()


def _before_fork() -> None:
    _forking.waited = _shuffling.acquire(timeout=_PATIENCE)


def _after_fork_in_parent() -> None:
    if _forking.waited:
        _shuffling.release()


def _after_fork_in_child() -> None:
    global _shuffling
    _shuffling = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def make_shuffle(rng: np.random.Generator, rows: int, reduce: Any = None) -> Shuffle:
    """The order of so many rows; of a process's own ones, if reduce says that they are."""
    return ShardShuffle(rng, rows, reduce.rank) if getattr(reduce, "sharded", False) else Shuffle(rng, rows)


class Shuffle:
    """Rows in random order, as ``rng.permutation(rows)`` gives them, for one epoch after the other.

    ``order``: the last that was drawn, and ``before``: the one before it; empty where there is none yet.
    """

    def __init__(self, rng: np.random.Generator, rows: int) -> None:
        self.rng, self.rows = rng, rows
        self.order = self.before = np.empty(0, np.int64)
        # A subclass may have a permutation of its own.
        self.bits = _core.RandomBits(rng.bit_generator) if type(rng) is np.random.Generator else None

    @property
    def is_numpys(self) -> bool:
        """Whether nothing but NumPy's own generator is asked."""
        return self.bits is not None

    def draw(self) -> np.ndarray:
        """0 to rows - 1 in the order of the next epoch; that of the last but one is overwritten."""
        with _shuffling:
            if self.bits is None:
                order = self._ask()
            else:
                order = self.before if len(self.before) > 0 else np.empty(self.rows, np.int64)
                self.bits.permute(order)
        self.before, self.order = self.order, order
        return order

    def _ask(self) -> np.ndarray:
        """A generator that may give anything."""
        order: Any = self.rng.permutation(self.rows)
        n = self.rows
        numbers = isinstance(order, np.ndarray) and order.shape == (n,) and order.dtype == np.int64
        if not numbers or order.min() < 0 or order.max() >= n:
            raise ValueError(
                f"permutation({n}) of the {type(self.rng).__name__} that shuffles must give {n} rows from 0 to {n - 1} "
                f"as int64, got {quote(order)}; return np.arange({n}) in another order"
            )
        return np.ascontiguousarray(order)


class ShardShuffle(Shuffle):
    """The order of a process's own rows: each process draws the same number from the generator which all of them have,
    whatever rows it has, and goes on by it and its rank."""

    def __init__(self, rng: np.random.Generator, rows: int, rank: int) -> None:
        super().__init__(rng, rows)
        self.rank, self.bits = rank, None

    def _ask(self) -> np.ndarray:
        return own_generator(self.rng, self.rank).permutation(self.rows)


def own_generator(rng: np.random.Generator, rank: int) -> np.random.Generator:
    """A process's own, for an epoch, by one number of the generator which all processes have."""
    with _shuffling:
        return np.random.default_rng([int(rng.integers(2**63)), rank])
