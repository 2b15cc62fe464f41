"""One training step on Python's floats, loop by loop: what all the rest makes fast, and what counts are checked by.

A matrix is a list of rows. Every function is one phase of the step, as ``vgfast.cost.counts`` counts them, written as
the formula stands, index by index: a[l] (B, n_l), with a[0] the batch, and at l - 1 what belongs to layer l. The
formulas are those of ``vgfast.reference``; sigmoid is (1 + tanh(z / 2)) / 2, which never overflows, and a ReLU's
derivative is known from its output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vgfast.model.activations import CATALOG


def gather(X: Any, order: Sequence[int]) -> list[list[float]]:
    """The rows of the batch."""
    return [[X[sample][j] for j in range(len(X[sample]))] for sample in order]


def forward(a: Any, W: Any, l: int) -> list[list[float]]:
    """z (B, n) = a (B, m) W (m, n)."""
    z = [[0.0] * len(W[l - 1][0]) for _ in range(len(a[l - 1]))]
    for i in range(len(z)):
        for j in range(len(z[i])):
            for p in range(len(W[l - 1])):
                z[i][j] += a[l - 1][i][p] * W[l - 1][p][j]
    return z


def activate(z: Any, b: Any, activation: str) -> list[list[float]]:
    """z becomes phi(z + b); returns phi' (B, n) where it is kept from here, else nothing."""
    phi = CATALOG[activation]
    derivatives = [[0.0] * len(b) if phi.stored else [] for _ in range(len(z))]
    for i in range(len(z)):
        for j in range(len(b)):
            value = z[i][j] + b[j]
            if activation == "relu":
                value = max(value, 0.0)
            elif phi.form == "leak":
                scaled = phi.alpha * value
                value = value if value > 0.0 else scaled
            elif activation == "sigmoid":
                value = 0.5 + 0.5 * math.tanh(0.5 * value)
                derivatives[i][j] = value * (1.0 - value)
            elif activation == "tanh":
                value = math.tanh(value)
                derivatives[i][j] = 1.0 - value * value
            elif activation != "identity":  # one that is not written out here
                exact = np.array(value)
                value = float(phi.value(exact))
                if phi.stored:
                    derivatives[i][j] = float(phi.derivative(exact))
            z[i][j] = value
    return derivatives


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
            total += power
        losses[i] = math.log(total) - row[label]
        scale = share / total
        delta = [power * scale for power in powers]
        delta[label] -= share
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
            total += max(value, 0.0) - value * target + math.log1p(small)
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
            total += off * off
            delta.append(off * share)
        losses[i] = total
        deltas.append(delta)
    return deltas


LOSSES: dict[str, Callable[[Any, Any, Any], list[list[float]]]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
}


def backward(delta: Any, W: Any, l: int) -> list[list[float]]:
    """d (B, m) = delta (B, n) Wᵀ."""
    d = [[0.0] * len(W[l - 1]) for _ in range(len(delta[l - 1]))]
    for i in range(len(d)):
        for p in range(len(d[i])):
            for j in range(len(W[l - 1][p])):
                d[i][p] += delta[l - 1][i][j] * W[l - 1][p][j]
    return d


def differentiate(d: Any, a: Any, derivatives: Any, activation: str) -> None:
    """d becomes d ∘ phi'."""
    phi = CATALOG[activation]
    if phi.form == "one":
        return
    for i in range(len(d)):
        for p in range(len(d[i])):
            derivative = derivatives[i][p] if phi.stored else 1.0 if a[i][p] > 0.0 else phi.alpha
            d[i][p] = d[i][p] * derivative


def update(W: Any, b: Any, a: Any, delta: Any, l: int, lr: float) -> None:
    """W -= lr aᵀ delta and b -= lr (sum of delta over the rows)."""
    dW, db = [[0.0] * len(b[l - 1]) for _ in range(len(W[l - 1]))], [0.0] * len(b[l - 1])
    for p in range(len(dW)):
        for j in range(len(db)):
            for i in range(len(delta[l - 1])):
                dW[p][j] += a[l - 1][i][p] * delta[l - 1][i][j]
    for i in range(len(delta[l - 1])):
        for j in range(len(db)):
            db[j] += delta[l - 1][i][j]
    for j in range(len(db)):
        for p in range(len(dW)):
            W[l - 1][p][j] -= lr * dW[p][j]
        b[l - 1][j] -= lr * db[j]


def _no_losses(rows: int) -> list[float]:
    return [0.0] * rows


def step(
    weights: Any, biases: Any, activations: Sequence[str], loss: str, X: Any, y: Any, order: Sequence[int], lr: float
) -> Any:
    """One step on the rows X[order], changing weights and biases; returns each row's loss, of mse and
    binary_cross_entropy times n_out. y: a label or a row of targets for each of the batch; activations: one a layer,
    the last identity."""
    L, losses = len(weights), _no_losses(len(order))
    a, derivatives = [gather(X, order)], []
    delta: list[list[list[float]]] = [[] for _ in range(L)]
    for l in range(1, L + 1):
        a.append(forward(a, weights, l))
        derivatives.append(activate(a[l], biases[l - 1], activations[l - 1]))
    delta[L - 1] = LOSSES[loss](a[L], y, losses)
    for l in range(L, 1, -1):
        delta[l - 2] = backward(delta, weights, l)
        differentiate(delta[l - 2], a[l - 1], derivatives[l - 2], activations[l - 2])
    for l in range(1, L + 1):
        update(weights, biases, a, delta, l, lr)
    return losses
