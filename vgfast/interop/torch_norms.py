"""The normalization layers of a torch module: read as that of a vgfast net, and as torch's plain functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vgfast.export.torch_names import NORMS
from vgfast.interop.torch_run import Layer
from vgfast.model import norm
from vgfast.model.norm import Normalization

# torch's names and ours.
KINDS = {theirs: ours for ours, theirs in NORMS.items()}


class Norm(NamedTuple):
    """A normalization layer that follows a Linear, before its activation or after it; of numbers of this dtype."""

    layer: Layer
    place: str
    dtype: np.dtype

    @property
    def eps(self) -> float:
        """RMSNorm's may be None, which stands for that of the dtype."""
        own = self.layer.torch.eps
        return float(np.finfo(self.dtype).eps) if own is None else float(own)

    @property
    def width(self) -> tuple[int, ...]:
        """The shape of what it normalizes, without the rows."""
        own = self.layer.torch
        return (own.num_features,) if self.layer.kind == "BatchNorm1d" else tuple(own.normalized_shape)

    def read(self) -> Normalization:
        """As ours; ValueError for what ours does not do."""
        own, kind = self.layer.torch, KINDS[self.layer.kind]
        eps = self.eps
        if not eps > 0:
            raise ValueError(f"the {self.layer} has an eps of {eps:g}, and vgfast's must be above 0; use 1e-5")
        made: Normalization = getattr(norm, kind)(self.place, eps, own.weight is not None)
        return made

    @property
    def momentum(self) -> float:
        """Of batch norm; ValueError where it keeps no running statistics, or otherwise than ours."""
        own = self.layer.torch
        if own.running_mean is None:
            raise ValueError(
                f"the {self.layer} keeps no running statistics, by which vgfast predicts; make it with "
                f"track_running_stats=True, and train it"
            )
        if own.momentum is None:
            raise ValueError(
                f"the {self.layer} has momentum=None, the plain average of all batches, which vgfast has not; set its "
                f"momentum to 0.1"
            )
        return float(own.momentum)

    def function(self, torch: Any) -> Callable[..., Any]:
        """Of what comes into the layer, its weight and its bias, which may be None."""
        own, functions = self.layer.torch, torch.nn.functional
        if self.layer.kind == "BatchNorm1d":
            return lambda z, w, b: functions.batch_norm(z, None, None, w, b, True, eps=own.eps)
        if self.layer.kind == "LayerNorm":
            return lambda z, w, b: functions.layer_norm(z, z.shape[1:], w, b, own.eps)
        return lambda z, w, b: functions.rms_norm(z, z.shape[1:], w, own.eps)

    def parameters(self) -> tuple[Any, Any]:
        """Its weight and its bias, each a parameter or None."""
        own = self.layer.torch
        return own.weight, getattr(own, "bias", None)

    def largest_factor(self, z: Any) -> float:
        """At most so many times a rounding of z (rows, n), or of a gradient on its way back, comes out of the layer."""
        of = z.detach().double()
        if self.layer.kind != "RMSNorm":
            of = of - of.mean(0 if self.layer.kind == "BatchNorm1d" else 1, keepdim=True)
        squares = of.square().mean(0 if self.layer.kind == "BatchNorm1d" else 1)
        weight = self.layer.torch.weight
        gain = 1.0 if weight is None else float(weight.detach().abs().max())
        return gain / float((squares.min() + self.eps).sqrt())


def check_training(norms: Sequence[Norm | None]) -> None:
    """ValueError for one that is not by the statistics of the batch, as in a step."""
    for layer in [found.layer for found in norms if found is not None]:
        if layer.kind == "BatchNorm1d" and not layer.torch.training and layer.torch.running_mean is not None:
            raise ValueError(
                f"the {layer} is in evaluation mode, where it takes running statistics, and a step is inspected, "
                f"which takes those of the batch; call module.train() first"
            )


def read_all(norms: Sequence[Norm | None]) -> Normalization | None:
    """What the hidden layers have in common; ValueError where one has another than the first, or none."""
    first = norms[0] if norms else None
    for l, found in enumerate(norms, 1):
        if (found is None) != (first is None):
            which = next(norm for norm in norms if norm is not None).layer
            raise ValueError(
                f"hidden layer {l if found is None else 1} has no normalization, and the {which} normalizes another; "
                f"vgfast has one kind for all hidden layers: give each the same, or none"
            )
        if found is not None and first is not None and found.read() != first.read():
            raise ValueError(
                f"the {found.layer} is {found.read()!r} to vgfast, and the {first.layer} is {first.read()!r}; vgfast "
                f"has one kind for all hidden layers: make them equal"
            )
    return None if first is None else first.read()
