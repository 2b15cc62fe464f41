"""MLPRegressor(loss="poisson"): a loss of one's own, of which vgfast takes the derivative by the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import xlogy

import vgfast as vg


def loss_and_derivative(z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> tuple[float, np.ndarray]:
    """Half the Poisson deviance of the predictions exp(z) (rows, n), the mean over the rows of its sum over the
    outputs; and its derivative by z."""
    with np.errstate(over="ignore"):
        predicted = np.exp(z)
    if not np.isfinite(predicted).all():
        raise vg.DivergenceError("exp of an output is not finite; lower learning_rate_init, or scale X")
    each = (xlogy(y, y) - y * z - y + predicted).sum(axis=1, dtype=np.float64)
    shares = np.full(len(z), 1 / len(z)) if sample_weight is None else sample_weight / (sample_weight.sum() or 1)
    return float(shares @ each), ((predicted - y) * shares[:, None]).astype(z.dtype)


def train(
    net: vg.MLP,
    X: Any,
    y: np.ndarray,
    epochs: int,
    batch_size: int,
    optimizer: vg.SGD | vg.Adam,
    order: np.random.Generator | None,
    sample_weight: np.ndarray | None,
    end_epoch: Callable[[vg.MLP, np.ndarray], bool],
) -> None:
    """Until ``end_epoch``, which is given each epoch's losses, says that it is over."""
    penalty, optimizer.penalty = optimizer.penalty, 0.0
    try:
        for _ in range(epochs):
            rows = np.arange(len(y)) if order is None else order.permutation(len(y))
            losses = []
            for first in range(0, len(y), batch_size):
                batch = rows[first : first + batch_size]
                weights = None if sample_weight is None else sample_weight[batch]
                n = len(batch) if weights is None else weights.sum() or 1
                squares = sum(float(np.vdot(w, w)) for w in net.weights)
                loss, derivative = loss_and_derivative(net.forward(X[batch], training=True), y[batch], weights)
                losses.append(loss + penalty / n / 2 * squares)
                optimizer.weight_decay = penalty / n
                net.apply(net.backward(X[batch], derivative), optimizer)
            if end_epoch(net, np.array(losses)):
                return
    finally:
        optimizer.penalty, optimizer.weight_decay = penalty, 0.0
