"""Pictures. matplotlib is imported when one is asked for, and no global state of it is touched."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import numpy as np

from vgfast.history import History


def check_folder(folder: Path) -> None:
    """Make the folder before the work is done; OSError if the picture could not be written there."""
    folder.mkdir(parents=True, exist_ok=True)
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


def microseconds(seconds: float) -> str:
    """Three digits, or all that are before the point."""
    us = seconds * 1e6
    return f"{us:.2f}" if us < 9.995 else f"{us:.1f}" if us < 99.95 else f"{us:,.0f}"


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
