"""784-1000-1000-1000-10 on MNIST, pre-trained by denoising autoencoders: two errors."""

from __future__ import annotations

from functools import partial

import numpy as np

from vgfast.pretrain import Autoencoder
from vgfast.published import patience, pretrained_classifier
from vgfast.published.pretrained_classifier import Published, Settings

TITLE = "denoising autoencoders of 1000-1000-1000 on MNIST: 1.3 % test error, after an hour or more"

SOURCE = """deeplearning.net, Deep Learning Tutorials, "Stacked Denoising Autoencoders"
(github.com/lisa-lab/DeepLearningTutorials, code/SdA.py and doc/SdA.txt)."""

ABOUT = """Each layer is a denoising autoencoder of tied weights and cross-entropy, with 10, 20 and 30 % of its inputs
masked, 15 epochs, image by image in the order of the files, learning rate 0.001. Then all is fine-tuned with learning
rate 0.1, image by image, and stops when it no longer pays. The published run took 585 minutes and then 444. Random
numbers are not those of Theano, so that we allow 23 images of 10,000: two standard errors of such an error. This takes
long: with --state DIR it keeps what it has after each epoch, and goes on there; --minutes ends it earlier. With --quick
we only take an epoch of each layer and two of fine-tuning, to see that it runs: the published numbers are then untried.
The project has no files of MNIST: its authors have run this on other images only."""

FILES = True
RESUMES = True

SETTINGS = Settings(
    hidden=(1000, 1000, 1000),
    epochs=15,
    guess=36,
    tuning=patience.Settings(batch_size=1, lr=0.1, patience=10 * 50_000, dtype="float32"),
)
LEARNING_RATE = 0.001
MASKING = (0.1, 0.2, 0.3)
PUBLISHED = Published(valid=0.0139, test=0.013)
SEED = 89677


def make(l: int, n: int, x: np.ndarray) -> Autoencoder:
    """vgfast's first weights are the published ones: uniform within ± 4 sqrt(6 / (n_in + n_out))."""
    return Autoencoder(
        n,
        masking=MASKING[l],
        learning_rate=LEARNING_RATE,
        batch_size=1,
        n_iter=1,
        shuffle=False,
        rng=[SEED, l],
    )


measure = partial(pretrained_classifier.measure, "stacked-autoencoder", make, settings=SETTINGS)
rows = partial(pretrained_classifier.rows, PUBLISHED)
