"""What the estimators do after each epoch: the loss, the score on rows held out, and whether training has ended."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import vgfast as vg
from vgfast import _core
from vgfast.model.losses import LOSSES
from vgfast.sklearn.solver import Solver
from vgfast.sklearn.validation import Task


class HeldOut(NamedTuple):
    """Rows to judge by: X; targets of the net; y as ``estimator._score_outputs`` compares it; weights or None."""

    X: Any
    t: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None


class Order(np.random.Generator):
    """The orders of rows that scikit-learn draws from a RandomState, each a permutation of the one before."""

    def __init__(self, random_state: np.random.RandomState, rows: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.order = np.arange(rows)
        # The same numbers as random_state.shuffle takes, in two thirds of its time.
        self.bits = _core.RandomBits(random_state._bit_generator)

    def permutation(self, *_: Any, **__: Any) -> np.ndarray:
        swaps = np.empty(len(self.order), np.int64)
        self.bits.permute(swaps)
        self.order = self.order[swaps]
        return self.order


class Epochs:
    """A callback of ``net.fit`` that writes ``loss_``, ``loss_curve_`` and so on into an estimator, and ends training
    as its parameters say. ``loss``: by what the net's loss has to be multiplied. task: for scikit-learn's callbacks, or
    None."""

    def __init__(
        self,
        estimator: Any,
        solver: Solver,
        batches: np.ndarray,
        loss: float,
        held_out: HeldOut | None,
        task: Task | None,
        incremental: bool,
    ) -> None:
        self.estimator, self.solver, self.batches, self.loss = estimator, solver, batches, loss
        self.held_out, self.task, self.incremental = held_out, task, incremental
        self.best: dict[str, np.ndarray] | None = None  # by early stopping
        self.rows = int(batches.sum())
        self.shares = batches / self.rows
        self.stopped = False

    def on_epoch_end(self, net: vg.MLP, history: vg.History) -> bool:
        return self.end(net, history.loss[-len(self.batches) :])

    def end(self, net: vg.MLP, losses: np.ndarray) -> bool:
        """losses: of the epoch's batches, as the net has them. Whether training has ended."""
        e = self.estimator
        e.n_iter_ += 1
        e.loss_ = self.loss * float(losses @ self.shares)
        e.t_ += self.rows
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        self._judge(net)
        self.solver.end_epoch(net, e.t_)
        told_to_end = self.task is not None and self.task.end_epoch()
        if e._no_improvement_count > e.n_iter_no_change:
            self.stopped = not self.solver.goes_on(net)
            self._tell()
            if not self.stopped:
                e._no_improvement_count = 0
        self.stopped = self.stopped or told_to_end
        over = self.stopped or self.incremental or e.n_iter_ == e.max_iter
        if self.task is not None and not over:
            self.task.begin_epoch()
        return over

    def _tell(self) -> None:
        e = self.estimator
        if not e.verbose:
            return
        what = "Validation score" if e.early_stopping else "Training loss"
        then = "Stopping." if self.stopped else f"Setting learning rate to {self.solver.learning_rate:f}"
        print(f"{what} did not improve by more than tol={e.tol:f} in {e.n_iter_no_change} epochs in a row. {then}")

    def _judge(self, net: vg.MLP) -> None:
        """Whether this epoch is better than those before."""
        e = self.estimator
        score = self._score(net) if self.held_out is not None else math.nan
        if e.early_stopping:
            self._judge_score(net, score)
            return
        if self.held_out is not None:
            e.validation_scores_.append(score)
        e._no_improvement_count = e._no_improvement_count + 1 if e.loss_ > e.best_loss_ - e.tol else 0
        e.best_loss_ = min(e.best_loss_, e.loss_)

    def _judge_score(self, net: vg.MLP, score: float) -> None:
        e = self.estimator
        e.validation_scores_.append(score)
        if e.verbose:
            print(f"Validation score: {score:f}")
        e._no_improvement_count = e._no_improvement_count + 1 if score < e.best_validation_score_ + e.tol else 0
        if score > e.best_validation_score_:
            e.best_validation_score_, self.best = score, net.state_dict()

    def _score(self, net: vg.MLP) -> float:
        """Of the rows held out, of which the loss is noted too. Both NaN where outputs are not finite."""
        X, t, y, sample_weight = self.held_out or HeldOut(None, np.empty(0), np.empty(0), None)
        e = self.estimator
        try:
            z = net.forward(X)
        except vg.DivergenceError:
            e.validation_loss_curve_.append(math.nan)
            return math.nan
        e.validation_loss_curve_.append(e._loss_of_outputs(z, t, sample_weight))
        return float(e._score_outputs(z, y, sample_weight))

    def diverged(self, error: vg.DivergenceError) -> None:
        """Where early stopping has a best epoch to go back to, training just ends."""
        e = self.estimator
        e.validation_scores_.append(math.nan)
        e.validation_loss_curve_.append(math.nan)
        self.stopped = True
        warnings.warn(f"Training ended before its {e.max_iter} epochs: {error}", ConvergenceWarning, stacklevel=2)

    def finish(self, net: vg.MLP, best_before: dict[str, np.ndarray]) -> None:
        """When training has ended: the best weights of early stopping; a warning if there were not epochs enough."""
        e = self.estimator
        if e.early_stopping:
            net.load_state_dict(self.best or best_before)
        if not (self.stopped or self.incremental) and e.n_iter_ == e.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the optimization hasn't "
                "converged yet; raise max_iter, or tol",
                ConvergenceWarning,
                stacklevel=2,
            )


def loss_of_outputs(loss: str, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None) -> float:
    """The mean loss of vgfast of these outputs."""
    return LOSSES[loss].of(z, t, sample_weight)[0]
