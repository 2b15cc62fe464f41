"""Pictures. matplotlib is imported when one is asked for, and no global state of it is touched."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast.show.tables import as_factor, duration, microseconds
from vgfast.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgfast.cost.report import CostReport


def check_folder(folder: Path) -> None:
    """Make the folder before the work is done; OSError if the picture could not be written there, ValueError if it is
    no folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"the picture needs a folder, and {folder} is or is in a file; choose another") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the picture cannot be written to this folder; choose another", str(folder))


def gradient_maps(panels: list[tuple[str, str, History]], path: Path) -> None:
    """Save a PNG: for each (title, subtitle, history) a map of log10 |dW|, layer x step, in common colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    norms = [history.gradients["grad_norm"].T for _, _, history in panels]
    with np.errstate(divide="ignore"):
        logs = [np.log10(norm) for norm in norms]  # -inf, an exact zero, is drawn as the lowest colour
    finite = np.concatenate([log[np.isfinite(log)] for log in logs])
    low, high = np.floor(finite.min()), np.ceil(finite.max())
    for ax, log, (title, subtitle, history) in zip(axes, logs, panels, strict=True):
        n_layers = len(log)
        step = history.steps[1] - history.steps[0] if len(history.steps) > 1 else 1
        image = ax.pcolormesh(
            np.append(history.steps, history.steps[-1] + step),
            np.arange(n_layers + 1) + 0.5,
            np.maximum(log, low),
            vmin=low,
            vmax=high,
            cmap="viridis",
            rasterized=True,
        )
        ax.set_title(f"{title}\n{subtitle}", fontsize=11)
        ax.set_xlabel("step")
        ax.set_yticks(range(1, n_layers + 1))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0].set_ylabel("layer (1 is next to the input)")
    bar = figure.colorbar(image, ax=list(axes), pad=0.01)
    bar.set_label("gradient norm of the layer's weights")
    ticks = np.arange(low, high + 1, max(1, (high - low) // 8))
    bar.set_ticks(list(ticks), labels=[f"$10^{{{int(tick)}}}$" for tick in ticks])
    figure.savefig(path, dpi=150)


# Of a colour-blind-safe palette, with a shape each for print in grey.
_MARKS = (("#0072b2", "o"), ("#e69f00", "s"), ("#d55e00", "D"), ("#009e73", "^"), ("#56b4e9", "v"), ("#cc79a7", "P"))


def step_times(times: dict[str, dict[str, float]], title: str, path: Path) -> None:
    """Save a PNG: for each workload, each peer's time of a step over that of vgfast."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    rows = [(workload, of) for workload, of in times.items() if "vgfast" in of]
    peers = list(dict.fromkeys(peer for _, of in rows for peer in of if peer != "vgfast"))
    figure = Figure(figsize=(9, 1.6 + 0.5 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for number, (peer, (colour, mark)) in enumerate(zip(peers, itertools.cycle(_MARKS), strict=False)):
        lower = 0.5 * ((number + 0.5) / len(peers) - 0.5)  # so that none hides another
        points = [(of[peer] / of["vgfast"], row + lower) for row, (_, of) in enumerate(rows) if peer in of]
        ax.plot(*zip(*points, strict=True), mark, color=colour, label=peer, markersize=8, alpha=0.9)
    ax.axvline(1, color="black", linewidth=1.5, label="vgfast")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    ax.xaxis.minorticks_off()
    ax.set_yticks(range(len(rows)), [f"{workload}\n{microseconds(of['vgfast'])} µs" for workload, of in rows])
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("time of a training step, over that of vgfast, which stands at the left")
    ax.set_title(title, fontsize=11)
    figure.legend(loc="outside right center")
    figure.savefig(path, dpi=150)


def roofline(cost: CostReport) -> Figure:
    """What each row of a step reaches (without measuring, could reach) over its operations a byte; a dot's size is its
    share of the step's time. Rows without operations, and those of less than 0.1 % of the time, are not on it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = sum(row.seconds for row in cost.rows)
    rows = [row for row in cost.rows if row.flops and row.seconds > 1e-3 * whole]
    x = np.array([row.intensity for row in rows])
    y = np.array([row.flops / row.seconds / 1e9 for row in rows])
    shares = np.array([row.seconds / whole for row in rows])
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    peak, ends = cost.peak / 1e9, np.array([min(x.min() / 2, 0.1), max(x.max() * 4, 300)])
    for (name, bandwidth), style in zip(cost.roofs.items(), itertools.cycle(("-", "--", "-.", ":")), strict=False):
        slope = bandwidth / 1e9
        label = f"{name}: {slope:.3g} GB/s"
        ax.plot([ends[0], peak / slope], [ends[0] * slope, peak], style, color="0.4", linewidth=1.2, label=label)
    nearest = peak * 1e9 / max(cost.roofs.values())
    label = f"multiply-adds: {peak:.3g} GFLOP/s"
    ax.plot([nearest, ends[1]], [peak, peak], color="black", linewidth=1.8, label=label)
    sizes = 30 + 600 * shares
    for phase, (colour, mark) in zip(("forward", "dX", "dW + update", "activation", "loss"), _MARKS, strict=False):
        of = [i for i, row in enumerate(rows) if row.phase == phase]
        if of:
            ax.scatter(x[of], y[of], s=sizes[of], c=colour, marker=mark, alpha=0.7, linewidths=0, label=phase)
    logs, free = np.log10([x, y]), np.ones(len(rows), bool)
    for i in np.argsort(-shares):
        near = free & (np.abs(logs - logs[:, i : i + 1]) < 0.12).all(axis=0)  # whose numbers would hide each other
        if free[i]:
            layers = [rows[k].layer for k in np.flatnonzero(near)]
            text = f"{min(layers)}-{max(layers)}" if len(set(layers)) > 1 else f"{layers[0]}"
            below = float(np.sqrt(sizes[near].max())) / 2 + 10
            ax.annotate(text, (x[i], y[near].min()), (0, -below), textcoords="offset points", size=9, ha="center")
            free &= ~near
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*ends)
    ax.set_ylim(y.min() / 2, 2 * peak)
    ax.set_xlabel("operations per byte that has to be moved (FLOP/byte)")
    ax.set_ylabel("GFLOP/s, measured" if cost.step else "GFLOP/s, predicted")
    ax.set_title(f"{cost.heading}\nNumbers: the layer; sizes: the share of the time", fontsize=11)
    ax.grid(alpha=0.25)
    legend = figure.legend(loc="outside right upper", fontsize=9)
    for handle in legend.legend_handles[len(cost.roofs) + 1 :]:
        handle.set_sizes([50])  # type: ignore[union-attr]
    return figure


def ladder(result: dict[str, Any], path: Path) -> None:
    """Save a PNG: each rung's time of a step, and what it brought."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    rungs = [rung for rung in result["rungs"] if rung["available"]]
    seconds = [rung["seconds_per_step"] for rung in rungs]
    figure = Figure(figsize=(9, 1.4 + 0.45 * len(rungs)), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    colours = ["#e69f00" if "csrc" not in rung["file"] else "#0072b2" for rung in rungs]
    ax.barh(range(len(rungs)), seconds, color=colours, alpha=0.85)
    for i, rung in enumerate(rungs):
        gain = "" if rung["over_last"] is None else f", x {as_factor(rung['over_last'])}"
        ax.annotate(f"{duration(seconds[i])}{gain}", (seconds[i], i), (5, -3), textcoords="offset points", size=9)
    ax.set_xscale("log")
    ax.set_xlim(min(seconds) / 3, max(seconds) * 8)
    ax.xaxis.set_major_locator(LogLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda second, _: duration(second)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(rungs)), [rung["name"] for rung in rungs])
    ax.set_ylim(len(rungs) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("time of a training step, and how many times as fast as the rung above")
    sizes = "-".join(map(str, result["sizes"]))
    ax.set_title(
        f"{sizes}, batch {result['batch']}: Python and NumPy, then C; the weights come out the same", fontsize=11
    )
    figure.savefig(path, dpi=150)
