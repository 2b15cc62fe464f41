"""How far rounding may take a net's loss or one entry of its gradient: measured, as bounds are too large in deep nets.

The textbook is repeated with a random error of the size that each operation makes (a sum of n terms: its partial sums
rounded one by one, as in N. Higham, *Accuracy and Stability of Numerical Algorithms*, chapter 4), and the spread of the
results is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast.model.activations import CATALOG
from vgfast.model.engine_numpy import NumPyEngine
from vgfast.model.losses import LOSSES
from vgfast.model.norm import Normalization
from vgfast.model.norm_numpy import Normalized, normalize

# Of a weight: its layer from 1, its input and its output from 0.
Entry = tuple[int, int, int]

# Repetitions, and how many standard deviations count as possible.
DRAWS, DEVIATIONS = 8, 5
# Roundings of an activation, its derivative or softmax: the kernels' 3 ulp, and one for what is done to it.
ULPS = 4
# Errors are proportional to the unit roundoff. That of float64 would drown in the rounding of the replay itself, so
# they are measured at this one and scaled.
_COARSE = 2.0**-30


class _Rounding:
    """Random errors of the size that rounding has in a format with this unit roundoff and smallest number."""

    def __init__(self, unit: float, tiny: float, rng: np.random.Generator) -> None:
        self.unit, self.tiny, self.rng = unit, tiny, rng

    def off(self, values: np.ndarray, size: np.ndarray, times: float) -> np.ndarray:
        """values with an error of `times` roundings of numbers of this size; what is 0 is exact."""
        spread = (self.unit * times * size + self.tiny) * (size > 0)
        return values + spread * self.rng.standard_normal(values.shape)

    def rounded(self, values: np.ndarray, times: float = 1) -> np.ndarray:
        """values with an error of `times` roundings of themselves."""
        return self.off(values, np.abs(values), times)

    def product(self, a: np.ndarray, w: np.ndarray) -> np.ndarray:
        """a @ w. The partial sums grow to the result while they wander as far as the terms' squares let them."""
        exact = a @ w
        scale = float(np.abs(a).max()) or 1.0
        wander = scale * np.sqrt(np.square(a / scale) @ np.square(w))
        return self.off(exact, np.hypot(exact, wander), len(w) ** 0.5)

    def mean(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Along an axis, which is kept: a sum as in a product."""
        n, exact = values.shape[axis], values.mean(axis=axis, keepdims=True)
        wander = np.sqrt(np.square(values).mean(axis=axis, keepdims=True) / n)
        return self.off(exact, np.hypot(exact, wander), n**0.5)


class _Replayed(NamedTuple):
    """What the textbook's ``Forward`` has, with roundings; then the mean loss, and delta_L."""

    zs: list[np.ndarray]
    outputs: list[np.ndarray]
    normalized: list[Normalized | None]
    loss: float
    delta: np.ndarray


def _normalize(
    norm: Normalization, z: np.ndarray, gain: np.ndarray, shift: np.ndarray, r: _Rounding
) -> tuple[np.ndarray, Normalized]:
    kept = normalize(norm, z, gain, shift)[1]
    mean = kept.mean if norm.kind == "rms" else r.mean(z, 0 if norm.kind == "batch" else 1)
    rate = r.rounded(kept.rate, ULPS)
    h = r.rounded((z - mean) * rate, 2)
    y = h * gain if norm.has_gains else h
    y = r.off(y + shift, np.abs(y) + np.abs(shift), 1) if norm.has_shifts else r.rounded(y)
    return y, kept._replace(h=h, rate=rate, mean=mean)


def _normalize_back(norm: Normalization, g: np.ndarray, kept: Normalized, gain: np.ndarray, r: _Rounding) -> np.ndarray:
    d, axis = r.rounded(g * gain) if norm.has_gains else g, 0 if norm.kind == "batch" else 1
    along = kept.h * r.mean(r.rounded(d * kept.h), axis)
    mean = 0 * along if norm.kind == "rms" else r.mean(d, axis)
    return r.off(kept.rate * (d - mean - along), kept.rate * (np.abs(d) + np.abs(mean) + np.abs(along)), ULPS)


def _replay(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, r: _Rounding) -> _Replayed:
    """Forward to delta_L, each operation with its rounding."""
    found = _Replayed([], [x], [], 0.0, x)
    net = plain.architecture
    for l, kind in enumerate(net.kinds):
        z, phi, norm, kept = r.product(found.outputs[-1], plain.weights[l]), CATALOG[kind], net.norm_of(l + 1), None
        if plain.biases[l].size:
            z = z + plain.biases[l]
            z = r.off(z, np.abs(z) + np.abs(plain.biases[l]), 1)
        if norm and norm.place == "before":
            z, kept = _normalize(norm, z, plain.gains[l], plain.shifts[l], r)
        exact = phi.slope_below in (0, 1)  # of straight lines with these slopes
        a = phi.value(z) if exact else r.rounded(phi.value(z), ULPS)
        if norm and norm.place == "after":
            a, kept = _normalize(norm, a, plain.gains[l], plain.shifts[l], r)
        if l + 1 in plain.around:
            around, a = found.outputs[plain.around[l + 1] - 1], plain.scale(l + 1) * a
            a = r.off(around + a, np.abs(around + a) + np.abs(a), 1)
        found.zs.append(z)
        found.outputs.append(a)
        found.normalized.append(kept)
    loss, delta, _ = plain.loss(found.zs[-1], t)
    size = np.abs(delta)
    known = LOSSES[net.loss]
    if known.has_accuracy:  # p - y: what both have in common cancels, the error of p does not
        given = np.eye(delta.shape[1])[t] if t.ndim == 1 else t
        size = size + given / (delta.size if known.averages_outputs else len(t))
    return found._replace(loss=loss, delta=r.off(delta, size, ULPS))


def _replay_entry(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry, r: _Rounding) -> float:
    """The entry of the gradient, each operation with its rounding."""
    layer, i, j = entry
    net, found = plain.architecture, _replay(plain, x, t, r)
    delta, ends = found.delta, {first - 1: last for first, last in net.blocks}
    sums: dict[int, np.ndarray] = {}  # what comes to the end of each block, from which it also goes around
    for l in range(net.n_layers - 1, layer - 1, -1):
        g = r.product(delta, plain.weights[l].T)
        if l in ends:
            g = r.rounded(g + sums[ends[l]])
        if l in plain.around:
            sums[l] = g
            g = r.rounded(plain.scale(l) * g)
        derivative = CATALOG[net.kinds[l - 1]].derivative(found.zs[l - 1])
        norm, kept = net.norm_of(l), found.normalized[l - 1]
        if kept is not None and norm is not None and norm.place == "after":
            g = _normalize_back(norm, g, kept, plain.gains[l - 1], r)
        delta = r.rounded(g * derivative, ULPS)
        if kept is not None and norm is not None and norm.place == "before":
            delta = _normalize_back(norm, delta, kept, plain.gains[l - 1], r)
    return float(r.product(found.outputs[layer - 1][:, [i]].T, delta[:, [j]])[0, 0])


def _spread(exact: float, draws: list[float]) -> float:
    return DEVIATIONS * float(np.sqrt(np.mean(np.square(np.array(draws) - exact))))


def entry_rounding(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry, dtype: np.dtype) -> float:
    """How far rounding in this type may take the entry of the gradient. plain: the net in float64; x (rows, n_in) and t
    as ``Architecture.check_batch`` returns them, in float64."""
    info = np.finfo(dtype)
    own = float(info.eps) / 2
    unit, rng = max(own, _COARSE), np.random.default_rng(0)
    noisy = _Rounding(unit, float(info.smallest_subnormal), rng)
    exact = _replay_entry(plain, x, t, entry, _Rounding(0.0, 0.0, rng))
    return _spread(exact, [_replay_entry(plain, x, t, entry, noisy) for _ in range(DRAWS)]) * (own / unit)


def loss_rounding(plain: NumPyEngine, x: np.ndarray, t: np.ndarray) -> float:
    """How far rounding of the z in float64 may take the mean loss."""
    rng = np.random.default_rng(0)
    noisy = _Rounding(_COARSE, 0.0, rng)
    exact = _replay(plain, x, t, _Rounding(0.0, 0.0, rng)).loss
    draws = [_replay(plain, x, t, noisy).loss for _ in range(DRAWS)]
    return _spread(exact, draws) * (float(np.finfo(np.float64).eps) / 2 / _COARSE)
