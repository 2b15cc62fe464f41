"""What a step of Adam and its like divides each weight's gradient by, beside the eps that is added to it.

Above eps, a weight moves by about lr whatever the size of its gradient, so that no layer is left behind where the
signal has shrunk. Below, it moves by lr times its gradient over eps: there, Adam cures no vanishing gradient.

Source: Kingma, Ba, "Adam: a method for stochastic optimization" (2015), section 2.1.
"""

from __future__ import annotations

import math

import numpy as np

from vgfast.inspection.case import Case
from vgfast.inspection.trials import find_gradient
from vgfast.model.engine_numpy import textbook
from vgfast.training.settings import read_settings

# The place of v, the mean (Adagrad: sum) of squares, among what a rule keeps.
_SQUARES = {"adam": 1, "adamw": 1, "rmsprop": 0, "rmsprop_momentum": 0, "adagrad": 0}


def measure_over_eps(case: Case) -> np.ndarray | None:
    """(L,) sqrt(v) / eps, the root mean square over the weights of each layer, at the case's next step; None where the
    rule has no eps, or the gradient is not finite."""
    settings = read_settings(case.optimizer, case.engine.architecture.dtype)
    found = find_gradient(case) if settings.rule in _SQUARES else None
    if found is None:
        return None
    state = case.current_state
    with np.errstate(all="ignore"):
        _, vectors = textbook(case.engine).step(found[1], settings, state)
    weights, _ = case.engine.architecture.views(vectors[_SQUARES[settings.rule]])
    eps = _eps(settings.rule, settings.hyper, 1 if state.n_taken is None else int(state.n_taken[0]) + 1)
    return np.array([math.sqrt(float(w.mean(dtype=np.float64))) for w in weights]) / eps


def _eps(rule: str, hyper: tuple[float, ...], t: int) -> float:
    """What sqrt(v) is compared with at step t: as csrc/catalog.def says where each rule has it."""
    if rule in ("adam", "adamw"):
        _, beta2, eps, uncorrected = hyper
        return eps if uncorrected else eps * math.sqrt(1 - beta2**t)
    inside, outside = hyper[-2:] if rule == "adagrad" else hyper[1:3]
    return math.sqrt(inside) + outside


def tell_below(over_eps: np.ndarray) -> str:
    """A sentence on the layers in which gradients are below eps; "" if there are none.

    >>> tell_below(np.array([0.01, 0.1, 0.9, 3.0]))
    "In layers 1 to 3 gradients are below the optimizer's eps, and steps go by their size there, too."
    """
    below = [l for l, ratio in enumerate(over_eps, 1) if ratio < 1]
    if not below:
        return ""
    together = below[-1] - below[0] == len(below) - 1
    which = f"{below[0]} to {below[-1]}" if together and len(below) > 2 else " and ".join(map(str, below))
    layers = f"layer{'s' if len(below) > 1 else ''} {which}"
    return f"In {layers} gradients are below the optimizer's eps, and steps go by their size there, too."
