"""Sums over all paths from one unit to the loss, and the strongest of them, without following each.

A path multiplies one entry of each matrix M_k, such as diag(phi'(z_k)) W_{k+1} (see ``path_steps``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vgfast.model.quantities_numpy import norm


class Partial(NamedTuple):
    """How far the signal of z_l[j] has come at one ``layer`` k, from l to L.

    ``norm``: L2 norm of dz_k/dz_l[j]. ``gain``: by which factor it grew from layer k-1 (NaN for layer l).
    ``cancellation``: abs of the signed sum of the paths from z_l[j] to a unit of layer k, over the sum of their
    absolute values, both summed over its units: 1 where all paths agree, near 0 where they cancel; NaN if all are 0.
    ``delta_norm``: L2 norm of dloss/dz_k, the signal that comes the other way.
    """

    layer: int
    norm: float
    gain: float
    cancellation: float
    delta_norm: float


def power(mantissa: float, exponent: int) -> float:
    """mantissa · 2^exponent, rounded to 0 or infinity where it must be."""
    with np.errstate(all="ignore"):
        return float(np.ldexp(mantissa, exponent))


def ratio(a: float, a_exponent: int, b: float, b_exponent: int) -> float:
    return power(a / b, a_exponent - b_exponent) if b else math.nan


def _rescaled(values: np.ndarray, exponent: int) -> tuple[np.ndarray, int]:
    """The same values · 2^exponent, the largest between 1/2 and 1: products over hundreds of layers leave the range of
    float64, their ratios do not."""
    more = int(np.frexp(np.abs(values).max())[1])
    return np.ldexp(values, -more), exponent + more


def sum_forwards(
    layer: int, j: int, steps: list[list[np.ndarray]], deltas: list[np.ndarray]
) -> tuple[list[Partial], float, int]:
    """The signal of z_layer[j] at each layer, and the absolute sum of all paths from there as (m, e), m · 2^e.

    steps: from each layer to the next, one matrix after the other; behind a layer's units may lie others, which go
    around layers. deltas: of each layer, (n,).
    """
    signed, up = np.eye(1, len(steps[0][0]) if steps else len(deltas[0]), j)[0], 0
    sizes, sizes_up = signed, 0  # the same with absolute matrices
    parts: list[Partial] = []
    before = (math.nan, 0)
    for k, delta in enumerate(deltas):
        n = len(delta)
        length = float(np.linalg.norm(signed[:n]))
        gain, before = ratio(length, up, *before), (length, up)
        left = ratio(float(np.abs(signed[:n]).sum()), up, float(sizes[:n].sum()), sizes_up)
        parts.append(Partial(layer + k, power(length, up), gain, left, norm(delta)))
        for step in steps[k] if k < len(steps) else ():
            signed, up = _rescaled(signed @ step, up)
            sizes, sizes_up = _rescaled(sizes @ np.abs(step), sizes_up)
    last, more = _rescaled(np.abs(deltas[-1]), sizes_up)
    return parts, float(sizes @ last), more


def find_strongest(steps: list[np.ndarray], start: int, ends: np.ndarray, k: int) -> list[tuple[int, ...]]:
    """The k paths from unit `start` with the largest abs(product), strongest first, those that are 0 left out; of each,
    its unit in every layer after.

    steps: M (n, m) from layer to layer; ends (n_L,): dloss/dz_L. Dynamic programming from the end: the k best ways on
    from a unit are among the k best of the next units, as sizes multiply. The way of rank r through the next unit of
    rank p (by its best way) is beaten by p ways through better units and by r through its own: p + r < k.

    >>> M = np.array([[1.0, -2.0], [0.5, 0.0]])
    >>> find_strongest([M, M], 0, np.array([1.0, 1.0]), 3)
    [(0, 1), (0, 0), (1, 0)]
    """
    scores = _rescaled(np.abs(ends)[:, None], 0)[0]  # (units, ways): of each unit, its best ways to the loss
    choices: list[tuple[np.ndarray, np.ndarray]] = []  # of each layer (units, ways): the next unit, which of its ways
    for l in range(len(steps) - 1, -1, -1):
        size = np.abs(steps[l] if l else steps[l][[start]])
        near = np.argsort(-size * scores[:, 0], axis=1, kind="stable")[:, :k]
        p, r = np.indices((near.shape[1], scores.shape[1])).reshape(2, -1)
        p, r = p[p + r < k], r[p + r < k]
        ways = np.take_along_axis(size, near, axis=1)[:, p] * scores[near[:, p], r]
        best = np.argsort(-ways, axis=1, kind="stable")[:, :k]
        choices.insert(0, (np.take_along_axis(near[:, p], best, axis=1), r[best]))
        scores = _rescaled(np.take_along_axis(ways, best, axis=1), 0)[0]
    found = []
    for way in range(int((scores[0] > 0).sum())):
        units, unit = [], 0  # of the first matrix only the row of `start` was looked at
        for after, rank in choices:
            unit, way = int(after[unit, way]), int(rank[unit, way])
            units.append(unit)
        found.append(tuple(units))
    return found
