"""Whether a net that looks healthy would stay at the best constant answer all the same, by the rule in ``verdict``.

The first thing that a net learns is the answer that is best for all rows alike: base rates, or the mean. It takes only
the output's biases, and it takes away most of the gradient that an untrained net shows: what all rows have in common.
What is left, at that answer, is what tells rows apart, and it has to come up to something within the training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast.inspection.case import TINY, Case, scale_to_unit
from vgfast.inspection.trials import ROWS, polyak_steps
from vgfast.inspection.verdict import Verdict, blame_gains
from vgfast.model.losses import LOSSES, Loss

# Of the constant answer's loss, what a net has at most that has left it.
_LEFT = 0.9
# What a training promises, or moves, that leaves it (a promise is twice what is kept); the steps of the shortest.
_PROMISED, _MOVED, FEWEST_STEPS = 2 * (1 - _LEFT), 1.0, 1000
# The least rate of a class, so that its logarithm is finite.
_LEAST_RATE = 1e-30


class Reach(NamedTuple):
    """How far a training with this learning rate can come from the constant answer, if its gradient there stays.

    ``moved`` (L,): T lr ‖dW_l‖ / ((1 - momentum) ‖W_l‖), what all its steps move of each layer's weights, infinite for
    weights of 0. ``promised``: T lr ‖g‖² / ((1 - momentum) loss), the share of the loss that they are to take away.
    """

    moved: np.ndarray
    promised: float
    lr: float

    @property
    def stalls(self) -> bool:
        return self.least_rate > self.lr

    @property
    def least_rate(self) -> float:
        """The rate from which on the net would not be stalled; infinite where no gradient is left."""
        most = max(float(self.moved.sum()) / _MOVED, self.promised / _PROMISED)
        return self.lr / most if most > 0 else np.inf

    @property
    def numbers(self) -> dict[str, float]:
        """Those that are finite, for a verdict."""
        found = {
            "moved_by_training": float(self.moved.sum()),
            "promised_by_training": self.promised,
            "stalled_below_rate": self.least_rate,
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}


def find_constant(loss: Loss, t: np.ndarray, sample_weight: np.ndarray | None, n_out: int) -> np.ndarray:
    """(n_out,) float64: the outputs, the same for all rows, of the least loss.

    >>> import numpy as np
    >>> from vgfast.model.losses import LOSSES
    >>> find_constant(LOSSES["mse"], np.array([[1.0], [2.0], [6.0]]), None, 1).tolist()
    [3.0]
    >>> np.exp(find_constant(LOSSES["cross_entropy"], np.array([0, 1, 1, 1]), None, 2)).round(6).tolist()
    [0.25, 0.75]
    """
    targets = np.eye(n_out)[t] if t.ndim == 1 else t.astype(np.float64)
    mean: np.ndarray = np.average(targets, axis=0, weights=sample_weight)
    if loss.link == "linear":
        return mean
    if loss.link == "softmax":
        return np.log(np.maximum(mean / (mean.sum() or 1), _LEAST_RATE))
    return np.log(np.maximum(mean, _LEAST_RATE)) - np.log(np.maximum(1 - mean, _LEAST_RATE))


def measure_reach(case: Case, steps: int) -> Reach | None:
    """Of so many steps with the case's optimizer; None if the net has left the constant answer, if that is right for
    all rows, if the gradient there is not finite, or if steps do not go by its size. Of a large batch, some rows."""
    if not case.descends:
        return None
    some = case.take(slice(None, None, -(-len(case.x) // ROWS)))
    weights = some.sample_weight
    if weights is not None and not weights.any():
        return None
    engine, x = some.engine, np.ascontiguousarray(some.x)
    loss, n_out = LOSSES[engine.architecture.loss], engine.architecture.sizes[-1]
    constant = find_constant(loss, some.t, weights, n_out)
    t = some.t if some.t.ndim == 1 else some.t.astype(np.float64)
    with np.errstate(all="ignore"):
        least, deltas, _ = loss.of(np.tile(constant, (len(x), 1)), t, weights)
        z = engine.compute_outputs(x).astype(np.float64)
        now = loss.of(z - np.average(z, axis=0, weights=weights) + constant, t, weights)[0]
        if not least > 0 or not now > _LEFT * least:
            return None
        found = engine.backward_from(x, np.ascontiguousarray(deltas.astype(engine.params.dtype)))
        return None if found is None else _reach(some, found.gradient, least, steps)


def _reach(case: Case, gradient: np.ndarray, loss: float, steps: int) -> Reach:
    _, lr, _, _, clip_norm, clip_value, _ = case.optimizer.checked()
    exact = np.clip(gradient.astype(np.float64), -clip_value, clip_value)
    norm = float(np.linalg.norm(exact))
    rate = max(steps, FEWEST_STEPS) * lr / (1 - case.optimizer.memory)
    clipped = min(1.0, clip_norm / norm) if norm > 0 else 1.0
    weights, _ = case.engine.architecture.views(exact)
    sizes = [np.linalg.norm(w.astype(np.float64)) for w in case.engine.weights]
    moved = np.array([rate * clipped * np.linalg.norm(g) for g in weights]) / np.array(sizes)
    return Reach(np.where(np.isnan(moved), np.inf, moved), polyak_steps(loss, norm, rate, clip_norm), lr)


def judge_reach(case: Case, records: np.ndarray, reach: Reach, steps: int) -> Verdict | None:
    """The verdict on a net of this reach, with what is at fault; None if it is not stalled."""
    if not reach.stalls:
        return None
    fault, why = _blame(case, records, steps)
    answer = "base rates" if LOSSES[case.engine.architecture.loss].has_accuracy else "the mean"
    layer = int(reach.moved.argmin()) + 1
    text = (
        f"soon the output's biases give {answer}, whatever the input, and there the net stays: with the gradient that "
        f"is left there, all {max(steps, FEWEST_STEPS)} steps together move the layers by {reach.moved.sum():.2g} of "
        f"their weights, added up, and are to take away {reach.promised:.2g} of the loss. {why}"
    )
    return Verdict("stalled", text, layer, fault, reach.numbers)


def _blame(case: Case, records: np.ndarray, steps: int) -> tuple[str, str]:
    """(fault, a sentence): what has to be changed alone for the training to come further; nothing else is tried."""
    size = float(np.abs(case.x).max())
    if size < TINY and _reaches(case._replace(x=scale_to_unit(case.x)), steps):
        why = f"The inputs are at fault, whose largest value is {size:.2g}: of mean 0 and variance 1, they would do."
        return "inputs", why
    if len(records) > 1 and _reaches(case.restart("he_normal", "relu"), steps):
        fault, why = blame_gains(records)
        return fault, why.strip()
    lr = case.optimizer.checked().lr
    return "learning rate", f"The learning rate, {lr:g}, is at fault: with ReLU and He's first weights it is no better."


def _reaches(case: Case, steps: int) -> bool:
    reach = measure_reach(case, steps)
    return reach is None or not reach.stalls
