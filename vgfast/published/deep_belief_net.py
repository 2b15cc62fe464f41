"""784-1000-1000-1000-10 on MNIST, pre-trained as a deep belief net: two errors."""

from __future__ import annotations

from functools import partial

import numpy as np

from vgfast.pretrain import RBM
from vgfast.published import patience, pretrained_classifier
from vgfast.published.pretrained_classifier import Published, Settings

TITLE = "a deep belief net of 1000-1000-1000 on MNIST: 1.34 % test error, after an hour or more"

SOURCE = """deeplearning.net, Deep Learning Tutorials, "Deep Belief Networks"
(github.com/lisa-lab/DeepLearningTutorials, code/DBN.py and doc/DBN.txt)."""

ABOUT = """Each layer is a Boltzmann machine that learns by CD-1, visible units drawn, 100 epochs of batches of 10 in
the order of the files, learning rate 0.01, from weights uniform within ± 4 sqrt(6 / (n_in + n_out)) and biases of 0.
Then all is fine-tuned with learning rate 0.1, and stops when it no longer pays. The published run took 615 minutes and
then 101. Random numbers are not those of Theano, so that we allow 23 images of 10,000: two standard errors of such an
error. This takes long: with --state DIR it keeps what it has after each epoch, and goes on there; --minutes ends it
earlier. With --quick we only take an epoch of each layer and two of fine-tuning, to see that it runs: the published
numbers are then untried. The project has no files of MNIST: its authors have run this on other images only."""

FILES = True
RESUMES = True

SETTINGS = Settings(
    hidden=(1000, 1000, 1000),
    epochs=100,
    guess=46,
    tuning=patience.Settings(batch_size=10, lr=0.1, patience=4 * 5000, dtype="float32"),
)
LEARNING_RATE = 0.01
PUBLISHED = Published(valid=0.0127, test=0.0134)
SEED = 123


def make(l: int, n: int, x: np.ndarray) -> RBM:
    """With the published first weights: vgfast's own are smaller, and begin where the data's means are."""
    rbm = RBM(
        n,
        learning_rate=LEARNING_RATE,
        batch_size=10,
        n_iter=1,
        sample_visible=True,
        shuffle=False,
        rng=[SEED, l],
    )
    made: RBM = pretrained_classifier.with_first_weights(rbm, x, [SEED, l, 1])
    return made


measure = partial(pretrained_classifier.measure, "deep-belief-net", make, settings=SETTINGS)
rows = partial(pretrained_classifier.rows, PUBLISHED)
