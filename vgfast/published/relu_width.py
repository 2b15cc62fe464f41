"""How unequal ReLU nets of one shape are: it goes by their widths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast.inspection import mean_field
from vgfast.published import Row, around

TITLE = "ReLU nets of one shape: the narrower, the more unequal their gradients"

SOURCE = """Hanin, "Which neural net architectures give rise to exploding and vanishing gradients?" (2018), arXiv
1801.03744: in ReLU nets with He's weights, the gradient's square keeps its mean at any depth, but its spread grows with
the sum of 1/n over the layers. The product of 1 + 5/n is the exact form, derived from it: E g⁴ / (E g²)²."""

ABOUT = """We draw nets with vgfast, take the gradient of each for one input, and compare: g is ‖delta_1‖ / ‖delta_L‖,
over all layers at once, and then layer by layer, as the product of what each layer does; for that, layers must be
independent, and one can say more closely. ± 4 standard errors; tails are long, and a few nets make most of E g⁴, so
that the error over all layers is the one to be expected by the formula, and not estimated from the draws."""

FILES = False

DRAWS = {(5, 5): 10_000, (20,) * 5: 8_000, (10, 100, 10): 8_000, (50,) * 10: 2_500, (100,) * 3: 1_500}
ERRORS = 4.0


def squares(widths: Sequence[int], draws: int, activation: str, rng: np.random.Generator) -> np.ndarray:
    """(draws, layers) ‖delta_l‖² of nets with these hidden layers, each drawn anew."""
    sizes = [widths[0], *widths, widths[-1]]
    net = vg.MLP(sizes, activation, "mse", init="zeros")
    for weights in net.weights:
        weights[...] = math.sqrt(2 / len(weights))
    std = net.params.copy()  # He's, and 0 for biases
    x = np.ones((1, sizes[0]), np.float32)
    y = np.full((1, sizes[-1]), 1e6, np.float32)  # so far off that the loss's delta owes nothing to the net
    found = np.empty((draws, len(widths) + 1))
    for row in found:
        net.params[...] = std * rng.standard_normal(len(std), np.float32)
        row[:] = [np.square(delta, dtype=np.float64).sum() for delta in net.gradients(x, y).deltas]
    return found


def ratio(square: np.ndarray) -> tuple[float, float]:
    """(E g⁴ / (E g²)², its standard error relative to it) of draws of g², by the first order in their deviations."""
    second, fourth = square.mean(), (square**2).mean()
    return float(fourth / second**2), float(np.std(square**2 / fourth - 2 * square / second)) / math.sqrt(len(square))


def moments(n: int) -> list[float]:
    """E g^2k, k = 0 to 4, of a layer of n ReLUs with He's weights: g² is 2/n times the sum of n terms, each 0 or the
    square of a normal number by the toss of a coin."""
    one = [1.0, 1 / 2, 3 / 2, 15 / 2, 105 / 2]
    sums = [1.0, 0.0, 0.0, 0.0, 0.0]
    for _ in range(n):
        sums = [sum(math.comb(k, j) * one[j] * sums[k - j] for j in range(k + 1)) for k in range(5)]
    return [value * (2 / n) ** k for k, value in enumerate(sums)]


def expected_error(widths: Sequence[int], draws: int) -> float:
    """The relative standard error of ``ratio`` if the formula is right. An error estimated from the draws would be too
    small whenever the few large ones are missing that make most of it."""
    _, _, second, third, fourth = (math.prod(of_layers) for of_layers in zip(*map(moments, widths), strict=True))
    return math.sqrt((fourth / second**2 - 4 * third / second + 4 * second - 1) / draws)


def by_layer(found: np.ndarray) -> tuple[float, float]:
    """The product of the layers' ratios, each over the nets in which a signal comes so far, and its relative error."""
    ratios, errors = [], []
    for below, above in zip(found.T, found.T[1:], strict=False):
        value, error = ratio(below[above > 0] / above[above > 0])
        ratios.append(value)
        errors.append(error)
    return math.prod(ratios), math.hypot(*errors)


def measure(quick: bool = False, folder: Path | None = None, activation: str = "relu", seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = []
    for widths, most in DRAWS.items():
        draws = most // 4 if quick else most
        found = squares(widths, draws, activation, rng)
        square, formula = found[:, 0] / found[:, -1], mean_field.relu_moment_ratio(widths)
        shapes.append(
            {
                "widths": list(widths),
                "formula": formula,
                "mean": (float(square.mean()), math.sqrt((formula - 1) / draws)),
                "at_once": (ratio(square)[0], expected_error(widths, draws)),
                "by_layer": by_layer(found),
            }
        )
    return {"shapes": shapes}


def rows(found: dict[str, Any]) -> list[Row]:
    result = []
    for shape in found["shapes"]:
        widths, formula = shape["widths"], shape["formula"]
        alike = len(set(widths)) == 1
        name = f"{len(widths)} layers of {widths[0]}" if alike else ", ".join(map(str, widths))
        lines = ((name, formula, "at_once"), ("  layer by layer", formula, "by_layer"), ("  mean of g²", 1.0, "mean"))
        for what, published, way in lines:
            value, error = shape[way]
            result.append(around(what, f"{published:.3f}", 3, value, ERRORS * error * published))
    return result
