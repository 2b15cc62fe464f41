"""Turns and rounds: who comes when, and what there is when they end early."""

import numpy as np
import pytest

from vgfast.cost import rounds
from vgfast.cost.rounds import Measured, OutOfTime, summary, take_turns, until


def test_each_begins_a_round_and_all_have_as_many_turns():
    order = dict.fromkeys((1, 2, 3, 4), "")

    def begin(number, name):
        order[number] += name

    *_, values = take_turns({name: lambda name=name: name for name in "abc"}, 4, begin)
    assert list(order.values()) == ["abc", "bca", "cab", "abc"]
    assert values == {name: [name] * 4 for name in "abc"}


def test_whole_rounds_are_there_when_one_is_interrupted():
    def interrupted(number, name):
        if (number, name) == (2, "a"):
            raise KeyboardInterrupt

    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(take_turns({"a": lambda: 1.0, "b": lambda: 2.0}, 5, interrupted))
    assert found == [{"a": [1.0], "b": [2.0]}]


def test_time_that_is_over_ends_it_before_the_next_turn(monkeypatch):
    now, began = [0.0], []
    monkeypatch.setattr(rounds, "monotonic", lambda: now[0])
    begin = until(1, began.append)
    begin("first")
    now[0] = 59.0
    begin("second")
    now[0] = 61.0
    with pytest.raises(OutOfTime):
        begin("third")
    assert began == ["first", "second"]


def test_medians_and_quartiles(rng):
    values = rng.random(9).tolist()
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    assert Measured.from_rounds(values) == Measured(median, low, high)
    assert summary(values) == {"median": median, "quartiles": [low, high], "rounds": values}
