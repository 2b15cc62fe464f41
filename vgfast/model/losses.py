"""The losses: what is known of each, from the core's catalog, and its formula in NumPy, of outputs z (rows, n) and
targets t."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vgfast import _core
from vgfast.model.activations import sigmoid

# ---- the formulas, by rows: (loss, its derivative by z, share that is predicted rightly) ----------------

# What a formula finds: (rows,), (rows, n), (rows,).
ByRows = tuple[np.ndarray, np.ndarray, np.ndarray]


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(z: np.ndarray, y: np.ndarray) -> ByRows:
    t = np.eye(z.shape[1], dtype=z.dtype)[y] if y.ndim == 1 else y
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    derivative = softmax(z) * t.sum(axis=1, keepdims=True) - t
    return -(t * log_p).sum(axis=1), derivative, z.argmax(axis=1) == t.argmax(axis=1)


def binary_cross_entropy(z: np.ndarray, t: np.ndarray) -> ByRows:
    losses = np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))
    derivative = (sigmoid(z) - t) / z.dtype.type(z.shape[1])
    return losses.mean(axis=1), derivative, ((z > 0) == (t > 0.5)).mean(axis=1)


def mse(z: np.ndarray, t: np.ndarray) -> ByRows:
    return ((z - t) ** 2).mean(axis=1), 2 * (z - t) / z.dtype.type(z.shape[1]), np.zeros(len(z))


FORMULAS = {"cross_entropy": cross_entropy, "binary_cross_entropy": binary_cross_entropy, "mse": mse}


# ---- what is known of them ------------------------------------------------------------------------------


class Loss(NamedTuple):
    """One line of the catalog, and its formula.

    ``link``: what makes probabilities of the outputs, "softmax", "sigmoid" or, where nothing does, "linear".
    ``operations`` and ``functions``: of the loss and its derivative, an output; with ``row_`` before, a row besides
    (``vgfast.cost.counts``).
    """

    name: str
    link: str
    operations: int
    functions: int
    row_operations: int
    row_functions: int
    formula: Callable[[np.ndarray, np.ndarray], ByRows]

    def of(
        self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """(mean loss, its derivative by z, share of each row that is predicted rightly); the mean is that of the rows'
        losses, or sum(w loss) / sum(w) with a weight w for each, and 0 if they all have none."""
        losses, derivative, correct = self.formula(z, t)
        if sample_weight is None:
            return float(losses.mean()), derivative / z.dtype.type(len(z)), correct
        shares = sample_weight / (sample_weight.sum() or 1)
        return float(shares @ losses), derivative * shares[:, None].astype(z.dtype), correct

    @property
    def takes_labels(self) -> bool:
        """Whether y may be one label a row."""
        return self.link == "softmax"

    @property
    def has_accuracy(self) -> bool:
        """Whether outputs are predictions that are right or wrong, and have probabilities."""
        return self.link != "linear"

    @property
    def averages_outputs(self) -> bool:
        """Whether the loss is a mean over rows and outputs, and not over rows alone."""
        return self.link != "softmax"

    def predict(self, z: np.ndarray) -> np.ndarray:
        """What outputs z (rows, n_out) predict: the class of each row, 1 or 0 (yes or no) each, or values."""
        if self.link == "softmax":
            return z.argmax(axis=1)
        return (z > 0).astype(np.int64) if self.link == "sigmoid" else z


# Each has its formula: tests/model/test_activations.py names one that has not.
LOSSES = {line[0]: Loss(*line, FORMULAS[line[0]]) for line in _core.loss_facts() if line[0] in FORMULAS}
