"""He's factor: what weights of one standard deviation do to the gradient of a deep ReLU net."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast.published import Row

TITLE = "weights of standard deviation 0.01 instead of He's: a gradient 17,000 times smaller"

SOURCE = """He, Zhang, Ren, Sun, "Delving deep into rectifiers" (2015), arXiv 1502.01852, section 2.2, of a net of 3 x 3
convolutions with 64, 128, 256 and 512 filters: the right standard deviations are 0.059, 0.042, 0.029 and 0.021, so that
with 0.01, from layer 10 back to layer 2, the gradient shrinks by 5.9 x 4.2² x 2.9² x 2.1⁴ = 1.7e4."""

ABOUT = """sqrt(2 / n) with n = 9 x 64 to 9 x 512, and their product. Then dense ReLU layers with as many inputs, 576 to
4,608 (quick: an eighth of that, and 0.01 x sqrt(8)): a net with He's weights, then with the same random numbers scaled
to 0.01, and what vgfast's ledger says the gradient gains on its way through the nine weight matrices. From net to net
the gain varies; by how much is known from Hanin's 5/n, and in brackets are 2 deviations."""

FILES = False

FANS = (576, *[1152] * 2, *[2304] * 2, *[4608] * 4)  # of conv 2 to 10, from the front
PUBLISHED = {576: 0.059, 1152: 0.042, 2304: 0.029, 4608: 0.021}
FACTOR, ROWS = 1.7e4, 8


def gains(net: vg.MLP, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """What the gradient gains by all layers, and by their weights alone."""
    layers = net.inspect(x, y, try_remedies=False).layers[:-1]
    return float(layers["gain"].prod()), float(layers["weight_gain"].prod())


def measure(quick: bool = False, folder: Path | None = None, std: float = 0.01, seed: int = 0) -> dict[str, Any]:
    """std: of all weights, where they are not He's."""
    shrunk = 8 if quick else 1
    fans = [n // shrunk for n in FANS]
    rng = np.random.default_rng(seed)
    net = vg.MLP([10, *fans, 10], "relu", "mse", init="he_normal", rng=rng)
    x, y = rng.standard_normal((ROWS, 10)), 1e6 * rng.standard_normal((ROWS, 10))
    he, he_weights = gains(net, x, y)
    for weights in net.weights[1:]:
        weights *= np.float32(std * math.sqrt(shrunk) / math.sqrt(2 / len(weights)))  # the same numbers, of another std
    small, small_weights = gains(net, x, y)
    return {"fans": fans, "he": he, "small": small, "he_weights": he_weights, "small_weights": small_weights}


def rows(found: dict[str, Any]) -> list[Row]:
    right = {n: math.sqrt(2 / n) for n in PUBLISHED}
    stds = [
        Row(f"std, {n:,} inputs", f"{std:.3f}", f"{right[n]:.5f}", abs(right[n] - std) <= 0.0005, memory=True)
        for n, std in PUBLISHED.items()
    ]
    exact = math.prod(right[n] / 0.01 for n in FANS)
    rounded = math.prod(round(100 * right[n], 1) for n in FANS)
    return [
        *stds,
        compare_factor("factor, rounded as printed", rounded),
        compare_factor("factor, exact", exact),
        compare_factor("gain, He / 0.01: of weights", found["he_weights"] / found["small_weights"]),
        compare_factor("gain, He / 0.01: in all", found["he"] / found["small"]),
        compare_size(found),
    ]


def compare_factor(what: str, ours: float) -> Row:
    """Within half a unit of the published number's last digit."""
    return Row(what, "1.7e4", f"{ours:,.0f}", abs(ours - FACTOR) <= 500, memory=True)


def compare_size(found: dict[str, Any]) -> Row:
    """Whether He's weights keep the gradient's size, within 2 deviations: by Hanin, ln gain² varies by the sum of 5/n
    from net to net."""
    deviation = math.sqrt(sum(5 / n for n in found["fans"])) / 2
    low, high = math.exp(-2 * deviation), math.exp(2 * deviation)
    ours = found["he"]
    return Row("gain, He's weights", "1", f"{ours:.2f} ({low:.2f} to {high:.2f})", low <= ours <= high, memory=True)
