"""Faces against backgrounds: first filters of a deep net that learns, and of one whose first layer gets no signal."""

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
cross-validation. A unit of layer 1 has a weight for each pixel, its filter, which we look at as an image. Layer 1
starts from a fiftieth of the usual weights, in both nets, so that one sees what is learned and not what was drawn."""

EXPECT = """The net of ReLUs is right about 19 times in 20. Its filters become brows, mouths and outlines, light beside
dark where faces have it: those of a whole face, as each unit sees all pixels. The net of sigmoids guesses, and its
filters stay the noise that they were."""

SIZES = (625, *[16] * 12, 2)
EPOCHS, BATCH, FIRST = 60, 20, 1 / 50
SHOWN = 10  # filters in the picture
GOOD, NEAR_HALF, MOVED, UNMOVED = 0.93, 0.05, 0.1, 0.001
EDGES, NOISE = 0.3, 0.15  # correlations


def made(activation: str, seed: int) -> vg.MLP:
    """Draws of one seed are the same for both nets, but for a factor."""
    net = vg.MLP(SIZES, activation, init="he_normal" if "relu" in activation else "lecun_normal", rng=seed)
    net.weights[0] = FIRST * net.weights[0]
    return net


def as_images(filters: np.ndarray) -> np.ndarray:
    """(625, units) to (units, 25, 25), each of norm 1."""
    return (filters / np.linalg.norm(filters, axis=0)).T.reshape(-1, 25, 25)


def edges(images: np.ndarray) -> np.ndarray:
    """Where there is light beside dark: (23, 23), the mean over the images of how steep they are at each pixel."""
    down, across = np.gradient(images, axis=(1, 2))
    return np.hypot(down, across).mean(axis=0)[1:-1, 1:-1]


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Their correlation."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def smoothness(images: np.ndarray) -> float:
    """The correlation of a pixel with its neighbours, mean over the images: 0 for noise."""
    pairs = [(np.r_[i[:, 1:].ravel(), i[1:].ravel()], np.r_[i[:, :-1].ravel(), i[:-1].ravel()]) for i in images]
    return float(np.mean([alike(a, b) for a, b in pairs]))


def trained(activation: str, data: datasets.Dataset, rows: tuple[np.ndarray, np.ndarray], lr: float, seed: int) -> dict:
    """One net, on the rows of one fold, and all that is told of it."""
    train, test = rows
    mean, deviation = data.X[train].mean(axis=0), (data.X[train] - data.X[train].mean(axis=0)).std()
    X, y = (data.X - mean) / deviation, data.y
    net, sgd = made(activation, seed), vg.SGD(lr=lr, momentum=0.9)
    start = net.weights[0].copy()
    delta = net.inspect(X[train], y[train], sgd, try_remedies=False).records["delta_norm"]
    net.fit(X[train], y[train], EPOCHS, BATCH, sgd)
    end = net.weights[0].copy()
    faces = edges(data.X[y == 1].reshape(-1, 25, 25))
    return {
        "accuracy": net.evaluate(X[test], y[test]).accuracy,
        "signal": delta[0] / delta[-1],
        "moved": float(np.mean(np.linalg.norm(end - start, axis=0) / np.linalg.norm(start, axis=0))),
        "smooth": [smoothness(as_images(w)) for w in (start, end)],
        "edges": [alike(edges(as_images(w)), faces) for w in (start, end)],
        "filters": [start, end],
    }


def together(runs: list[dict], units: np.ndarray) -> dict[str, Any]:
    """What the nets of all folds come to, and filters of the first of them."""
    told = {key: np.array([run[key] for run in runs]) for key in ("accuracy", "signal", "moved", "smooth", "edges")}
    pictures = [as_images(w[:, units]).astype(float) for w in runs[0]["filters"]]
    return {
        "accuracy": told["accuracy"].reshape(-1, 5).mean(axis=1).tolist(),  # of each cross-validation
        "signal": float(np.exp(np.log(told["signal"]).mean())),
        "moved": [float(f(told["moved"])) for f in (np.mean, np.min, np.max)],
        "smooth": told["smooth"].mean(axis=0).tolist(),
        "edges": told["edges"].mean(axis=0).tolist(),
        "pictures": [np.round(i / np.abs(i).max(axis=(1, 2), keepdims=True), 2).tolist() for i in pictures],
    }


def measure(
    quick: bool = False, healthy: str = "relu", vanishing: str = "sigmoid", lr: float = 0.003, seed: int = 0
) -> dict[str, Any]:
    from sklearn.model_selection import StratifiedKFold

    data = datasets.faces()
    repeats = range(seed, seed + (2 if quick else 5))
    splits = [StratifiedKFold(5, shuffle=True, random_state=r).split(data.X, data.y) for r in repeats]
    folds = [rows for split in splits for rows in split]
    kinds = (healthy, vanishing)
    runs = [[trained(kind, data, rows, lr, 100 * seed + i) for i, rows in enumerate(folds)] for kind in kinds]
    start, end = runs[0][0]["filters"]
    units = np.linalg.norm(end - start, axis=0).argsort()[::-1][:SHOWN]  # those that moved most; the same of both nets
    nets = [{"activation": kind, **together(of_kind, units)} for kind, of_kind in zip(kinds, runs, strict=True)]
    return {"nets": nets, "hidden": len(SIZES) - 2, "steps": EPOCHS * 160 // BATCH, "each": len(folds)}


def percent(share: float) -> str:
    """
    >>> percent(4.8), percent(0.0000573)
    ('480 %', '0.0057 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def of(correlation: float) -> str:
    """
    >>> of(0.512), of(-0.001)
    ('0.51', '0.00')
    """
    return f"{round(correlation, 2) + 0.0:.2f}"


def saw(found: dict[str, Any]) -> Seen:
    one, other = found["nets"]
    right, guess = (float(np.mean(net["accuracy"])) for net in (one, other))
    learns, guesses = right >= GOOD, abs(guess - 0.5) <= NEAR_HALF
    moves, stays = one["moved"][1] > MOVED, other["moved"][2] < UNMOVED
    edged, noise = one["edges"][1] > EDGES, abs(other["edges"][1]) < NOISE
    sentences = [
        f"The deep net of {one['activation']} {'was' if learns else 'did NOT learn: it was'} right about "
        f"{100 * right:.1f} % of the images that it had not seen, that of {other['activation']} about "
        f"{100 * guess:.1f} %, which is {'a guess' if guesses else 'NOT a guess'}.",
        f"At the start, {one['signal']:.2g} of the signal at the output reached layer 1 of the first, "
        f"{other['signal']:.2g} that of the second.",
        f"In {found['steps']} steps the first's filters {'moved' if moves else 'did NOT all move'} by "
        f"{percent(one['moved'][0])} of their start, {percent(one['moved'][1])} at the least of {found['each']} nets; "
        f"the second's {'stayed: they' if stays else 'did NOT stay: they'} moved by {percent(other['moved'][0])}, "
        f"{percent(other['moved'][2])} at the most.",
        f"The first's filters {'have' if edged else 'do NOT have'} their edges where faces have them: a correlation of "
        f"{of(one['edges'][1])}, from {of(one['edges'][0])} at the start. The second's "
        f"{'are the noise that they were' if noise else 'did NOT stay noise'}: {of(other['edges'][1])}.",
    ]
    return Seen(all((learns, guesses, moves, stays, edged, noise)), sentences)


def table(found: dict[str, Any]) -> Table:
    def row(what: str, say: Any) -> tuple[str, str, str]:
        return what, say(found["nets"][0]), say(found["nets"][1])

    rows = [
        row("right, by 5-fold cross-validation", lambda net: f"{100 * np.mean(net['accuracy']):.1f} %"),
        row(
            "  worst and best repetition",
            lambda net: " to ".join(f"{100 * f(net['accuracy']):.1f}" for f in (min, max)),
        ),
        row("signal that reaches layer 1", lambda net: f"{net['signal']:.2g}"),
        row("filters moved, of their start", lambda net: percent(net["moved"][0])),
        row("  least and most, of all nets", lambda net: ", ".join(map(percent, net["moved"][1:]))),
        row("neighbouring pixels: correlation", lambda net: " -> ".join(map(of, net["smooth"]))),
        row("edges of filters and of faces", lambda net: " -> ".join(map(of, net["edges"]))),
    ]
    headings = ("", *(f"{found['hidden']} layers of {net['activation']}" for net in found["nets"]))
    notes = "Signal: norm of the deltas of layer 1 over that at the output, before training. ->: from start to end."
    return Table(headings, rows, notes)


def draw(found: dict[str, Any], figure: Figure) -> None:
    parts: Any = figure.subfigures(4, 1)
    strips = iter(parts)
    for net, colour in zip(found["nets"], (BLUE, RED), strict=True):
        name = f"{found['hidden']} layers of {net['activation']}"
        right = f"right about {100 * np.mean(net['accuracy']):.1f} % of new images"
        end = f"after {found['steps']} steps: {right}, filters moved by {percent(net['moved'][0])} of their start"
        for title, images in zip(("the start", end), net["pictures"], strict=True):
            strip = next(strips)
            strip.suptitle(f"{name}, {title}", x=0.01, ha="left", fontsize=10, color=colour)
            for axes, image in zip(strip.subplots(1, len(images)), images, strict=True):
                axes.imshow(image, cmap="gray", vmin=-1, vmax=1)
                axes.set_xticks([])
                axes.set_yticks([])
