"""Strokes and edges: what a first layer learns of pieces of digits, faces and photographs that nobody has labelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import datasets
from vgfast.lessons import Seen, Table
from vgfast.pretrain import RBM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "strokes and edges: what a first layer learns of images that nobody has labelled"

CLAIM = """The first layers of a deep net detect simple patterns, such as the edges in faces, and those behind them put
these together. A layer needs no labels to find them: what images are made of is enough."""

PLAN = """We cut pieces of 12 x 12 pixels, at random places, from 5,000 digits of MNIST, from the 100 faces of the
lesson faces and their mirror images, and from two photographs, a temple and a flower, at a third of their size. Pieces
are set to one mean and nearly one contrast, and whitened: of their 144 principal components we keep the first 40, each
divided by its deviation. A restricted Boltzmann machine with Gaussian visible units learns 48 filters of them, units
that are each to be on in one piece of 50. We look at the filters as images, and measure two things: whether one has its
energy in one place, the share of it in the best window of 6 x 6; and in one direction, how far that of its spectrum
agrees on one. A filter that has more of both than 95 of 100 random ones have, each taken alone, is called an edge."""

EXPECT = """Of digits, pieces of strokes, straight or bent; of faces, brows, eyes, noses, mouths and the outline; of
photographs, short edges and bars, each in one place and of one direction, as cells of the visual cortex want them. At
least two in five of the filters are edges. Of the principal components, which are waves over the whole piece, few
are, and of random filters hardly one. Without the demand that units be seldom on, few of the learned are."""

SIDE, KEPT, UNITS = 12, 40, 48
SETTINGS: dict[str, Any] = {"learning_rate": 0.03, "batch_size": 20, "momentum": (0.5, 0.9), "sparsity_cost": 3.0}
GOOD, FEW = 0.4, 0.2  # shares of edges: of learned filters at least, of others at most
KINDS = ("learned", "components", "random")


def photographs() -> list[np.ndarray]:
    """The two that scikit-learn ships, grey, each pixel the mean of 3 x 3."""
    from sklearn.datasets import load_sample_images

    grey = [image.mean(axis=2) for image in load_sample_images().images]
    return [image[:426, :639].reshape(142, 3, 213, 3).mean(axis=(1, 3)) for image in grey]


def digits() -> list[np.ndarray]:
    return list(datasets.mnist_subset().X.reshape(-1, 28, 28))


def faces() -> list[np.ndarray]:
    """And their mirror images."""
    data = datasets.faces()
    images = data.X[data.y == 1].reshape(-1, 25, 25)
    return [*images, *images[:, :, ::-1]]


SOURCES: dict[str, Callable[[], list[np.ndarray]]] = {"digits": digits, "faces": faces, "photographs": photographs}


def pieces_of(images: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, pixels) of mean 0 and nearly one contrast, in random order, without those that are flat."""
    found = []
    for image in images:
        windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE))
        down, across = (rng.integers(0, most, -(-3 * n // len(images))) for most in windows.shape[:2])
        found.append(windows[down, across].reshape(-1, SIDE * SIDE))
    pieces = np.concatenate(found)
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    contrast = pieces.std(axis=1, keepdims=True)
    pieces = pieces / (contrast + 0.3 * contrast.mean())
    return rng.permutation(pieces[contrast[:, 0] > 0.5 * contrast.mean()])[:n]


def whitened(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, KEPT) of variance 1 along the first principal components, and these (KEPT, pixels)."""
    centred = pieces - pieces.mean(axis=0)
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    first = vectors[:, ::-1][:, :KEPT]
    return centred @ first / np.sqrt(variances[::-1][:KEPT]), first.T


def place(filters: np.ndarray) -> np.ndarray:
    """The share of each filter's energy in the best window of half the side: 1/4 if it is spread evenly, to 1."""
    energy = filters.reshape(-1, SIDE, SIDE) ** 2
    windows = np.lib.stride_tricks.sliding_window_view(energy, (SIDE // 2, SIDE // 2), axis=(1, 2))
    return windows.sum(axis=(3, 4)).max(axis=(1, 2)) / energy.sum(axis=(1, 2))


def direction(filters: np.ndarray) -> np.ndarray:
    """How far the energy of each filter's spectrum agrees on one direction: 0 if it is spread evenly, to 1. It is the
    length of the mean of exp(2i angle): twice the angle, as a wave has the same direction there and back."""
    n = 4 * SIDE  # finer than the filter has it, so that few angles fall together
    energy = np.abs(np.fft.fft2(filters.reshape(-1, SIDE, SIDE), (n, n))) ** 2
    down, across = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    energy[:, 0, 0] = 0  # of no direction
    doubled = np.exp(2j * np.arctan2(down, across))
    return np.abs((energy * doubled).sum(axis=(1, 2))) / energy.sum(axis=(1, 2))


def measured(filters: np.ndarray, limits: tuple[float, float]) -> dict[str, float]:
    where, which = place(filters), direction(filters)
    return {
        "place": float(np.median(where)),
        "direction": float(np.median(which)),
        "edges": float(np.mean((where > limits[0]) & (which > limits[1]))),
    }


def learned_from(images: list[np.ndarray], n: int, epochs: int, seldom: float | None, seed: int) -> dict[str, Any]:
    """The filters of one kind of image beside principal components and random ones of the same 40 dimensions."""
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    pieces = pieces_of(images, n, rng)
    coordinates, components = whitened(pieces)
    machine = RBM(UNITS, visible="gaussian", n_iter=epochs, sparsity_target=seldom, rng=seed, **SETTINGS).fit(
        coordinates
    )
    filters = {"learned": machine.components_ @ components, "components": components}
    filters["random"], others = (rng.normal(size=(1000, KEPT)) @ components for _ in range(2))
    limits = (float(np.quantile(place(others), 0.95)), float(np.quantile(direction(others), 0.95)))
    shown = {"pieces": pieces, **filters}
    return {
        "seconds": time.perf_counter() - start,
        "limits": limits,
        **{kind: measured(filters[kind], limits) for kind in KINDS},
        "pictures": {
            name: as_images(rows[: UNITS if name == "learned" else UNITS // 2]) for name, rows in shown.items()
        },
    }


def as_images(filters: np.ndarray) -> list:
    """(n, SIDE, SIDE), each from -1 to 1."""
    scaled = filters / np.abs(filters).max(axis=1, keepdims=True)
    return np.round(scaled.reshape(-1, SIDE, SIDE), 2).tolist()


def measure(quick: bool = False, seldom: float | None = 0.02, seed: int = 0) -> dict[str, Any]:
    """seldom: the share of pieces in which a unit is to be on; None: no matter in which."""
    n, epochs = (8000, 15) if quick else (16000, 15)
    names = [name for name in SOURCES if name != "digits" or not quick]  # which take longest to read
    images = {name: SOURCES[name]() for name in names}
    sets = {name: learned_from(images[name], n, epochs, seldom, seed) for name in images}
    freely = learned_from(images["photographs"], n, epochs, None, seed)["learned"]
    return {"sets": sets, "freely": freely, "pieces": n}


def conclude(found: dict[str, Any]) -> Seen:
    held, sentences = [], []
    for name, of in found["sets"].items():
        shares = {kind: of[kind]["edges"] for kind in KINDS}
        many = shares["learned"] >= GOOD
        few = max(shares["components"], shares["random"]) <= FEW
        held += [many, few]
        sentences.append(
            f"Of the filters learned of {name} in {of['seconds']:.1f} s, {shares['learned']:.0%} are edges, "
            f"{'more' if many else 'NOT more'} than two in five; of the principal components "
            f"{shares['components']:.0%}, of random filters {shares['random']:.1%}"
            f"{': few' if few else ', which are NOT few'}."
        )
    freely = found["freely"]["edges"]
    held.append(freely <= FEW)
    sentences.append(
        f"Without the demand that units be seldom on, {freely:.0%} of those of photographs are edges: "
        f"{'the demand is needed' if held[-1] else 'the demand is NOT needed'}."
    )
    return Seen(all(held), sentences)


def table(found: dict[str, Any]) -> Table:
    lines = [(name if kind == KINDS[0] else "", kind, of[kind]) for name, of in found["sets"].items() for kind in KINDS]
    lines.append(("", "learned freely", found["freely"]))
    rows = [(*about, *(f"{of[key]:.2f}" for key in ("place", "direction", "edges"))) for *about, of in lines]
    notes = f"""Of {found["pieces"]:,} pieces each. place: the share of energy in the best quarter, direction: how far
    the spectrum agrees on one; medians. edges: the share of filters that are. freely: of photographs, with units on as
    often as they like."""
    return Table(("of", "filters", "place", "direction", "edges"), rows, " ".join(notes.split()))


def mosaic(images: list, rows: int = 4) -> np.ndarray:
    """Side by side in so many rows, with white lines between."""
    framed = np.pad(np.asarray(images, dtype=float), ((0, 0), (0, 1), (0, 1)), constant_values=1)
    return framed.reshape(rows, -1, SIDE + 1, SIDE + 1).swapaxes(1, 2).reshape(rows * (SIDE + 1), -1)[:-1, :-1]


def draw(found: dict[str, Any], figure: Figure) -> None:
    figure.set_size_inches(13, 6.2)
    panels = figure.subplots(len(found["sets"]), 4, width_ratios=(1, 2, 1, 1))
    titles = {"pieces": "pieces", "learned": "learned", "components": "principal components", "random": "random"}
    for line, (name, of) in zip(panels, found["sets"].items(), strict=True):
        for axes, (what, title) in zip(line, titles.items(), strict=True):
            axes.imshow(mosaic(of["pictures"][what]), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            share = f": {of[what]['edges']:.0%} edges" if what in KINDS else f" of {name}"
            axes.set_title(title + share, fontsize=10)
