"""Local SGD: processes that take steps of their own, and now and then the average of their parameters. For networks on
which an exchange of each step's gradient takes longer than the step."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast.model.errors import DivergenceError
from vgfast.training import place
from vgfast.training.exchange import ByFunction, ByReducer, Exchange
from vgfast.training.ranks import Reducer, check_run, name_ranks, of_each, raised_by_all


class ByAveraging(ByReducer):
    """Each process takes its part of every batch for a batch, and by itself the step to which that leads; after each
    ``average_every`` steps, and after each epoch, all go on with the average of their parameters, to which each
    contributes by the weight of the rows that it has taken since the last one. What optimizers keep stays with each.

    S. U. Stich, Local SGD converges fast and communicates little, ICLR 2019; the weights are those of H. B. McMahan and
    others, Communication-efficient learning of deep networks from decentralized data, AISTATS 2017."""

    by_gradients = False

    def __init__(self, reduce: Reducer, loop: Any) -> None:
        super().__init__(reduce, loop)
        self.whole_records = False
        self.own = self.batches.copy()  # as C is to take them: the total is that of the rows here
        self.averaged = 0  # steps before the last average
        loop.pauses.append((reduce.average_every, self.average))

    def begin_epoch(self, loop: Any, order: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        order, _ = super().begin_epoch(loop, order)
        self.averaged = loop.done + loop.taken
        if self.reduce.check_every:  # now that all should have the same, as they do not between averages
            self.compare(loop)
        weights = loop.sample_weight
        self.own["total"] = self.own["rows"] if weights is None else self.weigh_rows_here(weights)
        return order, self.own

    def average(self, loop: Any, failed: bool = False) -> None:
        """Take that of all processes. failed: whether this one cannot take its next step; ``DivergenceError`` in all if
        that is so in any."""
        size, vector = self.reduce.size, loop.learner.engine.vector
        n = len(vector)
        both = np.zeros(n + 1 + size, vector.dtype)
        share = self._share(loop)
        np.multiply(vector, share, out=both[:n])
        both[n], both[n + 1 + self.reduce.rank] = share, failed
        self.reduce.add(both)
        both[:n] /= both[n]
        loop.learner.lock.change(lambda: np.copyto(vector, both[:n]))
        which = np.flatnonzero(both[n + 1 :])
        if len(which) > 0:
            raise self._diverged(loop, which)
        self.averaged = loop.done

    def _share(self, loop: Any) -> Any:
        """Of this process in the average, in the dtype of parameters: a whole number of parts that are so small, and so
        large, that the sum of all shares is exact. For else each average would be off by the same factor."""
        steps = place.steps_of_epoch(loop, self.averaged, loop.done)
        here, whole = (float(batches["total"][steps].sum()) for batches in (self.own, self.batches))
        share = here / whole if whole > 0 else 1 / self.reduce.size
        dtype = loop.learner.engine.vector.dtype
        parts = 2.0 ** (np.finfo(dtype).nmant - 1)
        return dtype.type(np.rint(share * parts) / parts)

    def sum_steps(self, loop: Any) -> None:
        """Each process then has the same parameters, too."""
        if self.averaged < loop.done:
            self.average(loop)
        self._sum(loop, loop.done)

    def _sum(self, loop: Any, until: int) -> None:
        """Losses and accuracies before this step."""
        n, steps = until - self.n_whole, place.steps_of_epoch(loop, self.n_whole, until)
        whole = np.where(self.batches["total"][steps] > 0, self.batches["total"][steps], 1.0)
        losses, correct, totals = loop.of_steps(self.n_whole)
        losses[:n] *= self.own["total"][steps] / whole
        for part in (losses, correct):
            self.reduce.add(part[:n])
        if totals is not None:
            totals[:n] = whole
        self.n_whole = until

    def explain(self, loop: Any, flat: np.ndarray) -> DivergenceError | None:
        """Raised is the error that names the processes which cannot go on, as it is in all others where they next meet.
        None if all rows are here."""
        if self.reduce.size > 1:
            self.average(loop, failed=True)
        return None

    def _diverged(self, loop: Any, which: np.ndarray) -> DivergenceError:
        """In these processes."""
        done = of_each(self.reduce, loop.done).astype(int)
        self._sum(loop, int(done.min()))
        step = int(done[which].min())
        return raised_by_all(
            DivergenceError(
                f"training diverged at step {step}: the loss, gradient or new parameters of "
                f"{name_ranks(which, self.reduce.size)} were not finite; lower lr, or look at the rows there; the net "
                f"is the average of what all had",
                step,
            )
        )


def make_exchange(reduce: Any, loop: Any) -> Exchange:
    """What the loop goes by, whose x are sharded or not."""
    if not isinstance(reduce, Reducer):
        return ByFunction(reduce)
    check_run(reduce, loop.x, loop.inspect_every, loop.optimizer)
    return ByReducer(reduce, loop) if reduce.average_every is None else ByAveraging(reduce, loop)
