"""The optimizer."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check
from vgfast.model.engine import Settings


class SGD:
    """Stochastic gradient descent; as ``torch.optim.SGD``, but for biases, which do not decay here.

    For each step, with g the gradient of the mean loss over the batch:

    1. ``clip_norm``: if the norm of g over all layers, biases included, is larger, scale g down to it.
    2. ``clip_value``: clip each entry of g to [-clip_value, clip_value].
    3. ``weight_decay``: g += weight_decay * W. Weights only: biases do not decay.
    4. ``momentum``: v = momentum * v + g, and the step is v; with ``nesterov`` it is g + momentum * v.
    5. W -= lr * step.

    The velocity v starts at 0 and belongs to the pair of optimizer and net: it lives on from one ``fit`` or
    ``step`` to the next with the same two objects, and in copies of them that are made together, as by
    ``pickle.dumps((net, optimizer))`` or ``copy.deepcopy((net, optimizer))``. ``reset()`` forgets it. Attributes may
    be changed between calls, as for a schedule of ``lr``.

    Errors: TypeError or ValueError if lr is not above 0, momentum not in [0, 1), weight_decay below 0, a
    clip not above 0, or if nesterov is asked for without momentum.

    >>> import vgfast as vg
    >>> vg.SGD(lr=0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0, clip_norm=None, clip_value=None)
    """

    def __init__(
        self,
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self._tag = _Tag()
        self.checked()

    def checked(self) -> Settings:
        """What a step goes by now."""
        lr = _check.real("lr", self.lr, 0, above=True)
        momentum = _check.real("momentum", self.momentum, 0, below=1)
        decay = _check.real("weight_decay", self.weight_decay, 0)
        if self.nesterov and momentum == 0:
            raise ValueError("nesterov=True needs momentum above 0, got momentum=0; for example momentum=0.9")
        clips = [
            math.inf if value is None else _check.real(name, value, 0, above=True)
            for name, value in (("clip_norm", self.clip_norm), ("clip_value", self.clip_value))
        ]
        rule = "sgd" if momentum == 0 else "nesterov" if self.nesterov else "momentum"
        return Settings(rule, lr, decay, momentum, *clips)

    def settings(self) -> tuple[Any, ...]:
        """All attributes, unchecked, and what ``reset`` renews: equal while nothing has changed."""
        return self.lr, self.momentum, self.nesterov, self.weight_decay, self.clip_norm, self.clip_value, self._tag

    def reset(self) -> None:
        """Forget the velocities of all nets."""
        self._tag = _Tag()

    def __repr__(self) -> str:
        names = ("lr", "momentum", "nesterov", "weight_decay", "clip_norm", "clip_value")
        return f"SGD({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class _Tag:
    """The key by which a net finds the velocity of an optimizer. It is pickled and deep-copied with both, so that
    copies of net and optimizer made together still match; a copy of a net alone holds nothing else of the optimizer."""


class _Entry(NamedTuple):
    """A velocity and its optimizer; by weak references, so that it is dropped with the optimizer."""

    tag: weakref.ref[_Tag]
    optimizer: weakref.ref[SGD] | None  # None in a copy, until it is asked for by its tag
    velocity: np.ndarray

    @property
    def lives(self) -> bool:
        return self.tag() is not None and (self.optimizer is None or self.optimizer() is not None)

    def belongs_to(self, optimizer: SGD) -> bool:
        """By identity, whatever it says that it is equal to; ``copy.copy`` of it has the tag too."""
        return self.tag() is optimizer._tag and (self.optimizer is None or self.optimizer() is optimizer)


class Velocities:
    """The velocities of one net, by optimizer. They are held by the net."""

    def __init__(self, copied: Iterable[tuple[_Tag, np.ndarray]] = ()) -> None:
        self._changing = threading.Lock()
        self._entries = [_Entry(weakref.ref(tag), None, velocity) for tag, velocity in copied]

    def list_living(self) -> list[np.ndarray]:
        """Those of optimizers that still live and were not reset."""
        return [entry.velocity for entry in self._entries if entry.lives]

    def find(self, optimizer: SGD) -> np.ndarray | None:
        """The optimizer's velocity; None if there is none yet."""
        return next((entry.velocity for entry in self._entries if entry.belongs_to(optimizer)), None)

    def find_current(self, optimizer: SGD) -> np.ndarray | None:
        """As ``find``; None also without momentum, which needs none."""
        return None if optimizer.momentum == 0 else self.find(optimizer)

    def get(self, optimizer: SGD, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The optimizer's velocity, zeros if there is none yet. Those of optimizers that no longer live are dropped."""
        with self._changing:
            velocity = self.find(optimizer)
            if velocity is None:
                velocity = make()
                velocity[...] = 0
            others = [entry for entry in self._entries if entry.lives and not entry.belongs_to(optimizer)]
            self._entries = [*others, _Entry(weakref.ref(optimizer._tag), weakref.ref(optimizer), velocity)]
        return velocity

    def copy_living(self) -> list[tuple[_Tag, np.ndarray]]:
        """Copies of ``list_living``, each with its optimizer's tag."""
        entries = [(entry.tag(), entry.velocity) for entry in self._entries if entry.lives]
        return [(tag, velocity.copy()) for tag, velocity in entries if tag is not None]


def check_optimizer(optimizer: Any, dtype: np.dtype) -> SGD:
    """The optimizer itself, or ``SGD()`` for None, if ``read_settings`` takes it."""
    if optimizer is None:
        return SGD()
    if not isinstance(optimizer, SGD):
        raise TypeError(f"optimizer must be a vg.SGD, got {_check.quote(optimizer)}; for example vg.SGD(lr=0.1)")
    read_settings(optimizer, dtype)
    return optimizer


def read_settings(optimizer: SGD, dtype: np.dtype) -> Settings:
    """What its steps go by now; ValueError for rates that are no numbers in this dtype."""
    settings = optimizer.checked()
    least, most = float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)
    for name, rate in (("lr", settings.lr), ("weight_decay", settings.weight_decay)):
        if rate > most or 0 < rate < least:
            raise ValueError(f"{name} must be from {least!r} to {most!r} for a net of {dtype}, got {rate!r}")
    return settings
