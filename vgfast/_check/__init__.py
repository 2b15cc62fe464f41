"""The checks of arguments. Each error is one sentence: what it is about, what was given, why not, and how to fix it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgfast._check import arrays, sparse
from vgfast._check import targets as _targets
from vgfast._check.arrays import name_unfinite as name_unfinite
from vgfast._check.arrays import quote as quote
from vgfast._check.sparse import Rows as Rows
from vgfast._check.sparse import SparseRows as SparseRows
from vgfast._check.sparse import checksum as checksum
from vgfast._check.sparse import to_dense as to_dense

# Numbers of units, rows of a batch and steps may be so many; and so many elements an array may have that repeats its
# memory (zero strides): beyond, it is mostly a mistake of broadcasting, and a copy of it would ask for gigabytes.
MOST_ELEMENTS = 2**31 - 1
# Numbers for Python, or read as numbers by it, but none where a number is asked for.
_BOOLS = (bool, np.bool_)
_BOOLS_AND_TEXT = (*_BOOLS, str)


# What other libraries call what vgfast has; None: what it has not, and may take for a typing error of what looks alike.
# Keys without case and punctuation.
_ELSEWHERE: dict[str, dict[str, str | None]] = {
    "loss": {
        **dict.fromkeys(("categoricalcrossentropy", "sparsecategoricalcrossentropy"), "cross_entropy"),
        **dict.fromkeys(("softmaxcrossentropy", "softcrossentropy", "crossentropyloss"), "cross_entropy"),
        **dict.fromkeys(("logloss", "nll", "nllloss", "negativeloglikelihood", "ce", "xent"), "cross_entropy"),
        **dict.fromkeys(("bce", "bceloss", "bcewithlogits", "bcewithlogitsloss"), "binary_cross_entropy"),
        **dict.fromkeys(("binarylogloss", "sigmoidcrossentropy", "binarycrossentropyloss"), "binary_cross_entropy"),
        **dict.fromkeys(("meansquarederror", "squarederror", "squaredloss", "mseloss", "l2", "l2loss"), "mse"),
        **dict.fromkeys(("mae", "meanabsoluteerror", "l1", "l1loss", "rmse", "msle", "mape", "smape", "mbe", "sse")),
        **dict.fromkeys(
            ("huber", "smoothl1", "hinge", "logcosh", "kldivergence", "poisson", "focal", "focalcrossentropy")
        ),
        **dict.fromkeys(("binaryfocalcrossentropy", "categoricalfocalcrossentropy", "smoothcrossentropy", "cosine")),
        **dict.fromkeys(("weightedcrossentropy", "weightedbinarycrossentropy", "balancedbinarycrossentropy")),
    },
    "activation": {
        **dict.fromkeys(("linear", "none"), "identity"),
        **dict.fromkeys(("logistic", "expit", "logsig"), "sigmoid"),
        **dict.fromkeys(("tansig", "hyperbolictangent"), "tanh"),
        **dict.fromkeys(("rectifier", "rectifiedlinear"), "relu"),
        "lrelu": "leaky_relu",
        "swish": "silu",
        "lecuntanh": "scaled_tanh",
        **dict.fromkeys(("gelunew", "geluapproximate"), "gelu_tanh"),
        **dict.fromkeys(("celu", "softmax", "logsoftmax", "softmin")),
        **dict.fromkeys(("relu2", "relu6", "prelu", "rrelu", "crelu", "srelu", "frelu", "squaredrelu")),
        **dict.fromkeys(("logsigmoid", "tanhshrink", "maxout")),
        **dict.fromkeys(("glu", "reglu", "geglu", "swiglu", "exponential", "sin", "sine")),
        **dict.fromkeys(("pelu", "atan", "arctan", "tanhexp")),
    },
    "init": {
        "xavieruniform": "glorot_uniform",
        "xaviernormal": "glorot_normal",
        "kaiminguniform": "he_uniform",
        "kaimingnormal": "he_normal",
        **dict.fromkeys(("gaussian", "randomnormal"), "normal"),
        **dict.fromkeys(("orthogonalinitializer", "orthonormal"), "orthogonal"),
        **dict.fromkeys(("uniform", "randomuniform", "truncatednormal", "truncnormal", "variancescaling")),
        **dict.fromkeys(("ones", "constant", "identity", "eye", "dirac")),
    },
    "dtype": {
        **dict.fromkeys(("fp32", "f32", "torchfloat", "torchfloat32"), "float32"),
        **dict.fromkeys(("fp64", "f64", "torchdouble", "torchfloat64"), "float64"),
        **dict.fromkeys(("float16", "bfloat16", "float80", "float96", "float128", "float256", "half")),
    },
}


def integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number from least to most; not a bool, not a float."""
    if type(value) is not int and (isinstance(value, _BOOLS) or not isinstance(value, numbers.Integral)):
        number = _number_of(value)
        fits = number is not None and number == int(number) and least <= number <= (math.inf if most is None else most)
        hint = f"; use {int(number)}" if number is not None and fits else ""
        raise TypeError(f"{name} must be a whole number, got {quote(value)} ({type(value).__name__}){hint}")
    value = int(value)
    if value < least or (most is not None and value > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {span}, got {value}")
    return value


def _number_of(value: Any) -> float | None:
    """The finite number that something else, such as '0.1' or an array of one, stands for."""
    if isinstance(value, bool | np.bool_) or getattr(value, "ndim", None):  # NumPy takes [3] for 3
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def real(name: str, value: Any, least: float, *, above: bool = False, below: float = math.inf) -> float:
    """A finite number that is at least (or above) `least` and less than `below`."""

    def fits(number: float) -> bool:
        return math.isfinite(number) and number >= least and not (above and number == least) and number < below

    if type(value) is not float and (isinstance(value, _BOOLS_AND_TEXT) or not isinstance(value, numbers.Real)):
        meant = _number_of(value)
        hint = f"; use {meant!r}" if meant is not None and fits(meant) else ""
        raise TypeError(f"{name} must be a number, got {quote(value)} ({type(value).__name__}){hint}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not fits(number):
        span = f"{'above' if above else 'at least'} {least:g}"
        span += f" and below {below:g}" if below < math.inf else " and finite"
        raise ValueError(f"{name} must be {span}, got {number!r}")
    return number


def choice(name: str, value: Any, options: Sequence[str]) -> str:
    """One of the options, which the error lists, after the one that is meant by what looks or means the same."""
    if isinstance(value, str) and value in options:
        return value
    there = f"there is {', '.join(options)}"
    if not isinstance(value, str):
        raise ValueError(f"unknown {name} {quote(value)}; {there}")
    spelled, elsewhere = _plain(value), _ELSEWHERE.get(name, {})
    meant = {_plain(option): option for option in options}.get(spelled) or elsewhere.get(spelled)
    if meant is None and spelled in elsewhere:
        raise ValueError(f"vgfast has no {name} {value!r}; {there}")
    if meant not in options:
        import difflib  # costs a millisecond, and is needed only here

        near = [option for option in options if sorted(option) == sorted(value.lower())]  # letters exchanged
        near += [option for option in options if len(value) > 2 and option.startswith(value.lower())]  # cut short
        near += difflib.get_close_matches(value.lower(), options, 1, 0.75)  # one letter in four
        meant = near[0] if near else None
    hint = f"did you mean {meant!r}? " if meant else ""
    raise ValueError(f"unknown {name} {quote(value)}; {hint}{there}")


def _plain(name: str) -> str:
    """The name without case and punctuation.

    >>> _plain("Cross-Entropy")
    'crossentropy'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    hint = f"; use {bool(value)}" if isinstance(value, int) and value in (0, 1) else ""
    raise TypeError(f"{name} must be True or False, got {quote(value)} ({type(value).__name__}){hint}")


def generator(value: Any, name: str = "rng") -> np.random.Generator:
    """rng, or what this name is of: a Generator as it is, or a new one from a seed or from nothing."""
    legacy = value is np.random or isinstance(value, np.random.RandomState)
    if not legacy and not isinstance(value, bool | np.bool_ | float | np.floating):
        try:
            return np.random.default_rng(value)
        except (TypeError, ValueError):
            pass
    hint = "; use np.random.default_rng(seed)" if legacy else ""
    kind = ValueError if isinstance(value, numbers.Integral) and not isinstance(value, bool) else TypeError
    raise kind(
        f"{name} must be None, a seed (a whole number, at least 0), or a numpy.random.Generator, got {quote(value)} "
        f"({type(value).__name__}){hint}"
    )


def sizes(value: Any) -> tuple[int, ...]:
    """[n_in, hidden..., n_out], each at least 1."""
    if isinstance(value, set | frozenset | dict):
        raise TypeError(f"sizes must be in order, such as [64, 30, 10], got a {type(value).__name__}: {quote(value)}")
    try:
        items = list(value)
    except TypeError:
        raise TypeError(f"sizes must be a list such as [64, 30, 10], got {quote(value)}") from None
    if isinstance(value, str | bytes) or len(items) < 2:
        raise ValueError(
            f"sizes must hold at least two numbers, inputs and outputs, such as [64, 30, 10]; got {quote(value)}"
        )
    return tuple(integer(f"sizes[{i}], a number of units,", item, 1, MOST_ELEMENTS) for i, item in enumerate(items))


def _read(name: str, value: Any) -> np.ndarray:
    """The value as an array, unless it is absurdly large."""
    array = arrays.read(name, value)
    repeats = any(step == 0 and n > 1 for step, n in zip(array.strides, array.shape, strict=True))
    if array.size > MOST_ELEMENTS and repeats:
        raise ValueError(
            f"{name} has {array.size} elements, shape {array.shape}, which repeat the same memory, and such an array "
            f"may have fewer than 2**31; if that is not a mistake of broadcasting, give it in parts"
        )
    return array


def inputs(name: str, value: Any, n_columns: int | None, dtype: np.dtype, which: str = "inputs") -> np.ndarray:
    """X: (rows, n_columns), or with None of any number of columns from 1 on; at least one row, contiguous, of the net's
    dtype, finite. It is the user's array if that is all this already, and is then read again while a net trains on it:
    whoever writes to it meanwhile has trained on what was written, be it finite or not."""
    array = _read(name, value)
    if array.dtype.kind not in "fiub" or hasattr(value, "iloc"):
        _refuse_categories(name, value)
        array = arrays.real_numbers(name, array, value)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix (samples, {n_columns or 'features'}), got {array.ndim} dimension(s), shape "
            f"{array.shape}"
            f"{_fix_dimensions(name, array, n_columns, arrays.named(name, value))}"
        )
    if n_columns is None and array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {array.shape}: there is nothing to learn")
    if n_columns is not None and array.shape[1] != n_columns:
        hint = f"; use np.transpose({name}) if it has a sample a column" if array.shape[0] == n_columns else ""
        raise ValueError(
            f"{name} must have {n_columns} columns, as many as the net has {which}; got {array.shape[1]} "
            f"(shape {array.shape}){hint}"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}: there is no sample")
    return arrays.converted(name, array, dtype, value)


def rows(name: str, value: Any, n_columns: int, dtype: np.dtype) -> Rows:
    """The same, or sparse: a matrix of SciPy in any format, as rows whose zeros are left out. Of those, the user's
    array is at most that of the values."""
    if sparse.is_sparse(value):
        return sparse.inputs(name, value, n_columns, dtype)
    return inputs(name, value, n_columns, dtype)


def output_gradient(value: Any, n_rows: int, n_outputs: int, dtype: np.dtype) -> np.ndarray:
    """dz (rows, n_outputs), a row for each of X."""
    dz = inputs("dz", value, n_outputs, dtype, "outputs")
    if len(dz) != n_rows:
        raise ValueError(f"dz must have a row for each of X, which has {n_rows}; got {len(dz)} (shape {dz.shape})")
    return dz


def gradients(value: Any, shapes: list[tuple[int, ...]], like: np.ndarray) -> np.ndarray:
    """The flat gradient of parameters `like`, copied; of ``Gradients``, or itself. shapes: of the net's weights."""
    flat, own = value, shapes
    if isinstance(value, tuple):
        flat, weights = getattr(value, "flat", None), getattr(value, "weights", None)
        own = [getattr(w, "shape", ()) for w in weights] if isinstance(weights, list) else []
    if not isinstance(flat, np.ndarray):
        raise TypeError(
            f"gradients must be what gradients or backward returned, or a vector like net.params, got {quote(value)}"
        )
    flat = arrays.read("gradients", flat)
    if flat.dtype != like.dtype:
        raise TypeError(
            f"gradients must be of {like.dtype}, as the net is, got {flat.dtype}; compute them with a net of that dtype"
        )
    if flat.shape != like.shape or own != shapes:
        got = f"weights of {own}" if own != shapes else f"shape {flat.shape}"
        raise ValueError(
            f"gradients must be of a net with weights of {shapes}, {like.size} parameters in all, got {got}; "
            "compute them with such a net"
        )
    copied = np.array(flat, subok=False)
    if not np.isfinite(copied).all():
        place = int(np.argmin(np.isfinite(copied)))
        raise ValueError(f"gradients must be finite, got {copied[place]} in entry {place}; leave that step out")
    return copied


def _fix_dimensions(name: str, array: np.ndarray, n_columns: int | None, plain: str) -> str:
    if n_columns is None and array.ndim == 1:
        of_one = f"; for samples of one number use np.reshape({plain}, (-1, 1))"
        return f"{of_one}, for one sample np.reshape({plain}, (1, -1))" if len(array) > 0 else ""
    if n_columns is None and array.ndim > 2:
        return f"; use np.reshape({plain}, (len({name}), -1))"
    if array.ndim == 1 and len(array) == n_columns:
        return f"; for one sample use np.reshape({plain}, (1, -1))"
    if array.ndim == 1 and n_columns == 1:
        return f"; for samples of one number use np.reshape({plain}, (-1, 1))"
    if array.ndim > 2 and math.prod(array.shape[1:]) == n_columns:
        return f"; use np.reshape({plain}, (len({name}), -1))"
    if array.ndim > 2 and math.prod(array.shape[2:]) == n_columns and array.shape[0] == 1:
        return f"; use {name}[0]"
    return ""


def _refuse_categories(name: str, value: Any) -> None:
    """Categories of a DataFrame are not quantities, even where they are called 0, 1, 2."""
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        labels = map(arrays.plain_label, value.columns)
        found = [label for label, kind in zip(labels, value.dtypes, strict=True) if str(kind) == "category"]
        if found:
            raise TypeError(
                f"{name} must hold real numbers, got categories in column {found[0]!r}; {arrays.encoding(name, found)}"
            )


def targets(name: str, value: Any, n_rows: int, n_outputs: int, loss: str, dtype: np.dtype) -> np.ndarray:
    """y for this loss: int32 labels (rows,), a copy; or (rows, n_outputs) of the net's dtype, which is the user's
    array if it fits, as for ``inputs``."""
    return _targets.checked(name, value, _read(name, value), n_rows, n_outputs, loss, dtype)


def assigned(name: str, value: Any, target: np.ndarray) -> None:
    """Copy value into target, if it has the shape; what is checked is the copy."""
    array = arrays.read(name, value)
    if array.ndim == 0 or array.shape == target.shape:
        array = arrays.real_numbers(name, array, value)
    if array.shape != target.shape:
        raise ValueError(f"{name} has shape {target.shape}, got {array.shape}; give an array of that shape")
    copied = np.array(array)
    what = name_unfinite(copied)
    if what:
        where = arrays.place(value, *np.argwhere(~np.isfinite(copied))[0].tolist())
        raise ValueError(f"{name} has {what} in {where}, which no net can use; assign finite numbers")
    target[...] = arrays.converted(name, copied, target.dtype, value)


def dtype(value: Any, options: Sequence[str]) -> np.dtype:
    """A NumPy dtype or its name, of those that there are."""
    try:
        name = str(value) if value is None else np.dtype(value).name
    except (TypeError, ValueError, SyntaxError):
        name = str(value)
    return np.dtype(choice("dtype", name if name in options or not isinstance(value, str) else value, options))


def sample_weight(name: str, value: Any, n_rows: int) -> np.ndarray:
    """Weights (n_rows,), at least 0 and not all 0, in float64. Where the largest is beyond 2^100 or 2^-100, times a
    power of two, so that it is from 1/2 to 1 and no sum or product with them overflows. Nobody else has this memory."""
    weights = weights_as_given(name, value, n_rows)
    largest = float(weights.max())
    if largest == 0:
        raise ValueError(
            f"{name} must hold some weight above 0, got 0 in all {n_rows} rows; leave it out for equal ones"
        )
    exponent = math.frexp(largest)[1]
    return np.ldexp(weights, 0 if abs(exponent) <= 100 else -exponent)


def weights_as_given(name: str, value: Any, n_rows: int) -> np.ndarray:
    """The same without the power of two, and all of them may be 0."""
    array = _read(name, value)
    if array.shape != (n_rows,):
        fix = f"use np.ravel({arrays.named(name, value)})" if array.size == n_rows else "give one number a row"
        raise ValueError(f"{name} must have shape ({n_rows},), a weight for each row of X, got {array.shape}; {fix}")
    weights = arrays.converted(name, arrays.real_numbers(name, array, value), np.dtype(np.float64), value)
    row = int(weights.argmin())
    if weights[row] < 0:
        where = arrays.place(value, row)
        raise ValueError(
            f"{name} must hold weights of at least 0, got {weights[row]!s} in {where}; use 0 for such rows"
        )
    return weights


def held_out(data: Any) -> tuple[Any, Any, Any]:
    """validation_data: (X, y) or (X, y, sample_weight), as three."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        length = f" of {len(data)}" if isinstance(data, tuple | list) else ""
        raise TypeError(f"validation_data must be (X, y) or (X, y, sample_weight), got a {type(data).__name__}{length}")
    return data[0], data[1], data[2] if len(data) == 3 else None


def outputs(n_outputs: int, loss: str) -> None:
    """A softmax of one output is always 1."""
    if _targets.LINKS[loss] == "softmax" and n_outputs == 1:
        raise ValueError(
            f"{loss} needs at least two outputs, one a class, got sizes[-1] = 1; "
            "for yes or no use loss='binary_cross_entropy'"
        )


def batch_size(value: Any, n_rows: int) -> int:
    """A whole number from 1 on, clipped to the rows that there are: the default fits any data."""
    return min(integer("batch_size", value, 1), n_rows)
