"""Several processes that train one net: what they add up, what they refuse, and the errors that all of them raise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from vgfast import _check
from vgfast._check import SparseRows


class Reducer(ABC):
    """Several processes that train one net as one process would: ``fit(reduce=...)`` of each takes such an object.

    ``rank``: which of the ``size`` processes this is, from 0 on. ``sharded``: whether X and y, or a source in each
    process in place of them, hold the process's own rows, of all of which an epoch consists; else all processes have
    the same, and each takes its part of every batch. A process may have no row of a batch that is smaller than the
    others.

    ``check_every``: after each so many steps it is compared whether all processes have the same parameters; 0: never. A
    process that has others is named in a RuntimeError in each of them.

    ``average_every``: None, or, for local SGD, after how many steps, which each process takes by itself on its part of
    the batches, parameters are averaged; see ``vgfast.mpi.fit``.

    If one process fails, by an error of a callback for example, the others wait for it in ``add``, for as long as that
    does: nothing here ends them. ``vgfast.mpi.fit`` does.

    ``add(numbers)``: the sum over all processes of a contiguous array, in its place, with the same bits in each. All
    processes call it with arrays of the same shape and dtype: float64, the net's dtype, or int32.

    >>> import numpy as np, vgfast as vg
    >>> class Alone(vg.Reducer):
    ...     rank, size = 0, 1
    ...     def add(self, numbers):
    ...         pass
    >>> X, y = np.eye(8), np.arange(8) % 2
    >>> histories = [vg.MLP([8, 4, 2], rng=0).fit(X, y, epochs=3, reduce=how) for how in (None, Alone())]
    >>> bool((histories[0].loss == histories[1].loss).all())
    True
    """

    rank: int
    size: int
    sharded: bool = False
    check_every: int = 100
    average_every: int | None = None

    @abstractmethod
    def add(self, numbers: np.ndarray) -> None: ...


class DriftError(RuntimeError):
    """In all processes at once: some have other parameters, or end training before the others."""

    of_all_ranks = True


E = TypeVar("E", bound=Exception)


def raised_by_all(error: E) -> E:
    """The error itself, marked: all processes raise it, so that none waits for another."""
    error.of_all_ranks = True  # type: ignore[attr-defined]
    return error


def is_raised_by_all(error: BaseException) -> bool:
    """Whether it is marked so."""
    return bool(getattr(error, "of_all_ranks", False))


def check(reduce: Any, net: Any, is_source: bool) -> None:
    """TypeError or ValueError for what cannot be given to ``fit``."""
    if reduce is None:
        return
    if not isinstance(reduce, Reducer) and not callable(reduce):
        raise TypeError(
            f"reduce must be a function of (flat, rows), or a vg.Reducer, got {_check.quote(reduce)}; for example "
            f"vgfast.mpi.Reducer(comm)"
        )
    if isinstance(reduce, type):
        raise TypeError(f"reduce must be a function or a vg.Reducer, got the class {reduce.__name__}; make one of it")
    if net.has_batch_norm:
        raise ValueError(
            "reduce takes no net with batch norm, whose means and variances would be of each process's rows; use "
            "normalization='layer' or 'rms'"
        )
    if isinstance(reduce, Reducer):
        for name in ("rank", "size"):
            if not hasattr(reduce, name):
                raise TypeError(
                    f"a Reducer must have rank and size, got a {type(reduce).__name__} without {name}; set it"
                )
        _check.flag("sharded of a Reducer", reduce.sharded)
        _check.integer("check_every of a Reducer", reduce.check_every, 0)
        _check.integer("size of a Reducer", reduce.size, 1)
        _check.integer("rank of a Reducer", reduce.rank, 0, reduce.size - 1)
        if reduce.average_every is not None:
            _check.integer("average_every of a Reducer", reduce.average_every, 1)
        if is_source and reduce.average_every is not None:
            raise ValueError(
                "average_every takes rows in memory, got a source of blocks; give each process its rows as arrays, or "
                "a memory map, or leave average_every out"
            )
        if is_source and not reduce.sharded:
            raise ValueError(
                "a Reducer of processes that have the same rows takes rows in memory, got a source of blocks; give "
                "each process a source of its own rows, with sharded=True"
            )


def check_run(reduce: Reducer, x: Any, inspect_every: int, optimizer: Any) -> None:
    """ValueError for what a ``Reducer`` cannot do with other arguments."""
    if reduce.sharded and isinstance(x, SparseRows) and inspect_every:
        raise ValueError("sharded sparse rows are not inspected; give inspect_every=0, or the same X to every process")
    if reduce.average_every is None:
        return
    if inspect_every:
        raise ValueError(
            f"average_every takes no inspect_every, got {inspect_every}: between averages each process has parameters "
            f"of its own; let a callback call net.inspect after an epoch"
        )
    if getattr(optimizer, "penalty", 0) > 0:
        raise ValueError(
            f"average_every takes no optimizer with a penalty, which is divided by the rows of a whole batch, got "
            f"penalty={optimizer.penalty}; use weight_decay"
        )


def count_rows(reduce: Any, n_rows: int) -> int:
    """Of an epoch, where this process has so many."""
    return int(of_each(reduce, n_rows).sum()) if isinstance(reduce, Reducer) and reduce.sharded else n_rows


def of_each(reduce: Reducer, number: float) -> np.ndarray:
    """What each process has for this, float64 (size,)."""
    numbers = np.zeros(reduce.size)
    numbers[reduce.rank] = number
    reduce.add(numbers)
    return numbers


def name_ranks(which: Sequence[int] | np.ndarray, size: int) -> str:
    return f"rank{'s' * (len(which) > 1)} {', '.join(map(str, which))} of {size}"
