"""A run of steps by several processes, each of which has a source of its own rows.

What a process has in memory at a time ends at another row in each. So all gather of how many of the next batches each
has its part, its status, and take the steps of the fewest; then again. Only between such runs of steps can a source
fail: that is then the status of its process, which sends its error to all, and all end with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast.model.errors import DivergenceError
from vgfast.training.block_loop import BlockLoop
from vgfast.training.exchange import ByReducer
from vgfast.training.ranks import Reducer, name_ranks, of_each, raised_by_all
from vgfast.training.reader import Rows, Shape, SourceError
from vgfast.training.shares import share_shards
from vgfast.training.shuffle import own_generator

# The status of a process is for how many of the next steps it has its rows, at least one; or it is one of these.
_FAILED, _ENDS = 0.0, -1.0
_KINDS = {kind.__name__: kind for kind in (TypeError, ValueError, RuntimeError)}


class RanksError(SourceError):
    """One that all processes have."""


class BySources(ByReducer):
    """Sums over processes with sources. ``batches``: of the steps to come whose rows are in memory in all of them; of
    all steps of an epoch, ``all_batches``."""

    def share(self, loop: Any) -> tuple[np.ndarray, np.ndarray]:
        counts = of_each(self.reduce, len(loop.source)).astype(np.int64)
        self.all_batches = share_shards(counts, loop.batch_size, self.reduce.rank)
        self.ends = (self.all_batches["first"] + self.all_batches["rows"]).astype(np.int64)
        self.place_begins, self.in_memory, self.alike = 0, 0, False
        return np.zeros(0, np.int64), self.all_batches

    def restart(self) -> None:
        """An epoch begins."""
        self.steps_before = self.place_begins = 0

    def begin_place(self, rows: int) -> None:
        """So many rows of this process, from the next that it has to take, are in memory."""
        self.place_begins, self.in_memory = self.n_taken, rows

    @property
    def n_taken(self) -> int:
        """Rows that this process has taken in this epoch."""
        return int(self.ends[self.steps_before - 1]) if self.steps_before > 0 else 0

    @property
    def n_ready(self) -> int:
        """Steps for which this process has its rows."""
        last = self.place_begins + self.in_memory
        return int(np.searchsorted(self.ends, last, side="right")) - self.steps_before

    def begin_epoch(self, loop: Any, order: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Of some steps of it: what there is for C to go by."""
        ready = self._gather_status(loop, self.n_ready)
        if self.steps_before == 0:
            self.refuse_unlike(loop, of_each(self.reduce, loop.done + loop.taken))
        if not self.alike:
            self._compare_kinds(loop.shape)
        self.n_whole = loop.done + loop.taken
        steps = slice(self.steps_before, self.steps_before + int(ready.min()))
        self.batches, self.order = self.all_batches[steps].copy(), loop.order
        self.batches["first"] -= self.place_begins
        if loop.sample_weight is not None:
            self.weigh_batches(loop, loop.sample_weight, order)
        return order, self.batches

    def end_steps(self) -> None:
        """Those have been taken."""
        self.steps_before += len(self.batches)

    def end(self, loop: Any) -> None:
        self._gather_status(loop, _ENDS)
        if self.reduce.check_every:
            self.compare(loop)

    def _compare_kinds(self, shape: Shape) -> None:
        """The error of all if the sources are not alike."""
        kinds = of_each(self.reduce, 2 * shape.labelled + shape.weighted)
        other = np.flatnonzero(kinds != kinds[0])
        if len(other) > 0:
            of_first, of_other = (_describe(int(kinds[rank])) for rank in (0, other[0]))
            raise RanksError(
                ValueError,
                f"the sources of all processes must give y and sample_weight alike, got {of_other} in rank "
                f"{other[0]} of {self.reduce.size}, and {of_first} in rank 0; write the blocks of all the same way",
                None,
            )
        self.alike = True

    # ---- a source that fails ----------------------------------------------------------------------------

    def _gather_status(self, loop: Any, own: float) -> np.ndarray:
        """Of each process, where the source of this one has not failed; the error of all if that of another has, or if
        some end before the others."""
        status = of_each(self.reduce, own)
        if (status == _FAILED).any():
            raise self._share_error(status, None)
        self.refuse_unlike(loop, np.minimum(status, 0))
        return status

    def report_failure(self, error: SourceError) -> RanksError:
        """Of the source of this process, to the others, which are in ``_gather_status``; the error of all."""
        return self._share_error(of_each(self.reduce, _FAILED), error)

    def _share_error(self, status: np.ndarray, own: SourceError | None) -> RanksError:
        """That of the first process that has failed, which sends its text to all. own: of this process, if any."""
        rank = int(np.flatnonzero(status == _FAILED)[0])
        sent = own if rank == self.reduce.rank else None
        text = b"" if sent is None else f"{sent.kind.__name__} {sent.text}".encode("utf-8", "replace")
        length = int(of_each(self.reduce, len(text))[rank])
        letters = np.zeros(length, np.int32)
        letters[: len(text)] = np.frombuffer(text, np.uint8)
        self.reduce.add(letters)
        kind, _, got = letters.astype(np.uint8).tobytes().decode().partition(" ")
        cause = None if sent is None else sent.cause
        return RanksError(_KINDS[kind], f"{name_ranks([rank], self.reduce.size)}: {got}", cause)


def _describe(kind: int) -> str:
    return f"{'labels' if kind & 2 else 'values for each output'} {'with' if kind & 1 else 'without'} weights"


class RankLoop(BlockLoop):
    """One call of ``fit`` with a source of this process, of whose rows C takes those that a batch has of them."""

    exchange: BySources

    def exchange_by(self, reduce: Reducer) -> BySources:
        return BySources(reduce, self)

    def begin_epoch(self) -> np.random.Generator | None:
        self.exchange.restart()
        return None if self.rng is None else own_generator(self.rng, self.exchange.reduce.rank)

    def train_on(self, rows: Rows, progress: Any) -> np.ndarray | None:
        """All steps for which these rows are there; the weights of their batches, if they have any."""
        self.x, self.t, self.sample_weight = rows.filled()
        order = self.draw(len(self.x))
        self.order = np.arange(len(self.x)) if order is None else order
        self.run.set_data(self.x, self.t, self.batch_rows, sample_weight=self.sample_weight)
        self.exchange.begin_place(len(self.x))
        weights = []
        while self.exchange.n_ready > 0:
            self.take_steps(order, progress)
            self.exchange.end_steps()
            weights.append(self.exchange.batches["total"])
        n = self.exchange.n_taken - self.exchange.place_begins
        rows.left = slice(n, None) if order is None else order[n:]
        return np.concatenate(weights) if weights and self.shape.weighted else None

    def explain(self, error: SourceError) -> Exception:
        of_all = error if isinstance(error, RanksError) else self.exchange.report_failure(error)
        return raised_by_all(super().explain(of_all))

    def note_weight(self, weights: list[np.ndarray]) -> None:
        try:
            super().note_weight(weights)
        except ValueError as error:
            raise raised_by_all(error) from None

    def divergence(self) -> DivergenceError:
        batch = self.exchange.batches[self.done - self.epoch_begins]
        first, rows = int(batch["first"]), int(batch["rows"])
        return self.diagnose(self.order[max(0, first - self.most_recent) : first + rows])
