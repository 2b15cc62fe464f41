"""Five hidden layers on MNIST: what cannot be trained from random weights, and can after pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vgfast import datasets
from vgfast.published.pretraining import Machines, Tuning, compare, split
from vgfast.published.rows import Row

TITLE = "five hidden layers on MNIST fail from random weights, and learn pre-trained"

SOURCE = """Erhan, Bengio, Courville, Manzagol, Vincent, Bengio, "Why does unsupervised pre-training help deep
learning?", Journal of Machine Learning Research 11 (2010): with five layers, nets of sigmoid units could not be trained
without pre-training. No number of theirs is for so few images: the bounds are ours."""

ABOUT = """784-100-100-100-100-100-10 with sigmoid units on 5,000 of MNIST's images, 4,000 to train on, five splits.
Boltzmann machines learn by CD-1 without labels, 10 epochs a layer. Then both nets have the same 20 epochs of SGD,
batches of 32, at each of three learning rates. Of the random ones the best is shown, of the pre-trained ones the worst.
Fine-tuning is the same for both, pre-training comes on top: two to four times the time of these epochs."""

FILES = False

SIZES = (784, 100, 100, 100, 100, 100)
TRAIN = 4000
MACHINES = Machines(n_iter=10)
TUNING = Tuning(rates=(0.05, 0.1, 0.3), epochs=20, batch_size=32)
MOST, LEAST = 0.3, 0.9


def measure(
    quick: bool = False, folder: Path | None = None, machines: Machines | None = MACHINES, tuning: Tuning = TUNING
) -> dict[str, Any]:
    """Accuracies for each rate, means over the splits. machines: None for random weights in both."""
    data = datasets.mnist_subset()
    if quick:
        tuning = tuning._replace(rates=tuning.rates[-1:])
    both = []
    for seed in range(1 if quick else 5):
        train, test = split(data.X, data.y, TRAIN, seed)
        both.append(compare(SIZES, machines, tuning, train.X, train, test, seed))
    random, pretrained = np.mean(both, axis=0)
    return {"rates": tuning.rates, "random": random, "pretrained": pretrained}


def rows(found: dict[str, Any]) -> list[Row]:
    best, worst = float(max(found["random"])), float(min(found["pretrained"]))
    return [
        Row("random weights, at most", f"{MOST:.0%}", f"{best:.1%}", best <= MOST, memory=True),
        Row("pre-trained, at least", f"{LEAST:.0%}", f"{worst:.1%}", worst >= LEAST, memory=True),
    ]
