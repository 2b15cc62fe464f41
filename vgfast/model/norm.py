"""Normalization of hidden layers: ``vg.MLP(..., normalization=...)`` takes a name, or an object of these functions.

>>> import vgfast as vg
>>> net = vg.MLP([4, 8, 8, 3], "sigmoid", normalization=vg.norm.layer(place="after"), rng=0)
>>> [name for name in net.parameters() if "norm" in name]
['layer1.norm.weight', 'layer1.norm.bias', 'layer2.norm.weight', 'layer2.norm.bias']
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vgfast import _check, _core

__all__ = ["batch", "layer", "rms"]

# What the functions are called, and what ``normalization`` may be by name.
NAMES = _core.NORMALIZATIONS
PLACES = ("before", "after")


class Normalization(NamedTuple):
    """What the functions return. ``kind``: their name; ``affine``: whether gains, and shifts, are learned;
    ``momentum``: of batch norm."""

    kind: str
    place: str
    eps: float
    affine: bool
    momentum: float = 0.0

    def __repr__(self) -> str:
        more = f", momentum={self.momentum!r}" if self.kind == "batch" else ""
        return f"vg.norm.{self.kind}(place={self.place!r}, eps={self.eps!r}, affine={self.affine!r}{more})"

    @property
    def replaces_biases(self) -> bool:
        """Batch norm takes away what a bias before it would add."""
        return self.kind == "batch" and self.place == "before"

    @property
    def has_gains(self) -> bool:
        return self.affine

    @property
    def has_shifts(self) -> bool:
        """RMS norm, which leaves the mean as it is, has none."""
        return self.affine and self.kind != "rms"


def _checked(kind: str, place: Any, eps: Any, affine: Any) -> Normalization:
    place = _check.choice("place", place, PLACES)
    return Normalization(kind, place, _check.real("eps", eps, 0, above=True), _check.flag("affine", affine))


def batch(place: str = "before", eps: float = 1e-5, affine: bool = True, momentum: float = 0.1) -> Normalization:
    """Batch normalization: each unit gets mean 0 and variance 1 over the rows of the batch, and then, if affine,
    ``gain * h + shift``, from 1 and 0 on. Predictions and ``evaluate`` take running means and variances instead.

    place: before the activation, where it stands in the place of biases (``net.biases[l-1]`` is empty then), or after
    it. momentum: the weight of each batch in the running ones, above 0 and at most 1, which begin at 0 and 1; as in
    PyTorch, the running variance is the one without bias. They change in ``fit``, ``step`` and
    ``forward(X, training=True)`` alone, are no parameters, and are saved and copied with the net; ``net.state_dict()``
    has them. ``gradients`` and ``inspect`` are of the loss with the statistics of the batch they are given. In these
    each row counts once, whatever its ``sample_weight``.

    Errors: TypeError or ValueError for an unknown place, an eps that is not above 0, a momentum out of range; of the
    net, ValueError for a batch of one row.

    Source: Ioffe, Szegedy, "Batch normalization: Accelerating deep network training by reducing internal covariate
    shift" (2015).

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.random.default_rng(0).normal(size=(64, 4)), np.arange(64) % 3
    >>> net = vg.MLP([4, *[20] * 8, 3], "sigmoid", normalization="batch", rng=0)
    >>> deltas = net.inspect(X, y).layers.delta_norm
    >>> bool(deltas[0] > deltas[-2] / 3)  # eight layers of sigmoids that let the signal through
    True
    """
    found = _checked("batch", place, eps, affine)
    weight = _check.real("momentum", momentum, 0, above=True)
    if weight > 1:
        raise ValueError(f"momentum, the weight of a batch in running statistics, must be at most 1, got {weight:g}")
    return found._replace(momentum=weight)


def layer(place: str = "before", eps: float = 1e-5, affine: bool = True) -> Normalization:
    """Layer normalization: the units of each row get mean 0 and variance 1, ``h = (z - mean) / sqrt(variance + eps)``,
    and then, if affine, ``gain * h + shift``, with one of each a unit, from 1 and 0 on.

    place: before the activation or after it. Before a sigmoid it does not keep the gradient from vanishing, since the
    sigmoid takes the mean away that it has given; after it, it does. As ``torch.nn.LayerNorm``. Errors: TypeError or
    ValueError for an unknown place and an eps that is not above 0.

    Source: Ba, Kiros, Hinton, "Layer normalization" (2016).

    >>> import numpy as np, vgfast as vg
    >>> net = vg.MLP([4, 8, 8], "identity", "mse", normalization=vg.norm.layer(affine=False), init="orthogonal", rng=0)
    >>> rows = net.forward(np.random.default_rng(0).normal(size=(5, 4)))  # orthogonal weights leave lengths alone
    >>> np.round(np.square(rows).mean(axis=1), 3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    return _checked("layer", place, eps, affine)


def rms(place: str = "before", eps: float = 1e-5, affine: bool = True) -> Normalization:
    """RMS normalization: each row is divided by its root mean square, ``h = z / sqrt(mean(z²) + eps)``, and then, if
    affine, multiplied by a gain a unit, from 1 on.

    place, eps, affine and errors: as for ``layer``. As ``torch.nn.RMSNorm``, whose eps is 1.2e-7 unless it is given.

    Source: Zhang, Sennrich, "Root mean square layer normalization" (2019).

    >>> import vgfast as vg
    >>> list(vg.MLP([4, 8, 3], normalization="rms", rng=0).parameters())[:3]
    ['layer1.weight', 'layer1.bias', 'layer1.norm.weight']
    """
    return _checked("rms", place, eps, affine)


def from_plain(value: Any = None) -> Normalization | None:
    """Of its fields in their order, as a file has them; TypeError or ValueError if they are none."""
    if value is None:
        return None
    kind, place, eps, affine, momentum = value
    found = _checked(_check.choice("kind", kind, NAMES), place, eps, affine)
    return batch(place, eps, affine, momentum) if kind == "batch" else found


def checked(value: Any) -> Normalization | None:
    """What the argument ``normalization`` stands for; TypeError or ValueError in one sentence."""
    if value is None or isinstance(value, Normalization):
        return value
    if not isinstance(value, str):
        named = getattr(value, "__name__", None)
        uncalled = named in __all__ and value is globals()[named]
        hint = f"; call it: vg.norm.{named}()" if uncalled else ""
        raise TypeError(
            f"normalization must be None, a name, or an object such as vg.norm.layer(place='after'), got "
            f"{_check.quote(value)}{hint}"
        )
    found: Normalization = globals()[_check.choice("normalization", value, NAMES)]()
    return found
