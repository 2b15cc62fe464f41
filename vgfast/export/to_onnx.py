"""A net as an ONNX model."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast._version import __version__
from vgfast.export.layers import check_exportable, layers_of
from vgfast.export.onnx_graph import Graph
from vgfast.model import files
from vgfast.model.architecture import Architecture
from vgfast.model.losses import LOSSES

# Of the operators, the oldest version that has all of these; and of the format, the one that came with it.
_OPERATORS, _FORMAT = 18, 8
# Of a protocol buffer, with room for what is not a parameter.
_MOST_BYTES = 2**31 - 2**20


def write(path: Any, net: Architecture, vector: np.ndarray, classes: Any, description: str) -> None:
    """Of a net with this ``Engine.vector``, to a path or a binary file that is open."""
    onnx = packages.require("onnx", "to_onnx", "'vgfast[onnx]'")
    check_exportable(net, vector, "an ONNX model")
    labels = None if classes is None else _checked_classes(classes, net)
    if vector.nbytes > _MOST_BYTES:
        raise ValueError(
            f"an ONNX model file holds at most 2 GiB, and this net has {vector.nbytes:,} bytes of parameters; "
            f"save it with net.save(path), or export a net with fewer"
        )
    graph = Graph(onnx, net.dtype)
    x = "X"
    around = x
    for layer in layers_of(net, vector):
        around = x if layer.opens else around
        x = graph.add_layer(layer, x)
        x = graph.add_residual(layer, around, x) if layer.closes else x
    outputs = _add_outputs(graph, net, x, labels)
    model = _make_model(onnx, graph, net, outputs, description)
    files.write(path, [model.SerializeToString()])


def _checked_classes(classes: Any, net: Architecture) -> np.ndarray:
    """As strings or int64, one an output; or two, of a net with one output."""
    labels = np.asarray(classes)
    link, n_out = LOSSES[net.loss].link, net.sizes[-1]
    if link == "linear" or (link == "sigmoid" and n_out > 1):
        raise ValueError(
            f"classes are of nets that choose one of them, got a net with loss={net.loss!r} and {n_out} outputs; leave "
            f"out classes"
        )
    n = 2 if link == "sigmoid" else n_out
    if labels.shape != (n,):
        raise ValueError(f"classes must name the {n} classes of this net, in their order, got {_check.quote(classes)}")
    if labels.dtype.kind in "biuf" and (labels == np.trunc(labels.astype(np.float64))).all():
        return labels.astype(np.int64)
    if not all(isinstance(label, str) for label in labels.tolist()):
        raise TypeError(
            f"classes must be strings or whole numbers, got {_check.quote(classes)}; use [str(c) for c in ...]"
        )
    return labels.astype(object)


def _add_outputs(
    graph: Graph, net: Architecture, z: str, labels: np.ndarray | None
) -> dict[str, tuple[Any, list[Any]]]:
    """What the outputs z (rows, n_out) predict: by name, type and shape of each."""
    kinds, real = graph.onnx.TensorProto, graph.onnx.helper.np_dtype_to_tensor_dtype(net.dtype)
    n_out, link = net.sizes[-1], LOSSES[net.loss].link
    if link == "linear":
        graph.add("Identity", z, output="values")
        return {"values": (real, ["rows", n_out])}
    one_of_two = link == "sigmoid" and labels is not None
    if one_of_two:  # no and yes, as two outputs
        z = graph.add("Concat", graph.add("Neg", z), z, axis=1)
    function: dict[str, Any] = {"axis": 1} if link == "softmax" else {}
    graph.add("Softmax" if link == "softmax" else "Sigmoid", z, output="probabilities", **function)
    probabilities = real, ["rows", 2 if one_of_two else n_out]
    if link == "sigmoid" and labels is None:
        graph.add("Cast", graph.add("Greater", z, graph.number(0.0)), output="label", to=kinds.INT64)
        return {"label": (kinds.INT64, ["rows", n_out]), "probabilities": probabilities}
    how: dict[str, Any] = {"axis": 1, "keepdims": 0}
    if labels is None:
        graph.add("ArgMax", z, output="label", **how)
        return {"label": (kinds.INT64, ["rows"]), "probabilities": probabilities}
    graph.add("Gather", graph.array("classes", labels), graph.add("ArgMax", z, **how), output="label")
    kind = kinds.STRING if labels.dtype == object else kinds.INT64
    return {"label": (kind, ["rows"]), "probabilities": probabilities}


def _make_model(
    onnx: Any, graph: Graph, net: Architecture, outputs: dict[str, tuple[Any, list[Any]]], text: str
) -> Any:
    helper = onnx.helper
    real = helper.np_dtype_to_tensor_dtype(net.dtype)
    inputs = [helper.make_tensor_value_info("X", real, ["rows", net.sizes[0]])]
    found = [helper.make_tensor_value_info(name, *of) for name, of in outputs.items()]
    made = helper.make_graph(graph.nodes, "net", inputs, found, list(graph.constants.values()))
    opsets = [helper.make_opsetid("", _OPERATORS)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=_FORMAT, doc_string=text)
    model.producer_name, model.producer_version = "vgfast", __version__
    return model
