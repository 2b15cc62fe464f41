"""A seeded net of 500 tanhs on MNIST with early stopping, without shuffling: two errors, to some images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast import early_stopping
from vgfast.early_stopping import Settings, Split, Validation
from vgfast.published import Row

TITLE = "784-500-10 with tanh on MNIST: 1.65 % test error, after hours"

SOURCE = """deeplearning.net, Deep Learning Tutorials, "Multilayer Perceptron"
(github.com/lisa-lab/DeepLearningTutorials, code/mlp.py and doc/mlp.txt)."""

ABOUT = """The same first weights, from NumPy's RandomState(1234); batches of 20 in the order of the files, learning
rate 0.01, and 1e-4 times the sum of all squared weights in the cost. The first 50,000 images are trained on, the last
10,000 are for validation. The published run has its best validation after 2,070,000 iterations, which are 828 epochs,
and goes on to 1,000, in 97.34 minutes. An epoch is 119 GFLOP, and took 6.3 to 7.5 s in float64 on two busy cores with
AVX2: 1,000 take about two hours, and half a gigabyte. The published dtype is not told; rounding may move a few images
in so many steps, and we allow 5, which are 0.05 %. With --quick we only take the first two epochs, to see that it
runs: the published numbers are then untried, and are not said to hold."""

FILES = True

SETTINGS = Settings(batch_size=20, lr=0.01, patience=10_000, l2=1e-4)
QUICK_EPOCHS = 2
VALID, TEST, IMAGES = 0.0169, 0.0165, 10_000
WITHIN = 5


def net(n_in: int, dtype: str = "float64", hidden: int = 500) -> vg.MLP:
    """Hidden weights uniform within ± sqrt(6 / (n_in + n_out)), drawn in float64 row by row; all else 0."""
    made = vg.MLP([n_in, hidden, 10], "tanh", init="zeros", dtype=dtype)
    most = np.sqrt(6 / (n_in + hidden))
    made.weights[0] = np.random.RandomState(1234).uniform(-most, most, (n_in, hidden))
    return made


def train(data: Split, settings: Settings, tell: Callable[[Validation], Any] | None = None) -> dict[str, Any]:
    return early_stopping.train(net(data.train.X.shape[1], settings.dtype), data, settings, tell)


def measure(
    quick: bool = False,
    folder: Path | None = None,
    settings: Settings = SETTINGS,
    tell: Callable[[Validation], Any] | None = None,
) -> dict[str, Any]:
    if quick:
        settings = settings._replace(max_epochs=min(QUICK_EPOCHS, settings.max_epochs))
    found = train(early_stopping.mnist(folder, settings), settings, tell)
    cut_short = quick and not found["out_of_patience"]
    return {**found, "dtype": settings.dtype, "cut_short": cut_short}


def rows(found: dict[str, Any]) -> list[Row]:
    best, note = found["best"], f"{found['epochs']} epochs" if found["cut_short"] else ""
    return [
        early_stopping.row("validation", VALID, best["valid"], IMAGES, WITHIN, note),
        early_stopping.row("test", TEST, best["test"], IMAGES, WITHIN, note),
    ]
