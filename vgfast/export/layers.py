"""A net as what it predicts with: layer after layer, each with all that a prediction needs of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast.model import files
from vgfast.model.activations import Activation, find
from vgfast.model.architecture import Architecture
from vgfast.model.dropout import Given
from vgfast.model.norm import Normalization


class Layer(NamedTuple):
    """Layer ``number`` (1..L), of x (n_in,): phi(N(x W + b)), or N(phi(x W + b)).

    ``weights`` (n_in, n_out); ``biases``, ``gains``, ``shifts`` (n_out,), or (0,) where there are none; ``running``:
    of batch norm, the means and variances (n_out,). ``dropout``: what training steps do with the outputs. Where
    ``opens`` is the number of the last layer of a residual block, what comes into this layer also goes around, and
    is added there, to ``scale`` times the outputs; ``closes``: whether this is such a last layer.
    """

    number: int
    weights: np.ndarray
    biases: np.ndarray
    activation: Activation
    norm: Normalization | None
    gains: np.ndarray
    shifts: np.ndarray
    running: tuple[np.ndarray, np.ndarray] | None
    dropout: Given
    opens: int
    closes: bool
    scale: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """Of a normalization by running statistics, (x - mean) factor + shift: gain / sqrt(variance + eps)."""
        assert self.norm is not None
        assert self.running is not None
        rates = 1 / np.sqrt(self.running[1].astype(np.float64) + self.norm.eps)
        return (rates * (self.gains if self.gains.size else 1)).astype(self.weights.dtype)


def layers_of(net: Architecture, vector: np.ndarray) -> list[Layer]:
    """Of a net with this ``Engine.vector``, of which the arrays are views."""
    parts, running, scales = net.parts(vector), net.running(vector), net.scales(vector)
    opens, fixed = dict(net.blocks), np.array([net.scale], net.dtype)
    return [
        Layer(
            number=l,
            weights=parts.weights[l - 1],
            biases=parts.biases[l - 1],
            activation=find(net.kinds[l - 1]),
            norm=net.norm_of(l),
            gains=parts.gains[l - 1],
            shifts=parts.shifts[l - 1],
            running=running[l - 1] if l <= len(running) else None,
            dropout=(*net.dropouts, 0.0)[l - 1],
            opens=opens.get(l, 0),
            closes=l in opens.values(),
            scale=scales.get(l, fixed),
        )
        for l in range(1, net.n_layers + 1)
    ]


def check_exportable(net: Architecture, vector: np.ndarray, form: str) -> None:
    """ValueError for a net that cannot be had in this form, such as "a C header": of half precision, or of running
    statistics that nothing has computed yet; ``DivergenceError`` for parameters that are not finite."""
    files.check_dtype(net, f"{form} holds")
    files.check_finite(net, vector, "exported")
    running = net.running(vector)
    if running and all((mean == 0).all() and (variance == 1).all() for mean, variance in running):
        raise ValueError(
            f"{form} predicts by the running means and variances of batch norm, and these are 0 and 1 as at first, "
            f"since no batch has gone through this net in training; call net.fit, net.step or "
            f"net.forward(X, training=True) first"
        )
