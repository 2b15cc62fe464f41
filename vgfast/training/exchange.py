"""What ``fit(reduce=...)`` does with the gradient of a step before its update: it is given to a function; or it is
added up over several processes, each of which takes a part of the rows of every batch."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vgfast import _check
from vgfast._check import SparseRows
from vgfast.model.errors import DivergenceError
from vgfast.training.shares import share_batches, share_shards


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


def count_rows(reduce: Any, n_rows: int) -> int:
    """Of an epoch, where this process has so many."""
    return int(of_each(reduce, n_rows).sum()) if isinstance(reduce, Reducer) and reduce.sharded else n_rows


def of_each(reduce: Reducer, number: float) -> np.ndarray:
    """What each process has for this, float64 (size,)."""
    numbers = np.zeros(reduce.size)
    numbers[reduce.rank] = number
    reduce.add(numbers)
    return numbers


class ByFunction:
    """f(flat, rows) changes the gradient (n_params,) of the mean loss of rows that weigh so much."""

    whole_records, by_gradients = False, True

    def __init__(self, reduce: Callable[[np.ndarray, float], Any]) -> None:
        self.reduce = reduce

    def begin_epoch(self, loop: Any, order: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What there is for C to go by."""
        self.order = order
        return order, None

    def exchange(self, loop: Any, flat: np.ndarray) -> None:
        rows = self._rows(loop)
        weight: float = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        if loop.sample_weight is not None:
            weight = float(loop.sample_weight[rows].sum())
        got = self.reduce(flat, weight)
        if got is not None and got is not flat:
            shape = f" of shape {got.shape}" if isinstance(got, np.ndarray) else ""
            raise ValueError(
                f"reduce must change flat {flat.shape} in its place and return nothing, got {type(got).__name__}"
                f"{shape}; write flat[...] = that"
            )

    def _rows(self, loop: Any) -> Any:
        """Of the batch in work."""
        rows = loop.rows_of_batch()
        return rows if self.order is None else self.order[rows]

    def sum_steps(self, loop: Any) -> None:
        """Losses and accuracies are those of the rows here."""

    def steps_shown(self, loop: Any) -> int:
        """By the history, while it is being made."""
        return int(loop.done)

    def end(self, loop: Any) -> None:
        """After the last epoch."""

    def explain(self, loop: Any, flat: np.ndarray) -> DivergenceError | None:
        """The error of a gradient that is not finite, where the one before it was; None where it was not either."""
        if np.isfinite(flat).all() or not _is_finite(loop, self._rows(loop)):
            return None
        return DivergenceError(
            f"reduce left a gradient of step {loop.done} that is not finite, and was given one that is; look at what "
            f"it adds up and divides by; the net is as of that many steps",
            loop.done,
        )


class ByReducer:
    """Sums over processes. C knows the total weight of a batch, so that what it makes of the rows here, losses and
    gradient, is a part of the whole batch's."""

    by_gradients = True  # whether C gives away that of each step

    def __init__(self, reduce: Reducer, loop: Any) -> None:
        self.reduce = reduce
        self.whole_records = reduce.size > 1
        self.places, self.batches = self.share(loop)
        self.starts = np.arange(0, loop.n_rows, loop.batch_size)
        self.most = max(1, int(self.batches["rows"].max()))  # rows of a batch, here
        self.n_whole = 0  # steps whose losses are of whole batches
        self.steps_before = 0  # of the epoch, where its batches are not all at hand

    def share(self, loop: Any) -> tuple[np.ndarray, np.ndarray]:
        """(places in the order of an epoch that are taken here, BATCH of each step)."""
        n, reduce = len(loop.x), self.reduce
        if not reduce.sharded:
            return share_batches(n, loop.batch_size, reduce.rank, reduce.size)
        counts = of_each(reduce, n).astype(np.int64)
        return np.arange(n), share_shards(counts, loop.batch_size, reduce.rank)

    def begin_epoch(self, loop: Any, order: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        self._agree(loop, False)
        self.n_whole = loop.done + loop.taken
        self.whole = order  # of rows which all processes have
        self.order = self.places if order is None else order[self.places]
        if loop.sample_weight is not None:
            self.weigh(loop, loop.sample_weight, order)
        return self.order, self.batches

    def weigh(self, loop: Any, sample_weight: np.ndarray, order: np.ndarray | None) -> None:
        """The batches; and all rows together, unless they are here, as one sum for all epochs has the same bits."""
        if self.reduce.sharded:
            total = self.weigh_here(sample_weight)
            self.reduce.add(total)
            loop.weight = float(total.sum())
        else:
            total = np.add.reduceat(sample_weight if order is None else sample_weight[order], self.starts)
        self.batches["total"] = total

    def weigh_here(self, sample_weight: np.ndarray) -> np.ndarray:
        """The weight of the rows here of each batch."""
        total, here = np.zeros(len(self.batches)), self.batches["rows"] > 0
        if here.any():
            starts, last = self.batches["first"][here].astype(np.int64), self.batches[here][-1]
            end = int(last["first"] + last["rows"])
            total[here] = np.add.reduceat(sample_weight[self.order[:end]], starts)
        return total

    def exchange(self, loop: Any, flat: np.ndarray) -> None:
        if self.reduce.check_every and loop.done % self.reduce.check_every == 0:
            self.compare(loop)
        self.reduce.add(flat)
        if self.whole_records and loop.inspect_every and loop.done % loop.inspect_every == 0:
            self._record(loop)

    def compare(self, loop: Any) -> None:
        """RuntimeError if not all processes have the parameters that most of them have."""
        digests = of_each(self.reduce, zlib.crc32(loop.learner.engine.vector.data))
        values, counts = np.unique(digests, return_counts=True)
        if len(values) == 1:
            return
        other = np.flatnonzero(digests != values[np.argmax(counts)])
        raise DriftError(
            f"the parameters of {name_ranks(other, self.reduce.size)} are not those of the others before step "
            f"{loop.done}; let every process begin with the same net, and change it by nothing but its steps"
        )

    def _record(self, loop: Any) -> None:
        """The step that is about to be taken, by all rows of its batch."""
        loop.record_batch(*self._gather(loop, loop.done - loop.epoch_begins))

    def _gather(self, loop: Any, step: int) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """All rows of a batch, in their order."""
        if not self.reduce.sharded:
            first = step * loop.batch_size
            rows: Any = slice(first, min(first + loop.batch_size, loop.n_rows))
            rows = rows if self.whole is None else self.whole[rows]
            return loop.x[rows], loop.t[rows], None if loop.sample_weight is None else loop.sample_weight[rows]
        first, here, offset = (int(self.batches[step][name]) for name in ("first", "rows", "offset"))
        n = min(loop.batch_size, loop.n_rows - (self.steps_before + step) * loop.batch_size)

        def gathered(array: Any) -> np.ndarray:
            all_rows = np.zeros((n, *array.shape[1:]), array.dtype)
            all_rows[offset : offset + here] = array[self.order[first : first + here]]
            self.reduce.add(all_rows)
            return all_rows

        weights = None if loop.sample_weight is None else gathered(loop.sample_weight)
        return gathered(loop.x), gathered(loop.t), weights

    def sum_steps(self, loop: Any) -> None:
        """Losses and accuracies of the epoch, as far as it has come, become those of whole batches."""
        for part in loop.of_steps(self.n_whole)[:2]:
            self.reduce.add(part)
        self.n_whole = loop.done

    def steps_shown(self, loop: Any) -> int:
        """Whose losses are of whole batches."""
        return loop.done if self.reduce.size == 1 else max(self.n_whole, loop.epoch_begins)

    def end(self, loop: Any) -> None:
        self._agree(loop, True)
        if self.reduce.check_every:
            self.compare(loop)

    def _agree(self, loop: Any, ends: bool) -> None:
        """RuntimeError if some processes end training now and others begin an epoch, for which they would wait, or
        begin at another step."""
        self.refuse_unlike(loop, of_each(self.reduce, -1 if ends else loop.done + loop.taken))

    def refuse_unlike(self, loop: Any, begin: np.ndarray) -> None:
        """RuntimeError if not all processes begin an epoch at the same step, or end: -1."""
        which = np.flatnonzero(begin < 0)
        if 0 < len(which) < self.reduce.size:
            raise DriftError(
                f"training ends after {loop.noted} epochs in {name_ranks(which, self.reduce.size)}, and not in the "
                f"others; let callbacks give the same answers in every process"
            )
        other = np.flatnonzero(begin != begin[0])
        if len(other) > 0:
            raise DriftError(
                f"{name_ranks(other, self.reduce.size)} begins an epoch at step {begin[other[0]]:.0f}, and rank 0 at "
                f"{begin[0]:.0f}; let all go on from one checkpoint, as vgfast.mpi.fit does"
            )

    def explain(self, loop: Any, flat: np.ndarray) -> DivergenceError | None:
        """The error that names the processes in which it began; or, if all gradients were finite, one by the rows here.
        None if all rows are here."""
        if self.reduce.size == 1:
            return None
        error = self._explained(loop, flat)
        error.of_all_ranks = True  # type: ignore[attr-defined]
        self.sum_steps(loop)
        return error

    def _explained(self, loop: Any, flat: np.ndarray) -> DivergenceError:
        batch = self.batches[loop.done - loop.epoch_begins]
        here = self.order[int(batch["first"]) : int(batch["first"] + batch["rows"])]
        bad = (
            np.zeros(0) if np.isfinite(flat).all() else np.flatnonzero(of_each(self.reduce, not _is_finite(loop, here)))
        )
        if len(bad) == 0:
            return loop.diagnose(here if len(here) > 0 else self.order[:1])
        return DivergenceError(
            f"training diverged at step {loop.done}: the loss or gradient of {name_ranks(bad, self.reduce.size)} was "
            f"not finite; lower lr, or look at the rows there; the net is as of that many steps in every process",
            loop.done,
        )


def name_ranks(which: Sequence[int] | np.ndarray, size: int) -> str:
    return f"rank{'s' * (len(which) > 1)} {', '.join(map(str, which))} of {size}"


def _is_finite(loop: Any, rows: Any) -> bool:
    """Whether the gradient of these rows is."""
    x, t = loop.x[rows], loop.t[rows]
    weights = None if loop.sample_weight is None else loop.sample_weight[rows]
    return len(x) == 0 or loop.learner.engine.backward(x, t, weights) is not None


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
