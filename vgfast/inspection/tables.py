"""Reports as text and as HTML: a row a layer, and the verdict."""

from __future__ import annotations

import html
import textwrap
from typing import Any

import numpy as np

from vgfast.show import shades
from vgfast.show.table import WIDTH, fit
from vgfast.show.table import as_html as table_html
from vgfast.training.tables import colour_key, factors, headings, ledger_row

_PREDICTED = 3  # the place of what theory predicts, behind the ledger
_DIVISOR = 1  # that of what Adam and its like divide by, in place of |dW|, where there is no room for both
_OVER_EPS = "rms/eps"


def _table(report: Any) -> list[tuple[str, ...]]:
    """Headings and a row a layer."""
    names, of_gain = headings(report.records), factors(report.records)
    rows = [(*names[:_PREDICTED], "predicted", *names[_PREDICTED:])]
    for l, layer in enumerate(report.layers, 1):
        cells = ledger_row(l, layer, of_gain)
        known = np.isfinite(layer.predicted_gain)
        predicted = f"{layer.predicted_low:.2g}-{layer.predicted_high:.2g}" if known else "-"
        predicted = f"{layer.predicted_gain:.2g}" if known and np.isnan(layer.predicted_low) else predicted
        rows.append((*cells[:_PREDICTED], predicted, *cells[_PREDICTED:]))
    if np.isnan(report.layers.over_eps).all():
        return rows
    column = [_OVER_EPS, *(f"{ratio:.1e}" for ratio in report.layers.over_eps)]
    beside = [(*row[: _DIVISOR + 1], cell, *row[_DIVISOR + 1 :]) for row, cell in zip(rows, column, strict=True)]
    if fit(beside, left=()).width <= WIDTH:
        return beside
    return [(*row[:_DIVISOR], cell, *row[_DIVISOR + 1 :]) for row, cell in zip(rows, column, strict=True)]


def as_text(report: Any) -> str:
    """As ``print(report)`` shows it, 80 columns wide."""
    rows = _table(report)
    lines = [*map(fit(rows, left=()).line, rows)]
    lines += textwrap.wrap(f"{report.verdict}: {report.explanation}", WIDTH)
    for remedy in report.remedies:
        lines += textwrap.wrap(remedy, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines)


def as_html(report: Any) -> str:
    """The same table with each layer's gradient norm as a colour, and the verdict; under 20 kB."""
    names, *rows = _table(report)
    places, low, high = shades.places(report.records["grad_norm"])
    table = table_html([*names, "|dW|"], rows, [[shades.colour(place)] for place in places.tolist()], "layers")
    remedies = "".join(f"<li>{html.escape(remedy)}</li>" for remedy in report.remedies)
    verdict = f"<p><b>{html.escape(report.verdict)}</b>: {html.escape(report.explanation)}</p><ul>{remedies}</ul>"
    return table + colour_key(low, high, bool(np.isnan(places).any())) + verdict
