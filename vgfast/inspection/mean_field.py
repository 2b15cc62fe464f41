"""What the gradient's gain at each layer should be, from the variances of weights and biases and the activation
alone: mean-field theory. ``predict`` is of one net, of finite width, with a band.

In a wide layer with random weights each pre-activation is a sum of many independent terms, so z_l ~ N(0, q_l),
and what the layer does to signals depends on a few averages over x ~ N(0, 1) only. With sw2 = n_in Var[W] and
sb2 = Var[b]:

    lengths     q_l = sw2 E[phi(sqrt(q_{l-1}) x)²] + sb2, which settles at the fixed point q*
    gradients   chi = sw2 E[phi'(sqrt(q*) x)²], the factor of ‖delta‖² per layer; the gain is its square root

chi < 1: the gradient vanishes (the ordered phase); chi > 1: it explodes (chaos); sw2 is critical at chi = 1.

>>> from vgfast.inspection import mean_field
>>> round(1 / mean_field.gain("sigmoid", sw2=1, sb2=1), 2)  # Nielsen's first weights: a fifth is left per layer
4.88
>>> round(mean_field.critical_variance("tanh", sb2=0.05), 2)
1.76
>>> mean_field.critical_variance("relu")  # He's
2.0

Sources: Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, "Exponential expressivity in deep neural networks through
transient chaos" (2016) for q; Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep information propagation" (2017)
for chi and the depth scale; Hanin, "Which neural net architectures give rise to exploding and vanishing
gradients?" (2018) for finite width; Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks"
(2017) for SELU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.inspection.finite_width import predict, predict_from_moments
from vgfast.inspection.moments import listed
from vgfast.model.activations import CATALOG, Given, name_of
from vgfast.model.averages import of_derivative, of_value
from vgfast.model.critical import CriticalPoint, critical_point_at

__all__ = [
    "chi",
    "critical_point",
    "critical_variance",
    "depth_scale",
    "fixed_point",
    "gain",
    "length_map",
    "predict",
    "predict_from_moments",
    "relu_moment_ratio",
    "selu_jacobian",
]

# A fixed point is looked for in steps of this factor, and so far from where q begins.
STEP, RANGE = 1.25, 1e12


# ---- infinite width, any depth --------------------------------------------------------------------------


def _checked(activation: Any, sw2: Any, sb2: Any) -> tuple[str, float, float]:
    return (
        name_of(activation),
        _check.real("sw2, the inputs' number times the weights' variance,", sw2, 0),
        _check.real("sb2, the biases' variance,", sb2, 0),
    )


def length_map(q: float, activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """The variance of z in the layer after one in which it is q.

    q, sw2 = n_in Var[W], sb2 = Var[b]: at least 0. Errors, here and below: ValueError or TypeError for a number
    that is not, or an unknown activation.

    >>> length_map(3.0, "relu", sw2=2)
    3.0
    """
    activation, sw2, sb2 = _checked(activation, sw2, sb2)
    return float(sw2 * of_value(activation, _check.real("q, a variance,", q, 0)).mean + sb2)


def fixed_point(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """q*, the variance of z that many layers lead to, from inputs of mean square 1 where that depends on the inputs.

    Infinity, if it grows without end; for identity and the ReLUs NaN where every q stays as it is.

    >>> round(fixed_point("sigmoid", sw2=1, sb2=1), 6)
    1.302134
    """
    activation, sw2, sb2 = _checked(activation, sw2, sb2)
    if CATALOG[activation].slope_below is not None:
        factor = sw2 * float(of_derivative(activation, 1.0).mean)
        if factor < 1:
            return sb2 / (1 - factor)
        return math.nan if factor == 1 and sb2 == 0 else math.inf
    phi, zero = CATALOG[activation], np.zeros(())
    if not phi.squashing:
        return _nearest_fixed_point(activation, sw2, sb2)
    if sb2 == 0 and phi.value(zero) == 0 and sw2 * phi.derivative(zero) ** 2 <= 1:
        return 0.0
    # The map is concave in q, and at most sw2 times the largest phi²: Newton from the right cannot overshoot.
    q = sw2 * float((phi.value(np.array([-1e300, 1e300])) ** 2).max()) + sb2
    for _ in range(200):
        value = of_value(activation, q)
        mapped = sw2 * value.mean
        after = float(q - (q - mapped - sb2) / (1 - mapped * value.slope / q)) if q > 0 else q
        if not 0 < after < q:
            break
        q = after
    return q


def _nearest_fixed_point(activation: str, sw2: float, sb2: float) -> float:
    """The first that q comes to in steps from sw2 + sb2 on, up or down: as the map rises with q, it passes none.

    The map of gelu and its like is not concave: it may have a fixed point from which q drifts away, to 0 or without
    end.
    """

    def rise(q: Any) -> Any:
        return sw2 * of_value(activation, q).mean + sb2 - q

    start = sw2 + sb2
    direction = float(np.sign(rise(start)))
    if direction == 0 or start == 0:
        return start
    reach = max(RANGE, 2 * start / sb2) if direction < 0 < sb2 else RANGE  # below sb2 there is none
    steps = start * STEP ** (direction * np.arange(math.log(reach) / math.log(STEP) + 1))
    passed = np.flatnonzero(direction * rise(steps) <= 0)
    if not len(passed):
        return math.inf if direction > 0 else 0.0
    near, far = float(steps[passed[0] - 1]), float(steps[passed[0]])
    while near != (middle := (near + far) / 2) != far:  # until they are neighbours
        near, far = (middle, far) if direction * rise(middle) > 0 else (near, middle)
    return far


def chi(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """The factor of ‖delta‖² per layer, sw2 E[phi'(sqrt(q*) x)²].

    >>> round(chi("tanh", sw2=3, sb2=0.05), 4)  # above 1: explodes
    1.2089
    """
    activation, sw2, sb2 = _checked(activation, sw2, sb2)
    curved = CATALOG[activation].slope_below is None
    q = fixed_point(activation, sw2, sb2) if curved else 1.0  # of straight lines, phi' does not depend on it
    return float(sw2 * of_derivative(activation, min(q, RANGE)).mean)


def gain(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """The factor of ‖delta‖ per layer, sqrt(chi).

    >>> round(gain("sigmoid", sw2=1, sb2=1), 6)
    0.204841
    """
    return math.sqrt(chi(activation, sw2, sb2))


def depth_scale(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """In how many layers ‖delta‖² changes by a factor of e: 1 / |ln chi|; infinite where chi = 1.

    >>> round(depth_scale("tanh", sw2=1.5, sb2=0.05), 2)
    15.79
    """
    factor = chi(activation, sw2, sb2)
    if factor == 0:
        return 0.0
    return math.inf if factor == 1 else 1 / abs(math.log(factor))


def critical_variance(activation: Given, sb2: float = 0.0) -> float:
    """The sw2 = n_in Var[W] at which chi = 1: gradients neither vanish nor explode. For gelu, silu, mish and hardswish
    without biases chi jumps there, as q then no longer falls to 0 but grows without end; see ``critical_point``.

    >>> critical_variance("identity")
    1.0
    """
    activation, _, sb2 = _checked(activation, 0.0, sb2)
    if CATALOG[activation].slope_below is not None:
        return 1 / float(of_derivative(activation, 1.0).mean)
    low, high = 0.0, 1.0
    while chi(activation, high, sb2) < 1:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:  # until they are neighbours
        low, high = (middle, high) if chi(activation, middle, sb2) < 1 else (low, middle)
    return high


def critical_point(activation: Given, q: float = 1.0) -> CriticalPoint:
    """The sw2 and sb2 for which layers keep this q, a variance above 0, and chi = 1: what ``vg.init.critical`` draws.

    A negative sb2: there are none. A slope above 1: a q that is a little off drifts away from this one.

    >>> [round(number, 4) for number in critical_point("tanh")]
    [1.0, 2.1533, 0.151, 0.3915]
    """
    activation, _, _ = _checked(activation, 0.0, 0.0)
    return critical_point_at(activation, _check.real("q, a variance,", q, 0, above=True))


# ---- closed forms ---------------------------------------------------------------------------------------


def relu_moment_ratio(widths: Sequence[int]) -> float:
    """E‖delta‖⁴ / (E‖delta‖²)² after going back through ReLU layers of these widths: the product of 1 + 5 / n.

    How unequal nets of one shape are: nearly 1 if the sum of 1 / n is small, whatever the depth (Hanin 2018).

    >>> round(relu_moment_ratio([20] * 5), 2)
    3.05
    """
    return math.prod(1 + 5 / _check.integer("a width", n, 1) for n in listed("widths", widths))


def selu_jacobian() -> np.ndarray:
    """(2, 2) derivatives of a SELU layer's (mean, variance) by those before it, at the fixed point (0, 1) with
    weights that sum to 0 and have the square sum 1: eigenvalues below 1, so the point attracts.

    Klambauer et al. 2017, equations 4 and 5, differentiated by the variance under the integral.

    >>> selu_jacobian().round(5).tolist()
    [[0.0, 0.08883], [0.0, 0.78265]]
    """
    scale, alpha = 1.0507009873554805, 1.6732632423543778
    below1, below2 = (math.exp(k * k / 2) * math.erfc(k / math.sqrt(2)) / 2 for k in (1, 2))  # e^(k²/2) P(x < -k)
    mean = scale / 2 * (alpha * below1 + (1 - alpha) / math.sqrt(2 * math.pi))
    variance = scale**2 * (0.5 + alpha**2 * (2 * below2 - below1))
    return np.array([[0.0, mean], [0.0, variance]])
