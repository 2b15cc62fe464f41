"""Histories as text and as HTML: a row a layer, of what its records come to."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Collection
from typing import Any

import numpy as np

from vgfast.show import shades
from vgfast.show.numbers import count, share
from vgfast.show.table import WIDTH, fit
from vgfast.show.table import as_html as table_html
from vgfast.training import records

HEADINGS = ("layer", "|dW|", "weights x act. = gain", "step/W", "frozen", "sat.", "dead")
_LEDGER = 2
# Characters and colours for the course of a training.
_MOST, _LEAST, _STOPS = 24, 6, 24


def factors(records: np.ndarray) -> dict[str, str]:
    """The names of what makes the gains in such records (L,), and what is written above them."""
    more = {"normalization_gain": "norm", "skip_gain": "skip"}
    also = {name: short for name, short in more.items() if (records[name][:-1] != 1).any()}
    # All four leave no room for a longer name.
    return {"weight_gain": "W" if also == more else "weights", "activation_gain": "act."} | also


def headings(records: np.ndarray) -> tuple[str, ...]:
    """``HEADINGS``, with those factors."""
    return (*HEADINGS[:_LEDGER], f"{' x '.join(factors(records).values())} = gain", *HEADINGS[_LEDGER + 1 :])


def ledger_row(l: int, record: Any, names: Collection[str] = ("weight_gain", "activation_gain")) -> tuple[str, ...]:
    """Of layer l, what a record of it says, under ``headings``; names: the factors."""
    digits = 3 if len(names) < 3 else 2
    # What a layer does to a signal of which nothing comes, is not known.
    known = (f"{record[name]:#.{digits}g}" if not np.isnan(record[name]) else "-" for name in names)
    ledger = f"{' x '.join(known)} = {record['gain']:#.{digits}g}"
    return (
        str(l),
        f"{record['grad_norm']:.1e}",
        ledger if np.isfinite(record["gain"]) else "-",
        f"{record['update_ratio']:.1e}",
        f"{record['frozen']:.1%}",
        f"{record['saturated']:.0%}",
        f"{record['dead']:.0%}",
    )


def ledger_rows(mean: np.ndarray) -> list[tuple[str, ...]]:
    """A row a layer of what its records (L,) come to."""
    names = factors(mean)
    return [ledger_row(l, record, names) for l, record in enumerate(mean, 1)]


def exponent_lines(counts: np.ndarray) -> list[str]:
    """A line a layer on counts (L, bins): the powers of two that hold all normal numbers, the one below their median,
    and the share of those that are none.

    >>> exponent_lines(np.bincount([0, 120, 122, 122, 122], minlength=256)[None])
    ['layer 1: 2^-7 .. 2^-4, median 2^-5, 20.0% zero or subnormal']
    """
    lines = []
    for l, layer in enumerate(counts, 1):
        total, bins = int(layer.sum()), len(layer)
        text = f"{share(int(layer[0]), total)} zero or subnormal"
        seen = np.flatnonzero(layer[1:-1]) + 1
        if len(seen):
            below = np.cumsum(layer[1:-1])
            middle = int(np.searchsorted(below, (below[-1] + 1) // 2)) + 1
            low, mid, high = (records.exponent_of(int(k), bins) for k in (seen[0], middle, seen[-1] + 1))
            text = f"2^{low} .. 2^{high}, median 2^{mid}, {text}"
        lines.append(f"layer {l}: {text}" + (f", {share(int(layer[-1]), total)} not finite" if layer[-1] else ""))
    return lines


def _about(history: Any) -> list[str]:
    """In sentences: how long, how it ended, how it was inspected."""
    n_records = len(history.steps)
    text = f"{count(len(history.loss), 'step')} in {count(len(history.epochs), 'epoch')}."
    if history.epochs:
        last = (f"{name} {value:.4g}" for name, value in history.epochs[-1].items() if name != "seconds")
        text += f" The last: {', '.join(last)}."
    if not n_records:
        return [text, "No step was inspected; fit(..., inspect_every=10) shows where the gradient went."]
    gain = records.total_gain(records.over_time(history.gradients))
    means = f"Means over {count(n_records, 'inspected step')} (geometric, of shares arithmetic). {gain}"
    return [text, means.strip()]


def _course(history: Any, most: int) -> tuple[np.ndarray, float, float]:
    """``shades.places`` of each layer's gradient norm (L, at most ``most``)."""
    return shades.places(records.medians(history.gradients["grad_norm"], most)[1].T)


def as_text(history: Any) -> str:
    """As ``print(history)`` shows it, at most 80 columns wide; with a map of the gradient norms if there is room, and
    the range of the gradient's entries if there are histograms of their exponents."""
    about = [line for text in _about(history) for line in textwrap.wrap(text, WIDTH)]
    if not len(history.steps):
        return "\n".join(about)
    mean = records.over_time(history.gradients)
    rows = [headings(mean), *ledger_rows(mean)]
    layout = fit(rows, left=(len(HEADINGS),))
    room = min(WIDTH - layout.width - layout.gap, _MOST)
    if room >= _LEAST and len(history.steps) > 1:
        places, low, high = _course(history, room)
        course = ["over time"[:room], *("".join(map(shades.character, layer)) for layer in places.tolist())]
        rows = [(*row, cell) for row, cell in zip(rows, course, strict=True)]
        layout = fit(rows, left=(len(HEADINGS),))
        if low == low:
            least, largest = shades.CHARACTERS[0], shades.CHARACTERS[-1]
            about.append(f"Over time: |dW| from {low:.1e} ({least}) to {high:.1e} ({largest}), by its logarithm.")
    lines = [*about, *map(layout.line, rows)]
    if history.exponents is not None:
        lines.append("Entries of dW, of all inspected steps together; medians of the normal ones:")
        for line in exponent_lines(records.exponents_over_time(history.exponents)):
            lines += textwrap.wrap(line, WIDTH, subsequent_indent="    ")
    return "\n".join(lines)


def colour_key(low: float, high: float, grey: bool) -> str:
    """What the colours of a table in HTML mean."""
    text = f"colour: |dW| by its logarithm, from {low:.1e} (dark) to {high:.1e} (bright)" if low == low else ""
    also = "grey: exactly 0" if grey else ""
    return f"<p>{'; '.join(part for part in (text, also) if part)}</p>"


def as_html(history: Any) -> str:
    """A table with a row a layer, and in it the course of its gradient norm as colours; under 20 kB."""
    about = "".join(f"<p>{html.escape(line)}</p>" for line in _about(history))
    if not len(history.steps):
        return about
    places, low, high = _course(history, _STOPS)
    mean = records.over_time(history.gradients)
    names, rows = (*headings(mean), f"|dW| from step {history.steps[0]} to {history.steps[-1]}"), ledger_rows(mean)
    table = table_html(names, rows, [[*map(shades.colour, layer)] for layer in places.tolist()], "layers")
    return about + table + colour_key(low, high, bool(np.isnan(places).any()))
