"""Numbers as shades: characters for a terminal without colours, and colours that differ for the colour-blind too."""

from __future__ import annotations

import numpy as np

# From small to large.
CHARACTERS = ".:-=+*#%@"
# Of the colour map viridis; a ninth apart.
_VIRIDIS = ("440154", "472c7a", "3b518b", "2c718e", "21908d", "27ad81", "5cc863", "aadc32", "fde725")
_ZERO = "#bbb"


def places(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(places, smallest, largest): where each value lies between the smallest and the largest that is not 0, from 0 to
    1 by its logarithm; NaN for those that are not on a log axis."""
    shown = (values > 0) & np.isfinite(values)
    seen = values[shown]
    if not len(seen):
        return np.full(values.shape, np.nan), np.nan, np.nan
    low, high = float(seen.min()), float(seen.max())
    with np.errstate(all="ignore"):
        logs = np.log10(values)
        found = (logs - np.log10(low)) / (np.log10(high) - np.log10(low)) if high > low else logs * 0 + 0.5
    return np.where(shown, found, np.nan), low, high


def character(place: float) -> str:
    """The character from small, 0, to large, 1; a blank for NaN."""
    return CHARACTERS[round(place * (len(CHARACTERS) - 1))] if place == place else " "


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
