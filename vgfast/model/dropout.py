"""Dropout of hidden outputs: ``vg.MLP(..., dropout=...)`` takes a rate or ``vg.dropout.alpha(rate)``, or one a
hidden layer.

>>> import vgfast as vg
>>> vg.MLP([4, 20, 20, 3], "selu", dropout=[vg.dropout.alpha(0.05), 0.0], rng=0).dropout
(vg.dropout.alpha(0.05), 0.0)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from vgfast import _check
from vgfast.model.activations import SELU_ALPHA, SELU_SCALE

__all__ = ["alpha"]

END = -SELU_SCALE * SELU_ALPHA  # of selu on the left
_MEANT = "the share of outputs that a step goes without,"


class AlphaDropout(NamedTuple):
    """What ``alpha`` returns."""

    rate: float

    def __repr__(self) -> str:
        return f"vg.dropout.alpha({self.rate!r})"


Given = float | AlphaDropout  # a rate is of plain dropout


class Dropped(NamedTuple):
    """What a step makes of an output a: with the probability ``keep`` it is ``scale`` a + ``shift``, and phi' so many
    times as large; else it is ``dropped``, and phi' 0. ``end``: what an output that is dropped was replaced by, before
    scale and shift."""

    keep: float
    scale: float
    shift: float
    dropped: float
    end: float

    @property
    def slope_square(self) -> float:
        """Of what phi' is multiplied by, the mean square."""
        return self.scale**2 * self.keep

    def mean(self, mean: Any) -> Any:
        """Of what is left of outputs with this mean."""
        return self.scale * self.keep * mean

    def square(self, mean: Any, square: Any) -> Any:
        """The mean square of what is left of outputs with this mean and mean square."""
        return self.slope_square * (square + (1 - self.keep) * self.end * (self.end - 2 * mean))

    def variance(self, mean: Any, variance: Any) -> Any:
        """The same of variances."""
        return self.slope_square * (variance + (1 - self.keep) * (self.end - mean) ** 2)


def alpha(rate: float) -> AlphaDropout:
    """Alpha dropout, for nets of selu: outputs that a step goes without are not 0 but where selu ends on the left,
    -1.7581, and all are scaled and shifted so that a mean of 0 and a variance of 1 stay what they are.

    With the probability rate, at least 0 and below 1, an output a is -1.7581 A + C, else a A + C, where
    A = ((1 - rate)(1 + rate 1.7581²))^-1/2 and C = 1.7581 rate A. Predictions take all outputs as they are. As
    ``torch.nn.AlphaDropout``; 0.05 and 0.1 are usual. Behind other activations, whose outputs have another mean or
    variance, it is computed all the same, and keeps neither. Errors: TypeError or ValueError for another rate.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks" (2017).

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(4), [0, 1, 1, 0]
    >>> net = vg.MLP([4, 8, 8, 2], "selu", dropout=vg.dropout.alpha(0.1), rng=0)
    >>> bool(net.gradients(X, y).loss == net.evaluate(X, y).loss)  # which drops nothing
    False
    """
    return AlphaDropout(_check.real(f"rate, {_MEANT}", rate, 0, below=1))


def rate_of(given: Given) -> float:
    return given.rate if isinstance(given, AlphaDropout) else given


def dropped(given: Given) -> Dropped:
    """What it does; of a rate of 0, nothing."""
    keep = 1 - rate_of(given)
    if not isinstance(given, AlphaDropout):
        return Dropped(keep, 1 / keep, 0.0, 0.0, 0.0)
    scale = 1 / math.sqrt(keep + END * END * keep * (1 - keep))  # in the order of csrc/kernels.h: the same bits
    shift = -scale * END * (1 - keep)
    return Dropped(keep, scale, shift, scale * END + shift, END)


def _checked(name: str, value: Any) -> Given:
    if isinstance(value, AlphaDropout):
        return value if 1 - value.rate < 1 else 0.0
    if value is alpha:
        raise TypeError(
            f"{name} must be a rate or an object, got the function vg.dropout.alpha; call it with the rate, as "
            f"vg.dropout.alpha(0.1)"
        )
    rate = _check.real(name, value, 0, below=1)
    return rate if 1 - rate < 1 else 0.0  # else all outputs would be kept


def checked(value: Any, n_hidden: int) -> tuple[Given, ...]:
    """One for all hidden layers, or one a hidden layer; () where all rates are 0."""
    if isinstance(value, str | AlphaDropout) or not hasattr(value, "__len__") or not getattr(value, "ndim", 1):
        found = (_checked(f"dropout, {_MEANT}", value),) * n_hidden
    elif len(value) != n_hidden:
        raise ValueError(f"dropout must be one rate, or one for each of the {n_hidden} hidden layers; got {len(value)}")
    else:
        found = tuple(_checked(f"dropout[{l}]", one) for l, one in enumerate(value))
    return found if any(map(rate_of, found)) else ()


def to_plain(given: tuple[Given, ...]) -> list[Any]:
    """As a file has it."""
    return [["alpha", one.rate] if isinstance(one, AlphaDropout) else one for one in given]


def from_plain(value: Any) -> list[Any]:
    """Of that; TypeError or ValueError if it is none."""
    found: list[Any] = []
    for one in value:
        if isinstance(one, list):
            kind, rate = one
            one = {"alpha": alpha}[_check.choice("dropout", kind, ("alpha",))](rate)
        found.append(one)
    return found
