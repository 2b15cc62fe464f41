"""Measurements side by side, in turn and in rounds: what slows the machine for a while slows them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import numpy as np

Name = TypeVar("Name")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Measured:
    """Median and quartiles of some rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def from_rounds(cls, values: Sequence[float] | np.ndarray) -> Measured:
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and the values themselves, of one measurement in each round."""
    measured = Measured.from_rounds(values)
    return {"median": measured.median, "quartiles": [measured.low, measured.high], "rounds": list(values)}


def take_turns(
    entrants: Mapping[Name, Callable[[], Value]],
    rounds: int,
    begin: Callable[[int, Name], Any] = lambda number, name: None,
) -> Iterator[dict[Name, list[Value]]]:
    """After each whole round, what each entrant's calls have returned so far; ``begin`` is called with the number of
    the round (1, ...) and the name before each. Each round begins with another entrant, so that none is always the
    first.

    >>> [dict(values) for values in take_turns({"a": lambda: 1, "b": lambda: 2}, 2)][-1]
    {'a': [1, 1], 'b': [2, 2]}
    """
    names = list(entrants)
    values: dict[Name, list[Value]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        first = (number - 1) % len(names)
        of_round = {}
        for name in names[first:] + names[:first]:
            begin(number, name)
            of_round[name] = entrants[name]()
        values = {name: [*values[name], of_round[name]] for name in names}
        yield values


class OutOfTime(Exception):
    """The minutes that there were are over."""


def until(minutes: float, progress: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same ``progress``, but ``OutOfTime`` once so many minutes from now are over."""
    end = monotonic() + 60 * minutes

    def begin(name: str) -> None:
        if monotonic() > end:
            raise OutOfTime
        progress(name)

    return begin
