"""The picture of a report: norms and ledger of each layer, and the verdict."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from vgfast.show.figures import Picture, log_axis, log_limits
from vgfast.show.palette import BLUE, RED
from vgfast.training.figures import exponents, layer_axis, ledger


def _norms(ax: Axes, records: np.ndarray) -> None:
    layers = np.arange(1, len(records) + 1)
    low, high = log_limits(np.concatenate([records["grad_norm"], records["delta_norm"]]))
    marks = (
        ("grad_norm", "o-", BLUE, "|dW|, gradient of the weights"),
        ("delta_norm", "s--", RED, "|delta|, signal going back"),
    )
    for name, mark, colour, label in marks:
        values = records[name]
        ax.plot(np.where(values > 0, values, np.nan), layers, mark, color=colour, label=label, markersize=5)
        zeros = layers[values == 0]
        if len(zeros):  # a log axis has no place for them
            ax.plot(np.full(len(zeros), low), zeros, "x", color=colour, clip_on=False, label="of which exactly 0")
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    log_axis(ax.xaxis, low, high)
    layer_axis(ax, len(records))
    ax.set_xlabel("norm")
    ax.set_ylabel("layer (1 is next to the input)")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)


def draw(report: Any) -> Picture:
    """Gradient and delta norms over the layers, and the ledger at their right; below, exponents if there are any."""
    height = min(2.8 + 0.3 * len(report.records), 9)
    heights = [height] + [0.8 * height] * (report.exponents is not None)
    figure = Picture(11, sum(heights))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    above = grid[0].subgridspec(1, 2, width_ratios=(1.2, 1))
    norms = figure.add_subplot(above[0])
    right = figure.add_subplot(above[1], sharey=norms)
    right.tick_params(labelleft=False)
    _norms(norms, report.records)
    key = ledger(right, report.records)
    right.legend(
        key.values(),
        key.keys(),
        fontsize=9,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=3,
        frameon=False,
        columnspacing=1,
    )
    if report.exponents is not None:
        below = grid[1].subgridspec(1, 3, width_ratios=(3, 0.06, 1.4))
        exponents(figure, [figure.add_subplot(below[column]) for column in range(3)], report.exponents)
    words = textwrap.fill(f"{report.verdict}: {report.explanation}", 130)
    figure.suptitle(words, fontsize=10, parse_math=False)
    return figure
