"""The critical point of an activation: variances of weights and biases at which signals keep their length and gradients
neither vanish nor explode, in wide layers with random weights."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from vgfast.model.activations import CATALOG
from vgfast.model.averages import of_derivative, of_value

# Where a point that attracts is looked for: the first of these that does.
LENGTHS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)

# Of the biases' variance, relatively to q: what is less is a rounding error.
ROUNDING = 1e-12


class CriticalPoint(NamedTuple):
    """``q``: the variance of z that layers keep. ``sw2``, n_in Var[W], and ``sb2``, Var[b], for it; the gradient's gain
    is then 1 a layer. ``slope``: of the map from one layer's q to the next one's; above 1, a q that is a little off
    drifts away."""

    q: float
    sw2: float
    sb2: float
    slope: float

    @property
    def attracts(self) -> bool:
        return self.slope <= 1


@cache
def critical_point_at(activation: str, q: float) -> CriticalPoint:
    """Those variances for which layers keep this q. A negative sb2: there are none.

    With z ~ N(0, q), gradients keep their length for sw2 = 1 / E[phi'(z)²], and signals for sb2 = q - sw2 E[phi(z)²].
    """
    value = of_value(activation, q)
    sw2 = 1 / float(of_derivative(activation, q).mean)
    kept = sw2 * float(value.mean)
    # Of two straight lines both averages are those of one number.
    sb2 = 0.0 if CATALOG[activation].slope_below is not None or abs(q - kept) <= ROUNDING * q else q - kept
    return CriticalPoint(q, sw2, sb2, float(value.slope) * kept / q)


@cache
def find_critical_point(activation: str) -> CriticalPoint | None:
    """At the first q of LENGTHS that has a point which attracts; None if none has.

    At q = 1 the points of gelu, silu and hardswish repel: through 100 layers a q that is 1 % off is more than doubled
    or halved.
    """
    points = (critical_point_at(activation, q) for q in LENGTHS)
    return next((point for point in points if point.sb2 >= 0 and point.attracts), None)
