"""Factors above 1: the gradient explodes, the updates are too large, and the gain of a layer shows both problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "factors above 1 explode: vanishing and exploding are one problem, shown by the gain of a layer"

CLAIM = """A gradient is a product with a factor for every layer. Where the factors are above 1 it grows on its way back
instead of shrinking: the gradient explodes. Each update is then too large, jumps past the optimum, and training never
gets there. Vanishing and exploding are one problem, that of unstable gradients, and one number says which of the two a
net has: the gain of a layer."""

PLAN = """We give nets of eight hidden layers, 30 wide, first weights that are too small, right and too large: leaky
ReLU from a quarter of He's weights to four times them, and sigmoids, whose slope is 1/4 at most, from the standard ones
to fifty times them. We measure each layer's gain, and what theory says of it, then train on the digits: once plainly,
once with the gradient clipped to norm 1, which keeps its direction and shortens the step."""

EXPECT = """A fan: lines that fall, stay level and rise, each by its gain. Leaky ReLU with twice and four times the
weights diverges within a few steps, and with clipping it does not. Sigmoids cannot overflow; theirs is an explosion
without infinities or large steps, and clipping does not help it. Nets learn where the gain is about 1, and not where it
is far from that; half of it a layer is slow, but may do."""

RULES = {"leaky_relu": "he_normal", "sigmoid": "lecun_normal"}
SCALES = {"leaky_relu": (1 / 4, 1 / 2, 1, 2, 4), "sigmoid": (1, 10, 50)}  # times the weights of the rule
STEADY = (0.8, 1.25)  # gains between these are about 1: eight layers then leave a sixth to six times the signal
GAINS = ("gain", "predicted_gain", "predicted_low", "predicted_high")
FAR = (0.35, 1.5)  # a gain below leaves less than a thousandth after eight layers; above, it comes to 25 times as much
CURED = 0.1  # of the loss at the start is what clipping must come below


def trained(net: vg.MLP, X: np.ndarray, y: np.ndarray, epochs: int, optimizer: vg.SGD) -> dict[str, Any]:
    """What came of it, and the loss on the way, in about 60 groups of steps. ``diverged``: at which step, or None."""
    net, diverged = net.copy(), None
    try:
        loss = net.fit(X, y, epochs=epochs, optimizer=optimizer).loss
    except vg.DivergenceError as error:
        diverged = error.step
        loss = error.history.loss if error.history else np.zeros(0)
    edges = np.unique(np.geomspace(1, len(loss) + 1, 60).astype(int)) - 1
    end = net.evaluate(X, y) if diverged is None else None
    return {
        "diverged": diverged,
        "curve": [(int(a) + 1, float(np.median(loss[a:b]))) for a, b in pairwise(edges)],
        "start": float(loss[0]) if len(loss) else np.inf,
        "end": end.loss if end else np.inf,
        "accuracy": end.accuracy if end else 0.0,
    }


def measure(
    quick: bool = False,
    scales: Mapping[str, Sequence[float]] = SCALES,
    lr: float = 0.05,
    clip_norm: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    X, y = datasets.digits()[:2]
    epochs, nets = 40 if quick else 100, []
    for activation, scale in [(name, scale) for name in scales for scale in scales[name]]:
        net = vg.MLP([64, *[30] * 8, 10], activation, init=RULES[activation], rng=seed)
        net.params *= scale  # the biases are 0
        layers = net.inspect(X, y, optimizer=vg.SGD(lr=lr), try_remedies=False).layers
        gain, predicted, low, high = (layers[name][:-1] for name in GAINS)
        nets.append(
            {
                "name": f"{activation.removesuffix('_relu')} x{Fraction(scale).limit_denominator(100)}",
                "bounded": activation == "sigmoid",
                "gain": float(np.exp(np.log(gain).mean())),
                "predicted": float(np.exp(np.log(predicted).mean())),
                "within": ((low < gain) & (gain < high)).tolist(),
                "signal": (layers["delta_norm"] / layers["delta_norm"][-1]).tolist(),
                "update": float(layers["update_ratio"].max()),
                "plain": trained(net, X, y, epochs, vg.SGD(lr=lr)),
                "clipped": trained(net, X, y, epochs, vg.SGD(lr=lr, clip_norm=clip_norm)),
            }
        )
    return {"nets": nets, "clip_norm": clip_norm}


def kind(net: dict[str, Any]) -> str:
    """By the predicted gain, so that what is measured can contradict it."""
    return "vanishing" if net["predicted"] < STEADY[0] else "exploding" if net["predicted"] > STEADY[1] else "steady"


def conclude(found: dict[str, Any]) -> Seen:
    nets = sorted(found["nets"], key=lambda net: net["gain"])
    parts = [one_number(nets), too_large(nets, found["clip_norm"]), steady_learns(nets)]
    return Seen(all(holds for holds, _ in parts), [sentence for _, sentence in parts])


def one_number(nets: list[dict[str, Any]]) -> tuple[bool, str]:
    """Whether the predicted gain says which way the signal goes."""
    within = [inside for net in nets for inside in net["within"]]
    sides = [kind(net) == "steady" or (net["signal"][0] > 1) == (kind(net) == "exploding") for net in nets]
    foretold = all(sides) and np.mean(within) >= 0.85  # 0.95 is expected, but the gains of one net go together
    return foretold, (
        f"The gain {'foretold' if foretold else 'did NOT foretell'} what became of the signal: a gain of "
        f"{nets[0]['gain']:.2f} a layer left {nets[0]['signal'][0]:.1e} of it for layer 1, and one of "
        f"{nets[-1]['gain']:.2f} made it {nets[-1]['signal'][0]:.1e} times as large. "
        f"{sum(within)} of {len(within)} gains lay where theory has them."
    )


def too_large(nets: list[dict[str, Any]], norm: float) -> tuple[bool, str]:
    """Whether what can overflow and explodes diverges, and shorter steps are the cure; and what cannot does neither."""
    exploding = [net for net in nets if kind(net) == "exploding"]
    if all(net["bounded"] for net in exploding):
        return False, "No leaky ReLU had a gain clearly above 1: the claim on divergence was NOT put to the test."
    texts, holds = [], True
    for net in sorted(exploding, key=lambda net: net["bounded"]):
        plain, clipped = net["plain"], net["clipped"]
        diverged, cured = plain["diverged"] is not None, clipped["end"] < CURED * clipped["start"]
        as_expected = not (diverged or cured) if net["bounded"] else diverged and cured
        text = f"diverged at step {plain['diverged']}" if diverged else f"came to {plain['accuracy']:.0%} right"
        text += f", and clipped to norm {norm:g} {'was cured' if cured else 'was not'}"
        text += f": its loss went from {clipped['start']:.3g} to {clipped['end']:.3g}"
        text += "" if as_expected else ", which is NOT as claimed"
        texts.append(f"{net['name']}, whose first update is {net['update']:.3g} times a layer's weights, {text}.")
        holds = holds and as_expected
    return holds, " ".join(texts)


def steady_learns(nets: list[dict[str, Any]]) -> tuple[bool, str]:
    """Whether nets with a gain of about 1 learn without clipping, and those far from it do not."""
    far = [net for net in nets if not FAR[0] < net["predicted"] < FAR[1]]
    steady = [net for net in nets if kind(net) == "steady"]
    between = [net for net in nets if net not in far and net not in steady]
    ends = [[net["plain"]["accuracy"] for net in part] for part in (steady, far)]
    learns = min(ends[0], default=0.0) > 0.7 and max(ends[1], default=1.0) < 0.5
    texts = [", ".join(f"{n['name']} {accuracy_text(n)}" for n in part) or "none" for part in (steady, far, between)]
    so = "as claimed" if learns else "NOT as claimed"
    return learns, (
        f"Right, {so}: with a gain of about 1 {texts[0]}; below {FAR[0]:g} or above {FAR[1]:g} {texts[1]}; in between "
        f"{texts[2]}."
    )


def accuracy_text(net: dict[str, Any]) -> str:
    """Of the digits, after plain training."""
    return "diverged" if net["plain"]["diverged"] is not None else f"{net['plain']['accuracy']:.0%}"


def colour(net: dict[str, Any]) -> str:
    return {"vanishing": BLUE, "steady": GREEN}.get(kind(net), RED if net["predicted"] > 3 else ORANGE)


def table(found: dict[str, Any]) -> Table:
    rows = []
    for net in found["nets"]:
        ways = [net["plain"], net["clipped"]]
        ends = [f"{w['accuracy']:.0%}" if w["diverged"] is None else f"step {w['diverged']}" for w in ways]
        numbers = [f"{net['gain']:.2f}", f"{net['predicted']:.2f}", f"{net['signal'][0]:.1e}", f"{net['update']:.2g}"]
        rows.append((net["name"], *numbers, ends[0], ends[1], f"{ways[1]['end']:.2g}"))
    notes = f"""weights: times He's; sigmoids': times the standard ones. gain: of a layer, geometric mean. layer 1: its
    signal over the output's, which is gain to the 8. step/W: the first update over the weights, of the layer where that
    is the largest. plain: accuracy, or the step at which it diverged. clipped, loss: the same with gradients of norm
    {found["clip_norm"]:g} at most, and the loss that leaves."""
    headings = ("weights", "gain", "theory", "layer 1", "step/W", "plain", "clipped", "loss")
    return Table(headings, rows, " ".join(notes.split()))


def draw(found: dict[str, Any], figure: Figure) -> None:
    fan, losses = figure.subplots(1, 2)
    below = -np.inf
    for net in sorted(found["nets"], key=lambda net: net["gain"]):
        signal, style = net["signal"], "s--" if net["bounded"] else "o-"
        fan.semilogy(range(1, len(signal) + 1), signal, style, color=colour(net), markersize=4)
        below = max(float(np.log10(signal[0])), below + 0.6)  # labels keep a line's distance
        fan.text(0.7, 10**below, net["name"], ha="right", va="center", fontsize=9)
    fan.set(xlim=(-2.4, 9.4), xticks=range(1, 10), xlabel="layer (9 is the output)")
    fan.set(ylabel="signal, |delta|, over the output's", title="Before training: vanishing, steady, exploding")
    shown = [net for net in found["nets"] if not net["bounded"] and kind(net) != "vanishing"]
    for net in shown:
        for way, style in (("plain", "-"), ("clipped", "--")):
            curve, label = net[way]["curve"], net["name"] + ", clipped" * (way == "clipped")
            losses.loglog(*zip(*curve, strict=True), style, color=colour(net), label=label)
            if net[way]["diverged"] is not None:
                losses.plot(*curve[-1], "x", color=colour(net), markersize=9)
    losses.set(xlabel="step", ylabel="loss of the batch", title="Training (x: the last loss before it diverged)")
    if shown:
        losses.legend(fontsize=9)
