"""A cost as text: a row a phase of each layer, and what it must take; and a row a number of workers."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from vgfast.show.numbers import count, duration, microseconds, percent, scaled, significant
from vgfast.show.table import WIDTH, Layout, Table, fit
from vgfast.show.table import as_html as table_html

# What is counted and predicted; then what is measured; at last, what bounds it.
_COUNTED = ("", "\nFLOPs", "least\nbytes", "FLOP\n/byte", "predicted\nus")
_MEASURED = ("measured\nus", "GFLOP\n/s", "GB\n/s", "of\nlimit")
_STATIC_LAYOUT = Layout((12, 5, 6, 5, 9, 0), left=(0, 5))
_LAYOUT = Layout((12, 5, 6, 5, 9, 9, 5, 5, 5, 0), left=(0, 9))


def name_sizes(sizes: Sequence[int]) -> str:
    """A net by its sizes, or by how many layers it has.

    >>> name_sizes([784, 30, 10]), name_sizes([8] * 101)
    ('784-30-10', '100 layers')
    """
    return "-".join(map(str, sizes)) if len(sizes) < 12 else f"{len(sizes) - 1} layers"


def _alike_layers(report: Any) -> list[list[int]]:
    """Layers, in runs of those whose rows are the same work."""
    layers = report.by_layer
    work = {l: [(r.phase, r.shape, r.flops, r.functions, r.bytes) for r in rows] for l, rows in layers.items()}
    return [list(run) for _, run in groupby(layers, key=lambda l: work[l])]


def _mean_row(rows: Sequence[Any]) -> Any:
    """Of rows that are the same work."""
    if len(rows) == 1 or rows[0].measured is None:
        return rows[0]
    each = [(r.measured.median, r.measured.low, r.measured.high) for r in rows if r.measured]
    return replace(rows[0], measured=type(rows[0].measured)(*np.mean(each, axis=0).tolist()))


def _time(seconds: float) -> str:
    """In microseconds, and with a unit where those would be too many.

    >>> _time(0.001234), _time(7300)
    ('1,234', '2.03 h')
    """
    return microseconds(seconds) if seconds < 0.9999995 else duration(seconds)


def _rate(value: float) -> str:
    """In five places.

    >>> [_rate(x) for x in (0.1667, 38.02, 204.4, 250000, 0.0, 0.0021)]
    ['0.17', '38', '204', '250k', '0', '<.01']
    """
    return "<.01" if 0 < value < 0.00995 else scaled(value, 2)


def _counted(name: str, flops: int, n_bytes: int, predicted: float) -> list[str]:
    """The first cells of a row."""
    counts = [scaled(flops), scaled(n_bytes), _rate(flops / n_bytes)] if n_bytes else [""] * 3
    return [name, *counts, _time(predicted)]


def _measured(took: float, rate: float, bandwidth: float, share: float) -> list[str]:
    """Those of what was measured."""
    return [_time(took), _rate(rate / 1e9), _rate(bandwidth / 1e9), f"{share:.0%}"]


def _row(name: str, row: Any) -> list[str]:
    cells = _counted(name, row.flops, row.bytes, row.predicted)
    if row.measured:
        measured = _measured(row.measured.median, row.rate, row.bandwidth, row.share)
        cells += measured if row.bytes else [measured[0], "", "", ""]
    return [*cells, row.bound]


def _total(report: Any) -> list[str]:
    cells = _counted("all", report.flops, report.bytes, report.predicted)
    if report.step is not None:
        took = report.measured
        cells += _measured(took, report.flops / took, report.bytes / took, report.limit / took)
    return cells


def _title(report: Any, run: Sequence[int]) -> str:
    """Of a run of layers."""
    first, last = run[0], run[-1]
    share = sum(report.share_of_step(l) for l in run) / len(run)
    if first == 0:
        what = "the batch, and where threads wait" if report.threads > 1 else "the batch, and the rest"
    else:
        kind = (*report.activations, "identity")[first - 1]
        layers = f"layer {first}" if first == last else f"layers {first} to {last}, each"
        what = f"{layers}: {report.sizes[first - 1]} -> {report.sizes[first]}, {kind}"
    return f"{what}: {share:.1%} of the time"


def _limits(report: Any) -> str:
    where = f"{report.home} is the nearest that holds what the step comes back to"
    reads = ", ".join(f"{name} {rate / 1e9:.3g}" for name, rate in report.roofs.items())
    peaks = f"{report.peak / 1e9:.3g} GFLOP/s of multiply-adds, {report.product_peak / 1e9:.3g} of products"
    return f"Limits: {peaks} with near operands; in GB/s, read from {reads}; {where}."


def _timers(report: Any) -> str:
    step, timed = report.step, report.timed
    return (
        f"The step takes {microseconds(step.median)} us ({microseconds(step.low)}-{microseconds(step.high)}) without "
        f"timers, {microseconds(timed.median)} with. Of limit: what the limit alone would take over what was measured; "
        "overhead: under half."
    )


def _table(report: Any) -> Table:
    """Layers that are the same work together, with their mean, below a row of one cell that says which."""
    headings = (*_COUNTED, *(_MEASURED if report.step is not None else ()), "\nbound by")
    rows: list[list[str]] = []
    for run in _alike_layers(report):
        rows.append([_title(report, run)])
        alike = zip(*(report.by_layer[l] for l in run), strict=True)
        rows += [_row(f" {of_phase[0].phase}", _mean_row(of_phase)) for of_phase in alike]
    return Table(headings, [*rows, _total(report)])


def notes(report: Any) -> list[str]:
    """What the table stands on."""
    timers = [_timers(report)] if report.step is not None and report.timed is not None else []
    return [note for note in (report.formula, _limits(report), *timers, report.note) if note]


def as_text(report: Any) -> str:
    """As ``print(cost)`` shows it, at most 80 columns wide."""
    table, layout = _table(report), _STATIC_LAYOUT if report.step is None else _LAYOUT
    lines = [*textwrap.wrap(f"{report.heading}.", WIDTH), "", *layout.heading(table.headings)]
    lines += [row[0] if len(row) == 1 else layout.line(row) for row in table.rows]
    return "\n".join([*lines, "", *(line for note in notes(report) for line in textwrap.wrap(note, WIDTH))])


def as_html(report: Any) -> str:
    """The same as HTML; of many layers that differ, some rows."""
    table = _table(report)
    about = [f"{report.heading}.", *notes(report)]
    above, *below = (f"<p>{html.escape(sentence)}</p>" for sentence in about)
    return above + table_html(table.headings, table.rows, what="rows") + "".join(below)


# ---- several machines ------------------------------------------------------------------------------------

_WORKERS = ("\n\nworkers", "\nstep\nus", "\nexchange\nus", "\nshare of\nexchange", "times\nas\nfast")
_WORTH = ("\neffi-\nciency", "rows a\nworker\nfor 50%", "\n\nfor 90%")


def _whole(n: int | None) -> str:
    """All digits, or three and a letter where there are too many.

    >>> _whole(1024), _whole(2 * 10**9), _whole(None)
    ('1,024', '2G', 'never')
    """
    return "never" if n is None else f"{n:,}" if n < 10**7 else scaled(n)


def _scaling_row(row: Any, jitter: float) -> list[str]:
    cells = [_whole(row.workers), _time(row.step), _time(row.exchange), percent(row.share_of_exchange)]
    cells[2:2] = [_time(row.waiting)] if jitter else []
    worth = [significant(row.speedup), percent(row.efficiency)]
    return [*cells, *worth, *map(_whole, (row.rows_for_half, row.rows_for_nine_tenths))]


def _scaling_notes(report: Any) -> list[str]:
    """What the figures stand on."""
    worker, network = report.worker, report.network
    how = "measured" if worker.measured else "predicted"
    notes = [
        f"A step alone takes {duration(worker.seconds)}, {how}, with {count(worker.threads, 'thread')}"
        + (f", and with its gradient in memory {duration(worker.in_memory)}" if worker.in_memory else "")
        + ". The rest is computed and was run on one machine only: a worker is a machine like this one, takes its own "
        "rows, and exchanges nothing while it computes. Rows a worker for 50% and 90%: were a step's time in "
        "proportion to its rows.",
        f"Bandwidth and latency of {network.name}: {network.source}.",
    ]
    if report.jitter:
        notes.append(
            f"Waiting for the slowest worker, where a step's computing has a standard deviation of {report.jitter:.3g} "
            "of its mean: an upper estimate."
        )
    if report.noise_scale is not None:
        notes.append(
            f"Of use to learning: {_whole(report.useful_workers)} of them. With more, a step has more rows than the "
            f"gradient noise scale, {_whole(round(report.noise_scale))}, and they teach little."
        )
    return notes


def scaling_table(report: Any) -> tuple[str, Table]:
    """What is exchanged, in a sentence; and a row a number of workers."""
    worker, network = report.worker, report.network
    about = (
        f"{name_sizes(worker.sizes)}, {worker.batch_size} rows a worker, {worker.dtype}: each step exchanges "
        f"{worker.n_params:,} numbers, {worker.bytes / 1e6:.3g} MB, over {network.name}, "
        f"{network.bandwidth / 1e9:.3g} GB/s and {duration(network.latency)} a message."
    )
    headings = [*_WORKERS, *_WORTH]
    headings[2:2] = ["\nwaiting\nus"] if report.jitter else []
    rows = [_scaling_row(row, report.jitter) for row in report.rows]
    return about, Table(headings, rows, " ".join(_scaling_notes(report)))


def scaling_as_text(report: Any) -> str:
    """As ``print(cost.scale(...))`` shows it, at most 80 columns wide."""
    about, table = scaling_table(report)
    layout = fit([table.headings, *table.rows], left=())
    lines = [*textwrap.wrap(about, WIDTH), "", *layout.heading(table.headings), *map(layout.line, table.rows), ""]
    return "\n".join([*lines, *(line for note in _scaling_notes(report) for line in textwrap.wrap(note, WIDTH))])
