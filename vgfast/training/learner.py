"""What is trained: an engine, and what else of a net there is for its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vgfast import _core
from vgfast._check import Rows
from vgfast.model.engine import Engine
from vgfast.model.errors import DivergenceError
from vgfast.model.rules import RuleState
from vgfast.training.optimizers import Optimizer
from vgfast.training.states import States


class Learner(NamedTuple):
    """An engine, with the states that optimizers have for it, the net's random numbers, and the
    lock that says who may use its parameters. ``diagnose(x, t, step, optimizer, what, batch_size, sample_weight)``: the
    error for the last of these batches, at which training failed after so many good steps."""

    engine: Engine
    states: States
    rng: np.random.Generator
    lock: _core.TrainingLock
    diagnose: Callable[[Rows, np.ndarray, int, Optimizer, str, int, np.ndarray | None], DivergenceError]

    def state(self, optimizer: Optimizer) -> RuleState:
        """Made when first asked for."""
        return self.states.get(optimizer, self.engine.make_vector) if optimizer.keeps else RuleState()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """All that the optimizer keeps of this net, whatever its rule: numbers and arrays by name. Empty before its
        first step."""
        state = self.states.find(optimizer)
        return {} if state is None else {"vectors": state.vectors, "n_taken": state.n_taken}

    def set_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Put back what ``optimizer_state`` gave."""
        vectors = tuple(self.engine.make_vector() for _ in state.get("vectors", ()))
        for vector, kept in zip(vectors, state.get("vectors", ()), strict=True):
            vector[...] = kept
        self.states.put(optimizer, RuleState(vectors, state.get("n_taken")))
