"""The activations: what is known of each, from the core's catalog, and its formulas in NumPy.

>>> import numpy as np, vgfast as vg
>>> vg.activations.NAMES[:4]
('identity', 'sigmoid', 'tanh', 'relu')
>>> sigmoid = vg.activations.CATALOG["sigmoid"]
>>> sigmoid.largest_derivative, sigmoid.squashing, sigmoid.derivative(np.array([0.0])).tolist()
(0.25, True, [0.25])
"""

from __future__ import annotations

import math
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


def scaled_tanh(z: np.ndarray) -> np.ndarray:
    """Whose value at 1 is 1: LeCun, Bottou, Orr, Müller, "Efficient BackProp" (1998), section 4.4."""
    return 1.7159 * np.tanh(2 * z / 3)


def scaled_tanh_derivative(z: np.ndarray) -> np.ndarray:
    return 1.7159 * 2 / 3 * tanh_derivative(2 * z / 3)


def elu(z: np.ndarray) -> np.ndarray:
    """Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units (ELUs)"
    (2016)."""
    return np.where(z > 0, z, z.dtype.type(_ALPHA["elu"]) * np.expm1(np.minimum(z, 0)))


def elu_derivative(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, z.dtype.type(1), z.dtype.type(_ALPHA["elu"]) * np.exp(np.minimum(z, 0)))


# For which z of mean 0 and variance 1 stays so: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural
# networks" (2017).
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


def selu(z: np.ndarray) -> np.ndarray:
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def selu_derivative(z: np.ndarray) -> np.ndarray:
    return SELU_SCALE * np.where(z > 0, z.dtype.type(1), SELU_ALPHA * np.exp(np.minimum(z, 0)))


def softplus(z: np.ndarray) -> np.ndarray:
    """log(1 + e^z), whose derivative is the sigmoid."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def normal_cdf(z: np.ndarray) -> np.ndarray:
    """Phi(z), the chance that a number from N(0, 1) is below z; through erfc, which keeps its digits where it is small,
    as (1 + erf) / 2 does not."""
    tail = np.frompyfunc(math.erfc, 1, 1)(-z.astype(np.float64) / math.sqrt(2))
    return (np.asarray(tail, np.float64) / 2).astype(z.dtype)


def gelu(z: np.ndarray) -> np.ndarray:
    """z Phi(z): Hendrycks, Gimpel, "Gaussian error linear units" (2016)."""
    return z * normal_cdf(z)


def gelu_derivative(z: np.ndarray) -> np.ndarray:
    return normal_cdf(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _gelu_argument(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w with gelu(z) nearly z sigmoid(w), and z w'."""
    within = np.clip(z, -100, 100)  # the sigmoid is 0 or 1 beyond, and a cube could overflow
    c = math.sqrt(8 / math.pi)
    return c * (within + 0.044715 * within**3), c * (within + 3 * 0.044715 * within**3)


def gelu_tanh(z: np.ndarray) -> np.ndarray:
    """z (1 + tanh(w / 2)) / 2, with w = sqrt(8 / pi) (z + 0.044715 z³): at most 0.00047 from gelu (same source)."""
    return z * sigmoid(_gelu_argument(z)[0])


def gelu_tanh_derivative(z: np.ndarray) -> np.ndarray:
    w, growth = _gelu_argument(z)
    return sigmoid(w) * (1 + growth * sigmoid(-w))


def silu(z: np.ndarray) -> np.ndarray:
    """z sigmoid(z), also called swish: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units" (2018)."""
    return z * sigmoid(z)


def silu_derivative(z: np.ndarray) -> np.ndarray:
    return sigmoid(z) * (1 + z * sigmoid(-z))


def mish(z: np.ndarray) -> np.ndarray:
    """z tanh(softplus(z)): Misra, "Mish: a self regularized non-monotonic activation function" (2020)."""
    return z * np.tanh(softplus(z))


def mish_derivative(z: np.ndarray) -> np.ndarray:
    t = np.tanh(softplus(z))
    return t + z * (1 - t * t) * sigmoid(z)


def hardsigmoid(z: np.ndarray) -> np.ndarray:
    """z / 6 + 1 / 2 between 0 and 1."""
    return np.clip(z + 3, 0, 6) / 6


def hardsigmoid_derivative(z: np.ndarray) -> np.ndarray:
    return (np.abs(z) < 3).astype(z.dtype) / 6


def hardswish(z: np.ndarray) -> np.ndarray:
    """z hardsigmoid(z): Howard et al., "Searching for MobileNetV3" (2019)."""
    return np.maximum(z, -3) * hardsigmoid(z)


def hardswish_derivative(z: np.ndarray) -> np.ndarray:
    return np.where(np.abs(z) < 3, (2 * z + 3) / 6, (z > 0).astype(z.dtype))


FORMULAS: dict[str, tuple[Function, Function]] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (np.tanh, tanh_derivative),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "leaky_relu": (leaky_relu, leaky_relu_derivative),
    "softsign": (softsign, softsign_derivative),
    "scaled_tanh": (scaled_tanh, scaled_tanh_derivative),
    "elu": (elu, elu_derivative),
    "selu": (selu, selu_derivative),
    "softplus": (softplus, sigmoid),
    "gelu": (gelu, gelu_derivative),
    "gelu_tanh": (gelu_tanh, gelu_tanh_derivative),
    "silu": (silu, silu_derivative),
    "mish": (mish, mish_derivative),
    "hardtanh": (lambda z: np.clip(z, -1, 1), lambda z: (np.abs(z) < 1).astype(z.dtype)),
    "hardsigmoid": (hardsigmoid, hardsigmoid_derivative),
    "hardswish": (hardswish, hardswish_derivative),
}


# ---- what is known of them ------------------------------------------------------------------------------


class Activation(NamedTuple):
    """One line of the catalog, and its formulas.

    ``alpha``: its parameter, 0 without one. ``form``: how the core has phi' on the way back, "one", "step",
    "leak" (both from the output) or "stored". ``operations`` and ``functions``: of phi, and of phi' if it is stored,
    for one value (``vgfast.cost.counts``). ``squashing``: whether phi' vanishes at both ends. ``joint``: the |z| at
    which two formulas meet, 0 also without one. ``value``, ``derivative``: phi and phi' of an array.
    """

    name: str
    alpha: float
    form: str
    largest_derivative: float
    operations: int
    functions: int
    squashing: bool
    joint: float
    value: Function
    derivative: Function

    @property
    def stored(self) -> bool:
        """Whether phi' is stored on the way forward."""
        return self.form == "stored"

    @property
    def kinks(self) -> tuple[float, ...]:
        """The z at which phi' jumps, as two formulas meet there with different slopes."""
        h = 1e-9  # phi'' is at most 2, where there is one
        around = [(z, self.derivative(np.array([z - h, z + h]))) for z in sorted({-self.joint, self.joint})]
        return tuple(z for z, (below, above) in around if abs(above - below) > 1e-8)

    @property
    def slope_below(self) -> float | None:
        """The slope below 0 of two straight lines, of which the other has 1; None if phi is curved."""
        return {"one": 1.0, "step": 0.0, "leak": self.alpha}.get(self.form)

    @property
    def saturated_below(self) -> float:
        """A value whose |phi'| is less is saturated: 1 % of the largest."""
        return 0.01 * self.largest_derivative


# Each has its formulas: tests/model/test_activations.py names one that has not.
CATALOG = {line[0]: Activation(*line, *FORMULAS[line[0]]) for line in _core.activation_facts() if line[0] in FORMULAS}
SQUASHING = tuple(name for name, of in CATALOG.items() if of.squashing)
