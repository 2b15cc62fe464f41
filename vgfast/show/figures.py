"""Pictures: figures that belong to no window, and axes. matplotlib is needed to import this; no pyplot and no
global state of it is touched."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

# Smaller and larger cannot be drawn on a log axis.
_TINIEST, _LARGEST = 1e-300, 1e300


class Picture(Figure):
    """A Figure that a notebook shows although pyplot has not been imported."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def log_limits(values: np.ndarray, around: tuple[float, ...] = ()) -> tuple[float, float]:
    """Powers of ten that hold all values that are above 0 and finite, and those of `around`.

    >>> log_limits(np.array([0.02, 0.0, 3.0, np.inf])), log_limits(np.zeros(2))
    ((0.01, 10.0), (0.1, 10.0))
    """
    seen = np.append(values[(values > 0) & np.isfinite(values)], around)
    seen = np.clip(seen, _TINIEST, _LARGEST) if len(seen) else np.ones(1)
    low, high = np.floor(np.log10(seen.min()) + 1e-9), np.ceil(np.log10(seen.max()) - 1e-9)
    if low == high:
        low, high = low - 1, high + 1
    return float(10.0**low), float(10.0**high)


def log_axis(axis: Any, low: float, high: float) -> None:
    """Few powers of ten, however many decades there are."""
    decades = np.log10(high) - np.log10(low)
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_minor_locator(LogLocator(subs=(2, 5), numticks=20) if decades <= 2 else NullLocator())
    if decades <= 2:
        axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
