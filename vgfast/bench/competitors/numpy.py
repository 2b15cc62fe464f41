"""NumPy: the training step of ``vgfast.reference``, made as fast as NumPy allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast.bench.competitors.competitor import Competitor
from vgfast.bench.problems import LR

# Arrays, as NumPy converts a Python number anew in each call, in 0.3 microseconds.
_ZERO, _HALF = np.array(0, np.float32), np.array(0.5, np.float32)


def _sigmoid(z: np.ndarray) -> None:
    """(1 + tanh(z / 2)) / 2, as NumPy's exp and reciprocal take half as long again."""
    np.multiply(z, _HALF, out=z)
    np.tanh(z, out=z)
    np.multiply(z, _HALF, out=z)
    np.add(z, _HALF, out=z)


def _d_sigmoid(d: np.ndarray, a: np.ndarray, spare: np.ndarray) -> None:
    np.multiply(d, a, out=d)
    np.multiply(d, a, out=spare)
    np.subtract(d, spare, out=d)


def _tanh(z: np.ndarray) -> None:
    np.tanh(z, out=z)


def _d_tanh(d: np.ndarray, a: np.ndarray, spare: np.ndarray) -> None:
    np.multiply(a, a, out=spare)
    np.multiply(d, spare, out=spare)
    np.subtract(d, spare, out=d)


def _relu(z: np.ndarray) -> None:
    np.maximum(z, _ZERO, out=z)


def _d_relu(d: np.ndarray, a: np.ndarray, spare: np.ndarray) -> None:
    np.greater(a, _ZERO, out=spare, casting="unsafe")  # a mask of float32: bool times float32 is slower, putmask 7 x
    np.multiply(d, spare, out=d)


_TUNED = {"sigmoid": (_sigmoid, _d_sigmoid), "tanh": (_tanh, _d_tanh), "relu": (_relu, _d_relu)}


class NumPy(Competitor):
    """No temporaries in a step, float32 all through, one update of one flat vector."""

    package = module = "numpy"

    def prepare(self) -> None:
        p = self.problem
        self.phi, self.d_phi = _TUNED[p.activation]
        self.Y = np.eye(p.sizes[-1], dtype=np.float32)[self.y]
        self.x, self.t = (np.empty((p.batch, n), np.float32) for n in (p.sizes[0], p.sizes[-1]))
        self.a = [np.empty((p.batch, n), np.float32) for n in p.sizes[1:]]
        self.d = [np.empty((p.batch, n), np.float32) for n in p.sizes[1:-1]]
        self.spare = [np.empty_like(d) for d in self.d]
        self.one_row = [np.empty((1, n), np.float32) for n in p.sizes[1:]]
        self.ones = np.ones(p.batch, np.float32)
        self.scale = np.array(LR / p.batch, np.float32)

    def start(self) -> None:
        self.net = self.first.copy()
        self.gradient = np.empty_like(self.net.params)
        self.d_weights, self.d_biases = self.net._architecture.views(self.gradient)

    def train(self, epochs: int) -> None:
        X, Y, x, t = self.X, self.Y, self.x, self.t
        for _ in range(epochs):
            for rows in self.batches():
                X.take(rows, 0, x, "clip")  # the default mode goes through a copy
                Y.take(rows, 0, t, "clip")
                self.step(x, t)

    def forward(self, x: np.ndarray, outs: list[np.ndarray]) -> np.ndarray:
        """The probabilities, and the activations in outs."""
        for weights, biases, out in zip(self.net.weights, self.net.biases, outs, strict=True):
            np.matmul(x, weights, out=out)
            np.add(out, biases, out=out)
            if out is not outs[-1]:
                self.phi(out)
            x = out
        np.subtract(x, np.maximum.reduce(x, 1, keepdims=True), out=x)
        np.exp(x, out=x)
        return np.divide(x, np.add.reduce(x, 1, keepdims=True), out=x)

    def step(self, x: np.ndarray, t: np.ndarray) -> None:
        delta = self.forward(x, self.a)
        np.subtract(delta, t, out=delta)
        # Deltas and gradients are linear in this one: scaled by lr here, the gradient needs no pass for it.
        np.multiply(delta, self.scale, out=delta)
        for l in range(len(self.a) - 1, 0, -1):
            a, d = self.a[l - 1], self.d[l - 1]
            np.matmul(a.T, delta, out=self.d_weights[l])
            np.matmul(self.ones, delta, out=self.d_biases[l])  # quicker than a sum over the rows
            np.matmul(delta, self.net.weights[l].T, out=d)
            self.d_phi(d, a, self.spare[l - 1])
            delta = d
        np.matmul(x.T, delta, out=self.d_weights[0])
        np.matmul(self.ones, delta, out=self.d_biases[0])
        np.subtract(self.net.params, self.gradient, out=self.net.params)

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, t, row = self.X[: self.problem.batch], self.Y[: self.problem.batch], self.X[:1]
        return {"step_call": lambda: self.step(x, t), "predict_call": lambda: self.forward(row, self.one_row)}
