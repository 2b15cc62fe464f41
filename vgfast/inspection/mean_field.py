"""What the gradient's gain at each layer should be, from the variances of weights and biases and the activation
alone: mean-field theory, with a band for nets of finite width.

In a wide layer with random weights each pre-activation is a sum of many independent terms, so z_l ~ N(0, q_l),
and what the layer does to signals depends on a few averages over x ~ N(0, 1) only. With sw2 = n_in Var[W] and
sb2 = Var[b]:

    lengths     q_l = sw2 E[phi(sqrt(q_{l-1}) x)²] + sb2, which settles at the fixed point q*
    gradients   chi = sw2 E[phi'(sqrt(q*) x)²], the factor of ‖delta‖² per layer; the gain is its square root

chi < 1: the gradient vanishes (the ordered phase); chi > 1: it explodes (chaos); sw2 is critical at chi = 1.

>>> from vgfast.inspection import mean_field
>>> round(1 / mean_field.gain("sigmoid", sw2=1, sb2=1), 2)  # Nielsen's first weights: a fifth is left per layer
4.88
>>> round(mean_field.critical_variance("tanh", sb2=0.05), 2)
1.76
>>> mean_field.critical_variance("relu")  # He's
2.0

Sources: Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, "Exponential expressivity in deep neural networks through
transient chaos" (2016) for q; Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep information propagation" (2017)
for chi and the depth scale; Hanin, "Which neural net architectures give rise to exploding and vanishing
gradients?" (2018) for finite width; Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks"
(2017) for SELU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.model.activations import CATALOG, Given, name_of, names_of
from vgfast.model.averages import Square, of_derivative, of_value
from vgfast.model.critical import CriticalPoint, critical_point_at

# One layer of `predict`.
PREDICTION = np.dtype([(name, np.float64) for name in ("predicted_gain", "predicted_low", "predicted_high")])

# Squares of so many numbers are formed at a time.
CHUNK = 1 << 15

# Of the normal distribution: 95 % are less than so many standard deviations from the mean.
BAND = 1.959964

# A fixed point is looked for in steps of this factor, and so far from where q begins.
STEP, RANGE = 1.25, 1e12

# Groups of rows of alike length, at most, that `predict` distinguishes.
GROUPS = 16

# Of the q that `predict` goes on with: what has exploded so far cannot overflow.
LARGEST = 1e290

# Standard deviation that float32 arithmetic may add to a measured gain_l² of 1: not 0 where theory leaves no chance.
ROUNDING = 1e-6


# ---- infinite width, any depth --------------------------------------------------------------------------


def _checked(activation: Any, sw2: Any, sb2: Any) -> tuple[str, float, float]:
    return (
        name_of(activation),
        _check.real("sw2, the inputs' number times the weights' variance,", sw2, 0),
        _check.real("sb2, the biases' variance,", sb2, 0),
    )


def length_map(q: float, activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """The variance of z in the layer after one in which it is q.

    q, sw2 = n_in Var[W], sb2 = Var[b]: at least 0. Errors, here and below: ValueError or TypeError for a number
    that is not, or an unknown activation.

    >>> length_map(3.0, "relu", sw2=2)
    3.0
    """
    activation, sw2, sb2 = _checked(activation, sw2, sb2)
    return float(sw2 * of_value(activation, _check.real("q, a variance,", q, 0)).mean + sb2)


def fixed_point(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """q*, the variance of z that many layers lead to, from inputs of mean square 1 where that depends on the inputs.

    Infinity, if it grows without end; for identity and the ReLUs NaN where every q stays as it is.

    >>> round(fixed_point("sigmoid", sw2=1, sb2=1), 6)
    1.302134
    """
    activation, sw2, sb2 = _checked(activation, sw2, sb2)
    if CATALOG[activation].slope_below is not None:
        factor = sw2 * float(of_derivative(activation, 1.0).mean)
        if factor < 1:
            return sb2 / (1 - factor)
        return math.nan if factor == 1 and sb2 == 0 else math.inf
    phi, zero = CATALOG[activation], np.zeros(())
    if not phi.squashing:
        return _nearest_fixed_point(activation, sw2, sb2)
    if sb2 == 0 and phi.value(zero) == 0 and sw2 * phi.derivative(zero) ** 2 <= 1:
        return 0.0
    # The map is concave in q, and at most sw2 times the largest phi²: Newton from the right cannot overshoot.
    q = sw2 * float((phi.value(np.array([-1e300, 1e300])) ** 2).max()) + sb2
    for _ in range(200):
        value = of_value(activation, q)
        mapped = sw2 * value.mean
        after = float(q - (q - mapped - sb2) / (1 - mapped * value.slope / q)) if q > 0 else q
        if not 0 < after < q:
            break
        q = after
    return q


def _nearest_fixed_point(activation: str, sw2: float, sb2: float) -> float:
    """The first that q comes to in steps from sw2 + sb2 on, up or down: as the map rises with q, it passes none.

    The map of gelu and its like is not concave: it may have a fixed point from which q drifts away, to 0 or without
    end.
    """

    def rise(q: Any) -> Any:
        return sw2 * of_value(activation, q).mean + sb2 - q

    start = sw2 + sb2
    direction = float(np.sign(rise(start)))
    if direction == 0 or start == 0:
        return start
    reach = max(RANGE, 2 * start / sb2) if direction < 0 < sb2 else RANGE  # below sb2 there is none
    steps = start * STEP ** (direction * np.arange(math.log(reach) / math.log(STEP) + 1))
    passed = np.flatnonzero(direction * rise(steps) <= 0)
    if not len(passed):
        return math.inf if direction > 0 else 0.0
    near, far = float(steps[passed[0] - 1]), float(steps[passed[0]])
    while near != (middle := (near + far) / 2) != far:  # until they are neighbours
        near, far = (middle, far) if direction * rise(middle) > 0 else (near, middle)
    return far


def chi(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """The factor of ‖delta‖² per layer, sw2 E[phi'(sqrt(q*) x)²].

    >>> round(chi("tanh", sw2=3, sb2=0.05), 4)  # above 1: explodes
    1.2089
    """
    activation, sw2, sb2 = _checked(activation, sw2, sb2)
    curved = CATALOG[activation].slope_below is None
    q = fixed_point(activation, sw2, sb2) if curved else 1.0  # of straight lines, phi' does not depend on it
    return float(sw2 * of_derivative(activation, min(q, RANGE)).mean)


def gain(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """The factor of ‖delta‖ per layer, sqrt(chi).

    >>> round(gain("sigmoid", sw2=1, sb2=1), 6)
    0.204841
    """
    return math.sqrt(chi(activation, sw2, sb2))


def depth_scale(activation: Given, sw2: float, sb2: float = 0.0) -> float:
    """In how many layers ‖delta‖² changes by a factor of e: 1 / |ln chi|; infinite where chi = 1.

    >>> round(depth_scale("tanh", sw2=1.5, sb2=0.05), 2)
    15.79
    """
    factor = chi(activation, sw2, sb2)
    if factor == 0:
        return 0.0
    return math.inf if factor == 1 else 1 / abs(math.log(factor))


def critical_variance(activation: Given, sb2: float = 0.0) -> float:
    """The sw2 = n_in Var[W] at which chi = 1: gradients neither vanish nor explode. For gelu, silu, mish and hardswish
    without biases chi jumps there, as q then no longer falls to 0 but grows without end; see ``critical_point``.

    >>> critical_variance("identity")
    1.0
    """
    activation, _, sb2 = _checked(activation, 0.0, sb2)
    if CATALOG[activation].slope_below is not None:
        return 1 / float(of_derivative(activation, 1.0).mean)
    low, high = 0.0, 1.0
    while chi(activation, high, sb2) < 1:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:  # until they are neighbours
        low, high = (middle, high) if chi(activation, middle, sb2) < 1 else (low, middle)
    return high


def critical_point(activation: Given, q: float = 1.0) -> CriticalPoint:
    """The sw2 and sb2 for which layers keep this q, a variance above 0, and chi = 1: what ``vg.init.critical`` draws.

    A negative sb2: there are none. A slope above 1: a q that is a little off drifts away from this one.

    >>> [round(number, 4) for number in critical_point("tanh")]
    [1.0, 2.1533, 0.151, 0.3915]
    """
    activation, _, _ = _checked(activation, 0.0, 0.0)
    return critical_point_at(activation, _check.real("q, a variance,", q, 0, above=True))


# ---- closed forms ---------------------------------------------------------------------------------------


def relu_moment_ratio(widths: Sequence[int]) -> float:
    """E‖delta‖⁴ / (E‖delta‖²)² after going back through ReLU layers of these widths: the product of 1 + 5 / n.

    How unequal nets of one shape are: nearly 1 if the sum of 1 / n is small, whatever the depth (Hanin 2018).

    >>> round(relu_moment_ratio([20] * 5), 2)
    3.05
    """
    return math.prod(1 + 5 / _check.integer("a width", n, 1) for n in _listed("widths", widths))


def selu_jacobian() -> np.ndarray:
    """(2, 2) derivatives of a SELU layer's (mean, variance) by those before it, at the fixed point (0, 1) with
    weights that sum to 0 and have the square sum 1: eigenvalues below 1, so the point attracts.

    Klambauer et al. 2017, equations 4 and 5, differentiated by the variance under the integral.

    >>> selu_jacobian().round(5).tolist()
    [[0.0, 0.08883], [0.0, 0.78265]]
    """
    scale, alpha = 1.0507009873554805, 1.6732632423543778
    below1, below2 = (math.exp(k * k / 2) * math.erfc(k / math.sqrt(2)) / 2 for k in (1, 2))  # e^(k²/2) P(x < -k)
    mean = scale / 2 * (alpha * below1 + (1 - alpha) / math.sqrt(2 * math.pi))
    variance = scale**2 * (0.5 + alpha**2 * (2 * below2 - below1))
    return np.array([[0.0, mean], [0.0, variance]])


# ---- one net, of finite width ---------------------------------------------------------------------------


def predict(net: Any, X: Any) -> np.ndarray:
    """What ``gain`` should be at each layer of this net, on inputs of the lengths that the rows of X (rows, n_in) have.

    Returns (L,) records with ``predicted_gain`` and the 95 % band ``predicted_low`` to ``predicted_high``; NaN for
    layer L, which has no gain. See ``predict_from_moments``. Errors: ValueError or TypeError if X does not fit the
    net, or a parameter is not finite.

    >>> import numpy as np, vgfast as vg
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(64, 300)), rng.integers(0, 10, 64)
    >>> net = vg.MLP([300, 300, 300, 10], "tanh", rng=0)
    >>> expected, found = predict(net, X)[:-1], net.inspect(X, y).layers.gain[:-1]
    >>> bool(((expected["predicted_low"] < found) & (found < expected["predicted_high"])).all())
    True
    """
    return predict_from_moments(net.sizes, net.activations, *moments(net, X), dropout=net.dropout)


def moments(net: Any, X: Any) -> tuple[list[float], list[float], list[float]]:
    """What ``predict_from_moments`` needs of this net and the rows of X (rows, n_in): (weight_squares, bias_squares,
    input_squares). Errors as for ``predict``."""
    return moments_of(net.weights, net.biases, _check.inputs("X", X, net.sizes[0], net.dtype))


def moments_of(
    weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], x: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """As ``moments``, of parameters layer by layer and of rows that are checked."""
    rows = np.sort(_row_means(x))
    return (
        [_mean_square(f"weights[{l}]", w) for l, w in enumerate(weights)],
        [_mean_square(f"biases[{l}]", b) if b.size else 0.0 for l, b in enumerate(biases)],
        [float(group.mean()) for group in np.array_split(rows, min(len(rows), GROUPS))],
    )


def _row_means(array: np.ndarray) -> np.ndarray:
    """(rows,) float64 mean squares, some rows at a time: squares of all would take twice a float32 array's memory."""
    means = np.empty(len(array))
    some = max(1, CHUNK // array.shape[1])
    for start in range(0, len(array), some):
        np.mean(np.square(array[start : start + some], dtype=np.float64), axis=1, out=means[start : start + some])
    return means


def _mean_square(name: str, array: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        mean = float(_row_means(array.reshape(-1, array.shape[-1])).mean())
    if not math.isfinite(mean):
        raise ValueError(f"{name} must have finite squares, got a mean square of {mean}; assign finite values")
    return mean


def predict_from_moments(
    sizes: Sequence[int],
    activation: Given | Sequence[Given],
    weight_squares: Sequence[float],
    bias_squares: Sequence[float],
    input_squares: Sequence[float],
    dropout: float | Sequence[float] = 0.0,
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
    divided by k, the rest 0.

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
    kept = 1 - np.array(_check.dropout(dropout, len(activations)) or (0.0,) * len(activations))
    w = _moments("weight_squares", weight_squares, len(sizes) - 1)
    b = _moments("bias_squares", bias_squares, len(sizes) - 1)
    q = sizes[0] * w[0] * _moments("input_squares", input_squares) + b[0]
    r = np.zeros_like(q)
    squares, variances = [], []  # of gain_l², each (groups,), for l = 1..L-1
    for l, (name, k, (n, n_next)) in enumerate(zip(activations, kept, pairwise(sizes[1:]), strict=True), 1):
        value, derivative = of_value(name, q), of_derivative(name, q)
        squares.append(n * w[l] * derivative.mean / k)
        chance = (3 * derivative.spread / k - 1 - 2 / n_next) / (n + 2 / n_next)
        variances.append(chance + derivative.slope**2 * r)
        q, r = _next_lengths(n, w[l], b[l], value, k, r)
    return _over_groups(squares, variances)


def _next_lengths(n: int, w: float, b: float, value: Square, k: float, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q and r of the layer behind n units whose outputs have this square, of which a share of k is kept."""
    with np.errstate(over="ignore"):
        mapped = np.minimum(n * w * value.mean / k, LARGEST)
    q = mapped + b
    of_weights = np.divide(mapped, q, out=np.zeros_like(q), where=q > 0)
    return q, of_weights**2 * ((value.spread / k - 1) / n + value.slope**2 * r)


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


def _moments(name: str, values: Sequence[float], layers: int | None = None) -> np.ndarray:
    """Mean squares: (layers,), or as many as there are, but at least one."""
    items = _listed(name, values)
    if not items if layers is None else len(items) != layers:
        needed = "at least one number" if layers is None else f"{layers} numbers, one a layer"
        raise ValueError(f"{name} must have {needed}, got {len(items)}")
    return np.array([_check.real(f"{name}[{i}], a mean square,", item, 0) for i, item in enumerate(items)])


def _listed(name: str, values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name} must be a list of numbers, got {values!r}; for one number use [{values!r}]") from None


def _gamma_band(variance: float) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of a gamma distribution with mean 1."""
    centre, half = 1 - variance / 9, BAND * math.sqrt(variance) / 3
    return max(centre - half, 0.0) ** 3, max(centre + half, 0.0) ** 3
