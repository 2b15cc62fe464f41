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
    In some hidden layer whose activation squashes, as sigmoid and tanh do, more than half of the entries have phi'
    below 1 % of its maximum: the median unit passes on less than a hundredth of what it gets.
*vanishing*
    G < 1 / T. One learning rate serves all layers, so the signal that moves layer 1 in all T steps together is less
    than what moves layer L in a single one.
    Of optimizers whose steps do not go by the size of gradients, such as Adam, G is the root mean square of what a step
    moves the weights of layer 1 by, over that of layer L: about 1 however little of the signal is left, until gradients
    come down to the optimizer's eps.
*exploding*
    G > T. The same with the ends exchanged.
*overshooting*
    The step is too large: training with it does not get anywhere. One of three.
    lr weight_decay is 2 or more (with momentum, 2 (1 + momentum); with Nesterov's, that over 1 + 2 momentum): the decay
    alone then makes weights grow instead.
    P = lr ‖g‖ min(‖g‖, clip_norm) / loss is T or more: the gradient promises T times the loss, which cannot fall below
    0, so a T-th of the step would do (not of a clip_value, with which steps may be much shorter). P is lr in units of
    Polyak's step length.
    The step is suspicious, and a trial fails. Suspicious: P / (1 - momentum) >= 4, from where on, on a parabola whose
    least loss is 0, a step ends higher than it began (without momentum, it also has to end higher in fact); or in some
    layer ‖step‖ / ‖W‖, less what decay has in it, is 1 - momentum or more, as not much is then left of the weights of
    which the gradient was taken. The trial: 20 such steps on this batch, on a copy of the net; it fails if the loss
    does not fall below what it was (and lr ‖v‖² / 2, the energy of a velocity v from earlier steps, which can carry it
    up for a while; at most the loss of outputs of 0), or something is not finite, or a hidden layer is left dead or
    saturated.
    Of a training, whose steps cannot be tried again: some layer's mean ‖step‖ / ‖W‖ is 1 or more.
*frozen*
    In some layer more than half of the weights whose gradient is not 0 keep their bits, because their update is under
    half an ulp; or every entry of its gradient is 0. Such a layer stands still.
*stalled*
    Nothing is wrong with a step, but the training as a whole leads no further than the constant answer: the one that
    is best for all rows alike, base rates of classes, or the mean of targets. Output biases soon find it, and take away
    most of the gradient that an untrained net shows, what all rows have in common. Let g, with dW_l, be the gradient
    that is left where all rows get that answer. All three:
    The net has not left it: with the biases at their best, the loss is above 9/10 of the constant answer's.
    The sum over the layers of T lr ‖dW_l‖ / ((1 - momentum) ‖W_l‖) is less than 1. A net whose layers' weights move by
    shares r_l changes, relative to what it does and to its gradient, by at most the product of 1 + r_l, less 1
    (Bernstein and others, "On the distance between two neural networks and the stability of learning", 2020): about
    the sum, as long as that is small. So the gradient stays about what it is.
    T lr ‖g‖² / ((1 - momentum) loss) is less than 2/10. That is what the gradient promises, of which the loss falls by
    half at least: on a parabola whose least loss is 0, a step to there is promised twice the loss. So it falls by about
    a tenth, and the net is where it was after all T steps. (Adam and its like, whose steps do not
    go by the size of gradients, are not judged.)
*healthy*
    None of these; or, if the step is not overshooting, the loss has no gradient on this batch; or, with
    cross-entropy, the root mean square of |p - t| over the rows is below 1 %: the net knows this batch, and small
    gradients are no fault.

A training of less than 10 steps is judged as one of 10: no net passes on its signal exactly; and, of *stalled*, one of
less than 1,000 as one of 1,000: that it is short is no fault of the net.

At fault are, of *dead* and *saturated*, the ``weights``; of *vanishing* and *exploding*, ``weights``, ``activations``
or ``normalization``; of *frozen*, the ``updates``; or the ``inputs``, if they are all 0, or if a layer's share of dead
or saturated units is at most half of it with inputs of mean 0 and variance 1, or if the inputs are below 0.1 and with
such ones nothing is frozen. Of *stalled*, the first that cures it alone: such ``inputs``; ReLU with He's first weights,
for then ``weights`` or ``activations`` are at fault, as of *vanishing*; or else it is the ``learning rate``. Of
*overshooting*: the ``weight decay``, if that alone makes weights grow; or ``inputs``, ``targets`` of mse, or ``inputs
and targets``, if their root mean square is above 10 in some column and the same steps train where they are scaled, or
where a few outlying rows are left out; or else the ``learning rate``. To *train* is to take 2 % of the loss in 20 steps
on the batch, with no hidden layer left dead or saturated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vgfast.model.activations import SQUASHING

_HALF = 0.5
# Fewest rows that show units that are seldom used; fewest steps; the error below which a batch is known.
_ROWS, FEWEST_STEPS, _KNOWN = 16, 10, 0.01


class Verdict(NamedTuple):
    """One word; why; the layer (1..L) at which it begins, 0 if nothing is wrong; what is at fault (see above), or "";
    the numbers that it was judged by.

    Overshooting begins where the step is longest relative to the weights, stalled where it is shortest. Dead and
    saturated layers begin on the way forward, so that is the one next to the input; what happens to the gradient begins
    on its way back, so there it is the one next to the output.
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


def shut_layer(
    dead: np.ndarray, saturated: np.ndarray, sizes: tuple[int, ...], activations: tuple[str, ...], rows: int
) -> tuple[int, str]:
    """The first hidden layer (1..L-1) that is dead, or else saturated, by these shares (L-1,), and which; (0, "")."""
    off = dead > dead_limits(sizes[1:-1], rows)
    if off.any():
        return int(off.argmax()) + 1, "dead"
    flat = squashed_shares(saturated, activations) > _HALF
    return (int(flat.argmax()) + 1, "saturated") if flat.any() else (0, "")


def squashed_shares(saturated: np.ndarray, activations: tuple[str, ...]) -> np.ndarray:
    """The shares (L-1,) of saturated entries where there are two ends to saturate at, 0 elsewhere."""
    return np.where(np.array([kind in SQUASHING for kind in activations], bool), saturated, 0)


def judge(
    records: np.ndarray,
    sizes: tuple[int, ...],
    activations: tuple[str, ...],
    steps: int,
    rows: int,
    error: float | None = None,
    one_step: bool = False,
    inputs: str = "",
    closed: np.ndarray | None = None,
    descends: bool = True,
) -> Verdict:
    """The verdict on the records (L,) of one batch of `rows` rows, or on their means over a training of so many.
    error: the root mean square of |p - t|, where the outputs are probabilities. one_step: whether its step overshoots
    is tried elsewhere (``vgfast.inspection.overshooting``). inputs: why they are at fault, if they are. closed (L,):
    layers without a gradient yet, behind a learned scale of 0. descends: whether steps go by the size of gradients."""
    last, steps = len(records), max(steps, FEWEST_STEPS)
    deltas = records["delta_norm"]
    if deltas[-1] == 0:
        text = "the loss has no gradient on this batch: there is nothing left to learn from it."
        return Verdict("healthy", text, 0, "", {"output_delta_norm": 0.0})
    total = float(deltas[0] / deltas[-1])
    if error is not None and error < _KNOWN:
        text = f"the net's answers on this batch are wrong by {error:.1%}: there is little left to learn from it."
        return Verdict("healthy", text, 0, "", {"total_gain": total, "error": error, "known_below": _KNOWN})
    saturated = squashed_shares(records["saturated"][:-1], activations)
    shut, how = shut_layer(records["dead"][:-1], saturated, sizes, activations, rows)
    closed = np.zeros(last, bool) if closed is None else closed
    stuck = np.where(closed, 0, stuck_shares(records))
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
    if how == "dead":
        return _dead(records, shut, float(dead_limits(sizes[1:-1], rows)[shut - 1]), numbers, inputs)
    if how == "saturated":
        return _saturated(records, shut, numbers, inputs)
    shares = deltas / deltas[-1] if descends else _step_shares(records, sizes, closed)
    numbers |= {"step_share": float(shares[0])} if not descends and math.isfinite(shares[0]) else {}
    if shares[0] < 1 / steps or shares[0] > steps:
        return _ledger(records, shares, steps, stuck, numbers, descends)
    if not one_step and (records["update_ratio"][np.isfinite(records["update_ratio"])] >= 1).any():
        return _overshooting(records, numbers)
    if stuck.max() > _HALF:
        layer = int(np.flatnonzero(stuck > _HALF)[-1]) + 1
        why = f"layer 1 gets {total:.2g} times layer {last}'s signal, which is not the reason.{_sentence(inputs)}"
        text = f"{_still(records, stuck)}; {why}"
        return Verdict("frozen", text, layer, "inputs" if inputs else "updates", numbers)
    steps_too = "" if descends else f", and its steps are {shares[0]:.2g} times as large"
    within = f"layer 1 gets {total:.2g} times layer {last}'s signal{steps_too}, within 1/{steps} to {steps}"
    return Verdict(
        "healthy", f"{within}; no layer has more than {stuck.max():.1%} of its weights stuck.", 0, "", numbers
    )


def _sentence(text: str) -> str:
    return f" {text[0].upper()}{text[1:]}." if text else ""


def _dead(records: np.ndarray, layer: int, limit: float, numbers: dict[str, float], inputs: str) -> Verdict:
    numbers |= {"dead_above": limit}
    text = (
        f"{records['dead'][layer - 1]:.0%} of layer {layer}'s units have a derivative of 0 on every row, where chance "
        f"leaves at most {limit:.0%}{'' if inputs else ': its weights and biases keep them off'}."
        f"{_sentence(inputs)}{_blocked_text(records)}"
    )
    return Verdict("dead", text, layer, "inputs" if inputs else "weights", numbers)


def _saturated(records: np.ndarray, layer: int, numbers: dict[str, float], inputs: str) -> Verdict:
    share, gain = records["saturated"][layer - 1], records["activation_gain"][layer - 1]
    text = (
        f"{share:.0%} of layer {layer}'s outputs lie where the derivative is below 1% of its largest "
        f"value; the activation passes on {gain:.2g} of the signal."
        f"{_sentence(inputs) or ' Too large weights or inputs drive it there.'}"
    )
    return Verdict("saturated", text, layer, "inputs" if inputs else "weights", numbers)


def longest_step(records: np.ndarray) -> tuple[int, float]:
    """(layer from 1, its ‖step‖ / ‖W‖), the largest of those that are finite: weights of 0 have none; (1, 0.0)."""
    ratios = np.where(np.isfinite(records["update_ratio"]), records["update_ratio"], 0)
    return int(ratios.argmax()) + 1, float(ratios.max())


def _overshooting(records: np.ndarray, numbers: dict[str, float]) -> Verdict:
    layer, ratio = longest_step(records)
    numbers |= {"largest_update_ratio": ratio, "overshooting_above": 1.0}
    text = (
        f"a step is {ratio:.2g} times as long as layer {layer}'s weights, in the mean over the steps: none of them "
        f"leaves much of the weights of which its gradient was taken."
    )
    return Verdict("overshooting", text, layer, "learning rate", numbers)


def _step_shares(records: np.ndarray, sizes: tuple[int, ...], closed: np.ndarray) -> np.ndarray:
    """(L,) the root mean square of what a step moves a layer's weights by, over that of the last layer; NaN where one
    has weights of 0, beside which no step has a length, or is closed."""
    weights = np.array(sizes[:-1]) * np.array(sizes[1:])
    with np.errstate(all="ignore"):
        steps = records["update_ratio"] * records["weight_norm"] / np.sqrt(weights)
        return np.where(closed, np.nan, steps / steps[-1])


def _ledger(
    records: np.ndarray,
    shares: np.ndarray,
    steps: int,
    stuck: np.ndarray,
    numbers: dict[str, float],
    descends: bool,
) -> Verdict:
    """Vanishing or exploding: shares (L,), of what moves the last layer, that move each."""
    last, total = len(records), float(shares[0])
    also = _sentence(_still(records, stuck) if stuck.max() > _HALF else "")
    gets = f"gets {total:.1e} {'of' if total < 1 else 'times'} layer {last}'s signal"
    if not descends:
        gets = f"is moved by a step {total:.1e} {'of' if total < 1 else 'times'} what it moves layer {last}"
    if total == 0:
        word, outside = "vanishing", shares == 0
        text = f"layer 1 gets nothing of layer {last}'s signal"
    elif total < 1 / steps:
        word, outside = "vanishing", shares < 1 / steps
        text = f"layer 1 {gets}: in {steps} steps it moves less than layer {last} in one"
    else:
        word, outside = "exploding", shares > steps
        text = f"layer 1 {gets}: in {steps} steps layer {last} moves less than layer 1 in one"
    layer = int(np.flatnonzero(outside)[-1]) + 1
    fault, sentence = blame_gains(records, word)
    where = f", and so does layer {layer}" if layer > 1 and word == "vanishing" and total > 0 else ""
    if layer > 1 and word == "exploding":
        where = f", and so it is from layer {layer} on"
    return Verdict(word, f"{text}{where}.{sentence}{also}", layer, fault, numbers)


def mean_gains(records: np.ndarray) -> dict[str, float]:
    """Geometric means, over the layers that have them, of what weights and activations do, and a normalization and
    residual connections, if there are any; of no such layer, 1."""
    names = {"weights": "weight_gain", "activations": "activation_gain"}
    more = {"normalization": "normalization_gain", "residual connections": "skip_gain"}
    names |= {what: name for what, name in more.items() if (records[name][:-1] != 1).any()}
    with np.errstate(all="ignore"):
        logarithms = {what: np.log(records[name][:-1]) for what, name in names.items()}
    return {what: float(np.exp(each.mean())) if len(each) else 1.0 for what, each in logarithms.items()}


def blame_gains(records: np.ndarray, word: str = "vanishing") -> tuple[str, str]:
    """Whose fault it is, the one whose mean gain is further on the wrong side of 1; and a sentence with both."""
    gains = records["gain"][:-1]
    if (gains == 0).any():
        layer = int(np.flatnonzero(gains == 0)[-1]) + 1
        return ("weights" if records["weight_gain"][layer - 1] == 0 else "activations"), _blocked_text(records)
    means = mean_gains(records)
    faults = [what for what in means if what != "residual connections"]
    fault = min(faults, key=lambda what: means[what] if word == "vanishing" else -means[what])
    words = {what: "activation" if what == "activations" else what for what in means}
    product = " x ".join(f"{gain:.2g} ({words[what]})" for what, gain in means.items())
    return fault, (
        f" The {fault} {'is' if fault == 'normalization' else 'are'} at fault: a hidden layer's mean gain is "
        f"{math.prod(means.values()):.2g} = {product}."
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
