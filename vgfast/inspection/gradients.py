"""The gradient of one batch, layer by layer and sample by sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast._check import Rows, SparseRows
from vgfast.model.engine import Backward, Engine
from vgfast.model.errors import DivergenceError


class Gradients(NamedTuple):
    """The whole gradient of the mean loss of one batch, or of what ``backward`` was given.

    ``weights[l-1]`` (n_in, n_out) and ``biases[l-1]`` (n_out,) are views of ``flat`` (n_params,), which is
    ordered like ``net.params``; ``deltas[l-1]`` (rows, n_l) is dloss/dz_l.
    """

    loss: float
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    deltas: list[np.ndarray]
    flat: np.ndarray


class TrainingPass(NamedTuple):
    """What ``net.forward(X, training=True)`` was asked for: X, and the version of the net's parameters then."""

    x: Rows
    version: int

    @staticmethod
    def check(last: TrainingPass | None, x: Rows, version: int) -> None:
        """ValueError if that was another pass than the one of these rows and parameters."""
        if last is None:
            got = "no such call"
        elif not _same(last.x, x):
            got = "one of another X"
        elif last.version != version:
            got = "one before the net was changed"
        else:
            return
        raise ValueError(
            f"backward must follow forward(X, training=True) of the same X, as a net with dropout or batch norm has "
            f"other outputs in training, got {got}; call it, and take dz by what it returns"
        )


def _same(a: Rows, b: Rows) -> bool:
    if isinstance(a, SparseRows) and isinstance(b, SparseRows):
        parts = ((a.values, b.values), (a.columns, b.columns), (a.starts, b.starts))
        return a.shape == b.shape and all(np.array_equal(*pair) for pair in parts)
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)


def take_gradients(engine: Engine, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None = None) -> Gradients:
    """``net.gradients``: see there."""
    return _of_layers(engine, _backward(engine, x, t, sample_weight))


def take_sample_norms(engine: Engine, x: Rows, t: np.ndarray) -> np.ndarray:
    """``net.sample_norms``: see there."""
    from vgfast.model import quantities_numpy  # only read when asked for

    found = _backward(engine, x, t)
    return len(x) * quantities_numpy.sample_norms(found.inputs, found.deltas)


def take_gradients_from(engine: Engine, x: Rows, dz: np.ndarray) -> Gradients:
    """``net.backward``: see there."""
    found = engine.backward_from(x, dz)
    if found is None:
        engine.predict(x)  # whose own error says more, if it is not dz
        raise DivergenceError("this dz leads to gradients that are not finite; make it, or X, smaller")
    return _of_layers(engine, found)


def _backward(engine: Engine, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None = None) -> Backward:
    found = engine.backward(x, t, sample_weight)
    if found is None:
        from vgfast.inspection.case import Case  # only read where a gradient is not finite
        from vgfast.inspection.divergence import diagnose
        from vgfast.training.optimizers import SGD

        case = Case(engine, x, t, SGD(), sample_weight=sample_weight).with_dense_rows()
        raise diagnose(case, 0, "this batch has no finite gradient", updates=False)
    return found


def _of_layers(engine: Engine, found: Backward) -> Gradients:
    weights, biases = engine.architecture.views(found.gradient)
    return Gradients(found.loss, weights, biases, [delta.copy() for delta in found.deltas], found.gradient)
