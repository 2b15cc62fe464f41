"""The parameters of the estimators: checked when ``fit`` is called, as scikit-learn does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.training.callbacks import Callbacks

# scikit-learn's activations, by vgfast's names.
ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
# Those that must be numbers: the least, whether above it, and below what.
_NUMBERS: dict[str, tuple[float, bool, float]] = {
    "alpha": (0, False, math.inf),
    "power_t": (0, False, math.inf),
    "tol": (0, False, math.inf),
    "momentum": (0, False, 1),
    "validation_fraction": (0, False, 1),
    "beta_1": (0, False, 1),
    "beta_2": (0, False, 1),
    "epsilon": (0, True, math.inf),
}
_FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")
_RATES = ("constant", "invscaling", "adaptive")


def check_parameters(estimator: Any) -> None:
    """TypeError or ValueError for what no ``fit`` can take."""
    e = estimator
    hidden_sizes(e)
    _check.choice("solver", e.solver, ("adam", "sgd", "lbfgs"))
    for name, (least, above, below) in _NUMBERS.items():
        _check.real(name, getattr(e, name), least, above=above, below=below)
    _check.real("learning_rate_init", e.learning_rate_init, 0, above=True)
    if not callable(e.learning_rate):
        _check.choice("learning_rate", e.learning_rate, _RATES)
    for name in _FLAGS:
        _check.flag(name, bool(getattr(e, name)) if isinstance(getattr(e, name), np.bool_) else getattr(e, name))
    if not isinstance(e.verbose, bool | np.bool_):
        _check.integer("verbose", e.verbose, 0)
    for name in ("max_iter", "max_fun"):
        _check.integer(name, getattr(e, name), 1)
    _check.integer("inspect_every", e.inspect_every, 0)
    if not isinstance(e.n_iter_no_change, Real) or e.n_iter_no_change != math.inf:
        _check.integer("n_iter_no_change", e.n_iter_no_change, 1)
    if e.batch_size != "auto":
        _check.integer("batch_size", e.batch_size, 1)
    if hasattr(e, "loss"):
        _check.choice("loss", e.loss, ("squared_error", "poisson"))
    if isinstance(getattr(e, "class_weight", None), str):
        _check.choice("class_weight", e.class_weight, ("balanced",))
    Callbacks(() if e.callbacks is None else e.callbacks)
    if e.solver == "lbfgs":
        _refuse_steps(e)
    elif getattr(e, "loss", None) == "poisson":
        _refuse_history(e)


def _refuse_steps(estimator: Any) -> None:
    """lbfgs has one batch, all rows, and no epochs."""
    off = {"dropout": 0, "normalization": None, "callbacks": None, "inspect_every": 0}
    for name, value in off.items():
        got = getattr(estimator, name)
        if name == "normalization" and str(got).startswith(("layer", "rms")):
            continue
        if got is not value and got != value:
            raise ValueError(f"solver='lbfgs' takes no steps of batches, which {name}={got!r} needs; use sgd or adam")


def _refuse_history(estimator: Any) -> None:
    """loss='poisson' takes its steps one by one, by ``net.backward``."""
    for name in ("callbacks", "inspect_every"):
        if getattr(estimator, name):
            raise ValueError(
                f"loss='poisson' keeps no history, which {name}={getattr(estimator, name)!r} needs; "
                "leave it out, or use squared_error"
            )


def hidden_sizes(estimator: Any) -> list[int]:
    """``hidden_layer_sizes`` as a list."""
    sizes = estimator.hidden_layer_sizes
    sizes = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
    for size in sizes:
        if isinstance(size, int | np.integer) and size <= 0:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {estimator.hidden_layer_sizes!r}")
    return [_check.integer("hidden_layer_sizes", size, 1) for size in sizes]


def layer_activations(estimator: Any) -> Any:
    """``activation`` as ``vg.MLP`` takes it."""
    given = estimator.activation
    if isinstance(given, list | tuple):
        return [_named(one) for one in given]
    return _named(given)


def _named(activation: Any) -> Any:
    return ACTIVATIONS.get(activation, activation) if isinstance(activation, str) else activation


def architecture(estimator: Any) -> dict[str, Any]:
    """The parameters that say which net it is."""
    e = estimator
    dropout = e.dropout if np.isscalar(e.dropout) else list(e.dropout)
    named = {"normalization": e.normalization, "residual": e.residual, "dropout": dropout}
    return {"hidden_layer_sizes": hidden_sizes(e), "activation": layer_activations(e), **named}


def check_unchanged(estimator: Any, made_with: dict[str, Any]) -> None:
    """ValueError where a net is to be trained on that other parameters have made."""
    for name, value in architecture(estimator).items():
        if value is not made_with[name] and value != made_with[name]:
            raise ValueError(
                f"{name} is {value!r} and was {made_with[name]!r} when the net was made, which warm_start and "
                "partial_fit train on; set it back, or call fit with warm_start=False for a new net"
            )


def is_scikit_learns(estimator: Any) -> bool:
    """Whether scikit-learn has such nets too."""
    e = estimator
    return isinstance(e.activation, str) and e.activation in ACTIVATIONS and not (e.normalization or e.residual)
