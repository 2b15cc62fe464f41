"""One weight's gradient, taken apart into the products of the chain rule.

For one sample, the weight from unit i of layer l-1 to unit j of layer l reaches the loss along paths: one unit of
each later layer, j = u_l, u_{l+1}, ..., u_L. Each path is worth a product, and the gradient is their sum:

    dloss/dW_l[i,j] = sum over paths of
        a_{l-1}[i] · phi'(z_l[u_l]) · W_{l+1}[u_l,u_{l+1}] · phi'(z_{l+1}[u_{l+1}]) · ... · dloss/dz_L[u_L]

(Nielsen, *Neural Networks and Deep Learning*, chapter 5, has it for layers of one unit.) With the matrices
M_k = diag(phi'(z_k)) W_{k+1} this is a_{l-1}[i] · (M_l M_{l+1} ... M_{L-1} dloss/dz_L)[j]; the same with absolute
values sums the paths' sizes, however many there are. All of it in float64. What a normalization and residual
connections do to that, ``path_steps`` says.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check
from vgfast.inspection.path_steps import Step, count_paths, steps_of
from vgfast.inspection.path_sums import Partial, find_strongest, power, ratio, sum_forwards
from vgfast.model.architecture import Architecture
from vgfast.model.engine import Engine
from vgfast.model.engine_numpy import NumPyEngine, textbook
from vgfast.model.errors import DivergenceError
from vgfast.model.losses import LOSSES
from vgfast.show.data import plain
from vgfast.show.numbers import percent
from vgfast.show.table import WIDTH, Layout, fit

# More paths than these are no longer read, and finding them takes memory by their square.
MOST_PATHS = 100
_PARTS = ("weights", "biases", "gains", "shifts")


class Factor(NamedTuple):
    """One factor of the chain rule: its ``formula``, its ``value``, and the ``product`` of it and all before it."""

    formula: str
    value: float
    product: float


@dataclass(frozen=True)
class Path:
    """One path: its ``units``, one of each layer from l-1 (the input i) to L; its signed ``contribution`` to the
    gradient; its ``share`` of the sum of absolute contributions of all paths; its ``factors``. A layer that it goes
    around has None for its unit; one with layer or RMS norm has two, before and behind it."""

    units: tuple[int | None, ...]
    contribution: float
    share: float
    factors: tuple[Factor, ...]


@dataclass(frozen=True)
class Trace:
    """dloss/dW_layer[i, j] for one sample as the sum over paths of products. ``str()`` shows it.

    ``gradient`` = ``activation`` · ``delta`` = a_{layer-1}[i] · dloss/dz_layer[j]. ``n_paths`` lead there;
    ``absolute`` is the sum of their absolute contributions, and ``cancellation`` = abs(gradient) / absolute (NaN if
    all are 0). ``paths``: the strongest of those that are not 0, strongest first. ``partial``: a ``Partial`` a layer.
    ``factors``: the product, factor by factor from the weight to the loss, where there is one path; else ().
    ``normalization``: its kind, or "".

    A chain of neurons at z = 0, where sigmoid' = 1/4. Each step takes the signal times sigmoid'(z) w:

    >>> import numpy as np, vgfast as vg
    >>> net = vg.MLP([1, 1, 1, 1, 1], "sigmoid", "mse", init="zeros", dtype="float64")
    >>> for w, b, l in [(1.0, -1.0, 1), (1.0, -0.5, 2), (4 / 3, -2 / 3, 3), (1.0, -0.5, 4)]:
    ...     net.weights[l - 1], net.biases[l - 1] = [[w]], [b]
    >>> trace = net.trace(1, 0, 0, [1.0], -0.5)  # y so that dloss/dz_4 = 2 (z_4 - y) = 1
    >>> [part.norm for part in trace.partial] == [1, 1 / 4, 1 / 12, 1 / 48]
    True
    >>> print(trace)
    dloss/dW_1[0,0] = 0.0208333 = 1/48, from the weight to the loss:
    factor             value              product so far
    a_0[0]             1                  1
    phi'(z_1[0])       0.25 = 1/4         0.25 = 1/4
    W_2[0,0]           1                  0.25 = 1/4
    phi'(z_2[0])       0.25 = 1/4         0.0625 = 1/16
    W_3[0,0]           1.33333 = 4/3      0.0833333 = 1/12
    phi'(z_3[0])       0.25 = 1/4         0.0208333 = 1/48
    W_4[0,0]           1                  0.0208333 = 1/48
    dloss/dz_4[0]      1                  0.0208333 = 1/48
    a_0 is x, phi is sigmoid.
    """

    layer: int
    i: int
    j: int
    gradient: float
    activation: float
    delta: float
    n_paths: int
    absolute: float
    cancellation: float
    factors: tuple[Factor, ...]
    paths: tuple[Path, ...]
    partial: tuple[Partial, ...]
    activations: tuple[str, ...]
    eps: float
    normalization: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data; what is not finite is None."""
        found = asdict(self)
        found["activations"], found["factors"] = list(self.activations), _records(self.factors)
        found["partial"] = _records(self.partial)
        found["paths"] = [
            {**asdict(path), "units": list(path.units), "factors": _records(path.factors)} for path in self.paths
        ]
        return plain(found)

    def __str__(self) -> str:
        name = f"dloss/dW_{self.layer}[{self.i},{self.j}]"
        if self.factors:
            head = f"{name} = {_number(self.gradient, len(self.factors) * self.eps)}, from the weight to the loss:"
            return "\n".join([head, *self._factor_table(), *textwrap.wrap(self._legend(), WIDTH)])
        head = (
            f"{name} = {self.gradient:.6g} = a_{self.layer - 1}[{self.i}] x dloss/dz_{self.layer}[{self.j}] = "
            f"{self.activation:.6g} x {self.delta:.6g}, the sum over {_count(self.n_paths)} paths. {self._verdict()}"
        )
        return "\n".join([*textwrap.wrap(head, WIDTH), *self._path_table(), *self._partial_table()])

    def _verdict(self) -> str:
        """How much of the paths cancels; or what lets none pass."""
        size = f"{self.absolute:.3g}" if math.isfinite(self.absolute) else "over 1e308"
        if self.cancellation > 1 - len(self.partial) * 1e-15:
            return f"Their absolute sum is {size}: none of it cancels."
        if not math.isnan(self.cancellation):
            return f"Of their absolute sum, {size}, {percent(self.cancellation)} is left: the rest cancels."
        if self.activation == 0:
            return f"All are 0, as a_{self.layer - 1}[{self.i}] is."
        stop = next((part.layer for part in self.partial if part.norm == 0), 0)
        return (
            f"All are 0: none passes layer {stop - 1}."
            if stop
            else f"All are 0, as dloss/dz_{self.partial[-1].layer} is."
        )

    def _legend(self) -> str:
        kinds = self.activations[self.layer - 1 :]
        what = ["a_0 is x"] if self.layer == 1 else []
        if len(set(kinds)) == 1:
            what.append(f"phi is {kinds[0]}")
        elif kinds:
            what.append(", ".join(f"phi of layer {l} is {kind}" for l, kind in enumerate(kinds, self.layer)))
        if self.normalization and kinds:
            what.append(f"N is {self.normalization} norm")
        return ", ".join(what) + "." if what else ""

    def _factor_table(self) -> list[str]:
        rows = [("factor", "value", "product so far")]
        for n, factor in enumerate(self.factors, 1):
            rows.append((factor.formula, _number(factor.value, self.eps), _number(factor.product, n * self.eps)))
        return [*map(Layout((18, 18, 0), left=(0, 1, 2)).line, rows)]

    def _path_table(self) -> list[str]:
        if not self.paths:
            return []
        n = len(self.paths)
        total = percent(math.fsum(path.share for path in self.paths))
        text = "The strongest path" if n == 1 else f"The {n} strongest paths"
        layers = range(self.layer - 1, self.partial[-1].layer + 1)
        named = ", ".join(map(str, layers)) if len(layers) < 5 else f"{layers[0]}, {layers[1]}, ..., {layers[-1]}"
        twice = "; twice if normalized" if len(self.paths[0].units) > len(layers) else ""
        lines = [f"{text}, {total} of the absolute sum:", f"contribution   share  units of layers {named}{twice}"]
        for path in self.paths:
            start = f"{path.contribution:>12.3e}  {percent(path.share):>6}  "
            way = " > ".join("-" if unit is None else str(unit) for unit in path.units)
            lines += textwrap.wrap(way, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
        return lines

    def _partial_table(self) -> list[str]:
        rows = [("layer", f"|dz/dz_{self.layer}[{self.j}]|", "gain", "not cancelled", "|dloss/dz|")]
        for part in self.partial:
            gain = "-" if math.isnan(part.gain) else f"{part.gain:.3g}"
            left = percent(part.cancellation)
            rows.append((str(part.layer), f"{part.norm:.3e}", gain, left, f"{part.delta_norm:.3e}"))
        return [f"The signal of z_{self.layer}[{self.j}], layer by layer:", *map(fit(rows, left=()).line, rows)]


def _records(rows: Sequence[NamedTuple]) -> list[dict[str, Any]]:
    return [row._asdict() for row in rows]


def _number(value: float, error: float) -> str:
    """Six digits, and the fraction of small numbers that it is but for rounding, a relative `error`.

    >>> _number(0.25 / 3, 1e-15), _number(0.084, 1e-15), _number(2.0, 1e-15)
    ('0.0833333 = 1/12', '0.084', '2')
    """
    near = Fraction(value).limit_denominator(64)
    small = near.denominator > 1 and abs(near.numerator) <= 64
    same = small and abs(value - float(near)) <= error * abs(value)
    return f"{value:.6g} = {near}" if same else f"{value:.6g}"


def _count(n: int) -> str:
    """A number of any size, too large for a float perhaps.

    >>> _count(9000), _count(30**400), _count(9_990_000_000)
    ('9,000', 'about 7e+590', 'about 1e+10')
    """
    power = math.floor(math.log10(n))
    digit = round(10 ** (math.log10(n) - power))
    if digit == 10:
        digit, power = 1, power + 1
    return f"{n:,}" if power < 6 else f"about {digit}e+{power}"


# ---- what is asked for --------------------------------------------------------------------------------------


def check_entry(net: Architecture, layer: Any, i: Any, j: Any) -> tuple[int, int, int]:
    last = net.n_layers
    layer = _check.integer(f"layer, one of the net's {last} layers of weights,", layer, 1, last)
    n_in, n_out = net.sizes[layer - 1], net.sizes[layer]
    i = _check.integer(f"i, one of the {n_in} inputs of layer {layer} counted from 0,", i, 0, n_in - 1)
    j = _check.integer(f"j, one of the {n_out} units of layer {layer} counted from 0,", j, 0, n_out - 1)
    return layer, i, j


def float64_copy(engine: Engine) -> NumPyEngine:
    """The textbook's net with the same parameters in float64."""
    of_layers = zip(*engine.architecture.parts(engine.params), strict=True)
    arrays = [pair for l, parts in enumerate(of_layers, 1) for pair in zip([l] * 4, _PARTS, parts, strict=True)]
    for l, name, array in [*arrays, *((l, "scales", scale) for l, scale in engine.scales.items())]:
        what = _check.name_unfinite(array)
        if what:
            raise DivergenceError(
                f"layer {l}'s {name} hold {what}, so nothing has a derivative; assign finite ones", layer=l
            )
    return textbook(engine, np.float64)


def _shape(name: str, value: Any) -> tuple[int, ...]:
    try:
        return tuple(np.shape(value))
    except ValueError as error:
        raise ValueError(f"{name} must be numbers in one row: {error}") from None


def _one_sample(net: Architecture, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """x (1, n_0) and y as a batch of one row, in the net's dtype."""
    n_in, n_out = net.sizes[0], net.sizes[-1]
    shape = _shape("x", x)
    if len(shape) == 2 and shape[0] != 1:
        first = "x.iloc[0]" if hasattr(x, "iloc") else "x[0]"
        raise ValueError(f"x must be one sample, whose paths are followed, got {shape[0]} rows; give {first} and y[0]")
    if len(shape) != 2:
        if shape != (n_in,):
            raise ValueError(
                f"x must hold {n_in} numbers, as many as the net has inputs, got shape {shape}; give one whole row of X"
            )
        x = np.asanyarray(x)[None]
    shape = _shape("y", y)
    if len(shape) and shape not in ((1,), (n_out,), (1, n_out)):
        label = "a label or " if LOSSES[net.loss].takes_labels else ""
        raise ValueError(
            f"y must be {label}a row of {n_out} targets, for one sample, got shape {shape}; give the y of that sample"
        )
    if shape == () or (shape == (n_out,) and n_out > 1):
        y = np.asanyarray(y)[None]
    return net.check_batch(x, y, ("x", "y"))


def float64_data(array: np.ndarray) -> np.ndarray:
    """Labels as they are, numbers in float64."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


# ---- the trace ----------------------------------------------------------------------------------------------


def follow(engine: Engine, layer: int, i: int, j: int, x: Any, y: Any, paths: int = 5) -> Trace:
    """``net.trace``: see there."""
    net = engine.architecture
    layer, i, j = check_entry(net, layer, i, j)
    n_strongest = _check.integer("paths", paths, 1, MOST_PATHS)
    sample, target = _one_sample(net, x, y)
    plain = float64_copy(engine)
    with np.errstate(all="ignore"):
        found = plain.forward_pass(sample.astype(np.float64), training=False)
        # from z_k to z_{k+1}, for k = layer..L-1
        ways = [steps_of(plain, found, k) for k in range(layer, net.n_layers)]
        deltas = _deltas(ways, plain.loss(found.zs[-1], float64_data(target))[1][0])
    _check_finite(layer, found.zs, deltas)
    activation, delta = float(found.activations[layer - 1][0, i]), float(deltas[0][j])
    partial, total, exponent = sum_forwards(layer, j, [[step.matrix for step in way] for way in ways], deltas)
    steps = [step for way in ways for step in way]
    n_paths = count_paths(steps)
    best = find_strongest([step.matrix for step in steps], j, deltas[-1], 1 if n_paths == 1 else n_strongest)
    best = best or ([(0,) * len(steps)] if n_paths == 1 else [])  # the only one is shown even if it is 0
    scale = math.frexp(abs(activation) * total)
    starts = f"a_{layer - 1}[{i}]", activation
    followed = [
        _path(steps, (i, j), way, starts, net.n_layers, deltas[-1], (scale[0], scale[1] + exponent)) for way in best
    ]
    absolute = power(scale[0], scale[1] + exponent)
    left = math.frexp(activation * delta)
    return Trace(
        layer=layer,
        i=i,
        j=j,
        gradient=activation * delta,
        activation=activation,
        delta=delta,
        n_paths=n_paths,
        absolute=absolute,
        cancellation=ratio(abs(left[0]), left[1], scale[0], scale[1] + exponent),
        factors=followed[0].factors if n_paths == 1 else (),
        paths=tuple(path for path in followed if path.contribution != 0),
        partial=tuple(partial),
        activations=net.activations,
        eps=float(np.finfo(net.dtype).eps),
        normalization=net.normalization.kind if net.normalization else "",
    )


def _deltas(ways: list[list[Step]], delta: np.ndarray) -> list[np.ndarray]:
    """dloss/dz_k for k = layer..L, from that of the last."""
    deltas, back = [delta], delta
    for way in reversed(ways):
        for step in reversed(way):
            back = step.matrix @ back
        deltas.insert(0, back[: way[0].n_from])
    return deltas


def _check_finite(layer: int, zs: list[np.ndarray], deltas: list[np.ndarray]) -> None:
    for k, signal in enumerate([*zs, *deltas]):
        if not np.isfinite(signal).all():
            l, what = (k + 1, "outputs") if k < len(zs) else (k - len(zs) + layer, "deltas")
            raise DivergenceError(
                f"this sample has no finite gradient: the {what} of layer {l} are not finite; scale x or start from "
                f"smaller weights",
                layer=l,
            )


def _path(
    steps: list[Step],
    weight: tuple[int, int],
    way: tuple[int, ...],
    start: tuple[str, float],
    last: int,
    ends: np.ndarray,
    absolute: tuple[float, int],
) -> Path:
    """From this weight (i, j) by way of these entries, one behind each step; factor by factor."""
    entries, named = (weight[1], *way), [start]
    for step, (u, v) in zip(steps, pairwise(entries), strict=True):
        named += step.factors(u, v)
    sizes = [*(step.n_from for step in steps), len(ends)]
    units = [entry if entry < n else None for entry, n in zip(entries, sizes, strict=True)]
    named.append((f"dloss/dz_{last}[{entries[-1]}]", float(ends[entries[-1]])))
    factors, product = [], 1.0
    mantissa, exponent = 1.0, 0  # the product again, which cannot underflow
    for formula, value in named:
        product *= value
        factors.append(Factor(formula, value, product))
        mantissa, more = math.frexp(mantissa * value)
        exponent += more
    return Path((weight[0], *units), product, ratio(abs(mantissa), exponent, *absolute), tuple(factors))
