"""The description of a net: all that there is to know of it before it has parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check, _core
from vgfast.model import dropout as drops
from vgfast.model import norm
from vgfast.model import residual as skips
from vgfast.model.activations import names_of
from vgfast.model.norm import Normalization
from vgfast.model.residual import Residual


class Parts(NamedTuple):
    """A vector like the parameters cut into what it is made of, which shares its memory: of layer l, ``weights[l-1]``
    (n_in, n_out), ``biases[l-1]`` (n_out,), and of its normalization ``gains[l-1]`` and ``shifts[l-1]`` (n_out,). What
    a layer has not is of shape (0,)."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    gains: list[np.ndarray]
    shifts: list[np.ndarray]


class Architecture(NamedTuple):
    """``sizes``: (n_in, hidden..., n_out). ``activations``: one name a hidden layer. ``loss``: its name. ``dtype``: of
    parameters and inputs. ``dropout``: a rate or an object of ``vg.dropout`` a hidden layer, or () without any.
    ``residual``: or None. ``normalization``: of the hidden layers, or None.

    >>> net = Architecture.checked([4, 8, 3], "tanh")
    >>> net.activations, net.kinds, net.loss, net.dtype, net.n_params
    (('tanh',), ('tanh', 'identity'), 'cross_entropy', dtype('float32'), 67)
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    dtype: np.dtype
    dropout: tuple[drops.Given, ...] = ()
    residual: Residual | None = None
    normalization: Normalization | None = None

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
        normalization: Any = None,
    ) -> Architecture:
        """Of arguments as ``vg.MLP`` takes them, with errors as there; dtypes: the names of those that there are."""
        sizes = _check.sizes(sizes)
        activations = names_of(activation, len(sizes) - 2)
        loss = _check.choice("loss", loss, _core.LOSSES)
        _check.outputs(sizes[-1], loss)
        dropped = drops.checked(dropout, len(sizes) - 2)
        how = skips.checked(residual, sizes), norm.checked(normalization)
        return cls(sizes, activations, loss, _check.dtype(dtype, dtypes), dropped, *how)

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
        return tuple(map(drops.rate_of, self.dropouts))

    @property
    def dropouts(self) -> tuple[drops.Given, ...]:
        """``dropout`` of each hidden layer."""
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

    def norm_of(self, l: int) -> Normalization | None:
        """Of layer l (1..L), the last of which has none."""
        return self.normalization if l < self.n_layers else None

    def _part_shapes(self, l: int) -> list[tuple[int, ...]]:
        """Of what layer l has of each of the ``Parts``, in the order of the vector."""
        n_in, n_out, norm = self.sizes[l - 1], self.sizes[l], self.norm_of(l)
        gains, shifts = (norm.has_gains, norm.has_shifts) if norm else (False, False)
        biases = norm is None or not norm.replaces_biases
        return [(n_in, n_out), (n_out * biases,), (n_out * gains,), (n_out * shifts,)]

    @property
    def n_params(self) -> int:
        """Weights, biases, gains, shifts and scales together."""
        return sum(map(self._count_arrays, range(1, self.n_layers + 1))) + len(self._scaled_layers())

    def count_params(self, l: int) -> int:
        """Those of layer l (1..L)."""
        return self._count_arrays(l) + (l in self._scaled_layers())

    def _count_arrays(self, l: int) -> int:
        """Those without the scale."""
        return sum(map(prod, self._part_shapes(l)))

    def parts(self, flat: np.ndarray) -> Parts:
        """Of a vector W1, b1, W2, b2, ..., with gains and shifts of a layer's normalization behind its biases, and the
        scale of a block behind all of its last layer."""
        parts, start, scaled = Parts([], [], [], []), 0, self._scaled_layers()
        for l in range(1, self.n_layers + 1):
            for part, shape in zip(parts, self._part_shapes(l), strict=True):
                stop = start + prod(shape)
                part.append(flat[start:stop].reshape(shape))
                start = stop
            start += l in scaled
        return parts

    def views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(weights, biases) of each layer in a vector like the parameters: ``parts`` without the rest."""
        return self.parts(flat)[:2]

    def _scaled_layers(self) -> set[int]:
        return {last for _, last in self.blocks} if self.learns_scales else set()

    def scales(self, flat: np.ndarray) -> dict[int, np.ndarray]:
        """By the last layer of each block, from 1, its scale (1,) in such a vector; empty where none is learned."""
        scaled, found, start = self._scaled_layers(), {}, 0
        for l in range(1, self.n_layers + 1):
            start += self._count_arrays(l)
            if l in scaled:
                found[l] = flat[start : start + 1]
                start += 1
        return found

    def named_views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """``parts`` by name: ``layer1.weight`` (n_in, n_out), ``layer1.bias`` (n_out,), with a normalization
        ``layer1.norm.weight`` and ``layer1.norm.bias``, which are gains and shifts, ``layer2.weight``, ...; and
        ``layer2.scale`` (1,), where such are learned."""
        names, scales = ("weight", "bias", "norm.weight", "norm.bias"), self.scales(flat)
        named: dict[str, np.ndarray] = {}
        for l, parts in enumerate(zip(*self.parts(flat), strict=True), 1):
            named |= {f"layer{l}.{name}": part for name, part in zip(names, parts, strict=True) if part.size}
            named |= {f"layer{l}.scale": scales[l]} if l in scales else {}
        return named

    # ---- what it keeps beside its parameters ---------------------------------------------------------------

    @property
    def n_running(self) -> int:
        """Running means and variances of batch norm."""
        return 2 * sum(self.sizes[1:-1]) if self.has_batch_norm else 0

    @property
    def has_batch_norm(self) -> bool:
        """Whether a row's outputs depend, in training, on the others of its batch."""
        return self.normalization is not None and self.normalization.kind == "batch"

    @property
    def trains_otherwise(self) -> bool:
        """Whether the outputs of a training step are not those of predictions."""
        return bool(self.dropout) or self.has_batch_norm

    def running(self, vector: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(means, variances), each (n_l,), of the hidden layers with batch norm, which lie behind the parameters in the
        vector (n_params + n_running,)."""
        found, start = [], self.n_params
        for n in self.sizes[1:-1] if self.has_batch_norm else ():
            found.append((vector[start : start + n], vector[start + n : start + 2 * n]))
            start += 2 * n
        return found

    def named_state(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """``named_views``, and behind those ``layer1.norm.running_mean``, ``layer1.norm.running_var``, ..."""
        named = self.named_views(vector[: self.n_params])
        for l, (mean, variance) in enumerate(self.running(vector), 1):
            named |= {f"layer{l}.norm.running_mean": mean, f"layer{l}.norm.running_var": variance}
        return named

    # ---- what it is trained on ------------------------------------------------------------------------

    def check_inputs(self, X: Any, name: str = "X") -> np.ndarray:
        """X (rows, n_in) as such a net takes it."""
        return _check.inputs(name, X, self.sizes[0], self.dtype)

    def check_rows(self, X: Any, name: str = "X") -> _check.Rows:
        """The same, dense or sparse."""
        return _check.rows(name, X, self.sizes[0], self.dtype)

    def check_batch(self, X: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, n_in), and y for this loss: labels (rows,) or targets (rows, n_out)."""
        x = self.check_inputs(X, names[0])
        return x, self.check_targets(y, len(x), names[1])

    def check_targets(self, y: Any, n_rows: int, name: str = "y") -> np.ndarray:
        """y for this loss, of so many rows."""
        return _check.targets(name, y, n_rows, self.sizes[-1], self.loss, self.dtype)

    def refuse_batch_norm(self) -> None:
        """ValueError for a net with it, from ``sample_norms``."""
        if self.has_batch_norm:
            raise ValueError(
                "sample_norms needs rows that do not depend on each other, and with batch norm a row's loss has no "
                "gradient of its own; use normalization='layer', or gradients of a loss for the whole batch"
            )

    def check_batch_size(self, n_rows: int, batch_size: int | None = None) -> None:
        """ValueError where batch norm would get a batch of one row, which has no variance; None: all rows at once."""
        size = n_rows if batch_size is None else min(batch_size, n_rows)
        last = n_rows % size or size
        if not self.has_batch_norm or min(size, last) > 1:
            return
        which = f"batches of {size} rows with one of {last} at the end" if last < size else "batches of 1 row"
        fitting = next((n for n in range(size + 1, n_rows + 1) if n_rows % n != 1), None)
        how = "give several rows" if fitting is None else f"use batch_size={fitting}, or leave out a row"
        how = "give several rows" if batch_size is None else how
        raise ValueError(f"batch norm needs at least 2 rows in a batch, whose variance it takes, got {which}; {how}")

    def check_output_gradient(self, dz: Any, n_rows: int) -> np.ndarray:
        """dz (n_rows, n_out), dloss/dz_L."""
        return _check.output_gradient(dz, n_rows, self.sizes[-1], self.dtype)
