"""What the gradient's gain should be at each layer of one net, of finite width: by the variances that its weights,
biases and inputs have, with a band in which 95 % of random nets lie.

Sources: as of ``vgfast.inspection.mean_field``; for the band Hanin, "Which neural net architectures give rise to
exploding and vanishing gradients?" (2018); Wilson, Hilferty, "The distribution of chi-square" (1931).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.inspection.moments import LARGEST, checked_squares, moments, moments_of
from vgfast.model.activations import Given, names_of
from vgfast.model.averages import Square, of_derivative, of_output
from vgfast.model.dropout import Given as Dropout
from vgfast.model.dropout import checked, dropped
from vgfast.model.engine import Engine

# One layer of `predict`.
PREDICTION = np.dtype([(name, np.float64) for name in ("predicted_gain", "predicted_low", "predicted_high")])

# Of the normal distribution: 95 % are less than so many standard deviations from the mean.
BAND = 1.959964

# Standard deviation that float32 arithmetic may add to a measured gain_l² of 1: not 0 where theory leaves no chance.
ROUNDING = 1e-6


def predict(net: Any, X: Any) -> np.ndarray:
    """What ``gain`` should be at each layer of this net, on inputs of the lengths that the rows of X (rows, n_in) have.

    Returns (L,) records with ``predicted_gain`` and the 95 % band ``predicted_low`` to ``predicted_high``; NaN for
    layer L, which has no gain. See ``predict_from_moments``. Of nets with a normalization or residual connections see
    ``inspection.normalized_field`` and ``inspection.residual_field``: they have no band, which is NaN then. Errors:
    ValueError or TypeError if X does not fit the net, or a parameter is not finite.

    >>> import numpy as np, vgfast as vg
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(64, 300)), rng.integers(0, 10, 64)
    >>> net = vg.MLP([300, 300, 300, 10], "tanh", rng=0)
    >>> expected, found = predict(net, X)[:-1], net.inspect(X, y).layers.gain[:-1]
    >>> bool(((expected["predicted_low"] < found) & (found < expected["predicted_high"])).all())
    True
    """
    found = moments(net, X)
    alone = predict_without_band(net._engine, net._architecture.check_inputs(X))
    if alone is not None:
        return alone
    return predict_from_moments(net.sizes, net.activations, *found, dropout=net.dropout)


def predict_without_band(engine: Engine, x: np.ndarray) -> np.ndarray | None:
    """``predict`` of nets with a normalization or residual connections, of checked rows; None of others, and of nets
    with both, of which there is no theory here."""
    net = engine.architecture
    if (net.normalization is None) == (net.residual is None):
        return None
    from vgfast.inspection import normalized_field, residual_field  # only read where they are needed

    result = np.full(net.n_layers, np.nan, PREDICTION)
    if net.normalization is not None:
        result["predicted_gain"] = normalized_field.predict(net, normalized_field.moments(engine, x))
    else:
        alike = net.scale
        scales = {last: float(engine.scales[last][0]) if net.learns_scales else alike for _, last in net.blocks}
        found = moments_of(engine.weights, engine.biases, x)
        result["predicted_gain"] = residual_field.predict(net, *found, scales)
    return result


def predict_from_moments(
    sizes: Sequence[int],
    activation: Given | Sequence[Given],
    weight_squares: Sequence[float],
    bias_squares: Sequence[float],
    input_squares: Sequence[float],
    dropout: Dropout | Sequence[Dropout] = 0.0,
) -> np.ndarray:
    """``predict`` from the mean squares of each layer's weights and biases, (L,) each, and of the inputs: of all
    rows, or of each of several groups of equally many rows.

    With w_l and b_l the mean squares of layer l's weights and biases, and z_l ~ N(0, q_l) in each group:

        q_1 = n_0 w_1 x² + b_1,    q_{l+1} = n_l w_{l+1} E[phi(z_l)²] + b_{l+1}
        gain_l = sqrt(n_l w_{l+1}) (the weights) times sqrt(E[phi'(z_l)²]) (the activation)

    gain_l² is averaged over the groups by their shares in ‖delta_{l+1}‖², which are equal at the output and follow
    from the gains below it. All that takes the weights for independent draws. Training makes them something else,
    and where it did so, the gain leaves the band: that is what a prediction after training is for.

    The band. Let all rows of the batch be alike: that is the worst case, others average over rows and lie closer
    together. delta_{l+1} is then one direction u, and gain_l² = sum over units i of f_i² (W_i u)², with
    f_i = phi'(z_i), W_i the n_{l+1} weights that leave unit i, and z_i independent. For normal weights of
    given square sum (W is then uniform on a sphere, whose fourth moments are known), and with F = E f⁴ / (E f²)²:

        V = Var[gain_l²] / E[gain_l²]² = (3 F - 1 - 2 / n_{l+1}) / (n_l + 2 / n_{l+1})

    which is Hanin's 5 / n for ReLU. To it comes, by the first order in r_l = Var[q_l] / q_l², the chance in the
    lengths before:

        (d ln E[f²] / d ln q_l)² r_l,    with r_1 = 0 and, for m = E[phi(z_l)²],
        r_{l+1} = (n_l w_{l+1} m / q_{l+1})² ((E[phi(z_l)⁴] / m² - 1) / n_l + (d ln m / d ln q_l)² r_l)

    With dropout, of which k is the share that is kept, E[phi²], E[phi'²] and their F are divided by k: what is kept is
    divided by k, the rest 0. Alpha dropout, which leaves A phi + C or D, has k A² E[phi'²] and E[left²].

    The band is that of a gamma distribution with mean 1 and this variance (exact for sums of squares of normal
    numbers), from 2.5 % to 97.5 % by Wilson and Hilferty (1931), to whom its cube root is normal: gain_l² times
    (1 - V / 9 ± 1.96 sqrt(V) / 3)³. For rows alike, 95 % of random layers are then inside (93 to 97 % if they
    have only 4 to 10 units); for different rows, and losses that pull them in different directions, more.

    >>> layer = predict_from_moments([300, 300, 300], "relu", [2 / 300] * 2, [0, 0], [1.0])[0]
    >>> [round(float(number), 2) for number in layer]
    [1.0, 0.87, 1.13]
    """
    sizes = _check.sizes(sizes)
    activations = names_of(activation, len(sizes) - 2)
    drops = [dropped(one) for one in checked(dropout, len(activations)) or (0.0,) * len(activations)]
    w = checked_squares("weight_squares", weight_squares, len(sizes) - 1)
    b = checked_squares("bias_squares", bias_squares, len(sizes) - 1)
    q = sizes[0] * w[0] * checked_squares("input_squares", input_squares) + b[0]
    r = np.zeros_like(q)
    squares, variances = [], []  # of gain_l², each (groups,), for l = 1..L-1
    for l, (name, how, (n, n_next)) in enumerate(zip(activations, drops, pairwise(sizes[1:]), strict=True), 1):
        derivative = of_derivative(name, q)
        squares.append(n * w[l] * derivative.mean * how.slope_square)
        chance = (3 * derivative.spread / how.keep - 1 - 2 / n_next) / (n + 2 / n_next)
        variances.append(chance + derivative.slope**2 * r)
        q, r = _next_lengths(n, w[l], b[l], of_output(name, q, how), r)
    return _over_groups(squares, variances)


def _next_lengths(n: int, w: float, b: float, value: Square, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q and r of the layer behind n units whose outputs have this square."""
    with np.errstate(over="ignore"):
        mapped = np.minimum(n * w * value.mean, LARGEST)
    q = mapped + b
    of_weights = np.divide(mapped, q, out=np.zeros_like(q), where=q > 0)
    return q, of_weights**2 * ((value.spread - 1) / n + value.slope**2 * r)


def _over_groups(squares: list[np.ndarray], variances: list[np.ndarray]) -> np.ndarray:
    """(L,) predictions from what each group of rows has in layers 1..L-1, each (groups,)."""
    result = np.full(len(squares) + 1, np.nan, PREDICTION)
    shares: Any = 1 / len(squares[0]) if squares else 1.0
    for l in range(len(squares), 0, -1):
        passed = shares * squares[l - 1]
        square = float(passed.sum())
        if square > 0:
            shares = passed / square
        deviation = float((shares * np.sqrt(variances[l - 1])).sum())  # groups go up and down together, at worst
        low, high = _gamma_band(deviation**2 + ROUNDING**2)
        result[l - 1] = math.sqrt(square), math.sqrt(square * low), math.sqrt(square * high)
    return result


def _gamma_band(variance: float) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of a gamma distribution with mean 1."""
    centre, half = 1 - variance / 9, BAND * math.sqrt(variance) / 3
    return max(centre - half, 0.0) ** 3, max(centre + half, 0.0) ** 3
