"""The problems of ``vgfast bench``: nets and Boltzmann machines from small to large, and the rows that they learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast import datasets
from vgfast.cost.counts import count_products

SEED = 0
# At 0.01 the loss of each workload moves, by 0.3 % (deep200) to 46 % (b1), and none is chaotic: with 0.1 the ReLU nets
# of two libraries part for good within a hundred steps, by 1e-3 of the loss, from nothing but the order in which sums
# are rounded.
LR = 0.01
ADAM_LR = 0.001  # the default of PyTorch, Keras and scikit-learn


class Problem(NamedTuple):
    """A net with float32 parameters and softmax cross-entropy, the rows that it learns, and how. ``optimizer``: sgd or
    adam, with the defaults of PyTorch. ``batch_norm``: of each hidden layer, before its activation."""

    sizes: tuple[int, ...]
    activation: str
    batch: int
    rows: int  # a multiple of batch: what is compiled for one shape stays compiled
    optimizer: str = "sgd"
    batch_norm: bool = False

    @property
    def plain(self) -> bool:
        """SGD without normalization."""
        return self.optimizer == "sgd" and not self.batch_norm

    @property
    def lr(self) -> float:
        return ADAM_LR if self.optimizer == "adam" else LR

    @property
    def normalization(self) -> str | None:
        """As ``vg.MLP`` takes it."""
        return "batch" if self.batch_norm else None

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> int:
        """Of a step's products."""
        return count_products(self.sizes, self.batch)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, n_in) float32 from 0 to 1, and y (rows,), which of n_out directions each row lies along the most."""
        rng = np.random.default_rng(SEED)
        X = rng.random((self.rows, self.sizes[0]), np.float32)
        directions = rng.normal(size=(self.sizes[0], self.sizes[-1])).astype(np.float32)
        return X, ((X - np.float32(0.5)) @ directions).argmax(axis=1)


# From few operations a step to many; at the end the one that no other library trains. A full batch is tanh's, as its
# one step says little of the loss, and for tanh the check is the strictest.
WORKLOADS = {
    "b1": Problem((20, 40, 40, 2), "tanh", 1, 512),
    "tiny": Problem((4, 16, 16, 3), "tanh", 32, 1024),
    "tiny-adam": Problem((4, 16, 16, 3), "tanh", 32, 1024, "adam"),
    "nielsen": Problem((784, 30, 10), "sigmoid", 10, 5000),
    "odd": Problem((33, 101, 77, 53, 3), "relu", 21, 1008),
    "rl": Problem((17, 64, 64, 6), "tanh", 64, 2048),
    "digits": Problem((64, 128, 64, 10), "relu", 64, 1792),
    "digits-adam": Problem((64, 128, 64, 10), "relu", 64, 1792, "adam"),
    "deep200": Problem((64, *[32] * 200, 10), "tanh", 16, 512),
    "deep": Problem((64, *[64] * 30, 10), "sigmoid", 32, 1792),
    "bulk": Problem((4, 32, 16, 4), "tanh", 10_000, 100_000),
    "mnist": Problem((784, 256, 128, 10), "relu", 128, 12800),
    # Of tanh: Adam gives a unit of ReLU that has become all but silent full steps, so that what rounding makes of one
    # row parts two libraries, those right by 4e-3 of this net's loss.
    "mnist-adam": Problem((784, 256, 128, 10), "tanh", 128, 12800, "adam"),
    "mnist-bn": Problem((784, 256, 128, 10), "relu", 128, 12800, batch_norm=True),
    "higgs": Problem((28, *[300] * 5, 2), "tanh", 100, 2000),
    "deepwide": Problem((784, *[256] * 10, 10), "tanh", 128, 12800),
    "wide": Problem((3000, 1000, 100), "sigmoid", 256, 2560),
    "big": Problem((784, 2048, 2048, 2048, 10), "relu", 512, 5120),
    "full": Problem((784, 256, 128, 10), "tanh", 60_000, 60_000),
    "funnel": Problem((784, 1000, 500, 100, 10), "relu", 128, 2560),
}
INSPECTION = "funnel"  # trained by vgfast only: layers of many sizes, to see what inspection costs
CALLS = "tiny"  # a call takes longer than its work
CALLED = ("vgfast", "numpy", "torch", "jax-step")
MEMORY = "big"


class MachineProblem(NamedTuple):
    """A restricted Boltzmann machine of binary units, and how it is taught."""

    side: int  # of the images, 8 or 28 pixels: side * side visible units
    hidden: int
    batch: int
    epochs: int  # after which its pseudo-likelihood is told
    lr: float
    rows: int = 1580  # a multiple of batch; the others are held out

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.rows // self.batch

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Handwritten digits, rows float32 from 0 to 1, and those that are held out; larger ones are the same, each
        pixel four by four, without two pixels of margin on each side."""
        X = datasets.digits().X
        if self.side > 8:
            X = X.reshape(-1, 8, 8).repeat(4, axis=1).repeat(4, axis=2)[:, 2:-2, 2:-2].reshape(len(X), -1)
        return np.ascontiguousarray(X[: self.rows]), X[self.rows :]


PRETRAINING = (
    MachineProblem(8, 100, 10, 10, 0.05),
    MachineProblem(28, 100, 10, 5, 0.01),
    MachineProblem(28, 500, 20, 5, 0.01),
)
