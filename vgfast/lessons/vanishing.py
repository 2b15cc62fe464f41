"""Deep nets of sigmoids: what is left of the gradient, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.inspection import mean_field
from vgfast.lessons import BLUE, ORANGE, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "factors below 1: the gradient vanishes with depth, and theory says how fast"

CLAIM = """Each layer multiplies the gradient that comes back to it by its weights and by the slopes of its
activation. Where that factor, the gain, is below 1, the gradient of the layers next to the input shrinks
exponentially with the number of layers behind them. Vanishing and exploding are one problem: the gain says which."""

PLAN = """We make nets of 1 to 12 hidden layers of 30 sigmoids, with Nielsen's first weights (N(0, 1/n_in), biases
N(0, 1)), send 500 images back through each, digits and MNIST, and ask net.inspect for the gain of every layer. Beside
it stands what mean-field theory predicts from the variances of the weights alone."""

EXPECT = """Gains that lie in the predicted bands, near 1/5; and a gradient whose logarithm falls along a straight
line, so that through 12 hidden layers some billionths are left of it."""

NIELSEN = vg.init.lecun_normal(bias_std=1.0)
WIDTH, ROWS, SEEDS = 30, 500, 5


def measure(quick: bool = False, activation: str = "sigmoid", init: Any = NIELSEN) -> dict[str, Any]:
    sets = [datasets.digits()] if quick else [datasets.digits(), datasets.mnist_subset()]
    depths = (1, 4, 8, 12) if quick else range(1, 13)
    found = []
    for data in sets:
        rows = np.random.default_rng(0).permutation(len(data.X))[:ROWS]
        X, y = data.X[rows], data.y[rows]
        for depth in depths:
            sizes = [X.shape[1], *[WIDTH] * depth, 10]
            nets = [vg.MLP(sizes, activation, init=init, rng=seed) for seed in range(SEEDS)]
            reports = [net.inspect(X, y, try_remedies=False) for net in nets]
            layers = [report.layers[:-1] for report in reports]  # the last layer's gain is none
            inside = [(of["predicted_low"] <= of["gain"]) & (of["gain"] <= of["predicted_high"]) for of in layers]
            deltas = np.array([report.records["delta_norm"] for report in reports])
            found.append(
                {
                    "data": data.name,
                    "hidden": depth,
                    "gain": geometric_mean([of["gain"] for of in layers]),
                    "predicted": geometric_mean([of["predicted_gain"] for of in layers]),
                    "inside": float(np.mean(inside)),
                    "left": [geometric_mean(left) for left in (deltas / deltas[:, -1:]).T],
                    "verdicts": [report.verdict for report in reports],
                }
            )
    wide = mean_field.gain("sigmoid", 1, 1)
    return {"activation": activation, "nets": found, "wide": wide}


def geometric_mean(values: Any) -> float:
    """0 where a value is."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean()))


def straight(left: list[float]) -> tuple[float, float]:
    """How log(left) goes on from layer to layer, back from the output, and how much of that is on a straight line: R²,
    by least squares; (0, 0) where nothing is left."""
    if min(left) == 0:
        return 0.0, 0.0
    logs, behind = np.log(left), np.arange(len(left))[::-1]
    return float(np.polyfit(behind, logs, 1)[0]), float(np.corrcoef(behind, logs)[0, 1] ** 2)


def conclude(found: dict[str, Any]) -> Seen:
    deep = [net for net in found["nets"] if net["hidden"] == 12]
    gains = [net["gain"] for net in found["nets"]]
    inside = float(np.mean([net["inside"] for net in found["nets"]]))
    vanishes = all(gain < 0.5 for gain in gains) and all(net["left"][0] < 1e-6 for net in deep)
    predicted = inside >= 0.9
    lines = [straight(net["left"]) for net in deep]
    part = min(of_line for _, of_line in lines)
    falls = part > 0.98 and all(slope < 0 for slope, _ in lines)
    verdicts = [verdict for net in deep for verdict in net["verdicts"]]
    judged = set(verdicts) == {"vanishing"}
    left = " and ".join(f"{net['left'][0]:.1g}" for net in deep)
    sentences = [
        f"A layer of {found['activation']} passes back {min(gains):.3f} to {max(gains):.3f} of the signal: with 12 "
        f"hidden layers, {left} of it is left at the first. It {'vanishes' if vanishes else 'does NOT vanish'}.",
        f"Of all layers, {inside:.0%} have a gain within the band of 95 % that theory predicts, "
        f"{'as they should' if predicted else 'which is TOO FEW'}; for wide layers of sigmoids it says "
        f"{found['wide']:.3f}, a loss of x {1 / found['wide']:.2f} a layer.",
        f"A straight line explains {part:.1%} of how the logarithm goes: it {'falls' if falls else 'does NOT fall'} "
        f"exponentially.",
        f"The verdicts on the deepest {'are all vanishing' if judged else 'are NOT all vanishing'}: "
        f"{', '.join(f'{verdicts.count(verdict)} {verdict}' for verdict in sorted(set(verdicts)))}.",
    ]
    return Seen(vanishes and predicted and falls and judged, sentences)


def table(found: dict[str, Any]) -> Table:
    rows = [
        (
            f"{net['data']}, {net['hidden']} hidden",
            f"{net['gain']:.3f}",
            f"{net['predicted']:.3f}",
            f"{net['inside']:.0%}",
            f"{net['left'][0]:.1e}",
        )
        for net in found["nets"]
        if net["hidden"] in (1, 4, 8, 12)
    ]
    notes = f"gain: geometric mean over the layers of {SEEDS} nets; left: of the last layer's signal, at layer 1"
    return Table(("", "gain", "predicted", "in band", "left"), rows, notes)


def draw(found: dict[str, Any], figure: Figure) -> None:
    names = list(dict.fromkeys(net["data"] for net in found["nets"]))
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, names, strict=True):
        for net in (net for net in found["nets"] if net["data"] == name):
            behind = np.arange(net["hidden"], -1, -1)
            last = net["hidden"] == 12
            style = {"color": BLUE, "marker": "o"} if last else {"color": "0.6", "marker": "."}
            ax.plot(
                behind, net["left"], linewidth=1, zorder=2 + last, label="12 hidden layers" if last else None, **style
            )
        x = np.arange(13)
        ax.plot(x, found["wide"] ** x, "--", color=ORANGE, label=f"theory: {found['wide']:.3f} a layer", zorder=4)
        ax.plot([], [], ".-", color="0.6", label="fewer hidden layers")
        ax.set_yscale("log")
        ax.set_xlabel("layers behind (0: the output)")
        ax.set_title(name)
        ax.grid(alpha=0.3)
        ax.legend()
    axes[0].set_ylabel("|delta| of the layer over that of the output")
