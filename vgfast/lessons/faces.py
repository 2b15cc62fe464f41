"""Faces against backgrounds: what the first layer of a deep net learns, and of one whose first layer gets no signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, RED, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "edges in faces: what the first layer learns, and what it misses where no gradient comes"

CLAIM = """Deep nets can do complex things, such as recognising faces. Their first layers detect the simple patterns,
the edges, and the layers behind them put these together. But the layers nearest the input train slowest; and where they
do not learn, all that follows builds on what they were first given at random."""

PLAN = """We take 100 faces and 100 backgrounds of 25 x 25 pixels, less the mean of the training images, over their
standard deviation. Two nets of twelve hidden layers of 16 units, one of ReLUs with He's first weights, one of sigmoids
with LeCun's, learn to tell them apart, with the same seeds, rate and steps; accuracy is by stratified 5-fold
cross-validation. A unit of layer 1 has a weight for each pixel, its filter, which we look at as an image. A filter is
what was drawn at random and what was learned since, end less start: we look at the sum, and at what was learned."""

EXPECT = """The net of ReLUs is right about 19 times in 20. Its filters still look like noise, as what was drawn is
several times as large as what was learned; less the draw, they are brows, mouths and outlines, light next to dark where
faces have it: those of a whole face, as each unit sees all pixels. With its first layer put back as it was drawn, it is
right less often. The net of sigmoids guesses, and its filters stay the noise that they were."""

SIZES = (625, *[16] * 12, 2)
EPOCHS, BATCH = 60, 20
GOOD, NEAR_HALF, MOVED, UNMOVED, NEEDED = 0.93, 0.05, 0.1, 0.001, 0.1
EDGES, NOISE = 0.3, 0.15  # correlations


def made(activation: str, seed: int) -> vg.MLP:
    """Both nets have the same draws of one seed, but for a factor."""
    return vg.MLP(SIZES, activation, init="he_normal" if "relu" in activation else "lecun_normal", rng=seed)


def as_images(filters: np.ndarray) -> np.ndarray:
    """(625, units) to (units, 25, 25), each of norm 1; a filter of zeros stays."""
    norms = np.linalg.norm(filters, axis=0)
    return (filters / np.where(norms > 0, norms, 1)).T.reshape(-1, 25, 25)


def edges(images: np.ndarray) -> np.ndarray:
    """Where there is light next to dark: (23, 23), the mean over the images of how steep they are at each pixel."""
    down, across = np.gradient(images, axis=(1, 2))
    return np.hypot(down, across).mean(axis=0)[1:-1, 1:-1]


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Their correlation; 0 where one is flat."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def smoothness(images: np.ndarray) -> float:
    """The correlation of a pixel with its neighbours, mean over the images: 0 for noise."""
    pairs = [(np.r_[i[:, 1:].ravel(), i[1:].ravel()], np.r_[i[:, :-1].ravel(), i[:-1].ravel()]) for i in images]
    return float(np.mean([alike(a, b) for a, b in pairs]))


def trained(data: datasets.Dataset, rows: tuple[np.ndarray, np.ndarray], lr: float, net: vg.MLP) -> dict[str, Any]:
    """One net, on the rows of one fold, and all that is measured of it."""
    train, test = rows
    mean, deviation = data.X[train].mean(axis=0), (data.X[train] - data.X[train].mean(axis=0)).std()
    X, y = (data.X - mean) / deviation, data.y
    sgd = vg.SGD(lr=lr, momentum=0.9)
    start, bias = net.weights[0].copy(), net.biases[0].copy()
    delta = net.inspect(X[train], y[train], sgd, try_remedies=False).records["delta_norm"]
    net.fit(X[train], y[train], EPOCHS, BATCH, sgd)
    end, accuracy = net.weights[0].copy(), net.evaluate(X[test], y[test]).accuracy
    net.weights[0], net.biases[0] = start, bias
    faces, parts = edges(data.X[y == 1].reshape(-1, 25, 25)), (end, end - start)
    return {
        "accuracy": accuracy,
        "put back": net.evaluate(X[test], y[test]).accuracy,
        "signal": delta[0] / delta[-1],
        "moved": float(np.mean(np.linalg.norm(end - start, axis=0) / np.linalg.norm(start, axis=0))),
        "smooth": [smoothness(as_images(w)) for w in parts],
        "edges": [alike(edges(as_images(w)), faces) for w in parts],
        "filters": parts,
    }


def together(runs: list[dict]) -> dict[str, Any]:
    """What the nets of all folds come to, and the filters of the first of them."""
    measured = {key: np.array([run[key] for run in runs]) for key in runs[0] if key != "filters"}
    return {
        "accuracy": measured["accuracy"].reshape(-1, 5).mean(axis=1).tolist(),  # of each cross-validation
        "put back": float(measured["put back"].mean()),
        "signal": float(np.exp(np.log(measured["signal"]).mean())),
        "moved": [float(f(measured["moved"])) for f in (np.mean, np.min, np.max)],
        "smooth": measured["smooth"].mean(axis=0).tolist(),  # of the filters at the end, and of what was learned
        "edges": measured["edges"].mean(axis=0).tolist(),
        "pictures": [w.T.reshape(-1, 25, 25).astype(float) for w in runs[0]["filters"]],
    }


def measure(
    quick: bool = False, healthy: str = "relu", vanishing: str = "sigmoid", lr: float = 0.003, seed: int = 0
) -> dict[str, Any]:
    from sklearn.model_selection import StratifiedKFold

    data = datasets.faces()
    repeats = [StratifiedKFold(5, shuffle=True, random_state=seed + i) for i in range(2 if quick else 5)]
    folds = [rows for repeat in repeats for rows in repeat.split(data.X, data.y)]
    nets = []
    for kind in (healthy, vanishing):
        runs = [trained(data, rows, lr, made(kind, 100 * seed + i)) for i, rows in enumerate(folds)]
        nets.append({"activation": kind, **together(runs)})
    for i in (0, 1):  # one scale for the filters of both nets, and one for what they learned
        most = max(float(np.quantile(np.abs(net["pictures"][i]), 0.995)) for net in nets)
        for net in nets:
            net["pictures"][i] = np.round(np.clip(net["pictures"][i] / most, -1, 1), 2).tolist()
    return {"nets": nets, "hidden": len(SIZES) - 2, "steps": EPOCHS * 160 // BATCH, "each": len(folds)}


def percent(share: float) -> str:
    """480 % for 4.8, 0.0057 % for 0.0000573."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def decimals(correlation: float) -> str:
    return f"{round(correlation, 2) + 0.0:.2f}"  # + 0.0: not -0.00


def conclude(found: dict[str, Any]) -> Seen:
    one, other = found["nets"]
    right, guess = (float(np.mean(net["accuracy"])) for net in (one, other))
    learns, guesses = right >= GOOD, abs(guess - 0.5) <= NEAR_HALF
    moves, stays = one["moved"][0] > MOVED, other["moved"][2] < UNMOVED
    edged, needed = one["edges"][1] > EDGES, one["put back"] < right - NEEDED
    noisy, noise = (max(abs(net["edges"][0]), abs(net["smooth"][0])) < NOISE for net in (one, other))
    pair = [
        f"{decimals(net['edges'][0])} and, of neighbouring pixels, {decimals(net['smooth'][0])}" for net in (one, other)
    ]
    sentences = [
        f"The deep net of {one['activation']} was right about {100 * right:.1f} % of the images that it had not seen"
        f"{'' if learns else f', which is NOT the {GOOD:.0%} expected'}; that of {other['activation']} about "
        f"{100 * guess:.1f} %, which is {'a guess' if guesses else 'NOT a guess'}.",
        f"At the start, {one['signal']:.2g} of the signal at the output reached layer 1 of the first, "
        f"{other['signal']:.2g} that of the second.",
        f"In {found['steps']} steps the first's filters {'moved' if moves else 'did NOT move much: they moved'} by "
        f"{percent(one['moved'][0])} of their start, {percent(one['moved'][1])} at the least of {found['each']} nets; "
        f"the second's {'stayed: they' if stays else 'did NOT stay: they'} moved by {percent(other['moved'][0])}, "
        f"{percent(other['moved'][2])} at the most.",
        f"What the first's filters learned {'has' if edged else 'does NOT have'} its edges where faces have them: "
        f"a correlation of {decimals(one['edges'][1])}. The filters, draw and all, "
        f"{'still look like noise' if noisy else 'are not like noise'}: {pair[0]}.",
        f"With layer 1 put back as drawn, the first was right about {100 * one['put back']:.1f} %, which is "
        f"{'less' if needed else 'NOT clearly less'}.",
        f"The second's filters {'are' if noise and stays else 'are NOT'} the noise that they were: {pair[1]}.",
    ]
    return Seen(all((learns, guesses, moves, stays, edged, needed, noise)), sentences)


def table(found: dict[str, Any]) -> Table:
    def row(what: str, say: Any) -> tuple[str, str, str]:
        return what, say(found["nets"][0]), say(found["nets"][1])

    def learned(key: str) -> tuple[str, str, str]:
        return row("  what was learned", lambda net: decimals(net[key][1]) if net["moved"][0] > UNMOVED else "-")

    rows = [
        row("right, by 5-fold cross-validation", lambda net: f"{100 * np.mean(net['accuracy']):.1f} %"),
        row("  with layer 1 put back as drawn", lambda net: f"{100 * net['put back']:.1f} %"),
        row("signal that reaches layer 1", lambda net: f"{net['signal']:.2g}"),
        row("filters moved, of their start", lambda net: percent(net["moved"][0])),
        row("edges as in faces: filters", lambda net: decimals(net["edges"][0])),
        learned("edges"),
        row("neighbouring pixels: filters", lambda net: decimals(net["smooth"][0])),
        learned("smooth"),
    ]
    headings = ("", *(f"{found['hidden']} layers of {net['activation']}" for net in found["nets"]))
    notes = """Signal: norm of the deltas of layer 1 over that at the output, before training. Edges, neighbouring
    pixels: correlations, of the filters at the end and of end less start."""
    return Table(headings, rows, " ".join(notes.split()))


def draw(found: dict[str, Any], figure: Figure) -> None:
    figure.set_size_inches(11, 4)
    parts: Any = figure.subfigures(4, 1)
    strips = iter(parts)
    for net, colour in zip(found["nets"], (BLUE, RED), strict=True):
        right = f"right about {100 * np.mean(net['accuracy']):.1f} % of new images"
        filters = f"{found['hidden']} layers of {net['activation']}, filters of layer 1 at the end: {right}"
        learned = f"of that, learned (end less start): {percent(net['moved'][0])} of the start; one scale for both nets"
        for title, images in zip((filters, learned), net["pictures"], strict=True):
            strip = next(strips)
            strip.suptitle(title, x=0.01, ha="left", fontsize=10, color=colour)
            for axes, image in zip(strip.subplots(1, len(images)), images, strict=True):
                axes.imshow(image, cmap="gray", vmin=-1, vmax=1)
                axes.set(xticks=[], yticks=[])
