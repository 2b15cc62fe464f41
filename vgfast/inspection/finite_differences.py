"""One weight's gradient compared with finite differences of the loss, and how far the two may be apart.

The differences are those of a float64 copy of the net. With f(t) the mean loss when the weight is moved by t,

    D(h) = (f(h) - f(-h)) / 2h = f' + c_2 h^2 + c_4 h^4 + ...

at steps h that shrink by 4, and Richardson's extrapolation

    T_m(h) = T_{m-1}(h) + (T_{m-1}(h) - T_{m-1}(4h)) / (16^m - 1),    T_0 = D

takes away one power after the other (Press et al., *Numerical Recipes*, 5.7, after Ridders). Large steps suffer from
what is left of the series, small ones from the rounding of f, which is divided by h; taken is the T_m(h) for which both
together are least. Rounding is measured, not bounded, as bounds are far too large in deep nets: the textbook is
repeated with a random error of the size that each operation makes (a product of n terms: its partial sums rounded one
by one, as in N. Higham, *Accuracy and Stability of Numerical Algorithms*, chapter 4), and the results' spread is taken.
"""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import numpy as np

from vgfast.inspection.gradients import take_gradients
from vgfast.inspection.paths import check_entry, float64_copy, float64_data, refuse_normalization
from vgfast.model.activations import CATALOG
from vgfast.model.engine import Engine
from vgfast.model.engine_numpy import NumPyEngine
from vgfast.model.losses import LOSSES
from vgfast.show.table import WIDTH

# Of a weight: its layer from 1, its input and its output from 0.
Entry = tuple[int, int, int]

# Steps, by how far they move the z that moves most: far below the smallest, rounding leaves no digit.
STEPS = 4.0 ** np.arange(1, -15, -1)
# Levels of extrapolation: h^2, h^4 and h^6 are taken away.
LEVELS = 3
# Repetitions with random rounding, and how many standard deviations count as possible.
DRAWS, DEVIATIONS = 8, 5
# Roundings of an activation, its derivative or softmax: the kernels' 3 ulp, and one for what is done to it.
ULPS = 4


class GradientCheck(NamedTuple):
    """One entry of the gradient, computed and measured. ``str()`` says it in words.

    ``analytic``: of ``net.gradients``. ``numeric``: by finite differences, with ``error``, an estimate of their own
    error, and ``step``, the smallest that they took (0 if the weight's input is 0 on every row). ``difference``:
    abs(analytic - numeric). ``rounding``: how much rounding in the net's dtype may change the analytic entry.
    ``agrees``: difference <= error + rounding. ``kink``: at every step tried, however small, some z comes to the other
    side of a kink of its activation, such as 0 of a ReLU: there the loss may have two slopes and no derivative,
    ``numeric`` is their mean and ``error`` includes half their gap. Where smaller steps do without, those are taken.

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(4), np.array([0, 1, 1, 0])
    >>> check = vg.MLP([4, 8, 2], "tanh", dtype="float64", rng=0).check_gradient(1, 2, 3, X, y)
    >>> check.agrees, check.kink, check.difference < 1e-12, check.error < 1e-11
    (True, False, True, True)

    The same at a kink, with z_1 = x w + b = 0:

    >>> net = vg.MLP([1, 1, 1], "relu", "mse", init="zeros")
    >>> net.weights[0], net.biases[0], net.weights[1] = [[1.0]], [-1.0], [[1.0]]
    >>> check = net.check_gradient(1, 0, 0, [[1.0]], [1.0])
    >>> check.kink, check.analytic, round(check.numeric, 3), round(check.error, 3)
    (True, 0.0, -1.0, 1.0)
    """

    analytic: float
    numeric: float
    error: float
    difference: float
    rounding: float
    agrees: bool
    kink: bool
    step: float

    def __str__(self) -> str:
        lines = [
            f"by back-propagation    {self.analytic: .8e} +- {self.rounding:.0e} (rounding)",
            f"by finite differences  {self.numeric: .8e} +- {self.error:.0e} (smallest step {self.step:.0e})",
        ]
        verdict = "agree" if self.agrees else "DISAGREE"
        text = f"They {verdict}: {self.difference:.1e} apart, {self.error + self.rounding:.1e} allowed."
        if self.kink:
            text += " At a kink: however small the step, some z crosses one, where a loss has two slopes."
        elif self.step == 0:
            text += " The weight is multiplied by 0 on every row and does not enter the loss."
        elif self.agrees and abs(self.numeric) <= self.error + self.rounding:
            text += " That says little, as neither can be told from 0."
        return "\n".join([*lines, *textwrap.wrap(text, WIDTH)])


def check(engine: Engine, layer: int, i: int, j: int, X: object, y: object) -> GradientCheck:
    """``net.check_gradient``: see there."""
    net = engine.architecture
    refuse_normalization(net, "check_gradient moves the z of one unit at a time")
    layer, i, j = check_entry(net, layer, i, j)
    plain = float64_copy(engine)
    x, t = net.check_batch(X, y)
    analytic = float(take_gradients(engine, x, t).weights[layer - 1][i, j])
    x, t = float64_data(x), float64_data(t)
    with np.errstate(all="ignore"):
        rounding = _entry_rounding(plain, x, t, (layer, i, j), net.dtype)
        numeric, error, step, kink = _measured(plain, x, t, (layer, i, j))
    difference = abs(analytic - numeric)
    return GradientCheck(
        analytic, numeric, error, difference, rounding, bool(difference <= error + rounding), kink, step
    )


# ---- the finite differences -----------------------------------------------------------------------------------


def _moved(
    plain: NumPyEngine, zs: list[np.ndarray], t: np.ndarray, layer: int, j: int, move: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """(mean loss, which z lie above each kink of their activation) with column j of z_layer moved by `move` (rows,)."""
    z = zs[layer - 1].copy()
    z[:, j] += move
    above: list[np.ndarray] = []
    for l, kind in enumerate(plain.architecture.activations[layer - 1 :], layer):
        above += [z > kink for kink in CATALOG[kind].kinks]
        z = CATALOG[kind].value(z) @ plain.weights[l] + plain.biases[l]
    return plain.loss(z, t)[0], above


def _measured(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry) -> tuple[float, float, float, bool]:
    """(derivative, its error, smallest step that it took, whether at a kink)."""
    layer, i, j = entry
    zs, outputs = plain.forward(x)
    column = outputs[layer - 1][:, i]
    reach = float(np.abs(column).max())
    if reach == 0:  # the weight is multiplied by 0 on every row: it does not enter the loss
        return 0.0, 0.0, 0.0, False
    steps = STEPS / reach
    here, branches = _moved(plain, zs, t, layer, j, 0 * column)
    ends = [[_moved(plain, zs, t, layer, j, s * h * column) for s in (1, -1)] for h in steps]
    up, down = (np.array([pair[k][0] for pair in ends]) for k in (0, 1))
    crossed = [any((a != b).any() for _, at in pair for a, b in zip(at, branches, strict=True)) for pair in ends]
    # A z may change sign and change back: a step is smooth if all smaller ones are.
    smooth = ~np.logical_or.accumulate(crossed[::-1])[::-1]
    slopes = (up - down) / (2 * steps)
    noise = _loss_noise(plain, x, t, entry, steps, np.maximum(up, down))
    if smooth.sum() < 2:
        h = float(steps[-1])
        gap = abs(float((up[-1] - 2 * here + down[-1]) / h))
        return float(slopes[-1]), gap / 2 + float(noise[-1]) / h, h, True
    return *_extrapolated(slopes[smooth], steps[smooth], noise[smooth]), False


def _loss_noise(
    plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry, steps: np.ndarray, losses: np.ndarray
) -> np.ndarray:
    """(steps,) the error of each loss: of z_L, which the loss passes on by its delta, and of the loss itself.

    In a net that fits well delta is small here and grows with the step; it is taken to grow in proportion.
    """
    layer, i, j = entry
    far = plain.copy()
    far.weights[layer - 1][i, j] += steps[STEPS == 1][0]
    # What a loss is a small difference of: its rounding stays where the loss goes to 0. Cross-entropy has log of a
    # sum that is near 1; binary cross-entropy z - z y; mse nothing but z - y.
    cancelled = {"cross_entropy": 1.0, "mse": 0.0}.get(plain.architecture.loss)
    if cancelled is None:
        cancelled = float(np.abs(plain.forward(x)[0][-1]).mean())
    own = 2 * float(np.finfo(np.float64).eps) * (losses + cancelled)
    return own + _loss_rounding(plain, x, t) + STEPS * _loss_rounding(far, x, t)


def _extrapolated(slopes: np.ndarray, steps: np.ndarray, noise: np.ndarray) -> tuple[float, float, float]:
    """(value, error, smallest step) of the T_m(h) with the least error.

    The error is how far it is from both that it was made of, which is more than what is left, and the noise / h of
    D(h), which extrapolation raises by up to (17 / 15) (257 / 255) (4097 / 4095) = 1.15.
    """
    best = (float(slopes[-1]), np.inf, float(steps[-1]))
    table = slopes
    for m in range(1, min(LEVELS, len(slopes) - 1) + 1):
        finer, coarser = table[1:], table[:-1]
        table = finer + (finer - coarser) / (16.0**m - 1)
        errors = np.maximum(np.abs(table - finer), np.abs(table - coarser)) + 1.15 * noise[m:] / steps[m:]
        errors[~np.isfinite(errors)] = np.inf  # of steps that overflow
        k = int(errors.argmin())
        if errors[k] < best[1]:
            best = (float(table[k]), float(errors[k]), float(steps[m + k]))
    return best


# ---- rounding, measured ---------------------------------------------------------------------------------------


class _Rounding:
    """Random errors of the size that rounding has in a format with this unit roundoff and smallest number."""

    def __init__(self, unit: float, tiny: float, rng: np.random.Generator) -> None:
        self.unit, self.tiny, self.rng = unit, tiny, rng

    def off(self, values: np.ndarray, size: np.ndarray, times: float) -> np.ndarray:
        """values with an error of `times` roundings of numbers of this size; what is 0 is exact."""
        spread = (self.unit * times * size + self.tiny) * (size > 0)
        return values + spread * self.rng.standard_normal(values.shape)

    def product(self, a: np.ndarray, w: np.ndarray) -> np.ndarray:
        """a @ w. The partial sums grow to the result while they wander as far as the terms' squares let them."""
        exact = a @ w
        scale = float(np.abs(a).max()) or 1.0
        wander = scale * np.sqrt(np.square(a / scale) @ np.square(w))
        return self.off(exact, np.hypot(exact, wander), len(w) ** 0.5)


def _replayed(
    plain: NumPyEngine, x: np.ndarray, t: np.ndarray, r: _Rounding
) -> tuple[list[np.ndarray], list[np.ndarray], float, np.ndarray]:
    """(z of every layer, a of every layer with a[0] = x, mean loss, delta_L), each operation with its rounding."""
    zs, outputs = [], [x]
    for weights, biases, kind in zip(plain.weights, plain.biases, plain.architecture.kinds, strict=True):
        z = r.product(outputs[-1], weights) + biases
        zs.append(r.off(z, np.abs(z) + np.abs(biases), 1))
        phi = CATALOG[kind]
        a = phi.value(zs[-1])
        exact = phi.slope_below in (0, 1)  # of straight lines with these slopes
        outputs.append(a if exact else r.off(a, np.abs(a), ULPS))
    loss, delta, _ = plain.loss(zs[-1], t)
    size = np.abs(delta)
    known = LOSSES[plain.architecture.loss]
    if known.has_accuracy:  # p - y: what both have in common cancels, the error of p does not
        given = np.eye(delta.shape[1])[t] if t.ndim == 1 else t
        size = size + given / (delta.size if known.averages_outputs else len(t))
    return zs, outputs, loss, r.off(delta, size, ULPS)


def _replayed_entry(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry, r: _Rounding) -> float:
    """The entry of the gradient, each operation with its rounding."""
    layer, i, j = entry
    zs, outputs, _, delta = _replayed(plain, x, t, r)
    for l in range(len(zs) - 1, layer - 1, -1):
        derivative = CATALOG[plain.architecture.activations[l - 1]].derivative(zs[l - 1])
        delta = r.product(delta, plain.weights[l].T) * derivative
        delta = r.off(delta, np.abs(delta), ULPS)
    return float(r.product(outputs[layer - 1][:, [i]].T, delta[:, [j]])[0, 0])


def _spread(exact: float, draws: list[float]) -> float:
    return DEVIATIONS * float(np.sqrt(np.mean(np.square(np.array(draws) - exact))))


# Errors are proportional to the unit roundoff. That of float64 would drown in the rounding of the replay itself, so
# they are measured at this one and scaled.
_COARSE = 2.0**-30


def _entry_rounding(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry, dtype: np.dtype) -> float:
    """How far rounding in this type may take the entry of the gradient."""
    info = np.finfo(dtype)
    own = float(info.eps) / 2
    unit, rng = max(own, _COARSE), np.random.default_rng(0)
    noisy = _Rounding(unit, float(info.smallest_subnormal), rng)
    exact = _replayed_entry(plain, x, t, entry, _Rounding(0.0, 0.0, rng))
    return _spread(exact, [_replayed_entry(plain, x, t, entry, noisy) for _ in range(DRAWS)]) * (own / unit)


def _loss_rounding(plain: NumPyEngine, x: np.ndarray, t: np.ndarray) -> float:
    """How far rounding of the z in float64 may take the mean loss."""
    rng = np.random.default_rng(0)
    noisy = _Rounding(_COARSE, 0.0, rng)
    exact = _replayed(plain, x, t, _Rounding(0.0, 0.0, rng))[2]
    draws = [_replayed(plain, x, t, noisy)[2] for _ in range(DRAWS)]
    return _spread(exact, draws) * (float(np.finfo(np.float64).eps) / 2 / _COARSE)
