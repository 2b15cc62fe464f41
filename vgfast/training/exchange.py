"""What ``fit(reduce=...)`` does with the gradient of a step before its update: it is given to a function; or it is
added up over several processes, each of which takes a part of the rows of every batch."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast.model.errors import DivergenceError
from vgfast.training.ranks import DriftError, Reducer, name_ranks, of_each, raised_by_all
from vgfast.training.shares import share_batches, share_shards


class Exchange(ABC):
    """What a ``Loop``, whose ``fit`` was given ``reduce``, calls, and when. Each method gets the loop.

    In an epoch: ``begin_epoch``; then ``change_gradient`` for each step; then ``sum_steps``. A loop over a source does
    so for each part of an epoch whose rows are in memory. After the last epoch, unless an error has ended training:
    ``end``. Whenever somebody looks at the history: ``steps_shown``. Where a step was not finite, which ends training:
    ``explain``.
    """

    # Whether the gradient of each step is handed over; else ``change_gradient`` is not called.
    by_gradients: bool = True
    # Whether an inspected step is recorded by ``change_gradient``, with ``loop.record_batch``; else C does that.
    whole_records: bool = False
    # Rows of a batch that are taken here, at most; None: all that it has.
    most_rows: int | None = None

    @abstractmethod
    def begin_epoch(self, loop: Any, order: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        """order: of the epoch's rows; None: as they come. What there is for C to go by: the rows to be taken here in
        their order, likewise; and BATCH of each step, None for batches of ``loop.batch_size`` rows."""

    @abstractmethod
    def change_gradient(self, loop: Any, flat: np.ndarray) -> None:
        """Of step ``loop.done``, before its update: flat (n_params,), in its place."""

    @abstractmethod
    def sum_steps(self, loop: Any) -> None:
        """Make losses and accuracies of the epoch, as far as it has come, those of whole batches. Also before a
        ``Checkpoint`` writes them within an epoch."""

    @abstractmethod
    def steps_shown(self, loop: Any) -> int:
        """Of how many steps the losses are of whole batches, for the history, while it is being made."""

    @abstractmethod
    def end(self, loop: Any) -> None:
        """Compare what must be the same in all processes."""

    @abstractmethod
    def explain(self, loop: Any, flat: np.ndarray) -> DivergenceError | None:
        """The error of step ``loop.done``, whose gradient was flat; None if the loop's own says all."""


class ByFunction(Exchange):
    """f(flat, rows) changes the gradient (n_params,) of the mean loss of rows that weigh so much."""

    def __init__(self, reduce: Callable[[np.ndarray, float], Any]) -> None:
        self.reduce = reduce

    def begin_epoch(self, loop: Any, order: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        self.order = order
        return order, None

    def change_gradient(self, loop: Any, flat: np.ndarray) -> None:
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
        """They are those of the rows here."""

    def steps_shown(self, loop: Any) -> int:
        return int(loop.done)

    def end(self, loop: Any) -> None:
        """There is nothing to compare."""

    def explain(self, loop: Any, flat: np.ndarray) -> DivergenceError | None:
        """The error of a gradient that is not finite, where the one before it was; None where it was not either."""
        if np.isfinite(flat).all() or not _is_finite(loop, self._rows(loop)):
            return None
        return DivergenceError(
            f"reduce left a gradient of step {loop.done} that is not finite, and was given one that is; look at what "
            f"it adds up and divides by; the net is as of that many steps",
            loop.done,
        )


class ByReducer(Exchange):
    """Sums over processes. C knows the total weight of a batch, so that what it makes of the rows here, losses and
    gradient, is a part of the whole batch's."""

    def __init__(self, reduce: Reducer, loop: Any) -> None:
        self.reduce = reduce
        self.whole_records = reduce.size > 1
        self.places, self.batches = self.share(loop)
        self.starts = np.arange(0, loop.n_rows, loop.batch_size)
        self.most_rows = max(1, int(self.batches["rows"].max()))
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
            self.weigh_batches(loop, loop.sample_weight, order)
        return self.order, self.batches

    def weigh_batches(self, loop: Any, sample_weight: np.ndarray, order: np.ndarray | None) -> None:
        """Note what each weighs; and all rows together, unless they are here, as one sum for all epochs has the same
        bits."""
        if self.reduce.sharded:
            total = self.weigh_rows_here(sample_weight)
            self.reduce.add(total)
            loop.weight = float(total.sum())
        else:
            total = np.add.reduceat(sample_weight if order is None else sample_weight[order], self.starts)
        self.batches["total"] = total

    def weigh_rows_here(self, sample_weight: np.ndarray) -> np.ndarray:
        """What the rows here of each batch weigh, float64 (steps,)."""
        total, here = np.zeros(len(self.batches)), self.batches["rows"] > 0
        if here.any():
            starts, last = self.batches["first"][here].astype(np.int64), self.batches[here][-1]
            end = int(last["first"] + last["rows"])
            total[here] = np.add.reduceat(sample_weight[self.order[:end]], starts)
        return total

    def change_gradient(self, loop: Any, flat: np.ndarray) -> None:
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
        for part in loop.of_steps(self.n_whole)[:2]:
            self.reduce.add(part)
        self.n_whole = loop.done

    def steps_shown(self, loop: Any) -> int:
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
        error = raised_by_all(self._explained(loop, flat))
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


def _is_finite(loop: Any, rows: Any) -> bool:
    """Whether the gradient of these rows is."""
    x, t = loop.x[rows], loop.t[rows]
    weights = None if loop.sample_weight is None else loop.sample_weight[rows]
    return len(x) == 0 or loop.learner.engine.backward(x, t, weights) is not None
