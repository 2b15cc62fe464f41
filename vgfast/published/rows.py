"""A published number and ours, and whether they agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """``what``, as published and as found here, and whether they agree: None if that was not tried. ``memory``: the
    published number is quoted from memory and has not been checked against its source."""

    what: str
    published: str
    ours: str
    holds: bool | None
    memory: bool = False


def near(what: str, published: str, ours: float, within: float) -> Row:
    """Whether ours, shown with as many digits, is no further off than ``within``."""
    digits = max(len(published.partition(".")[2]), 1)
    return Row(what, published, f"{ours:.{digits}f}", abs(ours - float(published)) <= within)


def around(what: str, published: str, digits: int, ours: float, half: float, memory: bool = False) -> Row:
    """Whether the interval of ``half`` to both sides of ours has the published number in it."""
    return Row(what, published, f"{ours:.{digits}f} ± {half:.{digits}f}", abs(ours - float(published)) <= half, memory)


def enclosed(what: str, published: str, value: float, band: np.ndarray, form: str) -> Row:
    """Whether the value lies between the band's ends: two of them, or what is in the middle too."""
    low, high = float(band[0]), float(band[-1])
    text = (" to " if len(band) == 2 else " / ").join(f"{end:{form}}" for end in band)
    return Row(what, published, text, low <= value <= high)
