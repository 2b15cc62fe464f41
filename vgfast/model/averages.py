"""Averages over z ~ N(0, q) of an activation and of its derivative, which mean-field theory is made of."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from vgfast.model.activations import CATALOG, Activation, Function
from vgfast.model.dropout import Dropped

# Of the quadrature, on each side of 0: for q from 0 to 1e12 its averages are then exact to about 1e-15, relatively.
NODES = 200


class Square(NamedTuple):
    """What is needed of f(z)² for z ~ N(0, q), with f = phi or phi'; each of the shape of q."""

    mean: np.ndarray  # E f²
    spread: np.ndarray  # E f⁴ / (E f²)², at least 1
    slope: np.ndarray  # d ln E f² / d ln q


@cache
def _half_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Those of Gauss-Legendre on [0, 1], and their weights; made when first asked for."""
    x, weights = np.polynomial.legendre.leggauss(NODES)
    return (x + 1) / 2, weights / 2


def _nodes(cut: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """On [-1, 0] and on [0, 1], and each of them cut in two at ``cut`` (..., 1) and -cut."""
    nodes, weights = _half_nodes()
    if cut is not None:
        nodes = np.concatenate([cut * nodes, cut + (1 - cut) * nodes], axis=-1)
        weights = np.concatenate([cut * weights, (1 - cut) * weights], axis=-1)
    return np.concatenate([-nodes[..., ::-1], nodes], axis=-1), np.concatenate([weights[..., ::-1], weights], axis=-1)


def _quadrature(joint: float, q: Any) -> tuple[np.ndarray, np.ndarray]:
    """x (..., nodes) in standard deviations of N(0, q), q (...,), and the weights of an average over it.

    Gauss-Legendre in t, with z = sinh(t) (or sqrt(q) sinh(t), if that is less), out to 9 deviations. phi' is about 1
    wide and the normal density sqrt(q), which may be much more or less; even steps of t resolve both. Each side of 0 is
    taken by itself, as some phi' have a corner there, and what lies on each side of joint and -joint: what is left is
    analytic, and the error falls exponentially with the number of nodes (Trefethen, "Is Gauss quadrature better than
    Clenshaw-Curtis?", 2008). Gauss-Hermite with 200 nodes is 8 % off for tanh at q = 30.
    """
    deviation = np.sqrt(np.maximum(q, 1e-300))[..., None]
    unit = np.minimum(1, deviation) / deviation
    end = np.arcsinh(9 / unit)
    cut = np.minimum(1, np.arcsinh(joint / (deviation * unit)) / end) if joint else None
    nodes, weights_of_nodes = _nodes(cut)
    t = end * nodes
    x = unit * np.sinh(t)
    return x, np.exp(-x * x / 2) * np.cosh(t) * (unit * end / math.sqrt(2 * math.pi)) * weights_of_nodes


def _square(f: Function, joint: float, q: np.ndarray) -> Square:
    x, weights = _quadrature(joint, q)
    square = f(np.sqrt(np.maximum(q, 1e-300))[..., None] * x) ** 2
    largest = square.max(axis=-1, keepdims=True)  # never 0; with it, the fourth power cannot underflow
    square /= largest
    mean = (weights * square).sum(axis=-1)
    spread = np.maximum((weights * square**2).sum(axis=-1) / mean**2, 1)  # not less, by rounding
    # By parts, d E g(sqrt(q) x) / d ln q = E g(sqrt(q) x) (x² - 1) / 2: no second derivative is needed.
    slope = (weights * square * (x * x - 1)).sum(axis=-1) / (2 * mean)
    return Square(np.where(q > 0, mean * largest[..., 0], f(np.zeros(())) ** 2), spread, slope)


def of_value(activation: str, q: Any) -> Square:
    """The average over phi(z)²."""
    phi = CATALOG[activation]
    return _average(phi, phi.value, 1, q)


def mean_of_value(activation: str, q: Any) -> np.ndarray:
    """E phi(z), of the shape of q, a variance.

    >>> round(float(mean_of_value("relu", 1.0)) * math.sqrt(2 * math.pi), 12)
    1.0
    """
    phi, q = CATALOG[activation], np.asarray(q, np.float64)
    if phi.slope_below is not None:
        return np.asarray((1 - phi.slope_below) * np.sqrt(q / (2 * math.pi)))
    x, weights = _quadrature(phi.joint, q)
    return np.asarray((weights * phi.value(np.sqrt(q)[..., None] * x)).sum(axis=-1))


def variance_of_value(activation: str, q: Any) -> np.ndarray:
    """E phi(z)² - (E phi(z))², of the shape of q, a variance; without the rounding of that difference.

    >>> round(float(variance_of_value("relu", 1.0)) * 2 * math.pi / (math.pi - 1), 12)
    1.0
    """
    phi, q = CATALOG[activation], np.asarray(q, np.float64)
    mean = mean_of_value(activation, q)
    if phi.slope_below is not None:
        return np.asarray((1 + phi.slope_below**2) * q / 2 - mean * mean)
    x, weights = _quadrature(phi.joint, q)
    return np.asarray((weights * (phi.value(np.sqrt(q)[..., None] * x) - mean[..., None]) ** 2).sum(axis=-1))


def of_derivative(activation: str, q: Any) -> Square:
    """The average over phi'(z)²."""
    phi = CATALOG[activation]
    return _average(phi, phi.derivative, 0, q)


def of_output(activation: str, q: Any, how: Dropped) -> Square:
    """The average over y², where y is what dropout makes of phi(z)."""
    value, phi = of_value(activation, q), CATALOG[activation]
    if not how.end:
        return Square(value.mean / how.keep, value.spread / how.keep, value.slope)
    kept = _square(lambda z: how.scale * phi.value(z) + how.shift, phi.joint, np.asarray(q, np.float64))
    low = (1 - how.keep) * how.dropped**2
    mean = how.keep * kept.mean + low
    share = how.keep * kept.mean / mean
    spread = kept.spread * share**2 / how.keep + (low / mean) ** 2 / (1 - how.keep)
    return Square(mean, spread, share * kept.slope)


def _average(phi: Activation, f: Function, degree: int, q: Any) -> Square:
    """The average over f(z)², with f = phi (degree 1) or phi' (degree 0).

    Of two straight lines f is z^degree above 0 and slope_below times that below, so that each side has half the moments
    of N(0, q), times a power of its slope.
    """
    q = np.asarray(q, np.float64)
    if phi.slope_below is None:
        return _square(f, phi.joint, q)
    square = phi.slope_below**2
    variance, kurtosis = (q, 3) if degree == 1 else (np.ones_like(q), 1)
    spread = 2 * kurtosis * (1 + square**2) / (1 + square) ** 2
    return Square((1 + square) * variance / 2, np.full_like(q, spread), np.full_like(q, degree))
