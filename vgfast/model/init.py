"""First weights. Each rule is an object that fills one layer's weights and biases.

All weights and biases have the mean 0.

==================  ===============================  ==========================================================
rule                weights                          for
==================  ===============================  ==========================================================
``lecun_normal``    N(0, 1 / n_in)                   sigmoid as Nielsen has it; tanh; identity; selu
``lecun_uniform``   U(±sqrt(3 / n_in))               the same variance
``glorot_normal``   N(0, 2 / (n_in + n_out))         tanh, sigmoid
``glorot_uniform``  U(±sqrt(6 / (n_in + n_out)))     the same variance
``he_normal``       N(0, 2 / n_in)                   relu, leaky_relu
``he_uniform``      U(±sqrt(6 / n_in))               the same variance
``critical``        N(0, sw2 / n_in), biases of sb2  the gain 1 a layer, whatever the activation
``orthogonal``      gain² / max(n_in, n_out)         deep nets of tanh or identity: every direction has one gain
``lsuv``            1 / n_in, then scaled            z of variance 1 in each layer, on rows that are given
``sparse``          15 a unit N(0, 1), the rest 0    sigmoid, tanh: large weights that do not saturate wide layers
``fixup``           ``auto``, the last of each 0     residual connections: each passes signals on as they are at first
``normal``          N(0, std²)
``zeros``           0                                the one that cannot work: all units of a layer stay alike
==================  ===============================  ==========================================================

``auto`` chooses by the activation of the layer: He for the ReLUs; for selu LeCun, for which it was made; the variances
of ``critical`` for elu, gelu, silu and mish, with which He's lose all signals; else Glorot.

``he_normal`` and ``he_uniform`` have the variance 2 / n_in whatever the activation, as Keras's rules of these names and
PyTorch's ``kaiming_normal_(weight)`` have. For a leaky_relu(alpha) of another alpha than 0.01, ``auto`` draws what
``kaiming_normal_(weight, a=alpha)`` draws, weights of variance 2 / (1 + alpha²) / n_in (equation 15).

Sources: LeCun, Bottou, Orr, Müller, "Efficient BackProp" (1998), section 4.6; Glorot, Bengio, "Understanding the
difficulty of training deep feedforward neural networks" (2010), equations 12 and 16; He, Zhang, Ren, Sun, "Delving deep
into rectifiers" (2015), equation 10; and those that the rules name.

>>> import vgfast as vg
>>> net = vg.MLP([64, 30, 10], "sigmoid", init=vg.init.lecun_normal(bias_std=1.0), rng=0)
>>> round(float(net.weights[0].std() * 64**0.5), 1)
1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import _check
from vgfast.model.activations import CATALOG
from vgfast.model.architecture import Architecture
from vgfast.model.init_rules import Critical, Fixup, Independent, Layer, Lsuv, Orthogonal, Sparse

if TYPE_CHECKING:
    from vgfast.model.engine import Engine

__all__ = [
    "critical",
    "fixup",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "normal",
    "orthogonal",
    "sparse",
    "zeros",
]

Init = Layer | Critical | Lsuv | Fixup
# Fills the parameters of an engine that is new.
Fill = Callable[["Engine", "np.random.Generator"], None]


def _rule(name: str, scale: float, fan: str, uniform: bool, bias_std: float) -> Independent:
    return Independent(name, scale, fan, uniform, _bias_std(bias_std))


def _bias_std(value: Any) -> float:
    return _check.real("bias_std", value, 0)


def lecun_normal(bias_std: float = 0.0) -> Independent:
    """Weights N(0, 1 / n_in)."""
    return _rule("lecun_normal", 1, "in", False, bias_std)


def lecun_uniform(bias_std: float = 0.0) -> Independent:
    """Uniform weights of variance 1 / n_in."""
    return _rule("lecun_uniform", 1, "in", True, bias_std)


def glorot_normal(bias_std: float = 0.0) -> Independent:
    """Weights N(0, 2 / (n_in + n_out))."""
    return _rule("glorot_normal", 1, "mean", False, bias_std)


def glorot_uniform(bias_std: float = 0.0) -> Independent:
    """Uniform weights of variance 2 / (n_in + n_out)."""
    return _rule("glorot_uniform", 1, "mean", True, bias_std)


def he_normal(bias_std: float = 0.0) -> Independent:
    """Weights N(0, 2 / n_in), whatever the activation; with leaky_relu(alpha), ``auto`` takes 2 / (1 + alpha²)."""
    return _rule("he_normal", 2, "in", False, bias_std)


def he_uniform(bias_std: float = 0.0) -> Independent:
    """Uniform weights of variance 2 / n_in, whatever the activation."""
    return _rule("he_uniform", 2, "in", True, bias_std)


def normal(std: float = 0.01, bias_std: float = 0.0) -> Independent:
    """Weights N(0, std²), whatever the layer's size."""
    return _rule("normal", _check.real("std", std, 0), "", False, bias_std)


def zeros(bias_std: float = 0.0) -> Independent:
    """Weights 0."""
    return _rule("zeros", 0, "", False, bias_std)


def orthogonal(gain: float = 1.0, bias_std: float = 0.0) -> Orthogonal:
    """Orthonormal rows or columns, whichever are fewer, times gain: mean square gain² / max(n_in, n_out).

    A layer with n_out <= n_in passes delta on with exactly gain times its length, in all directions; one with more
    outputs than inputs loses some: gain² n_in / n_out of the squares, on both ways. Every such matrix is equally
    likely. It is NumPy's QR decomposition, whose last bits may differ from one machine to the next. For relu: gain
    sqrt(2), though only half of the units pass anything on, so that no layer of them treats all directions alike.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks" (2013).

    >>> import numpy as np, vgfast as vg
    >>> w = vg.MLP([30, 20, 10], "tanh", init="orthogonal", dtype="float64", rng=0).weights[0]
    >>> bool(np.allclose(w.T @ w, np.eye(20)))
    True
    """
    return Orthogonal(_check.real("gain", gain, 0, above=True), _bias_std(bias_std))


def sparse(inputs: int = 15, std: float = 1.0, bias_std: float = 0.0) -> Sparse:
    """Each unit takes `inputs` units of the layer before, chosen at random, or all if there are fewer, with weights
    N(0, std²); its other weights are 0. n_in Var[W] = inputs std², however wide the layer.

    Source: Martens, "Deep learning via Hessian-free optimization" (2010), section 5: 15 inputs, N(0, 1).

    >>> import vgfast as vg
    >>> int((vg.MLP([784, 30, 10], "sigmoid", init="sparse", rng=0).weights[0][:, 0] != 0).sum())
    15
    """
    inputs = _check.integer("inputs", inputs, 1)
    return Sparse(inputs, _check.real("std", std, 0, above=True), _bias_std(bias_std))


def critical(q: float | None = None, orthogonal: bool = False) -> Critical:
    """Weights of variance sw2 / n_in and biases of variance sb2 for which theory expects that signals keep their length
    and that gradients neither vanish nor explode, by the activation (``vgfast.inspection.mean_field``).

    q: the variance of z that layers keep, of which sw2 and sb2 follow. By default 1, or where the activation has no
    critical point at 1, or one from which q drifts away, the first of 2, 5, 10, 20 and 50 that has one which attracts.
    orthogonal: orthogonal weights of that variance instead of normal ones. With tanh and q = 1 / (2 L) in L layers, all
    directions of delta then keep their length but for a factor of about 2, where normal weights lose all but one.

    Layer 1 makes z of variance q from inputs of mean square 1. In a net of several activations each layer takes the
    point of the one before it. Errors: ValueError, from the net, for an activation without such a point.

    Sources: Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep information propagation" (2017); for orthogonal
    weights Pennington, Schoenholz, Ganguli, "Resurrecting the sigmoid in deep learning through dynamical isometry"
    (2017).

    >>> import numpy as np, vgfast as vg
    >>> net = vg.MLP([300, *[300] * 20, 10], "tanh", init="critical", rng=0)
    >>> X, y = np.random.default_rng(0).normal(size=(64, 300)), np.arange(64) % 10
    >>> bool(np.all(abs(net.inspect(X, y).layers.gain[:-1] - 1) < 0.2))
    True
    """
    q = None if q is None else _check.real("q, the variance of z,", q, 0, above=True)
    return Critical(q, _check.flag("orthogonal", orthogonal))


def fixup() -> Fixup:
    """For nets with residual connections: weights as by ``auto``, but the last ones of each block 0, and its biases. So
    each block passes gradients on as they are, at first, and adds phi(0), which is 0 but for the likes of sigmoid.

    In blocks of m = ``every`` layers, m > 1, the other weights are multiplied by L^(-1 / (2 m - 2)), L being the number
    of blocks, so that a step of all blocks together changes what the net computes no more than one of a few layers
    does. m = 1 leaves no others. What a learned scale (``"rezero"``) begins with is 1 then, the multiplier of Fixup:
    with two zeros in a row nothing would move. Its scalar biases are the biases of the layers, and the last layer of
    the net, which it sets to 0 too, is drawn as the others, so that layers have a gradient from the first step on.

    With a normalization, gains of 0 take the place of the weights of 0, and nothing is multiplied (Goyal and others,
    "Accurate, large minibatch SGD", 2017, section 5.1).

    Source: Zhang, Dauphin, Ma, "Fixup initialization: Residual learning without normalization" (2019).
    Errors: from the net, ValueError without residual connections; for relu at the end of a block, which passes nothing
    back where its input is 0, unless a normalization stands behind it; and for a normalization without gains.

    >>> import numpy as np, vgfast as vg
    >>> net = vg.MLP([8, *[16] * 101, 4], "tanh", init="fixup", residual=vg.residual(every=2), dtype="float64", rng=0)
    >>> deltas = net.inspect(np.eye(8), np.arange(8) % 4, try_remedies=False).layers.delta_norm
    >>> bool(np.allclose(deltas[:-1:2], deltas[0]))  # of a hundred layers in fifty blocks
    True
    """
    return Fixup()


def lsuv(X: Any) -> Lsuv:
    """Layer-sequential unit variance: orthogonal weights, which are divided layer by layer by the standard deviation
    that z has on the rows of X (rows, n_in), such as some hundred of the training set; biases 0.

    z then has the variance 1 in each layer, the output too, whatever the activation. What enters a layer is what the
    new net makes of X in training, with its normalization and residual connections, but without dropout. The mean of z
    is left as it is: a layer of sigmoids passes on 0.15 of the squares of delta, as it does not without.

    Source: Mishkin, Matas, "All you need is a good init" (2016).
    Errors: from the net, for an X that it does not take, and ValueError where nothing varies in a layer.

    >>> import numpy as np, vgfast as vg
    >>> X = np.random.default_rng(0).uniform(size=(200, 30))
    >>> net = vg.MLP([30, 20, 10], "relu", init=vg.init.lsuv(X), rng=0)
    >>> round(float(net.forward(X).std()), 4)
    1.0
    """
    return Lsuv(X)


# Names that stand for the rule without arguments.
NAMES = ("auto", *(name for name in __all__ if name != "lsuv"))


def choose(activation: str, first: bool = False) -> Independent:
    """What ``auto`` is for a layer, or the first one, with this activation: He for the ReLUs, LeCun for selu, the
    critical point that attracts for what else has no upper end, such as gelu, and Glorot where there is none."""
    phi = CATALOG[activation]
    if phi.squashing or phi.slope_below == 1:
        return glorot_uniform()
    if phi.slope_below is not None:
        share = 1.0 if phi.name == phi.kind else 1 + phi.alpha**2  # of the squares that it passes on, twice
        return _rule("he_normal", 2 / share, "in", False, 0.0)
    if activation == "selu":
        return lecun_normal()
    from vgfast.model.critical import find_critical_point  # only read when asked for

    point = find_critical_point(activation)
    if point is None:
        return glorot_uniform()
    return _rule("critical", point.q - point.sb2 if first else point.sw2, "in", False, math.sqrt(point.sb2))


def _named(rule: Any, architecture: Architecture) -> Init | None:
    """The rule of this name, or a rule as it is; None for ``auto``."""
    if isinstance(rule, Init):
        return rule
    if not isinstance(rule, str):
        named = getattr(rule, "__name__", None)
        uncalled = named in __all__ and rule is globals()[named]
        hint = f"; call it: vg.init.{named}({'X' if named == 'lsuv' else ''})" if uncalled else ""
        raise TypeError(
            f"init must be a name or an object such as vg.init.normal(0.05), got {_check.quote(rule)}{hint}"
        )
    if rule == "lsuv":
        raise ValueError("init='lsuv' needs rows of inputs to measure z on; use init=vg.init.lsuv(X)")
    others = NAMES if architecture.blocks or rule == "fixup" else [name for name in NAMES if name != "fixup"]
    name = _check.choice("init", rule, others)
    return None if name == "auto" else globals()[name]()


def prepare(rule: str | Init, architecture: Architecture) -> Fill:
    """What fills the parameters of such a net, with all that can be wrong checked but for numbers that are measured."""
    found = _named(rule, architecture)
    if isinstance(found, Lsuv):
        measured = found._replace(x=architecture.check_inputs(found.x).astype(np.float64))
        return lambda engine, rng: measured.fill_all(architecture, engine.weights, engine.biases, rng)
    if isinstance(found, Critical):
        return partial(_fill_layers, found.layers(architecture))
    if isinstance(found, Fixup):
        found.check(architecture)
        return partial(_fill_by_fixup, found.shrink(_automatic(architecture), architecture), found)
    return partial(_fill_layers, _of_layers(found, architecture))


def name_rules(rule: str | Init, architecture: Architecture) -> tuple[str, ...]:
    """The name of each layer's rule."""
    found = _named(rule, architecture)
    if isinstance(found, Lsuv | Critical | Fixup):
        return (found.name,) * architecture.n_layers
    return tuple(rule.name for rule in _of_layers(found, architecture))


def _of_layers(rule: Layer | None, architecture: Architecture) -> list[Layer]:
    """This rule for each layer, or what ``auto`` chooses for it."""
    return [*_automatic(architecture)] if rule is None else [rule] * architecture.n_layers


def _automatic(architecture: Architecture) -> list[Independent]:
    return [choose(kind, first=l == 0) for l, kind in enumerate(architecture.kinds)]


def _fill_layers(rules: list[Layer], engine: Engine, rng: np.random.Generator) -> None:
    """Draw all layers, the first one first."""
    for rule, w, b in zip(rules, engine.weights, engine.biases, strict=True):
        rule.fill(w, b, rng)


def _fill_by_fixup(rules: list[Layer], rule: Fixup, engine: Engine, rng: np.random.Generator) -> None:
    _fill_layers(rules, engine, rng)
    rule.close_blocks(engine)
