"""Layers that PyTorch has not. They are classes of a module of their own, so that torch can save what is made of them;
it imports torch, and is imported by ``to_torch`` and ``from_torch`` alone."""

from __future__ import annotations

from typing import Any

import torch


class ScaledTanh(torch.nn.Module):
    """1.7159 tanh(2 x / 3): LeCun, Bottou, Orr, Müller, "Efficient BackProp" (1998), section 4.4."""

    def forward(self, x: Any) -> Any:
        return 1.7159 * torch.tanh(2 / 3 * x)


class Residual(torch.nn.Module):
    """x + scale f(x). ``f``: a Sequential of the layers that lie between; scale: a number, or a parameter (1,), which
    is learned."""

    def __init__(self, f: Any, scale: Any = 1.0) -> None:
        super().__init__()
        self.f = f
        self.scale = scale  # as a Parameter it is one of the module's

    def forward(self, x: Any) -> Any:
        return x + self.scale * self.f(x)

    def extra_repr(self) -> str:
        return "scale is learned" if isinstance(self.scale, torch.nn.Parameter) else f"scale={self.scale:g}"
