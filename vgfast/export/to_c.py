"""A net as a C header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from vgfast import _check
from vgfast._version import __version__
from vgfast.export.c_functions import code_of, spell, wrapped
from vgfast.export.layers import Layer, check_exportable, layers_of
from vgfast.model import files
from vgfast.model.activations import Activation
from vgfast.model.architecture import Architecture
from vgfast.model.losses import LOSSES
from vgfast.model.norm import Normalization

_REAL = {"float32": "float", "float64": "double"}


def write(path: Any, net: Architecture, vector: np.ndarray, name: Any, description: str) -> None:
    """Of a net with this ``Engine.vector``, to a path or a binary file that is open."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(
            f"name, with which all names in the header begin, must be a letter and then letters, digits or _, got "
            f"{_check.quote(name)}; for example 'net'"
        )
    check_exportable(net, vector, "a C header")
    layers, real = layers_of(net, vector), _REAL[net.dtype.name]
    link = LOSSES[net.loss].link
    code = [
        code_of(_functions(layers, link), name, real),
        *(spell(text, name, real) for text in (_forward(layers), *_PREDICT[link])),
    ]
    parts = [_head(net, name, description), *_arrays(layers, name), *code, f"#endif /* VGFAST_{name} */\n"]
    files.write(path, ["\n\n".join(parts).encode()])


# ---- how it begins ----------------------------------------------------------------------------------------

_USE = {
    "softmax": """
 *   int @predict(x)               the class of the row, from 0 on
 *   void @predict_proba(x, p)     p[@n_out], the probabilities of the classes""",
    "sigmoid": """
 *   void @predict(x, y)           int y[@n_out], each 0 or 1
 *   void @predict_proba(x, p)     p[@n_out], the probabilities of 1""",
    "linear": """
 *   void @predict(x, y)           y[@n_out], the values""",
}


def _head(net: Architecture, name: str, description: str) -> str:
    real = _REAL[net.dtype.name]
    text = f"""\
/* {description}
 *
 * Written by vgfast {__version__}. C99; needs no function of the library but EXP, allocates nothing, and
 * may be used by several threads at once. Of a row x[@n_in] of {real}:
 *{_USE[LOSSES[net.loss].link]}
 *   void @forward(x, z)           z[@n_out], the outputs before softmax or sigmoid
 *
 * Each takes some {4 * max(net.sizes[1:]) * net.dtype.itemsize + 500} bytes of the stack. */
#ifndef VGFAST_{name}
#define VGFAST_{name}

#include <math.h>
#include <stddef.h>

enum {{ @n_in = {net.sizes[0]}, @n_out = {net.sizes[-1]} }};"""
    return spell(text, name, real)


# ---- the parameters ---------------------------------------------------------------------------------------


def _arrays(layers: list[Layer], name: str) -> Iterator[str]:
    for layer in layers:
        found = {"W": layer.weights, "b": layer.biases, "shifts": layer.shifts}
        if layer.running is None:
            found["gains"] = layer.gains
        else:
            found |= {"means": layer.running[0], "factors": layer.factors}
        for kind, array in found.items():
            if array.size:
                real, shape = _REAL[array.dtype.name], " * ".join(map(str, array.shape))
                numbers = wrapped(_spelled(array), 6 if real == "float" else 4)
                yield f"static const {real} {name}_{kind}{layer.number}[{shape}] = {{\n{numbers}}};"


def _spelled(array: np.ndarray) -> list[str]:
    """Each number in as few digits as tell it from its neighbours."""
    suffix = "f" if array.dtype == np.float32 else ""
    return [number + suffix for number in array.ravel().astype(str).tolist()]


# ---- the functions ----------------------------------------------------------------------------------------


def _functions(layers: list[Layer], link: str) -> list[str]:
    """What is called."""
    names = ["dense"]
    for layer in layers:
        names += [_normalizing(layer.norm)] if layer.norm else []
        names += [layer.activation.kind] if layer.activation.kind != "identity" else []
    return [*names, *([] if link == "linear" else [link])]


def _normalizing(norm: Normalization) -> str:
    return "normalize_units" if norm.kind == "batch" else "normalize_row"


def _forward(layers: list[Layer]) -> str:
    """From buffer to buffer; what goes around a residual block waits in a third."""
    widest = max([len(layer.weights.T) for layer in layers[:-1]], default=0)
    buffers = ["a", *(["b"] if len(layers) > 2 else []), *(["around"] if any(one.opens for one in layers) else [])]
    lines = [f"    real {', '.join(f'{buffer}[{widest}]' for buffer in buffers)};"] if widest else []
    loops = any(line for layer in layers for line in _loops(layer, "a"))
    lines += ["    size_t i;"] if loops else []
    source = "x"
    for layer in layers:
        last = layer is layers[-1]
        target = "z" if last else "b" if source == "a" else "a"
        lines += [f"    /* layer {layer.number} */"]
        lines += [f"    {line}" for line in _layer(layer, source, target)]
        source = target
    return "\n".join(["static inline void @forward(const real *x, real *z) {", *lines, "}"])


def _layer(layer: Layer, source: str, target: str) -> list[str]:
    """Statements: target = phi(N(source W + b)), or N(phi(...))."""
    n_in, n_out = layer.weights.shape
    number = layer.number
    lines = [f"for (i = 0; i < {n_in}; i++) around[i] = {source}[i];"] if layer.opens else []
    lines += [f"@dense({source}, {n_in}, @W{number}, {_array('b', layer)}, {n_out}, {target});"]
    steps = _activation(layer, target), _normalization(layer, target)
    before = layer.norm is not None and layer.norm.place == "before"
    lines += [line for step in (steps[::-1] if before else steps) for line in step]
    return lines + _sum(layer, target)


def _loops(layer: Layer, target: str) -> list[str]:
    """Those statements that need an i."""
    return [*_activation(layer, target), *_sum(layer, target)]


def _array(kind: str, layer: Layer) -> str:
    """Its name; 0 where there is none."""
    there = {"b": layer.biases, "gains": layer.gains, "shifts": layer.shifts}[kind].size
    return f"@{kind}{layer.number}" if there else "0"


def _activation(layer: Layer, target: str) -> list[str]:
    phi: Activation = layer.activation
    if phi.kind == "identity":
        return []
    more = f", (real){phi.alpha!r}" if phi.alpha else ""
    return [f"for (i = 0; i < {layer.weights.shape[1]}; i++) {target}[i] = @{phi.kind}({target}[i]{more});"]


def _normalization(layer: Layer, target: str) -> list[str]:
    norm, n = layer.norm, layer.weights.shape[1]
    if norm is None:
        return []
    shifts = _array("shifts", layer)
    if norm.kind == "batch":
        return [f"@normalize_units({target}, {n}, @means{layer.number}, @factors{layer.number}, {shifts});"]
    centred = int(norm.kind == "layer")
    return [f"@normalize_row({target}, {n}, {centred}, {norm.eps!r}, {_array('gains', layer)}, {shifts});"]


def _sum(layer: Layer, target: str) -> list[str]:
    if not layer.closes:
        return []
    scale = _spelled(layer.scale)[0]
    return [f"for (i = 0; i < {layer.weights.shape[1]}; i++) {target}[i] = around[i] + {scale} * {target}[i];"]


_PREDICT = {
    "softmax": [
        """static inline void @predict_proba(const real *x, real *p) {
    @forward(x, p);
    @softmax(p, @n_out);
}""",
        """static inline int @predict(const real *x) {
    real z[@n_out];
    int best = 0, j;
    @forward(x, z);
    for (j = 1; j < @n_out; j++) best = z[j] > z[best] ? j : best;
    return best;
}""",
    ],
    "sigmoid": [
        """static inline void @predict_proba(const real *x, real *p) {
    int j;
    @forward(x, p);
    for (j = 0; j < @n_out; j++) p[j] = @sigmoid(p[j]);
}""",
        """static inline void @predict(const real *x, int *y) {
    real z[@n_out];
    int j;
    @forward(x, z);
    for (j = 0; j < @n_out; j++) y[j] = z[j] > 0;
}""",
    ],
    "linear": ["static inline void @predict(const real *x, real *y) { @forward(x, y); }"],
}
