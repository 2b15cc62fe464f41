"""Remedies, tried: each is applied to a copy of the net, the same batch is inspected again, and those that help are
reported, the best first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from vgfast.inspection.case import TINY, Case, measure_shut_shares, scale_to_unit
from vgfast.inspection.report import GradientReport
from vgfast.inspection.verdict import Verdict, stuck_shares
from vgfast.model import init, norm, residual
from vgfast.model.activations import SQUASHING
from vgfast.training.optimizers import Adam

# The report on a case, without remedies; None where its gradient is not finite; ValueError for a rate beyond its dtype.
Inspect = Callable[[Case], GradientReport | None]

# The factors by which a learning rate is raised until updates reach the weights, and where that ends.
_RAISE, _RAISE_MOST = 10.0, 1e12
# The most rows, evenly spaced, that are tried to find out whether the inputs are at fault.
_ROWS = 1024
# The most remedies that are told, and arguments of which only the best value is.
_SHOWN, _TOLD_ONCE = 7, ("new first weights, init", "normalization", "residual")
# What they are tried with.
_NORMALIZATIONS = {"'batch'": norm.batch(), "vg.norm.layer(place='after')": norm.layer(place="after")}
_SCALES = (residual.LEARNED, residual.ROOT)
# The most rows, evenly spaced, that first weights are measured by.
_MEASURED = 256
# What does not heal has to take a tenth of the trouble away to be reported.
_NOTICEABLE = 0.9


def _restart(rule: str, activation: str | None, case: Case, records: np.ndarray) -> Case:
    return case.restart(rule, activation)


def _use_lsuv(case: Case, records: np.ndarray) -> Case:
    return case.restart(init.lsuv(case.x[:: -(-len(case.x) // _MEASURED)]))


def _use_adam(case: Case, records: np.ndarray) -> Case:
    return case._replace(optimizer=Adam(), state=None)


def _use_leaky_relu(case: Case, records: np.ndarray) -> Case:
    net = case.engine.architecture
    leaky = net._replace(activations=("leaky_relu",) * len(net.activations))
    return case._replace(engine=case.engine.make_like(leaky, case.engine.vector))


def _use_normalization(how: norm.Normalization, case: Case, records: np.ndarray) -> Case:
    net = case.engine.architecture._replace(normalization=how)
    net.check_batch_size(len(case.x), case.batch_size)
    return case.rebuild(net)


def _use_residual(scale: str, case: Case, records: np.ndarray) -> Case:
    """ValueError where layers are not equally wide."""
    net = case.engine.architecture
    return case.rebuild(net._replace(residual=residual.checked(residual.residual(scale=scale), net.sizes)))


def _remove_biases(case: Case, records: np.ndarray) -> Case:
    engine = case.engine.copy()
    for b in engine.biases:
        b[...] = 0
    return case._replace(engine=engine)


def _rescale(case: Case, records: np.ndarray) -> Case:
    """W_{l+1} divided by what layer l gains, so that it would gain 1 if its derivatives stayed as they are."""
    engine = case.engine.copy()
    for l, gain in enumerate(records["gain"][:-1]):
        if 0 < gain < np.inf:
            engine.weights[l + 1][...] /= engine.params.dtype.type(np.clip(gain, 1e-6, 1e6))
    return case._replace(engine=engine, state=None)


def _standardise(case: Case, records: np.ndarray) -> Case:
    if (case.x == case.x[0]).all():
        raise ValueError("rows that are all alike have no variance to scale")
    return _scale(case, records)


def _scale(case: Case, records: np.ndarray) -> Case:
    return case._replace(x=scale_to_unit(case.x))


def _widen(case: Case, records: np.ndarray) -> Case:
    return case.widen()


def _raise_rate(verdict: Verdict, case: Case, records: np.ndarray) -> Case:
    """A learning rate raised by powers of ten until, by ‖lr dW‖ / ‖W‖, the slowest layer's typical update is some
    units in the last place, and the net is not stalled by its rate."""
    ratios = records["update_ratio"][records["update_ratio"] > 0]
    needed = verdict.numbers.get("stalled_below_rate", 0.0) / case.optimizer.lr
    if len(ratios):
        needed = max(needed, 8 * np.finfo(case.x.dtype).eps / float(ratios.min()))
    factor = 1.0
    while factor < needed and factor < _RAISE_MOST:
        factor *= _RAISE
    if factor == 1:
        raise ValueError("the learning rate is not what keeps these weights")
    return case.with_optimizer(lr=case.optimizer.lr * factor)


def find_fault_of_inputs(case: Case, judged: Verdict, inspect: Inspect) -> str:
    """Why the inputs are to blame for this verdict, tried with others on unit scale; "" if they are not."""
    if judged.word not in ("dead", "saturated", "frozen"):
        return ""
    x = case.x
    size = float(np.abs(x).max())
    zero = "the inputs are at fault: every input of this batch is 0"
    why = f"the inputs are at fault, whose largest value is {size:.2g}: with inputs of mean 0 and variance 1"
    if judged.word == "frozen":
        report = inspect(case._replace(x=scale_to_unit(x))) if size < TINY else None
        if report is None or report.verdict == "frozen":
            return ""
        return zero if size == 0 else f"{why} the net would be {report.verdict}"
    if size == 0:  # where all is 0 but the biases, nothing is known of the weights
        return f"{zero}, which leaves nothing but the biases"
    rows = x[:: -(-len(x) // _ROWS)]
    which = 0 if judged.word == "dead" else 1
    with np.errstate(all="ignore"):
        was, now = (
            float(measure_shut_shares(case.engine, a)[which][judged.layer - 1]) for a in (rows, scale_to_unit(rows))
        )
    return f"{why} it would be {now:.0%}" if now <= was / 2 else ""


_Remedy = tuple[str, Callable[..., Case]]


def propose(case: Case, verdict: Verdict) -> Iterator[_Remedy]:
    """(what, how) of the remedies that may help."""
    net = case.engine.architecture
    squashing = bool(set(net.activations) & set(SQUASHING))
    if verdict.fault == "inputs" and not case.x.any():
        yield "inputs that are not all 0 (random ones were tried)", _scale
        return
    if verdict.word in ("frozen", "stalled"):
        yield "a larger lr", partial(_raise_rate, verdict)
    if verdict.word == "frozen" and net.dtype == np.float32:
        yield "dtype='float64'", _widen
    if verdict.word == "dead":
        yield "biases of 0", _remove_biases
        yield "activation='leaky_relu'", _use_leaky_relu
    if verdict.word in ("saturated", "dead") or verdict.fault == "inputs":
        yield "inputs scaled to mean 0 and variance 1", _standardise
    if verdict.word in ("vanishing", "exploding", "stalled"):
        yield "each layer's weights divided by the gain of the layer before", _rescale
    if squashing:
        yield "activation='relu' with init='he_normal'", partial(_restart, "he_normal", "relu")
        if set(net.activations) != {"tanh"}:
            yield "activation='tanh' with init='critical'", partial(_restart, "critical", "tanh")
    yield from _propose_others(case, verdict)
    yield "new first weights, init='auto'", partial(_restart, "auto", None)
    if verdict.word in ("vanishing", "exploding", "stalled") and verdict.fault == "weights":
        for rule in ("critical", "orthogonal"):
            yield f"new first weights, init={rule!r}", partial(_restart, rule, None)
        yield "new first weights, init=vg.init.lsuv(X)", _use_lsuv
    if verdict.word == "vanishing" and case.descends:
        yield f"optimizer=vg.Adam(lr={Adam().lr:g})", _use_adam


def _propose_others(case: Case, verdict: Verdict) -> Iterator[_Remedy]:
    """A normalization, or residual connections, of nets with neither, which keep their weights. Of a scale of 0
    nothing can be said that is about all steps of a training."""
    net = case.engine.architecture
    if net.normalization is not None or net.residual is not None or not net.activations:
        return
    if verdict.word in ("vanishing", "exploding", "stalled", "saturated", "dead") and verdict.fault != "learning rate":
        for name, how in _NORMALIZATIONS.items():
            yield f"normalization={name}", partial(_use_normalization, how)
    if verdict.word in ("vanishing", "exploding", "stalled") and verdict.fault != "learning rate":
        for scale in _SCALES:
            if verdict.word != "stalled" or scale != residual.LEARNED:
                yield f"residual=vg.residual(scale={scale!r})", partial(_use_residual, scale)


def try_remedies(case: Case, report: GradientReport, inspect: Inspect) -> list[str]:
    """Sentences on those that help most, the best first: those that leave the net healthy, then by how near the gain is
    to 1 or, of frozen weights, by their share."""
    found, names = [], []
    for what, apply in propose(case, report.judged):
        with np.errstate(all="ignore"):
            try:
                changed = apply(case, report.records)
                after = inspect(changed)
            except (ArithmeticError, ValueError):
                continue  # it does not apply
        if after is None or "total_gain" not in after.numbers:
            continue  # it leaves something that is not finite, or no gradient to compare
        lr = changed.optimizer.lr
        raised = lr != case.optimizer.lr and type(changed.optimizer) is type(case.optimizer)
        name = f"lr={lr:.2g}" if raised else what
        names.append(name)
        (ill, trouble), (_, before) = _trouble(report, after), _trouble(report, report)
        if not ill or trouble < _NOTICEABLE * before:
            found.append((_trouble(report, after), f"{name}: {_outcome(report, after)}"))
    if not found:
        return [f"none helped of what was tried: {', '.join(names)}"]
    return _best([sentence for _, sentence in sorted(found, key=lambda one: one[0])])


def _best(sentences: list[str]) -> list[str]:
    """Those that are told, of these, the best first."""
    told: list[str] = []
    for sentence in sentences:
        argument = sentence.partition("=")[0]
        if argument not in _TOLD_ONCE or not any(one.startswith(f"{argument}=") for one in told):
            told.append(sentence)
    return told[:_SHOWN]


def _trouble(first: Any, report: Any) -> tuple[bool, float]:
    """(whether something is wrong, how much), less being better: the share of frozen weights, if the first report
    complains of those, or else how far the gain is from 1."""
    if first.verdict == "frozen":
        return report.verdict != "healthy", float(stuck_shares(report.records).max())
    gain = report.numbers.get("total_gain", 1.0)
    return report.verdict != "healthy", abs(math.log(gain)) if 0 < gain < math.inf else math.inf


def _outcome(before: Any, after: Any) -> str:
    """What was measured: the gain, or the share of weights that stand still where that is the trouble."""
    if before.verdict == "frozen":
        was, now = (float(stuck_shares(report.records).max()) for report in (before, after))
        return f"{now:.0%} of a layer's weights stuck at most, instead of {was:.0%} ({after.verdict})"
    if before.verdict == "stalled":
        was, now = (report.numbers.get("moved_by_training", math.nan) for report in (before, after))
        return f"all steps move the layers by {now:.2g} of their weights instead of {was:.2g} ({after.verdict})"
    if "step_share" in after.numbers and "step_share" not in before.numbers:
        share, gain = after.numbers["step_share"], after.numbers["total_gain"]
        return (
            f"the gain stays {gain:.2g}, but steps of layer 1 are {share:.2g} times the last layer's ({after.verdict})"
        )
    was, now = (report.numbers.get("total_gain", math.nan) for report in (before, after))
    return f"gain over all layers {now:.2g} instead of {was:.2g} ({after.verdict})"
