"""The rules of optimizers in plain NumPy, as ``vgfast.reference`` takes its steps; and what a rule keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class RuleState(NamedTuple):
    """What an optimizer keeps of one net: as many ``vectors`` (n_params,) as its rule has, and ``n_taken`` int64 (1,),
    the steps that it has taken; None where nobody asks for that."""

    vectors: tuple[np.ndarray, ...] = ()
    n_taken: np.ndarray | None = None

    def copy(self, dtype: Any = None) -> RuleState:
        """One that shares nothing; with vectors of another dtype, if one is given."""
        vectors = tuple(vector.astype(dtype or vector.dtype) for vector in self.vectors)
        return RuleState(vectors, None if self.n_taken is None else self.n_taken.copy())


_Vectors = tuple[np.ndarray, ...]
_Step = tuple[np.ndarray, _Vectors]


def _capped(squares: np.ndarray) -> np.ndarray:
    """At most the largest number, so that no finite gradient makes them infinite."""
    return np.minimum(squares, np.finfo(squares.dtype).max)


def by_sgd(g: np.ndarray, vectors: _Vectors, hyper: _Vectors, t: int) -> _Step:
    return g, vectors


def by_momentum(g: np.ndarray, vectors: _Vectors, hyper: Any, t: int) -> _Step:
    (v,), (momentum,) = vectors, hyper
    v = momentum * v + g
    return v, (v,)


def by_nesterov(g: np.ndarray, vectors: _Vectors, hyper: Any, t: int) -> _Step:
    (v,), (momentum,) = vectors, hyper
    v = momentum * v + g
    return g + momentum * v, (v,)


def by_adam(g: np.ndarray, vectors: _Vectors, hyper: Any, t: int) -> _Step:
    (m, v), (beta1, beta2, eps, uncorrected) = vectors, hyper
    m = beta1 * m + (1 - beta1) * g
    v = _capped(beta2 * v + (1 - beta2) * g * g)
    first, second = 1 - beta1**t, 1 - beta2**t
    if uncorrected:
        eps = eps / math.sqrt(second)
    return m / first / (np.sqrt(v) / math.sqrt(second) + eps), (m, v)


def by_rmsprop(g: np.ndarray, vectors: _Vectors, hyper: Any, t: int) -> _Step:
    v, (alpha, inside, outside) = vectors[0], hyper[:3]
    v = _capped(alpha * v + (1 - alpha) * g * g)
    return g / (np.sqrt(v + inside) + outside), (v,)


def by_rmsprop_momentum(g: np.ndarray, vectors: _Vectors, hyper: Any, t: int) -> _Step:
    step, (v,) = by_rmsprop(g, vectors, hyper, t)
    u = hyper[3] * vectors[1] + step
    return u, (v, u)


def by_adagrad(g: np.ndarray, vectors: _Vectors, hyper: Any, t: int) -> _Step:
    (v,), (inside, outside) = vectors, hyper
    v = _capped(v + g * g)
    return g / (np.sqrt(v + inside) + outside), (v,)


# By name, as csrc/catalog.def says what each does: of a gradient, the vectors that are kept, the rule's numbers, and
# the number of the step from 1 on, the step s of W -= lr s and the vectors then.
RULES: dict[str, Callable[[np.ndarray, _Vectors, Any, int], _Step]] = {
    "sgd": by_sgd,
    "momentum": by_momentum,
    "nesterov": by_nesterov,
    "adam": by_adam,
    "adamw": by_adam,
    "rmsprop": by_rmsprop,
    "rmsprop_momentum": by_rmsprop_momentum,
    "adagrad": by_adagrad,
}
