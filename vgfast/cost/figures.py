"""The pictures of a cost: its roofline, and what more machines would bring."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from vgfast.cost.networks import NETWORKS
from vgfast.cost.scaling import scale_step
from vgfast.cost.tables import name_sizes
from vgfast.show.figures import Picture
from vgfast.show.numbers import scaled
from vgfast.show.palette import MARKS


def draw_roofline(cost: Any) -> Picture:
    """What each row of a step reaches (without measuring, could reach) over its operations a byte; a dot's size is its
    share of the step's time. Rows without operations, and those of less than 0.1 % of the time, are not on it."""
    whole = sum(row.seconds for row in cost.rows)
    rows = [row for row in cost.rows if row.flops and row.seconds > 1e-3 * whole]
    x = np.array([row.intensity for row in rows])
    y = np.array([row.flops / row.seconds / 1e9 for row in rows])
    shares = np.array([row.seconds / whole for row in rows])
    figure = Picture(10, 5.5)
    ax = figure.subplots()
    ends = np.array([min(x.min() / 2, 0.1), max(x.max() * 4, 300)])
    _draw_roofs(ax, cost, ends)
    sizes = 30 + 600 * shares
    for phase, (colour, mark) in zip(("forward", "dX", "dW + update", "activation", "loss"), MARKS, strict=False):
        of = [i for i, row in enumerate(rows) if row.phase == phase]
        if of:
            ax.scatter(x[of], y[of], s=sizes[of], c=colour, marker=mark, alpha=0.7, linewidths=0, label=phase)
    _number_layers(ax, [row.layer for row in rows], np.array([x, y]), sizes)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*ends)
    ax.set_ylim(y.min() / 2, 2 * cost.peak / 1e9)
    ax.set_xlabel("operations per byte that has to be moved (FLOP/byte)")
    ax.set_ylabel("GFLOP/s, measured" if cost.step else "GFLOP/s, predicted")
    ax.set_title(f"{cost.heading}\nNumbers: the layer; sizes: the share of the time", fontsize=11)
    ax.grid(alpha=0.25)
    legend = figure.legend(loc="outside right upper", fontsize=9)
    for handle in legend.legend_handles[len(cost.roofs) + 1 :]:
        handle.set_sizes([50])  # type: ignore[union-attr]
    return figure


def _draw_roofs(ax: Axes, cost: Any, ends: np.ndarray) -> None:
    """A slope for what can be read from each level, and the peak of multiply-adds, between the ends of the axis."""
    peak = cost.peak / 1e9
    for (name, bandwidth), style in zip(cost.roofs.items(), itertools.cycle(("-", "--", "-.", ":")), strict=False):
        slope = bandwidth / 1e9
        label = f"{name}: {slope:.3g} GB/s"
        ax.plot([ends[0], peak / slope], [ends[0] * slope, peak], style, color="0.4", linewidth=1.2, label=label)
    nearest = peak * 1e9 / max(cost.roofs.values())
    label = f"multiply-adds: {peak:.3g} GFLOP/s"
    ax.plot([nearest, ends[1]], [peak, peak], color="black", linewidth=1.8, label=label)


def _number_layers(ax: Axes, layers: list[int], points: np.ndarray, sizes: np.ndarray) -> None:
    """Below each dot at points (2, rows), its layer; one text for those whose numbers would hide each other."""
    logs, free = np.log10(points), np.ones(len(layers), bool)
    for i in np.argsort(-sizes):
        near = free & (np.abs(logs - logs[:, i : i + 1]) < 0.12).all(axis=0)
        if free[i]:
            here = [layers[k] for k in np.flatnonzero(near)]
            text = f"{min(here)}-{max(here)}" if len(set(here)) > 1 else f"{here[0]}"
            below = float(np.sqrt(sizes[near].max())) / 2 + 10
            ax.annotate(
                text,
                (points[0, i], points[1, near].min()),
                (0, -below),
                textcoords="offset points",
                size=9,
                ha="center",
            )
            free &= ~near


def draw_scaling(scaling: Any) -> Picture:
    """The efficiency over the number of workers: of the report's own network, with a dot a row, and beside it of all
    that have a name; and where the batch reaches the noise scale, if that is known."""
    worker, own, jitter = scaling.worker, scaling.network, scaling.jitter
    figure = Picture(10, 5.5)
    ax = figure.subplots()
    most = max(1024, *(row.workers for row in scaling.rows))
    numbers = [*(1 << power for power in range((most - 1).bit_length())), most]
    for (colour, mark), network in zip(MARKS, NETWORKS.values(), strict=False):
        if network != own:
            efficiency = [scale_step(worker, p, network, jitter).efficiency for p in numbers]
            ax.plot(numbers, efficiency, f"{mark}-", color=colour, linewidth=1, markersize=4, label=network.name)
    rows = {**{p: scale_step(worker, p, own, jitter) for p in numbers}, **{row.workers: row for row in scaling.rows}}
    ax.plot(sorted(rows), [rows[p].efficiency for p in sorted(rows)], "-", color="black", linewidth=2)
    asked = sorted({row.workers for row in scaling.rows})
    ax.plot(asked, [rows[p].efficiency for p in asked], "o", color="black", markersize=7)
    ax.plot([], [], "o-", color="black", linewidth=2, markersize=7, label=own.name)
    if scaling.useful_workers is not None and scaling.useful_workers <= most:
        label = f"at the noise scale: {scaling.useful_workers:,}"
        ax.axvline(scaling.useful_workers, color="0.4", linestyle="--", linewidth=1.2, label=label)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value < 1e5 else scaled(value)))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set_ylim(0, 1.03)
    ax.set_xlabel(f"workers, each with {worker.batch_size} rows")
    ax.set_ylabel("efficiency: rows a second and worker, of those of one alone")
    about = f"{name_sizes(worker.sizes)}, {worker.dtype}: {worker.bytes / 1e6:.3g} MB to exchange each step"
    how = f"Computed, with a jitter of {jitter:.3g}" if jitter else "Computed"
    ax.set_title(f"{about}\n{how}; run on one machine only", fontsize=11)
    ax.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9)
    return figure
