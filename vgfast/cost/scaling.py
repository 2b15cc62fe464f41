"""What a training step takes on several machines, computed from a step of one: it was run on one machine only.

Training is data-parallel. Each of p workers is a machine like this one and takes ``batch_size`` rows of its own forward
and back; then all take the same update by the mean of their gradients, and a step is of p x batch_size rows. The
workers exchange when they have computed, and not meanwhile: n_params numbers of the net's dtype are added up over them,
by Rabenseifner's all-reduce, which is a reduce-scatter and an all-gather, in

    exchange(p) = 2 (p - 1)/p bytes / bandwidth + 2 ceil(log2 p) latency

These are the costs for powers of two in Thakur, Rabenseifner and Gropp, "Optimization of collective communication
operations in MPICH" (2005), without the additions; other numbers of workers take a little more. So does a network on
which the messages of many workers meet; and ``vgfast.mpi`` adds up losses and accuracies once an epoch. None of that is
counted. A worker alone makes its gradient in registers and updates at once; where the gradient is exchanged, it has to
be in memory, and a step takes M instead of T(1), which is measured where T(1) is. Then

    T(p) = M (1 + jitter sqrt(2 ln p)) + exchange(p),        efficiency(p) = T(1) / T(p),

as each worker takes as many rows in T(p) as alone in T(1). All wait for the slowest: with times of a step that are
normal with the relative standard deviation ``jitter``, the slowest of p is expected to take jitter sqrt(2 ln p) longer
at most (Boucheron, Lugosi and Massart, "Concentration inequalities", 2013, theorem 2.5).

More rows a worker exchange as much. If T(1) and M are in proportion to the rows, which few rows fall short of, then

    rows(e) = batch_size exchange(p) / (T(1) / e - M (1 + jitter sqrt(2 ln p)))

of them have the efficiency e; where waiting and memory alone take more, no number has.

What a larger batch is worth is another matter. A batch as large as the gradient noise scale takes twice the steps of
the largest batches, and twice the rows of the smallest (McCandlish and others, "An empirical model of large-batch
training", 2018): beyond it, machines save little time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vgfast.cost.networks import Network

# Times of a step that are simulated at once.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Worker:
    """One alone: the net, its threads, and the seconds of its step, ``measured`` or else predicted; and of one whose
    gradient is in memory, if that was measured."""

    sizes: tuple[int, ...]
    dtype: str
    n_params: int
    threads: int
    batch_size: int
    seconds: float
    measured: bool
    in_memory: float | None = None

    @property
    def bytes(self) -> int:
        """Of the gradient."""
        return self.n_params * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class ScalingRow:
    """A step with so many workers, in seconds: ``compute``, of each; ``waiting`` for the slowest; and ``exchange``.
    ``alone``: a step of one worker without others. ``rows``: of all workers. ``rows_for_half`` and
    ``rows_for_nine_tenths``: rows a worker from which on the efficiency is 0.5 and 0.9; None where it never is."""

    workers: int
    rows: int
    alone: float
    compute: float
    waiting: float
    exchange: float
    rows_for_half: int | None
    rows_for_nine_tenths: int | None

    @property
    def step(self) -> float:
        return self.compute + self.waiting + self.exchange

    @property
    def efficiency(self) -> float:
        """Rows a second and worker, over those of one worker alone."""
        return self.alone / self.step

    @property
    def speedup(self) -> float:
        """Rows a second of all workers, over those of one alone."""
        return self.workers * self.efficiency

    @property
    def share_of_exchange(self) -> float:
        """Of the step."""
        return self.exchange / self.step

    def to_dict(self) -> dict[str, Any]:
        names = ("step", "efficiency", "speedup", "share_of_exchange")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def scale_step(worker: Worker, workers: int, network: Network, jitter: float = 0.0) -> ScalingRow:
    """The step of so many like this one.

    >>> from vgfast.cost.networks import NETWORKS
    >>> worker = Worker((784, 256, 128, 10), "float32", 235_146, 2, 128, 860e-6, True)
    >>> [round(scale_step(worker, p, NETWORKS["10GbE"]).efficiency, 2) for p in (1, 2, 1024)]
    [1.0, 0.5, 0.29]
    """
    alone, batch_size = worker.seconds, worker.batch_size
    seconds = alone if workers == 1 or worker.in_memory is None else worker.in_memory
    rounds = (workers - 1).bit_length()  # ceil(log2 workers)
    exchange = 2 * (workers - 1) / workers * worker.bytes / network.bandwidth + 2 * rounds * network.latency
    late = jitter * math.sqrt(2 * math.log(workers))

    def rows_for(efficiency: float) -> int | None:
        room = alone / efficiency - seconds * (1 + late)
        return max(1, math.ceil(batch_size * exchange / room)) if room > 0 else None

    enough = rows_for(0.5), rows_for(0.9)
    return ScalingRow(workers, workers * batch_size, alone, seconds, seconds * late, exchange, *enough)


def simulate_step(row: ScalingRow, jitter: float, steps: int, rng: np.random.Generator) -> float:
    """The mean seconds of so many steps, whose workers each compute for a normal time with this jitter, or for 0 where
    that would be less.

    >>> worker = Worker((8, 4), "float32", 36, 1, 10, 1e-3, True)
    >>> round(simulate_step(scale_step(worker, 1, Network("", 1e9, 1e-6, "")), 0.0, 100, np.random.default_rng(0)), 9)
    0.001
    """
    slowest = np.zeros(steps)  # in times of a step alone
    at_once = max(1, _AT_ONCE // steps)
    for first in range(0, row.workers, at_once):
        times = 1 + jitter * rng.standard_normal((steps, min(at_once, row.workers - first)))
        np.maximum(slowest, times.max(axis=1), out=slowest)
    return row.compute * float(slowest.mean()) + row.exchange
