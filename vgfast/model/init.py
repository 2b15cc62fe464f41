"""First weights. Each rule is an object that fills one layer's weights and biases.

==================  ==========================  ==========================================================
rule                weights                     for
==================  ==========================  ==========================================================
``lecun_normal``    N(0, 1 / n_in)              sigmoid as Nielsen has it; tanh; identity
``lecun_uniform``   U(±sqrt(3 / n_in))          the same variance
``glorot_normal``   N(0, 2 / (n_in + n_out))    tanh, sigmoid
``glorot_uniform``  U(±sqrt(6 / (n_in + n_out)))  the same variance
``he_normal``       N(0, 2 / n_in)              relu, leaky_relu
``he_uniform``      U(±sqrt(6 / n_in))          the same variance
``normal``          N(0, std²)
``zeros``           0                           the one that cannot work: all units of a layer stay alike
==================  ==========================  ==========================================================

Sources: LeCun, Bottou, Orr, Müller, "Efficient BackProp" (1998), section 4.6; Glorot, Bengio,
"Understanding the difficulty of training deep feedforward neural networks" (2010), equations 12 and 16; He,
Zhang, Ren, Sun, "Delving deep into rectifiers" (2015), equation 10.

>>> import vgfast as vg
>>> net = vg.MLP([64, 30, 10], "sigmoid", init=vg.init.lecun_normal(bias_std=1.0), rng=0)
>>> round(float(net.weights[0].std() * 64**0.5), 1)
1.0
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vgfast import _check
from vgfast.model.activations import CATALOG
from vgfast.model.architecture import Architecture

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "zeros",
]


class Init(NamedTuple):
    """A rule: the standard deviation of a layer's weights, their distribution, and that of the biases."""

    name: str
    scale: float  # what the variance's denominator divides; or, for `normal`, the standard deviation
    fan: str  # "in", "mean" (of in and out), or "" for a standard deviation that is given
    uniform: bool = False
    bias_std: float = 0.0

    def std(self, n_in: int, n_out: int) -> float:
        """The standard deviation of the weights of a layer of these sizes."""
        if not self.fan:
            return self.scale
        return math.sqrt(self.scale / (n_in if self.fan == "in" else (n_in + n_out) / 2))

    def fill(self, weights: np.ndarray, biases: np.ndarray, rng: np.random.Generator) -> None:
        """Draw in float64, the weights before the biases, so that both dtypes start from the same net."""
        std = self.std(*weights.shape)
        if std == 0:
            weights[...] = 0
        elif self.uniform:
            weights[...] = rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, weights.shape)
        else:
            weights[...] = rng.normal(0, std, weights.shape)
        biases[...] = rng.normal(0, self.bias_std, biases.shape) if self.bias_std else 0


def _rule(name: str, scale: float, fan: str, uniform: bool, bias_std: float) -> Init:
    return Init(name, scale, fan, uniform, _check.real("bias_std", bias_std, 0))


def lecun_normal(bias_std: float = 0.0) -> Init:
    """Weights N(0, 1 / n_in)."""
    return _rule("lecun_normal", 1, "in", False, bias_std)


def lecun_uniform(bias_std: float = 0.0) -> Init:
    """Uniform weights of variance 1 / n_in."""
    return _rule("lecun_uniform", 1, "in", True, bias_std)


def glorot_normal(bias_std: float = 0.0) -> Init:
    """Weights N(0, 2 / (n_in + n_out))."""
    return _rule("glorot_normal", 1, "mean", False, bias_std)


def glorot_uniform(bias_std: float = 0.0) -> Init:
    """Uniform weights of variance 2 / (n_in + n_out)."""
    return _rule("glorot_uniform", 1, "mean", True, bias_std)


def he_normal(bias_std: float = 0.0) -> Init:
    """Weights N(0, 2 / n_in)."""
    return _rule("he_normal", 2, "in", False, bias_std)


def he_uniform(bias_std: float = 0.0) -> Init:
    """Uniform weights of variance 2 / n_in."""
    return _rule("he_uniform", 2, "in", True, bias_std)


def normal(std: float = 0.01, bias_std: float = 0.0) -> Init:
    """Weights N(0, std²), whatever the layer's size."""
    return _rule("normal", _check.real("std", std, 0), "", False, bias_std)


def zeros(bias_std: float = 0.0) -> Init:
    """Weights 0."""
    return _rule("zeros", 0, "", False, bias_std)


NAMES = ("auto", *__all__)


def of_layer(rule: str | Init, activation: str) -> Init:
    """The rule for a layer with this activation: ``auto`` is He for the ReLUs, else Glorot."""
    if isinstance(rule, Init):
        return rule
    if not isinstance(rule, str):
        named = getattr(rule, "__name__", None)
        hint = f"; call it: vg.init.{named}()" if named in __all__ and rule is globals()[named] else ""
        raise TypeError(
            f"init must be a name or an object such as vg.init.normal(0.05), got {_check.quote(rule)}{hint}"
        )
    name = _check.choice("init", rule, NAMES)
    if name == "auto":
        name = "he_normal" if CATALOG[activation].has_kink else "glorot_uniform"
    return globals()[name]()


def rules(rule: str | Init, architecture: Architecture) -> list[Init]:
    """The rule for each layer of such a net."""
    return [of_layer(rule, kind) for kind in architecture.kinds]


def fill(rules: list[Init], weights: list[np.ndarray], biases: list[np.ndarray], rng: np.random.Generator) -> None:
    """Draw all layers, the first one first."""
    for rule, w, b in zip(rules, weights, biases, strict=True):
        rule.fill(w, b, rng)
