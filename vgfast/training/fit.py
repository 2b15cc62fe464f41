"""A run of steps: what ``fit`` hands to an engine, slice by slice, and what comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast import _core
from vgfast._check import Rows, SparseRows, checksum
from vgfast.model.errors import DivergenceError
from vgfast.model.losses import LOSSES
from vgfast.model.quantities import RECORD, make_histograms
from vgfast.training import place
from vgfast.training.averaging import make_exchange
from vgfast.training.exchange import Exchange
from vgfast.training.history import History
from vgfast.training.learner import Learner
from vgfast.training.optimizers import Optimizer
from vgfast.training.settings import read_settings
from vgfast.training.shuffle import Shuffle, make_shuffle

# An engine hands control back after about so many seconds of steps: for Ctrl-C and progress.
_SLICE = 0.03
# When training diverges, so many of the last rows, at most, and so many values, or else one batch, are looked at.
_RECENT = 4096
_RECENT_VALUES = 1 << 24
# So many steps, at most, or else one epoch, go by before Python looks at what they have recorded.
_STEPS_AT_ONCE = 4096


class _Stopping(threading.local):
    """What asks, if anything does, whether this thread's training shall end: only the main thread hears Ctrl-C."""

    asked: Callable[[], bool] | None = None

    def obey(self) -> None:
        """KeyboardInterrupt, if so."""
        if self.asked is not None and self.asked():
            raise KeyboardInterrupt


stopping = _Stopping()


def _grow(array: np.ndarray, n: int) -> np.ndarray:
    """The array, with room for n entries; grown by a half at least, so that growing costs little."""
    if n <= len(array):
        return array
    longer = np.zeros((max(n, len(array) * 3 // 2), *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def measured(loss: str, validation: bool) -> list[str]:
    """What the history of a net with this loss has of each epoch, with validation data or without."""
    names = ["loss", "accuracy"] if LOSSES[loss].has_accuracy else ["loss"]
    return names + [f"val_{name}" for name in names if validation]


def by_batch(sample_weight: np.ndarray, batch_size: int) -> np.ndarray:
    """The weight of each batch of the rows as they come."""
    return np.add.reduceat(sample_weight, np.arange(0, len(sample_weight), batch_size))


class Loop:
    """One call of ``fit``: its memory, its place in the run, its history."""

    def __init__(
        self,
        learner: Learner,
        x: Rows,
        t: np.ndarray,
        epochs: int,
        batch_size: int,
        optimizer: Optimizer,
        inspect_every: int = 0,
        inspect: str = "scalars",
        workspace: Any = None,
        rng: np.random.Generator | None = None,
        sample_weight: np.ndarray | None = None,
        n_rows: int | None = None,
        reduce: Any = None,
    ) -> None:
        """workspace: of an earlier one, to be used again if it fits. rng: shuffles the rows; None: as they come.
        n_rows: of an epoch, where x are not all of them. reduce: see ``exchange``."""
        self.learner, self.x, self.t, self.optimizer, self.batch_size = learner, x, t, optimizer, batch_size
        self.sample_weight, self.rng = sample_weight, rng
        self.n_rows = n_rows = len(x) if n_rows is None else n_rows
        self.weighs = sample_weight is not None  # whether the weight of each batch is to be noted
        # Of all rows together.
        self.weight = n_rows if sample_weight is None else float(np.add.reduce(by_batch(sample_weight, batch_size)))
        self.inspect_every = inspect_every
        self.shuffle: Shuffle | None = None if rng is None else make_shuffle(rng, len(x), reduce)
        self.per_epoch = -(-n_rows // batch_size)
        self.total = epochs * self.per_epoch
        net = learner.engine.architecture
        self.losses, self.rates = np.zeros(0), np.zeros(0)
        self.noted, self.correct = 0, np.zeros(0)  # epochs; of the later ones, a number a step and a number an epoch:
        self.seconds: list[float] = []
        self.records, self.steps = np.zeros((0, net.n_layers), RECORD), np.zeros(0, np.int64)
        self.exponents = make_histograms(0, net) if inspect == "histograms" else None
        self.has_accuracy = LOSSES[net.loss].has_accuracy
        self.history = History(self.losses)
        self.history.steps_per_epoch = self.per_epoch
        self.settings: tuple[Any, ...] = ()
        self.epoch_begins, self.rows_now = 0, n_rows  # steps before this epoch, and its rows in memory
        self.taken, self.started, self.spent = 0, 0.0, 0.0  # steps and seconds of an epoch that an earlier call began
        self.pauses: list[tuple[int, Callable[[Any], None]]] = []  # what is done with this after each so many steps
        self.random_states: dict[str, Any] = {}  # where there are pauses, those before the epoch drew its order
        self.n_whole_records, self.told = 0, time.perf_counter()  # and when progress was told last
        self.rows = np.full(self.per_epoch, float(batch_size))  # of each batch
        self.rows[-1] = n_rows - (self.per_epoch - 1) * batch_size
        self.totals: np.ndarray | None = None  # like correct: the weight of each batch
        self.reduce, self.exchange = reduce, None if reduce is None else self.exchange_by(reduce)
        # By its own run, or, as that has not all rows of a batch, step by step.
        self.inspects_here = inspect_every > 0 and not (self.exchange and self.exchange.whole_records)
        rows = self.batch_rows = (self.exchange and self.exchange.most_rows) or batch_size
        how = {"in_parts": not self.inspects_here, "sparse": isinstance(x, SparseRows)}
        self.workspace = learner.engine.make_workspace(rows, workspace, **how)
        self.run = learner.engine.make_run(x, t, rows, self.workspace, learner.lock, sample_weight)
        self.flat: Any = None
        if self.exchange is not None and self.exchange.by_gradients:
            self.flat = learner.engine.make_vector()
            self.run.set_exchange(self.flat)

    def exchange_by(self, reduce: Any) -> Exchange:
        """What it goes by."""
        return make_exchange(reduce, self)

    def use_optimizer(self) -> None:
        """Its settings and state now, which a callback may have changed since the last epoch."""
        if self.settings != self.optimizer.settings():
            settings = read_settings(self.optimizer, self.learner.engine.architecture.dtype)
            self.run.set_optimizer(*settings, *self.learner.state(self.optimizer))
            self.settings = self.optimizer.settings()

    def make_room(self, epochs: int) -> None:
        """For what is recorded of so many more: not of all at once, as a callback may end the longest training soon."""
        done, more = self.done, epochs * self.per_epoch
        self.losses = _grow(self.losses, done + more)
        self.rates = _grow(self.rates, done + more)
        # Both are empty until then, or of an epoch that an earlier call began.
        totals = np.zeros(0) if self.totals is None else self.totals
        self.correct = _grow(self.correct, more)[:more]
        self.totals = _grow(totals, more)[:more] if self.weighs else None
        if self.inspect_every:
            n_records = -(-(done + more) // self.inspect_every)
            if n_records > len(self.records):
                self.records = _grow(self.records, n_records)
                self.steps = np.arange(len(self.records), dtype=np.int64) * self.inspect_every
            if self.exponents is not None:
                self.exponents = _grow(self.exponents, n_records)
            if self.inspects_here:
                self.run.set_records(self.records, self.inspect_every, self.exponents)
        self.run.set_results(self.losses[done : done + more], self.correct, done, self.totals)
        self._set_rates(self.rates[done : done + more])

    def _set_rates(self, rates: np.ndarray) -> None:
        """Those of the steps to come."""
        lr = self.optimizer.lr
        if not callable(lr):
            rates[...] = lr
            return
        from vgfast.training import schedules  # only read where there is one

        first = self.learner.states.steps_taken(self.optimizer) - self.taken
        rates[...] = schedules.checked_rates(lr, first, len(rates), self.learner.engine.architecture.dtype)
        self.run.set_rates(rates)

    @property
    def done(self) -> int:
        """Steps."""
        return self.run.steps_done

    def train(self, epochs: int, progress: Any = None) -> None:
        """So many more. What was recorded of each may be looked at by progress, and by a generator that is no other
        than NumPy's."""
        alone = progress is None and (self.shuffle is None or self.shuffle.is_numpys)
        at_once = max(1, _STEPS_AT_ONCE // self.per_epoch) if alone else 1
        for first in range(0, epochs, at_once):
            self._train_at_once(min(at_once, epochs - first), progress)

    def _train_at_once(self, epochs: int, progress: Any) -> None:
        self.use_optimizer()
        self.make_room(epochs)
        for _ in range(epochs):
            if self.pauses:
                self.random_states = place.random_states(self)
            self._train_epoch(progress)
            self.seconds.append(time.perf_counter() - self.started)
        self.note_epochs()

    def begin_clock(self) -> None:
        """Of the epoch's seconds."""
        self.started, self.spent = time.perf_counter() - self.spent, 0.0

    def _train_epoch(self, progress: Any) -> None:
        stopping.obey()
        order = None if self.shuffle is None else self.shuffle.draw()
        self.begin_clock()
        self.take_steps(order, progress)
        if progress is not None:
            progress(self.done, self.total, self.current_history())

    def take_steps(self, order: np.ndarray | None, progress: Any) -> None:
        """On all rows of the run in this order; but for those that an earlier call has taken."""
        self.epoch_begins, batches = self.done, None
        if self.exchange is not None:
            order, batches = self.exchange.begin_epoch(self, order)
        skipped = min(self.taken, -(-self.rows_now // self.batch_size) if batches is None else len(batches))
        self.run.begin_epoch(order, batches, skipped)
        if skipped > 0:
            self.taken -= skipped
            self.n_whole_records = -(-self.done // self.inspect_every) if self.inspect_every else 0
        while (status := self._go()) != _core.DONE:
            self._go_on(status, progress)
        if self.exchange is not None:
            self.exchange.sum_steps(self)

    def _go(self) -> int:
        """Steps, until there is something else to do."""
        return place.go_with_pauses(self, _SLICE) if self.pauses else self.run.go(_SLICE)

    def _go_on(self, status: int, progress: Any) -> None:
        """What there is to do before an epoch goes on whose run has ended with this status."""
        stopping.obey()
        if status == _core.NEEDS_GRADIENT:
            self.run.set_gradient(self.learner.engine.make_vector())
        elif status == _core.NON_FINITE:
            raise self._explained() or self.divergence()
        elif status == _core.EXCHANGE and self.exchange is not None:
            self.exchange.change_gradient(self, self.flat)
        if progress is None or status not in (_core.PAUSED, _core.EXCHANGE):
            return
        often = status == _core.EXCHANGE or bool(self.pauses)
        if not often or time.perf_counter() > self.told + _SLICE:
            progress(self.done, self.total, self.current_history())
            self.told = time.perf_counter()

    def of_steps(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Losses, what is predicted rightly, and weights, if they are noted, of the steps from this one on, which is of
        no epoch in the history: views."""
        noted = self.noted * self.per_epoch
        steps = slice(first - noted, self.done - noted)
        return self.losses[first : self.done], self.correct[steps], None if self.totals is None else self.totals[steps]

    def record_batch(self, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """What the step of the epoch shows that is about to be taken on these rows."""
        learner, n = self.learner, self.n_records
        settings = read_settings(self.optimizer, learner.engine.architecture.dtype)
        settings = settings._replace(lr=float(self.rates[self.done]))
        exponents = None if self.exponents is None else self.exponents[n : n + 1]
        state = learner.state(self.optimizer)
        found = learner.engine.inspect(x, t, settings, state, exponents, sample_weight)
        if found is not None:
            self.records[n] = found[1]
            self.n_whole_records += 1

    @property
    def n_records(self) -> int:
        return self.run.n_records if self.inspects_here else self.n_whole_records

    def note_epochs(self) -> None:
        """Write those that have ended into the history."""
        whole, n, first = self.weight, len(self.seconds), self.noted * self.per_epoch
        if n == 0:
            return
        shape, steps = (n, self.per_epoch), n * self.per_epoch
        losses, correct = self.losses[first : first + steps].reshape(shape), self.correct[:steps].reshape(shape)
        totals = self.rows if self.totals is None else self.totals[:steps].reshape(shape)
        with _core.standard_arithmetic():
            sums = np.add.reduce(losses * totals, axis=1).tolist()
            if self.has_accuracy:
                right = np.add.reduce(correct, axis=1).tolist()
                each = zip(sums, right, self.seconds, strict=True)
                epochs = [{"loss": a / whole, "accuracy": b / whole, "seconds": s} for a, b, s in each]
            else:
                epochs = [{"loss": a / whole, "seconds": s} for a, s in zip(sums, self.seconds, strict=True)]
        self.noted, self.correct, self.seconds = self.noted + n, self.correct[steps:], []
        self.totals = None if self.totals is None else self.totals[steps:]
        self.history.epochs += epochs

    def note_validation(self, scores: Any) -> None:
        """With the epoch that has just ended."""
        self.history.epochs[-1] |= {"val_loss": scores.loss}
        if scores.accuracy is not None:
            self.history.epochs[-1] |= {"val_accuracy": scores.accuracy}

    def current_history(self) -> History:
        """The history, cut to what is done."""
        n = self.n_records
        shown = self.done if self.exchange is None else self.exchange.steps_shown(self)
        self.history.loss, self.history.lr = self.losses[:shown], self.rates[:shown]
        self.history.gradients = self.records[:n]
        self.history.exponents = None if self.exponents is None else self.exponents[:n]
        self.history.steps = self.steps[:n]
        self.note_epochs()
        return self.history

    def describe_data(self) -> dict[str, str]:
        """What a ``Checkpoint`` compares."""
        return {"X, y and weights of the checksum": checksum(self.x, self.t, self.sample_weight)}

    @property
    def most_recent(self) -> int:
        """So many rows before a batch that failed are looked at, at most."""
        rows = min(_RECENT, _RECENT_VALUES // self.learner.engine.architecture.sizes[0])
        return max(0, rows // self.batch_size - 1) * self.batch_size

    def rows_of_batch(self) -> Any:
        """Of the batch in work, which of the rows in memory."""
        first = (self.done - self.epoch_begins) * self.batch_size
        return slice(first, min(first + self.batch_size, self.rows_now))

    def _explained(self) -> DivergenceError | None:
        return None if self.exchange is None else self.exchange.explain(self, self.flat)

    def divergence(self) -> DivergenceError:
        """Of the step that has failed."""
        size, rows = self.batch_size, len(self.x)
        epoch, step = divmod(self.done, self.per_epoch)
        first = step * size
        shuffle, as_they_come = self.shuffle, np.arange(rows)
        order, before = (as_they_come,) * 2 if shuffle is None else (shuffle.order, shuffle.before)
        # With the batches before, one of which may be the cause; of the last epoch too, but for what it left over.
        earlier = order[:first] if epoch == 0 else np.concatenate([before[: rows // size * size], order[:first]])
        most = self.most_recent
        recent = np.concatenate([earlier[max(0, len(earlier) - most) :], order[first : first + size]])
        return self.diagnose(recent)

    def diagnose(self, recent: np.ndarray) -> DivergenceError:
        """By these rows, whose last batch is that of the step."""
        what = f"training diverged at step {self.done} (epoch {self.done // self.per_epoch + 1})"
        weights, size = None if self.sample_weight is None else self.sample_weight[recent], self.batch_size
        return self.learner.diagnose(self.x[recent], self.t[recent], self.done, self.optimizer, what, size, weights)
