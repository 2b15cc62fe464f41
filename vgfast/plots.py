"""Pictures. matplotlib is imported when one is asked for, and no global state of it is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vgfast.history import History


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


def report(report: Any, ax: Any = None) -> Any:
    """Gradient and delta norms over the layers of a ``GradientReport``, as a matplotlib Axes."""
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(6, 4), layout="constrained").subplots()
    layers = np.arange(1, len(report.records) + 1)
    ax.semilogy(layers, report.records["grad_norm"], "o-", label="|dW|, gradient of the weights")
    ax.semilogy(layers, report.records["delta_norm"], "s--", label="|delta|, signal going back")
    ax.set_xlabel("layer (1 is next to the input)")
    ax.set_ylabel("norm")
    ax.set_title(report.verdict)
    ax.legend()
    return ax
