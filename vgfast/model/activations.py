"""The activations: what is known of each, from the core's catalog, and its formulas in NumPy.

leaky_relu and elu have a parameter: ``activation=vg.activations.leaky_relu(0.2)``, for all hidden layers or as one of a
list; by their names alone it is 0.01 and 1.

>>> import numpy as np, vgfast as vg
>>> vg.activations.NAMES[:4]
('identity', 'sigmoid', 'tanh', 'relu')
>>> sigmoid = vg.activations.CATALOG["sigmoid"]
>>> sigmoid.largest_derivative, sigmoid.squashing, sigmoid.derivative(np.array([0.0])).tolist()
(0.25, True, [0.25])
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check, _core

NAMES = _core.ACTIVATIONS

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


def _leaky_relu(z: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(z > 0, z, z.dtype.type(alpha) * z)


def _leaky_relu_derivative(z: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(z > 0, z.dtype.type(1), z.dtype.type(alpha))


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


def _elu(z: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(z > 0, z, z.dtype.type(alpha) * np.expm1(np.minimum(z, 0)))


def _elu_derivative(z: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(z > 0, z.dtype.type(1), z.dtype.type(alpha) * np.exp(np.minimum(z, 0)))


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


# (phi, phi') of z; and of z and alpha.
FORMULAS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (np.tanh, tanh_derivative),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "leaky_relu": (_leaky_relu, _leaky_relu_derivative),
    "softsign": (softsign, softsign_derivative),
    "scaled_tanh": (scaled_tanh, scaled_tanh_derivative),
    "elu": (_elu, _elu_derivative),
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
    """One line of the catalog, and its formulas. Of another parameter than the catalog's, the ``name`` tells it, as in
    ``leaky_relu(0.2)``.

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

    def __repr__(self) -> str:
        made = f"{self.kind}({_spell(self.alpha)})" if self.kind in WITH_ALPHA else f"CATALOG[{self.name!r}]"
        return f"vg.activations.{made}"

    def __reduce__(self) -> tuple[Any, ...]:
        return find, (self.name,)  # its formulas are no data

    @property
    def kind(self) -> str:
        """The name without a parameter."""
        return self.name.partition("(")[0]

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


# As it may be given.
Given = str | Activation


class _Catalog(dict[str, Activation]):
    """By name, those that ``NAMES`` lists; of a name with another parameter, one that is made when it is asked for."""

    def __missing__(self, name: str) -> Activation:
        spelled = _SPELLED.fullmatch(name)
        if spelled is None or spelled["kind"] not in WITH_ALPHA:
            raise KeyError(name)
        return _make(spelled["kind"], _check_alpha(spelled["kind"], float(spelled["alpha"])))


_SPELLED = re.compile(r"(?P<kind>\w+)\((?P<alpha>[^()]*)\)")


def _spell(alpha: float) -> str:
    return repr(alpha).removesuffix(".0")


def _formulas(kind: str, alpha: float) -> tuple[Function, Function]:
    value, derivative = FORMULAS[kind]
    return (partial(value, alpha=alpha), partial(derivative, alpha=alpha)) if alpha else (value, derivative)


# Each has its formulas: tests/model/test_activations.py names one that has not.
CATALOG = _Catalog(
    (line[0], Activation(*line, *_formulas(*line[:2]))) for line in _core.activation_facts() if line[0] in FORMULAS
)
WITH_ALPHA = tuple(name for name, of in CATALOG.items() if of.alpha)
SQUASHING = tuple(name for name, of in CATALOG.items() if of.squashing)


# ---- those with a parameter -----------------------------------------------------------------------------


def leaky_relu(alpha: float = 0.01) -> Activation:
    """z right of 0, alpha z left of it: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic
    models" (2013), with 0.01. Keras has 0.2.

    alpha: at least 0, as the way back tells the side of 0 by the sign of the output. ``init="auto"`` draws weights of
    variance 2 / ((1 + alpha²) n_in), but 2 / n_in for 0.01.
    Errors: TypeError or ValueError for another alpha.

    >>> import vgfast as vg
    >>> vg.MLP([4, 8, 8, 3], vg.activations.leaky_relu(0.2), rng=0).activations
    ('leaky_relu(0.2)', 'leaky_relu(0.2)')
    """
    return _make("leaky_relu", _check_alpha("leaky_relu", alpha))


def elu(alpha: float = 1.0) -> Activation:
    """z right of 0, alpha (e^z - 1) left of it: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network
    learning by exponential linear units (ELUs)" (2016). Unless alpha is 1, its slope jumps at 0.

    alpha: at least 0, as below that it would fall left of 0 where it rises right of it.
    Errors: TypeError or ValueError for another alpha.

    >>> import numpy as np, vgfast as vg
    >>> vg.activations.elu(0.5).value(np.array([-50.0, 2.0])).tolist()
    [-0.5, 2.0]
    """
    return _make("elu", _check_alpha("elu", alpha))


_WHY = {
    "leaky_relu": "the way back tells the side of 0 by the sign of the output",
    "elu": "below that it would fall left of 0 and rise right of it",
}


def _check_alpha(kind: str, alpha: Any) -> float:
    """Finite in float32, too."""
    name = f"alpha, the parameter of {kind},"
    if isinstance(alpha, int | float | np.number) and alpha < 0:
        raise ValueError(f"{name} must be at least 0, as {_WHY[kind]}, got {alpha}; use {_spell(-float(alpha))}")
    return _check.real(name, alpha, 0, below=float(np.finfo(np.float32).max)) + 0.0  # of -0, 0


@lru_cache(256)  # so that two of the same parameter are one
def _make(kind: str, alpha: float) -> Activation:
    plain = CATALOG[kind]
    if alpha == plain.alpha:
        return plain
    value, derivative = (partial(f, alpha=alpha) for f in FORMULAS[kind])
    name, largest = f"{kind}({_spell(alpha)})", max(1.0, alpha)
    return plain._replace(name=name, alpha=alpha, largest_derivative=largest, value=value, derivative=derivative)


# ---- by name --------------------------------------------------------------------------------------------


def find(name: str) -> Activation:
    """That of a checked name."""
    return CATALOG[name]


def name_of(value: Any) -> str:
    """The name of an activation given by its name or as an object; TypeError or ValueError for anything else."""
    if isinstance(value, Activation):
        return value.name
    if _is_uncalled(value):
        raise TypeError(
            f"activation must be a name or an object, got the function vg.activations.{value.__name__}; call it: "
            f"vg.activations.{value.__name__}({_spell(CATALOG[value.__name__].alpha)})"
        )
    spelled = _SPELLED.fullmatch(value) if isinstance(value, str) else None
    if spelled is None or spelled["kind"] not in NAMES:
        return _check.choice("activation", value, NAMES)
    kind, alpha = spelled.groups()
    if kind not in WITH_ALPHA:
        raise ValueError(f"{kind} has no parameter, got activation={value!r}; use {kind!r}")
    try:
        number = float(alpha)
    except ValueError:
        raise ValueError(f"the parameter of {kind} must be a number, got {value!r}; use '{kind}(0.2)'") from None
    return _make(kind, _check_alpha(kind, number)).name


def _is_uncalled(value: Any) -> bool:
    return value is leaky_relu or value is elu


def names_of(value: Any, n_hidden: int) -> tuple[str, ...]:
    """Of one activation for all hidden layers, or of one a hidden layer."""
    if isinstance(value, str | Activation) or _is_uncalled(value):
        return (name_of(value),) * n_hidden
    try:
        given = list(value)
    except TypeError:
        raise TypeError(f"activation must be a name or a list of names, got {_check.quote(value)}") from None
    if len(given) != n_hidden:
        raise ValueError(
            f"activation must be one name, or one for each of the {n_hidden} hidden layers; got {len(given)}"
        )
    return tuple(name_of(item) for item in given)
