"""The model: a multi-layer perceptron, its training, its inspection, its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vgfast import _check, _core, config
from vgfast.inspection.report import GradientReport, Gradients, reported, sample_norms
from vgfast.model.errors import DivergenceError, unapplied
from vgfast.model.losses import LOSSES
from vgfast.model.quantities import INSPECTIONS, RECORD, histograms
from vgfast.network import Network
from vgfast.training.fit import Loop, Stepper, shuffled, wants_to_stop
from vgfast.training.history import History
from vgfast.training.optimizers import SGD, checked_optimizer

if TYPE_CHECKING:
    from vgfast.cost.report import CostReport
    from vgfast.inspection.finite_differences import GradientCheck
    from vgfast.inspection.paths import Trace

# About what plain C without vectors does in 30 ms: 8 GFLOP/s were measured.
_SLICE_FLOPS = 240_000_000


class Evaluation(NamedTuple):
    """``loss``, the mean over the rows, and ``accuracy``, the share predicted rightly (None for mse)."""

    loss: float
    accuracy: float | None


class MLP(Network):
    """A dense network with float32 or float64 parameters.

    Layer l (1..L) computes z = a W + b and a = phi(z) from the outputs of the layer before; layer L is linear,
    and its softmax or sigmoid belongs to the loss.

    sizes: [n_in, hidden..., n_out].
    activation: of the hidden layers, one name or one a layer, such as relu, tanh or sigmoid; ``vg.activations`` has
        them all.
    loss: ``cross_entropy`` (softmax; y holds integer labels (rows,) or probabilities (rows, n_out); mean over
        rows), ``binary_cross_entropy`` (y from 0 to 1) or ``mse`` (both: y (rows, n_out); mean over rows and
        outputs).
    init: a name or object of ``vg.init``; ``auto`` is He for the ReLUs and Glorot for the rest.
    rng: None, a seed, or a ``numpy.random.Generator``: for the first weights, then for shuffling.

    While one thread trains a net, in ``fit`` or ``step``, others may use it: all methods that read it wait for the
    steps in work, some 30 ms of them, if they have to, and do their work with the parameters after those. What changes
    the net, training or assigning, is refused with a RuntimeError meanwhile. The views ``params``, ``weights`` and
    ``biases`` show what is in memory, in the midst of a step too; writing through them then is not noticed, and lands
    before or after the update of that weight.

    Errors: TypeError or ValueError for a size below 1, fewer than two sizes, or an unknown name.

    >>> import numpy as np, vgfast as vg
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
    >>> net = vg.MLP([2, 16, 2], rng=0)
    >>> history = net.fit(X, y, epochs=60, batch_size=20, optimizer=vg.SGD(lr=0.1, momentum=0.9))
    >>> net.evaluate(X, y).accuracy > 0.95
    True
    """

    # ---- training --------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: SGD | None = None,
        shuffle: bool = True,
        validation_data: tuple[Any, Any] | None = None,
        inspect_every: int = 0,
        callbacks: Sequence[Callable[[MLP, History], Any]] = (),
        progress: Callable[[int, int, History], Any] | None = None,
        inspect: str = "scalars",
    ) -> History:
        """Train on mini-batches of X (rows, n_in) and y; returns the ``History``.

        The last batch of an epoch has the rows that are left; a batch_size above the number of rows is that number.
        inspect_every: inspect each step whose number divides by it, from step 0 on; 0 is never; inspect="histograms"
        also counts the exponents of gradients (``History.exponents``). callbacks: each is called as
        callback(net, history) after each epoch, may change the optimizer's attributes, and ends training by returning
        True. progress(done, total, history) is called about every 30 ms, with ``history`` showing the part done so far.

        The same seed gives the same bits, with any number of threads and with or without inspection (but see the
        README on inspected norms of huge values). Ctrl-C is answered after the step in work, or 30 ms of short
        ones, and leaves the net there, and what was told until then in ``net.history``. Errors: ``DivergenceError``,
        likewise; TypeError and ValueError for bad input and RuntimeError while another thread trains this net, all
        before any change.
        """
        epochs = _check.integer("epochs", epochs, 1)
        inspect_every = _check.integer("inspect_every", inspect_every, 0, _check.MOST_ELEMENTS)
        if _check.choice("inspect", inspect, INSPECTIONS) == "histograms" and inspect_every == 0:
            raise ValueError("inspect='histograms' needs inspect_every above 0, got 0; for example inspect_every=10")
        callbacks = _check.functions("callbacks", callbacks)
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be a function of (done, total, history), got {progress!r}")
        optimizer = checked_optimizer(optimizer, self.dtype)
        x, t = self._batch(X, y)
        batch_size = _check.batch_size(batch_size, len(x))
        _check.integer("epochs x steps of an epoch", epochs * -(-len(x) // batch_size), 1, _check.MOST_ELEMENTS)
        validation = None
        if validation_data is not None:
            names = "validation_data[0]", "validation_data[1]"
            validation = self._batch(*_check.pair(validation_data), names)
        try:
            self._lock.own("trained")
            loop = Loop(self, x, t, epochs, batch_size, optimizer, inspect_every, inspect)
            self._history = loop.history
            try:
                for epoch in range(epochs):
                    loop.train_epoch(epoch, shuffled(len(x), self._rng) if shuffle else None, progress)
                    if validation is not None:
                        loop.note_validation(self._evaluate(*validation))
                    if callbacks and wants_to_stop(self, loop.so_far(), callbacks):
                        break
            except DivergenceError as error:
                error.history = loop.history
                raise
            finally:
                self._history = loop.so_far()  # a callback may have trained in between
        finally:
            self._lock.disown()
        return loop.history

    def step(self, X: Any, y: Any, optimizer: SGD | None = None) -> float:
        """One step on this batch, all rows of X at once; returns the mean loss before the update."""
        try:
            self._lock.own("trained")
            optimizer = _PLAIN if optimizer is None else optimizer
            if self._stepper is not None:
                loss = self._stepper.step(X, y, optimizer)
                if loss is not None:
                    return loss
            return self._first_step(X, y, checked_optimizer(optimizer, self.dtype))
        finally:
            self._lock.disown()

    def _first_step(self, X: Any, y: Any, optimizer: SGD) -> float:
        """A step with all checks; the second of the same size leaves a ``Stepper`` for those to come."""
        x, t = self._batch(X, y)
        workspace = None if self._stepper is None else self._stepper.workspace
        loop = Loop(self, x, t, 1, len(x), optimizer, 0, workspace=workspace)
        loop.train_epoch(0, None, None)
        again = self._last_rows == len(x)
        self._stepper = Stepper(loop) if again else None
        self._last_rows = len(x)
        return float(loop.losses[0])

    def gradients(self, X: Any, y: Any) -> Gradients:
        """The gradient of the mean loss over all rows of X; changes nothing in the net."""
        x, t = self._batch(X, y)
        return self._steadily(lambda net: net._gradients(x, t))

    def _gradients(self, x: np.ndarray, t: np.ndarray, given_deltas: bool = False) -> Gradients:
        flat = _core.aligned(self.n_params, self.dtype)
        workspace, losses, _ = self._one_batch(_core.GRADIENT, x, t, None, flat, None, given_deltas=given_deltas)
        weights, biases = self._architecture.views(flat)
        deltas = [workspace.delta(l).copy() for l in range(1, len(self.sizes))]
        return Gradients(np.nan if given_deltas else float(losses[0]), weights, biases, deltas, flat)

    def backward(self, X: Any, dz: Any) -> Gradients:
        """The gradient where the loss is not one of vgfast's: dz (rows, n_out) is its derivative by the outputs that
        ``forward`` gives for X (rows, n_in), as ``outputs.backward(dz)`` takes it in PyTorch. Nothing is averaged over
        the rows. Changes nothing in the net; ``loss`` of the result is NaN.

        Errors: TypeError or ValueError for a dz of another shape, or not finite; ``DivergenceError``.

        >>> import numpy as np, vgfast as vg
        >>> X, y = np.eye(3), np.array([[1.0], [0.0], [2.0]])
        >>> net = vg.MLP([3, 4, 1], loss="mse", rng=0)
        >>> off = net.forward(X) - y
        >>> by_huber = net.backward(X, np.clip(off, -1, 1) / len(X))
        >>> net.apply(by_huber, vg.SGD(lr=0.1))
        """
        with _core.standard_arithmetic():
            x = self._architecture.inputs(X)
            d = self._architecture.output_gradient(dz, len(x))
        x, d = (a.copy() if np.may_share_memory(a, self._params) else a for a in (x, d))
        return self._steadily(lambda net: net._gradients(x, d, given_deltas=True))

    def apply(self, gradients: Gradients | np.ndarray, optimizer: SGD | None = None) -> None:
        """One step of the optimizer with these gradients, whoever computed them: those of ``gradients`` or
        ``backward``, or a vector (n_params,) that is ordered like ``params``, of the net's dtype.

        ``net.apply(net.gradients(X, y), optimizer)`` does what ``net.step(X, y, optimizer)`` does, bit by bit.
        Errors: TypeError or ValueError for gradients of another dtype or shape, or not finite; ``DivergenceError`` if
        the update would not be finite; RuntimeError while another thread trains this net. The net is then as it was.
        """
        optimizer = checked_optimizer(optimizer, self.dtype)
        flat = _check.gradients(gradients, [w.shape for w in self._weights], self._params)
        try:
            self._lock.own("trained")
            workspace = _core.Workspace(self._core, 1, self._threads(1))
            run = _core.Run(workspace, _core.APPLY, self._params, flat, self._lock)
            velocity = optimizer.velocity(self, lambda: _core.aligned(self.n_params, self.dtype))
            run.set_optimizer(*optimizer.checked(), velocity)
            status = run.apply()
        finally:
            self._lock.disown()
        if status == _core.NON_FINITE:
            raise unapplied(self._params, optimizer)

    def sample_norms(self, X: Any, y: Any) -> np.ndarray:
        """(rows, L) float64: the norm of the gradient of each row's own loss by W_l and b_l.

        ‖delta_i‖ sqrt(‖a_i‖² + 1), without that gradient being formed (Goodfellow, "Efficient per-example gradient
        computations", 2015).
        """
        x, t = self._batch(X, y)
        return self._steadily(lambda net: net._sample_norms(x, t))

    def _sample_norms(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        flat = _core.aligned(self.n_params, self.dtype)
        workspace, _, _ = self._one_batch(_core.GRADIENT, x, t, None, flat, None)
        layers = range(1, len(self.sizes))
        return sample_norms([workspace.output(l - 1) for l in layers], [workspace.delta(l) for l in layers])

    def inspect(
        self,
        X: Any,
        y: Any,
        optimizer: SGD | None = None,
        steps: int = 1000,
        try_remedies: bool = True,
        inspect: str = "scalars",
    ) -> GradientReport:
        """What a step with this optimizer on this batch would do to each layer; changes nothing in the net.

        steps: the length of the training to judge for (see ``GradientReport``). Where something is wrong, remedies
        are tried on copies of the net, unless try_remedies is False: each for the price of another inspection, or of 20
        steps where the step itself is too large.
        inspect="histograms" also counts the exponents of gradients (``GradientReport.exponents``).
        """
        inspect = _check.choice("inspect", inspect, INSPECTIONS)
        optimizer = checked_optimizer(optimizer, self.dtype)
        steps = _check.integer("steps", steps, 1, _check.MOST_ELEMENTS)
        x, t = self._batch(X, y)
        exponents = histograms(1, self._architecture) if inspect == "histograms" else None
        report = self._steadily(lambda net: net._inspect(x, t, optimizer, steps, try_remedies, exponents))
        report.exponents = None if exponents is None else exponents[0]
        return report

    def _inspect(
        self,
        x: np.ndarray,
        t: np.ndarray,
        optimizer: SGD,
        steps: int,
        try_remedies: bool,
        exponents: np.ndarray | None,
    ) -> GradientReport:
        flat = _core.aligned(self.n_params, self.dtype)
        velocity = optimizer.velocity_now(self, lambda: _core.aligned(self.n_params, self.dtype))
        if exponents is not None:
            exponents[...] = 0  # this may be the second attempt
        _, losses, records = self._one_batch(_core.INSPECT, x, t, optimizer, flat, velocity, exponents)
        return reported(self, x, t, optimizer, records[0], float(losses[0]), steps, try_remedies)

    def trace(self, layer: int, i: int, j: int, x: Any, y: Any, paths: int = 5) -> Trace:
        """dloss/dW_layer[i, j] for one sample, x (n_in,) with its y, as the sum over paths of products of derivatives.

        Layers count from 1; i, the input unit, and j, the output unit, from 0, as in ``net.weights[layer-1][i, j]``.
        paths: how many of the strongest to show, 1 to 100. In float64, from the net's parameters. See ``Trace``.
        Errors: TypeError or ValueError for a weight that there is not or more than one sample; ``DivergenceError`` for
        parameters, outputs or deltas that are not finite.
        """
        # Here and below: the textbook does it; only read when asked for.
        from vgfast.inspection import paths as trace

        return self._steadily(lambda net: trace.follow(net, layer, i, j, x, y, paths))

    def check_gradient(self, layer: int, i: int, j: int, X: Any, y: Any) -> GradientCheck:
        """dloss/dW_layer[i, j] of the mean loss over all rows of X beside finite differences of that loss.

        Entries are numbered as by ``trace``. The differences are those of a float64 copy of the net, and cost about
        100 forward passes in NumPy. See ``GradientCheck``. Errors: as of ``trace``.
        """
        from vgfast.inspection import finite_differences

        return self._steadily(lambda net: finite_differences.check(net, layer, i, j, X, y))

    def cost(self, batch_size: int = 32, measure: bool = True) -> CostReport:
        """What each layer and phase of a training step on batch_size rows costs, and must cost on this machine.

        measure: time steps of a copy of the net, on random rows, in about a second; without it, and where the net is
        too large for that, only what the sizes and the machine's limits tell. See ``CostReport``, and ``vgfast.cost``
        for what is counted and predicted. Errors: TypeError or ValueError for a batch_size below 1 and for a net whose
        step is not finite.

        >>> import vgfast as vg
        >>> cost = vg.MLP([784, 30, 10], "sigmoid").cost(batch_size=10, measure=False)
        >>> cost.rows[1].phase, cost.rows[1].flops
        ('forward', 470400)
        """
        from vgfast.cost import report as cost

        try:
            self._lock.own("timed")
            return cost.of_architecture(self._architecture, batch_size, measure, self._engine)
        finally:
            self._lock.disown()

    def _one_batch(
        self,
        mode: int,
        x: np.ndarray,
        t: np.ndarray,
        optimizer: SGD | None,
        flat: np.ndarray,
        velocity: Any,
        exponents: np.ndarray | None = None,
        given_deltas: bool = False,
    ) -> tuple[_core.Workspace, np.ndarray, np.ndarray]:
        """Run one batch without an update; returns its memory, its loss and its records."""
        workspace = _core.Workspace(self._core, len(x), self._threads(len(x)))
        losses, correct = np.empty(1), np.empty(1)
        records = np.zeros((1, len(self.sizes) - 1), RECORD)
        run = _core.Run(workspace, mode, self._params, flat)
        run.set_optimizer(*(optimizer or SGD()).checked(), velocity)
        run.set_data(x, t, len(x), given_deltas)
        run.set_epoch(None, losses, correct, 0)
        run.set_records(records, 0, exponents)
        if run.go() == _core.NON_FINITE:
            if given_deltas:
                self._forward(x)  # whose own error says more, if it is not dz
                raise DivergenceError("this dz leads to gradients that are not finite; make it, or X, smaller")
            raise self._divergence(x, t, 0, optimizer, "this batch has no finite gradient")
        return workspace, losses, records

    def _batch(self, X: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> tuple[np.ndarray, np.ndarray]:
        """X and y as C takes them, sharing no memory with the parameters, which change meanwhile."""
        with _core.standard_arithmetic():
            x, t = self._architecture.batch(X, y, names)
        x, t = (a.copy() if np.may_share_memory(a, self._params) else a for a in (x, t))
        return x, t

    def _threads(self, rows: int) -> int:
        return self._core.threads_for(rows, config.get_num_threads())

    def _divergence(
        self, x: np.ndarray, t: np.ndarray, step: int, optimizer: SGD | None, what: str, batch_size: int | None = None
    ) -> DivergenceError:
        """The error for the last of these batches, after `step` good steps: which layer, and what to do."""
        from vgfast.inspection import divergence  # only needed here

        return divergence.diagnosed(self, x, t, step, optimizer, what, batch_size or len(x))

    # ---- predictions -----------------------------------------------------------------------------

    def forward(self, X: Any) -> np.ndarray:
        """z_L (rows, n_out): the outputs before softmax or sigmoid."""
        z = self._core.forward_few(self._params, X, self._lock)
        if z is not None:
            return z
        with _core.standard_arithmetic():
            x = self._architecture.inputs(X)
        return self._steadily(lambda net: net._forward(x))

    def _forward(self, x: np.ndarray) -> np.ndarray:
        z = np.empty((len(x), self.sizes[-1]), self.dtype)
        for rows in self._slices(len(x)):
            self._core.forward(self._params, x[rows], z[rows], self._threads(rows.stop - rows.start))
        if not np.isfinite(z).all():
            raise self._no_prediction(x, z)
        return z

    def _no_prediction(self, x: np.ndarray, z: np.ndarray) -> DivergenceError:
        """The error for outputs z that are not all finite: no answer is made of NaN."""
        if not np.isfinite(self._params).all():
            return DivergenceError(
                "the net's parameters hold NaN or infinity, so it predicts nothing; assign finite ones"
            )
        row = int(np.argmin(np.isfinite(z).all(axis=1)))
        return DivergenceError(
            f"row {row} of X, whose largest value is {float(np.abs(x[row]).max()):.2g}, makes outputs that are too "
            f"large for {self.dtype}; scale X down"
        )

    def _slices(self, n_rows: int) -> Iterator[slice]:
        """Pieces of rows that C is done with in about 30 ms at the least, so that Ctrl-C is heard between."""
        rows = max(1, _SLICE_FLOPS // (2 * self.n_params) // _core.FORWARD_ROWS) * _core.FORWARD_ROWS
        for start in range(0, n_rows, rows):
            yield slice(start, min(start + rows, n_rows))

    def predict_proba(self, X: Any) -> np.ndarray:
        """(rows, n_out): softmax or sigmoid of ``forward``. ValueError for mse, which has no probabilities."""
        if not LOSSES[self.loss].has_accuracy:
            raise ValueError("a net with loss='mse' predicts values, not probabilities; use predict")
        z = self.forward(X)
        if self.loss == "cross_entropy":
            _core.softmax(z, z)
        else:
            _core.activate("sigmoid", z, z)
        return z

    def predict(self, X: Any) -> np.ndarray:
        """Class labels (rows,) for cross_entropy; 0 or 1 (rows, n_out) for binary_cross_entropy; values
        (rows, n_out) for mse."""
        z = self.forward(X)
        if self.loss == "cross_entropy":
            return z.argmax(axis=1)
        return (z > 0).astype(np.int64) if self.loss == "binary_cross_entropy" else z

    def evaluate(self, X: Any, y: Any) -> Evaluation:
        """Mean loss and accuracy over all rows of X. ``DivergenceError`` if the loss is not finite."""
        return self._evaluate(*self._batch(X, y))

    def _evaluate(self, x: np.ndarray, t: np.ndarray) -> Evaluation:
        z = self._steadily(lambda net: net._forward(x))
        losses, correct = np.empty(len(x)), np.empty(len(x))
        for rows in self._slices(len(x)):
            _core.loss(self.loss, z[rows], t[rows], losses[rows], correct[rows], np.empty_like(z[rows]))
        with _core.standard_arithmetic():
            loss = float(losses.mean())
            accuracy = float(correct.mean()) if LOSSES[self.loss].has_accuracy else None
        if not np.isfinite(loss):
            row = int(np.argmin(np.isfinite(losses)))
            raise DivergenceError(
                f"the loss of row {row} is too large for {self.dtype}: its outputs are as large as "
                f"{float(np.abs(z[row]).max()):.2g}, and y as {float(np.abs(t[row]).max()):.2g}; scale X and y down"
            )
        return Evaluation(loss, accuracy)


# For calls of step without an optimizer: the same object each time.
_PLAIN = SGD()
