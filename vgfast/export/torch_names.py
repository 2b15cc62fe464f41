"""What PyTorch calls the layers that a net is made of: the classes of ``torch.nn``, and how they are made."""

from __future__ import annotations

from typing import Any

from vgfast.model.activations import Activation

# By vgfast's names, without a parameter; scaled_tanh is none of torch's.
ACTIVATIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "softsign": "Softsign",
    "elu": "ELU",
    "selu": "SELU",
    "softplus": "Softplus",
    "gelu": "GELU",
    "gelu_tanh": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "hardtanh": "Hardtanh",
    "hardsigmoid": "Hardsigmoid",
    "hardswish": "Hardswish",
}
NORMS = {"batch": "BatchNorm1d", "layer": "LayerNorm", "rms": "RMSNorm"}
# What torch calls the parameter of an activation that has one.
PARAMETERS = {"leaky_relu": "negative_slope", "elu": "alpha"}
# What Linears, activations and normalizations of a net with this loss are followed by where torch's own loss does not
# have it within, and what tells the loss therefore where a module ends so.
ENDINGS = {"LogSoftmax": "cross_entropy", "Softmax": "cross_entropy", "Sigmoid": "binary_cross_entropy"}


def settings_of(phi: Activation) -> dict[str, Any]:
    """With which arguments torch's class makes this activation."""
    if phi.kind in PARAMETERS:
        return {PARAMETERS[phi.kind]: phi.alpha}
    return {"approximate": "tanh"} if phi.kind == "gelu_tanh" else {}
