"""Mean squares of a net's parameters, layer by layer, and of its inputs: what theory predicts gains from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgfast import _check

# Squares of so many numbers are formed at a time.
CHUNK = 1 << 15

# Groups of rows of alike length, at most, that are told apart.
GROUPS = 16

# Of the mean squares that predictions go on with: what has exploded so far cannot overflow.
LARGEST = 1e290


def moments(net: Any, X: Any) -> tuple[list[float], list[float], list[float]]:
    """What ``predict_from_moments`` needs of this net and the rows of X (rows, n_in): (weight_squares, bias_squares,
    input_squares). Errors as for ``predict``."""
    return moments_of(net.weights, net.biases, _check.inputs("X", X, net.sizes[0], net.dtype))


def moments_of(
    weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], x: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """As ``moments``, of parameters layer by layer and of rows that are checked."""
    rows = np.sort(_row_means(x))
    return (
        [_mean_square(f"weights[{l}]", w) for l, w in enumerate(weights)],
        [_mean_square(f"biases[{l}]", b) if b.size else 0.0 for l, b in enumerate(biases)],
        [float(group.mean()) for group in np.array_split(rows, min(len(rows), GROUPS))],
    )


def _row_means(array: np.ndarray) -> np.ndarray:
    """(rows,) float64 mean squares, some rows at a time: squares of all would take twice a float32 array's memory."""
    means = np.empty(len(array))
    some = max(1, CHUNK // array.shape[1])
    for start in range(0, len(array), some):
        np.mean(np.square(array[start : start + some], dtype=np.float64), axis=1, out=means[start : start + some])
    return means


def _mean_square(name: str, array: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        mean = float(_row_means(array.reshape(-1, array.shape[-1])).mean())
    if not math.isfinite(mean):
        raise ValueError(f"{name} must have finite squares, got a mean square of {mean}; assign finite values")
    return mean


def checked_squares(name: str, values: Sequence[float], layers: int | None = None) -> np.ndarray:
    """Mean squares: (layers,), or as many as there are, but at least one."""
    items = listed(name, values)
    if not items if layers is None else len(items) != layers:
        needed = "at least one number" if layers is None else f"{layers} numbers, one a layer"
        raise ValueError(f"{name} must have {needed}, got {len(items)}")
    return np.array([_check.real(f"{name}[{i}], a mean square,", item, 0) for i, item in enumerate(items)])


def listed(name: str, values: Any) -> list[Any]:
    """As a list; TypeError for a single number."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name} must be a list of numbers, got {values!r}; for one number use [{values!r}]") from None
