"""Mean-field theory of nets with residual connections: what signals and gradients are multiplied by in each block.

A block makes a + s f(a) of a; its f is of ``every`` layers, a z = a W + b and a phi(z) each. With sw2 = n_in Var[W],
sb2 = Var[b], and, for z ~ N(0, q), m = E phi(z), M = E phi(z)² and D = E phi'(z)²:

    activity     E a² becomes E a² + 2 s m E a + s² M, and E a becomes E a + s m, as z is independent of each unit's a;
                 q = sw2 E a² + sb2 in the first layer of a block, and sw2 M + sb2 in those behind it
    gradients    |u|² is multiplied by chi = 1 + s² sw2 D, of several layers 1 + s² (sw2 D) (sw2 D) ...: what comes
                 around the block and what comes through it are independent, and their squares add up

So the gradient cannot vanish. With s = 1, ReLU and He's weights, it doubles in each block; with s = 1 / sqrt(L), L
blocks make e^(sw2 D) of it; with ReZero's s = 0 it stays as it is, exactly.

Left out is what the units of u have in common: a share of 1 / n at the output, which grows on the way back where
activities have a mean. 400 wide, with s = 1 and ReLU, measured gains are 3 % above these behind eight blocks, and 23 %
from twenty on; with 1 / sqrt(L) at most 3 % behind forty. Of tanh there is none.

>>> import vgfast as vg
>>> found = through("relu", 20, vg.residual(), sw2=2)
>>> found["gain"][:3].round(4).tolist()  # sqrt(2)
[1.4142, 1.4142, 1.4142]
>>> round(float(np.prod(through("relu", 1000, vg.residual(scale="1/sqrt(L)"), sw2=2)["gain"] ** 2)), 2)  # nearly e
2.72

Sources: Yang, Schoenholz, "Mean field residual networks: on the edge of chaos" (2017); Bachlechner and others, "ReZero
is all you need: fast convergence at large depth" (2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check
from vgfast.inspection.moments import LARGEST
from vgfast.model.activations import Given, name_of
from vgfast.model.architecture import Architecture
from vgfast.model.averages import mean_of_value, of_derivative, of_value
from vgfast.model.dropout import dropped
from vgfast.model.residual import LEARNED, ROOT, Residual

# One block of ``through``.
BLOCK = np.dtype([(name, np.float64) for name in ("activity_gain", "gain")])


def through(
    activation: Given,
    n_blocks: int,
    residual: Residual,
    sw2: float,
    sb2: float = 0.0,
    square: float = 1.0,
    mean: float = 0.0,
) -> np.ndarray:
    """(n_blocks,) of wide layers, with ``activity_gain``, the factor of the root mean square of a, and ``gain``, that
    of the gradient's norm on its way back. square, mean: E a² and E a of what the first block gets. A scale that is
    learned is 0, as it is at first. Errors: TypeError or ValueError for what cannot be.

    >>> import vgfast as vg
    >>> through("tanh", 2, vg.residual(scale="rezero"), sw2=1.0).tolist()
    [(1.0, 1.0), (1.0, 1.0)]
    """
    activation = name_of(activation)
    n_blocks = _check.integer("n_blocks", n_blocks, 1)
    if not isinstance(residual, Residual):
        raise TypeError(f"residual must be vg.residual(...), got {_check.quote(residual)}")
    sw2, sb2 = _check.real("sw2", sw2, 0), _check.real("sb2", sb2, 0)
    a, m = np.float64(_check.real("square", square, 0, above=True)), _check.real("mean", mean, -np.inf)
    given: Any = residual.scale
    s = {ROOT: n_blocks**-0.5, LEARNED: 0.0}.get(given, given)
    found = np.empty(n_blocks, BLOCK)
    for block in found:
        q, chi = _lengths(sw2, a, sb2), s * s
        for _ in range(residual.every):
            chi *= sw2 * of_derivative(activation, q).mean
            last, q = q, _lengths(sw2, of_value(activation, q).mean, sb2)
        before = a
        a, m = _add(a, m, s, *_value(activation, last))
        block["activity_gain"], block["gain"] = np.sqrt(a / before), np.sqrt(1 + chi)
    return found


def _lengths(sw2: float, square: Any, sb2: float) -> np.ndarray:
    """q of the layer that gets a of this mean square."""
    with np.errstate(over="ignore"):
        return np.minimum(sw2 * square, LARGEST) + sb2


def _value(activation: str, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E phi(z)² and E phi(z)."""
    return of_value(activation, q).mean, mean_of_value(activation, q)


def _add(a: Any, m: Any, s: float, square: np.ndarray, mean: np.ndarray) -> tuple[Any, Any]:
    """E a² and E a behind a block, from those before it and those of what it adds s times."""
    with np.errstate(over="ignore"):
        return np.minimum(a + 2 * s * m * mean + s * s * square, LARGEST), m + s * mean


# ---- one net ----------------------------------------------------------------------------------------------


def predict(
    net: Architecture, weights: list[float], biases: list[float], inputs: list[float], scales: dict[int, float]
) -> np.ndarray:
    """(L,) what ``gain`` should be at each layer of a net with residual connections, NaN of the last; from the mean
    squares of each layer's weights and biases, (L,) each, and of the inputs in groups of rows, and the scales of blocks
    by their last layers. With dropout, M and D are divided by the share that is kept, or changed as alpha dropout
    changes them.

    As of ``vgfast.inspection``, it is of u, the gradient of the activity, where blocks begin and end, and of delta
    within them: |delta_l|² = s² |u_l|² D behind a block's last layer, and n_l w_{l+1} |delta_{l+1}|² D in the others.
    Groups of rows are averaged over by their shares in the signal. Without a band.

    >>> import numpy as np, vgfast as vg
    >>> from vgfast.inspection import mean_field
    >>> net = vg.MLP([300, *[300] * 6, 10], residual=vg.residual(scale="1/sqrt(L)"), rng=0)
    >>> X, y = np.random.default_rng(0).normal(size=(64, 300)), np.arange(64) % 10
    >>> bool(np.allclose(net.inspect(X, y).layers.gain[:-1], mean_field.predict(net, X)["predicted_gain"][:-1], 0.1))
    True
    """
    slopes = _slopes(net, weights, biases, np.array(inputs), scales)
    lasts = {last for _, last in net.blocks}
    begins = {first - 1 for first, _ in net.blocks}
    result = np.full(net.n_layers, np.nan)
    delta: Any = np.full(len(inputs), 1 / len(inputs))  # |delta_{l+1}|², of each group
    around, signal = np.zeros(len(inputs)), 1.0  # |u|² where the block behind ends, and of all groups what arrives
    for l in range(net.n_layers - 1, 0, -1):
        arrives = net.sizes[l] * weights[l] * delta + (around if l in begins else 0)
        here = arrives if l in begins or l in lasts else arrives * slopes[l - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            result[l - 1] = np.sqrt(here.sum() / signal)
        total = float(here.sum()) or 1.0  # what follows is relative to it, and cannot leave the range
        if l in lasts:
            around, delta, signal = here / total, scales[l] ** 2 * here * slopes[l - 1] / total, 1.0
        else:
            delta, signal = here, float(here.sum())
    return result


def _slopes(
    net: Architecture, weights: list[float], biases: list[float], inputs: np.ndarray, scales: dict[int, float]
) -> list[np.ndarray]:
    """D of each hidden layer, with what dropout makes of it, of each group of rows."""
    firsts = {last: first for first, last in net.blocks}
    square, mean = inputs, np.zeros_like(inputs)
    before: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # by the layer that gets it
    found = []
    for l, (kind, how) in enumerate(zip(net.activations, map(dropped, net.dropouts), strict=True), 1):
        before[l] = square, mean
        q = _lengths(net.sizes[l - 1] * weights[l - 1], square, biases[l - 1])
        found.append(of_derivative(kind, q).mean * how.slope_square)
        square, mean = _value(kind, q)
        square, mean = how.square(mean, square), how.mean(mean)
        if l in firsts:
            square, mean = _add(*before[firsts[l]], scales[l], square, mean)
    return found
