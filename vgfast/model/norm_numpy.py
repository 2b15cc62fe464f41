"""Normalization in plain NumPy, forward beside its way back, to be read like a textbook.

Of each row z of n units, or by batch norm of each unit over the rows, with mean mu (of RMS norm 0) and variance v
about it:

    r = 1 / sqrt(v + eps),    h = (z - mu) r,    y = gain h + shift

The chain rule, with g = dloss/dy and d = gain g, whose means are over what mu is the mean of:

    dshift = sum of g over the rows,    dgain = sum of g h over the rows
    dz = r (d - mean(d) - h mean(d h)),    of RMS norm without mean(d)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast.model.norm import Normalization


class Normalized(NamedTuple):
    """What the way back needs: ``h``, and ``rate``, which is r; and of what: ``mean`` and ``variance``. Of rows these
    are (rows, 1), of units (1, n)."""

    h: np.ndarray
    rate: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def _axis(norm: Normalization) -> int:
    return 0 if norm.kind == "batch" else 1


def normalize(
    norm: Normalization,
    z: np.ndarray,
    gain: np.ndarray,
    shift: np.ndarray,
    running: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, Normalized]:
    """(y, h and r) of z (rows, n); gain and shift (n,), or (0,) where there are none; by these running means and
    variances (n,), if they are given."""
    if running is None:
        axis = _axis(norm)
        mean = 0 * z[:, :1] if norm.kind == "rms" else z.mean(axis=axis, keepdims=True)
        around = z - mean
        variance = np.square(around).mean(axis=axis, keepdims=True)
    else:
        mean, variance = running[0][None], running[1][None]
        around = z - mean
    rate = (1 / np.sqrt(variance + z.dtype.type(norm.eps))).astype(z.dtype)
    rate[~np.isfinite(variance)] = np.nan  # else h would be 0, and nothing would show that squares left their range
    h = around * rate
    y = h * gain if norm.has_gains else h
    return (y + shift if norm.has_shifts else y), Normalized(h, rate, mean, variance)


def renew_running(norm: Normalization, running: tuple[np.ndarray, np.ndarray], kept: Normalized) -> None:
    """Means and variances (n,) that run, after a step on a batch with these: PyTorch's, whose running variance is the
    one without bias."""
    rows, weight = len(kept.h), norm.momentum
    for one, new in zip(running, (kept.mean[0], kept.variance[0] * rows / max(rows - 1, 1)), strict=True):
        one[...] = (1 - weight) * one + weight * new


def normalize_back(
    norm: Normalization, g: np.ndarray, kept: Normalized, gain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dz, dgain, dshift) of g = dloss/dy (rows, n); the latter two (0,) where there are none."""
    none = np.zeros(0, g.dtype)
    d_gain = (g * kept.h).sum(axis=0) if norm.has_gains else none
    d_shift = g.sum(axis=0) if norm.has_shifts else none
    d = g * gain if norm.has_gains else g
    axis = _axis(norm)
    along = kept.h * (d * kept.h).mean(axis=axis, keepdims=True)
    mean = 0 if norm.kind == "rms" else d.mean(axis=axis, keepdims=True)
    return kept.rate * (d - mean - along), d_gain, d_shift
