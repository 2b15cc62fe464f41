"""What a step goes by, checked for a net."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check
from vgfast.model.engine import Settings
from vgfast.training.optimizers import SGD, Optimizer

# For steps without an optimizer: the same object each time.
PLAIN = SGD()


def check_optimizer(optimizer: Any, dtype: np.dtype) -> Optimizer:
    """The optimizer itself, or ``SGD()`` for None, if ``read_settings`` takes it."""
    if optimizer is None:
        return SGD()
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a vg.SGD or another of vgfast's, got {_check.quote(optimizer)}; for example "
            f"vg.SGD(lr=0.1)"
        )
    read_settings(optimizer, dtype)
    return optimizer


def refuse_penalty(optimizer: Optimizer) -> Optimizer:
    """The optimizer itself; ValueError if it has a penalty, where nobody knows of how many rows a gradient is."""
    if optimizer.penalty > 0:
        raise ValueError(
            f"gradients from outside have no number of rows n by which penalty={optimizer.penalty:g} would be divided; "
            f"give the optimizer weight_decay=penalty / n and penalty=0"
        )
    return optimizer


def read_settings(optimizer: Optimizer, dtype: np.dtype) -> Settings:
    """What its steps go by now; ValueError for rates that are no numbers in this dtype."""
    settings = optimizer.checked()
    least, most = float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)
    decays = {"weight_decay": settings.weight_decay, "penalty": settings.penalty}
    rates = {"lr": settings.lr, **decays, "eps": getattr(optimizer, "eps", 0)}
    for name, rate in rates.items():
        if rate > most or 0 < rate < least:
            raise ValueError(f"{name} must be from {least!r} to {most!r} for a net of {dtype}, got {rate!r}")
    return settings
