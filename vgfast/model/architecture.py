"""The description of a net: all that there is to know of it before it has parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check, _core
from vgfast.model import residual as skips
from vgfast.model.residual import Residual


class Architecture(NamedTuple):
    """``sizes``: (n_in, hidden..., n_out). ``activations``: one name a hidden layer. ``loss``: its name. ``dtype``: of
    parameters and inputs. ``dropout``: one rate a hidden layer, or () without any. ``residual``: or None.

    >>> net = Architecture.checked([4, 8, 3], "tanh")
    >>> net.activations, net.kinds, net.loss, net.dtype, net.n_params
    (('tanh',), ('tanh', 'identity'), 'cross_entropy', dtype('float32'), 67)
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    dtype: np.dtype
    dropout: tuple[float, ...] = ()
    residual: Residual | None = None

    @classmethod
    def checked(
        cls,
        sizes: Any,
        activation: Any = "relu",
        loss: Any = "cross_entropy",
        dtype: Any = "float32",
        dtypes: Sequence[str] = _core.DTYPES,
        dropout: Any = 0.0,
        residual: Any = None,
    ) -> Architecture:
        """Of arguments as ``vg.MLP`` takes them, with errors as there; dtypes: the names of those that there are."""
        sizes = _check.sizes(sizes)
        activations = _check.activations(activation, len(sizes) - 2, _core.ACTIVATIONS)
        loss = _check.choice("loss", loss, _core.LOSSES)
        _check.outputs(sizes[-1], loss)
        rates = _check.dropout(dropout, len(sizes) - 2)
        return cls(sizes, activations, loss, _check.dtype(dtype, dtypes), rates, skips.checked(residual, sizes))

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
    def blocks(self) -> list[tuple[int, int]]:
        """(first, last) of the layers, from 1, that each residual connection leads around."""
        return skips.blocks(self.residual, self.sizes)

    @property
    def learns_scales(self) -> bool:
        """Whether what blocks add is multiplied by a parameter of each."""
        return self.residual is not None and self.residual.scale == skips.LEARNED

    @property
    def scale(self) -> float:
        """What it is multiplied by, where that is no parameter."""
        given = 1.0 if self.residual is None else self.residual.scale
        if not isinstance(given, str):
            return given
        return 1.0 if self.learns_scales else float(len(self.blocks) ** -0.5)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(n_in, n_out) of each layer's weights."""
        return list(pairwise(self.sizes))

    @property
    def n_params(self) -> int:
        """Weights, biases and scales together."""
        scales = len(self.blocks) if self.learns_scales else 0
        return sum(n_in * n_out + n_out for n_in, n_out in self.shapes) + scales

    def views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(weights, biases) of each layer: a vector W1, b1, W2, b2, ... cut into matrices and vectors that share its
        memory. Scales that are learned lie behind the biases of a block's last layer."""
        weights, biases, start = [], [], 0
        scaled = self._scaled_layers()
        for l, (n_in, n_out) in enumerate(self.shapes, 1):
            stop = start + n_in * n_out
            weights.append(flat[start:stop].reshape(n_in, n_out))
            biases.append(flat[stop : stop + n_out])
            start = stop + n_out + (l in scaled)
        return weights, biases

    def _scaled_layers(self) -> set[int]:
        return {last for _, last in self.blocks} if self.learns_scales else set()

    def scales(self, flat: np.ndarray) -> dict[int, np.ndarray]:
        """By the last layer of each block, from 1, its scale (1,) in such a vector; empty where none is learned."""
        scaled, found, start = self._scaled_layers(), {}, 0
        for l, (n_in, n_out) in enumerate(self.shapes, 1):
            start += n_in * n_out + n_out
            if l in scaled:
                found[l] = flat[start : start + 1]
                start += 1
        return found

    def named_views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """``views`` by name: ``layer1.weight`` (n_in, n_out), ``layer1.bias`` (n_out,), ``layer2.weight``, ...; and
        ``layer2.scale`` (1,), where such are learned."""
        named: dict[str, np.ndarray] = {}
        scales = self.scales(flat)
        for l, (weights, biases) in enumerate(zip(*self.views(flat), strict=True), 1):
            named |= {f"layer{l}.weight": weights, f"layer{l}.bias": biases}
            named |= {f"layer{l}.scale": scales[l]} if l in scales else {}
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
