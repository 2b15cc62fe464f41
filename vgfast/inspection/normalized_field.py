"""Mean-field theory of nets with normalization: what |delta|² is multiplied by in each layer.

For z ~ N(0, q), with m = E phi(z), M = E phi(z)² and D = E phi'(z)², sw2 = n_in Var[W] and sb2 = Var[b]:

    batch norm before phi    D / (M - m²), q = 1: a unit varies over the rows by sw2 (M - m²), and is divided by that;
                             sw2 cancels
    layer, RMS before phi    sw2 D / (sw2 M + sb2), q = 1: along a row, units differ by sw2 M + sb2, as what they have
                             in common, m, is multiplied by different weights
    batch, layer after phi   sw2 D / (M - m²), q = sw2 + sb2, as what comes in has variance 1
    RMS after phi            sw2 D / M, q = sw2 + sb2

M - m² is much less than M where phi has a large mean, such as a sigmoid's 1/2: there layer norm before it passes on as
little as without, and batch norm, or layer norm after it, about all.

>>> round(chi("sigmoid", "batch"), 4), round(chi("sigmoid", "layer"), 4)
(1.0336, 0.1528)

Source of batch norm's: Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz, "A mean field theory of batch normalization"
(2019), for a wide net and a large batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check
from vgfast.model import norm
from vgfast.model.activations import Given, name_of
from vgfast.model.architecture import Architecture
from vgfast.model.averages import mean_of_value, of_derivative, of_value, variance_of_value
from vgfast.model.dropout import dropped
from vgfast.model.engine import Engine


def chi(activation: Given, normalization: Any, sw2: float = 1.0, sb2: float = 0.0) -> float:
    """The factor of |delta|² a layer of wide nets with this normalization, a name or an object of ``vg.norm``, whose
    gains are 1. The gain is its square root. Errors: TypeError or ValueError for anything else, and variances below 0.

    >>> import vgfast as vg
    >>> round(chi("relu", "batch"), 4)  # pi / (pi - 1): batch norm alone explodes
    1.4669
    >>> round(chi("sigmoid", vg.norm.layer(place="after")), 2)
    1.03
    """
    activation = name_of(activation)
    sw2, sb2 = _check.real("sw2", sw2, 0, above=True), _check.real("sb2", sb2, 0)
    how = norm.checked(normalization)
    if how is None:
        raise ValueError("normalization must be a name or an object of vg.norm, got None; use mean_field.chi without")
    q = 1.0 if how.place == "before" else sw2 + sb2
    squares, slopes = float(of_value(activation, q).mean), float(of_derivative(activation, q).mean)
    if how.place == "after":
        return sw2 * slopes / (squares if how.kind == "rms" else float(variance_of_value(activation, q)))
    if how.kind == "batch":
        return slopes / float(variance_of_value(activation, q))
    return sw2 * slopes / (sw2 * squares + sb2)


# ---- one net ----------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Mean squares of a net's weights, biases, gains and shifts, one of each a layer (0 of biases and shifts that there
    are not, 1 of gains), and of its inputs, of which ``spread`` is what differs from row to row."""

    weights: list[float]
    biases: list[float]
    gains: list[float]
    shifts: list[float]
    inputs: float
    spread: float


def moments(engine: Engine, x: np.ndarray) -> Moments:
    """Of these parameters and the rows of x."""

    def mean_squares(arrays: list[np.ndarray], absent: float) -> list[float]:
        return [float(np.square(a, dtype=np.float64).mean()) if a.size else absent for a in arrays]

    return Moments(
        mean_squares(engine.weights, 0.0),
        mean_squares(engine.biases, 0.0),
        mean_squares(engine.gains, 1.0),
        mean_squares(engine.shifts, 0.0),
        float(np.square(x, dtype=np.float64).mean()),
        float(x.var(axis=0, dtype=np.float64).mean()),
    )


def predict(net: Architecture, found: Moments) -> np.ndarray:
    """(L,) what ``gain`` should be at each layer of a net with a normalization, NaN of the last: the square root of

        n_l w_{l+1} (the weights) times D (the activation) times gain² / (variance + eps) (the normalization)

    with the averages above, layer by layer; with dropout, D and M are divided by the share that is kept, or changed as
    alpha dropout changes them. Of a finite net: without a band.

    >>> import numpy as np, vgfast as vg
    >>> net, X = vg.MLP([300, *[300] * 4, 10], "sigmoid", normalization="batch", rng=0), np.eye(300)
    >>> expected = predict(net._architecture, moments(net._engine, X))[1:-1]
    >>> bool(np.allclose(net.inspect(X, np.arange(300) % 10).layers.gain[1:-1], expected, rtol=0.1))
    True
    """
    result, how = np.full(net.n_layers, np.nan), net.normalization
    if how is None:
        return result
    square, varying = found.inputs, found.spread  # of what comes in: all of it, and what differs from row to row
    for l, (kind, how_dropped) in enumerate(zip(net.activations, map(dropped, net.dropouts), strict=True)):
        n_in, n = net.sizes[l], net.sizes[l + 1]
        gain, shift = found.gains[l], found.shifts[l]
        z = n_in * found.weights[l] * square + found.biases[l]
        before = how.place == "before"
        q = gain + shift if before else z
        value, slope = float(of_value(kind, q).mean), float(of_derivative(kind, q).mean)
        centred = float(variance_of_value(kind, q))
        if not before:
            variance = value if how.kind == "rms" else centred
        else:
            variance = n_in * found.weights[l] * varying if how.kind == "batch" else z
        passed = n * found.weights[l + 1] * slope * how_dropped.slope_square
        result[l] = math.sqrt(passed * gain / (variance + how.eps))
        mean = float(mean_of_value(kind, q))
        if not before:  # RMS norm leaves a mean, which its gains scale
            mean *= math.sqrt(gain / value) if how.kind == "rms" and value > 0 else 0.0
        square = how_dropped.square(mean, value if before else gain + shift)
        varying = how_dropped.variance(mean, centred if before else gain + shift)
    return result
