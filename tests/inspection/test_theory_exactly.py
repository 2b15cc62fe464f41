"""What theory says of each activation, to 12 digits: against mpmath's quadrature of formulas of its own.

With z ~ N(0, q), m1 = E phi, m2 = E phi², d2 = E phi'² and c = E phi phi' z, of layers without biases, at q = 1:

    chi_BN, chi_RMS    d2 / (m2 - m1²) and d2 / m2, of batch, and of RMS or layer norm before phi

and where layers keep a q, with gradients that keep their length:

    sw2, sb2, slope    1 / d2, q - m2 / d2, and sw2 c / q, of the map from q to sw2 E phi(sqrt(q) x)² + sb2
"""

from functools import cache

import pytest
from exact_activations import EXACT
from mpmath import mp

from vgfast import _core
from vgfast.inspection import mean_field, normalized_field
from vgfast.model import averages
from vgfast.model.critical import critical_point_at

# Where integrals are cut: where formulas meet, and where exp(-|z|) is nothing beside 1. Beyond 10 deviations lies less
# than 1e-22 of a distribution.
JOINTS, END = (-40, -3, -1, 0, 1, 3, 40), 10
# Of some hundred nodes in float64, with weights and values right to some ULP each: seen are 3e-14.
CLOSE = 1e-12


def average(f, q):
    """E f(z), z ~ N(0, q), by Gauss-Legendre."""
    deviation = mp.sqrt(q)
    joints = (joint / deviation for joint in JOINTS)
    edges = [-END, *(x for x in joints if abs(x) < END), END]
    return mp.quad(lambda x: f(deviation * x) * mp.npdf(x), edges, method="gauss-legendre")


@cache
def moments(activation, q=1.0):
    """(m1, m2, d2, c)."""
    phi, derivative = EXACT[activation]
    terms = (phi, lambda z: phi(z) ** 2, lambda z: derivative(z) ** 2, lambda z: phi(z) * derivative(z) * z)
    return tuple(average(term, q) for term in terms)


def check_critical_point(activation, q):
    _, m2, d2, c = moments(activation, q)
    point = critical_point_at(activation, q)
    assert point.sw2 == pytest.approx(float(1 / d2), rel=CLOSE)
    assert point.sb2 == pytest.approx(float(q - m2 / d2), rel=0, abs=CLOSE * max(q, float(m2 / d2)))
    assert point.slope == pytest.approx(float(c / d2 / q), rel=CLOSE)


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_each_activation(activation):
    m1, m2, d2, _ = moments(activation)
    assert normalized_field.chi(activation, "batch") == pytest.approx(float(d2 / (m2 - m1**2)), rel=CLOSE)
    for kind in ("rms", "layer"):
        assert normalized_field.chi(activation, kind) == pytest.approx(float(d2 / m2), rel=CLOSE)
    check_critical_point(activation, 1.0)


@pytest.mark.parametrize(("activation", "q"), [("gelu", 5.0), ("silu", 20.0), ("mish", 2.0), ("tanh", 1e-4)])
def test_critical_points_at_other_lengths(activation, q):
    check_critical_point(activation, q)


def test_the_sigmoids_critical_variance_without_biases():
    """Both equations hold: q = sw2 m2 and 1 = sw2 d2. (In print: 103.008 and 45.62.)"""
    sw2 = mean_field.critical_variance("sigmoid")
    q = mean_field.fixed_point("sigmoid", sw2)
    phi, derivative = EXACT["sigmoid"]
    assert sw2 * float(average(lambda z: phi(z) ** 2, q)) == pytest.approx(q, rel=CLOSE)
    assert sw2 * float(average(lambda z: derivative(z) ** 2, q)) == pytest.approx(1, rel=CLOSE)
    assert (sw2, q) == (pytest.approx(103.008, abs=5e-4), pytest.approx(45.62, abs=5e-3))


@pytest.mark.parametrize("q", [1e-12, 30.0, 1e6])
@pytest.mark.parametrize("activation", ["sigmoid", "gelu", "hardswish", "selu", "leaky_relu"])
def test_variances_of_values(activation, q):
    """At q = 1e-12, m2 - m1² would have three digits of the sigmoid's."""
    phi, _ = EXACT[activation]
    m1 = average(phi, q)
    exact = float(average(lambda z: (phi(z) - m1) ** 2, q))
    assert averages.variance_of_value(activation, q) == pytest.approx(exact, rel=CLOSE)


# ---- others' figures, to the digits in which they are printed ----------------------------------------------------

# chi_BN (gelu's, 1.318845, was rounded twice); and chi without a normalization where sw2 = 1 and sb2 = 0 lead, from
# inputs of mean square 1.
PRINTED = {
    "sigmoid": ("1.0336", "0.0557"),
    "tanh": ("1.1778", "1.0000"),
    "scaled_tanh": ("1.0714", "1.0193"),
    "softsign": ("1.2440", "1.0000"),
    "relu": ("1.4669", "0.5"),
    "elu": ("1.0790", "1.0000"),
    "selu": ("1.0716", "1.0716"),
    "softplus": ("1.0805", "0.2887"),
    "gelu": ("1.3189", "0.25"),
    "silu": ("1.2121", "0.25"),
    "mish": ("1.2143", "0.36"),
    "hardtanh": ("1.3229", "1.0000"),
    "hardsigmoid": ("1.0023", "0.0278"),
    "hardswish": ("1.1796", "0.25"),
}


@pytest.mark.parametrize("activation", PRINTED)
def test_printed_figures(activation):
    for found, printed in zip(
        (normalized_field.chi(activation, "batch"), mean_field.chi(activation, 1.0)), PRINTED[activation], strict=True
    ):
        assert found == pytest.approx(float(printed), abs=0.6 * 10.0 ** -len(printed.split(".")[1]))
