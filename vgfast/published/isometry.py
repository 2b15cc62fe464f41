"""Dynamical isometry: how far the singular values of a deep net's Jacobian lie apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast.inspection import mean_field
from vgfast.model import averages
from vgfast.published.rows import Row, around

TITLE = "singular values of deep nets: orthogonal tanh layers keep them together, normal ones and ReLU do not"

SOURCE = """Pennington, Schoenholz, Ganguli, "Resurrecting the sigmoid in deep learning through dynamical isometry"
(2017), arXiv 1711.04735: at a critical point the squared singular values of the Jacobian of L layers have the mean 1
and the variance L (m2 / m1² - 1 - s), m1 and m2 being the means of phi'² and phi'⁴ of N(0, q); s is 0 for orthogonal
weights and -1 for normal ones, so that with those it is L at least."""

ABOUT = """Nets of L layers, of 64 units with orthogonal weights and 200 with normal ones, are drawn at the critical
point of that q; each takes one input of the length that layers keep, and gives its Jacobian row by row, by
net.backward. As nets differ in the mean, the variance is taken over its square. The formula is of infinitely many
units. Of n, if the slopes of a layer were independent of its weights, averages over all orthogonal or normal matrices
give the moments exactly; what they differ from the formula is allowed, beside 4 standard errors over the nets, and 1 /
n: along the signal itself lengths go by how q goes from layer to layer, not by the slopes, which is one singular value
of n, and nearer to 0."""

FILES = False

ERRORS = 4.0


class Shape(NamedTuple):
    activation: str
    orthogonal: bool
    layers: int
    q: float
    width: int
    draws: int


SHAPES = (
    Shape("tanh", True, 32, 1 / 64, 64, 16),
    Shape("tanh", True, 16, 0.1, 64, 40),
    Shape("tanh", False, 16, 0.1, 200, 40),
    Shape("relu", True, 8, 1.0, 64, 80),
    Shape("relu", False, 8, 1.0, 200, 40),
)


def spread_of_slopes(shape: Shape) -> float:
    """E phi'⁴ / (E phi'²)² of N(0, q)."""
    return float(averages.of_derivative(shape.activation, shape.q).spread)


def formula(shape: Shape) -> float:
    """The variance of the squared singular values over the square of their mean, of infinitely many units."""
    return shape.layers * (spread_of_slopes(shape) - (1 if shape.orthogonal else 0))


def of_width(shape: Shape) -> float:
    """The same of so many units as it has, if the slopes of each layer are drawn independently of its weights.

    With A = J Jᵀ of the layers so far, that makes of (E tr A² / n, E (tr A / n)²), layer by layer: for rows w_i of the
    weights, one takes E (w_iᵀ A w_j)² and E w_iᵀ A w_i w_jᵀ A w_j, for i = j and for others. They follow from the
    moments of normal numbers, and for orthogonal rows from those of a direction drawn at random, and from their sum
    over j, which is known.
    """
    n, r = shape.width, spread_of_slopes(shape)
    square, mean = 1.0, 1.0
    for _ in range(shape.layers):
        if shape.orthogonal:
            square, mean = (
                ((r - 1) * n * mean + (n + 2 * r) * square) / (n + 2),
                ((n + 1 + r) * mean + 2 * (r - 1) / n * square) / (n + 2),
            )
        else:
            square, mean = (
                r * mean + (2 * r + n - 1) / n * square,
                (1 + (r - 1) / n) * mean + 2 * r / n**2 * square,
            )
    return square / mean - 1


def jacobian(shape: Shape, rng: np.random.Generator, factor: float, orthogonal: bool) -> np.ndarray:
    """(width, width) of the last hidden layer by the input, in a net that is drawn."""
    n = shape.width
    point = mean_field.critical_point(shape.activation, shape.q)
    std, bias_std = math.sqrt(factor * point.sw2), math.sqrt(max(point.sb2, 0.0))
    if orthogonal:
        rule: Any = vg.init.orthogonal(std, bias_std)
    else:
        rule = vg.init.normal(std / math.sqrt(n), bias_std)
    net = vg.MLP([n] * (shape.layers + 2), shape.activation, "mse", init=rule, dtype="float64", rng=rng)
    net.weights[-1][...] = np.eye(n)
    x = rng.standard_normal(n)
    x *= math.sqrt(n * (shape.q - point.sb2) / point.sw2) / np.linalg.norm(x)
    deltas = net.backward(np.tile(x, (n, 1)), np.eye(n)).deltas[0]
    return np.asarray(deltas @ net.weights[0].T)


def spread(shape: Shape, rng: np.random.Generator, factor: float, orthogonal: bool) -> dict[str, Any]:
    """Of the squared singular values the mean, and the variance over the square of the mean, with standard errors."""
    means, squares = np.empty(shape.draws), np.empty(shape.draws)
    for i in range(shape.draws):
        j = jacobian(shape, rng, factor, orthogonal)
        means[i], squares[i] = np.square(j).mean() * shape.width, np.square(j.T @ j).mean() * shape.width
    root = math.sqrt(shape.draws)
    ratio = squares.mean() / (means**2).mean()
    # To the first order in the deviations of both.
    error = ratio * np.std(squares / squares.mean() - means**2 / (means**2).mean(), ddof=1) / root
    return {
        **shape._asdict(),
        "mean": (float(means.mean()), float(means.std(ddof=1)) / root),
        "variance": (float(ratio) - 1, float(error)),
        "formula": formula(shape),
        "of_width": of_width(shape),
    }


def measure(
    quick: bool = False,
    folder: Path | None = None,
    factor: float = 1.0,
    orthogonal: bool | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """factor: times the critical variance of the weights; orthogonal: whether they are, if not as in the formula."""
    rng = np.random.default_rng(seed)
    shapes = [shape._replace(draws=max(shape.draws // 4, 3)) if quick else shape for shape in SHAPES]
    return {
        "shapes": [
            spread(shape, rng, factor, shape.orthogonal if orthogonal is None else orthogonal) for shape in shapes
        ]
    }


def rows(found: dict[str, Any]) -> list[Row]:
    result = []
    for shape in found["shapes"]:
        weights = "orthogonal" if shape["orthogonal"] else "normal"
        name = f"{shape['activation']}, {weights}, L {shape['layers']}, q {shape['q']:.3g}"
        (mean, error), (variance, error_of_variance) = shape["mean"], shape["variance"]
        half = ERRORS * error_of_variance + abs(shape["of_width"] - shape["formula"]) + 1 / shape["width"]
        result += [
            around(f"{name}: mean", "1", 3, mean, ERRORS * error + 1 / shape["width"], memory=True),
            around("  variance / mean²", f"{shape['formula']:.3f}", 3, variance, half, memory=True),
        ]
    return result
