"""Single steps, one after the other, as ``net.step`` takes them."""

from __future__ import annotations

from typing import Any

from vgfast import _core, config
from vgfast.training.fit import Loop
from vgfast.training.optimizers import Optimizer


class Stepper:
    """What later calls of ``step`` with as many rows as before, and the same optimizer, need not do again: the memory
    of a ``Loop`` over one batch, whose settings have been checked. For engines that have a workspace."""

    def __init__(self, loop: Loop) -> None:
        self.run: _core.Run = loop.run
        self.workspace, self.optimizer = loop.workspace, loop.optimizer
        self.run.let_go()
        self.settings, self.limit = loop.optimizer.settings(), config.get_num_threads()
        self.lr, self.steps_taken = loop.optimizer.checked().lr, loop.learner.states.steps_taken

    def step(self, x: Any, y: Any, optimizer: Optimizer | None) -> float | None:
        """The loss; None if anything is not as it was or not as C takes it, and then nothing has changed."""
        if optimizer is not self.optimizer or self.limit != config.get_num_threads():
            return None
        if optimizer.settings() != self.settings:
            return None
        lr = optimizer.at(self.steps_taken(optimizer)).lr if callable(optimizer.lr) else self.lr
        return self.run.step_on(x, y, lr)
