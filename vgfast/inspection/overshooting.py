"""Whether the step of an inspection is too large, by the rule in ``verdict``; what is at fault; what helps."""

from __future__ import annotations

import math

import numpy as np

from vgfast.inspection import trials
from vgfast.inspection.case import Case
from vgfast.inspection.trials import STEPS, Cure, Outcome
from vgfast.inspection.verdict import Verdict, longest_step
from vgfast.model.losses import LOSSES

# In units of Polyak's step length, the step that ends, on a parabola of least loss 0, as high as it began.
_PARABOLA = 4.0


def find_overshooting(
    case: Case, records: np.ndarray, loss: float, steps: int, all_cures: bool
) -> tuple[Verdict, list[str]] | None:
    """The verdict, and what helps; None if the step is not overshooting. Without all_cures, what is at fault is found,
    and the rest is not tried."""
    rule, lr, decay, _, clip_norm, clip_value, _ = case.optimizer.checked()
    momentum = case.optimizer.memory
    norm = math.hypot(*records["grad_norm"], *records["bias_grad_norm"])
    polyak = trials.polyak_steps(loss, norm, lr, clip_norm) if case.descends else 0.0
    limit = trials.decay_limit(case)
    decays = lr * decay >= limit
    beyond = polyak >= steps and clip_value == math.inf
    by_decay = lr * decay * (1 + momentum if rule == "nesterov" else 1) if limit < math.inf else 0.0
    long = bool((records["update_ratio"] - by_decay >= 1 - momentum).any())
    if not (decays or beyond or long or polyak >= _PARABOLA * (1 - momentum)):
        return None
    # Of a short step without momentum, one is enough to try, most often.
    if not (decays or beyond or long or momentum) and not trials.try_steps(case, 1).fails:
        return None
    outcome = trials.try_steps(case)
    if not (decays or beyond or _failed(case, outcome)):
        return None
    cures = _cures(case, polyak, all_cures)
    fault = cures[0][0].fault if cures else "learning rate"
    fault = "weight decay" if decays else fault
    layer, ratio = longest_step(records)
    numbers = {"largest_update_ratio": ratio, "polyak_steps": polyak, "overshooting_above": float(steps)}
    numbers |= {"loss_before": outcome.before, "loss_after": outcome.after}
    numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
    text = f"{_step(layer, ratio, polyak)}: {_tried(outcome)}. {_blame(fault, cures, case)}"
    return Verdict("overshooting", text, layer, fault, numbers), [_remedy(*one) for one in cures] or (
        ["none helped of what was tried: other scales of the data, lower rates, clip_norm"] if all_cures else []
    )


def _failed(case: Case, outcome: Outcome) -> bool:
    """Whether a layer is lost, or the loss is not below what it was together with the energy of motion, lr ‖v‖² / 2.
    Momentum turns one into the other, and less than all of it. More than the loss of outputs of 0 cannot have come from
    steps like these, but from a batch of another kind, and is no excuse."""
    lr, velocities = case.optimizer.checked().lr, case.current_state.vectors if case.descends else ()
    speed = float(np.linalg.norm(velocities[0].astype(np.float64))) if velocities else 0.0
    net = case.engine.architecture
    with np.errstate(over="ignore"):
        outputs = np.zeros((len(case.t), net.sizes[-1]))
        at_zero = LOSSES[net.loss].of(outputs, case.t, case.sample_weight)[0]
    energy = min(lr * speed * speed / 2, at_zero)
    return bool(outcome.ill) or not outcome.after < outcome.before + energy


def _cures(case: Case, polyak: float, all_cures: bool) -> list[tuple[Cure, Outcome]]:
    """Those that train. Where scaled data do, they are at fault, and nothing else is tried."""
    scaled = trials.find_first(trials.scale_anew(case))
    if scaled:
        return [scaled]
    if not all_cures:
        return []
    both = trials.scale_with_a_rate(case)
    return [*([both] if both else []), *trials.find_rate_cures(case, polyak)]


def _step(layer: int, ratio: float, polyak: float) -> str:
    text = f"this step is {ratio:.2g} times as long as layer {layer}'s weights"
    return f"{text}, and its gradient promises {polyak:.2g} times the loss" if polyak >= 1 else text


def _tried(outcome: Outcome) -> str:
    if outcome.after == math.inf:
        return f"of {STEPS} such steps on this batch, tried on a copy, one leaves something that is not finite"
    left = f" and leave {outcome.ill}" if outcome.ill else ""
    change = f"from {outcome.before:.2g} to {outcome.after:.2g}{left}"
    return f"{STEPS} such steps on this batch, tried on a copy, take the loss {change}"


def _blame(fault: str, cures: list[tuple[Cure, Outcome]], case: Case) -> str:
    _, lr, decay, *_ = case.optimizer.checked()
    if fault == "weight decay":
        return (
            f"The weight decay is at fault: lr x weight_decay, which is {lr * decay:.2g}, has to be below "
            f"{trials.decay_limit(case):.2g}, or weights grow by it."
        )
    if fault == "learning rate":
        return f"The learning rate, {lr:g}, is at fault."
    return f"The {fault} are at fault: with {cures[0][0].name}, the same steps train."


def _remedy(cure: Cure, outcome: Outcome) -> str:
    return f"{cure.name}: {STEPS} steps on this batch take the loss from {outcome.before:.2g} to {outcome.after:.2g}"
