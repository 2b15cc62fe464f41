"""Products of ten quarters and of a hundred matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast.published import Row

TITLE = "ten quarters make a millionth, and a hundred matrices 10^24"

SOURCE = """Zhang, Lipton, Li, Smola, "Dive into Deep Learning", d2l.ai, section 5.4: sigmoids pass on a quarter at
most, ten of them 0.25^10 = 9.54e-7; and a 4 x 4 matrix of N(0, 1) times a hundred more of them has entries of about
1e23 to 1e27, by the framework and the edition: one draw each, without a seed."""

ABOUT = """Ten sigmoids in a row, each at its middle and with weight 1, and what vgfast's ledger says is left of the
gradient. Then the matrices, drawn often: the largest entries' range from 5 to 95 % must hold the published one, which
holds their middle. And the same as nets of a hundred linear layers, by the gradients that vgfast finds at the first."""

FILES = False

ENDS = (1e23, 1e27)


def chain(weight: float) -> float:
    """‖delta_1‖ / ‖delta_11‖ of ten sigmoids in a row, each with z = 0 for the input 0, and a linear neuron."""
    net = vg.MLP([1] * 12, "sigmoid", "mse", init="zeros", dtype="float64")
    for l in range(11):
        net.weights[l], net.biases[l] = [[weight]], [-weight / 2 if l else 0.0]
    return float(net.inspect([[0.0]], [[1e3]], try_remedies=False).layers["gain"][:-1].prod())


def largest(std: float, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) of the entries of the product of 101 matrices."""
    product = rng.normal(0, std, (draws, 4, 4))
    for _ in range(100):
        product = product @ rng.normal(0, std, (draws, 4, 4))
    return np.abs(product).max(axis=(1, 2))


def gradients(std: float, nets: int, rng: np.random.Generator) -> np.ndarray:
    """(nets,) of the gradient at the first of 102 linear layers, for each output in turn: the product of the 101
    matrices behind it."""
    found = np.empty(nets)
    for i in range(nets):
        net = vg.MLP([4] * 103, "identity", "mse", init=vg.init.normal(std), dtype="float64", rng=rng)
        deltas = net.gradients(np.zeros((4, 4)), np.eye(4)).deltas
        found[i] = np.abs(deltas[0]).max() / np.abs(deltas[-1]).max()
    return found


def measure(
    quick: bool = False, folder: Path | None = None, std: float = 1.0, weight: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """std: of the matrices' entries; weight: of the chain."""
    rng = np.random.default_rng(seed)
    return {
        "chain": chain(weight),
        "matrices": np.percentile(largest(std, 2000 if quick else 5000, rng), [5, 50, 95]),
        "gradients": np.percentile(gradients(std, 100 if quick else 500, rng), [5, 50, 95]),
    }


def rows(found: dict[str, Any]) -> list[Row]:
    left = found["chain"]
    low, middle, high = (float(value) for value in found["matrices"])
    least, most = ENDS
    ends = f"{least:.0e} to {most:.0e}"
    of_nets = float(found["gradients"][1])
    return [
        Row("0.25^10, by ten sigmoids", "9.54e-7", f"{left:.4e}", abs(left - 9.54e-7) <= 0.005e-7),
        Row("101 matrices, 5 to 95 %", ends, f"{low:.0e} to {high:.0e}", low <= least and most <= high),
        Row("101 matrices, half of them", ends, f"above {middle:.0e}", least <= middle <= most),
        Row("102 layers, half of the nets", ends, f"above {of_nets:.0e}", least <= of_nets <= most),
    ]
