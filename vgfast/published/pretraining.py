"""The same fine-tuning from random weights and from pre-trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast.pretrain import DeepBeliefNet


class Machines(NamedTuple):
    """How each Boltzmann machine of a stack learns, by CD-1 (Hinton, "A practical guide to training restricted
    Boltzmann machines", 2010)."""

    n_iter: int
    learning_rate: float = 0.05
    momentum: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 1e-4
    batch_size: int = 20


class Tuning(NamedTuple):
    """How nets are fine-tuned: from the same start with each of the rates."""

    rates: tuple[float, ...]
    epochs: int
    batch_size: int


class Images(NamedTuple):
    """Images (rows, pixels) and their labels (rows,)."""

    X: np.ndarray
    y: np.ndarray


def split(X: np.ndarray, y: np.ndarray, n_train: int, seed: int) -> tuple[Images, Images]:
    """So many rows to train, and the others to test, in an order of this seed."""
    order = np.random.default_rng(seed).permutation(len(X))
    train, test = order[:n_train], order[n_train:]
    return Images(X[train], y[train]), Images(X[test], y[test])


def stack(sizes: Sequence[int], X: np.ndarray, machines: Machines, seed: int) -> DeepBeliefNet:
    made: DeepBeliefNet = DeepBeliefNet(sizes, rng=seed, **machines._asdict()).fit(X)
    return made


def accuracies(
    sizes: Sequence[int], of: DeepBeliefNet | None, train: Images, test: Images, tuning: Tuning, seed: int
) -> list[float]:
    """The share of test rows that are right, for each rate, of a net that begins with this stack, or, for None, with
    random weights."""
    found = []
    for lr in tuning.rates:
        net: Any = vg.MLP([*sizes, 10], "sigmoid", rng=seed) if of is None else of.to_mlp(10, rng=seed)
        net.fit(train.X, train.y, tuning.epochs, tuning.batch_size, vg.SGD(lr))
        found.append(float((net.predict(test.X) == test.y).mean()))
    return found


def compare(
    sizes: Sequence[int],
    machines: Machines | None,
    tuning: Tuning,
    unlabelled: np.ndarray,
    train: Images,
    test: Images,
    seed: int,
) -> tuple[list[float], list[float]]:
    """``accuracies`` from random weights, and from a stack that has learned the unlabelled rows; from random weights
    again, where machines are None."""
    made = None if machines is None else stack(sizes, unlabelled, machines, seed)
    random, pretrained = (accuracies(sizes, of, train, test, tuning, seed) for of in (None, made))
    return random, pretrained
