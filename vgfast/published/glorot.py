"""Glorot's two kinds of first weights: a third per layer, or all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast.model.init import Independent, Init
from vgfast.published import Row, enclosed

TITLE = "what is left of the gradient's variance per layer: a third, or with normalized weights all"

SOURCE = """Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010),
equations 6 to 16 and figure 7: in the linear regime the back-propagated gradient's variance is multiplied by n Var[W]
in each layer. That is 1/3 for the standard weights U(± 1/sqrt(n)), 0.577 of its deviation, and 1 for the normalized
ones."""

ABOUT = """Five hidden layers of 1,000 units (quick: 300), as in the paper, inspected on random inputs: linear units,
and tanh with inputs so small (0.03) that it is as good as linear. Ours are gain², from hidden layer to hidden layer, 5
and 95 % over 20 seeds, and must enclose the published value. With inputs as large as MNIST's, tanh's slope takes off
another 2 % with the standard weights, and 12 % with the normalized ones, which the formula leaves out."""

FILES = False

STANDARD = Independent("standard", 1 / 3, "in", uniform=True)  # of variance 1/(3 n)
ROWS, INPUTS, OUTPUTS = 50, 100, 10


def squares(units: str, rule: Init, width: int, seeds: range, inputs: float) -> np.ndarray:
    """(seeds, 4) gain² from hidden layer 5 back to 1. The weights to the outputs, fewer, are another matter."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        net = vg.MLP([INPUTS, *[width] * 5, OUTPUTS], units, "mse", init=rule, rng=rng)
        x, y = inputs * rng.standard_normal((ROWS, INPUTS)), 1e3 * rng.standard_normal((ROWS, OUTPUTS))
        found.append(net.inspect(x, y, try_remedies=False).layers["gain"][:4] ** 2)
    return np.array(found)


def measure(
    quick: bool = False,
    folder: Path | None = None,
    units: tuple[str, ...] = ("identity", "tanh"),
    inputs: float = 0.03,
    seed: int = 0,
) -> dict[str, Any]:
    """inputs: their standard deviation."""
    width, seeds = 300 if quick else 1000, range(20 * seed, 20 * seed + 20)
    found = {}
    for name in units:
        for kind, rule in (("standard", STANDARD), ("normalized", vg.init.glorot_uniform())):
            gains = squares(name, rule, width, seeds, inputs)
            found[f"{name}, {kind}"] = {
                "variance": np.percentile(gains.mean(axis=1), [5, 95]),
                "four_layers": np.percentile(np.sqrt(gains.prod(axis=1)), [5, 95]),
            }
    return found


def rows(found: dict[str, Any]) -> list[Row]:
    result = []
    for name, ours in found.items():
        one = 1 / 3 if name.endswith("standard") else 1.0
        for what, value, band in (
            (f"{name}: variance", one, ours["variance"]),
            ("  deviation, over 4 layers", one**2, ours["four_layers"]),
        ):
            result.append(enclosed(what, f"{value:.4f}", value, band, ".4f"))
    return result
