"""Graphs of ONNX: what a layer of a net is in its operators.

Formulas are made of operators that onnxruntime has in float64 too, and numbers are constants of the net's dtype, where
an attribute would be rounded to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast.export import normal_tail
from vgfast.export.layers import Layer
from vgfast.model.activations import SELU_ALPHA, SELU_SCALE, Activation


class Graph:
    """Nodes and constants, as they come. onnx: the package; dtype: of all numbers."""

    def __init__(self, onnx: Any, dtype: np.dtype) -> None:
        self.onnx = onnx
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """An operator; returns the name of its output."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def array(self, name: str, value: np.ndarray) -> str:
        """A constant of this name, in the dtype that it has."""
        self.constants[name] = self.onnx.numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def number(self, value: float) -> str:
        """A constant, of which there is one for each number."""
        return self.array(f"number {value!r}", np.array(value, self.dtype))

    def add_layer(self, layer: Layer, x: str) -> str:
        """Its outputs, without what goes around."""
        name = f"layer{layer.number}"
        biases = [self.array(f"{name}.bias", layer.biases)] if layer.biases.size else []
        z = self.add("Gemm", x, self.array(f"{name}.weight", layer.weights), *biases)
        phi, norm = ACTIVATIONS[layer.activation.kind], layer.norm
        if norm is None:
            return phi(self, z, layer.activation)
        if norm.place == "before":
            return phi(self, self.add_normalization(layer, z), layer.activation)
        return self.add_normalization(layer, phi(self, z, layer.activation))

    def add_normalization(self, layer: Layer, x: str) -> str:
        name, norm = f"layer{layer.number}.norm", layer.norm
        assert norm is not None
        if layer.running is not None:
            around = self.add("Sub", x, self.array(f"{name}.running_mean", layer.running[0]))
            h = self.add("Mul", around, self.array(f"{name}.factor", layer.factors))
        else:
            axes = self.array("columns", np.array([1]))
            mean = "" if norm.kind == "rms" else self.add("ReduceMean", x, axes)
            around = self.add("Sub", x, mean) if mean else x
            variance = self.add("ReduceMean", self.add("Mul", around, around), axes)
            h = self.add("Div", around, self.add("Sqrt", self.add("Add", variance, self.number(norm.eps))))
            h = self.add("Mul", h, self.array(f"{name}.weight", layer.gains)) if layer.gains.size else h
        return self.add("Add", h, self.array(f"{name}.bias", layer.shifts)) if layer.shifts.size else h

    def add_residual(self, layer: Layer, around: str, f: str) -> str:
        """around + scale f"""
        if layer.scale[0] != 1:
            f = self.add("Mul", f, self.array(f"layer{layer.number}.scale", layer.scale))
        return self.add("Add", around, f)


# ---- the activations: phi(z), by the names of the nodes that have it -------------------------------------


def _of(kind: str) -> Callable[[Graph, str, Activation], str]:
    """One operator of ONNX."""
    return lambda g, z, phi: g.add(kind, z)


def _two_lines(g: Graph, z: str, above: float, below: float, left: str) -> str:
    """above z right of 0, and below times `left`, a function of min(z, 0), left of it."""
    right = g.add("Relu", z)
    right = right if above == 1 else g.add("Mul", right, g.number(above))
    return g.add("Add", right, g.add("Mul", left, g.number(below)))


def _left(g: Graph, z: str) -> str:
    return g.add("Min", z, g.number(0.0))


def _elu(g: Graph, z: str, above: float, below: float) -> str:
    return _two_lines(g, z, above, below, g.add("Elu", _left(g, z)))


def _scaled_tanh(g: Graph, z: str, phi: Activation) -> str:
    return g.add("Mul", g.add("Tanh", g.add("Mul", z, g.number(2 / 3))), g.number(1.7159))


def _gelu(g: Graph, z: str, phi: Activation) -> str:
    if g.dtype == np.float64:
        return g.add("Mul", z, _normal_cdf(g, z))
    twice = g.add("Add", g.add("Erf", g.add("Mul", z, g.number(math.sqrt(0.5)))), g.number(1.0))
    return g.add("Mul", g.add("Mul", z, g.number(0.5)), twice)


def _normal_cdf(g: Graph, z: str) -> str:
    """onnxruntime has no Erf of float64."""
    x = g.add("Min", g.add("Abs", z), g.number(normal_tail.FAR_OUT))
    middle = g.number(normal_tail.MIDDLE)
    t = g.add("Div", g.add("Sub", x, middle), g.add("Add", x, middle))
    polynomial = g.number(normal_tail.COEFFICIENTS[-1])
    for coefficient in normal_tail.COEFFICIENTS[-2::-1]:
        polynomial = g.add("Add", g.add("Mul", polynomial, t), g.number(coefficient))
    density = g.add("Exp", g.add("Mul", g.add("Mul", x, x), g.number(-0.5)))
    tail = g.add("Mul", density, g.add("Div", polynomial, g.add("Add", x, g.number(1.0))))
    right = g.add("Sub", g.number(1.0), tail)
    return g.add("Where", g.add("Greater", z, g.number(0.0)), right, tail)


def _gelu_tanh(g: Graph, z: str, phi: Activation) -> str:
    cube = g.add("Mul", g.add("Mul", z, g.add("Mul", z, z)), g.number(0.044715))
    w = g.add("Mul", g.add("Add", z, cube), g.number(math.sqrt(8 / math.pi)))
    return g.add("Mul", z, g.add("Sigmoid", w))


def _softplus(g: Graph, z: str, phi: Activation) -> str:
    """max(z, 0) + log(1 + u), u = e^-|z|, as onnxruntime's Softplus of float64 overflows. With w = 1 + u, rounded,
    log(1 + u) is u log(w) / (w - 1), and u where w is 1 (Kahan)."""
    u, one = g.add("Exp", g.add("Neg", g.add("Abs", z))), g.number(1.0)
    w = g.add("Add", u, one)
    log = g.add("Mul", u, g.add("Div", g.add("Log", w), g.add("Sub", w, one)))
    log = g.add("Where", g.add("Greater", w, one), log, u)
    return g.add("Add", g.add("Relu", z), log)


def _hardsigmoid(g: Graph, z: str, phi: Activation) -> str:
    ramp = g.add("Clip", g.add("Add", z, g.number(3.0)), g.number(0.0), g.number(6.0))
    return g.add("Div", ramp, g.number(6.0))


ACTIVATIONS: dict[str, Callable[[Graph, str, Activation], str]] = {
    "identity": lambda g, z, phi: z,
    "sigmoid": _of("Sigmoid"),
    "tanh": _of("Tanh"),
    "relu": _of("Relu"),
    "leaky_relu": lambda g, z, phi: _two_lines(g, z, 1.0, phi.alpha, _left(g, z)),
    "softsign": _of("Softsign"),
    "scaled_tanh": _scaled_tanh,
    "elu": lambda g, z, phi: _elu(g, z, 1.0, phi.alpha),
    "selu": lambda g, z, phi: _elu(g, z, SELU_SCALE, SELU_SCALE * SELU_ALPHA),
    "softplus": _softplus,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda g, z, phi: g.add("Mul", z, g.add("Sigmoid", z)),
    "mish": lambda g, z, phi: g.add("Mul", z, g.add("Tanh", _softplus(g, z, phi))),
    "hardtanh": lambda g, z, phi: g.add("Clip", z, g.number(-1.0), g.number(1.0)),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda g, z, phi: g.add("Mul", z, _hardsigmoid(g, z, phi)),
}
