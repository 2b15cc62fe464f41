"""The description of a net: all that there is to know of it before it has parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check, _core


class Architecture(NamedTuple):
    """``sizes``: (n_in, hidden..., n_out). ``activations``: one name a hidden layer. ``loss``: its name. ``dtype``: of
    parameters and inputs. ``dropout``: one rate a hidden layer, or () without any.

    >>> net = Architecture.checked([4, 8, 3], "tanh")
    >>> net.activations, net.kinds, net.loss, net.dtype, net.n_params
    (('tanh',), ('tanh', 'identity'), 'cross_entropy', dtype('float32'), 67)
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    dtype: np.dtype
    dropout: tuple[float, ...] = ()

    @classmethod
    def checked(
        cls,
        sizes: Any,
        activation: Any = "relu",
        loss: Any = "cross_entropy",
        dtype: Any = "float32",
        dtypes: Sequence[str] = _core.DTYPES,
        dropout: Any = 0.0,
    ) -> Architecture:
        """Of arguments as ``vg.MLP`` takes them, with errors as there; dtypes: the names of those that there are."""
        sizes = _check.sizes(sizes)
        activations = _check.activations(activation, len(sizes) - 2, _core.ACTIVATIONS)
        loss = _check.choice("loss", loss, _core.LOSSES)
        _check.outputs(sizes[-1], loss)
        return cls(sizes, activations, loss, _check.dtype(dtype, dtypes), _check.dropout(dropout, len(sizes) - 2))

    @property
    def n_layers(self) -> int:
        """Layers of weights, L."""
        return len(self.sizes) - 1

    @property
    def kinds(self) -> tuple[str, ...]:
        """The activation of each layer, the last of which is linear."""
        return (*self.activations, "identity")

    @property
    def rates(self) -> tuple[float, ...]:
        """Of dropout, one a hidden layer."""
        return self.dropout or (0.0,) * len(self.activations)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(n_in, n_out) of each layer's weights."""
        return list(pairwise(self.sizes))

    @property
    def n_params(self) -> int:
        """Weights and biases together."""
        return sum(n_in * n_out + n_out for n_in, n_out in self.shapes)

    def views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(weights, biases) of each layer: a vector W1, b1, W2, b2, ... cut into matrices and vectors that share its
        memory."""
        weights, biases, start = [], [], 0
        for n_in, n_out in self.shapes:
            stop = start + n_in * n_out
            weights.append(flat[start:stop].reshape(n_in, n_out))
            biases.append(flat[stop : stop + n_out])
            start = stop + n_out
        return weights, biases

    def named_views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """``views`` by name: ``layer1.weight`` (n_in, n_out), ``layer1.bias`` (n_out,), ``layer2.weight``, ..."""
        named: dict[str, np.ndarray] = {}
        for l, (weights, biases) in enumerate(zip(*self.views(flat), strict=True), 1):
            named |= {f"layer{l}.weight": weights, f"layer{l}.bias": biases}
        return named

    # ---- what it is trained on ------------------------------------------------------------------------

    def check_inputs(self, X: Any, name: str = "X") -> np.ndarray:
        """X (rows, n_in) as such a net takes it."""
        return _check.inputs(name, X, self.sizes[0], self.dtype)

    def check_batch(self, X: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, n_in), and y for this loss: labels (rows,) or targets (rows, n_out)."""
        x = self.check_inputs(X, names[0])
        return x, _check.targets(names[1], y, len(x), self.sizes[-1], self.loss, self.dtype)

    def check_output_gradient(self, dz: Any, n_rows: int) -> np.ndarray:
        """dz (n_rows, n_out), dloss/dz_L."""
        return _check.output_gradient(dz, n_rows, self.sizes[-1], self.dtype)
