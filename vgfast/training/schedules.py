"""Schedules of the learning rate: closed forms of the step, to be given as ``lr`` of any optimizer.

A schedule is a function of the step, 0, 1, 2, ..., which are counted for each pair of optimizer and net: the first step
that this optimizer takes with this net is step 0, whatever epoch it is in, and a second ``fit`` with the two goes on
from where the first has ended (``optimizer.reset()`` begins anew). What is here can be compared, pickled and printed;
any other function of the step will do, too, as ``vg.SGD(lr=lambda step: 0.1 / (1 + step))``. No rate depends on the one
before, so that a training which goes on from a ``vg.Checkpoint`` has the rates of one that was never stopped. After its
last step a schedule stays as it is. ``history.lr`` has the rates that were used.

>>> import numpy as np, vgfast as vg
>>> from vgfast import schedules
>>> X, y = np.eye(4), [0, 1, 1, 0]
>>> sgd = vg.SGD(lr=schedules.step(0.8, every=2, factor=0.5))
>>> vg.MLP([4, 8, 2], rng=0).fit(X, y, epochs=3, batch_size=2, optimizer=sgd).lr.tolist()
[0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
>>> sgd.lr
step(first=0.8, every=2, factor=0.5)
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgfast import _check

# Rates that are checked at a time.
_AT_ONCE = 4096

# A number, or a function of the step.
Rate = float | Callable[[int], float]


def _cosine(high: float, low: float, share: float) -> float:
    """From high to low, as share goes from 0 to 1: half a wave."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class step:
    """first * factor^floor(step / every): as PyTorch's StepLR.

    Errors: TypeError or ValueError if first is not above 0, every below 1, or factor below 0.

    >>> [step(0.1, every=10)(t) for t in (0, 9, 10)] == [0.1, 0.1, 0.1 * 0.1]
    True
    """

    first: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check.real("first", self.first, 0, above=True)
        _check.integer("every", self.every, 1)
        _check.real("factor", self.factor, 0)

    def __call__(self, step: int) -> float:
        return float(self.first * self.factor ** (step // self.every))


@dataclass(frozen=True)
class exponential:
    """first * factor^step: as PyTorch's ExponentialLR.

    Errors: TypeError or ValueError if first is not above 0, or factor not in (0, 1].

    >>> exponential(0.5, 0.5)(3)
    0.0625
    """

    first: float
    factor: float

    def __post_init__(self) -> None:
        _check.real("first", self.first, 0, above=True)
        if _check.real("factor", self.factor, 0, above=True) > 1:
            raise ValueError(f"factor must be at most 1, got {self.factor!r}, by which the rate would grow without end")

    def __call__(self, step: int) -> float:
        return float(self.first * self.factor**step)


@dataclass(frozen=True)
class cosine:
    """last + (first - last) (1 + cos(pi step / steps)) / 2, and after so many steps, last: half a wave (Loshchilov
    and Hutter, "SGDR", 2017), as PyTorch's CosineAnnealingLR up to there.

    Errors: TypeError or ValueError if first is not above 0, steps below 1, or last below 0.

    >>> [cosine(0.2, 100)(t) for t in (0, 50, 100, 1000)]
    [0.2, 0.1, 0.0, 0.0]
    """

    first: float
    steps: int
    last: float = 0.0

    def __post_init__(self) -> None:
        _check.real("first", self.first, 0, above=True)
        _check.integer("steps", self.steps, 1)
        _check.real("last", self.last, 0)

    def __call__(self, step: int) -> float:
        return _cosine(self.first, self.last, min(step, self.steps) / self.steps)


@dataclass(frozen=True)
class one_cycle:
    """From highest / div up to highest, and down to highest / (div final_div) at the last of so many steps, each along
    half a wave of the cosine (Smith and Topin, "Super-convergence", 2018), as PyTorch's OneCycleLR: the highest rate is
    that of step share * steps - 1, which need not be a whole number. Momentum, which PyTorch lowers meanwhile, stays.

    Errors: TypeError or ValueError if highest, div or final_div is not above 0, share not in (0, 1), or if there are
    not so many steps that the rise takes one and the fall, too.

    >>> rates = [one_cycle(1.0, 10)(t) for t in range(10)]
    >>> round(rates[0], 9), rates[2], rates[9] == 1 / 25 / 1e4
    (0.04, 1.0, True)
    """

    highest: float
    steps: int
    share: float = 0.3
    div: float = 25.0
    final_div: float = 1e4

    def __post_init__(self) -> None:
        for name in ("highest", "div", "final_div"):
            _check.real(name, getattr(self, name), 0, above=True)
        share, steps = _check.real("share", self.share, 0, above=True, below=1), _check.integer("steps", self.steps, 2)
        if not 1 < share * steps < steps:
            raise ValueError(
                f"steps must be more than 1 / share = {1 / share:.3g}, got {steps}, of which none would be left to rise"
            )

    def __call__(self, step: int) -> float:
        lowest, top, end = self.highest / self.div, self.share * self.steps - 1, self.steps - 1
        if step <= top:
            return _cosine(lowest, self.highest, step / top)
        return _cosine(self.highest, lowest / self.final_div, min(1.0, (step - top) / (end - top)))


@dataclass(frozen=True)
class warm_up:
    """(step + 1) / steps of the first rate of what follows, for so many steps, in a straight line; and then that, a
    number or a schedule, from its step 0 on.

    Errors: TypeError or ValueError if then is neither a number above 0 nor a function, or steps below 1.

    >>> [warm_up(0.4, 4)(t) for t in range(6)]
    [0.1, 0.2, 0.30000000000000004, 0.4, 0.4, 0.4]
    >>> warm_up(cosine(0.1, 1000), 100)
    warm_up(then=cosine(first=0.1, steps=1000, last=0.0), steps=100)
    """

    then: Rate
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.then):
            _check.real("then", self.then, 0, above=True)
        _check.integer("steps", self.steps, 1)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return rate_at(self.then, 0) * ((step + 1) / self.steps)
        return rate_at(self.then, step - self.steps)


def rate_at(lr: Any, step: int) -> float:
    """Of a number or a schedule, unchecked."""
    return lr(step) if callable(lr) else lr


def checked_rate(schedule: Callable[[int], float], step: int) -> float:
    """That of this step, if it is one."""
    rate = schedule(step)
    if type(rate) is float and 0 <= rate < math.inf:  # what else may be a number takes longer to find out
        return rate
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 <= rate < math.inf:
        raise ValueError(
            f"lr must give a number for each step, at least 0 and finite, got {_check.quote(rate)} for step {step}; "
            f"correct the schedule, which is {schedule!r}"
        )
    return float(rate)


def checked_rates(schedule: Callable[[int], float], first: int, n: int, dtype: np.dtype) -> np.ndarray:
    """float64 (n,), of so many steps from the first on; ValueError for one that is none, or beyond this dtype."""
    rates = np.fromiter((checked_rate(schedule, first + i) for i in range(n)), np.float64, n)
    most = float(np.finfo(dtype).max)
    if n and rates.max() > most:
        at = int(rates.argmax())
        raise ValueError(
            f"lr must be at most {most!r} for a net of {dtype}, got {float(rates[at])!r} for step {first + at}; "
            f"correct the schedule, which is {schedule!r}"
        )
    return rates


def check_rates(schedule: Callable[[int], float], first: int, n: int, dtype: np.dtype) -> None:
    """The errors of ``checked_rates``, for any number of steps in little memory."""
    for begin in range(first, first + n, _AT_ONCE):
        checked_rates(schedule, begin, min(_AT_ONCE, first + n - begin), dtype)
