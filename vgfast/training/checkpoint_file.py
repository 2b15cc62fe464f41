"""What the file of a ``Checkpoint`` must hold so that a training can go on with it, looked at before anything changes.

Each ValueError says in some words what is wrong with the file; the rest of its sentence is the ``Checkpoint``'s."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.training.fit import Loop
from vgfast.training.settings import read_settings


def check_facts(kept: Any, kinds: tuple[str, ...]) -> None:
    """What it is, of these kinds; of which training, in texts by name; and which epochs that has done."""
    if _part(kept, "kind", "it") not in kinds:
        raise ValueError(f"its kind is {_check.quote(kept['kind'])}")
    _compare(kept, {"training": {}, "loop": {"epochs": []}}, "it")
    for name, fact in kept["training"].items():
        _compare(fact, "", f"training's {name}")


def check(kept: dict[str, Any], now: dict[str, Any], loop: Loop, callbacks: list[Any]) -> None:
    """All else. now: what would be written before the first step. callbacks: those that have a state."""
    for name, part in now.items():
        if name in kept or name not in ("ranks", "optimizers", "data"):
            _compare(_part(kept, name, "it"), {} if name in ("optimizer", "attributes", "training") else part, name)
    for facts in kept.get("data", ()):
        _compare(facts, {}, "data")
    for state in (kept["optimizer"], *kept.get("optimizers", ())):
        _check_state(state, loop)
    _check_attributes(kept["attributes"], loop)
    _check_course(kept["loop"], loop)
    n, begun = len(kept["callbacks"]), len(kept["loop"]["loss"]) > 0
    if n != len(callbacks) and (begun or n > 0):
        raise ValueError(f"it has states of {n} callbacks and not of {len(callbacks)}")
    for callback, state in zip(callbacks, kept["callbacks"], strict=False):
        for name in getattr(callback, "state_names", ()):
            _part(state, name, f"its {type(callback).__name__}")


def _part(kept: Any, name: str, of: str) -> Any:
    if not isinstance(kept, dict) or name not in kept:
        raise ValueError(f"{of} has no {name!r}")
    return kept[name]


def _compare(kept: Any, like: Any, what: str) -> None:
    """With something of the same kind: an array of the dtype and shape, of any length if that has none; a dict with its
    names at least."""
    if isinstance(like, np.ndarray):
        fits = isinstance(kept, np.ndarray) and kept.dtype == like.dtype and kept.ndim == like.ndim
        fits = fits and kept.shape[1:] == like.shape[1:] and len(like) in (0, len(kept))
    else:
        fits = type(kept) is type(like)
    if not fits:
        raise ValueError(f"its {what} is {_check.quote(kept)}")
    if isinstance(like, dict):
        for name, part in like.items():
            _compare(_part(kept, name, what if what == "it" else f"its {what}"), part, name)


def _check_state(state: Any, loop: Loop) -> None:
    """What an optimizer keeps: nothing, before its first step; or vectors, and, if it counts them, the steps."""
    _compare(state, {}, "optimizer")
    if not state:
        return
    _compare(state, {"vectors": ()}, "optimizer")
    own = loop.learner.engine.make_vector()
    for vector in state["vectors"]:
        _compare(vector, own, "vectors")
    n_taken = _part(state, "n_taken", "its optimizer")
    if n_taken is not None:
        _compare(n_taken, np.zeros(1, np.int64), "n_taken")


def _check_attributes(attributes: dict[str, Any], loop: Loop) -> None:
    """Of the optimizer."""
    other = copy.copy(loop.optimizer)
    for name, value in attributes.items():
        if name not in vars(loop.optimizer) or name.startswith("_"):
            raise ValueError(f"{type(other).__name__} has no {name!r}")
        setattr(other, name, value)
    try:
        read_settings(other, loop.learner.engine.architecture.dtype)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _check_course(kept: dict[str, Any], loop: Loop) -> None:
    """Of the training: epochs, and the numbers of each step."""
    for epoch in kept["epochs"]:
        _compare(epoch, {"loss": 0.0, "seconds": 0.0}, "epochs")
    taken = len(kept["loss"]) - len(kept["epochs"]) * loop.per_epoch
    if len(kept["lr"]) != len(kept["loss"]) or not 0 <= taken < loop.per_epoch:
        raise ValueError(f"it has {len(kept['epochs'])} epochs, {len(kept['loss'])} losses and {len(kept['lr'])} rates")
    if kept["exponents"] is not None and len(kept["exponents"]) != len(kept["records"]):
        raise ValueError(f"it has {len(kept['records'])} records and {len(kept['exponents'])} of exponents")
    if taken > 0:
        totals = np.zeros(taken) if loop.weighs else None
        _compare(kept, {"correct": np.zeros(taken), "seconds": 0.0, "totals": totals}, "loop")
