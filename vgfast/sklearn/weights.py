"""Weights that a user gives: arrays put into ``coefs_`` and ``intercepts_``, and ``class_weight``."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked_arrays(coefs: Any, intercepts: Any, n_inputs: int, n_outputs: int) -> list[np.ndarray]:
    """The weights (fan_in, fan_out) of each layer, then the biases (fan_out,); copies, as they may be views of the net
    into which they go. ValueError if they are no such net."""
    try:
        weights, biases = [np.array(w) for w in coefs], [np.array(b) for b in intercepts]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"coefs_ and intercepts_ must be lists of arrays, one a layer; {error}; assign such"
        ) from error
    if len(weights) != len(biases) or not weights:
        raise ValueError(
            "coefs_ and intercepts_ must have one array a layer each, got "
            f"{len(weights)} and {len(biases)}; assign both as lists of the same length"
        )
    rows = n_inputs
    for place, (w, b) in enumerate(zip(weights, biases, strict=True)):
        last = place == len(weights) - 1
        if w.ndim != 2:
            raise ValueError(f"coefs_[{place}] must be a matrix of {rows} rows, got {w.ndim} dimensions; assign one")
        columns = n_outputs if last else w.shape[1]
        before = "X has columns" if place == 0 else f"coefs_[{place - 1}] has columns"
        why = f"as many rows as {before}" + (" and as many columns as there are outputs" if last else "")
        _check(f"coefs_[{place}]", w, (rows, columns), why)
        _check(f"intercepts_[{place}]", b, (columns,), f"as many as coefs_[{place}] has columns")
        rows = columns
    return [*weights, *biases]


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], why: str) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got an array of {array.dtype}; assign one of float64")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, {why}, got {array.shape}; assign an array of that shape")


def by_class(class_weight: Any, classes: np.ndarray) -> dict[int, float]:
    """The weight of each class, by its place in classes: 1 where class_weight does not say. ValueError if it is no
    dict, or has another label."""
    if not isinstance(class_weight, dict):
        raise ValueError(
            f"class_weight must be None, 'balanced' or a dict from labels to weights, got {class_weight!r}; use a dict"
        )
    absent = [label for label in class_weight if label not in classes]
    if absent:
        raise ValueError(f"class_weight has the label {absent[0]!r}, which y has not; it has {classes}: leave it out")
    return {place: class_weight.get(label, 1.0) for place, label in enumerate(classes.tolist())}
