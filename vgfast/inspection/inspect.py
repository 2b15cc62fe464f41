"""An inspection, from a batch to the report: what is measured, the verdict on it, what is at fault, what helps."""

from __future__ import annotations

from functools import partial

import numpy as np

from vgfast.inspection import divergence, divisors, finite_width, overshooting, remedies, stalled
from vgfast.inspection.case import Case
from vgfast.inspection.moments import moments_of
from vgfast.inspection.report import GradientReport
from vgfast.inspection.verdict import FEWEST_STEPS
from vgfast.model.architecture import Architecture
from vgfast.model.engine import Engine
from vgfast.model.losses import LOSSES
from vgfast.model.quantities_numpy import effective_rows
from vgfast.training.settings import read_settings


def inspect(case: Case, steps: int, try_remedies: bool = True, exponents: np.ndarray | None = None) -> GradientReport:
    """The report on the case's next step, for a training of so many; with remedies, if something is wrong and they are
    wanted. exponents (1, L, bins): to be filled, or None."""
    measured = _measure(case, exponents)
    if measured is None:
        raise divergence.diagnose(case.with_dense_rows(), 0, "this batch has no finite gradient")
    return _report(case, *measured, steps, try_remedies)


def try_remedies(case: Case, steps: int, report: GradientReport) -> list[str]:
    """Sentences on what helps where this report says that something is wrong."""
    return remedies.try_remedies(case, report, lambda changed: _inspect_alone(changed, steps))


def _inspect_alone(case: Case, steps: int) -> GradientReport | None:
    """The report without remedies; None where the gradient is not finite."""
    measured = _measure(case, None)
    return None if measured is None else _report(case, *measured, steps, with_remedies=False)


def _measure(case: Case, exponents: np.ndarray | None) -> tuple[float, np.ndarray] | None:
    """(loss, records); None if they are not finite."""
    settings = read_settings(case.optimizer, case.engine.architecture.dtype)
    return case.engine.inspect(case.x, case.t, settings, case.current_state, exponents, case.sample_weight)


def _report(case: Case, loss: float, records: np.ndarray, steps: int, with_remedies: bool) -> GradientReport:
    net, rows, closed = case.engine.architecture, len(case.x), _closed_layers(case.engine)
    over_eps = divisors.measure_over_eps(case)
    error = _measure_error(net, records, effective_rows(rows, case.sample_weight))
    case = case.with_dense_rows()
    judge = partial(
        GradientReport,
        records,
        loss,
        net.sizes,
        net.activations,
        steps,
        rows,
        moments=take_moments(case.engine, case.x),
        expected=_predict_without_band(case),
        error=error,
        one_step=True,
        descends=case.descends,
        dropout=net.dropout,
        closed=closed,
        over_eps=over_eps,
    )
    report = judge()
    if over_eps is not None and report.verdict == "vanishing" and (why := divisors.tell_below(over_eps)):
        report.accept(report.judged._replace(explanation=f"{report.explanation} {why}"))
    if report.verdict in ("healthy", "frozen"):
        found = overshooting.find_overshooting(case, records, loss, max(steps, FEWEST_STEPS), with_remedies)
        if found:
            report.accept(found[0]._replace(numbers=report.numbers | found[0].numbers))
            report.remedies = found[1]
            return report
    if report.verdict in ("healthy", "frozen") and not closed.any():
        _find_stalled(case, report, steps)
    inputs = remedies.find_fault_of_inputs(case, report.judged, lambda changed: _inspect_alone(changed, steps))
    if inputs:
        report = judge(inputs=inputs)
    if with_remedies and report.verdict != "healthy":
        report.remedies = try_remedies(case, steps, report)
    return report


def _find_stalled(case: Case, report: GradientReport, steps: int) -> None:
    """Take that verdict on a report that is healthy otherwise, if it holds; its numbers in any case."""
    reach = stalled.measure_reach(case, steps)
    if reach is None:
        return
    report.numbers |= reach.numbers
    found = stalled.judge_reach(case, report.records, reach, steps) if report.verdict == "healthy" else None
    if found:
        report.accept(found._replace(numbers=report.numbers))


def _closed_layers(engine: Engine) -> np.ndarray:
    """(L,) whether a layer lies in a block with a learned scale, or gains, or weights of 0 behind it: it will have a
    gradient when those have moved."""
    net = engine.architecture
    closed = np.zeros(net.n_layers, bool)
    for first, last in net.blocks:
        behind = engine.scales.get(last), engine.gains[last - 1]
        if any(part is not None and part.size and not part.any() for part in behind):
            closed[first - 1 : last] = True
        elif not engine.weights[last - 1].any():
            closed[first - 1 : last - 1] = True
    return closed


def _measure_error(net: Architecture, records: np.ndarray, rows: float) -> float | None:
    """The root mean square, over so many (effective) rows, of |p - t|; None where outputs are no probabilities."""
    loss = LOSSES[net.loss]
    if not loss.has_accuracy:
        return None
    error = float(np.sqrt(rows) * records["delta_norm"][-1])  # delta_L: p - t over the terms of the mean
    return error * net.sizes[-1] if loss.averages_outputs else error


def _predict_without_band(case: Case) -> np.ndarray | None:
    """(L,) records for a net with a normalization or residual connections; None where parameters are beyond the range
    of float64."""
    try:
        with np.errstate(over="ignore"):
            return finite_width.predict_without_band(case.engine, case.x)
    except ValueError:
        return None


def take_moments(engine: Engine, x: np.ndarray) -> tuple[list[float], list[float], list[float]] | None:
    """What gains are predicted from; None where a square is beyond the range of float64, and of nets of which it is not
    enough."""
    net = engine.architecture
    if net.normalization is not None or net.residual is not None:
        return None
    try:
        with np.errstate(over="ignore"):
            found = moments_of(engine.weights, engine.biases, x)
    except ValueError:
        return None
    return found if np.isfinite(np.concatenate(found)).all() else None
