"""What an engine does: the arithmetic of a net, on parameters that it owns.

There are two, of one interface: ``engine_c`` computes in the C core, ``engine_numpy`` as a textbook would.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from vgfast import _core
from vgfast._check import Rows
from vgfast.model.architecture import Architecture
from vgfast.model.errors import DivergenceError
from vgfast.model.losses import LOSSES
from vgfast.model.rules import RuleState


class Settings(NamedTuple):
    """Of one step, checked. ``rule``: its name in the catalog (csrc/catalog.def), which says what ``hyper`` is. An
    absent clip is infinity."""

    rule: str
    lr: float
    weight_decay: float = 0.0
    hyper: tuple[float, ...] = ()
    clip_norm: float = math.inf
    clip_value: float = math.inf
    penalty: float = 0.0


class Backward(NamedTuple):
    """One batch forward and back. ``loss``: its mean; NaN where delta_L was given. ``gradient`` (n_params,), ordered
    like ``params``. Of layer l, ``inputs[l-1]`` is a_{l-1} (rows, n_{l-1}), the first as it
    was given, and ``deltas[l-1]`` delta_l (rows, n_l)."""

    loss: float
    gradient: np.ndarray
    inputs: Sequence[Rows]
    deltas: list[np.ndarray]


def mean(values: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
    """Of one axis: as ``values.mean()``, which takes 2 us longer; or sum(w values) / sum(w), 0 without any weight."""
    if sample_weight is None:
        return float(np.add.reduce(values, dtype=np.float64)) / len(values)
    return float(sample_weight @ values) / float(sample_weight.sum() or 1)


class Engine(ABC):
    """A net's ``architecture`` and ``params`` (n_params,), of which ``weights``, ``biases``, ``gains`` and ``shifts``
    are views, a layer each (see ``architecture.Parts``), and ``scales`` by layer. Gains are 1 at first, all else 0.
    ``vector`` is ``params`` and, behind it, the running means and variances of batch norm, of which ``running`` are
    views.
    ``draws``: of dropout, its seed and the number of the next step, uint64 (2,); None without any. Gradients are those
    of the next step; steps and ``apply`` count it on.

    x (rows, n_in), dense or sparse, and t, labels or targets, are as ``Architecture`` checks them, sample_weight
    (rows,) as ``_check.sample_weight`` does, or None.
    """

    dtypes: ClassVar[tuple[str, ...]]

    # probabilities(z, out): softmax or sigmoid of the outputs, by the loss; None where they are no probabilities.
    probabilities: Callable[[np.ndarray, np.ndarray], Any] | None
    # forward_few(params, X, lock, probabilities=False): z_L, or probabilities, for a few rows that are exactly as the
    # engine takes them, whatever X is; None where it is not sure of that, or that they are finite, or that no other
    # thread trains the net.
    forward_few: Callable[..., np.ndarray | None]

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.vector = self.make_memory(architecture.n_params + architecture.n_running)
        self.params = self.vector[: architecture.n_params]
        self.weights, self.biases, self.gains, self.shifts = architecture.parts(self.params)
        for gain in self.gains:
            gain[...] = 1
        self.running = architecture.running(self.vector)
        for _, variance in self.running:
            variance[...] = 1
        self.scales = architecture.scales(self.params)
        self.draws = np.zeros(2, np.uint64) if architecture.dropout else None

    @abstractmethod
    def make_memory(self, n: int) -> np.ndarray:
        """Zeros (n,)."""

    def make_vector(self) -> np.ndarray:
        """Zeros (n_params,): memory for a gradient, an optimizer's vector."""
        return self.make_memory(self.architecture.n_params)

    def copy(self) -> Self:
        """One with the same parameters, which shares nothing."""
        return self.make_like(self.architecture, self.vector)

    def make_like(self, architecture: Architecture, vector: np.ndarray | None = None) -> Self:
        """One of the same kind for this architecture; with this for its ``vector``, or as new."""
        other = type(self)(architecture)
        if vector is not None:
            other.vector[...] = vector
        if self.draws is not None and other.draws is not None:
            other.draws[...] = self.draws
        return other

    def without_dropout(self) -> Self:
        """Itself, or one with the same parameters."""
        net = self.architecture
        return self.make_like(net._replace(dropout=()), self.vector) if net.dropout else self

    # ---- predictions ----------------------------------------------------------------------------------

    @abstractmethod
    def compute_outputs(self, x: Rows) -> np.ndarray:
        """z_L (rows, n_out), finite or not."""

    @abstractmethod
    def compute_outputs_in_training(self, x: Rows, lock: _core.TrainingLock) -> np.ndarray:
        """The same as the next step makes it of this batch; what runs of batch norm is renewed."""

    @abstractmethod
    def compute_losses(
        self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        """(mean loss, which rows are predicted rightly, or the share of each row that is)."""

    def predict(self, x: Rows) -> np.ndarray:
        """z_L (rows, n_out); ``DivergenceError`` if they are not finite: no answer is made of NaN."""
        return self._only_finite(self.compute_outputs(x), x)

    def forward_in_training(self, x: Rows, lock: _core.TrainingLock) -> np.ndarray:
        """The same as the next step makes it of this batch; batch norm's running statistics are renewed, unless it is
        an error."""
        running = self.vector[self.params.size :].copy()
        try:
            return self._only_finite(self.compute_outputs_in_training(x, lock), x)
        except DivergenceError:
            lock.change(lambda: np.copyto(self.vector[self.params.size :], running))
            raise

    def _only_finite(self, z: np.ndarray, x: Rows) -> np.ndarray:
        """These outputs of x."""
        if np.isfinite(z).all():
            return z
        if not np.isfinite(self.params).all():
            raise DivergenceError(
                "the net's parameters hold NaN or infinity, so it predicts nothing; assign finite ones"
            )
        row = int(np.argmin(np.isfinite(z).all(axis=1)))
        raise DivergenceError(
            f"row {row} of X, whose largest value is {float(np.abs(x[row]).max()):.2g}, makes outputs that are too "
            f"large for {z.dtype}; scale X down"
        )

    def score(
        self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> tuple[float, float | None]:
        """(mean loss, share predicted rightly or None) of outputs z; ``DivergenceError`` if it is not finite."""
        loss, correct = self.compute_losses(z, t, sample_weight)
        if math.isfinite(loss):
            return loss, mean(correct, sample_weight) if LOSSES[self.architecture.loss].has_accuracy else None
        row, after = 0, len(z)
        while after - row > 1:
            middle = (row + after) // 2
            above = np.isfinite(self.compute_losses(z[row:middle], t[row:middle])[0])
            row, after = (middle, after) if above else (row, middle)
        raise DivergenceError(
            f"the loss of row {row} is too large for {z.dtype}: its outputs are as large as "
            f"{float(np.abs(z[row]).max()):.2g}, and y as {float(np.abs(t[row]).max()):.2g}; scale X and y down"
        )

    def measure_loss(self, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """The mean loss that training sees on these rows, with batch norm by their own statistics; infinity or an
        ArithmeticError where it is not finite."""
        if not self.architecture.has_batch_norm:
            return self.score(self.predict(x), t, sample_weight)[0]
        found = self.backward(x, t, sample_weight)
        return math.inf if found is None else found.loss

    # ---- steps ----------------------------------------------------------------------------------------

    @abstractmethod
    def backward(self, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None = None) -> Backward | None:
        """The gradient of the mean loss; None if it is not finite."""

    @abstractmethod
    def backward_from(self, x: Rows, dz: np.ndarray) -> Backward | None:
        """The gradient where delta_L is dz (rows, n_out); None if it is not finite."""

    @abstractmethod
    def inspect(
        self,
        x: Rows,
        t: np.ndarray,
        settings: Settings,
        state: RuleState,
        exponents: np.ndarray | None,
        sample_weight: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray] | None:
        """(mean loss, RECORD (L,)) of a step that is not taken; None if it is not finite. exponents: zeros
        (1, L, bins), to be filled, or None."""

    @abstractmethod
    def apply(self, gradient: np.ndarray, settings: Settings, state: RuleState, lock: _core.TrainingLock) -> bool:
        """One update by this gradient, and of the state; False, and nothing has changed, if it would not be finite."""

    @abstractmethod
    def make_workspace(self, rows: int, old: Any = None, in_parts: bool = False, sparse: bool = False) -> Any:
        """What a run of batches of so many rows works in: the old one if it fits; None if it needs none. in_parts:
        whether nobody looks at a batch as a whole; sparse: whether its rows are."""

    @abstractmethod
    def make_run(
        self,
        x: Rows,
        t: np.ndarray,
        batch_size: int,
        workspace: Any,
        lock: _core.TrainingLock,
        sample_weight: np.ndarray | None = None,
    ) -> Any:
        """Steps over these rows, with the methods of ``_core.Run`` that ``training.fit`` calls."""
