"""Neurons in a row: one gradient as a product, factor by factor."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast.lessons import BLUE, ORANGE, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "a gradient is a product, and quarters and thirds make it small: 1/4, 1/12, 1/48"

CLAIM = """A gradient says how much the cost changes with one weight or bias. Back-propagation begins at the output
and works back, each gradient being the product of those before it. Where a factor is 1/4 and the next 1/3, the
product is 1/12, and after another 1/4 it is 1/48. A sigmoid's slope is at most 1/4: with weights below 1, every
factor is less than that (Nielsen, "Neural Networks and Deep Learning", chapter 5)."""

PLAN = """We put neurons in a row, in float64, each at the middle of its sigmoid, where the slope is 1/4, with weights
1, 4/3 and 1 between them; ask for the gradient of each bias, and check the weights' against finite differences. Then
we do Nielsen's exercise: for which inputs a is |w slope(w a + b)| 1 or more at all?"""

EXPECT = """1/4, 1/12 and 1/48 to the last bit, with differences that agree. Below |w| = 4 no input keeps the
gradient's size; above, those that do lie in an interval that is widest, 0.45, at |w| = 6.9."""

NIELSEN = (4.0, 0.4477, 6.894)  # up to which |w| there is none, the widest interval, and where; he says 0.45 and 6.9
FACTORS = (1 / 4, 1 / 3, 1 / 4)  # weight times slope, from the output back


def neurons(factors: Sequence[float]) -> vg.MLP:
    """Sigmoids in a row and a linear neuron at their end. With the input 1, each z is 0."""
    n = len(factors)
    net = vg.MLP([1] * (n + 2), "sigmoid", loss="mse", init="zeros", dtype="float64")
    weights = [1.0, *(4 * factor for factor in reversed(factors))]  # of layers 1 to n + 1; a sigmoid's slope is 1/4
    for l, (w, a) in enumerate(zip(weights, [1.0, *[0.5] * n], strict=True)):
        net.weights[l], net.biases[l] = [[w]], [-w * a]
    return net


def widths(w: np.ndarray) -> np.ndarray:
    """Of the interval of a with |w slope(w a + b)| >= 1; 0 where there is none. The slope is s (1 - s) with s the
    sigmoid, and comes to 1/|w| at s = (1 + sqrt(1 - 4/|w|))/2, where |w a + b| = ln(s / (1 - s))."""
    s = (1 + np.sqrt(np.maximum(1 - 4 / w, 0))) / 2
    return 2 / w * np.log(s / (1 - s))


def measure(quick: bool = False, factors: Sequence[float] = FACTORS) -> dict[str, Any]:
    net = neurons(factors)
    x, n = [[1.0]], len(factors)
    y = net.forward(x) - 0.5  # so that the loss, (z - y)², changes as fast as z
    gradients = net.gradients(x, y)
    w = np.arange(1, 1_200_001) / 1e5
    width = widths(w)
    at = int(width.argmax())
    links = []
    for l in range(n, 0, -1):
        check = net.check_gradient(l, 0, 0, x, y)
        links.append(
            {
                "layer": l,
                "factor": factors[n - l],
                "gradient": float(gradients.biases[l - 1][0]),
                "of_weight": check.analytic,
                "difference": check.numeric,
                "agrees": check.agrees,
            }
        )
    return {"links": links, "widest_at": w[at], "width": width[at], "none_up_to": w[width == 0].max()}


def fraction(value: float) -> str:
    """As people write it, where there is such a fraction.

    >>> fraction(1 / 48), fraction(0.123456789)
    ('1/48', '0.123457')
    """
    near = Fraction(value).limit_denominator(1000)
    return str(near) if float(near) == value else f"{value:.6g}"


def conclude(found: dict[str, Any]) -> Seen:
    gradients = [link["gradient"] for link in found["links"]]
    product = " x ".join(fraction(link["factor"]) for link in found["links"])
    exact = gradients == [1 / 4, 1 / 12, 1 / 48]
    agree = all(link["agrees"] for link in found["links"])
    same = "which are 1/4, 1/12 and 1/48 exactly" if exact else "which are NOT 1/4, 1/12 and 1/48"
    checked = "agree with each" if agree else "do NOT agree with all"
    shrinks = all(abs(a) > abs(b) for a, b in pairwise([1.0, *gradients]))
    nielsen = (round(found["none_up_to"], 3), round(found["width"], 4), round(found["widest_at"], 3)) == NIELSEN
    sentences = [
        f"The product {product}, from the output back, gave {', '.join(map(fraction, gradients))}, {same}.",
        f"Finite differences {checked}.",
        f"The signal {'shrank' if shrinks else 'did NOT shrink'} at every neuron.",
        f"Up to |w| = {found['none_up_to']:.3f} no input makes a factor of 1 or more; above, those of an interval do, "
        f"of at most {found['width']:.4f} at |w| = {found['widest_at']:.3f}, {'as' if nielsen else 'NOT as'} Nielsen "
        f"has it.",
    ]
    return Seen(exact and agree and shrinks and nielsen, sentences)


def table(found: dict[str, Any]) -> Table:
    rows = [
        (
            f"b{link['layer']}",
            fraction(link["factor"]),
            f"{fraction(link['gradient'])} = {link['gradient']:.9f}",
            f"{link['of_weight']:.9f}",
            f"{link['difference']:.9f}",
        )
        for link in found["links"]
    ]
    headings = ("neuron", "w x slope", "gradient of b: the product", "of w: times a", "by differences")
    return Table(headings, rows, "From the output back. The gradient of w is that of b times what comes in, a.")


def draw(found: dict[str, Any], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    names = ["at the output", *(f"bias {link['layer']}" for link in found["links"])]
    heights = [1.0, *(link["gradient"] for link in found["links"])]
    left.bar(names, heights, color=BLUE)
    for i, height in enumerate(heights):
        left.annotate(fraction(height), (i, height), (0, 3), textcoords="offset points", ha="center")
    left.set_yscale("log")
    left.set_ylim(min(heights) / 2, 2 * max(heights))
    left.set_ylabel("gradient: change of the cost per change of the bias")
    left.set_title("Four neurons in a row, from the output back")
    w = np.linspace(4, 20, 2000)
    right.plot(w, widths(w), color=BLUE)
    right.plot(found["widest_at"], found["width"], "o", color=ORANGE)
    text = f"{found['width']:.4f} at {found['widest_at']:.3f}"
    right.annotate(text, (found["widest_at"], found["width"]), (6, 6), textcoords="offset points")
    right.set_xlim(0, 20)
    right.set_ylim(0, 0.55)
    right.axvspan(0, 4, color="0.9")
    right.text(2, 0.25, "no input", ha="center")
    right.set_xlabel("weight |w|")
    right.set_ylabel("width of the interval of inputs a")
    right.set_title("Where |w slope(w a + b)| is 1 or more")
