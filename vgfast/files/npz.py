"""Plain data and arrays in one file, NumPy's npz without pickles: the arrays, and one text of JSON for the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from vgfast.files import replace

T = TypeVar("T")
# So often is a file read that another thread has disturbed.
_ATTEMPTS = 20


def write(path: str, data: dict[str, Any]) -> None:
    """Replace the file, whole or not at all. data: dicts by text, lists, tuples, numbers, texts, None, dtypes,
    NumPy's generators and arrays, within each other."""
    arrays: list[np.ndarray] = []
    text = json.dumps(pack(data, arrays))
    buffer = io.BytesIO()
    named = {f"array{i}": array for i, array in enumerate(arrays)}
    np.savez(buffer, **{"text": np.array(text), **named})  # type: ignore[arg-type]
    replace.write(path, [buffer.getvalue()])


def read(path: str) -> Any:
    """What ``write`` was given. ValueError says in some words what is wrong with the file; OSError. Errors of the
    interpreter, which has no memory left for example, are no news of the file, and go on as they are."""
    try:
        text, arrays = despite_threads(lambda: _load(path))
    except (MemoryError, RecursionError, SystemError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(str(error)) from None
    except Exception as error:  # of zip, of NumPy
        raise ValueError(f"{type(error).__name__}: {error}") from None
    try:
        return unpack(json.loads(text), arrays)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _load(path: str) -> tuple[str, list[np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        return str(file["text"]), [file[f"array{i}"] for i in range(len(file.files) - 1)]


def despite_threads(read: Callable[[], T]) -> T:
    """What read() returns, which may be called again. NumPy reads the header of an array as a literal of Python's;
    where several threads do so at once, CPython 3.11 may raise SystemError, whatever the file holds (its issue
    106905)."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except SystemError:
            pass
    return read()


def pack(value: Any, arrays: list[np.ndarray]) -> Any:
    """The value as what JSON can hold; its arrays are appended."""
    if isinstance(value, dict):
        return {"dict": {name: pack(part, arrays) for name, part in value.items()}}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [pack(part, arrays) for part in value]}
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.dtype):
        return {"dtype": value.str}
    if isinstance(value, np.random.Generator):
        return {"generator": pack(value.bit_generator.state, arrays)}
    return value.item() if isinstance(value, np.generic) else value


def unpack(value: Any, arrays: list[np.ndarray]) -> Any:
    """What ``pack`` was given; ValueError for a generator of no bits that NumPy makes."""
    if not isinstance(value, dict):
        return value
    ((kind, part),) = value.items()
    if kind == "dict":
        return {name: unpack(each, arrays) for name, each in part.items()}
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(unpack(each, arrays) for each in part)
    if kind == "generator":
        state = unpack(part, arrays)
        bits = getattr(np.random, state["bit_generator"], None)
        if not (isinstance(bits, type) and issubclass(bits, np.random.BitGenerator)):
            raise ValueError(f"there is no bit generator {state['bit_generator']!r} in NumPy")
        generator = np.random.Generator(bits())
        generator.bit_generator.state = state
        return generator
    return arrays[part] if kind == "array" else np.dtype(part)
