"""The report on one batch: the quantities of each layer (defined in ``vgfast.inspection``), and the verdict."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vgfast import _core
from vgfast._check import packages
from vgfast.inspection.verdict import FEWEST_STEPS, Verdict, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Gradients(NamedTuple):
    """The whole gradient of the mean loss of one batch, or of what ``backward`` was given.

    ``weights[l-1]`` (n_in, n_out) and ``biases[l-1]`` (n_out,) are views of ``flat`` (n_params,), which is
    ordered like ``net.params``; ``deltas[l-1]`` (rows, n_l) is dloss/dz_l.
    """

    loss: float
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    deltas: list[np.ndarray]
    flat: np.ndarray


class GradientReport:
    """What one batch tells about each layer, and a verdict. ``str()`` shows it.

    ``layers[l-1]`` has the quantities of ``vgfast.inspection`` as attributes; ``records`` (L,) has those that were
    measured, as a structured array. ``verdict`` is one of ``healthy``, ``vanishing``, ``exploding``, ``frozen``,
    ``saturated``, ``dead``, ``overshooting`` by the rule in ``inspection.verdict``, for a training of ``steps`` steps,
    with ``explanation`` in words; ``layer``, where it begins (0: nowhere); ``fault``, such as ``weights`` or ``learning
    rate`` (see there), or ""; ``numbers``, those that it was judged by; and ``remedies`` that were tried on a copy of
    the net, with what came of them, the best first (none where there is no net to try them on). ``exponents`` (L,
    bins): see ``History``; None unless asked for.

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(8), np.arange(8) % 2
    >>> net = vg.MLP([8, *[16] * 8, 2], "sigmoid", rng=0)
    >>> report = net.inspect(X, y, optimizer=vg.SGD(lr=10.0))
    >>> report.verdict, bool(report.layers[0].gain < 0.25)
    ('vanishing', True)
    >>> net = vg.MLP([8, *[16] * 8, 2], "relu", rng=0)
    >>> net.inspect(X, y, optimizer=vg.SGD(lr=0.01)).verdict
    'healthy'
    >>> net.inspect(X, y, optimizer=vg.SGD(lr=1e-9)).verdict
    'frozen'
    >>> report = net.inspect(X, y, optimizer=vg.SGD(lr=1e6))
    >>> report.verdict, report.fault
    ('overshooting', 'learning rate')
    """

    def __init__(
        self,
        records: np.ndarray,
        loss: float,
        sizes: tuple[int, ...],
        activations: tuple[str, ...],
        steps: int,
        rows: int,
        moments: tuple[list[float], list[float], list[float]] | None = None,
        error: float | None = None,
        one_step: bool = False,
        inputs: str = "",
    ) -> None:
        self.records, self.loss, self.sizes, self.activations = records, loss, sizes, activations
        self.steps = steps
        self.moments = moments
        self.accept(judge(records, sizes, activations, steps, rows, error, one_step, inputs))
        self.remedies: list[str] = []
        self.exponents: np.ndarray | None = None

    def accept(self, judged: Verdict) -> None:
        """Take this verdict for the report's."""
        self.judged = judged
        self.verdict, self.explanation, self.layer, self.fault, self.numbers = judged

    @cached_property
    def predicted(self) -> np.ndarray:
        """(L,) ``predicted_gain``, ``predicted_low``, ``predicted_high``: what ``gain`` should be by the variances of
        weights, biases and inputs alone, and a 95 % band (see ``inspection.mean_field``). NaN for the output layer, and
        for all where the report is of no one net."""
        from vgfast.inspection import mean_field

        if self.moments is None:
            return np.full(len(self.records), np.nan, mean_field.PREDICTION)
        with _core.standard_arithmetic():
            return mean_field.predict_from_moments(self.sizes, self.activations, *self.moments)

    @cached_property
    def layers(self) -> np.recarray:
        """One record a layer, with all quantities and predictions as attributes."""
        both = (self.records, self.predicted)
        fields = [(name, np.float64) for part in both for name in part.dtype.names or ()]
        merged = np.empty(len(self.records), fields)
        for part in both:
            for name in part.dtype.names or ():
                merged[name] = part[name]
        return merged.view(np.recarray)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data; quantities without a value are None."""
        return {
            "verdict": self.verdict,
            "explanation": self.explanation,
            "layer": self.layer,
            "fault": self.fault,
            "remedies": list(self.remedies),
            "numbers": dict(self.numbers),
            "loss": self.loss,
            "layers": as_dicts(self.layers),
            "exponents": None if self.exponents is None else self.exponents.tolist(),
        }

    def to_pandas(self) -> Any:
        """A DataFrame with one row a layer; ImportError without pandas."""
        pd = packages.require("pandas", "report.to_pandas", "pandas")
        return pd.DataFrame(np.asarray(self.layers), index=pd.Index(range(1, len(self.records) + 1), name="layer"))

    def plot(self) -> Figure:
        """A matplotlib Figure, which belongs to no window: save it with ``.savefig(path)``.

        Gradient and delta norms over the layers, the ledger, and the exponents if they were counted. ImportError
        without matplotlib.
        """
        packages.require("matplotlib", "report.plot", "'vgfast[demo]'")
        from vgfast.inspection import figures

        return figures.draw(self)

    def __str__(self) -> str:
        from vgfast.inspection import tables  # here and below: imported when shown, not with the package

        return tables.as_text(self)

    def _repr_html_(self) -> str:
        from vgfast.inspection import tables

        return tables.as_html(self)


def reported(
    net: Any, x: np.ndarray, t: np.ndarray, optimizer: Any, record: np.ndarray, loss: float, steps: int, tried: bool
) -> GradientReport:
    """The report on this net and batch, with remedies tried if something is wrong and that is wanted."""
    from vgfast.inspection import mean_field, overshooting, remedies, trials  # only read when a net is inspected

    try:
        with np.errstate(over="ignore"):
            moments = mean_field.moments(net, x)
    except ValueError:  # squares beyond the range of float64
        moments = None
    if moments is not None and not np.isfinite(np.concatenate(moments)).all():
        moments = None
    error = float(np.sqrt(len(x)) * record["delta_norm"][-1])  # root mean square, over the rows, of |p - t|
    known = {"cross_entropy": error, "binary_cross_entropy": error * net.sizes[-1]}.get(net.loss)
    facts = (record, loss, net.sizes, net.activations, steps, len(x), moments, known, True)
    report = GradientReport(*facts)
    if report.verdict in ("healthy", "frozen"):
        case = trials.Case(net, x, t, optimizer)
        found = overshooting.found(case, record, loss, max(steps, FEWEST_STEPS), tried)
        if found:
            report.accept(found[0]._replace(numbers=report.numbers | found[0].numbers))
            report.remedies = found[1]
            return report
    inputs = remedies.inputs_at_fault(net, x, t, optimizer, steps, report.judged)
    if inputs:
        report = GradientReport(*facts, inputs)
    if tried and report.verdict != "healthy":
        report.remedies = remedies.tried(net, x, t, optimizer, steps, report)
    return report


def as_dicts(records: np.ndarray) -> list[dict[str, float | None]]:
    """Records of layers as JSON can hold them: NaN and infinity become None."""
    names = records.dtype.names or ()
    return [{name: float(r[name]) if np.isfinite(r[name]) else None for name in names} for r in records]


def _row_norms(x: np.ndarray) -> np.ndarray:
    """(rows,) in float64, scaled so that no square leaves its range."""
    x = np.asarray(x, np.float64)
    largest = np.abs(x).max(axis=1)
    scale = np.where(largest > 0, largest, 1)
    return scale * np.sqrt(np.square(x / scale[:, None]).sum(axis=1))


def sample_norms(inputs: list[np.ndarray], deltas: list[np.ndarray]) -> np.ndarray:
    """(rows, L) from each layer's inputs (rows, n_in) and deltas (rows, n_out) of the mean loss."""
    rows = len(deltas[0])
    return rows * np.stack([_row_norms(d) * np.hypot(_row_norms(a), 1) for a, d in zip(inputs, deltas, strict=True)], 1)
