"""Why a step would leave something that is not finite: where that shows first, and advice that was tried before it is
given, on copies of the net and on the batch at which it happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from vgfast.inspection import trials
from vgfast.inspection.trials import Case
from vgfast.model.errors import DivergenceError
from vgfast.training.optimizers import SGD

# A trial takes so many steps, or _MORE than the training did until it went wrong, so that it goes wrong again; but no
# more than _MOST.
_STEPS, _MORE, _MOST = 50, 20, 300


def diagnosed(
    net: Any, x: np.ndarray, t: np.ndarray, step: int, optimizer: SGD | None, what: str, batch_size: int
) -> DivergenceError:
    """The error for the last batch of these rows, after `step` good steps: which layer, and what to do."""
    if not np.isfinite(net.params).all():
        return DivergenceError(f"{what}: the parameters already hold NaN or infinity; assign finite ones", step)
    last = slice((len(x) - 1) // batch_size * batch_size, None)
    layer, where = located(net, x[last], t[last], optimizer)
    case = Case(net, x, t, SGD() if optimizer is None else optimizer, batch_size if batch_size < len(x) else None)
    advice = _with_finite_gradient(case) if optimizer is None else _that_train(case, step)
    todo = " or ".join(advice) or "none of what was tried helped: other scales of X and y, lower rates, new weights"
    left = "" if optimizer is None else f"; the parameters are those after {step} steps"
    return DivergenceError(f"{what}: the {where} would not be finite{left}; {todo}", step, layer)


# ---- where ----------------------------------------------------------------------------------------------


def located(net: Any, x: np.ndarray, t: np.ndarray, optimizer: SGD | None) -> tuple[int, str]:
    """(layer, what) is the first that is not finite, in the order of a step: outputs, loss, gradients, update."""
    from vgfast import reference  # the textbook can take a step apart

    last = len(net.sizes) - 1
    parts = reference.take_apart(net, x, t, optimizer)
    for l, outputs in enumerate(parts.outputs, 1):
        if not np.isfinite(outputs).all():
            return l, f"outputs of layer {l}"
    if parts.gradients is None:
        return last, f"loss after layer {last}"
    for l in range(last, 0, -1):
        if not _finite(parts.gradients[l - 1]):
            return l, f"gradient of layer {l}"
    if parts.updated is None:
        return last, f"gradient of layer {last}"
    for l, (w, b) in enumerate(parts.updated, 1):
        if not _finite((w, b)):
            return l, f"updated {'biases' if np.isfinite(w).all() else 'weights'} of layer {l}"
    # The textbook's sums, in another order, stay just below the largest number.
    largest = [max(float(np.abs(part).max()) for part in pair) for pair in parts.updated]
    l = int(np.argmax(largest)) + 1
    return l, f"updated weights of layer {l}"


def _finite(arrays: Iterable[np.ndarray]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


# ---- what to do -----------------------------------------------------------------------------------------


def _that_train(case: Case, step: int) -> list[str]:
    """Advice with which the net trains on these batches; if there is none, with which its loss at least falls."""
    steps = min(max(_STEPS, step + _MORE), _MOST)
    scaled = trials.first_that_trains(trials.scaled_anew(case), steps)
    scaled = scaled or trials.scaled_with_a_rate(case, steps)
    if scaled:
        # Tried on new weights. Those there are may be too large for it, as an earlier step may have left them.
        as_it_is = trials.outcome(scaled[0].case._replace(net=case.net), steps)
        return [scaled[0].advice + ("" if as_it_is.trains else " and start from new weights")]
    new = trials.anew(case)
    new_trains = trials.outcome(new, steps).trains
    weights = new_trains and step < steps
    advice = ["start from smaller weights, such as those of init='auto'"] if weights else []
    if weights and step > 0:
        return advice  # what else would help cannot be tried: the first weights are gone
    start = case if new_trains else new
    calm = trials.first_that_trains(trials.calmed(start), steps)
    helped = ([calm] if calm else []) + trials.rate_cures(start, trials.polyak_of(start), steps)
    good = [one for one in helped if one[1].trains]
    if not (advice or good):
        wide = trials.best(trials.widened(start), steps)
        good = helped + ([wide] if wide else [])
    return advice + [cure.advice for cure, _ in good]


def _with_finite_gradient(case: Case) -> list[str]:
    """Advice with which the gradient of this batch is finite."""
    for cure in trials.data_cures(case):
        if trials.gradient(cure.case):
            return [cure.advice]
    advice = [cure.advice for cure in trials.widened(case) if trials.gradient(cure.case)]
    if trials.gradient(trials.anew(case)):
        advice.append("start from smaller weights, such as those of init='auto'")
    return advice
