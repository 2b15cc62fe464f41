"""The optimizers."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vgfast import _check
from vgfast.model.engine import Settings

if TYPE_CHECKING:
    from vgfast.training.schedules import Rate


class Optimizer(ABC):
    """What all have in common: for each step, with g the gradient of the mean loss over the batch,

    1. ``clip_norm``: if the norm of g over all layers, biases included, is larger, scale g down to it.
    2. ``clip_value``: clip each entry of g to [-clip_value, clip_value].
    3. ``weight_decay``: g += weight_decay * W. Weights only: biases do not decay, other than in PyTorch and Keras.
       (AdamW's is another thing.) ``penalty``, of SGD and Adam: g += penalty / n * W, where n is the rows of the batch,
       or the sum of their weights; and the loss that is reported has penalty / (2 n) ΣW² in it. scikit-learn's alpha.
    4. The rule makes a step s of g, and of what it keeps: W -= lr * s.

    What an optimizer keeps (velocities, averages, the number of steps) belongs to the pair of optimizer and net: it
    lives on from one ``fit`` or ``step`` to the next with the same two objects, and in copies of them that are made
    together, as by ``pickle.dumps((net, optimizer))`` or ``copy.deepcopy((net, optimizer))``. ``reset()`` forgets it.
    Attributes may be changed between calls. ``lr`` is a number above 0, or a function of the step, such as those of
    ``vg.schedules``.
    """

    # The attributes that users set, in the order of the arguments.
    names: ClassVar[tuple[str, ...]]
    _all: ClassVar[Callable[[Any], tuple[Any, ...]]]
    lr: Any  # a number, or a function of the step
    weight_decay: float
    clip_norm: float | None
    clip_value: float | None
    penalty: float = 0.0
    _may_rest = False  # whether lr may be 0, as that of a schedule

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._all = attrgetter(*cls.names, "_tag")

    def _begin(self) -> None:
        """Once all attributes are there."""
        self._tag = Tag()
        self.checked()

    def checked(self) -> Settings:
        """What a step goes by now."""
        scheduled = callable(self.lr)
        lr = self._checked_rate(0) if scheduled else _check.real("lr", self.lr, 0, above=not self._may_rest)
        decay = _check.real("weight_decay", self.weight_decay, 0)
        rule, hyper = self._rule()
        clips = {
            name: math.inf if value is None else _check.real(name, value, 0, above=True)
            for name, value in (("clip_norm", self.clip_norm), ("clip_value", self.clip_value))
        }
        return Settings(rule, lr, decay, hyper, **clips, penalty=_check.real("penalty", self.penalty, 0))

    def _checked_rate(self, step: int) -> float:
        from vgfast.training import schedules  # only read where there is one

        return schedules.checked_rate(self.lr, step)

    def at(self, step: int) -> Optimizer:
        """Itself; or, if its lr is a schedule, a copy of which lr is that of this step."""
        if not callable(self.lr):
            return self
        other = copy.copy(self)
        other.lr, other._may_rest = self._checked_rate(step), True
        return other

    def on_batch(self, rows: int, sample_weight: np.ndarray | None) -> Optimizer:
        """Itself; or, if it has a penalty, a copy with the weight decay that this is in a batch of so many rows, the
        first of those that have these weights."""
        if self.penalty == 0:
            return self
        total = rows if sample_weight is None else float(sample_weight[:rows].sum()) or 1
        other = copy.copy(self)
        other.weight_decay, other.penalty = self.weight_decay + self.penalty / total, 0.0
        return other

    @abstractmethod
    def _rule(self) -> tuple[str, tuple[float, ...]]:
        """Its name and numbers, checked: as csrc/catalog.def has them."""

    @abstractmethod
    def first_values(self) -> tuple[float, ...]:
        """What the vectors that it keeps are filled with before its first step, a number each."""

    @property
    def keeps(self) -> bool:
        """Whether it keeps anything of a net, if only the number of its steps."""
        return callable(self.lr) or bool(self.first_values())

    @property
    def memory(self) -> float:
        """The share of the steps before that a step has in it."""
        return 0.0

    def settings(self) -> tuple[Any, ...]:
        """All attributes, unchecked, and what ``reset`` renews: equal while nothing has changed."""
        return type(self)._all(self)

    def reset(self) -> None:
        """Forget what it has kept of all nets."""
        self._tag = Tag()

    def __repr__(self) -> str:
        return f"{self._title}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.names)})"

    _title: ClassVar[str]


class Tag:
    """The key by which a net finds the state of an optimizer. It is pickled and deep-copied with both, so that
    copies of net and optimizer made together still match; a copy of a net alone holds nothing else of the optimizer."""


class SGD(Optimizer):
    """Stochastic gradient descent; as ``torch.optim.SGD``, but for biases, which do not decay here.

    For each step, with g the gradient of the mean loss over the batch:

    1. ``clip_norm``: if the norm of g over all layers, biases included, is larger, scale g down to it.
    2. ``clip_value``: clip each entry of g to [-clip_value, clip_value].
    3. ``weight_decay``: g += weight_decay * W, and ``penalty``: g += penalty / n * W with n the rows of the batch, or
       the sum of their weights, and penalty / (2 n) ΣW² is in the loss. Weights only: biases do not decay.
    4. ``momentum``: v = momentum * v + g, and the step is v; with ``nesterov`` it is g + momentum * v.
    5. W -= lr * step.

    The velocity v starts at 0 and belongs to the pair of optimizer and net: it lives on from one ``fit`` or
    ``step`` to the next with the same two objects, and in copies of them that are made together, as by
    ``pickle.dumps((net, optimizer))`` or ``copy.deepcopy((net, optimizer))``. ``reset()`` forgets it. Attributes may
    be changed between calls. ``lr`` may also be a function of the step, such as those of ``vg.schedules``. Keras and
    scikit-learn have lr within the velocity, v = momentum * v - lr * g: the same while lr stays as it is.

    Errors: TypeError or ValueError if lr is not above 0 (of a function: below 0), momentum not in [0, 1),
    weight_decay or penalty below 0, a clip not above 0, or if nesterov is asked for without momentum.

    >>> import vgfast as vg
    >>> vg.SGD(lr=0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0, clip_norm=None, clip_value=None, penalty=0.0)
    """

    names = ("lr", "momentum", "nesterov", "weight_decay", "clip_norm", "clip_value", "penalty")
    _title = "SGD"

    def __init__(
        self,
        lr: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        penalty: float = 0.0,
    ) -> None:
        self.momentum, self.nesterov, self.penalty = momentum, nesterov, penalty
        self.lr, self.weight_decay, self.clip_norm, self.clip_value = lr, weight_decay, clip_norm, clip_value
        self._begin()

    def _rule(self) -> tuple[str, tuple[float, ...]]:
        momentum = _check.real("momentum", self.momentum, 0, below=1)
        if self.nesterov and momentum == 0:
            raise ValueError("nesterov=True needs momentum above 0, got momentum=0; for example momentum=0.9")
        return "sgd" if momentum == 0 else "nesterov" if self.nesterov else "momentum", (momentum,)

    def first_values(self) -> tuple[float, ...]:
        return () if self.momentum == 0 else (0.0,)

    @property
    def memory(self) -> float:
        return self.momentum


class Adam(Optimizer):
    """Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2015), as ``torch.optim.Adam``, but for
    biases, which do not decay here.

    At step t = 1, 2, ..., with g the gradient, clipped and with its decay as ``SGD`` says it:

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²,
    W -= lr m' / (sqrt(v') + eps)  with  m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t).

    m and v start at 0, and live on as the velocity of ``SGD`` does, with t. A weight moves by about lr whatever the
    size of its gradients, as long as that is well above eps: of a layer whose gradients are of size g, steps are
    g / (g + eps) of what they could be. Squares end at the largest number of the dtype.

    eps_hat: eps is added to the sqrt of v itself, before v' is made of it (in the paper, "epsilon hat"), which makes it
    31.6 times as large at t = 1. So do Keras, whose eps is 1e-7, and scikit-learn.

    Errors: TypeError or ValueError if lr or eps is not above 0, a beta not in [0, 1), weight_decay or penalty below 0,
    or a clip not above 0.

    >>> import vgfast as vg
    >>> vg.Adam(lr=0.01)  # doctest: +NORMALIZE_WHITESPACE
    Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, eps_hat=False, clip_norm=None, clip_value=None,
        penalty=0.0)
    """

    names: ClassVar[tuple[str, ...]] = (
        *("lr", "betas", "eps", "weight_decay", "eps_hat", "clip_norm", "clip_value"),
        "penalty",
    )
    _title = "Adam"

    def __init__(
        self,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        eps_hat: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        penalty: float = 0.0,
    ) -> None:
        self.betas, self.eps, self.eps_hat, self.penalty = betas, eps, eps_hat, penalty
        self.lr, self.weight_decay, self.clip_norm, self.clip_value = lr, weight_decay, clip_norm, clip_value
        self._begin()

    def _rule(self) -> tuple[str, tuple[float, ...]]:
        eps = _check.real("eps", self.eps, 0, above=True)
        return "adam", (*_checked_betas(self.betas), eps, float(_check.flag("eps_hat", self.eps_hat)))

    def first_values(self) -> tuple[float, ...]:
        return 0.0, 0.0

    @property
    def memory(self) -> float:
        return float(self.betas[0])


class AdamW(Adam):
    """``Adam`` whose weight decay is decoupled from the gradient (Loshchilov and Hutter, "Decoupled weight decay
    regularization", 2019), as ``torch.optim.AdamW``, but for biases, which do not decay here: W -= lr weight_decay W,
    and then the step of ``Adam``, in which no decay is. (Keras takes 0.004.) All else, errors too, as there.

    >>> import vgfast as vg
    >>> vg.AdamW()
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, eps_hat=False, clip_norm=None, clip_value=None)
    """

    names = ("lr", "betas", "eps", "weight_decay", "eps_hat", "clip_norm", "clip_value")
    _title = "AdamW"

    def __init__(
        self,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        eps_hat: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, eps_hat, clip_norm, clip_value)

    def _rule(self) -> tuple[str, tuple[float, ...]]:
        return "adamw", super()._rule()[1]


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012), as
    ``torch.optim.RMSprop``, but for biases, which do not decay here.

    With g the gradient, clipped and with its decay as ``SGD`` says it:

    v = alpha v + (1 - alpha) g²,  s = g / (sqrt(v) + eps),  W -= lr s;
    with ``momentum``,  u = momentum u + s,  W -= lr u.

    v and u start at 0, and live on as the velocity of ``SGD`` does. Squares end at the largest number of the dtype.

    eps_inside: s = g / sqrt(v + eps), as Keras (whose alpha is 0.9 and eps 1e-7) and optax (0.9, 1e-8) have it.

    Errors: TypeError or ValueError if lr or eps is not above 0, alpha or momentum not in [0, 1), weight_decay below 0,
    or a clip not above 0.

    >>> import vgfast as vg
    >>> print(vg.RMSprop(lr=0.001, alpha=0.9))  # doctest: +NORMALIZE_WHITESPACE
    RMSprop(lr=0.001, alpha=0.9, eps=1e-08, weight_decay=0.0, momentum=0.0, eps_inside=False, clip_norm=None,
            clip_value=None)
    """

    names = ("lr", "alpha", "eps", "weight_decay", "momentum", "eps_inside", "clip_norm", "clip_value")
    _title = "RMSprop"

    def __init__(
        self,
        lr: Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        eps_inside: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.alpha, self.eps, self.momentum, self.eps_inside = alpha, eps, momentum, eps_inside
        self.lr, self.weight_decay, self.clip_norm, self.clip_value = lr, weight_decay, clip_norm, clip_value
        self._begin()

    def _rule(self) -> tuple[str, tuple[float, ...]]:
        alpha = _check.real("alpha", self.alpha, 0, below=1)
        momentum = _check.real("momentum", self.momentum, 0, below=1)
        places = _eps_inside_and_outside(self.eps, self.eps_inside)
        return "rmsprop" if momentum == 0 else "rmsprop_momentum", (alpha, *places, momentum)

    def first_values(self) -> tuple[float, ...]:
        return (0.0,) if self.momentum == 0 else (0.0, 0.0)

    @property
    def memory(self) -> float:
        return self.momentum


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011), as ``torch.optim.Adagrad`` without its
    lr_decay, but for biases, which do not decay here.

    With g the gradient, clipped and with its decay as ``SGD`` says it:

    v = v + g²,  W -= lr g / (sqrt(v) + eps).

    v starts at ``initial_accumulator_value``, and lives on as the velocity of ``SGD`` does. Squares end at the largest
    number of the dtype.

    eps_inside: g / sqrt(v + eps), as Keras and optax have it, whose v starts at 0.1 and whose eps is 1e-7.

    Errors: TypeError or ValueError if lr or eps is not above 0, initial_accumulator_value or weight_decay below 0, or a
    clip not above 0.

    >>> import vgfast as vg
    >>> print(vg.Adagrad())  # doctest: +NORMALIZE_WHITESPACE
    Adagrad(lr=0.01, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, eps_inside=False, clip_norm=None,
            clip_value=None)
    """

    names = ("lr", "weight_decay", "initial_accumulator_value", "eps", "eps_inside", "clip_norm", "clip_value")
    _title = "Adagrad"

    def __init__(
        self,
        lr: Rate = 0.01,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        eps_inside: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.initial_accumulator_value, self.eps, self.eps_inside = initial_accumulator_value, eps, eps_inside
        self.lr, self.weight_decay, self.clip_norm, self.clip_value = lr, weight_decay, clip_norm, clip_value
        self._begin()

    def _rule(self) -> tuple[str, tuple[float, ...]]:
        _check.real("initial_accumulator_value", self.initial_accumulator_value, 0)
        return "adagrad", _eps_inside_and_outside(self.eps, self.eps_inside)

    def first_values(self) -> tuple[float, ...]:
        return (float(self.initial_accumulator_value),)


def _checked_betas(betas: Any) -> tuple[float, float]:
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"betas must be two numbers, got {_check.quote(betas)}; for example betas=(0.9, 0.999)")
    first, second = (_check.real(f"betas[{i}]", beta, 0, below=1) for i, beta in enumerate(betas))
    return first, second


def _eps_inside_and_outside(eps: Any, inside: Any) -> tuple[float, float]:
    """Of the root, the other one being 0."""
    eps = _check.real("eps", eps, 0, above=True)
    return (eps, 0.0) if _check.flag("eps_inside", inside) else (0.0, eps)
