"""Threads that are simulated: they train a net one at a time, each from one barrier to the next, on one processor.

What counts is the processor time of each turn, so that other processes hardly disturb it. All threads use the caches of
that one processor, which each would have for itself: so a simulated thread finds less of its own in them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from vgfast import _core, config
from vgfast.mlp import MLP
from vgfast.training.optimizers import Optimizer
from vgfast.training.settings import read_settings

# Steps that last about so long are taken at once, at most all of an epoch; and so many times at least.
_AT_ONCE, _TIMES_LEAST = 0.01, 3


class SimulatedTeam:
    """So many threads that train ``net`` on the rows of X, y, batch by batch."""

    def __init__(
        self,
        net: MLP,
        X: np.ndarray,
        y: np.ndarray,
        batch: int,
        optimizer: Optimizer,
        threads: int,
        rng: np.random.Generator,
    ) -> None:
        core = net._engine.core
        workspace = _core.Workspace(core, batch, threads, core.part_of_batch(batch, threads), config.free_memory)
        self.threads, self.batch, self.rng = threads, batch, rng
        self.X, self.y, self.first = X, y.astype(np.int32), 0  # the next row
        self.run = net._engine.make_run(self.X, self.y, batch, workspace, _core.TrainingLock())
        self.run.set_optimizer(*read_settings(optimizer, X.dtype))
        self.turns = np.zeros(1)

    def time_stages(self, seconds: float) -> np.ndarray:
        """Median seconds (stages, threads) of each stage of a step for each thread, in about so much time; one stage if
        the thread is alone."""
        with on_one_processor():
            self.take_steps(1)
            step = self.take_steps(1).sum()
            at_once = max(1, min(len(self.X) // self.batch, round(_AT_ONCE / step)))
            times: list[np.ndarray] = []
            end = time.perf_counter() + seconds
            while len(times) < _TIMES_LEAST or time.perf_counter() < end:
                times.append(self.take_steps(at_once))
        return np.median(np.concatenate(times), axis=0)

    def take_steps(self, n: int) -> np.ndarray:
        """Seconds (steps, stages, threads) of the next so many; (1, 1, 1), their mean, if the thread is alone."""
        n_rows = n * self.batch
        if self.first + n_rows > len(self.X):
            self.first = 0
        rows = slice(self.first, self.first + n_rows)
        self.first = rows.stop
        self.run.set_data(self.X[rows], self.y[rows], self.batch)
        self.run.set_results(np.zeros(n), np.zeros(n), 0)
        self.run.begin_epoch(self.rng.permutation(n_rows))
        n_turns = self.run.simulate(self.turns)
        if n_turns == 0:
            raise RuntimeError(f"{self.threads} threads could not be started")
        if n_turns > len(self.turns):
            self.turns = np.zeros(n_turns)  # there is room the next time
            return self.take_steps(n)
        if self.threads == 1:
            return self.turns[:1].reshape(1, 1, 1) / n
        stages = (n_turns // self.threads - 1) // n  # a last turn of each ends the run
        return self.turns[: n * stages * self.threads].reshape(n, stages, self.threads).copy()


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Within it, all threads of this process, and those that it starts meanwhile, run on one processor, where the
    system lets them be placed."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    _place_threads({max(before)})
    try:
        yield
    finally:
        _place_threads(before)


def _place_threads(processors: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), processors)
