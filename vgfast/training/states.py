"""What optimizers keep of a net from step to step: velocities, averages, the number of steps."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from vgfast.model.rules import RuleState
from vgfast.training.optimizers import Optimizer, Tag


class _Entry(NamedTuple):
    """A state and its optimizer; by weak references, so that it is dropped with the optimizer."""

    tag: weakref.ref[Tag]
    optimizer: weakref.ref[Optimizer] | None  # None in a copy, until it is asked for by its tag
    state: RuleState

    @property
    def lives(self) -> bool:
        return self.tag() is not None and (self.optimizer is None or self.optimizer() is not None)

    def belongs_to(self, optimizer: Optimizer) -> bool:
        """By identity, whatever it says that it is equal to; ``copy.copy`` of it has the tag too."""
        return self.tag() is optimizer._tag and (self.optimizer is None or self.optimizer() is optimizer)


class States:
    """Those of one net, by optimizer. They are held by the net."""

    def __init__(self, copied: Iterable[tuple[Tag, RuleState]] = ()) -> None:
        self._changing = threading.Lock()
        self._entries = [_Entry(weakref.ref(tag), None, state) for tag, state in copied]

    def list_living(self) -> list[RuleState]:
        """Those of optimizers that still live and were not reset."""
        return [entry.state for entry in self._entries if entry.lives]

    def find(self, optimizer: Optimizer) -> RuleState | None:
        """The optimizer's state; None if there is none yet."""
        return next((entry.state for entry in self._entries if entry.belongs_to(optimizer)), None)

    def get(self, optimizer: Optimizer, make: Callable[[], np.ndarray]) -> RuleState:
        """The optimizer's state, as at first if there is none yet. States of optimizers that no longer live are
        dropped."""
        before = self.find(optimizer) or RuleState()
        state = complete(before, optimizer, make)
        # What its rule does not need now, it may need again.
        self.put(optimizer, before if len(before.vectors) > len(state.vectors) else state)
        return state

    def steps_taken(self, optimizer: Optimizer) -> int:
        """By an optimizer that counts them."""
        state = self.find(optimizer)
        return 0 if state is None or state.n_taken is None else int(state.n_taken[0])

    def put(self, optimizer: Optimizer, state: RuleState) -> None:
        """In place of what there is."""
        with self._changing:
            others = [entry for entry in self._entries if entry.lives and not entry.belongs_to(optimizer)]
            self._entries = [*others, _Entry(weakref.ref(optimizer._tag), weakref.ref(optimizer), state)]

    def copy_living(self) -> list[tuple[Tag, RuleState]]:
        """Copies of ``list_living``, each with its optimizer's tag."""
        entries = [(entry.tag(), entry.state) for entry in self._entries if entry.lives]
        return [(tag, state.copy()) for tag, state in entries if tag is not None]


def complete(state: RuleState, optimizer: Optimizer, make: Callable[[], np.ndarray]) -> RuleState:
    """The state with as many vectors as the optimizer's rule now has, those that were there and then new ones, and with
    a number of steps; or without either, if the rule keeps nothing. make: gives memory for a vector."""
    first = optimizer.first_values()
    if not optimizer.keeps:
        return RuleState()
    vectors = list(state.vectors[: len(first)])
    for value in first[len(vectors) :]:
        vectors.append(make())
        vectors[-1][...] = value
    return RuleState(tuple(vectors), np.zeros(1, np.int64) if state.n_taken is None else state.n_taken)
