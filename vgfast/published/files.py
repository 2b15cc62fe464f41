"""MNIST and Fashion-MNIST, whole, as those had them who published numbers for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vgfast import datasets

SHAPE = (28, 28)
EACH = {"train": 6000, "test": 1000}  # of each of Fashion-MNIST's ten classes; of MNIST's on average
_WHAT = {"train": "training", "test": "test"}


class Whole(NamedTuple):
    """The images to train on, and those to test with."""

    train: datasets.Dataset
    test: datasets.Dataset


def training_images(folder: Path) -> datasets.Dataset:
    """MNIST's, in their order. Errors: those of ``datasets.mnist``; ValueError where files are good but of others than
    those of the published run."""
    return _part(datasets.mnist, folder, "train", "MNIST")


def mnist(folder: Path) -> Whole:
    """MNIST; errors as of ``training_images``."""
    return Whole(*(_part(datasets.mnist, folder, part, "MNIST") for part in EACH))


def fashion_mnist(folder: Path) -> Whole:
    """Fashion-MNIST, of whose classes each has as many images, unlike MNIST's; errors as of ``training_images``."""
    found = Whole(*(_part(datasets.fashion_mnist, folder, part, "Fashion-MNIST") for part in EACH))
    for part, data in zip(EACH, found, strict=True):
        counts = np.bincount(data.y, minlength=10)
        if (counts != EACH[part]).any():
            raise ValueError(
                f"the {_WHAT[part]} labels in {folder} must be Fashion-MNIST's, {EACH[part]:,} of each class, got "
                f"{counts.min():,} to {counts.max():,}; put Fashion-MNIST's own files there"
            )
    return found


def _part(read: Callable[..., datasets.Dataset], folder: Path, part: str, name: str) -> datasets.Dataset:
    data, n = read(folder, part), 10 * EACH[part]
    if data.shape != SHAPE or len(data.X) != n:
        height, width = data.shape
        raise ValueError(
            f"the {_WHAT[part]} images in {folder} must be {name}'s {n:,} of {SHAPE[0]} x {SHAPE[1]}, got "
            f"{len(data.X):,} of {height} x {width}, for which nothing was published; put {name}'s own files there"
        )
    return data
