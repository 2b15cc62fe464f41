"""Remedies, tried: each is applied to a copy of the net, the same batch is inspected again, and what came of it is
told, the best first."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vgfast.inspection.verdict import Verdict, stuck_shares
from vgfast.model.activations import SQUASHING
from vgfast.training.optimizers import SGD

# A net, the inputs and the optimizer that a remedy leaves.
Case = tuple[Any, np.ndarray, SGD]
# The factors by which a learning rate is raised until updates reach the weights, and where that ends.
_RAISE, _RAISE_MOST = 10.0, 1e12
# The most rows, evenly spaced, that are tried to find out whether the inputs are at fault; inputs below are tiny.
_ROWS, _TINY = 1024, 0.1
# What does not heal has to take a tenth of the trouble away to be told.
_NOTICEABLE = 0.9


def made_like(net: Any, activation: Any = None, init: str = "auto", dtype: Any = None) -> Any:
    """A new net of the same sizes, with first weights of a fixed seed."""
    activations = list(net.activations) if activation is None else activation
    from vgfast import mlp, reference

    kind = mlp.MLP if isinstance(net, mlp.MLP) else reference.MLP  # a subclass may be made otherwise
    return kind(net.sizes, activations, net.loss, init, net.dtype if dtype is None else dtype, rng=0)


def twin(net: Any) -> Any:
    """A net with the same parameters, and nothing else of a subclass."""
    other = made_like(net, init="zeros")
    other.params[...] = net.params
    return other


def with_velocity(optimizer: SGD, net: Any, other: Any) -> SGD:
    """A copy of the optimizer, with for `other` the velocity that it has for `net`."""
    result = copy.copy(optimizer)
    velocity = net._velocities.found(optimizer)
    if velocity is not None and optimizer.momentum > 0:
        other._velocities.of(result, lambda: np.empty(other.n_params, other.dtype))[...] = velocity
    return result


def _initialised(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    return made_like(net), x, optimizer


def _relu(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    return made_like(net, "relu", "he_normal"), x, optimizer


def _leaky(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    other = made_like(net, "leaky_relu", "zeros")
    other.params[...] = net.params
    return other, x, with_velocity(optimizer, net, other)


def _unbiased(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    other = twin(net)
    for b in other.biases:
        b[...] = 0
    return other, x, with_velocity(optimizer, net, other)


def _rescaled(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    """W_{l+1} divided by what layer l gains, so that it would gain 1 if its derivatives stayed as they are."""
    other = twin(net)
    for l, gain in enumerate(records["gain"][:-1]):
        if 0 < gain < np.inf:
            other.weights[l + 1][...] /= other.dtype.type(np.clip(gain, 1e-6, 1e6))
    return other, x, optimizer


def _standardised(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    if (x == x[0]).all():
        raise ValueError("rows that are all alike have no variance to scale")
    return net, usual(x), optimizer


def usual(values: np.ndarray) -> np.ndarray:
    """Of the same shape, on unit scale: columns of mean 0 and variance 1; rows that are all alike have none, and are
    divided by their root mean square; random ones for zeros."""
    exact = np.asarray(values, np.float64)
    largest = float(np.abs(exact).max())
    if largest == 0:
        return np.random.default_rng(0).normal(size=values.shape).astype(values.dtype)
    exact = exact / largest  # no square can leave the range
    spread = np.where((values == values[0]).all(axis=0), 0, exact.std(axis=0))
    if not (spread > 0).any():
        return (exact / np.sqrt(np.square(exact).mean())).astype(values.dtype)
    return ((exact - exact.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(values.dtype)


def _usual(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    return net, usual(x), optimizer


def inputs_at_fault(net: Any, x: np.ndarray, t: np.ndarray, optimizer: SGD, steps: int, judged: Verdict) -> str:
    """Why the inputs are to blame for this verdict, tried with others on unit scale; "" if they are not."""
    if judged.word not in ("dead", "saturated", "frozen"):
        return ""
    size = float(np.abs(x).max())
    zero = "the inputs are at fault: every input of this batch is 0"
    why = f"the inputs are at fault, whose largest value is {size:.2g}: with inputs of mean 0 and variance 1"
    if judged.word == "frozen":
        after = net.inspect(usual(x), t, optimizer, steps, try_remedies=False).verdict if size < _TINY else "frozen"
        return "" if after == "frozen" else zero if size == 0 else f"{why} the net would be {after}"
    if size == 0:  # where all is 0 but the biases, nothing can be told of the weights
        return f"{zero}, which leaves nothing but the biases"
    from vgfast import reference  # the textbook can take a step apart

    rows = x[:: -(-len(x) // _ROWS)]
    which = 0 if judged.word == "dead" else 1
    with np.errstate(all="ignore"):
        was, now = (float(reference.shut_shares(net, a)[which][judged.layer - 1]) for a in (rows, usual(rows)))
    return f"{why} it would be {now:.0%}" if now <= was / 2 else ""


def _in_float64(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    other = made_like(net, init="zeros", dtype="float64")
    other.params[...] = net.params
    return other, x.astype(np.float64), with_velocity(optimizer, net, other)


def _faster(net: Any, x: np.ndarray, optimizer: SGD, records: np.ndarray) -> Case:
    """A learning rate raised by powers of ten until, by ‖lr dW‖ / ‖W‖, the slowest layer's typical update is some
    units in the last place."""
    other = with_velocity(optimizer, net, net)
    ratios = records["update_ratio"][records["update_ratio"] > 0]
    factor = 1.0
    while len(ratios) and ratios.min() * factor < 8 * np.finfo(net.dtype).eps and factor < _RAISE_MOST:
        factor *= _RAISE
    if factor == 1:
        raise ValueError("the learning rate is not what keeps these weights")
    other.lr = optimizer.lr * factor
    return net, x, other


_Remedy = tuple[str, Callable[..., Case]]


def candidates(net: Any, x: np.ndarray, verdict: Verdict) -> Iterator[_Remedy]:
    """(what, how) of the remedies that may help."""
    squashing = bool(set(net.activations) & set(SQUASHING))
    if verdict.fault == "inputs" and not x.any():
        yield "inputs that are not all 0 (random ones were tried)", _usual
        return
    if verdict.word == "frozen":
        yield "a larger lr", _faster
        if net.dtype == np.float32:
            yield "dtype='float64'", _in_float64
    if verdict.word == "dead":
        yield "biases of 0", _unbiased
        yield "activation='leaky_relu'", _leaky
    if verdict.word in ("saturated", "dead") or verdict.fault == "inputs":
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
    for what, apply in candidates(net, x, report.judged):
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
