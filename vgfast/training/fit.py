"""A run of steps: what ``fit`` and ``step`` hand to an engine, slice by slice, and what comes back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vgfast import _core, config
from vgfast.model.engine import Engine
from vgfast.model.errors import DivergenceError
from vgfast.model.losses import LOSSES
from vgfast.model.quantities import RECORD, make_histograms
from vgfast.training.history import History
from vgfast.training.optimizers import SGD, Velocities, read_settings

# An engine hands control back after about so many seconds of steps: for Ctrl-C and progress.
_SLICE = 0.03
# When training diverges, so many of the last rows, at most, or else one batch, are looked at.
_RECENT = 4096

# Held while rows are shuffled, and during a fork: a generator has a lock, and a child process would wait for ever for a
# lock that another thread of its parent held. A fork waits for so many seconds at most, as the thread that forks may
# itself hold the lock of a generator.
_shuffling = threading.RLock()
_PATIENCE = 2.0
_forking = threading.local()


def _before_fork() -> None:
    _forking.waited = _shuffling.acquire(timeout=_PATIENCE)


def _after_fork_in_parent() -> None:
    if _forking.waited:
        _shuffling.release()


def _after_fork_in_child() -> None:
    global _shuffling
    _shuffling = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def shuffle_rows(rows: int, rng: np.random.Generator) -> np.ndarray:
    """0 to rows - 1 in random order."""
    with _shuffling:
        return rng.permutation(rows)


class Stepper:
    """What later calls of ``step`` with as many rows as before, and the same optimizer, need not do again: the memory
    of a ``Loop`` over one batch, whose settings have been checked. For engines that have a workspace."""

    def __init__(self, loop: Loop) -> None:
        self.run: _core.Run = loop.run
        self.workspace, self.optimizer = loop.workspace, loop.optimizer
        self.run.let_go()
        self.settings, self.limit = loop.optimizer.settings(), config.get_num_threads()

    def step(self, x: Any, y: Any, optimizer: SGD | None) -> float | None:
        """The loss; None if anything is not as it was or not as C takes it, and then nothing has changed."""
        if optimizer is not self.optimizer or self.limit != config.get_num_threads():
            return None
        if optimizer.settings() != self.settings:
            return None
        return self.run.step_on(x, y)


def call_callbacks(net: Any, history: History, callbacks: Sequence[Callable[..., Any]]) -> bool:
    """Call each; whether one said True."""
    answers = [callback(net, history) for callback in callbacks]
    return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)


def _grow(array: np.ndarray, n: int) -> np.ndarray:
    """The array, with room for n entries; grown by a half at least, so that growing costs little."""
    if n <= len(array):
        return array
    longer = np.zeros((max(n, len(array) * 3 // 2), *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


class Learner(NamedTuple):
    """What is trained: an engine, with the velocities that optimizers have for it, and the lock that says who may use
    its parameters. ``diagnose(x, t, step, optimizer, what, batch_size)``: the error for the last of these batches, at
    which training failed after so many good steps."""

    engine: Engine
    velocities: Velocities
    lock: _core.TrainingLock
    diagnose: Callable[[np.ndarray, np.ndarray, int, SGD, str, int], DivergenceError]

    def velocity(self, optimizer: SGD) -> np.ndarray | None:
        """(n_params,), made when first asked for; None without momentum."""
        return None if optimizer.momentum == 0 else self.velocities.get(optimizer, self.engine.make_vector)


class Loop:
    """One call of ``fit``: its memory, its place in the run, its history."""

    def __init__(
        self,
        learner: Learner,
        x: np.ndarray,
        t: np.ndarray,
        epochs: int,
        batch_size: int,
        optimizer: SGD,
        inspect_every: int = 0,
        inspect: str = "scalars",
        workspace: Any = None,
    ) -> None:
        """workspace: of an earlier one, to be used again if it fits."""
        self.learner, self.x, self.t, self.optimizer, self.batch_size = learner, x, t, optimizer, batch_size
        self.inspect_every = inspect_every
        self.per_epoch = -(-len(x) // batch_size)
        self.total = epochs * self.per_epoch
        net = learner.engine.architecture
        self.losses, self.correct = np.zeros(0), np.zeros(self.per_epoch)
        self.records = np.zeros((0, net.n_layers), RECORD)
        self.exponents = make_histograms(0, net) if inspect == "histograms" else None
        self.has_accuracy = LOSSES[net.loss].has_accuracy
        self.history = History(self.losses)
        self.settings: tuple[Any, ...] = ()
        self.order_before: np.ndarray | None = None  # of the rows in the epoch before; None: as they come
        self.rows = np.full(self.per_epoch, batch_size)
        self.rows[-1] = len(x) - (self.per_epoch - 1) * batch_size
        self.workspace = learner.engine.make_workspace(batch_size, workspace, in_parts=inspect_every == 0)
        self.run = learner.engine.make_run(x, t, batch_size, self.workspace, learner.lock)

    def use_optimizer(self) -> None:
        """Its settings and velocity now, which a callback may have changed since the last epoch."""
        if self.settings != self.optimizer.settings():
            settings = read_settings(self.optimizer, self.learner.engine.architecture.dtype)
            self.run.set_optimizer(*settings, self.learner.velocity(self.optimizer))
            self.settings = self.optimizer.settings()

    def make_room(self, steps: int) -> None:
        """For what is recorded of so many steps: by epochs, as a callback may end the longest training soon."""
        self.losses = _grow(self.losses, steps)
        if self.inspect_every:
            n_records = -(-steps // self.inspect_every)
            self.records = _grow(self.records, n_records)
            if self.exponents is not None:
                self.exponents = _grow(self.exponents, n_records)
        self.run.set_records(self.records, self.inspect_every, self.exponents)

    @property
    def done(self) -> int:
        """Steps."""
        return self.run.steps_done

    def train_epoch(self, epoch: int, order: np.ndarray | None, progress: Any) -> None:
        start = time.perf_counter()
        self.use_optimizer()
        first = epoch * self.per_epoch
        part = slice(first, first + self.per_epoch)
        self.make_room(part.stop)
        self.run.set_epoch(order, self.losses[part], self.correct, first)
        status = _core.PAUSED
        while status != _core.DONE:
            status = self.run.go(_SLICE)
            if status == _core.NEEDS_GRADIENT:
                self.run.set_gradient(self.learner.engine.make_vector())
            elif status == _core.NON_FINITE:
                raise self.divergence(epoch, order)
            elif progress is not None:
                progress(self.done, self.total, self.current_history())
        with _core.standard_arithmetic():
            scores = {"loss": float((self.losses[part] * self.rows).sum() / len(self.x))}
            if self.has_accuracy:
                scores["accuracy"] = float(self.correct.sum() / len(self.x))
        self.history.epochs.append({**scores, "seconds": time.perf_counter() - start})
        self.order_before = order

    def note_validation(self, scores: Any) -> None:
        """With the epoch that has just ended."""
        self.history.epochs[-1] |= {"val_loss": scores.loss}
        if scores.accuracy is not None:
            self.history.epochs[-1] |= {"val_accuracy": scores.accuracy}

    def current_history(self) -> History:
        """The history, cut to what is done."""
        n = self.run.n_records
        self.history.loss = self.losses[: self.done]
        self.history.gradients = self.records[:n]
        self.history.exponents = None if self.exponents is None else self.exponents[:n]
        self.history.steps = np.arange(n, dtype=np.int64) * self.inspect_every
        return self.history

    def divergence(self, epoch: int, order: np.ndarray | None) -> DivergenceError:
        size, rows = self.batch_size, len(self.x)
        first = (self.done - epoch * self.per_epoch) * size
        order, before = (np.arange(rows) if one is None else one for one in (order, self.order_before))
        # With the batches before, one of which may be the cause; of the last epoch too, but for what it left over.
        earlier = order[:first] if epoch == 0 else np.concatenate([before[: rows // size * size], order[:first]])
        most = max(0, _RECENT // size - 1) * size
        recent = np.concatenate([earlier[max(0, len(earlier) - most) :], order[first : first + size]])
        what = f"training diverged at step {self.done} (epoch {epoch + 1})"
        return self.learner.diagnose(self.x[recent], self.t[recent], self.done, self.optimizer, what, size)
