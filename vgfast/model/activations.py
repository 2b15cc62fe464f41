"""The activations: what is known of each, from the core's catalog, and its formulas in NumPy.

>>> import numpy as np, vgfast as vg
>>> vg.activations.NAMES[:4]
('identity', 'sigmoid', 'tanh', 'relu')
>>> sigmoid = vg.activations.CATALOG["sigmoid"]
>>> sigmoid.largest_derivative, sigmoid.squashing, sigmoid.derivative(np.array([0.0])).tolist()
(0.25, True, [0.25])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vgfast import _core

NAMES = _core.ACTIVATIONS
_ALPHA = {name: alpha for name, alpha, *_ in _core.activation_facts()}

Function = Callable[[np.ndarray], np.ndarray]


# ---- the formulas: phi(z) and phi'(z), in the dtype of z ------------------------------------------------


def sigmoid(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))  # never overflows
    return np.where(z > 0, 1, e) / (1 + e)


def sigmoid_derivative(z: np.ndarray) -> np.ndarray:
    return sigmoid(z) * sigmoid(-z)


def tanh_derivative(z: np.ndarray) -> np.ndarray:
    e = np.exp(-2 * np.abs(z))  # 1 - tanh(z)^2 would be 0 as soon as tanh(z) is rounded to 1
    return 4 * e / (1 + e) ** 2


def leaky_relu(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, z, z.dtype.type(_ALPHA["leaky_relu"]) * z)


def leaky_relu_derivative(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, z.dtype.type(1), z.dtype.type(_ALPHA["leaky_relu"]))


def softsign(z: np.ndarray) -> np.ndarray:
    """Bergstra, Desjardins, Lamblin, Bengio, "Quadratic polynomials learn better image features" (2009)."""
    return z / (1 + np.abs(z))


def softsign_derivative(z: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.abs(z))) ** 2


FORMULAS: dict[str, tuple[Function, Function]] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (np.tanh, tanh_derivative),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "leaky_relu": (leaky_relu, leaky_relu_derivative),
    "softsign": (softsign, softsign_derivative),
}


# ---- what is known of them ------------------------------------------------------------------------------


class Activation(NamedTuple):
    """One line of the catalog, and its formulas.

    ``alpha``: its parameter, 0 without one. ``form``: how the core has phi' on the way back, "one", "step",
    "leak" (both from the output) or "stored". ``operations`` and ``functions``: of phi, and of phi' if it is stored,
    for one value (``vgfast.cost.counts``). ``squashing``: whether phi' vanishes at both ends. ``value``,
    ``derivative``: phi and phi' of an array.
    """

    name: str
    alpha: float
    form: str
    largest_derivative: float
    operations: int
    functions: int
    squashing: bool
    value: Function
    derivative: Function

    @property
    def stored(self) -> bool:
        """Whether phi' is stored on the way forward."""
        return self.form == "stored"

    @property
    def has_kink(self) -> bool:
        """Whether phi is two straight lines that meet at 0 with different slopes."""
        return self.form in ("step", "leak")

    @property
    def slope_below(self) -> float | None:
        """The slope below 0 of two straight lines, of which the other has 1; None if phi is curved."""
        return {"one": 1.0, "step": 0.0, "leak": self.alpha}.get(self.form)

    @property
    def saturated_below(self) -> float:
        """A value whose phi' is less is saturated: 1 % of the largest."""
        return 0.01 * self.largest_derivative


# Each has its formulas: tests/model/test_activations.py names one that has not.
CATALOG = {line[0]: Activation(*line, *FORMULAS[line[0]]) for line in _core.activation_facts() if line[0] in FORMULAS}
SQUASHING = tuple(name for name, of in CATALOG.items() if of.squashing)
