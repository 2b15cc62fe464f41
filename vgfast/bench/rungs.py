"""The rungs of ``vgfast ladder``: one training step, from loops in Python to all that the core can do.

Each is a competitor as those of ``vgfast bench`` are, in a process of its own, and takes the same steps from the same
weights.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vgfast import _core, reference
from vgfast.bench import loops
from vgfast.bench.competitors import Competitor, Textbook, VGFast
from vgfast.bench.problems import LR
from vgfast.training.fit import Loop
from vgfast.training.optimizers import SGD
from vgfast.training.stepper import Stepper

ROUNDS = 15


class Rung(Competitor):
    """A competitor that is also asked whether it ``agrees``, and for the seconds of a step in ``rounds``.

    ``name``, ``what``: for readers; ``file``: where it can be read; ``flop``: about what one takes, in seconds, on nets
    of middle size; ``isa``: what it needs, None for any; ``threads``: whether it may have more than one.
    """

    name: str
    what: str
    file: str
    flop: float
    isa: str | None = None
    threads = False

    def agrees(self) -> dict[str, float]:
        """How far the weights are off after an epoch, of the layer that is most: relative to them, and to what the
        epoch changed in them; and the seconds of a step."""
        self.rewind()
        start = time.perf_counter()
        self.train(1)
        seconds = (time.perf_counter() - start) / self.problem.steps
        textbook = Textbook(self.problem)
        textbook.rewind()
        textbook.train(1)
        ours, exact = self.layers(), textbook.layers()
        first = zip(self.first.weights, self.first.biases, strict=True)
        off, off_change = np.transpose([_off(*layer) for layer in zip(ours, exact, first, strict=True)])
        return {"off": float(off.max()), "off_change": float(off_change.max()), "seconds": seconds}

    def rounds(self, seconds: float) -> dict[str, list[float]]:
        """Of whole epochs, each round of about so long."""
        return {"rounds": [self._round(seconds) for _ in range(ROUNDS)]}

    def _round(self, seconds: float) -> float:
        self.rewind()
        start, epochs = time.perf_counter(), 0
        while epochs == 0 or time.perf_counter() - start < seconds:
            self.train(1)
            epochs += 1
        return (time.perf_counter() - start) / (epochs * self.problem.steps)


def _off(ours: tuple[Any, Any], exact: tuple[Any, Any], first: tuple[Any, Any]) -> tuple[float, float]:
    """How far a layer's weights and biases are off, relative to them and to their change; infinity for NaN."""
    flat = [np.concatenate([np.ravel(array) for array in layer]) for layer in (ours, exact, first)]
    distance = float(np.linalg.norm(flat[0] - flat[1]))
    if not np.isfinite(distance):
        return np.inf, np.inf
    return distance / float(np.linalg.norm(flat[1])), distance / float(np.linalg.norm(flat[1] - flat[2]))


class Loops(Rung):
    """``vgfast.bench.loops`` on lists of floats."""

    name = "Python loops"
    what = "Each number is an object of its own, which the interpreter finds, looks at, multiplies and makes anew."
    file = "vgfast/bench/loops.py"
    flop = 7e-8

    def start(self) -> None:
        self.weights, self.biases = ([array.tolist() for array in of] for of in (self.first.weights, self.first.biases))
        self.rows, self.labels = self.X.tolist(), self.y.tolist()
        self.kinds = (*self.first.activations, "identity")

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for order in self.batches():
                labels = [self.labels[i] for i in order]
                loops.step(
                    self.weights, self.biases, self.kinds, "cross_entropy", self.rows, labels, order.tolist(), LR
                )

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.weights, self.biases, strict=True))


class NumPyBatches(Rung):
    """``vgfast.reference``, as it is."""

    name = "NumPy, a batch at a time"
    what = (
        "Matrix times matrix: a weight that has been fetched serves all rows, and the BLAS library behind it has "
        "vectors and blocks already, which the next rungs build up again from nothing."
    )
    file = "vgfast/model/engine_numpy.py"
    flop = 6e-11

    def start(self) -> None:
        self.net: reference.MLP = self.first.copy()
        self.optimizer = SGD(lr=LR)

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                self.step(self.X[rows], self.y[rows])

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        self.net.step(x, y, self.optimizer)

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))


class NumPySamples(NumPyBatches):
    """The mean of the gradients of batches of one row."""

    name = "NumPy, a sample at a time"
    what = (
        "A whole vector for one call: loops in C over numbers that lie side by side. But each weight is fetched for "
        "one multiply-add, so memory sets the pace."
    )
    flop = 6e-10

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        total = np.zeros_like(self.net.params)
        for i in range(len(x)):
            total += self.net.gradients(x[i : i + 1], y[i : i + 1]).flat
        self.net.params -= np.float32(LR / len(x)) * total


class PlainC(Rung, VGFast):
    """The core without tiles, a call for each step."""

    name = "plain C"
    what = (
        "One element of a product at a time, each addition waiting for the one before, and the gradient by way of "
        "memory: no interpreter, but no help from the processor either."
    )
    file = "csrc/simd/scalar.h"
    flop = 8e-10
    isa = "scalar"

    def prepare(self) -> None:
        _core.use_isa(self.isa)

    def start(self) -> None:
        super().start()
        one = slice(0, self.problem.batch)
        x, t = self.net._batch(self.X[one], self.y[one])
        loop = Loop(self.net._learner(), x, t, 1, self.problem.batch, self.optimizer)
        loop.use_optimizer()
        loop.run.set_unblocked(True)
        loop.run.set_gradient(self.net._engine.make_vector())
        self.stepper = Stepper(loop)

    def train(self, epochs: int, threads: int | None = None, **inspection: Any) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                if self.stepper.step(self.X[rows], self.y[rows], self.optimizer) is None:
                    raise ValueError("a step of plain C failed")


class PlainAVX2(PlainC):
    name = "+ SIMD: AVX2"
    what = "Eight numbers an instruction, and multiply and add are one. Every addition still waits for the one before."
    file = "csrc/simd/avx2.h"
    flop = 1e-10
    isa = "avx2"


class PlainAVX512(PlainC):
    name = "+ SIMD: AVX-512"
    what = "Sixteen numbers an instruction."
    file = "csrc/simd/avx512.h"
    flop = 5e-11
    isa = "avx512"


class Blocked(Rung, VGFast):
    """The core as it is, a call for each step."""

    name = "+ blocking and fused epilogues"
    what = (
        "A tile of the product stays in registers: a dozen sums that need not wait for each other, and what is loaded "
        "is used several times. What lies far apart is copied first. A finished tile gets its bias and activation, or "
        "is subtracted from the weights, before it leaves the nearest cache."
    )
    file = "csrc/kernels/gemm.tmpl.h"
    flop = 2e-11

    def train(self, epochs: int, threads: int | None = None, **inspection: Any) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                self.net.step(self.X[rows], self.y[rows], self.optimizer)


class WholeRun(Rung, VGFast):
    """``fit``."""

    name = "+ the whole run in C"
    what = "One call for many steps: rows are gathered, and steps follow each other, without the interpreter."
    file = "csrc/run/epoch.c"
    flop = 2e-11


class Threads(WholeRun):
    name = "+ threads"
    what = (
        "Each thread takes rows of the batch forward and back, then blocks of the weights, with a barrier after each."
    )
    file = "csrc/team/team.c"
    flop = 1e-11
    threads = True


RUNGS: tuple[type[Rung], ...] = (
    Loops,
    NumPySamples,
    NumPyBatches,
    PlainC,
    PlainAVX2,
    PlainAVX512,
    Blocked,
    WholeRun,
    Threads,
)
