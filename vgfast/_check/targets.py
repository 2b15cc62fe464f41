"""Targets y that users give: labels, probabilities or values, for each loss; and advice where they are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vgfast import _core
from vgfast._check import arrays
from vgfast._check.arrays import named, quote

# Rows of probabilities may sum to 1 but for so much: they may have been written with three digits.
SUM_TOLERANCE = 1e-3

# What makes probabilities of the outputs, by loss, and so what y may hold: of "softmax" a label a row or probabilities
# that sum to 1, of "sigmoid" probabilities, of "linear" (nothing) any values.
LINKS = {name: link for name, link, *_ in _core.loss_facts()}


def checked(
    name: str, value: Any, array: np.ndarray, n_rows: int, n_outputs: int, loss: str, dtype: np.dtype
) -> np.ndarray:
    """y for this loss: int32 labels (rows,), or (rows, n_outputs) of the net's dtype. array: what was read of value."""
    if array.ndim == 0 or len(array) != n_rows:
        transposed = array.shape == (n_outputs, n_rows)
        got = f"{len(array)}{f'; use np.transpose({name})' * transposed}" if array.ndim else _single(name, value)
        raise ValueError(f"{name} must have one entry for each of the {n_rows} rows of X, got {got}")
    link = LINKS[loss]
    text = arrays.first_text(array)
    if text is not None and link != "linear" and array.size == n_rows:
        raise TypeError(
            f"{name} must hold numbers, got the text {quote(text)}; {_fix_text(name, array, n_outputs, link)}"
        )
    array = arrays.real_numbers(name, array, value)
    if link == "softmax" and array.ndim == 1:
        return _labels(name, array, n_outputs, value)
    if array.ndim == 1 and n_outputs == 1:
        array = array[:, None]
    if array.shape != (n_rows, n_outputs):
        also = " or labels of shape (rows,)" if link == "softmax" else ""
        raise ValueError(
            f"{name} must have shape ({n_rows}, {n_outputs}){also} for {loss}, got shape {array.shape}"
            f"{_fix_shape(name, array, n_outputs, link, named(name, value))}"
        )
    converted = arrays.converted(name, array, dtype, value)
    return converted if link == "linear" else _probabilities(name, array, converted, link, value)


def _single(name: str, value: Any) -> str:
    return "a single number" if isinstance(value, int | float | np.number) else arrays.single(name, value)


def _fix_shape(name: str, array: np.ndarray, n_outputs: int, link: str, plain: str) -> str:
    if link == "softmax" and array.shape[1:] == (1,):
        return f"; use np.ravel({name})"
    if array.ndim > 2 and math.prod(array.shape[1:]) == n_outputs:
        return f"; use np.reshape({plain}, (len({name}), -1))"
    if array.ndim == 2:
        return f"; give the net {array.shape[1]} outputs or {name} {n_outputs} columns"
    low, high = array.min(), array.max()
    if array.ndim == 1 and low >= 0 and high < n_outputs and (array == np.floor(array)).all():
        return f"; if these are labels, use np.eye({n_outputs})[np.asarray({name}, dtype=int)]"
    if array.ndim == 1:
        return f"; give the net one output or {name} {n_outputs} columns"
    return f"; give {name} two dimensions"


def _fix_text(name: str, array: np.ndarray, n_outputs: int, link: str) -> str:
    n = len(set(array.ravel().tolist()))
    fix = f"number the classes with classes, y = np.unique({_flat(name, array)}, return_inverse=True)"
    if link == "sigmoid" and n > 2:
        return f"{fix}, and make the net with {n} outputs and loss='cross_entropy'"
    return fix if n <= max(n_outputs, 2) else f"{fix}, and give the net {n} outputs"


def _flat(name: str, array: np.ndarray) -> str:
    """What np.unique can sort."""
    flat = name if array.ndim == 1 else f"np.ravel({name})"
    mixed = array.dtype.kind == "O" and len(set(map(type, array.ravel().tolist()))) > 1
    return f"np.asarray({flat}, dtype=str)" if mixed else flat


# ---- labels -----------------------------------------------------------------------------------------------


def _labels(name: str, array: np.ndarray, n_classes: int, given: Any) -> np.ndarray:
    """int32 labels, in memory that nobody else has: C takes them for indices, so it is the copy that is checked."""
    labels = np.array(array)
    if labels.dtype.kind == "f":
        _refuse_float_labels(name, labels, n_classes, given)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        _refuse_range(name, labels, n_classes, given)
    return labels.astype(np.int32, copy=False)


def _refuse_range(name: str, labels: np.ndarray, n_classes: int, given: Any) -> None:
    distinct = np.unique(labels)
    low, high, n = int(distinct[0]), int(distinct[-1]), len(distinct)
    counted = f"classes, y = np.unique({name}, return_inverse=True)"
    y = f"np.asarray({name}, dtype=int)" if labels.dtype.kind == "f" else named(name, given)
    if low == 1 and high == n_classes:
        fix = f"count them from 0: use {y} - 1"
    elif distinct.tolist() == [-1, 1]:
        fix = f"use ({y} + 1) // 2"
    elif n <= n_classes:
        fix = f"number the classes from 0 with {counted}"
    elif low == 0 and high == n - 1 and labels.dtype.kind != "f":
        fix = f"give the net {n} outputs, one for each class of {name}"
    else:
        fix = f"number the classes from 0 with {counted}, and give the net {n} outputs, one for each"
    raise ValueError(
        f"{name} must hold labels from 0 to {n_classes - 1}, as the net has {n_classes} outputs; "
        f"got {distinct[0] if low < 0 else distinct[-1]}; {fix}"
    )


def _refuse_float_labels(name: str, labels: np.ndarray, n_classes: int, given: Any) -> None:
    arrays.converted(name, labels, labels.dtype, given)  # NaN has its own sentence
    fractional = labels != np.floor(labels)
    if not fractional.any():
        if labels.min() < 0 or labels.max() >= n_classes:
            _refuse_range(name, labels, n_classes, given)
        raise TypeError(
            f"{name} must hold whole-number class labels, got dtype {labels.dtype}; use np.asarray({name}, dtype=int)"
        )
    row = int(fractional.argmax())
    raise TypeError(
        f"{name} must hold whole-number class labels, or probabilities of shape (rows, {n_classes}), got "
        f"{labels[row]!s} in row {row}; to predict such values, make a net with one output and loss='mse'"
    )


# ---- probabilities ----------------------------------------------------------------------------------------


def _probabilities(name: str, array: np.ndarray, converted: np.ndarray, link: str, given: Any) -> np.ndarray:
    """The targets, clipped to [0, 1] if rounding took them out of it; array: as they were given.

    What is scaled to [0, 1] is scaled as x s + m, with s = 1 / (high - low) and m = -low s, rounded five times: it is
    off by (2 |x| s + 2 |m| + 1) eps / 2 at most, which are 16 eps and more for data of up to eight times their range.
    """
    kinds = [kind for kind in (array.dtype, converted.dtype) if kind.kind == "f"]
    eps = max(float(np.finfo(kind).eps) for kind in kinds)
    low, high = converted.min(), converted.max()
    if low < -16 * eps or high > 1 + 16 * eps:
        _refuse_range_of_probabilities(name, converted, link, given)
    if low < 0 or high > 1:
        converted = np.clip(converted, 0, 1)
    if link == "softmax":
        _check_sums(name, converted, float(np.finfo(kinds[0]).eps), given)
    return converted


def _refuse_range_of_probabilities(name: str, converted: np.ndarray, link: str, given: Any) -> None:
    low, high = converted.min(), converted.max()
    y, few = named(name, given), set(np.unique(converted)[:3].tolist())
    if link == "softmax" and low >= 0 and converted.any(axis=1).all():
        fix = f"use {_divided(y)}"
    elif few == {-1, 1} and link != "softmax":
        fix = f"use ({y} + 1) / 2"
    elif few == {1, 2} and link != "softmax":
        fix = f"use {y} - 1"
    elif link != "softmax" and converted.shape[1] == 1 and len(few) > 2 and (converted % 1 == 0).all():
        classes = f"classes, y = np.unique({name}, return_inverse=True)"
        n = len(np.unique(converted))
        fix = f"for {n} classes make a net with {n} outputs and loss='cross_entropy', and number them with {classes}"
    elif link != "softmax" and low >= 0:
        fix = f"scale them, for example by {y} / {high!s}"
    else:
        fix = "make the net with loss='mse' for values that are no probabilities"
    bad = low if low < 0 else high
    raise ValueError(f"{name} must hold probabilities from 0 to 1, got {bad!s}; {fix}")


def _divided(y: str) -> str:
    return f"{y} / {y}.sum(axis=1, keepdims=True)"


def _check_sums(name: str, converted: np.ndarray, eps: float, given: Any) -> None:
    """n rounded numbers, added up in their own type, are off by n eps / 2; sums of more than 64 are made in parts."""
    sums = converted.sum(axis=1, dtype=np.float64)
    off = np.abs(sums - 1)
    if off.max() <= max(SUM_TOLERANCE, min(converted.shape[1], 64) * eps / 2):
        return
    row = int(off.argmax())
    whole = ((converted == 0) | (converted == 1)).all()
    if whole and sums.max() > 1:
        fix = "for rows of several classes make the net with loss='binary_cross_entropy'"
    elif sums.min() == 0:
        empty = int(sums.argmin())
        fix = f"remove rows without a class, as row {empty}, or give them one"
    else:
        fix = f"use {_divided(named(name, given))}"
    raise ValueError(
        f"{name} must hold probabilities that sum to 1 in each row, got {sums[row]:.6g} in row {row}; {fix}"
    )
