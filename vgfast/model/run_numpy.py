"""Steps of the engine in plain NumPy, batch by batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgfast import _core
from vgfast._check import Rows
from vgfast.model import quantities_numpy as quantities
from vgfast.model.engine import Settings
from vgfast.model.quantities_numpy import Pass
from vgfast.model.rules import RuleState


class Half(NamedTuple):
    """What a step knows before its update. Of no rows there is no pass."""

    gradient: np.ndarray
    forward: Any = None  # the engine's
    found: Pass | None = None
    loss: float = 0.0
    correct: float = 0.0
    total: float = 0.0
    weights: np.ndarray | None = None


class NumPyRun:
    """Steps over rows x (rows, n_in) and t, batch by batch: what training asks of ``_core.Run``. ``steps_done``,
    ``n_records``: how many steps were taken, and how many of them recorded."""

    def __init__(
        self,
        engine: Any,
        x: Rows,
        t: np.ndarray,
        batch_size: int,
        lock: _core.TrainingLock,
        sample_weight: np.ndarray | None,
    ) -> None:
        self.engine, self.lock = engine, lock
        self.set_data(x, t, batch_size, sample_weight=sample_weight)
        self.n_records = self.steps_done = self.inspect_every = 0
        self.exchanged: Any = None  # an array (n_params,), where gradients are exchanged
        self.given: Half | None = None  # the step whose gradient has been given away

    def set_data(self, x: Any, t: Any, batch_size: int, sample_weight: Any = None, n_rows: int | None = None) -> None:
        """n_rows: how many of them an epoch takes, by its order the first; None: all."""
        self.x, self.t, self.batch_size, self.sample_weight = x, t, batch_size, sample_weight
        self.n_rows = len(x) if n_rows is None else n_rows

    def set_optimizer(self, *settings: Any) -> None:
        """The ``Settings``, one by one, and what the ``RuleState`` has."""
        n = len(Settings._fields)
        self.settings, self.state = Settings(*settings[:n]), RuleState(*settings[n:])

    def set_records(self, records: np.ndarray, inspect_every: int, exponents: np.ndarray | None = None) -> None:
        self.records, self.inspect_every, self.exponents = records, inspect_every, exponents

    def set_results(
        self, losses: np.ndarray, correct: np.ndarray, steps_before: int, totals: np.ndarray | None = None
    ) -> None:
        self.losses, self.correct, self.totals = losses, correct, totals
        self.room_begins = self.steps_done = steps_before
        self.rates: np.ndarray | None = None
        self.n_records = -(-steps_before // self.inspect_every) if self.inspect_every else 0

    def set_rates(self, rates: np.ndarray | None) -> None:
        """Of the steps for which there is room, in place of the optimizer's lr."""
        self.rates = rates

    def set_exchange(self, gradient: np.ndarray) -> None:
        """By way of this memory each step gives its gradient away: ``go`` then returns EXCHANGE, and goes on with what
        the memory holds when it is called again."""
        self.exchanged = gradient

    def begin_epoch(self, order: np.ndarray | None, batches: np.ndarray | None = None, first: int = 0) -> None:
        """batches: BATCH (steps,), which rows of the epoch are in which batch; None: as many in each, and all of it.
        first: its step to begin with."""
        self.order, self.batches, self.epoch_begins = order, batches, self.steps_done
        self.n_steps = -(-self.n_rows // self.batch_size) if batches is None else len(batches)
        if first > 0:
            self.steps_done += first
            self.n_records = -(-self.steps_done // self.inspect_every) if self.inspect_every else 0

    def go(self, seconds: float = 0.0, stop: int = 0) -> int:
        """One step, or half of it, if the epoch has any more; the status. So it stops after any step."""
        if self.steps_done - self.epoch_begins == self.n_steps:
            return int(_core.DONE)
        with np.errstate(over="ignore", invalid="ignore"):
            return int(self.lock.change(self._take_step))

    def _take_step(self) -> int:
        if self.given is None:
            half = self._first_half()
            if self.exchanged is not None:
                self.exchanged[...] = half.gradient if np.isfinite(half.loss) else np.nan
                self.given = half
                return _core.EXCHANGE
        else:
            half, self.given = self.given._replace(gradient=self.exchanged), None
        return self._second_half(half)

    def _first_half(self) -> Half:
        engine, step = self.engine, self.steps_done - self.epoch_begins
        first, offset, given = step * self.batch_size, 0, None
        rows: Any = slice(first, min(first + self.batch_size, self.n_rows))
        if self.batches is not None:
            first, n, offset, given = self.batches[step].tolist()
            rows = slice(first, first + n)
        rows = rows if self.order is None else self.order[rows]
        x = self.x[rows]
        if len(x) == 0:
            return Half(engine.make_vector(), total=given or 0.0)
        forward = engine.forward_pass(x, engine.draw_masks(len(x), offset))
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        loss, delta, correct = engine.loss(forward.zs[-1], self.t[rows], weights)
        here = len(x) if weights is None else float(weights.sum())
        right = float(correct.sum() if weights is None else weights @ correct)
        part = 1.0 if given is None else here / (given or 1)
        found = engine.chain(forward, delta * delta.dtype.type(part))
        total = here if given is None else given
        return Half(found.gradient, forward, found, float(loss) * part, right, total, weights)

    def _second_half(self, half: Half) -> int:
        engine, place, step = self.engine, self.steps_done - self.room_begins, self.steps_done - self.epoch_begins
        if not np.isfinite(half.loss):
            return _core.NON_FINITE
        if self.rates is not None:
            self.settings = self.settings._replace(lr=float(self.rates[place]))
        settings, penalty = engine.with_penalty(self.settings, float(half.total or 1))
        inspected = self.inspect_every > 0 and self.steps_done % self.inspect_every == 0
        if inspected and half.found is not None:
            self._record(half.found._replace(gradient=half.gradient), half.weights, settings)
        if half.forward is None and self.exchanged is None:  # no rows: counted, and no more
            engine.count_step(self.state)
        elif not engine.update(half.gradient, settings, self.state):
            return _core.NON_FINITE
        if half.forward is not None:
            engine.renew_running(half.forward)
        begins = self.batches is None or (self.batches["offset"][step] == 0 and self.batches["rows"][step] > 0)
        self.losses[place], self.correct[place] = half.loss + penalty * begins, half.correct
        if self.totals is not None:
            self.totals[place] = half.total
        self.steps_done += 1
        self.n_records += inspected
        return _core.DONE if step + 1 == self.n_steps else _core.PAUSED

    def _record(self, found: Pass, weights: np.ndarray | None, settings: Settings) -> None:
        engine = self.engine
        step, _ = engine.step(found.gradient, settings, self.state)
        self.records[self.n_records] = quantities.of_step(engine.architecture, engine.weights, found, step, weights)
        if self.exponents is not None:
            quantities.count_exponents(engine.architecture, found.gradient, self.exponents[self.n_records])
