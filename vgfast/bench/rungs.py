"""The rungs of ``vgfast ladder``: one training step, from loops in Python to all that the core can do.

Each is a peer as those of ``vgfast bench`` are, in a process of its own, and takes the same steps from the same
weights.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vgfast import _core, reference
from vgfast.bench import loops
from vgfast.bench.competitors import LR, Peer, Textbook, VGFast
from vgfast.training.fit import Loop, Stepper
from vgfast.training.optimizers import SGD

ROUNDS = 15


class Rung(Peer):
    """A peer that is also asked whether it ``agrees``, and for the seconds of a step in ``rounds``."""

    def agrees(self) -> dict[str, float]:
        """How far the weights are off after an epoch, of the layer that is most: relative to them, and to what the
        epoch changed in them; and the seconds of a step."""
        self.rewind()
        start = time.perf_counter()
        self.train(1)
        seconds = (time.perf_counter() - start) / self.problem.steps
        judge = Textbook(self.problem)
        judge.rewind()
        judge.train(1)
        ours, exact = self.layers(), judge.layers()
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

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        total = np.zeros_like(self.net.params)
        for i in range(len(x)):
            total += self.net.gradients(x[i : i + 1], y[i : i + 1]).flat
        self.net.params -= np.float32(LR / len(x)) * total


class PlainC(Rung, VGFast):
    """The core without tiles, a call for each step."""

    isa = "scalar"

    def prepare(self) -> None:
        _core.use_isa(self.isa)

    def start(self) -> None:
        super().start()
        one = slice(0, self.problem.batch)
        loop = Loop(self.net, *self.net._batch(self.X[one], self.y[one]), 1, self.problem.batch, self.optimizer, 0)
        loop.use_optimizer()
        loop.run.set_unblocked(True)
        loop.run.set_gradient(loop.vector())
        self.stepper = Stepper(loop)

    def train(self, epochs: int, threads: int | None = None, **inspection: Any) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                if self.stepper.step(self.X[rows], self.y[rows], self.optimizer) is None:
                    raise ValueError("a step of plain C failed")


class PlainAVX2(PlainC):
    isa = "avx2"


class PlainAVX512(PlainC):
    isa = "avx512"


class Blocked(Rung, VGFast):
    """The core as it is, a call for each step."""

    def train(self, epochs: int, threads: int | None = None, **inspection: Any) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                self.net.step(self.X[rows], self.y[rows], self.optimizer)


class WholeRun(Rung, VGFast):
    """``fit``."""
