"""The methods of a net that users call: each checks its arguments and lets the engine compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vgfast import _check, _core
from vgfast.export.methods import Exports
from vgfast.inspection.gradients import Gradients, TrainingPass, take_gradients, take_gradients_from, take_sample_norms
from vgfast.inspection.report import GradientReport
from vgfast.model.errors import DivergenceError, update_error
from vgfast.model.losses import LOSSES
from vgfast.model.quantities import INSPECTIONS, make_histograms
from vgfast.training.epochs import check_batches, check_numbers, check_progress, prepare, train
from vgfast.training.fit import Loop
from vgfast.training.history import History
from vgfast.training.learner import Learner
from vgfast.training.optimizers import Optimizer
from vgfast.training.ranks import Reducer
from vgfast.training.settings import PLAIN, check_optimizer, refuse_penalty
from vgfast.training.stepper import Stepper

if TYPE_CHECKING:
    from vgfast.inspection.case import Case
    from vgfast.inspection.finite_differences import GradientCheck
    from vgfast.inspection.paths import Trace
    from vgfast.training.callbacks import Callback


# What errors call the parts of validation_data.
_VALIDATION = "validation_data[0]", "validation_data[1]", "validation_data[2]"


class Evaluation(NamedTuple):
    """``loss``, the mean over the rows, and ``accuracy``, the share predicted rightly (None for mse); with weights both
    are weighted means."""

    loss: float
    accuracy: float | None


class Network(Exports):
    """Training, inspection and predictions, whatever engine computes them. See ``vgfast.MLP``."""

    # ---- training --------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        shuffle: bool | np.random.Generator = True,
        validation_data: tuple[Any, ...] | None = None,
        inspect_every: int = 0,
        callbacks: Sequence[Callback] = (),
        progress: bool | Callable[[int, int, History], Any] = False,
        inspect: str = "scalars",
        sample_weight: Any = None,
        reduce: Callable[[np.ndarray, float], None] | Reducer | None = None,
    ) -> History:
        """Train on mini-batches of X (rows, n_in), dense or sparse, and y, or of a source in place of both, whose rows
        need not fit memory (see ``vgfast.data.blocks``); returns the ``History``.

        The last batch of an epoch has the rows that are left; a batch_size above the number of rows is that number.
        shuffle: whether each epoch has the rows in a new order, by the net's own generator, or by this one.
        inspect_every: inspect each step whose number divides by it, from step 0 on; 0 is never; inspect="histograms"
        also counts the exponents of gradients (``History.exponents``). callbacks: functions that are called as
        callback(net, history) after each epoch, may change the optimizer's attributes, and end training by returning
        True; or objects such as ``vg.EarlyStopping`` (see ``vgfast.training.callbacks``).
        progress: True shows a bar on a terminal, if rich is installed, or else a line an epoch, ten a second at most; a
        function is called as progress(done, total, history) about every 30 ms, with ``history`` so far.
        sample_weight (rows,): weights w, at least 0; each batch's loss is then sum(w loss) / sum(w) over its rows, as
        if a row of weight 2 were there twice in its batch, and so are the losses and accuracies of the history. A batch
        whose weights are all 0 has loss 0 and gradient 0. validation_data: (X, y) or (X, y, sample_weight).
        reduce: called before each update as reduce(flat, rows), with the gradient (n_params,) of the mean loss of so
        many rows, or of so much weight, to change it in its place, one array for all steps, before clipping, the finite
        check and records; it may read the net. Or a ``vg.Reducer``, by which several processes train one net.

        The same seed gives the same bits, with any number of threads and with or without inspection (but see the README
        on inspected norms of huge values). Ctrl-C is answered after the current step, or 30 ms of short ones; it leaves
        the net as it is then, and what was recorded in ``net.history``. Errors: ``DivergenceError``, likewise; before
        any change TypeError, ValueError for bad input, MemoryError for huge batches, RuntimeError while it is trained.
        """
        from vgfast.training.callbacks import Callbacks, watching  # here and below: only read when asked for

        epochs, inspect_every = check_numbers(epochs, inspect_every, inspect)
        listeners = Callbacks(callbacks)
        inspect_every = inspect_every or watching.added(reduce, listeners.checkpoint)
        check_progress(progress)
        optimizer = check_optimizer(optimizer, self.dtype)
        loop_over, n_rows = prepare(self, X, y, sample_weight, reduce)
        batch_size = check_batches(self._architecture, batch_size, n_rows, epochs)
        validation = None if validation_data is None else self._weighted(*_check.held_out(validation_data), _VALIDATION)
        try:
            self._lock.own("trained")
            rng = shuffle if isinstance(shuffle, np.random.Generator) else self._rng if shuffle else None
            loop = loop_over(epochs, batch_size, optimizer, inspect_every, inspect, rng=rng)
            train(self, loop, epochs, validation, listeners, progress)
        finally:
            self._lock.disown()
        return loop.history

    def step(self, X: Any, y: Any, optimizer: Optimizer | None = None, sample_weight: Any = None) -> float:
        """One step on this batch, all rows of X at once; returns the mean loss before the update. sample_weight: as for
        ``fit``; but not all 0."""
        try:
            self._lock.own("trained")
            optimizer = PLAIN if optimizer is None else optimizer
            if self._stepper is not None and sample_weight is None:
                loss = self._stepper.step(X, y, optimizer)
                if loss is not None:
                    return loss
            return self._first_step(X, y, sample_weight, check_optimizer(optimizer, self.dtype))
        finally:
            self._lock.disown()

    def _first_step(self, X: Any, y: Any, sample_weight: Any, optimizer: Optimizer) -> float:
        """A step with all checks; the second of the same size leaves a ``Stepper`` for those without weights."""
        x, t, weights = self._weighted(X, y, sample_weight)
        self._architecture.check_batch_size(len(x))
        workspace = None if self._stepper is None else self._stepper.workspace
        loop = Loop(self._learner(), x, t, 1, len(x), optimizer, workspace=workspace, sample_weight=weights)
        loop.train(1)
        again = self._last_rows == len(x) and loop.workspace is not None and isinstance(x, np.ndarray)
        self._stepper = Stepper(loop) if again else None
        self._last_rows = len(x)
        return float(loop.losses[0])

    def gradients(self, X: Any, y: Any, sample_weight: Any = None) -> Gradients:
        """The gradient of the mean loss over all rows of X; changes nothing in the net.

        sample_weight (rows,): weights w, at least 0 and not all 0, for the mean sum(w loss) / sum(w).

        >>> import numpy as np, vgfast as vg
        >>> net, X, y = vg.MLP([2, 3, 2], dtype="float64", rng=0), np.eye(2), [0, 1]
        >>> weighted, repeated = net.gradients(X, y, sample_weight=[1, 2]), net.gradients(X[[0, 1, 1]], [0, 1, 1])
        >>> np.allclose(weighted.flat, repeated.flat, rtol=1e-12, atol=0)
        True
        """
        x, t, weights = self._weighted(X, y, sample_weight)
        self._architecture.check_batch_size(len(x))
        return self._read(lambda net: take_gradients(net._engine, x, t, weights))

    def backward(self, X: Any, dz: Any) -> Gradients:
        """The gradient where the loss is not one of vgfast's: dz (rows, n_out) is its derivative by the outputs that
        ``forward(X, training=True)`` gives for X (rows, n_in), as ``outputs.backward(dz)`` takes it in PyTorch. Nothing
        is averaged over the rows. Changes nothing in the net; ``loss`` of the result is NaN.

        It takes X forward again, as the next step would, with the masks of dropout and the moments of the batch that
        ``forward`` took. Of a net without dropout and batch norm, dz may be by the outputs of ``forward(X)`` as well.
        Errors: TypeError or ValueError for a dz of another shape, or not finite; ValueError, with dropout or batch
        norm, unless ``forward(X, training=True)`` was called since the net changed last; ``DivergenceError``.

        >>> import numpy as np, vgfast as vg
        >>> X, y = np.eye(3), np.array([[1.0], [0.0], [2.0]])
        >>> net = vg.MLP([3, 4, 1], loss="mse", dropout=0.2, rng=0)
        >>> off = net.forward(X, training=True) - y
        >>> by_huber = net.backward(X, np.clip(off, -1, 1) / len(X))
        >>> net.apply(by_huber, vg.SGD(lr=0.1))
        """
        with _core.standard_arithmetic():
            x = self._architecture.check_rows(X)
            d = self._architecture.check_output_gradient(dz, len(x))
        if self._architecture.trains_otherwise:
            TrainingPass.check(self._last_pass, x, self._lock.version)
        x, d = self._apart(x), self._apart(d)
        return self._read(lambda net: take_gradients_from(net._engine, x, d))

    def apply(self, gradients: Gradients | np.ndarray, optimizer: Optimizer | None = None) -> None:
        """One step of the optimizer with these gradients, whoever computed them: those of ``gradients`` or
        ``backward``, or a vector (n_params,) that is ordered like ``params``, of the net's dtype.

        ``net.apply(net.gradients(X, y), optimizer)`` changes parameters as ``net.step(X, y, optimizer)``, bit by bit.
        Errors: TypeError or ValueError for gradients of another dtype or shape, or not finite; ``DivergenceError`` if
        the update would not be finite; RuntimeError while another thread trains this net. The net is then as it was.
        """
        optimizer = refuse_penalty(check_optimizer(optimizer, self.dtype))
        flat = _check.gradients(gradients, [w.shape for w in self._weights], self._params)
        try:
            self._lock.own("trained")
            now = optimizer.at(self._states.steps_taken(optimizer))
            done = self._engine.apply(flat, now.checked(), self._learner().state(optimizer), self._lock)
        finally:
            self._lock.disown()
        if not done:
            raise update_error(self._params, now)

    def sample_norms(self, X: Any, y: Any) -> np.ndarray:
        """(rows, L) float64: the norm of the gradient of each row's own loss by W_l and b_l.

        ‖delta_i‖ sqrt(‖a_i‖² + 1), without that gradient being formed (Goodfellow, "Efficient per-example gradient
        computations", 2015). ValueError with batch norm, by which a row's loss has no gradient of its own.
        """
        self._architecture.refuse_batch_norm()
        x, t = self._batch(X, y)
        return self._read(lambda net: take_sample_norms(net._engine, x, t))

    def inspect(
        self,
        X: Any,
        y: Any,
        optimizer: Optimizer | None = None,
        steps: int = 1000,
        try_remedies: bool = True,
        inspect: str = "scalars",
        sample_weight: Any = None,
    ) -> GradientReport:
        """What a step with this optimizer on this batch would do to each layer; changes nothing in the net.

        steps: the length of the training to judge for (see ``GradientReport``). Where something is wrong, remedies
        are tried on copies of the net, unless try_remedies is False: each for the price of another inspection, or of 40
        steps where the step itself is too large.
        inspect="histograms" also counts the exponents of gradients (``GradientReport.exponents``). sample_weight: as
        for ``gradients``; remedies are tried with it too.
        """
        inspect = _check.choice("inspect", inspect, INSPECTIONS)
        optimizer = check_optimizer(optimizer, self.dtype)
        steps = _check.integer("steps", steps, 1, _check.MOST_ELEMENTS)
        x, t, weights = self._weighted(X, y, sample_weight)
        self._architecture.check_batch_size(len(x))
        exponents = make_histograms(1, self._architecture) if inspect == "histograms" else None
        report = self._read(
            lambda net: net._inspect(x, t, weights, optimizer, exponents, steps=steps, try_remedies=try_remedies)
        )
        report.exponents = None if exponents is None else exponents[0]
        return report

    def _inspect(
        self,
        x: _check.Rows,
        t: np.ndarray,
        sample_weight: np.ndarray | None,
        optimizer: Optimizer,
        exponents: np.ndarray | None,
        **how: Any,
    ) -> GradientReport:
        from vgfast.inspection import inspect  # here and below: only read when asked for

        if exponents is not None:
            exponents[...] = 0  # this may be the second attempt
        return inspect.inspect(self._case(x, t, optimizer, None, sample_weight), exponents=exponents, **how)

    def trace(self, layer: int, i: int, j: int, x: Any, y: Any, paths: int = 5) -> Trace:
        """dloss/dW_layer[i, j] for one sample, x (n_in,) with its y, as the sum over paths of products of derivatives.

        Layers count from 1; i, the input unit, and j, the output unit, from 0, as in ``net.weights[layer-1][i, j]``.
        paths: how many of the strongest to show, 1 to 100. In float64, and as for predictions: without dropout, with
        batch norm by its running statistics. See ``Trace``.
        Errors: TypeError or ValueError for a weight that there is not or more than one sample; ``DivergenceError`` for
        parameters, outputs or deltas that are not finite.
        """
        from vgfast.inspection import paths as trace

        return self._read(lambda net: trace.follow(net._engine.without_dropout(), layer, i, j, x, y, paths))

    def check_gradient(self, layer: int, i: int, j: int, X: Any, y: Any) -> GradientCheck:
        """dloss/dW_layer[i, j] of the mean loss over all rows of X, compared with finite differences of that loss.

        Entries are numbered as by ``trace``, and nothing is dropped; batch norm is by these rows, at least two. The
        differences, of a float64 copy, cost about 100 forward passes. See ``GradientCheck``. Errors: as of ``trace``.
        """
        from vgfast.inspection import finite_differences

        return self._read(lambda net: finite_differences.check(net._engine.without_dropout(), layer, i, j, X, y))

    def _case(
        self,
        x: _check.Rows,
        t: np.ndarray,
        optimizer: Optimizer,
        batch_size: int | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> Case:
        from vgfast.inspection.case import Case

        now = optimizer.at(self._states.steps_taken(optimizer)).on_batch(batch_size or len(x), sample_weight)
        return Case(self._engine, x, t, now, self._states.find(optimizer), batch_size, sample_weight)

    def _learner(self) -> Learner:
        return Learner(self._engine, self._states, self._rng, self._lock, self._diagnose)

    def _diagnose(
        self,
        x: _check.Rows,
        t: np.ndarray,
        step: int,
        optimizer: Optimizer,
        what: str,
        batch_size: int,
        sample_weight: np.ndarray | None,
    ) -> DivergenceError:
        """The error for the last of these batches, after `step` good steps: which layer, and what to do."""
        from vgfast.inspection.divergence import diagnose

        in_batches = batch_size if batch_size < len(x) else None
        return diagnose(self._case(x, t, optimizer, in_batches, sample_weight).with_dense_rows(), step, what)

    # ---- predictions -----------------------------------------------------------------------------

    def forward(self, X: Any, training: bool = False) -> np.ndarray:
        """z_L (rows, n_out): the outputs before softmax or sigmoid.

        training: those of the next training step on X as its batch, for a loss of one's own (see ``backward``): with
        the masks of its dropout, which are others after the next step or ``apply``, and with batch norm by the batch's
        own mean and variance, of which the running ones take in their share, once a call, as in PyTorch.
        Errors: ``DivergenceError`` for outputs that are not finite; with training, ValueError for a single row with
        batch norm, RuntimeError while another thread trains this net. The net is then as it was.
        """
        if training is not False and _check.flag("training", training):
            return self._forward_in_training(X)
        z = self._forward_few(self._vector, X, self._lock)
        return self._forward_any(X) if z is None else z

    def _forward_any(self, X: Any) -> np.ndarray:
        """The same of any X, which is checked first."""
        with _core.standard_arithmetic():
            x = self._architecture.check_rows(X)
        return self._read(lambda net: net._engine.predict(x))

    def _forward_in_training(self, X: Any) -> np.ndarray:
        with _core.standard_arithmetic():
            x = self._architecture.check_rows(X).copy()  # kept, to be known again
        self._architecture.check_batch_size(len(x))
        try:
            self._lock.own("trained")
            with _core.standard_arithmetic():
                z = self._engine.forward_in_training(x, self._lock)
            self._last_pass = TrainingPass(x, self._lock.version)
        finally:
            self._lock.disown()
        return z

    def predict_proba(self, X: Any) -> np.ndarray:
        """(rows, n_out): softmax or sigmoid of ``forward``. ValueError for mse, which has no probabilities."""
        probabilities = self._probabilities
        if probabilities is None:
            raise ValueError(f"a net with loss={self._loss!r} predicts values, not probabilities; use predict")
        p = self._forward_few(self._vector, X, self._lock, True)
        if p is None:
            p = self._forward_any(X)
            probabilities(p, p)
        return p

    def predict(self, X: Any) -> np.ndarray:
        """Class labels (rows,) for cross_entropy; 0 or 1 (rows, n_out) for binary_cross_entropy; values
        (rows, n_out) for mse."""
        return LOSSES[self._loss].predict(self.forward(X))

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> Evaluation:
        """Mean loss and accuracy over all rows of X; with a sample_weight as for ``gradients``, the weighted means.
        ``DivergenceError`` if the loss is not finite."""
        return self._evaluate(*self._weighted(X, y, sample_weight))

    def _evaluate(self, x: _check.Rows, t: np.ndarray, sample_weight: np.ndarray | None) -> Evaluation:
        z = self._read(lambda net: net._engine.predict(x))
        with _core.standard_arithmetic():
            return Evaluation(*self._engine.score(z, t, sample_weight))
