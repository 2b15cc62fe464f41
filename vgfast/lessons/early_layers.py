"""The layers nearest the input train slowest: the speed of learning of each layer, while nets train."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table
from vgfast.published.nielsen_speed import PUBLISHED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "the layers nearest the input train slowest, and accuracy suffers"

CLAIM = """A layer learns by its gradient: where that is large it trains fast, where it is small it trains slowly. As
the gradient shrinks on its way back, the layers nearest the input are the slowest, though they are the ones that all
others build upon. So accuracy suffers, and more so with more layers."""

PLAN = """We repeat the experiment of Nielsen, "Neural Networks and Deep Learning", chapter 5: sigmoids everywhere, 30 a
layer, on 1,000 images of MNIST as one batch, for 300 epochs. His speed of learning is the norm of a layer's mean
gradient of the biases. Accuracy is that on 1,000 other images. At the end, the deepest net is trained with ReLU and
He's weights instead."""

EXPECT = """In each net, from the first epoch to the last, each layer is slower than the next, at first by about five
times: layer 1 by about 100 times with four hidden layers. Biases move accordingly. One hidden layer learns in the 300
steps; the more there are, the less they learn, and four do not begin to, but four of ReLU do. With 150,000 steps and
50,000 images, Nielsen's nets of two to four all came to 96.5 % to 96.9 %: sigmoids so few do learn, but late."""

NIELSEN = {len(sizes) - 2: speeds for sizes, speeds in PUBLISHED.items()}  # before training, one run each
# His cost is a sum over the ten outputs, binary_cross_entropy their mean: all gradients are a tenth of his, and with
# ten times his rate of 0.1, and a tenth of his decay of 5.0 / 1000, each step is his but for rounding.
TENFOLD, LR, DECAY = 10, 10 * 0.1, 5.0 / 1000 / 10
FEWEST, MOST = 3, 8  # times by which a layer is faster than the one before, on average of a net: "about five"
LEARNED, CHANCE = 0.4, 0.15  # accuracies: this or more has learned, this or less has not begun
LINES = list(zip((BLUE, ORANGE, GREEN, RED), ("-", "--", "-.", ":"), strict=True))


def trained(
    depth: int, activation: str, init: Any, epochs: int, data: Sequence[np.ndarray], seed: int
) -> dict[str, Any]:
    """The net after training, and each hidden layer's speed and the accuracy at each epoch."""
    X, y, X_other, y_other = data
    net = vg.MLP([784, *[30] * depth, 10], activation, loss="binary_cross_entropy", init=init, rng=seed)
    before, accuracy = [b.copy() for b in net.biases], []

    def score(net: vg.MLP, _: vg.History) -> None:
        accuracy.append(float((net.forward(X_other).argmax(axis=1) == y_other).mean()))

    history = net.fit(
        X,
        np.eye(10)[y],
        epochs=epochs,
        batch_size=len(X),
        optimizer=vg.SGD(lr=LR, weight_decay=DECAY),
        shuffle=False,
        inspect_every=1,
        callbacks=[score],
    )
    speed = TENFOLD * history.gradients["speed"][:, :-1]
    marks = [1, epochs // 3, epochs]
    thin = slice(None, None, max(1, epochs // 100))  # for the picture
    return {
        "history": history,
        "hidden": depth,
        "marks": marks,
        "at_marks": speed[[mark - 1 for mark in marks]].tolist(),
        "ordered": float((np.diff(speed, axis=1) > 0).all(axis=1).mean()),  # of epochs: all layers slower than the next
        "moved": [float(np.linalg.norm(b - a)) for a, b in zip(before, net.biases, strict=True)][:-1],
        "accuracy": accuracy[-1],
        "epochs": list(range(1, epochs + 1))[thin],
        "speeds": speed[thin].tolist(),
        "accuracies": accuracy[thin],
    }


def measure(
    quick: bool = False,
    activation: str = "sigmoid",
    init: Any = None,
    hidden: Sequence[int] = (1, 2, 3, 4),
    seed: int = 0,
) -> dict[str, Any]:
    """init: None is Nielsen's, weights N(0, 1 / n_in) and biases N(0, 1)."""
    if max(hidden, default=0) < 2:
        raise ValueError(f"hidden must have a net of 2 hidden layers or more, got {tuple(hidden)}; add one, such as 2")
    images = datasets.mnist_subset()
    rows = np.random.default_rng(0).permutation(len(images.y))
    data = [array[part] for part in (rows[:1000], rows[1000:2000]) for array in (images.X, images.y)]
    init = vg.init.lecun_normal(bias_std=1.0) if init is None else init
    depths, epochs = ([min(hidden), max(hidden)], 100) if quick else (sorted(hidden), 300)
    nets = [trained(depth, activation, init, epochs, data, seed) for depth in depths]
    cured = trained(max(depths), "relu", "he_normal", epochs, data, seed)
    names = [*(f"{net['hidden']} hidden, {activation}" for net in nets), f"{cured['hidden']} hidden, relu"]
    histories = [(name, net.pop("history"), None) for name, net in zip(names, [*nets, cured], strict=True)]
    return {"activation": activation, "nets": nets, "cured": cured, "histories": histories}


def conclude(found: dict[str, Any]) -> Seen:
    deep = [net for net in found["nets"] if net["hidden"] > 1]
    parts = [slowest(deep), moved(deep), accuracy(found["nets"], found["cured"])]
    return Seen(all(holds for holds, _ in parts), [sentence for _, sentence in parts])


def listed(values: Sequence[float], form: str) -> str:
    return ", ".join(format(value, form) for value in values)


def slowest(nets: list[dict[str, Any]]) -> tuple[bool, str]:
    """Whether each layer learns more slowly than the next, in every epoch, and at first by about five times."""
    times = [net["at_marks"][0][-1] / net["at_marks"][0][0] for net in nets]
    each = [t ** (1 / (net["hidden"] - 1)) for t, net in zip(times, nets, strict=True)]
    share = [net["ordered"] for net in nets]
    ordered, by_five = min(share) == 1, all(FEWEST < e < MOST for e in each)
    equal = max(times) < 2 and min(times) > 1 / 2
    return ordered and by_five, (
        f"Each layer was {'slower' if ordered else 'NOT always slower'} than the next with "
        f"{listed([n['hidden'] for n in nets], 'd')} hidden layers: in {listed(share, '.0%')} of epochs all were. At "
        f"first the last of them learned {listed(times, '.3g')} times as fast as layer 1"
        f"{', which is about equal' if equal else ''}, and a layer {listed(each, '.2g')} times as fast as the one "
        f"before{'' if by_five else ', which is NOT about five'}."
    )


def moved(nets: list[dict[str, Any]]) -> tuple[bool, str]:
    """Whether layers with larger gradients have gone further. Of the biases, which no weight decay moves."""
    rising = all(a < b for net in nets for a, b in pairwise(net["moved"]))
    holds = rising and all(net["moved"][-1] > 2 * net["moved"][0] for net in nets)
    return holds, (
        f"The biases of layer 1 {'went' if holds else 'did NOT go'} half as far at most as those of the last hidden "
        f"layer: by {listed([net['moved'][0] for net in nets], '.2g')}, and those by "
        f"{listed([net['moved'][-1] for net in nets], '.2g')}."
    )


def accuracy(nets: list[dict[str, Any]], cured: dict[str, Any]) -> tuple[bool, str]:
    """Whether the shallowest net learns, deeper ones less, the deepest not, and one of ReLU as deep does."""
    shares = [net["accuracy"] for net in nets]
    falls = all(deep < less or max(deep, less) <= CHANCE for less, deep in pairwise(shares))
    holds = falls and shares[0] >= LEARNED and shares[-1] <= CHANCE and cured["accuracy"] >= LEARNED
    return holds, (
        f"Accuracy {'suffered' if holds else 'did NOT suffer as expected'}: after {nets[0]['marks'][-1]} epochs "
        f"{listed(shares, '.0%')} with {listed([net['hidden'] for net in nets], 'd')} hidden layers, and "
        f"{cured['accuracy']:.0%} with {cured['hidden']} of ReLU."
    )


def table(found: dict[str, Any]) -> Table:
    rows = []
    for net in found["nets"]:
        for l in range(net["hidden"]):
            speeds = [at[l] for at in net["at_marks"]]
            following = f"x{net['at_marks'][0][l + 1] / speeds[0]:.1f}" if l + 1 < net["hidden"] else "-"
            his = f"{NIELSEN[net['hidden']][l]:.2g}" if net["hidden"] in NIELSEN else "-"
            name = f"{net['hidden']} hidden" if l == 0 else ""
            rows.append((name, str(l + 1), *(f"{s:.2g}" for s in speeds), following, his, f"{net['moved'][l]:.2g}"))
    headings = ("net", "layer", *(f"epoch {mark}" for mark in found["nets"][0]["marks"]), "next", "Nielsen", "b moved")
    notes = """Speeds of learning. next: of the next layer over this one's, at epoch 1. Nielsen: his, at epoch 1, of
    another draw of first weights. b moved: the norm of what training did to the biases."""
    return Table(headings, rows, " ".join(notes.split()))


def draw(found: dict[str, Any], figure: Figure) -> None:
    deep = [net for net in found["nets"] if net["hidden"] > 1]
    figure.set_size_inches(9, 6.5)
    names = [f"{net['hidden']} hidden layers" for net in deep]
    layout: list[Any] = [names, ["accuracy"] * len(names)]
    axes = figure.subplot_mosaic(layout, height_ratios=[3, 2])
    for net, name in zip(deep, names, strict=True):
        for l, (colour, style) in enumerate(LINES[: net["hidden"]]):
            axes[name].semilogy(
                net["epochs"], [s[l] for s in net["speeds"]], style, color=colour, label=f"layer {l + 1}"
            )
        axes[name].set(title=name, xlabel="epoch", ylim=(1e-5, 3))
        axes[name].legend(fontsize=8)
    axes[names[0]].set_ylabel("speed: |mean gradient of the biases|")
    axis, cured = axes["accuracy"], found["cured"]
    for net, (colour, style) in zip(found["nets"], LINES, strict=False):
        axis.plot(net["epochs"], net["accuracies"], style, color=colour, label=f"hidden layers: {net['hidden']}")
    axis.plot(cured["epochs"], cured["accuracies"], color="black", label=f"ReLU, hidden layers: {cured['hidden']}")
    axis.set(ylim=(0, 1), xlabel="epoch", ylabel="accuracy on other images")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
