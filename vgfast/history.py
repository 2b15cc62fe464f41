"""What training returns, and how it fails."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _core

# One layer on one inspected step. The names are defined in gradients.py.
RECORD = np.dtype([(name, np.float64) for name in _core.QUANTITIES])


class DivergenceError(ArithmeticError):
    """Training stopped because its next step would have left something that is not finite.

    ``step`` is the number of good steps taken before, counted from the start of the call; the parameters are
    those after that many. ``layer`` is where it showed first (1..L).
    """

    def __init__(self, message: str, step: int = 0, layer: int = 0) -> None:
        super().__init__(message)
        self.step = step
        self.layer = layer


class History:
    """The course of one ``fit``.

    ``loss`` (steps,) float64: the mean loss of each batch before its update.
    ``epochs``: one dict an epoch: ``loss`` and, unless the loss is mse, ``accuracy``, both over the batches
    as they were trained on; ``val_loss`` and ``val_accuracy`` with validation data; ``seconds``.
    ``gradients`` (records, layers), a structured array with one field a quantity (see ``GradientReport``);
    ``steps`` (records,): which step of this call each record is of.

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(4), np.array([0, 1, 1, 0])
    >>> h = vg.MLP([4, 8, 2], rng=0).fit(X, y, epochs=3, batch_size=2, inspect_every=2)
    >>> h.loss.shape, h.gradients["grad_norm"].shape, h.steps.tolist()
    ((6,), (3, 2), [0, 2, 4])
    """

    def __init__(self, loss: np.ndarray) -> None:
        self.loss = loss
        self.epochs: list[dict[str, Any]] = []
        self.gradients = np.zeros((0, 0), RECORD)
        self.steps = np.zeros(0, np.int64)

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={v:.4g}" for k, v in self.epochs[-1].items()) if self.epochs else "none"
        return f"History({len(self.loss)} steps, {len(self.epochs)} epochs, last: {last})"
