"""A net as a ``torch.nn.Sequential``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vgfast._check import packages
from vgfast.export.layers import Layer, check_exportable, layers_of
from vgfast.export.torch_names import ACTIVATIONS, NORMS, settings_of
from vgfast.model.activations import Activation
from vgfast.model.architecture import Architecture
from vgfast.model.dropout import AlphaDropout, rate_of


def make_module(net: Architecture, vector: np.ndarray) -> Any:
    """The module of a net with this ``Engine.vector``; ImportError without torch."""
    torch = packages.require("torch", "to_torch", "torch")
    check_exportable(net, vector, "a module of torch")
    learned = net.scales(vector)
    # Whatever device is the default, and whoever calls this in inference mode, whose tensors cannot be trained. New
    # Linears draw weights, for which none of the caller's random numbers are taken.
    with torch.device("cpu"), torch.inference_mode(False), torch.random.fork_rng([]):
        layers = layers_of(net, vector)
        parts: list[Any] = []
        around: list[Any] = []  # the parts of the residual block that is open
        for layer in layers:
            made = list(_modules_of(torch, layer, layer is layers[-1]))
            if not (layer.opens or around):
                parts += made
                continue
            around += made
            if layer.closes:
                own = learned.get(layer.number)
                scale = net.scale if own is None else torch.nn.Parameter(_tensor(torch, own))
                parts.append(_residual(torch, around, scale))
                around = []
        module = torch.nn.Sequential(*parts).eval()
    module.loss = net.loss
    return module


def _residual(torch: Any, parts: list[Any], scale: Any) -> Any:
    from vgfast.export.torch_modules import Residual  # which imports torch

    return Residual(torch.nn.Sequential(*parts), scale)


def _modules_of(torch: Any, layer: Layer, is_last: bool) -> Iterator[Any]:
    """Of one layer, in the order in which they are run."""
    yield _linear(torch, layer)
    if is_last:
        return
    phi = _activation(torch, layer.activation)
    if layer.norm is None:
        yield phi
    else:
        between = [_normalization(torch, layer), phi]
        yield from between if layer.norm.place == "before" else between[::-1]
    if rate_of(layer.dropout):
        kind = torch.nn.AlphaDropout if isinstance(layer.dropout, AlphaDropout) else torch.nn.Dropout
        yield kind(rate_of(layer.dropout))


def _linear(torch: Any, layer: Layer) -> Any:
    tensor = _tensor(torch, layer.weights.T)
    has_bias, (n_out, n_in) = bool(layer.biases.size), tensor.shape
    made = torch.nn.Linear(n_in, n_out, bias=has_bias, dtype=tensor.dtype)
    made.weight = torch.nn.Parameter(tensor)
    if has_bias:
        made.bias = torch.nn.Parameter(_tensor(torch, layer.biases))
    return made


def _activation(torch: Any, phi: Activation) -> Any:
    if phi.kind == "scaled_tanh":
        from vgfast.export.torch_modules import ScaledTanh

        return ScaledTanh()
    if phi.kind == "identity":  # so that layers are numbered as in a model file
        return torch.nn.Identity()
    return getattr(torch.nn, ACTIVATIONS[phi.kind])(**settings_of(phi))


def _normalization(torch: Any, layer: Layer) -> Any:
    norm = layer.norm
    assert norm is not None
    how: dict[str, Any] = {"eps": norm.eps, "dtype": _tensor(torch, layer.weights[:0]).dtype}
    if norm.kind == "batch":
        how |= {"momentum": norm.momentum, "affine": norm.affine}
    else:
        how |= {"elementwise_affine": norm.affine}
    made = getattr(torch.nn, NORMS[norm.kind])(layer.weights.shape[1], **how)
    with torch.no_grad():
        for name, array in (("weight", layer.gains), ("bias", layer.shifts)):
            if array.size:
                getattr(made, name).copy_(_tensor(torch, array))
        if layer.running is not None:
            for buffer, array in zip((made.running_mean, made.running_var), layer.running, strict=True):
                buffer.copy_(_tensor(torch, array))
    return made


def _tensor(torch: Any, array: np.ndarray) -> Any:
    """A copy."""
    return torch.from_numpy(np.array(array, order="C"))
