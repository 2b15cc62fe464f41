"""Updates too small for the number format: the depth at which the first layer is stuck."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.inspection import mean_field
from vgfast.lessons import BLUE, GREEN, ORANGE, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "an update too small to change a weight's bits: the depth at which layer 1 freezes"

CLAIM = """The update of a weight is its gradient times the learning rate. Where the gradient has vanished, the weight
is stuck: not slow, but unchanged to the last bit, as the update is less than half of the smallest step that the
number format can take there. Each bit of the format's mantissa buys a fixed number of layers."""

PLAN = """We take one step of learning rate 0.1 on 100 images of MNIST, with nets of ever more hidden layers of 30
sigmoids (first weights N(0, 1/n_in), biases N(0, 1), softmax), in float16, float32 and float64, and compare the bits
of the first layer's weights before and after: of those behind pixels that are not 0 on all images. (float16 by NumPy;
the other two by vgfast.)"""

EXPECT = """The first layer half frozen at about 3, 8 and 21 hidden layers, in the three formats. A bit should buy ln
2 / |ln gain| = 0.437 layers, with the gain of wide layers: 13 bits from float16 to float32 make 5.7, and 29 more to
float64 make 12.7."""

FORMATS = {"float16": 11, "float32": 24, "float64": 53}  # bits of the mantissa
DEPTHS = {"float16": range(1, 7), "float32": range(5, 13), "float64": range(17, 26)}
COLOURS = {"float16": (ORANGE, "s"), "float32": (BLUE, "o"), "float64": (GREEN, "^")}
NIELSEN = vg.init.lecun_normal(bias_std=1.0)
WIDTH, ROWS, LR = 30, 100, 0.1
TOLERANCE = 0.15  # of layers a bit: of 5.7 and 12.7 layers, 0.9 and 1.9


def frozen(X: np.ndarray, y: np.ndarray, depth: int, dtype: str, seed: int, activation: str, init: Any) -> float:
    """The share of the first layer's weights, of live pixels, that one step leaves as they are to the last bit."""
    kind = vg.reference.MLP if dtype == "float16" else vg.MLP
    net = kind([X.shape[1], *[WIDTH] * depth, 10], activation, init=init, dtype=dtype, rng=seed)
    before = net.weights[0].copy()
    net.step(X, y, vg.SGD(lr=LR))
    live = X.any(axis=0)
    return float((net.weights[0][live] == before[live]).mean())


def crossing(depths: list[int], shares: list[float]) -> float:
    """The depth at which half is frozen, between two that were tried; -inf or inf if that is before or after all."""
    if shares[0] >= 0.5:
        return -math.inf
    for i in range(1, len(depths)):
        if shares[i] >= 0.5:
            return depths[i - 1] + (0.5 - shares[i - 1]) / (shares[i] - shares[i - 1])
    return math.inf


def measure(quick: bool = False, activation: str = "sigmoid", init: Any = NIELSEN) -> dict[str, Any]:
    data = datasets.mnist_subset()
    rows = np.random.default_rng(0).permutation(len(data.X))[:ROWS]
    X, y = data.X[rows], data.y[rows]
    found, seeds = {}, range(3 if quick else 20)
    for dtype, depths in DEPTHS.items():
        shares = [[frozen(X, y, depth, dtype, seed, activation, init) for seed in seeds] for depth in depths]
        means = np.mean(shares, axis=1).tolist()
        found[dtype] = {"depths": list(depths), "shares": means, "half": crossing(list(depths), means)}
    gain = mean_field.gain("sigmoid", 1, 1)
    return {"activation": activation, "seeds": len(seeds), "formats": found, "a_bit": math.log(2) / abs(math.log(gain))}


def apart(found: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    """(format, next format, layers between their halves, predicted)."""
    half = {name: of["half"] for name, of in found["formats"].items()}
    return [(a, b, half[b] - half[a], (FORMATS[b] - FORMATS[a]) * found["a_bit"]) for a, b in pairwise(FORMATS)]


def depth_text(of: dict[str, Any]) -> str:
    """Where half is frozen, in words."""
    if math.isfinite(of["half"]):
        return f"at {of['half']:.1f}"
    return f"before {of['depths'][0]}" if of["half"] < 0 else f"at NONE up to {of['depths'][-1]}"


def conclude(found: dict[str, Any]) -> Seen:
    formats = found["formats"]
    near = all(
        abs(formats[name]["half"] - depth) <= 1 for name, depth in (("float16", 3), ("float32", 8), ("float64", 21))
    )
    bought = [between / (FORMATS[b] - FORMATS[a]) for a, b, between, _ in apart(found)]
    buys = all(abs(layers - found["a_bit"]) < TOLERANCE * found["a_bit"] for layers in bought)
    sentences = [
        f"With {found['activation']}, half of the first layer's weights are stuck in "
        f"{', '.join(f'{name} {depth_text(of)}' for name, of in formats.items())} hidden layers, "
        f"{'as they should be' if near else 'which is NOT where they should be'}.",
        *(
            f"From {a} to {b} are {between:.1f} layers, where {FORMATS[b] - FORMATS[a]} bits predict {predicted:.1f}."
            for a, b, between, predicted in apart(found)
            if math.isfinite(between)
        ),
        f"A bit bought {' and '.join(f'{layers:.2f}' for layers in bought)} layers, "
        f"{'near' if buys else 'NOT near'} the {found['a_bit']:.3f} of theory.",
    ]
    return Seen(near and buys, sentences)


def table(found: dict[str, Any]) -> Table:
    rows = []
    before: dict[str, tuple[float, float]] = {b: (between, predicted) for _, b, between, predicted in apart(found)}
    for name, of in found["formats"].items():
        between = [f"{value:.1f}" for value in before[name]] if name in before else ["", ""]
        rows.append((name, str(FORMATS[name]), depth_text(of).removeprefix("at "), *between))
    notes = (
        f"half frozen at: so many hidden layers, between two that were tried, by the mean over {found['seeds']} seeds"
    )
    return Table(("format", "bits", "half frozen at", "layers more", "predicted"), rows, notes)


def draw(found: dict[str, Any], figure: Figure) -> None:
    ax = figure.subplots()
    for name, of in found["formats"].items():
        colour, mark = COLOURS[name]
        label = f"{name}: half {depth_text(of)}"
        ax.plot(of["depths"], 100 * np.array(of["shares"]), color=colour, marker=mark, label=label)
    ax.axhline(50, color="0.5", linewidth=1)
    for a, b, between, predicted in apart(found):
        start = found["formats"][a]["half"]
        if math.isfinite(between):
            ax.annotate("", (start + between, 50), (start, 50), arrowprops={"arrowstyle": "<->", "color": "0.3"})
            text = f"{between:.1f} layers for {FORMATS[b] - FORMATS[a]} bits\n(theory: {predicted:.1f})"
            ax.text(start + between / 2, 53, text, ha="center", va="bottom", fontsize=9)
    ax.set_xlabel("hidden layers of 30 units")
    ax.set_ylabel("weights of layer 1 that a step\ndoes not change at all (%)")
    ax.set_ylim(-3, 103)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
