"""What the numbers of a report mean: the verdict, where it goes wrong first, whose fault it is.

With T the steps of the training judged for, G = ‖delta_1‖ / ‖delta_L‖ the gain over all layers, n_l the units of
a layer and B the rows of the batch, the first of these that holds is the verdict. Causes come before their
consequences: a dead or saturated layer also lets the signal vanish.

*dead*
    In some hidden layer, the share of units with phi' = 0 on every row is above 1/2 + 2 / sqrt(n_l), or is 1. A
    unit with symmetric weights is off on a row with probability 1/2; where all rows look alike, as they do behind
    many layers, the share of dead units is binomial with mean 1/2 and deviation 1 / (2 sqrt(n_l)), and this is four
    deviations above. Of a batch of less than 16 rows, which rarely used units may miss, it has to be 1.
*saturated*
    In some hidden layer of sigmoid or tanh, more than half of the entries have phi' below 1 % of its maximum: the
    median unit passes on less than a hundredth of what it gets.
*vanishing*
    G < 1 / T. One learning rate serves all layers, so the signal that moves layer 1 in all T steps together is less
    than what moves layer L in a single one.
*exploding*
    G > T. The same with the ends exchanged.
*frozen*
    In some layer more than half of the weights whose gradient is not 0 keep their bits, because their update is under
    half an ulp; or every entry of its gradient is 0. Such a layer stands still.
*healthy*
    None of these; or the loss has no gradient on this batch; or, with cross-entropy, the root mean square of |p - t|
    over the rows is below 1 %: the net knows this batch, and small gradients are no fault.

A training of less than 10 steps is judged as one of 10: no net passes on its signal exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

SQUASHING = ("sigmoid", "tanh")
_HALF = 0.5
# Fewest rows that can tell of units that are seldom used; fewest steps; the error below which a batch is known.
_ROWS, _STEPS, _KNOWN = 16, 10, 0.01


class Verdict(NamedTuple):
    """One word; why; the layer (1..L) at which it begins, 0 if nothing is wrong; ``weights``, ``activations`` or
    ``updates``, which are at fault, or ""; the numbers that it was judged by.

    Dead and saturated layers begin on the way forward, so that is the one next to the input; what happens to the
    gradient begins on its way back, so there it is the one next to the output.
    """

    word: str
    explanation: str
    layer: int
    fault: str
    numbers: dict[str, float]


def stuck_shares(records: np.ndarray) -> np.ndarray:
    """(L,) the share, among weights whose gradient is not 0, of those that keep their bits; 1 if all are 0."""
    driven = 1 - records["zero"]
    return np.divide(records["stuck"], driven, out=np.ones(len(records)), where=driven > 0)


def dead_limits(units: tuple[int, ...], rows: int) -> np.ndarray:
    """(hidden layers,) the shares of dead units above which layers of so many units are dead."""
    most = [1 - _HALF / n for n in units]  # beyond, all are dead
    return np.array(
        [min(_HALF + 2 / math.sqrt(n), m) if rows >= _ROWS else m for n, m in zip(units, most, strict=True)]
    )


def judge(
    records: np.ndarray,
    sizes: tuple[int, ...],
    activations: tuple[str, ...],
    steps: int,
    rows: int,
    error: float | None = None,
) -> Verdict:
    """The verdict on the records (L,) of one batch of `rows` rows, or on their means over a training of so many.
    error: the root mean square of |p - t|, where the outputs are probabilities."""
    last, steps = len(records), max(steps, _STEPS)
    deltas = records["delta_norm"]
    if deltas[-1] == 0:
        text = "the loss has no gradient on this batch: there is nothing left to learn from it."
        return Verdict("healthy", text, 0, "", {"output_delta_norm": 0.0})
    total = float(deltas[0] / deltas[-1])
    if error is not None and error < _KNOWN:
        text = f"the net's answers on this batch are wrong by {error:.1%}: there is little left to learn from it."
        return Verdict("healthy", text, 0, "", {"total_gain": total, "error": error, "known_below": _KNOWN})
    limits = dead_limits(sizes[1:-1], rows)
    dead = records["dead"][:-1] - limits
    squashed = np.array([kind in SQUASHING for kind in activations], bool)
    saturated = np.where(squashed, records["saturated"][:-1], 0)
    stuck = stuck_shares(records)
    numbers = {
        "total_gain": total,
        "vanishing_below": 1 / steps,
        "exploding_above": float(steps),
        "largest_dead_share": float(records["dead"][:-1].max(initial=0)),
        "largest_saturated_share": float(saturated.max(initial=0)),
        "saturated_above": _HALF,
        "largest_stuck_share": float(stuck.max()),
        "stuck_layer": int(stuck.argmax()) + 1,
        "frozen_above": _HALF,
    }
    if (dead > 0).any():
        return _dead(records, limits, dead, numbers)
    if (saturated > _HALF).any():
        return _saturated(records, saturated, numbers)
    if not 1 / steps <= total <= steps:
        return _ledger(records, total, steps, stuck, numbers)
    if stuck.max() > _HALF:
        layer = int(np.flatnonzero(stuck > _HALF)[-1]) + 1
        text = (
            f"{_still(records, stuck)}; layer 1 gets {total:.2g} times layer {last}'s signal, which is not the reason."
        )
        return Verdict("frozen", text, layer, "updates", numbers)
    text = (
        f"layer 1 gets {total:.2g} times layer {last}'s signal, within 1/{steps} to {steps}; no layer has more than "
        f"{stuck.max():.1%} of its weights stuck."
    )
    return Verdict("healthy", text, 0, "", numbers)


def _dead(records: np.ndarray, limits: np.ndarray, above: np.ndarray, numbers: dict[str, float]) -> Verdict:
    layer = int(np.flatnonzero(above > 0)[0])
    numbers |= {"dead_above": float(limits[layer])}
    text = (
        f"{records['dead'][layer]:.0%} of layer {layer + 1}'s units have a derivative of 0 on every row, where chance "
        f"leaves at most {limits[layer]:.0%}: its weights and biases keep them off.{_blocked_text(records)}"
    )
    return Verdict("dead", text, layer + 1, "weights", numbers)


def _saturated(records: np.ndarray, shares: np.ndarray, numbers: dict[str, float]) -> Verdict:
    layer = int(np.flatnonzero(shares > _HALF)[0])
    gain = records["activation_gain"][layer]
    text = (
        f"{shares[layer]:.0%} of layer {layer + 1}'s outputs lie where the derivative is below 1% of its largest "
        f"value; the activation passes on {gain:.2g} of the signal. Too large weights or inputs drive it there."
    )
    return Verdict("saturated", text, layer + 1, "weights", numbers)


def _ledger(records: np.ndarray, total: float, steps: int, stuck: np.ndarray, numbers: dict[str, float]) -> Verdict:
    last = len(records)
    deltas = records["delta_norm"] / records["delta_norm"][-1]
    still = _still(records, stuck) if stuck.max() > _HALF else ""
    also = f" {still[0].upper()}{still[1:]}." if still else ""
    if total == 0:
        word, outside = "vanishing", deltas == 0
        text = f"layer 1 gets nothing of layer {last}'s signal"
    elif total < 1 / steps:
        word, outside = "vanishing", deltas < 1 / steps
        text = (
            f"layer 1 gets {total:.1e} of layer {last}'s signal: in {steps} steps it moves less than "
            f"layer {last} in one"
        )
    else:
        word, outside = "exploding", deltas > steps
        text = (
            f"layer 1 gets {total:.1e} times layer {last}'s signal: in {steps} steps layer {last} moves less than "
            f"layer 1 in one"
        )
    layer = int(np.flatnonzero(outside)[-1]) + 1
    fault, sentence = _fault(records, word)
    where = f", and so does layer {layer}" if layer > 1 and word == "vanishing" and total > 0 else ""
    if layer > 1 and word == "exploding":
        where = f", and so it is from layer {layer} on"
    return Verdict(word, f"{text}{where}.{sentence}{also}", layer, fault, numbers)


def mean_gains(records: np.ndarray) -> tuple[float, float]:
    """Geometric means of weight_gain and activation_gain over the layers that have them; of none, 1."""
    if len(records) == 1:
        return 1.0, 1.0
    with np.errstate(divide="ignore"):
        weight, activation = (
            float(np.exp(np.log(records[name][:-1]).mean())) for name in ("weight_gain", "activation_gain")
        )
    return weight, activation


def _fault(records: np.ndarray, word: str) -> tuple[str, str]:
    """Whose fault it is, the one whose mean gain is further on the wrong side of 1; and a sentence with both."""
    gains = records["gain"][:-1]
    if (gains == 0).any():
        layer = int(np.flatnonzero(gains == 0)[-1]) + 1
        return ("weights" if records["weight_gain"][layer - 1] == 0 else "activations"), _blocked_text(records)
    weight, activation = mean_gains(records)
    weights = weight < activation if word == "vanishing" else weight > activation
    fault = "weights" if weights else "activations"
    return fault, (
        f" The {fault} are at fault: a hidden layer's mean gain is {weight * activation:.2g} = {weight:.2g} "
        f"(weights) x {activation:.2g} (activation)."
    )


def _blocked_text(records: np.ndarray) -> str:
    """A sentence on the layer at which nothing of the signal is left, seen from the output, if there is one."""
    gains = records["gain"][:-1]
    if not (gains == 0).any():
        return ""
    layer = int(np.flatnonzero(gains == 0)[-1]) + 1
    if records["weight_gain"][layer - 1] == 0:
        return f" Nothing reaches layer {layer}: the weights of layer {layer + 1} pass on 0."
    return f" Nothing passes layer {layer}: its activation's derivative is 0 wherever the signal is not."


def _still(records: np.ndarray, stuck: np.ndarray) -> str:
    worst = int(stuck.argmax())
    if records["zero"][worst] == 1:
        return f"every entry of layer {worst + 1}'s gradient is 0"
    return f"{stuck[worst]:.0%} of layer {worst + 1}'s weights keep their bits, their updates being under half an ulp"
