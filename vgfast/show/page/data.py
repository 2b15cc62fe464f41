"""What a page shows, as plain data: the parts of histories, reports and costs, with their numbers packed.

Each part has, too, the HTML that is seen without scripts, as ``static``.
"""

from __future__ import annotations

import base64
import html
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgfast.show.data import plain
from vgfast.show.numbers import count
from vgfast.show.table import Table, on_one_line

# Of a history, at most: numbers of each field, records, characters of all fields, and points of the loss.
MOST_NUMBERS, MOST_RECORDS, MOST_CHARACTERS, MOST_POINTS = 40_000, 1000, 420_000, 2000
# Of a cost, at most: layers whose phases are shown.
MOST_LAYERS = 60
# What is shown of each layer and record; and of a gain's other factors those that are of some effect.
FIELDS = ("grad_norm", "update_ratio", "frozen", "saturated", "dead", "weight_gain", "activation_gain", "gain")
FACTORS = ("normalization_gain", "skip_gain")
PREDICTED = ("predicted_gain", "predicted_low", "predicted_high")
COST_TITLE = "What a training step costs"
# Bits of the mantissa that is kept, the first among them: of f24 and of d32.
_F24, _D32 = 16, 21


def packed(values: Any) -> dict[str, Any]:
    """An array as JSON can hold it in little room, in planes of bytes, compressed.

    Whole numbers are ``i32``, exact, the lowest byte of all first; or a ``list``, where one is beyond 2^31. Others are
    ``f24``: float32 rounded to three bytes, the highest first, with an error of at most 2^-16 of each; or, where that
    has no room for one, ``d32``: float64 rounded to four, where what is below 2^-1022 may become 0. NaN, infinity and
    zero stay what they are.

    >>> import numpy as np
    >>> packed(np.arange(3))["shape"], list(packed([0.5])), list(packed([1e-300])), list(packed([2**40]))
    ([3], ['shape', 'f24'], ['shape', 'd32'], ['shape', 'list'])
    """
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        if array.size and not -(2**31) <= int(array.min()) <= int(array.max()) < 2**31:
            return {"shape": list(array.shape), "list": array.ravel().tolist()}
        return {"shape": list(array.shape), "i32": _planes(array.astype("<i4"), (0, 1, 2, 3))}
    array = array.astype(np.float64)
    own = np.abs(array[np.isfinite(array) & (array != 0)])
    if not own.size or (own.min() >= 2.0**-126 and own.max() < 2.0**127):
        return {"shape": list(array.shape), "f24": _planes(_rounded(array, _F24).astype(">f4"), (0, 1, 2))}
    return {"shape": list(array.shape), "d32": _planes(_rounded(array, _D32).astype(">f8"), (0, 1, 2, 3))}


def _rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest of so many bits; what then were infinite, to the next below."""
    mantissa, exponent = np.frexp(array)
    with np.errstate(over="ignore"):
        nearest, below = (np.ldexp(f(np.ldexp(mantissa, bits)), exponent - bits) for f in (np.rint, np.trunc))
    return np.where(np.isinf(nearest), below, nearest)


def _planes(array: np.ndarray, places: Sequence[int]) -> str:
    """These bytes of all elements, one place after the other."""
    each = np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8)
    return base64.b64encode(zlib.compress(np.ascontiguousarray(each[:, places].T).tobytes(), 9)).decode()


# ---- histories -------------------------------------------------------------------------------------------


def stride(n_records: int, n_layers: int) -> int:
    """One record of so many is shown.

    >>> stride(1000, 30), stride(10**6, 30), stride(50, 10_000), stride(50, 10**6)
    (1, 1000, 13, 50)
    """
    most = min(MOST_RECORDS, max(MOST_NUMBERS // max(n_layers, 1), 1))
    return max(-(-n_records // most), 1)


def of_history(history: Any, report: Any = None, name: str = "") -> dict[str, Any]:
    """Of a ``History``; with a ``GradientReport`` on its net also theory's band, verdict and remedies."""
    n_records, n_layers = history.gradients.shape
    every, shown_fields = _thinned(history.gradients)
    about = []
    if every > 1:
        shown = -(-n_records // every)
        about.append(f"Shown are {shown:,} of {n_records:,} inspected steps, one of every {every:,}.")
    if report is not None:
        about.append("The verdict, and what theory predicts, are of the batch that net.inspect was given.")
    return {
        "kind": "history",
        "name": name,
        "about": about,
        "layers": n_layers,
        "every": every,
        **losses(history),
        "steps": packed(np.asarray(history.steps[::every], np.int64)),
        "fields": shown_fields,
        "band": band_of(report),
        "report": None if report is None else verdict_of(report),
        "static": static_of(about, report, history._repr_html_()),
    }


def static_of(about: Sequence[str], report: Any, course: str = "") -> str:
    """What is seen of a training where scripts are off; course: the HTML of its table."""
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in about)
    return sentences + course + ("" if report is None else report._repr_html_())


def title_of(history: Any) -> str:
    """Of a page of one training."""
    return f"Where the gradient went: {count(len(history.loss), 'step')}, {count(history.gradients.shape[1], 'layer')}"


def _thinned(records: np.ndarray) -> tuple[int, dict[str, Any]]:
    """(every, fields): one record of so many, packed, so that a page can go by mail."""
    every = stride(*records.shape)
    while True:
        found = fields(records[::every])
        size = sum(len(text) for field in found.values() for text in field.values() if isinstance(text, str))
        if size <= MOST_CHARACTERS or every >= len(records):
            return every, found
        every = min(max(int(np.ceil(every * size / MOST_CHARACTERS)), every + 1), len(records))


def fields(records: np.ndarray) -> dict[str, Any]:
    """What is shown of records (n, L), packed by name."""
    names = [name for name in FIELDS if name in (records.dtype.names or ())]
    names += [name for name in FACTORS if name in (records.dtype.names or ()) and (records[name][:, :-1] != 1).any()]
    return {name: packed(records[name]) for name in names}


def losses(history: Any) -> dict[str, Any]:
    """The loss over the steps, of too many in means of neighbours; and the epochs."""
    n, epochs = len(history.loss), history.epochs
    starts = np.arange(0, n, max(-(-n // MOST_POINTS), 1))
    ends = np.append(starts[1:], n)
    with np.errstate(all="ignore"):  # of a training that diverged
        loss = np.add.reduceat(history.loss, starts) / (ends - starts) if n else history.loss
    return {
        "n_steps": n,
        "loss": packed(loss),
        "loss_steps": packed((starts + ends - 1) // 2),
        "epochs": [plain(epoch) for epoch in epochs],
        "epoch_steps": [history.steps_per_epoch * number for number in range(1, len(epochs) + 1)],
    }


# ---- reports and costs -----------------------------------------------------------------------------------


def of_report(report: Any, name: str = "") -> dict[str, Any]:
    """Of a ``GradientReport``; its numbers as of a history with one record."""
    return {
        **verdict_of(report, name),
        "layers": len(report.records),
        "fields": fields(report.records[None]),
        "band": band_of(report),
        "static": report._repr_html_(),
    }


def verdict_of(report: Any, name: str = "") -> dict[str, Any]:
    """What it says, without the numbers of its layers."""
    wanted = ("verdict", "explanation", "fault", "layer", "remedies", "loss")
    return {"kind": "report", "name": name, **{key: plain(getattr(report, key)) for key in wanted}}


def band_of(report: Any) -> dict[str, Any] | None:
    """What theory says of the gains, where it says anything."""
    if report is None or np.isnan(report.predicted["predicted_gain"]).all():
        return None
    return {name: plain(report.predicted[name]) for name in PREDICTED}


def of_cost(cost: Any, name: str = "") -> dict[str, Any]:
    """Of a ``CostReport``: of many layers, the rows of some, evenly chosen, and of the batch."""
    found, n_layers = cost.to_dict(), len(cost.sizes) - 1
    shown = {0, *np.linspace(1, n_layers, min(n_layers, MOST_LAYERS)).round().astype(int).tolist()}
    rows = [
        {
            **row,
            **({} if each.bytes else dict.fromkeys(("flops", "bytes"))),  # barriers and the rest
            "measured": row["measured"] and row["measured"]["median"],
            "of_step": each.seconds / cost.seconds,
        }
        for row, each in zip(found["rows"], cost.rows, strict=True)
        if each.layer in shown
    ]
    return {
        "kind": "cost",
        "name": name,
        "about": [f"{cost.heading}.", *cost.notes],
        "layers": n_layers,
        "sizes": {str(layer): [cost.sizes[layer - 1], cost.sizes[layer]] for layer in sorted(shown - {0})},
        "measured": cost.step is not None,
        "peak": cost.peak,
        "roofs": plain(cost.roofs),
        "rows": plain(rows),
        "longest": max(row["of_step"] for row in rows),
        "static": cost._repr_html_(),
    }


def table(heading: str, rows: Table) -> dict[str, Any]:
    """A part that shows a table."""
    return {"kind": "table", "heading": heading, **rows._asdict(), "headings": [*map(on_one_line, rows.headings)]}


def picture(png: bytes, alt: str) -> dict[str, Any]:
    """A part that shows a PNG; alt: what is to be seen, in words."""
    return {"kind": "picture", "src": f"data:image/png;base64,{base64.b64encode(png).decode()}", "alt": alt}
