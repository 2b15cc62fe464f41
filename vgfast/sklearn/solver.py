"""The optimizers of solver="sgd" and "adam" with scikit-learn's learning rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import vgfast as vg
from vgfast.model.errors import DivergenceError

# With learning_rate="adaptive", training ends at this rate.
_LEAST_RATE = 1e-6


class _Times(NamedTuple):
    """A schedule times a number; a class, so that it can be pickled."""

    schedule: Callable[[int], float]
    factor: float

    def __call__(self, step: int) -> float:
        return self.factor * self.schedule(step)


class Solver:
    """An optimizer of vgfast for one estimator, and how its rate changes.

    ``gradient``: by what a gradient of vgfast, whose loss is a mean over the outputs, has to be multiplied to be
    scikit-learn's, whose is a sum. The rate of SGD takes it up, and eps of Adam; the penalty is alpha divided by it.
    """

    def __init__(self, estimator: Any, gradient: float) -> None:
        e = estimator
        self.kind, self.gradient, self.power_t, self.rate = e.solver, gradient, e.power_t, e.learning_rate
        self.learning_rate: Any = e.learning_rate if callable(e.learning_rate) else e.learning_rate_init
        self.first_rate = e.learning_rate_init
        lr = self.learning_rate
        if e.solver == "adam":
            betas = (e.beta_1, e.beta_2)
            self.optimizer: Any = vg.Adam(lr, betas, e.epsilon / gradient, eps_hat=True)
            return
        nesterov = bool(e.nesterovs_momentum) and e.momentum > 0
        scaled: Any = _Times(lr, gradient) if callable(lr) else lr * gradient
        self.optimizer = vg.SGD(scaled, e.momentum, nesterov)

    def set_alpha(self, alpha: float) -> None:
        """scikit-learn reads it in each step."""
        self.optimizer.penalty = alpha / self.gradient

    def change_rate(self, learning_rate: float, net: vg.MLP) -> None:
        """scikit-learn has the rate within the velocity, so that earlier gradients keep theirs."""
        state = net._states.find(self.optimizer)
        for velocity in () if state is None else state.vectors:
            velocity *= self.learning_rate / learning_rate
        self.learning_rate = learning_rate
        self.optimizer.lr = learning_rate * self.gradient

    def end_epoch(self, net: vg.MLP, t: int) -> None:
        """t: the rows that have been trained on, over all epochs."""
        if self.kind == "sgd" and self.rate == "invscaling":
            self.change_rate(self.first_rate / (t + 1) ** self.power_t, net)

    def goes_on(self, net: vg.MLP) -> bool:
        """Whether there is a lower rate to try, where nothing improves at this one; it is then set."""
        if self.kind != "sgd" or self.rate != "adaptive" or self.learning_rate <= _LEAST_RATE:
            return False
        self.change_rate(self.learning_rate / 5, net)
        return True


def not_finite(error: DivergenceError) -> ValueError:
    """scikit-learn's sentence, and vgfast's, which says where and why."""
    return ValueError(
        "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
        f"preprocessed. In detail: {error}"
    )
