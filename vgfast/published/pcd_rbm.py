"""A Boltzmann machine that learns MNIST by persistent contrastive divergence: fifteen pseudo-likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vgfast.pretrain import RBM
from vgfast.published import patience
from vgfast.published.pretrained_classifier import with_first_weights
from vgfast.published.resume import LongRun, OutOfTime, identify
from vgfast.published.rows import Row

TITLE = "a Boltzmann machine of 784 x 500 on MNIST by PCD-15: its pseudo-likelihood, in minutes"

SOURCE = """deeplearning.net, Deep Learning Tutorials, "Restricted Boltzmann Machines (RBM)"
(github.com/lisa-lab/DeepLearningTutorials, code/rbm.py and doc/rbm.txt)."""

ABOUT = """20 chains that persist, 15 Gibbs steps between two updates, 15 epochs of batches of 20 in the order of the
files, learning rate 0.1, from weights uniform within ± 4 sqrt(6 / 1284) and biases of 0. The first 50,000 images are
trained on. As published, the pseudo-likelihood is of images rounded to 0 and 1, and the mean over the epoch while
training; theirs are estimates by one pixel of each batch, ours are exact, of 8 images of every 20th batch. Random
numbers are not those of Theano, and the published run goes up and down by 2 to 5 nats: ours are to lie within 3 nats of
the span of its epoch and the two beside it. It took 122 minutes. With --state DIR this keeps what it has after each
epoch, and goes on there; --minutes ends it earlier, and --quick after one epoch. The project has no files of MNIST. On
4,800 of its images, over and over, the first four epochs had -86.7, -66.6, -61.9 and -59.3 on those, and -98.6, -79.8,
-76.7 and -75.2 on others: so few images are learned by heart, and too few to say whether this holds."""

FILES = True
RESUMES = True

PUBLISHED = (
    -90.6507,
    -81.2359,
    -74.9121,
    -73.0213,
    -68.4099,
    -63.2693,
    -65.9958,
    -68.1237,
    -68.3207,
    -64.2950,
    -61.5195,
    -61.6539,
    -63.5465,
    -63.3787,
    -62.7557,
)
WITHIN = 3.0
EVERY, LOOKED_AT = 20, 8  # batches; images of the last of them
SEED = 123


class Settings(NamedTuple):
    hidden: int = 500
    k: int = 15
    batch_size: int = 20
    learning_rate: float = 0.1
    epochs: int = len(PUBLISHED)
    valid: int = 10_000


SETTINGS = Settings()


def make(settings: Settings, x: np.ndarray) -> RBM:
    """With the tutorial's first weights."""
    rbm = RBM(
        settings.hidden,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        n_iter=1,
        k=settings.k,
        persistent=True,
        shuffle=False,
        rng=SEED,
    )
    made: RBM = with_first_weights(rbm, x, [SEED, 1])
    return made


def teach(rbm: RBM, x: np.ndarray, settings: Settings) -> float:
    """An epoch; the mean pseudo-likelihood while it went on."""
    rows = EVERY * settings.batch_size
    looks = []
    for first in range(0, len(x), rows):
        part = x[first : first + rows]
        rbm.partial_fit(part)
        looks.append(float(rbm.score_samples(part[-LOOKED_AT:].round()).mean()))
    return float(np.mean(looks))


def measure(
    quick: bool = False,
    folder: Path | None = None,
    settings: Settings = SETTINGS,
    progress: Callable[[Any], Any] | None = None,
    state: Path | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    cut = patience.Settings(settings.batch_size, 0.1, 2, valid=settings.valid, dtype="float32")
    x = patience.mnist(folder, cut).train.X
    if quick:
        settings = settings._replace(epochs=1)
    run = LongRun(identify("pcd-rbm", settings, x), settings.epochs, state, minutes, progress)
    rbm = make(settings, x)
    found: list[float] = []
    with suppress(OutOfTime):
        run.pretrain("machine", rbm, partial(teach, rbm, x, settings), settings.epochs, 1, found)
    return {"pseudo_likelihood": found}


def rows(found: dict[str, Any]) -> list[Row]:
    ours = found["pseudo_likelihood"]
    result = []
    for i, theirs in enumerate(PUBLISHED):
        near = PUBLISHED[max(i - 1, 0) : i + 2]
        low, high = min(near) - WITHIN, max(near) + WITHIN
        band = f"{theirs:.2f} ({low:.1f} to {high:.1f})"
        if i < len(ours):
            result.append(Row(f"epoch {i + 1}", band, f"{ours[i]:.2f}", low <= ours[i] <= high))
        else:
            result.append(Row(f"epoch {i + 1}", band, "not reached", None))
    return result
