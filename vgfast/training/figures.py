"""Pictures of a training: where the gradient went, and what weights and activations did to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from vgfast.show.figures import Picture, log_axis, log_limits
from vgfast.show.numbers import share
from vgfast.show.palette import BLUE, GREEN, GREY, ORANGE, RED
from vgfast.training.records import exponent_of, exponents_over_time, medians, over_time, total_gain

# As many as can be distinguished on a screen.
_COLUMNS = 240
# Labelled ones, on a scale by their square roots.
_SHARES = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1)


def _layer_ticks(n_layers: int) -> range:
    return range(1, n_layers + 1, -(-n_layers // 11))


def layer_axis(ax: Axes, n_layers: int) -> None:
    ax.set_ylim(0.5, n_layers + 0.5)
    ax.set_yticks(_layer_ticks(n_layers))


def _colour_map(
    figure: Figure, ax: Axes, bar: Axes, edges: np.ndarray, values: np.ndarray, label: str, **how: Any
) -> None:
    """values (columns, layers) as colours, layer x step; masked ones are grey."""
    n_layers = values.shape[1]
    image = ax.pcolormesh(edges, np.arange(n_layers + 1) + 0.5, values.T, rasterized=True, **how)
    layer_axis(ax, n_layers)
    ax.set_ylabel("layer")
    figure.colorbar(image, cax=bar).set_label(label)


def _edges(history: Any, starts: np.ndarray) -> np.ndarray:
    """On the step axis, where the columns begin, and the end of the last."""
    last = int(history.steps[-1])
    spacing = last - int(history.steps[-2]) if len(history.steps) > 1 else 1
    return np.append(history.steps[starts], max(last + spacing, last + 1))


def _gradient_map(figure: Figure, ax: Axes, bar: Axes, edges: np.ndarray, norms: np.ndarray) -> None:
    low, high = log_limits(norms)
    shown = np.clip(np.ma.masked_where(~(norms > 0), norms), low, high)
    colours = colormaps["viridis"].with_extremes(bad=GREY)
    _colour_map(figure, ax, bar, edges, shown, "norm of the weights' gradient", cmap=colours, norm=LogNorm(low, high))
    bar.yaxis.set_major_locator(LogLocator(numticks=7))
    bar.yaxis.set_minor_locator(NullLocator())
    bar.yaxis.set_major_formatter(LogFormatterSciNotation())
    if (norms == 0).any():
        ax.set_title("grey: exactly 0", fontsize=9, loc="right")


def _losses(ax: Axes, history: Any) -> None:
    """The mean loss of groups of steps, and from the least to the largest of each."""
    loss = history.loss
    edges = np.linspace(0, len(loss), min(len(loss), _COLUMNS) + 1).astype(int)
    groups = [loss[a:b] for a, b in pairwise(edges)]
    mean, low, high = (np.array([f(group) for group in groups]) for f in (np.mean, np.min, np.max))
    if len(groups) < len(loss):
        ax.stairs(high, edges, baseline=low, fill=True, color="#bbbbbb", label="least to largest")
    ax.stairs(mean, edges, baseline=None, color="black", linewidth=1.2, label="mean")
    if low.min() > 0 and high.max() > 20 * low.min() and np.isfinite(high).all():
        ax.set_yscale("log")
        log_axis(ax.yaxis, float(low.min()), float(high.max()))
    if len(groups) < len(loss):
        ax.legend(fontsize=8, ncols=2, loc="upper right")
    ax.set_ylabel("loss of a batch")


def _ratios(figure: Figure, ax: Axes, bar: Axes, edges: np.ndarray, ratios: np.ndarray) -> None:
    """A line a layer, from dark, next to the input, to bright; the colours' key in `bar`."""
    n_layers = ratios.shape[1]
    colours = ListedColormap(colormaps["plasma"](np.linspace(0, 0.88, n_layers)))
    low, high = log_limits(ratios, around=(5e-4, 2e-3))
    for l in range(n_layers):
        line = np.where(np.isfinite(ratios[:, l]), np.clip(ratios[:, l], low, high), np.nan)  # 0 lies on the lower edge
        ax.stairs(line, edges, baseline=None, color=colours(l), linewidth=1.6 if n_layers < 12 else 0.9)
    ax.axhline(1e-3, color="black", linewidth=1, linestyle="--")
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    ax.text(0.995, 1e-3, "1e-3", transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=8, bbox=white)
    ax.set_yscale("log")
    ax.set_ylim(low / 1.2, high * 1.2)
    log_axis(ax.yaxis, low, high)
    ax.set_ylabel("update / weights")
    if (ratios == 0).any():
        ax.set_title("along the lower edge: exactly 0", fontsize=9, loc="right")
    keys = ScalarMappable(BoundaryNorm(np.arange(n_layers + 1) + 0.5, n_layers), colours)
    figure.colorbar(keys, cax=bar, ticks=_layer_ticks(n_layers)).set_label("line of layer")
    bar.yaxis.set_minor_locator(NullLocator())


def _bars(ax: Axes, layers: np.ndarray, values: np.ndarray, limits: tuple[float, float], colour: str) -> Any:
    """Bars from 1 to the values, or a line if they would be too thin; those that leave the axis say where to."""
    low, high = limits
    drawn = np.clip(values, low, high)
    for edge, value, side in ((low, 0, "left"), (high, np.inf, "right")):
        for layer in layers[values == value]:
            ax.text(edge, layer, f" {value:g} ", fontsize=7, va="center_baseline", ha=side, backgroundcolor="white")
    if len(layers) > 60:
        return ax.plot(drawn, layers, color=colour, linewidth=1)[0]
    return ax.barh(layers, np.nan_to_num(drawn - 1), 0.38, left=1, color=colour)


def ledger(ax: Axes, mean: np.ndarray) -> dict[str, Any]:
    """Of each layer, what its weights and its activation did to the signal, as bars from 1; a mark at the product.

    To the left of 1 the signal shrinks. Returns the legend's words and handles.
    """
    n_layers = len(mean)
    names = ("weight_gain", "activation_gain", "normalization_gain", "gain")
    gains = np.concatenate([mean[name][:-1] for name in names])
    limits = log_limits(gains, around=(0.5, 2.0))
    layers = np.arange(1, n_layers + 1)
    known = np.isfinite(mean["gain"]) & (mean["gain"] > 0)
    key = {
        "weights (of the layer above)": _bars(ax, layers + 0.19, mean["weight_gain"], limits, BLUE),
        "activation": _bars(ax, layers - 0.19, mean["activation_gain"], limits, ORANGE),
    }
    if (mean["normalization_gain"][:-1] != 1).any():
        key["normalization"] = _bars(ax, layers, mean["normalization_gain"], limits, GREEN)
    size = max(1.5, min(4, 150 / n_layers))
    key["gain, their product"] = ax.plot(mean["gain"][known], layers[known], "kD", markersize=size)[0]
    ax.axvline(1, color="black", linewidth=1)
    ax.set_xscale("log")
    ax.set_xlim(limits)
    log_axis(ax.xaxis, *limits)
    layer_axis(ax, n_layers)
    ax.text(0.02, n_layers, "the signal starts here", transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    ax.set_xlabel("factor on the signal going back")
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    return key


def _underflow(ax: Axes, least: int) -> None:
    """Where the normal numbers end: a line at two to the power of `least`, or a note how far it is to there."""
    name, (low, _) = f"$2^{{{least}}}$", ax.get_xlim()
    if low <= least:
        ax.axvline(least, color=RED, linewidth=1.5, linestyle="--")
        words = f"underflow: normal numbers end at {name}"
    else:
        far = round(low) - least
        words = f"\u2190 underflow at {name}, {far} power{'s' * (far != 1)} of two to the left"
    ax.set_title(words, fontsize=9, loc="left", color=RED)


def exponents(figure: Figure, axes: Sequence[Axes], counts: np.ndarray) -> None:
    """counts (layers, bins) as shares of the layer, layer x power of two, with a key; in the third of the axes, the
    share of the first bin, which is of no one power of two."""
    ax, bar, right = axes
    n_layers, bins = counts.shape
    totals = np.maximum(counts.sum(axis=1), 1)
    least = exponent_of(1, bins)
    seen = np.flatnonzero(counts[:, 1:-1].any(axis=0)) + 1
    first, last = (int(seen[0]), int(seen[-1])) if len(seen) else (1, 8)
    first, last = max(first - 2, 1), min(last + 2, bins - 2)
    shares = counts[:, first : last + 1] / totals[:, None]
    edges = np.arange(exponent_of(first, bins), exponent_of(last, bins) + 2)
    largest = float(shares.max()) or 1.0
    how = {"cmap": colormaps["viridis"], "norm": PowerNorm(0.5, 0, largest)}
    _colour_map(figure, ax, bar, edges, np.ma.masked_equal(shares, 0).T, "share of layer", **how)
    bar.set_yticks([share for share in _SHARES if share <= largest])
    bar.yaxis.set_minor_locator(NullLocator())
    bar.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set_title("white: none", fontsize=9, loc="right")
    ax.set_xlim(edges[0] - (first == 1), edges[-1])
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{value:.0f}}}$"))
    ax.set_xlabel("|entry of dW|")
    _underflow(ax, least)

    layers = np.arange(1, n_layers + 1)
    right.barh(layers, counts[:, 0] / totals, 0.7, color=BLUE)
    for l in _layer_ticks(n_layers):
        right.text(1.02, l, share(int(counts[l - 1, 0]), int(totals[l - 1])), fontsize=8, va="center")
    right.set_xlim(0, 1)
    right.xaxis.set_major_formatter(PercentFormatter(1, 0))
    layer_axis(right, n_layers)
    words = "entries that are 0 or subnormal"
    if counts[:, -1].any():
        words += f"; not finite: {share(int(counts[:, -1].sum()), int(totals.sum()))} of all"
    right.set_xlabel(words)


def draw(history: Any) -> Picture:
    """Loss, gradient norms, update ratios and frozen shares over the steps; the ledger at their right; below, exponents
    if there are any."""
    records = history.gradients
    starts, norms = medians(records["grad_norm"], _COLUMNS)
    ratios = medians(records["update_ratio"], _COLUMNS)[1]
    ends = np.append(starts[1:], len(records))
    frozen = np.array([records["frozen"][a:b].mean(axis=0) for a, b in zip(starts, ends, strict=True)])
    edges, mean = _edges(history, starts), over_time(history.gradients)

    counted = history.exponents is not None
    heights = [1.1, 2.4, 1.6, 1.4] + [2.2] * counted
    figure = Picture(13, 8.5 + 3 * counted)
    grid = figure.add_gridspec(len(heights), 3, width_ratios=(3, 0.06, 1.4), height_ratios=heights)
    left = [figure.add_subplot(grid[0, 0])]
    left += [figure.add_subplot(grid[row, 0], sharex=left[0]) for row in (1, 2, 3)]
    bars = [figure.add_subplot(grid[row, 1]) for row in (1, 2, 3)]
    _losses(left[0], history)
    _gradient_map(figure, left[1], bars[0], edges, norms)
    _ratios(figure, left[2], bars[1], edges, ratios)
    shares = {"cmap": colormaps["cividis"].with_extremes(bad=GREY), "vmin": 0, "vmax": 1}
    _colour_map(figure, left[3], bars[2], edges, np.ma.masked_invalid(frozen), "frozen weights", **shares)
    for ax in left[:3]:
        ax.tick_params(labelbottom=False)
    left[3].set_xlim(0, max(len(history.loss), int(edges[-1])))
    left[3].set_xlabel("step")
    left[3].xaxis.set_major_locator(MaxNLocator(integer=True))

    right = figure.add_subplot(grid[1:4, 2])
    key = ledger(right, mean)
    right.set_ylabel("layer (1 is next to the input)")
    words = figure.add_subplot(grid[0, 2])
    words.axis("off")
    title = "Who changes the signal on its way back"
    words.legend(
        key.values(),
        key.keys(),
        loc="lower center",
        fontsize=9,
        title=f"{title}\n{total_gain(mean)}".strip(),
        frameon=False,
    )
    if counted:
        axes = [figure.add_subplot(grid[4, column]) for column in range(3)]
        exponents(figure, axes, exponents_over_time(history.exponents))
    return figure
