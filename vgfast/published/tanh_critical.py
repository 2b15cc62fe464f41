"""The critical line of tanh: where gradients neither vanish nor explode."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast.inspection import mean_field
from vgfast.published import Row

TITLE = "tanh: the variance of the weights at which gradients neither vanish nor explode"

SOURCE = """Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep information propagation" (2017), arXiv 1611.01232: with
biases of variance 0.05, the weights' critical variance times n is 1.76. For the other five we know of no printed
number: where it says "computed", it is vgfast.inspection.mean_field's."""

ABOUT = """Each critical variance is found twice: by vgfast.inspection.mean_field, and by another quadrature
(Gauss-Hermite, 200 nodes) with another search. Then nets of six layers of 500 tanh units are drawn with that variance,
and inspected: gain² is how much of the gradient's square a layer passes on, and must be 1. It has ± 4 standard errors
over draws, and 0.01 for what 500 units are short of infinitely many (5 / n, as of Hanin's moments); a gain must also
lie in its predicted band."""

FILES = False

BIASES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3)
PUBLISHED = {0.05: 1.76}
WIDTH, DEPTH, ROWS = 500, 6, 32
ERRORS, SHORT = 4.0, 5 / WIDTH


def another(phi: Callable[[Any], Any], slope: Callable[[Any], Any], sb2: float) -> float:
    """The critical n Var[W], sought by its q: at chi = 1 it is 1 / E[phi'²], and q must be that times E[phi²] plus
    sb2."""
    x, weights = np.polynomial.hermite_e.hermegauss(200)
    weights /= weights.sum()

    def variance(q: float) -> float:
        return 1 / float(weights @ slope(math.sqrt(q) * x) ** 2)

    low, high = 0.0, 10.0
    for _ in range(60):
        q = (low + high) / 2
        above = variance(q) * float(weights @ phi(math.sqrt(q) * x) ** 2) + sb2 > q
        low, high = (q, high) if above else (low, q)
    return variance(high)


def measured(sw2: float, sb2: float, q: float, nets: int, rng: np.random.Generator) -> dict[str, Any]:
    """gain² of the hidden layers of such nets, from the length q on that layers keep: mean, its standard error; mean
    gain and the middle of the predicted bands."""
    rule = vg.init.normal(math.sqrt(sw2 / WIDTH), bias_std=math.sqrt(sb2))
    squares, gains, lows, highs = [], [], [], []
    for _ in range(nets):
        net = vg.MLP([WIDTH] * (DEPTH + 2), "tanh", "mse", init=rule, rng=rng)
        x = rng.standard_normal((ROWS, WIDTH)) * math.sqrt((q - sb2) / sw2)
        y = net.forward(x) - rng.standard_normal((ROWS, WIDTH))  # so that the loss's delta owes nothing to the weights
        layers = net.inspect(x, y, try_remedies=False).layers[:-1]
        squares.append(float((layers["gain"] ** 2).mean()))
        gains.append(float(layers["gain"].mean()))
        lows.append(float(layers["predicted_low"].mean()))
        highs.append(float(layers["predicted_high"].mean()))
    return {
        "gain_square": float(np.mean(squares)),
        "error": float(np.std(squares, ddof=1)) / math.sqrt(nets),
        "gain": float(np.mean(gains)),
        "band": [float(np.mean(lows)), float(np.mean(highs))],
    }


def measure(
    quick: bool = False, folder: Path | None = None, activation: str = "tanh", factor: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """activation: whose critical line mean_field is asked for; factor: of the variance of the nets' weights."""
    rng = np.random.default_rng(seed)
    lines = []
    for sb2 in BIASES:
        sw2 = mean_field.critical_variance(activation, sb2)
        q = mean_field.fixed_point("tanh", sw2, sb2)
        nets = measured(factor * sw2, sb2, max(q, sb2), 6 if quick else 20, rng)
        lines.append({"sb2": sb2, "sw2": sw2, "another": another(np.tanh, lambda z: 1 / np.cosh(z) ** 2, sb2), **nets})
    return {"lines": lines}


def rows(found: dict[str, Any]) -> list[Row]:
    lines = found["lines"]
    paper = [line for line in lines if line["sb2"] in PUBLISHED]
    return [*map(of_paper, paper), *map(of_quadratures, lines), *map(of_nets, lines)]


def of_paper(line: dict[str, Any]) -> Row:
    published = PUBLISHED[line["sb2"]]
    what = f"sb2 = {line['sb2']}: the paper"
    return Row(what, f"{published}", f"{line['sw2']:.4f}", abs(line["sw2"] - published) <= 0.005, memory=True)


def of_quadratures(line: dict[str, Any]) -> Row:
    same = abs(line["sw2"] - line["another"]) <= 5e-7  # half a unit of the last digit shown
    what = f"sb2 = {line['sb2']}: otherwise"
    return Row(what, f"computed {line['sw2']:.6f}", f"{line['another']:.6f}", same)


def of_nets(line: dict[str, Any]) -> Row:
    square, within = line["gain_square"], ERRORS * line["error"] + SHORT
    inside = line["band"][0] < line["gain"] < line["band"][1]
    what = f"sb2 = {line['sb2']}: gain² in nets"
    return Row(what, "computed 1", f"{square:.3f} ± {within:.3f}", inside and abs(square - 1) <= within)
