"""NumPy: the training step of ``vgfast.reference``, made as fast as NumPy allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast.bench.competitors.competitor import Competitor

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


class Adam:
    """Of one flat vector, by PyTorch's formula with its defaults."""

    def __init__(self, params: np.ndarray, lr: float) -> None:
        self.m, self.v, self.spare = (np.zeros_like(params) for _ in range(3))
        self.lr, self.steps = lr, 0

    def turn_into_step(self, g: np.ndarray) -> None:
        """The gradient becomes lr m' / (sqrt(v') + eps)."""
        self.steps += 1
        np.multiply(self.m, 0.9, out=self.m)
        np.multiply(g, 0.1, out=self.spare)
        np.add(self.m, self.spare, out=self.m)
        np.multiply(g, g, out=g)
        np.multiply(g, 0.001, out=g)
        np.multiply(self.v, 0.999, out=self.v)
        np.add(self.v, g, out=self.v)
        np.sqrt(self.v, out=self.spare)
        np.multiply(self.spare, (1 - 0.999**self.steps) ** -0.5, out=self.spare)
        np.add(self.spare, 1e-8, out=self.spare)
        np.divide(self.m, self.spare, out=g)
        np.multiply(g, self.lr / (1 - 0.9**self.steps), out=g)


class BatchNorm:
    """Of a layer, before its activation, by PyTorch's formula with its defaults."""

    def __init__(
        self, batch: int, gain: np.ndarray, shift: np.ndarray, d_gain: np.ndarray, d_shift: np.ndarray
    ) -> None:
        self.gain, self.shift, self.d_gain, self.d_shift = gain, shift, d_gain, d_shift
        self.running_mean, self.running_variance = np.zeros_like(gain), np.ones_like(gain)
        self.share, self.unbiased = np.full(batch, 1 / batch, np.float32), batch / (batch - 1)
        self.ones = np.ones(batch, np.float32)
        self.h, self.spare = (np.empty((batch, len(gain)), np.float32) for _ in range(2))

    def forward(self, z: np.ndarray) -> None:
        """z becomes gain h + shift, with h = (z - mean) / sqrt(variance + eps)."""
        mean = self.share @ z
        np.subtract(z, mean, out=z)
        np.multiply(z, z, out=self.spare)
        variance = self.share @ self.spare
        self.over_deviation = 1 / np.sqrt(variance + 1e-5)
        np.multiply(z, self.over_deviation, out=self.h)
        np.multiply(self.h, self.gain, out=z)
        np.add(z, self.shift, out=z)
        self.running_mean += 0.1 * (mean - self.running_mean)
        self.running_variance += 0.1 * (self.unbiased * variance - self.running_variance)

    def backward(self, d: np.ndarray, spare: np.ndarray) -> None:
        """d of what came out becomes d of z: gain / sqrt(variance + eps) (d - mean of d - h * mean of d * h)."""
        np.multiply(d, self.h, out=spare)
        np.matmul(self.ones, spare, out=self.d_gain)
        np.matmul(self.ones, d, out=self.d_shift)
        np.subtract(d, self.d_shift * self.share[0], out=d)
        np.multiply(self.h, self.d_gain * self.share[0], out=spare)
        np.subtract(d, spare, out=d)
        np.multiply(d, self.gain * self.over_deviation, out=d)


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
        # Deltas and gradients are linear in the output's delta: scaled by lr there, the gradient needs no pass for it.
        self.scale = np.array((1.0 if p.optimizer == "adam" else p.lr) / p.batch, np.float32)

    def start(self) -> None:
        self.net = self.first.copy()
        self.gradient = np.empty_like(self.net.params)
        self.d_weights, self.d_biases, *d_norm = self.net._architecture.parts(self.gradient)
        self.adam = Adam(self.net.params, self.problem.lr) if self.problem.optimizer == "adam" else None
        gains, shifts = self.net._architecture.parts(self.net.params)[2:]
        norms = zip(gains[:-1], shifts[:-1], *(of[:-1] for of in d_norm), strict=True)
        self.batch_norms = [BatchNorm(self.problem.batch, *norm) for norm in norms] if self.problem.batch_norm else []

    def train(self, epochs: int) -> None:
        X, Y, x, t = self.X, self.Y, self.x, self.t
        for _ in range(epochs):
            for rows in self.batches():
                X.take(rows, 0, x, "clip")  # the default mode goes through a copy
                Y.take(rows, 0, t, "clip")
                self.step(x, t)

    def forward(self, x: np.ndarray, outs: list[np.ndarray]) -> np.ndarray:
        """The probabilities, and the activations in outs."""
        for l, (weights, biases, out) in enumerate(zip(self.net.weights, self.net.biases, outs, strict=True)):
            np.matmul(x, weights, out=out)
            if self.batch_norms and out is not outs[-1]:
                self.batch_norms[l].forward(out)
            else:
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
        np.multiply(delta, self.scale, out=delta)
        for l in range(len(self.a) - 1, 0, -1):
            a, d = self.a[l - 1], self.d[l - 1]
            self.d_layer(l, a, delta)
            np.matmul(delta, self.net.weights[l].T, out=d)
            self.d_phi(d, a, self.spare[l - 1])
            if self.batch_norms:
                self.batch_norms[l - 1].backward(d, self.spare[l - 1])
            delta = d
        self.d_layer(0, x, delta)
        if self.adam:
            self.adam.turn_into_step(self.gradient)
        np.subtract(self.net.params, self.gradient, out=self.net.params)

    def d_layer(self, l: int, a: np.ndarray, delta: np.ndarray) -> None:
        np.matmul(a.T, delta, out=self.d_weights[l])
        if self.d_biases[l].size:  # batch norm stands in their place
            np.matmul(self.ones, delta, out=self.d_biases[l])  # quicker than a sum over the rows

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))

    def norms(self) -> list[tuple[Any, Any, Any, Any]]:
        return [(norm.gain, norm.shift, norm.running_mean, norm.running_variance) for norm in self.batch_norms]

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, t, row = self.X[: self.problem.batch], self.Y[: self.problem.batch], self.X[:1]
        return {"step_call": lambda: self.step(x, t), "predict_call": lambda: self.forward(row, self.one_row)}
