"""Training steps, timed layer by layer and phase by phase, on a copy of a net's parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vgfast import _core, config
from vgfast.cost.limits import exchange
from vgfast.cost.rounds import Measured, take_turns
from vgfast.model.architecture import Architecture
from vgfast.model.engine import Settings
from vgfast.model.engine_c import CEngine
from vgfast.model.losses import LOSSES
from vgfast.training.shuffle import Shuffle

ROUNDS, ROUNDS_LEAST = 9, 3
SECONDS = 0.02  # of steps in a round; one at the least
_TOTAL = 6.0  # all rounds together, about, where steps are long
# Batches that are taken in turn, so that each has to be fetched, as in training: so many, of so many bytes at the most.
_BATCHES, _DATA = 64, 64 << 20
_SEED = 0


class Times(NamedTuple):
    """Seconds of a step: without timers, with them, with a gradient that goes by way of memory, where it could be
    exchanged, and of each (layer, phase); threads that took part; and of as many, in the same rounds, the peaks of
    multiply-adds and of products, in operations a second, and the bytes a second that they exchange."""

    step: Measured
    timed: Measured
    in_memory: Measured
    phases: dict[tuple[int, str], Measured]
    threads: int
    peak: Measured
    product: Measured
    exchange: Measured


def batch_bytes(net: Architecture, batch_size: int) -> int:
    """Of the rows of a batch, what they should come to, and their order."""
    item = net.dtype.itemsize
    target = 4 if LOSSES[net.loss].takes_labels else item * net.sizes[-1]
    return batch_size * (item * net.sizes[0] + target + 8)


def n_batches(of_one: int) -> int:
    """How many batches of so many bytes are taken in turn."""
    return max(2, min(_BATCHES, _DATA // of_one))


def memory(net: Architecture, batch_size: int, rows: int) -> int:
    """Bytes that ``time_steps`` takes, about, for each of two runs: data, two copies of the parameters, and, by whole
    cache lines, outputs, derivatives and deltas of so many rows at a time."""
    data = batch_bytes(net, batch_size)
    columns = sum(-(-n // 16) * 16 for n in net.sizes)
    return 2 * (n_batches(data) * data + net.dtype.itemsize * (2 * net.n_params + 3 * rows * columns))


class _Steps:
    """A run over random rows whose lr is 0: the work of training, for as long as it is asked for."""

    def __init__(self, engine: CEngine, batch_size: int, exchanges: bool = False) -> None:
        """exchanges: whether each step gives its gradient away, and takes it back as it was."""
        self.rng = np.random.default_rng(_SEED)
        net = engine.architecture
        self.engine, self.n = engine, n_batches(batch_bytes(net, batch_size))
        self.rows, n_out = self.n * batch_size, net.sizes[-1]
        x = self.rng.random((self.rows, net.sizes[0]), net.dtype.type)
        if LOSSES[net.loss].takes_labels:
            y = self.rng.integers(0, n_out, self.rows, np.int32)
        else:
            y = self.rng.random((self.rows, n_out), net.dtype.type)
        self.workspace = engine.make_workspace(batch_size, in_parts=True)
        vector = _core.aligned(engine.vector.size, net.dtype)
        vector[...] = engine.vector
        self.run = _core.Run(self.workspace, _core.TRAIN, vector)
        self.run.set_optimizer(*Settings("sgd", lr=0.0))
        self.run.set_data(x, y, batch_size)
        if exchanges:
            self.run.set_exchange(engine.make_vector())
        self.shuffle = Shuffle(self.rng, self.rows)
        self._begin()

    def _begin(self) -> float:
        """A new epoch; the seconds that it took to draw its order, which is no part of a step."""
        start = time.perf_counter()
        self.run.set_results(np.empty(self.n), np.empty(self.n), 0)
        self.run.begin_epoch(self.shuffle.draw())
        return time.perf_counter() - start

    def take(self, seconds: float) -> tuple[float, int]:
        """Steps for about so long: the seconds of one, and how many there were."""
        start, drawing, steps = time.perf_counter(), 0.0, 0
        while steps == 0 or time.perf_counter() - start - drawing < seconds:
            first = self.run.step
            status = self.run.go(seconds)
            steps += self.run.step - first
            if status == _core.NEEDS_GRADIENT:
                self.run.set_gradient(_core.aligned(self.engine.params.size, self.engine.params.dtype))
            elif status == _core.NON_FINITE:
                raise ValueError(
                    "cost cannot measure this net, whose step on random rows from 0 to 1 is not finite; start from "
                    "smaller weights"
                )
            elif status == _core.DONE:
                drawing += self._begin()
        return (time.perf_counter() - start - drawing) / steps, steps


class _Turns:
    """What takes turns: steps without timers, steps with them, and what as many threads do at best."""

    def __init__(self, steps: _Steps, exchanging: _Steps, n_layers: int) -> None:
        self.steps, self.exchanging = steps, exchanging
        self.shape = (steps.workspace.n_threads, n_layers + 1, len(_core.PHASES))
        self.n_threads = steps.workspace.n_threads
        self.dtype = steps.engine.params.dtype

    def plain(self) -> float:
        """Seconds of a step."""
        self.steps.run.set_times(None)
        return self.steps.take(SECONDS)[0]

    def in_memory(self) -> float:
        """The same of one whose gradient could be exchanged."""
        return self.exchanging.take(SECONDS)[0]

    def timed(self) -> tuple[float, np.ndarray, int]:
        """Seconds of a step, ticks (threads, layers + 1, phases) of all, and how many there were."""
        spent = np.zeros(self.shape)
        self.steps.run.set_times(spent)
        seconds, n = self.steps.take(SECONDS)
        self.n_threads = _threads(spent)
        return seconds, spent, n

    def rates(self) -> tuple[float, float, float]:
        """The peaks of multiply-adds and products, and the bytes a second that are exchanged."""
        busy = min(self.n_threads, config.n_processors())
        return abs(_core.fma_peak(busy, self.dtype)), abs(_core.product_peak(busy, self.dtype)), abs(exchange(busy))


def time_steps(engine: CEngine, batch_size: int) -> Times:
    """Steps with and without timers and the peaks in turn. ValueError if the net's step is not finite."""
    net, steps = engine.architecture, _Steps(engine, batch_size)
    once, _ = steps.take(SECONDS)  # memory is touched, and the number of threads found
    rounds = max(ROUNDS_LEAST, min(ROUNDS, int(_TOTAL / (3 * max(once, SECONDS)))))
    exchanging = _Steps(engine, batch_size, exchanges=True)
    exchanging.take(SECONDS)
    turns = _Turns(steps, exchanging, net.n_layers)
    first_tick, first_second = _core.ticks(), time.perf_counter()
    entrants: dict[str, Callable[[], Any]] = {"plain": turns.plain, "in memory": turns.in_memory}
    entrants |= {"timed": turns.timed, "rates": turns.rates}
    *_, values = take_turns(entrants, rounds)
    rate = (_core.ticks() - first_tick) / (time.perf_counter() - first_second)
    timed, spent, counts = zip(*values["timed"], strict=True)
    each = np.array([of.sum(axis=0) for of in spent]) / (rate * np.array(counts)[:, None, None])
    phases = {
        (l, phase): Measured.from_rounds(each[:, l, i])
        for l in range(len(net.sizes))
        for i, phase in enumerate(_core.PHASES)
    }
    rates = map(Measured.from_rounds, zip(*values["rates"], strict=True))
    plain, with_timers, in_memory = map(Measured.from_rounds, (values["plain"], timed, values["in memory"]))
    return Times(plain, with_timers, in_memory, phases, _threads(np.sum(spent, axis=0)), *rates)


def _threads(spent: np.ndarray) -> int:
    """How many took part in steps: each of n counts 1/n of its time."""
    return round(spent.sum() / spent[0].sum())
