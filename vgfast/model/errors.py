"""How training, predicting and saving fail."""

from __future__ import annotations

from typing import Any

import numpy as np


class DivergenceError(ArithmeticError):
    """Training stopped because its next step would have left something that is not finite; or a net was asked for
    outputs, a loss or a file, and those or its parameters are not finite.

    ``step`` is the number of good steps taken before, counted from the start of the call; the parameters are
    those after that many. ``layer`` is where it showed first (1..L). ``history``: of ``fit``, the ``History`` of
    those steps, records included, which shows what led there; else None.

    >>> import numpy as np, vgfast as vg
    >>> try:
    ...     vg.MLP([2, 2, 1], "relu", "mse", rng=0).fit(np.eye(2), [[1], [2]], 99, 2, vg.SGD(lr=1e6), inspect_every=1)
    ... except vg.DivergenceError as error:
    ...     len(error.history.gradients) == len(error.history.loss) == error.step
    True
    """

    def __init__(self, message: str, step: int = 0, layer: int = 0) -> None:
        super().__init__(message)
        self.step = step
        self.layer = layer
        self.history: Any = None


def update_error(params: np.ndarray, optimizer: Any) -> DivergenceError:
    """The error of a gradient whose update of these parameters would not be finite."""
    if not np.isfinite(params).all():
        return DivergenceError(
            "the parameters already hold NaN or infinity, so no update is finite; assign finite ones"
        )
    decay = f" or weight_decay (it is {optimizer.weight_decay:g})" if optimizer.weight_decay else ""
    return DivergenceError(
        f"the update by these gradients would not be finite; lower lr (it is {optimizer.lr:g}){decay}; the parameters "
        "are as they were"
    )
