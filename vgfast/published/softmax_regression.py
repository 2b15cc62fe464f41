"""Softmax regression on MNIST with early stopping, from zeros, without shuffling: two errors to the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import vgfast as vg
from vgfast.published import Row, patience
from vgfast.published.patience import Settings, Validation

TITLE = "softmax regression on MNIST: 7.489583 % test error in 74 epochs"

SOURCE = """deeplearning.net, Deep Learning Tutorials, "Classifying MNIST digits using Logistic Regression"
(github.com/lisa-lab/DeepLearningTutorials, code/logistic_sgd.py and doc/logreg.txt)."""

ABOUT = """One linear layer and a softmax, from zeros; batches of 600 in the order of the files, learning rate 0.13. The
first 50,000 images are trained on, the last 10,000 are for validation. Errors are means over whole batches, 16 of them:
7.489583 % are 719 of 9,600 images. There is no chance in this but rounding, to which we allow an image, and of the
epochs none. They are counted as published: all that were begun, the last of which patience ends after its first
batches. The published dtype is unknown: here it is float64, where an epoch took 0.18 s on two busy cores with AVX2,
and with --quick float32, 0.07 s; both take the whole run."""

FILES = True

SETTINGS = Settings(batch_size=600, lr=0.13, patience=5000)
VALID, TEST, IMAGES, EPOCHS = 0.075, 719 / 9600, 9600, 74
WITHIN = 1


def net(n_in: int, dtype: str = "float64") -> vg.MLP:
    return vg.MLP([n_in, 10], init="zeros", dtype=dtype)


def measure(
    quick: bool = False,
    folder: Path | None = None,
    settings: Settings = SETTINGS,
    progress: Callable[[Validation], Any] | None = None,
) -> dict[str, Any]:
    if quick:
        settings = settings._replace(dtype="float32")
    return patience.measure(net, folder, settings, progress)


def rows(found: dict[str, Any]) -> list[Row]:
    errors = patience.rows(found["best"], (VALID, TEST), IMAGES, WITHIN)
    epochs = found["epochs"]
    return [*errors, Row("epochs begun", f"{EPOCHS}", f"{epochs}", epochs == EPOCHS)]
