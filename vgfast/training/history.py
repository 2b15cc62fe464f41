"""What training returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast.model.quantities import RECORD
from vgfast.show.data import plain
from vgfast.show.numbers import count
from vgfast.training.records import over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """The course of one ``fit``. ``print`` shows what the inspected steps come to, layer by layer.

    ``loss`` (steps,) float64: the mean loss of each batch before its update.
    ``lr`` (steps,) float64: the learning rate of each step.
    ``epochs``: one dict an epoch: ``loss`` and, unless the loss is mse, ``accuracy``, both over the batches
    as they were trained on; ``val_loss`` and ``val_accuracy`` with validation data; ``seconds``. Each has
    ``steps_per_epoch`` steps; of one that was interrupted there are more, which no epoch has.
    ``gradients`` (records, layers), a structured array with one field a quantity (see ``GradientReport``);
    ``steps`` (records,): which step of this call each record is of.
    ``exponents`` (records, layers, bins) uint32 or None: with inspect="histograms", how many entries of dW_l have
    each exponent. Bin k holds those from 2^(k - 127) to twice that (float64: 2^(k - 1023)), as by the exponent bits;
    the first bin zeros and subnormals, the last what is not finite.

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(4), np.array([0, 1, 1, 0])
    >>> h = vg.MLP([4, 8, 2], rng=0).fit(X, y, epochs=3, batch_size=2, inspect_every=2)
    >>> h.loss.shape, h.gradients["grad_norm"].shape, h.steps.tolist()
    ((6,), (3, 2), [0, 2, 4])
    """

    def __init__(self, loss: np.ndarray) -> None:
        self.loss, self.lr = loss, np.zeros(0)
        self.epochs: list[dict[str, Any]] = []
        self.steps_per_epoch = 0
        self.gradients = np.zeros((0, 0), RECORD)
        self.steps = np.zeros(0, np.int64)
        self.exponents: np.ndarray | None = None

    def mean(self) -> np.ndarray:
        """(layers,) what the records come to, as ``print`` shows it: geometric means of norms, gains and ratios, so
        that the ledger's products still hold; means of shares; the largest of ``max_abs``; the median noise scale.

        Errors: ValueError without inspected steps.
        """
        self._need_records("mean")
        return over_time(self.gradients)

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={v:.4g}" for k, v in self.epochs[-1].items()) if self.epochs else "none"
        return f"History({len(self.loss)} steps, {len(self.epochs)} epochs, last: {last})"

    def __str__(self) -> str:
        from vgfast.training import tables  # here and below: imported when asked for, not with the package

        return tables.as_text(self)

    def _repr_html_(self) -> str:
        from vgfast.training import tables

        return tables.as_html(self)

    def plot(self) -> Figure:
        """A matplotlib Figure, which belongs to no window: save it with ``.savefig(path)``.

        Over the steps: the loss of the batches, each layer's gradient norm, update ratio and share of frozen weights;
        at their right the ledger: what weights and activation of each layer did to the signal on its way back.
        More than 240 records are shown as 240 columns of medians (of shares, means). With histograms of exponents, also
        how each layer's gradient entries, of all records together, spread over the powers of two.

        Errors: ValueError without inspected steps; ImportError without matplotlib.
        """
        self._need_records("plot")
        packages.require("matplotlib", "history.plot", "'vgfast[demo]'")
        from vgfast.training import figures

        return figures.draw(self)

    def save_html(self, path: str | os.PathLike[str], report: Any = None) -> None:
        """Write a page, one file that needs no server and no network: gradient norm, frozen weights and more, layer by
        step, the loss above them, and below, at the step that is chosen, the ledger of gains.

        report: what ``net.inspect(X, y, ...)`` finds, before training or after it; theory's band, the verdict and the
        remedies are its. Of many records some are shown, and the page says so; numbers are rounded to one part in
        65,536. Errors: ValueError without inspected steps and for a report on a net of another depth; TypeError for
        what is no report; OSError where the file cannot be written, the old one being as it was.

        >>> import os, tempfile, numpy as np, vgfast as vg
        >>> X, y, net = np.eye(4), [0, 1, 1, 0], vg.MLP([4, 8, 2], rng=0)
        >>> h = net.fit(X, y, epochs=9, inspect_every=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     h.save_html(os.path.join(folder, "training.html"), net.inspect(X, y))
        ...     os.listdir(folder)
        ['training.html']
        """
        from vgfast.show import page
        from vgfast.show.page import data

        self._need_records("save_html")
        name, n_layers = page.checked_path(path), self.gradients.shape[1]
        if report is not None:
            _check_report(report, n_layers)
        page.save(name, data.title_of(self), [data.of_history(self, report)])

    def to_pandas(self) -> Any:
        """A DataFrame with one row an inspected step and layer: ``step``, ``layer`` (1..L), ``loss`` of the step's
        batch, then the quantities of ``vgfast.inspection.report``; those without a value are NaN.

        Errors: ValueError without inspected steps; ImportError without pandas.
        """
        self._need_records("to_pandas")
        pd = packages.require("pandas", "history.to_pandas", "pandas")
        n, n_layers = self.gradients.shape
        keys = {
            "step": np.repeat(self.steps, n_layers),
            "layer": np.tile(np.arange(1, n_layers + 1), n),
            "loss": np.repeat(self.loss[self.steps], n_layers),
        }
        names = self.gradients.dtype.names or ()
        return pd.DataFrame({**keys, **{name: self.gradients[name].ravel() for name in names}})

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data that JSON can hold: ``loss``, ``lr``, ``epochs``, ``steps``, and ``gradients``,
        by quantity a list a record with a number a layer; NaN and infinity become None. ``exponents`` as nested lists,
        or None.

        >>> import numpy as np, vgfast as vg
        >>> h = vg.MLP([4, 8, 2], rng=0).fit(np.eye(4), [0, 1, 1, 0], epochs=2, batch_size=2, inspect_every=2)
        >>> plain = h.to_dict()
        >>> len(plain["loss"]), plain["steps"], len(plain["gradients"]["gain"]), plain["gradients"]["gain"][0][1]
        (4, [0, 2], 2, None)
        """
        names = self.gradients.dtype.names or ()
        return {
            "loss": plain(self.loss),
            "lr": plain(self.lr),
            "epochs": [{key: plain(value) for key, value in epoch.items()} for epoch in self.epochs],
            "steps": self.steps.tolist(),
            "gradients": {name: plain(self.gradients[name]) for name in names},
            "exponents": None if self.exponents is None else self.exponents.tolist(),
        }

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write JSON lines, one an inspected step: ``{"step": 0, "loss": 2.3, "gradients/layer1.weight": 0.5, ...}``.

        The names are those of ``vgfast.Log``; values that are NaN or infinite are null, so that every line has the same
        names; ``exponents`` are not among them. Errors: ValueError without inspected steps; OSError where the file
        cannot be written.
        """
        from vgfast.training import entries

        self._need_records("to_jsonl")
        entries.write_lines(self, path)

    def _need_records(self, method: str) -> None:
        if not len(self.steps):
            how = "inspect_every=10" if self.exponents is None else "inspect_every=10, inspect='histograms'"
            raise ValueError(
                f"history.{method} is about inspected steps, and none of the {len(self.loss)} steps of this "
                f"history was inspected; ask for them with fit(..., {how})"
            )


def _check_report(report: Any, n_layers: int) -> None:
    """TypeError for what is no report, ValueError for one of another depth."""
    if not all(hasattr(report, name) for name in ("verdict", "predicted", "to_dict")):
        raise TypeError(f"report must be what net.inspect(X, y) returns, got {_check.quote(report)}")
    if len(report.predicted) != n_layers:
        raise ValueError(
            f"the report must be on a net of {count(n_layers, 'layer')}, as this history is, got one of "
            f"{len(report.predicted)}; give what net.inspect(X, y) returns of the net that was trained"
        )
