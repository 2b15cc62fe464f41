"""Why a step would leave something that is not finite: where that shows first, and advice that was tried before it is
given, on copies of the net and on the batch at which it happened."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vgfast import _core
from vgfast.inspection import trials
from vgfast.inspection.case import Case
from vgfast.model.engine_numpy import textbook
from vgfast.model.errors import DivergenceError

# A trial takes so many steps, or _MORE than the training did until it went wrong, so that it goes wrong again, or
# _MEMORIES as many as a momentum averages; but no more than _MOST.
_STEPS, _MORE, _MEMORIES, _MOST = 50, 20, 3, 300


def diagnose(case: Case, step: int, what: str, updates: bool = True) -> DivergenceError:
    """The error for the last batch of these rows, after `step` good steps: which layer, and what to do. updates:
    whether an update was to follow."""
    if not np.isfinite(case.engine.params).all():
        return DivergenceError(f"{what}: the parameters already hold NaN or infinity; assign finite ones", step)
    with _core.standard_arithmetic():
        layer, where = locate(_last_batch(case), updates)
        advice = _find_what_trains(case, step) if updates else _find_finite_gradient(case)
    todo = " or ".join(advice) or "none of what was tried helped: other scales of X and y, lower rates, new weights"
    left = f"; the parameters are those after {step} steps" if updates else ""
    return DivergenceError(f"{what}: the {where} would not be finite{left}; {todo}", step, layer)


def _last_batch(case: Case) -> Case:
    if case.batch_size is None:
        return case
    last = slice((len(case.x) - 1) // case.batch_size * case.batch_size, None)
    return case.take(last)._replace(batch_size=None)


# ---- where ----------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """A step taken apart, layer by layer: z; then, or None where what comes before is not finite, (dW, db) and the
    gradient of gains and shifts, and (W, b), gains and shifts after the update."""

    outputs: list[np.ndarray]
    gradients: Sequence[tuple[np.ndarray, ...]] | None
    updated: Sequence[tuple[np.ndarray, ...]] | None


def take_apart(case: Case, updates: bool) -> Parts:
    """The parts of a step that failed, by the textbook, which can be taken apart. Nothing changes."""
    plain, net, t = textbook(case.engine), case.engine.architecture, case.t
    with np.errstate(all="ignore"):
        forward = plain.forward_pass(case.x, plain.draw_masks(len(case.x)))
        zs = forward.zs
        exact = t if t.ndim == 1 else t.astype(np.float64)
        # As C has it: in float64, where squares do not overflow.
        loss, _, _ = plain.loss(zs[-1].astype(np.float64), exact, case.sample_weight)
        if not np.isfinite(loss):
            return Parts(zs, None, None)
        gradient = plain.chain(forward, plain.loss(zs[-1], t, case.sample_weight)[1]).gradient
        gradients = list(zip(*net.parts(gradient), strict=True))
        if not updates or not np.isfinite(gradient).all():
            return Parts(zs, gradients, None)
        step, _ = plain.step(gradient, case.optimizer.checked(), case.current_state)
        return Parts(zs, gradients, list(zip(*net.parts(plain.params - step), strict=True)))


def locate(case: Case, updates: bool) -> tuple[int, str]:
    """(layer, what) is the first that is not finite, in the order of a step: outputs, loss, gradients, update."""
    last = case.engine.architecture.n_layers
    parts = take_apart(case, updates)
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
    for l, arrays in enumerate(parts.updated, 1):
        for name, array in zip(("weights", "biases", "gains", "shifts"), arrays, strict=True):
            if not np.isfinite(array).all():
                return l, f"updated {name} of layer {l}"
    # The textbook's sums, in another order, stay just below the largest number.
    largest = [max(float(np.abs(part).max(initial=0)) for part in arrays) for arrays in parts.updated]
    l = int(np.argmax(largest)) + 1
    return l, f"updated weights of layer {l}"


def _finite(arrays: Iterable[np.ndarray]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


# ---- what to do -----------------------------------------------------------------------------------------


def _find_what_trains(case: Case, step: int) -> list[str]:
    """Advice with which the net trains on these batches; if there is none, with which its loss at least falls."""
    averaged = math.ceil(1 / (1 - case.optimizer.memory))
    steps = min(max(_STEPS, step + _MORE, _MEMORIES * averaged), _MOST)
    scaled = trials.find_first(trials.scale_anew(case), steps)
    scaled = scaled or trials.scale_with_a_rate(case, steps)
    if scaled:
        # Tried on new weights. Those there are may be too large for it, as an earlier step may have left them.
        as_it_is = trials.try_steps(scaled[0].case._replace(engine=case.engine), steps)
        return [scaled[0].advice + ("" if as_it_is.trains else " and start from new weights")]
    new = case.restart()
    anew = trials.try_steps(new, steps)
    # Slowly, perhaps, but farther than from those that there were.
    weights = step < steps and not anew.fails and trials.has_margin(new, steps)
    advice = ["start from smaller weights, such as those of init='auto'"] if weights else []
    if weights and step > 0:
        return advice  # what else would help cannot be tried: the first weights are gone
    start = case if weights or (anew.trains and step >= steps) else new
    calm = trials.find_first(trials.calm(start), steps)
    calm = calm if calm and trials.has_margin(calm[0].case, steps) else None
    helped = ([calm] if calm else []) + trials.find_rate_cures(start, trials.measure_polyak(start), steps)
    good = [one for one in helped if one[1].trains]
    if not (advice or good):
        wide = trials.find_best(trials.widen(case), steps)
        good = helped + ([wide] if wide else [])
    return advice + [cure.advice for cure, _ in good]


def _find_finite_gradient(case: Case) -> list[str]:
    """Advice with which the gradient of this batch is finite."""
    for cure in trials.find_data_cures(case):
        if trials.find_gradient(cure.case):
            return [cure.advice]
    advice = [cure.advice for cure in trials.widen(case) if trials.find_gradient(cure.case)]
    if trials.find_gradient(case.restart()):
        advice.append("start from smaller weights, such as those of init='auto'")
    return advice
