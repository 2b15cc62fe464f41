"""Remedies, tried: each is applied to a copy of the net, the same batch is inspected again, and what came of it is
told, the best first."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vgfast.sgd import SGD
from vgfast.verdict import SQUASHING, Verdict, stuck_shares

# A net, the inputs and the optimizer that a remedy leaves.
Case = tuple[Any, np.ndarray, SGD]
# The factors by which a learning rate is raised until updates reach the weights, and where that ends.
_RAISE, _RAISE_MOST = 10.0, 1e12
# What does not heal has to take a tenth of the trouble away to be told.
_NOTICEABLE = 0.9


def _again(net: Any, activation: Any = None, init: str = "auto", dtype: Any = None) -> Any:
    """A new net of the same sizes, with first weights of a fixed seed."""
    activations = list(net.activations) if activation is None else activation
    from vgfast import mlp, reference

    kind = mlp.MLP if isinstance(net, mlp.MLP) else reference.MLP  # a subclass may be made otherwise
    return kind(net.sizes, activations, net.loss, init, net.dtype if dtype is None else dtype, rng=0)


def _with_velocity(optimizer: SGD, net: Any, other: Any) -> SGD:
    """A copy of the optimizer, with for `other` the velocity that it has for `net`."""
    result = copy.copy(optimizer)
    for known, velocity in net._velocities.kept():
        if known is optimizer and optimizer.momentum > 0:
            other._velocities.of(result, lambda: np.empty(other.n_params, other.dtype))[...] = velocity
    return result


def _initialised(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    return _again(net), x, optimizer


def _relu(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    return _again(net, "relu", "he_normal"), x, optimizer


def _leaky(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    other = _again(net, "leaky_relu", "zeros")
    other.params[...] = net.params
    return other, x, _with_velocity(optimizer, net, other)


def _unbiased(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    other = net.copy()
    for b in other.biases:
        b[...] = 0
    return other, x, _with_velocity(optimizer, net, other)


def _rescaled(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    """W_{l+1} divided by what layer l gains, so that it would gain 1 if its derivatives stayed as they are."""
    other = net.copy()
    for l, gain in enumerate(records["gain"][:-1]):
        if 0 < gain < np.inf:
            other.weights[l + 1][...] /= other.dtype.type(np.clip(gain, 1e-6, 1e6))
    return other, x, optimizer


def _standardised(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    spread = x.std(axis=0)
    if not (spread > 0).any():
        raise ValueError("rows that are all alike have no variance to scale")
    return net, ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(x.dtype), optimizer


def _in_float64(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    other = _again(net, init="zeros", dtype="float64")
    other.params[...] = net.params
    return other, x.astype(np.float64), _with_velocity(optimizer, net, other)


def _faster(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    """A learning rate raised by powers of ten until, by ‖lr dW‖ / ‖W‖, the slowest layer's typical update is some
    units in the last place."""
    other = _with_velocity(optimizer, net, net)
    ratios = records["update_ratio"][records["update_ratio"] > 0]
    factor = 1.0
    while len(ratios) and ratios.min() * factor < 8 * np.finfo(net.dtype).eps and factor < _RAISE_MOST:
        factor *= _RAISE
    if factor == 1:
        raise ValueError("the learning rate is not what keeps these weights")
    other.lr = optimizer.lr * factor
    return net, x, other


_Remedy = tuple[str, Callable[..., Case]]


def candidates(net: Any, verdict: Verdict) -> Iterator[_Remedy]:
    """(what, how) of the remedies that may help."""
    squashing = bool(set(net.activations) & set(SQUASHING))
    if verdict.word == "frozen":
        yield "a larger lr", _faster
        if net.dtype == np.float32:
            yield "dtype='float64'", _in_float64
    if verdict.word == "dead":
        yield "biases of 0", _unbiased
        yield "activation='leaky_relu'", _leaky
    if verdict.word in ("saturated", "dead"):
        yield "inputs scaled to mean 0 and variance 1", _standardised
    if verdict.word in ("vanishing", "exploding"):
        yield "each layer's weights divided by the gain of the layer before", _rescaled
    if squashing:
        yield "activation='relu' with init='he_normal'", _relu
    yield "new first weights, init='auto'", _initialised


def tried(net: Any, x: np.ndarray, t: np.ndarray, optimizer: SGD, steps: int, report: Any) -> list[str]:
    """Sentences on those that help, the best first: those that leave the net healthy, then by how near the gain is to
    1 or, of frozen weights, by their share."""
    found, names = [], []
    for what, apply in candidates(net, report.judged):
        with np.errstate(all="ignore"):
            try:
                other, inputs, of = apply(net, x, optimizer, report.records)
                after = other.inspect(inputs, t, of, steps, try_remedies=False)
            except (ArithmeticError, ValueError):
                continue  # it does not apply, or leaves something that is not finite
        if "total_gain" not in after.numbers:
            continue  # it leaves no gradient to compare
        name = f"lr={of.lr:.2g}" if of.lr != optimizer.lr else what
        names.append(name)
        (ill, trouble), (_, before) = _trouble(report, after), _trouble(report, report)
        if not ill or trouble < _NOTICEABLE * before:
            found.append((_trouble(report, after), f"{name}: {_outcome(report, after)}"))
    if not found:
        return [f"none helped of what was tried: {', '.join(names)}"]
    return [sentence for _, sentence in sorted(found, key=lambda one: one[0])]


def _trouble(first: Any, report: Any) -> tuple[bool, float]:
    """Less is better: whether something is wrong, and how far from what the first report complains of the lack of."""
    if first.verdict == "frozen":
        return report.verdict != "healthy", float(stuck_shares(report.records).max())
    gain = report.numbers.get("total_gain", 1.0)
    return report.verdict != "healthy", abs(math.log(gain)) if 0 < gain < math.inf else math.inf


def _outcome(before: Any, after: Any) -> str:
    """What was measured: the gain, or the share of weights that stand still where that is the trouble."""
    if before.verdict == "frozen":
        was, now = (float(stuck_shares(report.records).max()) for report in (before, after))
        return f"{now:.0%} of a layer's weights stuck at most, instead of {was:.0%} ({after.verdict})"
    was, now = (report.numbers.get("total_gain", math.nan) for report in (before, after))
    return f"gain over all layers {now:.2g} instead of {was:.2g} ({after.verdict})"
