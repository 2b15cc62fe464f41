"""ReZero's 64 layers: the loss in training beside that of three other nets as deep."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.published import files
from vgfast.published.rows import Row

TITLE = "of four nets of 64 layers, the one by ReZero learns at once"

SOURCE = """Bachlechner, Majumder, Mao, Cottrell, McAuley, "ReZero is all you need: fast convergence at large depth"
(2020), arXiv 2003.04887, and github.com/tbachlechner/ReZero-examples, ReZero-Deep_Fast_NeuralNetwork.ipynb: losses in
training, on CIFAR-10, after 1 and after 10 epochs."""

ABOUT = """A layer of ReLU and then 64 hidden layers of ReLU as wide, batches of 100, Adagrad at rate 0.01, pixels from
-1 to 1: plain with He's weights; residual connections, and weights of variance 1/(4 n); layer normalization after each
activation (theirs has one gain and shift for all layers, ours for each); ReZero. CIFAR-10 we do not have, so no loss
can be expected to come out: what is tried is that ReZero's is the least, and that the least of the others is as many
times ReZero's as there, or more. With the digits of 8 x 8, 64 wide, 10 epochs. With --fashion Fashion-MNIST, 256 wide
as published, and one epoch, which takes 35 to 41 s of a processor a net with AVX2. With --quick, one epoch of the first
6,000 images, 64 wide."""

FILES, FASHION = False, None

DEPTH = 64
LOSSES = {"plain": (54693.80, 2.02), "residual": (131270.0, 1.87), "layer norm": (2.23, 2.02), "ReZero": (1.68, 0.52)}
TRIED = (1, 10)  # epochs


class Settings(NamedTuple):
    """``rows``: how many images, at most."""

    width: int
    epochs: int
    rows: int = 60_000
    batch_size: int = 100
    lr: float = 0.01


DIGITS, WHOLE = Settings(64, 10), Settings(256, 1)
QUICK = Settings(64, 1, rows=6000)


def network(kind: str, n_in: int, width: int, scale: float | str, seed: int) -> vg.MLP:
    """Biases, and the weights of the output, are uniform within ± 1 / sqrt(n_in), as PyTorch's. scale: of ReZero."""
    rng, sizes = np.random.default_rng(seed), [n_in, *[width] * (DEPTH + 1), 10]
    around = {"residual": vg.residual(), "ReZero": vg.residual(scale=scale)}.get(kind)
    norm = vg.norm.layer(place="after") if kind == "layer norm" else None
    net = vg.MLP(sizes, "relu", init="he_normal", residual=around, normalization=norm, rng=rng)
    if kind == "residual":
        for weights in net.weights[1:-1]:
            weights *= np.float32(math.sqrt(0.25 / 2))  # of the variance 2 / n
    net.weights[-1][...] = rng.uniform(-1, 1, (width, 10)) / math.sqrt(width)
    for bias, n in zip(net.biases, sizes, strict=False):
        bias[...] = rng.uniform(-1, 1, len(bias)) / math.sqrt(n)
    return net


def losses(
    net: vg.MLP, X: np.ndarray, y: np.ndarray, settings: Settings, progress: Callable[[int, float], Any]
) -> list[float]:
    """The mean of each epoch's; infinite from that on in which the net diverges."""

    def tell(net: vg.MLP, history: vg.History) -> None:
        progress(len(history.epochs), history.epochs[-1]["loss"])

    try:
        history = net.fit(X, y, settings.epochs, settings.batch_size, vg.Adagrad(lr=settings.lr), callbacks=[tell])
    except vg.DivergenceError as error:
        history = error.history
    found = [float(epoch["loss"]) for epoch in history.epochs]
    return found + [math.inf] * (settings.epochs - len(found))


def measure(
    quick: bool = False,
    folder: Path | None = None,
    fashion: Path | None = None,
    progress: Callable[[str], Any] | None = None,
    scale: float | str = "rezero",
    seed: int = 0,
) -> dict[str, Any]:
    """scale: of the residual connections of the net that is to be ReZero's."""
    data = datasets.digits() if fashion is None else files.fashion_mnist(fashion).train
    settings = QUICK if quick else DIGITS if fashion is None else WHOLE
    X, y = 2 * data.X[: settings.rows] - 1, data.y[: settings.rows]
    found = {}
    for kind in LOSSES:

        def tell(epoch: int, loss: float, kind: str = kind) -> None:
            if progress is not None:
                progress(f"{kind}, epoch {epoch}: loss {loss:.4g}")

        found[kind] = losses(network(kind, X.shape[1], settings.width, scale, seed), X, y, settings, tell)
    return {"data": data.name, "width": settings.width, "losses": found}


def rows(found: dict[str, Any]) -> list[Row]:
    """For each epoch of which losses were published, and which is reached here."""
    result, reached = [], len(found["losses"]["ReZero"])
    for i, epoch in enumerate(TRIED):
        if epoch > reached:
            break
        ours = {kind: each[epoch - 1] for kind, each in found["losses"].items()}
        for kind, theirs in LOSSES.items():
            result.append(Row(f"epoch {epoch}, {kind}", f"{theirs[i]:,.2f}", f"{ours[kind]:,.4g}", None))
        ratios = [
            min(of[kind] for kind in LOSSES if kind != "ReZero") / of["ReZero"]
            for of in (ours, {kind: theirs[i] for kind, theirs in LOSSES.items()})
        ]
        what = "  least other / ReZero's, at least"
        result.append(Row(what, f"{ratios[1]:.2f}", f"{ratios[0]:,.2f}", ratios[0] >= ratios[1]))
    return result
