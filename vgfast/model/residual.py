"""Residual connections: around every few hidden layers, signals also go on as they are.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2015). What such a block makes of x is
x + scale f(x); a gradient g at its output arrives at its input as g and what f passes on of scale g. With a scale of 1
the variances of signals add up block by block; with 1 / sqrt(blocks) they stay within a factor of e (of what f
adds). With ``rezero`` the scale is a parameter of each block and 0 at first, so that every signal passes all blocks
unchanged until training opens them: Bachlechner and others, "ReZero is all you need: fast convergence at large depth"
(2020).

All that the layers between do is in f, and the sum comes last. A block of one layer is, in PyTorch's words,
``x + scale * f(x)`` with ``f = Sequential(Linear, norm, activation, Dropout)``, or with the norm behind the activation.
So what goes around is never normalized itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vgfast import _check

ROOT, LEARNED = "1/sqrt(L)", "rezero"


class Residual(NamedTuple):
    """``every``: hidden layers in a block. ``scale``: of what a block adds, a number or one of the two names."""

    every: int = 1
    scale: float | str = 1.0

    @property
    def shown(self) -> str:
        """As it is written."""
        return "True" if self == Residual() else f"vg.residual(every={self.every}, scale={self.scale!r})"


def residual(every: int = 1, scale: float | str = 1.0) -> Residual:
    """A residual connection around every so many hidden layers; the first layer, which leads from the inputs, has none.

    scale: of what the layers between add: a number; ``"1/sqrt(L)"``, L being the number of blocks; or ``"rezero"``, a
    parameter of each block that is learned, from 0 on. Errors: TypeError or ValueError for anything else.

    >>> import vgfast as vg
    >>> net = vg.MLP([64, 32, 32, 32, 10], "tanh", residual=vg.residual(scale="rezero"), rng=0)
    >>> [name for name in net.parameters() if "scale" in name]
    ['layer2.scale', 'layer3.scale']
    """
    if not isinstance(scale, str):
        scale = _check.real(f"scale, a number or {ROOT!r} or {LEARNED!r},", scale, 0)
    elif scale not in (ROOT, LEARNED):
        raise ValueError(f"scale must be a number, {ROOT!r} or {LEARNED!r}, got {_check.quote(scale)}")
    return Residual(_check.integer("every", every, 1), scale)


def checked(value: Any, sizes: tuple[int, ...]) -> Residual | None:
    """Of an argument, for a net of these sizes."""
    if value is None or value is False:
        return None
    if value is not True and not isinstance(value, Residual):
        raise TypeError(f"residual must be None, True or vg.residual(...), got {_check.quote(value)}")
    kind = residual() if value is True else residual(*value)
    around = len(sizes) - 3  # hidden layers but the first
    if around < kind.every or around % kind.every:
        raise ValueError(
            f"residual needs one hidden layer, which leads from the inputs, and then a multiple of every={kind.every}; "
            f"got {len(sizes) - 2} hidden layers"
        )
    for first, last in blocks(kind, sizes):
        if sizes[first - 1] != sizes[last]:
            layers = f"layer {first}" if first == last else f"layers {first} to {last}"
            raise ValueError(
                f"residual adds what goes into {layers} to what comes out, and that is {sizes[first - 1]} and "
                f"{sizes[last]} units wide; give hidden layers the same width"
            )
    return kind


def blocks(kind: Residual | None, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """(first, last) of the layers, counted from 1, that each way leads around."""
    if kind is None:
        return []
    return [(first, first + kind.every - 1) for first in range(2, len(sizes) - 1, kind.every)]
