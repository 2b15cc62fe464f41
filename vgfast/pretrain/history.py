"""What pre-training a layer recorded, an epoch a row."""

from __future__ import annotations

from typing import Any

from vgfast.show.table import Table, as_html, lines

_HEADINGS = {
    "loss": "loss",
    "reconstruction_error": "reconstruction",
    "val_loss": "val. loss",
    "pseudo_likelihood": "pseudo-lik.",
    "free_energy_gap": "gap",
    "weight_norm": "|W|",
    "update_ratio": "step/W",
    "frozen": "frozen",
}


class PretrainHistory:
    """``epochs``: a dict for each, of

    - ``seconds``;
    - ``loss`` of an autoencoder: the mean over the epoch, of masked inputs; of a Boltzmann machine
      ``reconstruction_error``: the mean square of v - E[v | h], h drawn from P(h | v), on some rows;
    - with rows that are held out ``val_loss``, or ``pseudo_likelihood``, the mean over those rows, and
      ``free_energy_gap``, their mean free energy less that of as many rows of the data: it grows when the machine
      learns the data by heart;
    - ``weight_norm``, and of the last step ``update_ratio``, the norm of its change of the weights over theirs, and
      ``frozen``, the share of weights that it did not change by rounding.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []

    def __str__(self) -> str:
        if not self.epochs:
            return "No epoch yet."
        return "\n".join(lines(self._table()))

    def _repr_html_(self) -> str:
        if not self.epochs:
            return "<p>No epoch yet.</p>"
        table = self._table()
        return as_html(table.headings, table.rows, what="epochs")

    def _table(self) -> Table:
        names = [name for name in _HEADINGS if name in self.epochs[-1]]
        rows = [
            (str(i), *(f"{epoch[name]:.1%}" if name == "frozen" else f"{epoch[name]:.4g}" for name in names))
            for i, epoch in enumerate(self.epochs, 1)
        ]
        return Table(("epoch", *(_HEADINGS[name] for name in names)), rows)

    def __repr__(self) -> str:
        return f"<PretrainHistory of {len(self.epochs)} epochs; print it to see them>"
