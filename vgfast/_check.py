"""Every sentence that a user is told about an argument: what it is, what was got, why not, how to mend it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

# More elements than this in one array are refused: such an array is mostly a mistake of broadcasting
# (zero strides), and converting it would ask for gigabytes.
MOST_ELEMENTS = 2**31 - 1


def integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number from least to most; not a bool, not a float."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    value = int(value)
    if value < least or (most is not None and value > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {span}, got {value}")
    return value


def real(name: str, value: Any, least: float, *, above: bool = False, below: float = math.inf) -> float:
    """A finite number that is at least (or above) `least` and less than `below`."""
    if isinstance(value, bool | np.bool_ | str) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < least or (above and number == least) or number >= below:
        span = f"{'above' if above else 'at least'} {least:g}"
        span += f" and below {below:g}" if below < math.inf else " and finite"
        raise ValueError(f"{name} must be {span}, got {number!r}")
    return number


def choice(name: str, value: Any, options: Sequence[str]) -> str:
    """One of the options, which the error lists, the nearest first."""
    if isinstance(value, str) and value in options:
        return value
    import difflib  # costs a millisecond, and is needed only here

    near = difflib.get_close_matches(str(value).lower(), options, 1) if isinstance(value, str) else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown {name} {value!r}; {hint}there is {', '.join(options)}")


def sizes(value: Any) -> tuple[int, ...]:
    """[n_in, hidden..., n_out], each at least 1."""
    if isinstance(value, set | frozenset | dict):
        raise TypeError(f"sizes must be in order, such as [64, 30, 10], got a {type(value).__name__}: {value!r}")
    try:
        items = list(value)
    except TypeError:
        raise TypeError(f"sizes must be a list such as [64, 30, 10], got {value!r}") from None
    if isinstance(value, str | bytes) or len(items) < 2:
        raise ValueError(
            f"sizes must hold at least two numbers, inputs and outputs, such as [64, 30, 10]; got {value!r}"
        )
    return tuple(integer(f"sizes[{i}], a number of units,", item, 1, MOST_ELEMENTS) for i, item in enumerate(items))


def activations(value: Any, n_hidden: int, options: Sequence[str]) -> tuple[str, ...]:
    """One name for all hidden layers, or one a hidden layer."""
    if isinstance(value, str):
        return (choice("activation", value, options),) * n_hidden
    try:
        names = list(value)
    except TypeError:
        raise TypeError(f"activation must be a name or a list of names, got {value!r}") from None
    if len(names) != n_hidden:
        raise ValueError(
            f"activation must be one name, or one for each of the {n_hidden} hidden layers; got {len(names)}"
        )
    return tuple(choice("activation", name, options) for name in names)


def _numeric(name: str, value: Any) -> np.ndarray:
    """An array of numbers, not looked into: that would take too long if it is absurdly large."""
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, got {type(value).__name__}; use {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} has masked values, which training cannot use; fill or drop them")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold real numbers, got dtype {array.dtype}; convert it, "
            f"for example with np.asarray({name}, dtype=float)"
        )
    if array.size > MOST_ELEMENTS:
        raise ValueError(
            f"{name} has {array.size} elements, shape {array.shape}, and one array may have fewer than 2**31; "
            f"if that is not a mistake of broadcasting, train on parts of it"
        )
    return array


def _converted(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in the net's dtype, contiguous and finite."""
    with np.errstate(over="ignore", under="ignore"):
        converted = np.ascontiguousarray(array, dtype=dtype)
    if not np.isfinite(converted).all():
        row = int(np.argmin(np.isfinite(converted.reshape(len(converted), -1)).all(axis=1)))
        given = np.asarray(array[row], np.float64)
        if np.isfinite(given).all():
            raise ValueError(
                f"{name} has a value in row {row} that is too large for {dtype}; scale {name} down "
                f"or use dtype='float64'"
            )
        what = "NaN" if np.isnan(given).any() else "infinity"
        raise ValueError(f"{name} has {what} in row {row}; training cannot use it: remove or replace such rows")
    return converted


def inputs(name: str, value: Any, n_columns: int, dtype: np.dtype) -> np.ndarray:
    """X: (rows, n_columns), at least one row, contiguous, of the net's dtype, finite."""
    array = _numeric(name, value)
    if array.ndim != 2:
        hint = f"; for one sample use {name}.reshape(1, -1)" if array.ndim == 1 else ""
        raise ValueError(
            f"{name} must be a matrix (samples, {n_columns}), got {array.ndim} dimension(s), shape {array.shape}{hint}"
        )
    if array.shape[1] != n_columns:
        raise ValueError(
            f"{name} must have {n_columns} columns, as many as the net has inputs; got {array.shape[1]} "
            f"(shape {array.shape})"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}: there is no sample")
    return _converted(name, array, dtype)


def _labels(name: str, array: np.ndarray, n_classes: int) -> np.ndarray:
    if array.dtype.kind == "f":
        raise TypeError(
            f"{name} must hold whole-number class labels, got dtype {array.dtype}; "
            f"use {name}.astype(int) if they are whole, or probabilities of shape (rows, {n_classes})"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"{name} must hold labels from 0 to {n_classes - 1}, as the net has {n_classes} outputs; "
            f"got {low if low < 0 else high}"
        )
    # A copy, always: C takes labels for indices, and whoever else holds the array may change it meanwhile.
    return np.array(array, np.int32)


def _probabilities(name: str, array: np.ndarray) -> None:
    if array.min() < 0 or array.max() > 1:
        bad = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} must hold probabilities from 0 to 1, got {bad:g}")


def targets(name: str, value: Any, n_rows: int, n_outputs: int, loss: str, dtype: np.dtype) -> np.ndarray:
    """y for this loss: int32 labels (rows,), or (rows, n_outputs) of the net's dtype."""
    array = _numeric(name, value)
    if array.ndim == 0 or len(array) != n_rows:
        got = "a single number" if array.ndim == 0 else f"{len(array)}"
        raise ValueError(f"{name} must have one entry for each of the {n_rows} rows of X, got {got}")
    if loss == "cross_entropy" and array.ndim == 1:
        return _labels(name, array, n_outputs)
    if array.ndim == 1 and n_outputs == 1:
        array = array[:, None]
    if array.shape != (n_rows, n_outputs):
        also = " or labels of shape (rows,)" if loss == "cross_entropy" else ""
        raise ValueError(f"{name} must have shape ({n_rows}, {n_outputs}){also} for {loss}, got shape {array.shape}")
    converted = _converted(name, array, dtype)
    if loss != "mse":
        _probabilities(name, converted)
    if loss == "cross_entropy":
        off = np.abs(converted.sum(axis=1, dtype=np.float64) - 1)
        if off.max() > 1e-3:
            row = int(off.argmax())
            raise ValueError(
                f"{name} must hold probabilities that sum to 1 in each row, got {converted[row].sum():g} in row {row}"
            )
    return converted


def assigned(name: str, value: Any, target: np.ndarray) -> None:
    """Copy value into target, if it has the shape."""
    array = _numeric(name, value)
    if array.shape != target.shape:
        raise ValueError(f"{name} has shape {target.shape}, got {array.shape}; give an array of that shape")
    target[...] = _converted(name, array.reshape(len(array), -1), target.dtype).reshape(target.shape)


def dtype(value: Any, options: Sequence[str]) -> np.dtype:
    """A NumPy dtype or its name, of those that there are."""
    try:
        name = str(value) if value is None else np.dtype(value).name
    except (TypeError, ValueError, SyntaxError):
        name = str(value)
    return np.dtype(choice("dtype", name, options))


def pair(data: Any) -> tuple[Any, Any]:
    """validation_data: (X, y)."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data must be a pair (X, y), got {type(data).__name__}")
    return data[0], data[1]


def outputs(n_outputs: int, loss: str) -> None:
    """A softmax of one output is always 1."""
    if loss == "cross_entropy" and n_outputs == 1:
        raise ValueError(
            "cross_entropy needs at least two outputs, one a class, got sizes[-1] = 1; "
            "for yes or no use loss='binary_cross_entropy'"
        )


def functions(name: str, value: Any) -> tuple[Any, ...]:
    """A sequence of things that can be called."""
    try:
        items = tuple(value)
    except TypeError:
        raise TypeError(f"{name} must be a list of functions, got {value!r}") from None
    for item in items:
        if not callable(item):
            raise TypeError(f"{name} must hold functions, got {item!r}")
    return items


def batch_size(value: Any, n_rows: int) -> int:
    """A whole number from 1 to n_rows."""
    number = integer("batch_size", value, 1)
    if number > n_rows:
        raise ValueError(
            f"batch_size must be at most the number of rows, {n_rows}, got {number}; "
            f"use batch_size={n_rows} to train on all rows at once"
        )
    return number
