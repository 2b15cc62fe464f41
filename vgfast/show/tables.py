"""Histories, reports and costs as tables of text and of HTML, which needs no script and no picture file."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast.inspection import report as gradients
from vgfast.training.history import History, medians

if TYPE_CHECKING:
    from vgfast.cost.report import CostReport, CostRow

# More layers than these are shown by this many, evenly chosen: a notebook keeps the page in its file.
_MOST_ROWS = 40
_STOPS = 24
# From small to large, for a terminal without colours and without Unicode.
_SHADES = ".:-=+*#%@"
# Of the colour map viridis, which the colour-blind can read too; a ninth apart.
_VIRIDIS = ("440154", "472c7a", "3b518b", "2c718e", "21908d", "27ad81", "5cc863", "aadc32", "fde725")
_ZERO = "#bbb"
_HEADS = ("layer", "|dW|", "weights x act. = gain", "step/W", "frozen", "sat.", "dead")


def mean_rows(mean: np.ndarray) -> list[tuple[str, ...]]:
    """A row a layer of what its records (L,) come to."""
    rows: list[tuple[str, ...]] = []
    for l, r in enumerate(mean, 1):
        ledger = f"{r['weight_gain']:#.3g} x {r['activation_gain']:#.3g} = {r['gain']:#.3g}"
        rows.append(
            (
                str(l),
                f"{r['grad_norm']:.2e}",
                ledger if np.isfinite(r["gain"]) else "-",
                f"{r['update_ratio']:.1e}",
                f"{r['frozen']:.1%}",
                f"{r['saturated']:.0%}",
                f"{r['dead']:.0%}",
            )
        )
    return rows


def total_gain(mean: np.ndarray) -> str:
    """One sentence on the signal from the last layer to the first."""
    first, last = float(mean["delta_norm"][0]), float(mean["delta_norm"][-1])
    if len(mean) == 1 or not 0 < last < np.inf or not np.isfinite(first):
        return ""
    share = f"{first / last:.2g} {'of' if first < last else 'times'}"
    return f"Layer 1 gets {share} layer {len(mean)}'s signal."


def exponents_over_time(history: History) -> np.ndarray:
    """(L, bins) counts of all records together; no rows without histograms."""
    return np.zeros((0, 256), np.int64) if history.exponents is None else history.exponents.sum(axis=0, dtype=np.int64)


def exponent_of(k: int, bins: int) -> int:
    """Of bin k, which holds from two to the power of it to twice that.

    >>> exponent_of(1, 256), exponent_of(1, 2048), exponent_of(127, 256)
    (-126, -1022, 0)
    """
    return k + 1 - bins // 2


def percent(count: int, of: int) -> str:
    """With one decimal, so that some are never shown as none and not all never as all.

    >>> percent(0, 9000), percent(1, 9000), percent(27, 9000), percent(8999, 9000), percent(9000, 9000)
    ('0%', '<0.1%', '0.3%', '>99.9%', '100%')
    """
    if count in (0, of):
        return "100%" if count else "0%"
    share = count / of
    return "<0.1%" if share < 0.0005 else ">99.9%" if share >= 0.9995 else f"{share:.1%}"


def exponent_lines(counts: np.ndarray) -> list[str]:
    """A line a layer on counts (L, bins): the powers of two that hold all normal numbers, the one below their median,
    and the share of those that are none.

    >>> exponent_lines(np.bincount([0, 120, 122, 122, 122], minlength=256)[None])
    ['layer 1: 2^-7 .. 2^-4, median 2^-5, 20.0% zero or subnormal']
    """
    lines = []
    for l, layer in enumerate(counts, 1):
        total, bins = int(layer.sum()), len(layer)
        text = f"{percent(int(layer[0]), total)} zero or subnormal"
        seen = np.flatnonzero(layer[1:-1]) + 1
        if len(seen):
            below = np.cumsum(layer[1:-1])
            middle = int(np.searchsorted(below, (below[-1] + 1) // 2)) + 1
            low, mid, high = (exponent_of(int(k), bins) for k in (seen[0], middle, seen[-1] + 1))
            text = f"2^{low} .. 2^{high}, median 2^{mid}, {text}"
        lines.append(f"layer {l}: {text}" + (f", {percent(int(layer[-1]), total)} not finite" if layer[-1] else ""))
    return lines


def _about(history: History) -> list[str]:
    """In sentences: how long, how it ended, how it was inspected."""
    steps, records, epochs = len(history.loss), len(history.steps), len(history.epochs)
    text = f"{steps} step{'s' * (steps != 1)} in {epochs} epoch{'s' * (epochs != 1)}."
    if epochs:
        last = (f"{name} {value:.4g}" for name, value in history.epochs[-1].items() if name != "seconds")
        text += f" The last: {', '.join(last)}."
    if not records:
        return [text, "No step was inspected; fit(..., inspect_every=10) shows where the gradient went."]
    gain = total_gain(gradients.over_time(history.gradients))
    of = f"{records} inspected step{'s' * (records != 1)}"
    return [
        text,
        f"Means over {of} (geometric, of shares arithmetic). {gain}".strip(),
    ]


def _places(norms: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(places, smallest, largest): where each norm lies between the smallest and the largest that is not 0, from 0 to 1
    by its logarithm; NaN for those that are not on a log axis."""
    seen = norms[(norms > 0) & np.isfinite(norms)]
    if not len(seen):
        return np.full(norms.shape, np.nan), np.nan, np.nan
    low, high = float(seen.min()), float(seen.max())
    with np.errstate(all="ignore"):
        logs = np.log10(norms)
        places = (logs - np.log10(low)) / (np.log10(high) - np.log10(low)) if high > low else logs * 0 + 0.5
    return np.where((norms > 0) & np.isfinite(norms), places, np.nan), low, high


def history_text(history: History) -> str:
    """As ``print(history)`` shows it, at most 80 columns wide; with a map of the gradient norms if there is room, and
    the range of the gradient's entries if there are histograms of their exponents."""
    about = [line for text in _about(history) for line in textwrap.wrap(text, gradients.WIDTH)]
    if not len(history.steps):
        return "\n".join(about)
    rows = [_HEADS, *mean_rows(gradients.over_time(history.gradients))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    room = min(gradients.WIDTH - len(lines[0]) - 2, 24)
    if room >= 6 and len(history.steps) > 1:
        places, low, high = _places(medians(history.gradients["grad_norm"], room)[1].T)
        lines[0] += "  " + "over time"[:room]
        for l, layer in enumerate(places, 1):
            shades = [_SHADES[round(p * (len(_SHADES) - 1))] if p == p else " " for p in layer]
            lines[l] += "  " + "".join(shades)
        if low == low:
            scale = f"from {low:.1e} ({_SHADES[0]}) to {high:.1e} ({_SHADES[-1]})"
            about.append(f"Over time: |dW| {scale}, by its logarithm.")
    if history.exponents is not None:
        lines.append("Entries of dW, of all inspected steps together; medians of the normal ones:")
        for line in exponent_lines(exponents_over_time(history)):
            lines += textwrap.wrap(line, gradients.WIDTH, subsequent_indent="    ")
    return "\n".join([*about, *(line.rstrip() for line in lines)])


def colour(place: float) -> str:
    """The colour from dark, 0, to bright, 1; grey for NaN.

    >>> colour(0.0), colour(0.5), colour(float("nan"))
    ('#440154', '#21908d', '#bbb')
    """
    if not 0 <= place <= 1:
        return _ZERO
    at = place * (len(_VIRIDIS) - 1)
    i = min(int(at), len(_VIRIDIS) - 2)
    ends = [[int(_VIRIDIS[j][k : k + 2], 16) for k in (0, 2, 4)] for j in (i, i + 1)]
    return "#" + "".join(f"{round(a + (at - i) * (b - a)):02x}" for a, b in zip(*ends, strict=True))


def _strip(places: Sequence[float]) -> str:
    """A cell whose background goes through the places' colours from left to right."""
    colours = [colour(p) for p in places]
    background = colours[0] if len(set(colours)) == 1 else f"linear-gradient(90deg,{','.join(colours)})"
    return f'<td style="background:{background}"></td>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], strips: Sequence[str]) -> str:
    """The rows, each with its strip behind; of too many, some."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).round().astype(int))
    cells = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in rows[i]) + strips[i] + "</tr>" for i in chosen
    )
    note = "" if len(chosen) == len(rows) else f"<p>{len(chosen)} of the {len(rows)} layers are shown.</p>"
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>{note}"


def _key(low: float, high: float, grey: bool) -> str:
    """What the colours mean."""
    text = f"colour: |dW| by its logarithm, from {low:.1e} (dark) to {high:.1e} (bright)" if low == low else ""
    also = "grey: exactly 0" if grey else ""
    return f"<p>{'; '.join(part for part in (text, also) if part)}</p>"


def history_html(history: History) -> str:
    """A table with a row a layer, and in it the course of its gradient norm as colours; under 20 kB."""
    about = "".join(f"<p>{html.escape(line)}</p>" for line in _about(history))
    if not len(history.steps):
        return about
    places, low, high = _places(medians(history.gradients["grad_norm"], _STOPS)[1].T)
    heads = (*_HEADS, f"|dW| from step {history.steps[0]} to {history.steps[-1]}")
    table = _table(
        heads, mean_rows(gradients.over_time(history.gradients)), [_strip(layer) for layer in places.tolist()]
    )
    return about + table + _key(low, high, bool(np.isnan(places).any()))


def report_html(report: Any) -> str:
    """The table of a ``GradientReport`` with each layer's gradient norm as a colour, and its verdict; under 20 kB."""
    (*heads,), *rows = report.rows()
    places, low, high = _places(report.records["grad_norm"])
    table = _table([*heads, "|dW|"], rows, [_strip([place]) for place in places.tolist()])
    remedies = "".join(f"<li>{html.escape(remedy)}</li>" for remedy in report.remedies)
    verdict = f"<p><b>{html.escape(report.verdict)}</b>: {html.escape(report.explanation)}</p><ul>{remedies}</ul>"
    return table + _key(low, high, bool(np.isnan(places).any())) + verdict


# ---- what a step costs ---------------------------------------------------------------------------------


def microseconds(seconds: float) -> str:
    """Three digits, or all that are before the point."""
    us = seconds * 1e6
    return f"{us:.2f}" if us < 9.995 else f"{us:.1f}" if us < 99.95 else f"{us:,.0f}"


def digits(value: float) -> str:
    """Three digits and a letter.

    >>> digits(51380224), digits(1290), digits(37), digits(2.5e12), digits(4e30)
    ('51.4M', '1.29k', '37', '2.5T', '4e+30')
    """
    if value >= 999.5e24:
        return f"{value:.0e}"
    letters = iter(" kMGTPEZY")
    letter = next(letters)
    while value >= 999.5:
        value, letter = value / 1000, next(letters)
    return f"{value:.3g}{letter}".rstrip()


def duration(seconds: float) -> str:
    """With a unit.

    >>> duration(3.2e-7), duration(0.00123), duration(2), duration(7300), duration(4e12)
    ('0.32 us', '1.23 ms', '2 s', '2.03 h', '1.27e+05 y')
    """
    for unit, size in (("y", 31556952), ("h", 3600), ("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError


def as_factor(factor: float | None) -> str:
    """How many times as fast: three digits, or all that are before the point.

    >>> as_factor(12345.6), as_factor(1.0345), as_factor(0.123), as_factor(None)
    ('12,346', '1.03', '0.12', '')
    """
    if factor is None:
        return ""
    return f"{factor:,.0f}" if factor >= 99.5 else f"{factor:.3g}" if factor >= 1 else f"{factor:.2f}"


def _alike_layers(report: CostReport) -> list[list[int]]:
    """Layers, in runs of those whose rows are the same work."""
    layers = report.by_layer
    work = {l: [(r.phase, r.shape, r.flops, r.functions, r.bytes) for r in rows] for l, rows in layers.items()}
    return [list(run) for _, run in groupby(layers, key=lambda l: work[l])]


def _mean_row(rows: Sequence[CostRow]) -> CostRow:
    """Of rows that are the same work."""
    if len(rows) == 1 or rows[0].measured is None:
        return rows[0]
    each = [(r.measured.median, r.measured.low, r.measured.high) for r in rows if r.measured]
    return replace(rows[0], measured=type(rows[0].measured)(*np.mean(each, axis=0).tolist()))


def _cost_cells(name: str, row: CostRow) -> str:
    """A line of the table."""
    flops = f"{digits(row.flops):>6}{digits(row.bytes):>7}{_two_digits(row.intensity):>6}" if row.bytes else " " * 19
    text = f"{name:<12}{flops}{_column_time(row.predicted):>10}"
    if row.measured:
        rates = (
            f"{_two_digits(row.rate / 1e9):>6}{_two_digits(row.bandwidth / 1e9):>6}{row.share:>6.0%}"
            if row.bytes
            else " " * 18
        )
        text += f"{_column_time(row.measured.median):>10}{rates}"
    return f"{text} {row.bound}".rstrip()


def _column_time(seconds: float) -> str:
    """In microseconds, and with a unit where those would be too many.

    >>> _column_time(0.001234), _column_time(7300)
    ('1,234', '2.03 h')
    """
    return microseconds(seconds) if seconds < 9 else duration(seconds)


def _two_digits(value: float) -> str:
    """Two digits, or all that are before the point; in five places.

    >>> [_two_digits(x) for x in (0.1667, 38.02, 204.4, 250000, 0.0, 0.0021)]
    ['0.17', '38', '204', '250k', '0', '<.01']
    """
    if 0 < value < 0.00995:
        return "<.01"
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}" if value < 9999.5 else digits(value)


def _cost_heads(measured: bool) -> list[str]:
    first = f"{'':<12}{'':>6}{'least':>7}{'FLOP':>6}{'predicted':>10}"
    second = f"{'':<12}{'FLOPs':>6}{'bytes':>7}{'/byte':>6}{'us':>10}"
    if measured:
        first += f"{'measured':>10}{'GFLOP':>6}{'GB':>6}{'of':>6}"
        second += f"{'us':>10}{'/s':>6}{'/s':>6}{'limit':>6}"
    return [first, f"{second} bound by"]


def _cost_about(report: CostReport) -> list[str]:
    """What stands above and below the table, in sentences."""
    where = f"{report.home} is the nearest that holds what the step comes back to"
    reads = ", ".join(f"{name} {rate / 1e9:.3g}" for name, rate in report.roofs.items())
    peaks = f"{report.peak / 1e9:.3g} GFLOP/s of multiply-adds, {report.product_peak / 1e9:.3g} of products"
    roofs = f"Limits: {peaks} with near operands; in GB/s, read from {reads}; {where}."
    return [f"{report.heading}.", report.formula, roofs]


def _cost_total(report: CostReport) -> str:
    text = f"{'all':<12}{digits(report.flops):>6}{digits(report.bytes):>7}{_two_digits(report.flops / report.bytes):>6}"
    text += f"{_column_time(report.predicted):>10}"
    if report.step is None:
        return text
    took, share = report.measured, report.limit / report.measured
    rates = f"{_two_digits(report.flops / took / 1e9):>6}{_two_digits(report.bytes / took / 1e9):>6}{share:>6.0%}"
    return f"{text}{_column_time(took):>10}{rates}"


def cost_text(report: CostReport) -> str:
    """As ``print(cost)`` shows it, at most 80 columns wide; layers that are the same work together, with their mean."""
    head, *below = _cost_about(report)
    lines = [*textwrap.wrap(head, gradients.WIDTH), "", *_cost_heads(report.step is not None)]
    kinds = (*report.activations, "identity")
    for run in _alike_layers(report):
        first, last = run[0], run[-1]
        share = sum(report.share_of_step(l) for l in run) / len(run)
        if first == 0:
            what = "the batch, and where threads wait" if report.threads > 1 else "the batch, and the rest"
        else:
            layers = f"layer {first}" if first == last else f"layers {first} to {last}, each"
            what = f"{layers}: {report.sizes[first - 1]} -> {report.sizes[first]}, {kinds[first - 1]}"
        lines.append(f"{what}: {share:.1%} of the time")
        alike = zip(*(report.by_layer[l] for l in run), strict=True)
        lines += [_cost_cells(f" {rows[0].phase}", _mean_row(rows)) for rows in alike]
    lines += [_cost_total(report), ""]
    for text in below:
        lines += textwrap.wrap(text, gradients.WIDTH)
    if report.step is not None and report.timed is not None:
        lines += textwrap.wrap(
            f"The step takes {microseconds(report.step.median)} us ({microseconds(report.step.low)}-"
            f"{microseconds(report.step.high)}) without timers, {microseconds(report.timed.median)} with. Of "
            f"limit: what the limit alone would take over what was measured; overhead: under half.",
            gradients.WIDTH,
        )
    return "\n".join([*lines, *textwrap.wrap(report.note, gradients.WIDTH)])
