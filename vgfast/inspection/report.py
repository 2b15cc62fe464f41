"""The report on one batch: the quantities of each layer (defined in ``vgfast.inspection``), and the verdict."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import _core
from vgfast._check import packages
from vgfast.inspection.verdict import Verdict, judge
from vgfast.model.dropout import Given as Dropout

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GradientReport:
    """What one batch shows of each layer, and a verdict. ``str()`` shows it.

    ``layers[l-1]`` has the quantities of ``vgfast.inspection`` as attributes; ``records`` (L,) has those that were
    measured, as a structured array. ``verdict`` is one of ``healthy``, ``vanishing``, ``exploding``, ``frozen``,
    ``saturated``, ``dead``, ``overshooting``, ``stalled`` by the rule in ``inspection.verdict``, for a training of
    ``steps`` steps, with ``explanation`` in words; ``layer``, where it begins (0: nowhere); ``fault``, such as
    ``weights`` or ``learning rate`` (see there), or ""; ``numbers``, those that it was judged by; and ``remedies`` that
    were tried on a copy of the net, with their outcome, the best first (none where there is no net to try them on).
    ``exponents`` (L, bins): see ``History``; None unless asked for.

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
        dropout: tuple[Dropout, ...] = (),
        closed: np.ndarray | None = None,
        descends: bool = True,
        expected: np.ndarray | None = None,
        over_eps: np.ndarray | None = None,
    ) -> None:
        self.records, self.loss, self.sizes, self.activations = records, loss, sizes, activations
        self.steps = steps
        self.moments, self.dropout, self.expected, self._over_eps = moments, dropout, expected, over_eps
        self.accept(judge(records, sizes, activations, steps, rows, error, one_step, inputs, closed, descends))
        self.remedies: list[str] = []
        self.exponents: np.ndarray | None = None

    def accept(self, judged: Verdict) -> None:
        """Take this verdict for the report's."""
        self.judged = judged
        self.verdict, self.explanation, self.layer, self.fault, self.numbers = judged

    @cached_property
    def predicted(self) -> np.ndarray:
        """(L,) ``predicted_gain``, ``predicted_low``, ``predicted_high``: what ``gain`` should be by the variances of
        weights, biases and inputs alone, and a 95 % band (see ``inspection.mean_field``), or with a normalization or
        residual connections without a band (``inspection.normalized_field``, ``inspection.residual_field``). NaN for
        the output layer, and for all where the report is of no one net."""
        from vgfast.inspection import finite_width

        if self.expected is not None:
            return self.expected
        if self.moments is None:
            return np.full(len(self.records), np.nan, finite_width.PREDICTION)
        with _core.standard_arithmetic():
            of_net = self.sizes, self.activations, *self.moments
            return finite_width.predict_from_moments(*of_net, dropout=self.dropout or 0.0)

    @cached_property
    def layers(self) -> np.recarray:
        """One record a layer, with all quantities and predictions as attributes."""
        both = (self.records, self.predicted)
        fields = [(name, np.float64) for part in both for name in part.dtype.names or ()]
        merged = np.empty(len(self.records), [*fields, ("over_eps", np.float64)])
        for part in both:
            for name in part.dtype.names or ():
                merged[name] = part[name]
        merged["over_eps"] = np.nan if self._over_eps is None else self._over_eps
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

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page, one file that needs no server and no network: the ledger beside what theory predicts, the
        verdict in its words and the remedies. Numbers are rounded to one part in 65,536; of many layers some are shown.

        Errors: OSError where it cannot be written, the old file being as it was; TypeError or ValueError for what names
        no file.

        >>> import os, tempfile, numpy as np, vgfast as vg
        >>> report = vg.MLP([8, 16, 2], rng=0).inspect(np.eye(8), np.arange(8) % 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report.save_html(os.path.join(folder, "report.html"))
        ...     os.listdir(folder)
        ['report.html']
        """
        from vgfast.show import page
        from vgfast.show.page import data

        page.save(page.checked_path(path), "Where the gradient goes", [data.of_report(self)])

    def __str__(self) -> str:
        from vgfast.inspection import tables  # here and below: imported when shown, not with the package

        return tables.as_text(self)

    def _repr_html_(self) -> str:
        from vgfast.inspection import tables

        return tables.as_html(self)


def as_dicts(records: np.ndarray) -> list[dict[str, float | None]]:
    """Records of layers as JSON can hold them: NaN and infinity become None."""
    names = records.dtype.names or ()
    return [{name: float(r[name]) if np.isfinite(r[name]) else None for name in names} for r in records]
