"""One training step on Python's floats, loop by loop: what all the rest makes fast, and what counts are checked by.

A matrix is a list of rows. Every function is one phase of the step, as ``vgfast.operations`` counts them; what it works
on, it works on in place. The formulas are those of ``vgfast.reference``; sigmoid is (1 + tanh(z / 2)) / 2, which never
overflows, and a ReLU's derivative is told from its output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

LEAK = 0.01


def gather(X: Any, order: Sequence[int]) -> list[list[float]]:
    """The rows of the batch."""
    return [[X[sample][j] for j in range(len(X[sample]))] for sample in order]


def forward(a: Any, W: Any) -> list[list[float]]:
    """z (B, n) = a (B, m) W (m, n)."""
    z = [[0.0] * len(W[0]) for _ in range(len(a))]
    for i in range(len(a)):
        for j in range(len(W[0])):
            total = 0.0
            for p in range(len(W)):
                total = total + a[i][p] * W[p][j]
            z[i][j] = total
    return z


def activate(z: Any, b: Any, activation: str) -> list[list[float]]:
    """z becomes phi(z + b); returns phi' (B, n) where it is kept from here, else nothing."""
    slopes = [[0.0] * len(b) if activation in ("sigmoid", "tanh") else [] for _ in range(len(z))]
    for i in range(len(z)):
        for j in range(len(b)):
            value = z[i][j] + b[j]
            if activation == "relu":
                value = max(value, 0.0)
            elif activation == "leaky_relu":
                value = max(value, LEAK * value)
            elif activation == "sigmoid":
                value = 0.5 + 0.5 * math.tanh(0.5 * value)
                slopes[i][j] = value * (1.0 - value)
            elif activation == "tanh":
                value = math.tanh(value)
                slopes[i][j] = 1.0 - value * value
            z[i][j] = value
    return slopes


def cross_entropy(z: Any, labels: Any, losses: Any) -> list[list[float]]:
    """delta (B, n) of the mean over the rows, and each row's loss."""
    share = 1.0 / len(z)
    deltas = []
    for i in range(len(z)):
        row, label = [z[i][j] for j in range(len(z[i]))], labels[i]
        largest = row[0]
        for j in range(1, len(row)):
            largest = max(largest, row[j])
        row = [value - largest for value in row]
        powers, total = [math.exp(value) for value in row], 0.0
        for power in powers:
            total = total + power
        losses[i] = math.log(total) - row[label]
        scale = share / total
        delta = [power * scale for power in powers]
        delta[label] = delta[label] - share
        deltas.append(delta)
    return deltas


def binary_cross_entropy(z: Any, t: Any, losses: Any) -> list[list[float]]:
    share = 1.0 / (len(z) * len(z[0]))
    deltas = []
    for i in range(len(z)):
        total, delta = 0.0, []
        for j in range(len(z[i])):
            value, target = z[i][j], t[i][j]
            small = math.exp(-abs(value))
            total = total + (max(value, 0.0) - value * target + math.log1p(small))
            p = (1.0 if value > 0.0 else small) / (1.0 + small)
            delta.append((p - target) * share)
        losses[i] = total
        deltas.append(delta)
    return deltas


def mse(z: Any, t: Any, losses: Any) -> list[list[float]]:
    share = 2.0 / (len(z) * len(z[0]))
    deltas = []
    for i in range(len(z)):
        total, delta = 0.0, []
        for j in range(len(z[i])):
            off = z[i][j] - t[i][j]
            total = total + off * off
            delta.append(off * share)
        losses[i] = total
        deltas.append(delta)
    return deltas


LOSSES: dict[str, Callable[[Any, Any, Any], list[list[float]]]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
}


def backward(delta: Any, W: Any) -> list[list[float]]:
    """d (B, m) = delta (B, n) Wᵀ."""
    d = [[0.0] * len(W) for _ in range(len(delta))]
    for i in range(len(delta)):
        for p in range(len(W)):
            total = 0.0
            for j in range(len(W[0])):
                total = total + delta[i][j] * W[p][j]
            d[i][p] = total
    return d


def differentiate(d: Any, a: Any, slopes: Any, activation: str) -> None:
    """d becomes d ∘ phi'."""
    for i in range(len(d)):
        for p in range(len(d[i])):
            if activation == "relu":
                d[i][p] = d[i][p] * (1.0 if a[i][p] > 0.0 else 0.0)
            elif activation == "leaky_relu":
                d[i][p] = d[i][p] * (1.0 if a[i][p] > 0.0 else LEAK)
            elif activation != "identity":
                d[i][p] = d[i][p] * slopes[i][p]


def update(W: Any, b: Any, a: Any, delta: Any, lr: float) -> None:
    """W -= lr aᵀ delta and b -= lr (sum of delta over the rows)."""
    for p in range(len(W)):
        for j in range(len(b)):
            total = 0.0
            for i in range(len(a)):
                total = total + a[i][p] * delta[i][j]
            W[p][j] = W[p][j] - lr * total
    for j in range(len(b)):
        total = 0.0
        for i in range(len(delta)):
            total = total + delta[i][j]
        b[j] = b[j] - lr * total


def _no_losses(rows: int) -> list[float]:
    return [0.0] * rows


def step(
    weights: Any, biases: Any, activations: Sequence[str], loss: str, X: Any, y: Any, order: Sequence[int], lr: float
) -> Any:
    """One step on the rows X[order], changing weights and biases; returns each row's loss, of mse and
    binary_cross_entropy times n_out. y: a label or a row of targets for each of the batch; activations: one a layer,
    the last identity."""
    outputs, kept, losses = [gather(X, order)], [], _no_losses(len(order))
    for W, b, activation in zip(weights, biases, activations, strict=True):
        outputs.append(forward(outputs[-1], W))
        kept.append(activate(outputs[-1], b, activation))
    deltas = [LOSSES[loss](outputs[-1], y, losses)]
    for l in range(len(weights) - 1, 0, -1):
        deltas.insert(0, backward(deltas[0], weights[l]))
        differentiate(deltas[0], outputs[l], kept[l - 1], activations[l - 1])
    for l in range(len(weights)):
        update(weights[l], biases[l], outputs[l], deltas[l], lr)
    return losses
