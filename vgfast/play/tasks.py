"""What there is to learn: points of two classes in the plane, made by a seed; and digits and faces that packages bring
along, where those are installed. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import numpy as np

from vgfast import datasets

POINTS = 400


class Task(NamedTuple):
    """X (rows, features), y (rows,) labels; classes: how many."""

    X: np.ndarray
    y: np.ndarray
    classes: int

    @property
    def is_plane(self) -> bool:
        return self.X.shape[1] == 2


def two_moons(u: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Two half circles, each around an end of the other. u (n,) from 0 to 1, y (n,) 0 or 1, noise (n, 2)."""
    angle = np.pi * u
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.where(y[:, None] == 0, x, [1, 0.5] - x) + noise


def circles(u: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """One within the other."""
    angle = 2 * np.pi * u
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(y == 0, 1, 0.5)[:, None] + noise


def xor(u: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Four spots at the corners of a square, opposite ones of one class, each as wide as half its side."""
    corner = np.where(u < 0.5, -1, 1)
    within = np.modf(2 * u)[0] - 0.5
    across = np.modf(64 * u)[0] - 0.5
    return np.stack([corner + within, np.where(y == 0, corner, -corner) + across], axis=1) + noise


def spiral(u: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Two arms around each other, one and a half turns each."""
    radius = 0.1 + 0.9 * np.sqrt(u)
    angle = 3 * np.pi * radius + np.pi * y
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + noise


_PLANES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "two moons": two_moons,
    "circles": circles,
    "XOR": xor,
    "spiral": spiral,
}


def names() -> tuple[str, ...]:
    """Those that there are; digits where scikit-learn, which brings them, is installed, and faces where scikit-image
    is."""
    brought = [("digits", "sklearn.datasets"), ("faces", "skimage.data")]
    return (*_PLANES, *(name for name, module in brought if _can_be_imported(module)))


def _can_be_imported(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def make(name: str, noise: float, seed: int) -> Task:
    """The task of this name. noise: standard deviation of what is added to the points, whose coordinates then get mean
    0 and variance 1; seed: of the points. Digits and faces have neither; faces (1) and backgrounds (0) are less their
    mean, over their standard deviation, as in the lesson on them."""
    if name == "digits":
        digits = datasets.digits()
        return Task(digits.X, digits.y, 10)
    if name == "faces":
        faces = datasets.faces()
        X = faces.X.astype(np.float64) - faces.X.mean(axis=0, dtype=np.float64)
        return Task(X / X.std(), faces.y, 2)
    rng = np.random.default_rng(seed)
    y = np.arange(POINTS) % 2
    X = _PLANES[name](rng.random(POINTS), y, noise * rng.normal(size=(POINTS, 2)))
    return Task((X - X.mean(axis=0)) / X.std(axis=0), y, 2)
