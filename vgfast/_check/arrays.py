"""Arrays that users give: read as NumPy arrays of real numbers, or refused, with the place of what is no number."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

# What entries that stand for "unknown" are called, by the name of their type.
_MISSING = {"NoneType": "None", "NAType": "pd.NA", "NaTType": "pd.NaT"}
_TEXT = "UST"  # kinds of dtypes: str, bytes, and NumPy 2's StringDType

# So many elements are looked at at once: of huge arrays, a bool for each would not fit memory beside them.
_AT_ONCE = 1 << 24

# Characters of a value in an error, at most.
_QUOTED = 80

_NOT_IN_ORDER = str | bytes | dict | set | frozenset

_DATES = "count days, for example by ({0} - {0}.min()) / np.timedelta64(1, 'D')"


def quote(value: Any) -> str:
    """repr, in one line and cut where it is long.

    >>> import numpy as np
    >>> quote(np.eye(2)), len(quote("a" * 100))
    ('array([[1., 0.], [0., 1.]])', 80)
    """
    text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    return text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "..."


def name_unfinite(array: np.ndarray) -> str:
    """What an array holds that is no finite number: "NaN" if there is any, or else "infinity"; "" if it holds none.

    >>> name_unfinite(np.array([1.0, np.inf])), name_unfinite(np.ones(2))
    ('infinity', '')
    """
    if np.isfinite(array).all():
        return ""
    return "NaN" if np.isnan(array).any() else "infinity"


def named(name: str, value: Any) -> str:
    """What to write for the value in advice that calculates with it: a list takes no `- 1`, a frame no `keepdims`."""
    return name if isinstance(value, np.ndarray) else f"np.asarray({name})"


def place(given: Any, row: int, column: int | None = None) -> str:
    """Where an entry stands, rows counted from 0; a frame's column by its name.

    >>> place([[1, 2]], 0, 1), place([1, 2], 1)
    ('row 0, column 1', 'row 1')
    """
    if column is None:
        return f"row {row}"
    return f"row {row}, column {_label(given, column)!r}"


def _label(given: Any, column: int) -> Any:
    labels = getattr(given, "columns", None)
    return column if labels is None else plain_label(labels[column])


def plain_label(label: Any) -> Any:
    """A column's name as one would write it.

    >>> plain_label(("a", np.int64(2)))
    ('a', 2)
    """
    if isinstance(label, tuple):  # of a MultiIndex
        return tuple(map(plain_label, label))
    return label.item() if isinstance(label, np.generic) else label


def _position(given: Any, array: np.ndarray, flat: int) -> str:
    """``place`` of the entry with this number in the array that was read."""
    index = [int(i) for i in np.unravel_index(flat, array.shape)]
    return place(given, index[0], index[1] if len(index) == 2 else None)


# ---- reading ----------------------------------------------------------------------------------------------


def read(name: str, value: Any) -> np.ndarray:
    """The value as an array of any dtype, not looked into: that would take too long if it is absurdly large."""
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, got {type(value).__name__}; use {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{name} has masked values, which no net can use; fill them, for example with "
            f"{name}.filled(0), or drop their rows"
        )
    try:
        array = _frame(value) if hasattr(value, "iloc") and hasattr(value, "columns") else np.asarray(value)
        if array.dtype.kind in _TEXT and isinstance(value, list | tuple):
            return np.asarray(value, dtype=object)  # as given: NumPy makes texts of the numbers beside a text
        return array
    except ValueError as error:
        ragged = _ragged(value) or f": {str(error).splitlines()[0]}"
        raise ValueError(f"{name} must be a rectangular array of numbers{ragged}") from None
    except (TypeError, RuntimeError) as error:
        why = _tensor(name, value) or f"an array of numbers, got {type(value).__name__}: {str(error).splitlines()[0]}"
        raise TypeError(f"{name} must be {why}") from None


def _frame(frame: Any) -> np.ndarray:
    """A pandas DataFrame. Where bools or nullable numbers stand beside floats, it would make a Python object of each
    entry; here its columns are joined as numbers."""
    dtypes = set(frame.dtypes)
    if len(dtypes) < 2 and all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return np.asarray(frame)
    columns = [np.asarray(frame.iloc[:, i]) for i in range(frame.shape[1])]
    if all(column.dtype.kind in "fiub" for column in columns):
        return np.stack(columns, axis=1)
    return np.stack([np.asarray(frame.iloc[:, i], dtype=object) for i in range(frame.shape[1])], axis=1)


def _ragged(rows: Any) -> str:
    """Which row is not as long as the first, or which entry of a row not as long as the first entry of all."""
    if not isinstance(rows, list | tuple):
        return ""
    places = {f"row {i}": row for i, row in enumerate(rows)}
    for what in ("rows", "entries"):
        lengths = {where: len(it) if hasattr(it, "__len__") else None for where, it in places.items()}
        start = next(iter(lengths))
        for where, length in lengths.items():
            if length != lengths[start]:
                first, other = (
                    "one number" if n is None else f"{n} entr{'y' if n == 1 else 'ies'}"
                    for n in (lengths[start], length)
                )
                return f": {start} has {first}, and {where} has {other}; make the {what} equally long"
        if not lengths[start]:
            break
        places = {f"{where}, column {j}": it for where, row in places.items() for j, it in enumerate(row)}
    return "; make what is within its entries equally long"


def _tensor(name: str, value: Any) -> str:
    """Why NumPy cannot read a torch tensor or a list of them, and the call after which it can; "" for other things."""
    several = isinstance(value, list | tuple)
    tensors = list(value) if several else [value]
    if not tensors or not all(hasattr(one, "requires_grad") and hasattr(one, "device") for one in tensors):
        return ""
    if any(str(tensor.device) == "meta" for tensor in tensors):
        return "numbers, got a tensor on the device 'meta', which has none; load them first"
    reasons: dict[str, str] = {}
    for tensor in tensors:
        device, layout, kind = str(tensor.device), str(tensor.layout), str(tensor.dtype)
        reasons |= {".detach()": "that requires a gradient"} if tensor.requires_grad else {}
        reasons |= {".cpu()": f"on the device {device!r}"} if device != "cpu" else {}
        reasons |= {".to_dense()": f"of {layout}"} if layout != "torch.strided" else {}
        reasons |= {".float()": f"of {kind}"} if "bfloat16" in kind or "float8" in kind else {}
    calls = "".join(call for call in (".detach()", ".cpu()", ".to_dense()", ".float()") if call in reasons)
    got = " ".join(["a tensor", *reasons.values()])
    fix = f"[row{calls}.numpy() for row in {name}]" if several else f"{name}{calls}.numpy()"
    return f"something that NumPy can read, got {got}; use {fix}"


# ---- numbers ----------------------------------------------------------------------------------------------


def real_numbers(name: str, array: np.ndarray, given: Any) -> np.ndarray:
    """The array, if it holds real numbers, or those that its objects are; given: what the array was read from."""
    kind = array.dtype.kind
    if kind in "fiub":
        return array
    if array.ndim == 0:
        raise TypeError(f"{name} must hold real numbers, got {single(name, given)}")
    if kind == "O":
        return _from_objects(name, array, given)
    if kind in _TEXT:
        raise TypeError(f"{name} must hold real numbers, got {_quote_text(name, array, given, 0)}")
    plain = named(name, given)
    fix = {
        "c": f"use np.real({name}) or np.abs({name})",
        "M": _DATES.format(plain),
        "m": f"count days, for example by {plain} / np.timedelta64(1, 'D')",
    }.get(kind, f"replace what is of dtype {array.dtype} by numbers")
    if "float" in array.dtype.name:  # a type that NumPy itself does not have, such as JAX's bfloat16
        fix = f"use {plain}.astype('float32')"
    elif array.dtype.names:
        fix = f"use np.array({plain}.tolist())"
    raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}; {fix}")


def single(name: str, given: Any) -> str:
    """What was given where many are wanted; an iterator can be made many."""
    once = hasattr(given, "__iter__") and not hasattr(given, "__array__") and not isinstance(given, _NOT_IN_ORDER)
    return f"{quote(given)} ({type(given).__name__}){f'; use list({name})' if once else ''}"


def is_number(kind: type) -> bool:
    """Whether a type's values are real numbers. Decimal is a Number and neither Real nor Complex."""
    decimal = issubclass(kind, numbers.Number) and not issubclass(kind, numbers.Complex)
    return issubclass(kind, numbers.Real | np.bool_) or decimal


def _from_objects(name: str, array: np.ndarray, given: Any) -> np.ndarray:
    """int64 if all objects are whole numbers, else float64."""
    entries = array.ravel().tolist()
    kinds = set(map(type, entries))
    if not all(is_number(kind) for kind in kinds):
        _refuse_objects(name, array, given, entries)
    whole = all(issubclass(kind, numbers.Integral | np.bool_) for kind in kinds)
    for dtype in (np.int64, np.float64) if whole else (np.float64,):
        try:
            return array.astype(dtype)
        except (OverflowError, ValueError):  # no int64; no float64, or a Decimal's sNaN
            continue
    flat, what = next((i, what) for i, entry in enumerate(entries) if (what := _not_float(entry)))
    where = _position(given, array, flat)
    if what == "NaN":
        raise ValueError(_useless_text(name, what, where))
    raise ValueError(f"{name} has a value in {where} that is {what} for float64; scale {name} down")


def _not_float(entry: Any) -> str:
    """Why no float can be made of a number; "" if one can."""
    try:
        float(entry)
    except OverflowError:
        return "too large"
    except ValueError:
        return "NaN"
    return ""


def _refuse_objects(name: str, array: np.ndarray, given: Any, entries: list[Any]) -> None:
    """Raise the error for the first entry that is missing, or else for the first that is no number."""
    for flat, entry in enumerate(entries):
        missing = missing_value(entry)
        if missing:
            raise ValueError(missing_text(name, missing, _position(given, array, flat)))
    flat = next(i for i, entry in enumerate(entries) if not is_number(type(entry)))
    entry = entries[flat]
    if isinstance(entry, str | bytes):
        raise TypeError(f"{name} must hold real numbers, got {_quote_text(name, array, given, flat)}")
    what = f"{quote(entry)} ({type(entry).__name__}) in {_position(given, array, flat)}"
    fix = f"replace the entries of type {type(entry).__name__} by numbers"
    if isinstance(entry, dict) and array.ndim == 1:
        fix = f"use pd.DataFrame(list({name}))"
    elif hasattr(entry, "__len__") and all(hasattr(row, "__len__") and len(row) == len(entry) for row in entries):
        fix = f"use np.stack({name})" if array.ndim == 1 else f"use np.stack(np.ravel({name})).reshape(len({name}), -1)"
    elif hasattr(entry, "timetuple") and hasattr(given, "iloc"):
        fix = _DATES.format(name if array.ndim == 1 else f"{name}[{_label(given, flat % array.shape[1])!r}]")
    raise TypeError(f"{name} must hold real numbers, got {what}; {fix}")


def missing_value(entry: Any) -> str:
    """What a missing value is called; "" for others.

    >>> missing_value(None), missing_value(float("nan")), missing_value(0)
    ('None', 'NaN', '')
    """
    if isinstance(entry, float | np.floating):
        return "NaN" if entry != entry else ""
    return _MISSING.get(type(entry).__name__, "")


def missing_text(name: str, missing: str, where: str) -> str:
    return f"{name} has a missing value ({missing}) in {where}; remove such rows or fill them in"


# ---- texts ------------------------------------------------------------------------------------------------


def first_text(array: np.ndarray) -> str | bytes | None:
    """The first str or bytes in the array, if there is one and no value is missing before all else is said."""
    if array.dtype.kind in _TEXT and array.size:
        return array.flat[0]
    if array.dtype.kind != "O":
        return None
    entries = array.ravel().tolist()
    if any(missing_value(entry) for entry in entries):
        return None
    return next((entry for entry in entries if isinstance(entry, str | bytes)), None)


def _quote_text(name: str, array: np.ndarray, given: Any, flat: int) -> str:
    """What stands there instead of a number, and how to make numbers of it."""
    got = f"the text {quote(array.flat[flat])} in"
    if _parses(array):
        return f"{got} {_position(given, array, flat)}; use np.asarray({name}, dtype=float)"
    if array.dtype.kind in _TEXT:
        flat = next(i for i in range(array.size) if not _parses(array.ravel()[i : i + 1]))
        got = f"the text {quote(array.flat[flat])} in"
    got = f"{got} {_position(given, array, flat)}"
    if hasattr(given, "iloc") and array.ndim == 2:
        with_text = [i for i in range(array.shape[1]) if any(isinstance(v, str | bytes) for v in array[:, i])]
        return f"{got}; {encoding(name, [_label(given, i) for i in with_text])}"
    column = f"[:, {flat % array.shape[1]}].astype(str)" if array.ndim == 2 else ".astype(str)"
    return (
        f"{got}; replace the texts by numbers, for example by "
        f"np.unique(np.asarray({name}){column}, return_inverse=True)[1]"
    )


def encoding(name: str, labels: list[Any]) -> str:
    """Advice on columns of a DataFrame that hold categories."""
    return (
        f"encode what is no number, for example with pd.get_dummies({name}, columns={labels!r}), "
        f"and make the net for as many columns as there are then"
    )


def _parses(array: np.ndarray) -> bool:
    """Whether all texts are numbers."""
    try:
        array.astype(np.float64)
    except (ValueError, TypeError):
        return False
    return True


# ---- the net's dtype --------------------------------------------------------------------------------------


def converted(name: str, array: np.ndarray, dtype: np.dtype, given: Any) -> np.ndarray:
    """The array in the net's dtype, contiguous and finite; the array itself if it is that already: not a copy, so what
    others write to it later may be anything, and only numbers may be made of it."""
    if array.dtype == dtype:
        result = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore", under="ignore"):
            result = np.ascontiguousarray(array, dtype=dtype)
    flat = result.reshape(-1)
    for first in range(0, flat.size, _AT_ONCE):
        finite = np.isfinite(flat[first : first + _AT_ONCE])
        if not finite.all():
            _refuse_unfinite(name, array, dtype, given, first + int(np.argmin(finite)))
    return result


def _refuse_unfinite(name: str, array: np.ndarray, dtype: np.dtype, given: Any, flat: int) -> None:
    index = tuple(int(i) for i in np.unravel_index(flat, array.shape))
    column = index[1] if len(index) == 2 and np.ndim(given) == 2 else None
    where, entry = place(given, index[0], column), array[index]
    if np.isnan(entry) and hasattr(given, "iloc"):
        missing = missing_value(given.iloc[index[0]] if column is None else given.iloc[index[0], column])
        if missing not in ("", "NaN"):
            raise ValueError(missing_text(name, missing, where))
    refuse_entry(name, entry, dtype, where)


def refuse_entry(name: str, entry: Any, dtype: np.dtype, where: str) -> None:
    """Raise the error for an entry that is not finite, or would not be in this dtype."""
    if np.isfinite(entry):
        fix = f"scale {name} down"
        if abs(entry) <= np.finfo(np.float64).max:
            fix += " or make the net with dtype='float64'"
        raise ValueError(f"{name} has a value in {where} that is too large for {dtype}; {fix}")
    what = "NaN" if np.isnan(entry) else "infinity"
    raise ValueError(_useless_text(name, what, where))


def _useless_text(name: str, what: str, where: str) -> str:
    return f"{name} has {what} in {where}, which no net can use; remove or replace such rows"
