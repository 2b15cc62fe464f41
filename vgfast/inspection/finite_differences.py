"""One weight's gradient compared with finite differences of the loss, and how far the two may be apart.

The differences are those of a float64 copy of the net. With f(t) the mean loss when the weight is moved by t,

    D(h) = (f(h) - f(-h)) / 2h = f' + c_2 h^2 + c_4 h^4 + ...

at steps h that shrink by 4, and Richardson's extrapolation

    T_m(h) = T_{m-1}(h) + (T_{m-1}(h) - T_{m-1}(4h)) / (16^m - 1),    T_0 = D

takes away one power after the other (Press et al., *Numerical Recipes*, 5.7, after Ridders). Large steps suffer from
what is left of the series, small ones from the rounding of f, which is divided by h; taken is the T_m(h) for which both
together are least. Rounding is measured, not bounded (``inspection.rounding``).
"""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import numpy as np

from vgfast.inspection.gradients import take_gradients
from vgfast.inspection.paths import check_entry, float64_copy, float64_data
from vgfast.inspection.rounding import Entry, entry_rounding, loss_rounding
from vgfast.model.activations import CATALOG
from vgfast.model.engine import Engine
from vgfast.model.engine_numpy import Forward, NumPyEngine
from vgfast.show.table import WIDTH

# Steps, by how far they move the z that moves most: far below the smallest, rounding leaves no digit.
STEPS = 4.0 ** np.arange(1, -15, -1)
# Levels of extrapolation: h^2, h^4 and h^6 are taken away.
LEVELS = 3


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
    layer, i, j = check_entry(net, layer, i, j)
    plain = float64_copy(engine)
    x, t = net.check_batch(X, y)
    net.check_batch_size(len(x))
    analytic = float(take_gradients(engine, x, t).weights[layer - 1][i, j])
    x, t = float64_data(x), float64_data(t)
    with np.errstate(all="ignore"):
        rounding = entry_rounding(plain, x, t, (layer, i, j), net.dtype)
        numeric, error, step, kink = _measured(plain, x, t, (layer, i, j))
    difference = abs(analytic - numeric)
    return GradientCheck(
        analytic, numeric, error, difference, rounding, bool(difference <= error + rounding), kink, step
    )


# ---- the finite differences -----------------------------------------------------------------------------------


def _moved(
    plain: NumPyEngine, here: Forward, t: np.ndarray, layer: int, j: int, move: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """(mean loss, which z lie above each kink of their activation) with column j of z_layer moved by `move` (rows,),
    from where the net is `here`."""
    found = Forward(here.zs[: layer - 1], here.activations[:layer], here.normalized[: layer - 1], (), {})
    for l in range(layer, plain.architecture.n_layers + 1):
        product = found.activations[-1] @ plain.weights[l - 1]
        if l == layer:
            product[:, j] += move
        plain.append_layer(found, product)
    hidden = zip(found.zs[layer - 1 :], plain.architecture.activations[layer - 1 :], strict=False)
    return plain.loss(found.zs[-1], t)[0], [z > kink for z, kind in hidden for kink in CATALOG[kind].kinks]


def _unit(plain: NumPyEngine, here: Forward, layer: int) -> float:
    """A step of z that is neither large nor small: 1, or where the layer is normalized, about what it divides by."""
    kept, norm = here.normalized[layer - 1], plain.architecture.norm_of(layer)
    if kept is None or norm is None:
        return 1.0
    deviation = 1 / float(kept.rate.max())
    return deviation if norm.place == "before" else min(1.0, deviation)


def _measured(plain: NumPyEngine, x: np.ndarray, t: np.ndarray, entry: Entry) -> tuple[float, float, float, bool]:
    """(derivative, its error, smallest step that it took, whether at a kink)."""
    layer, i, j = entry
    net = plain.forward_pass(x)
    column = net.activations[layer - 1][:, i]
    reach = float(np.abs(column).max())
    if reach == 0:  # the weight is multiplied by 0 on every row: it does not enter the loss
        return 0.0, 0.0, 0.0, False
    steps = STEPS * _unit(plain, net, layer) / reach
    here, branches = _moved(plain, net, t, layer, j, 0 * column)
    ends = [[_moved(plain, net, t, layer, j, s * h * column) for s in (1, -1)] for h in steps]
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
    return own + loss_rounding(plain, x, t) + STEPS * loss_rounding(far, x, t)


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
