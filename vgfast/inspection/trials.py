"""A few steps on a copy of the net: whether it trains on this batch, and what would make it train.

A net *trains* if, after ``STEPS`` steps on the same batch, the loss is at least 2 % lower than before (at that pace a
thousand steps would take all of it), and no hidden layer is left dead or saturated. Advice is what was tried so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from vgfast import _core
from vgfast.inspection.case import Case, find_shut_layer, scale_to_unit
from vgfast.model.engine import Engine
from vgfast.model.errors import DivergenceError
from vgfast.model.losses import LOSSES
from vgfast.training.fit import Loop
from vgfast.training.learner import Learner
from vgfast.training.optimizers import SGD
from vgfast.training.states import States

# Steps of a trial, and the most rows of the batch, evenly spaced, that it takes.
STEPS, ROWS = 20, 1024
# What is left of the loss, at most, where a net trains.
_LEFT = 0.98
# Data are far from unit scale where some column's root mean square is above this.
_FAR = 10.0
# A row is an outlier where its largest value is above so many times the median row's.
_OUTLIER = 100.0
# Of the weights, at most, is what a step should take by decay: in a training of a thousand steps some of them is left.
_DECAY = 1e-3
# How many powers of ten a rate is lowered by, at most, once it is no longer plainly too large.
_POWERS = 10


class Outcome(NamedTuple):
    """The loss before and after; infinity if a step would have left something that is not finite. ``ill``: such as
    "layer 2 dead", or ""."""

    before: float
    after: float
    ill: str

    @property
    def trains(self) -> bool:
        return self.after <= _LEFT * self.before and self.after < math.inf and not self.ill

    @property
    def fails(self) -> bool:
        """The loss does not fall at all, or a layer is lost."""
        return not self.after < self.before or bool(self.ill)


class Cure(NamedTuple):
    """What is at fault if this case trains; its name as a remedy; the same as advice."""

    fault: str
    name: str
    advice: str
    case: Case


def find_gradient(case: Case) -> tuple[float, np.ndarray] | None:
    """(loss, gradient (n_params,)) of the batch; None if that is not finite."""
    with np.errstate(all="ignore"):
        found = case.engine.backward(case.x, case.t, case.sample_weight)
    return None if found is None else (found.loss, found.gradient)


def try_steps(case: Case, steps: int = STEPS) -> Outcome:
    """What comes of so many steps, at least; the case is left as it was."""
    every = -(-len(case.x) // ROWS) if case.batch_size is None else 1
    some = case.take(slice(None, None, every))
    x, t = np.ascontiguousarray(some.x), np.ascontiguousarray(some.t)
    weights = None if some.sample_weight is None else np.ascontiguousarray(some.sample_weight)
    batch_size = min(case.batch_size or len(x), len(x))
    epochs = -(-steps // -(-len(x) // batch_size))
    engine, before = case.engine.copy(), math.inf
    with np.errstate(all="ignore"):
        try:
            before = engine.measure_loss(x, t, weights)
            _train(engine, case._replace(x=x, t=t, batch_size=batch_size, sample_weight=weights), epochs)
            after = engine.measure_loss(x, t, weights)
        except (ArithmeticError, ValueError):  # also a rate that is beyond the dtype
            return Outcome(before, math.inf, "")
        layer, word = find_shut_layer(engine, x)
    return Outcome(before, after, f"layer {layer} {word}" if layer else "")


def _train(engine: Engine, case: Case, epochs: int) -> None:
    """Train this engine, a copy of the case's. Its divergence is not looked into: no advice is sought for a trial's end
    in turn."""
    states = States()
    if case.state is not None:
        states.put(case.optimizer, case.state.copy())
    learner = Learner(engine, states, np.random.default_rng(0), _core.TrainingLock(), lambda *_: DivergenceError(""))
    batch_size = case.batch_size or len(case.x)
    loop = Loop(learner, case.x, case.t, epochs, batch_size, case.optimizer, sample_weight=case.sample_weight)
    loop.train(epochs)


def has_margin(case: Case, steps: int) -> bool:
    """Whether the loss falls with twice the rate, too. At the limit of rates, some weights bear what others do not."""
    return not try_steps(case.with_optimizer(lr=2 * case.optimizer.lr), steps).fails


def decay_limit(case: Case) -> float:
    """Weights that decay alone grow, instead, from this lr x weight_decay on: the stability of (Nesterov's) momentum on
    a parabola. Without momentum, or where the decay is decoupled, each step multiplies them by 1 - lr weight_decay, and
    the limit is 2. None (infinity) where the decay is part of a gradient whose size does not count."""
    rule, momentum = case.optimizer.checked().rule, case.optimizer.memory
    if not case.descends:
        return 2.0 if rule in _core.DECOUPLED else math.inf
    return 2 * (1 + momentum) / (1 + 2 * momentum if rule == "nesterov" else 1)


def polyak_steps(loss: float, norm: float, lr: float, clip_norm: float = math.inf) -> float:
    """lr ‖g‖ min(‖g‖, clip_norm) / loss: how many times the whole loss this step would take if the loss went on as its
    gradient begins; lr in units of Polyak's step length, as no loss can fall below 0. NaN if there is no gradient."""
    with np.errstate(all="ignore"):
        return float(np.float64(lr) * norm * min(norm, clip_norm) / np.float64(loss))


def measure_polyak(case: Case) -> float:
    """``polyak_steps`` of the next step; NaN where the gradient is not finite, or its size does not count."""
    found = find_gradient(case) if case.descends else None
    if found is None:
        return math.nan
    loss, flat = found
    settings = case.optimizer.checked()
    largest = float(np.abs(flat).max())
    norm = largest * float(np.linalg.norm(flat / largest)) if largest > 0 else 0.0
    return polyak_steps(loss, norm, settings.lr, settings.clip_norm)


def find_far_column(values: np.ndarray) -> int | None:
    """The column of the largest root mean square, if that is far above unit scale."""
    if values.ndim != 2:
        return None  # labels
    with np.errstate(over="ignore"):
        squares = np.square(values, dtype=np.float64).mean(axis=0)
    column = int(squares.argmax())
    return column if squares[column] > _FAR**2 else None


def _name_largest(name: str, values: np.ndarray) -> str:
    """Such as "X, whose largest value is 3e+04 in column 2,"."""
    size = np.abs(values)
    where = f" in column {int(size.max(axis=0).argmax())}" if values.shape[1] > 1 else ""
    return f"{name}, whose largest value is {float(size.max()):.2g}{where},"


def _leave_out_outliers(name: str, values: np.ndarray, fault: str, case: Case) -> Iterator[Cure]:
    """A few rows left out, if without them the values are not far from unit scale."""
    size = np.abs(values).max(axis=1).astype(np.float64)
    limit = _OUTLIER * float(np.median(size))
    keep = size <= limit
    if limit > 0 and 0 < np.count_nonzero(~keep) <= len(keep) / 20 and find_far_column(values[keep]) is None:
        rows = f"the rows of {name} with values above {limit:.2g}"
        advice = f"leave out {rows} (the largest is {float(size.max()):.2g})"
        yield Cure(fault, f"{rows} left out", advice, case.take(keep))


def find_data_cures(case: Case) -> Iterator[Cure]:
    """Where inputs, or targets of mse, are far from unit scale: outliers left out; inputs, targets, or both scaled."""
    x, t = case.x, case.t
    inputs = find_far_column(x) is not None
    targets = not LOSSES[case.engine.architecture.loss].has_accuracy and find_far_column(t) is not None
    to = "to mean 0 and variance 1"
    large_x, large_y = (_name_largest(name, values) if far else "" for name, values, far in
                        (("X", x, inputs), ("y", t, targets)))  # fmt: skip
    if inputs:
        yield from _leave_out_outliers("X", x, "inputs", case)
    if targets:
        yield from _leave_out_outliers("y", t, "targets", case)
    if inputs:
        yield Cure("inputs", f"inputs scaled {to}", f"scale {large_x} {to}", case._replace(x=scale_to_unit(x)))
    if targets:
        yield Cure("targets", f"y scaled {to}", f"scale {large_y} {to}", case._replace(t=scale_to_unit(t)))
    if inputs and targets:
        both = case._replace(x=scale_to_unit(x), t=scale_to_unit(t))
        yield Cure("inputs and targets", f"X and y scaled {to}", f"scale {large_x} and {large_y} {to}", both)


def lower_rate(case: Case, name: str, fault: str, too_large: float) -> Iterator[Cure]:
    """lr or weight_decay divided by powers of ten, beginning where it is no longer `too_large` times too large."""
    rate = float(getattr(case.optimizer, name))
    first = max(1, math.ceil(math.log10(too_large))) if 1 < too_large < math.inf else 1
    for power in range(first, first + _POWERS):
        lower = float(f"{rate * 10.0**-power:.3g}")
        if lower > 0:
            advice = f"lower {name} (it is {rate:g}) to {lower:g}"
            yield Cure(fault, f"{name}={lower:g}", advice, case.with_optimizer(**{name: lower}))


def calm(case: Case) -> Iterator[Cure]:
    """A lower momentum, which at its best averages a tenth of the steps."""
    optimizer = case.optimizer
    if isinstance(optimizer, SGD) and (momentum := optimizer.momentum) > 0:
        lower = 0.9 if momentum > 0.9 else 0.0
        nesterov = optimizer.nesterov and lower > 0
        advice = f"lower momentum (it is {momentum:g}) to {lower:g}"
        advice += " with nesterov=False" if optimizer.nesterov and not nesterov else ""
        name = f"momentum={lower:g}" + (", nesterov=False" if optimizer.nesterov and not nesterov else "")
        yield Cure("momentum", name, advice, case.with_optimizer(momentum=lower, nesterov=nesterov))


def clip(case: Case) -> Iterator[Cure]:
    """Gradients of norm 1 at most, if they are not yet, and if a step is then shorter than any layer's weights."""
    if not case.descends:
        return
    lr, momentum = case.optimizer.checked().lr, case.optimizer.memory
    with np.errstate(over="ignore"):
        norms = [float(np.linalg.norm(w.astype(np.float64))) for w in case.engine.weights if w.any()]
    if case.optimizer.clip_norm is None and lr / (1 - momentum) < min(norms, default=0.0):
        yield Cure("learning rate", "clip_norm=1.0", "set clip_norm=1.0", case.with_optimizer(clip_norm=1.0))


def find_rate_cures(case: Case, polyak: float, steps: int = STEPS) -> list[tuple[Cure, Outcome]]:
    """What trains, or, where nothing does, that with which the loss falls at all, causes first: a lower weight decay
    (alone, if that is what makes weights grow), a lower learning rate, clipping."""
    settings = case.optimizer.checked()
    decay = settings.lr * settings.weight_decay
    grows = decay >= decay_limit(case)
    if grows:
        found = find_first(lower_rate(case, "weight_decay", "weight decay", decay / _DECAY), steps)
        if found:
            return [found]
    ways = (lower_rate(case, "lr", "learning rate", max(polyak, decay if grows else 0)), clip(case))
    safe = [(cure for cure in way if has_margin(cure.case, steps)) for way in ways]
    helped = [one for one in [find_best(way, steps) for way in safe] if one]
    return [one for one in helped if one[1].trains] or helped


def widen(case: Case) -> Iterator[Cure]:
    """The same in float64, if it is not yet."""
    if case.engine.architecture.dtype == np.float32:
        yield Cure("updates", "dtype='float64'", "use dtype='float64'", case.widen())


def scale_anew(case: Case) -> Iterator[Cure]:
    """With data on another scale training begins anew, from first weights that know no other."""
    for cure in find_data_cures(case):
        yield cure._replace(case=cure.case.restart())


def scale_with_a_rate(case: Case, steps: int = STEPS) -> tuple[Cure, Outcome] | None:
    """All data that are far from unit scale scaled, with a lower rate, where only both together make it train."""
    for data in list(scale_anew(case))[-1:]:
        rates = find_rate_cures(data.case, measure_polyak(data.case), steps)
        for rate, after in rates[:1]:
            if after.trains:
                name, advice = f"{data.name}, with {rate.name}", f"{data.advice} and {rate.advice}"
                return Cure(rate.fault, name, advice, rate.case), after
    return None


def find_best(cures: Iterable[Cure], steps: int) -> tuple[Cure, Outcome] | None:
    """The first with which the net trains; or else the first with which its loss falls at all."""
    second = None
    for cure in cures:
        found = try_steps(cure.case, steps)
        if found.trains:
            return cure, found
        if second is None and not found.fails:
            second = cure, found
    return second


def find_first(cures: Iterable[Cure], steps: int = STEPS) -> tuple[Cure, Outcome] | None:
    found = find_best(cures, steps)
    return found if found and found[1].trains else None
