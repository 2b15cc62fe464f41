"""The engine of ``vgfast.MLP``: the C core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from vgfast import _core, config
from vgfast._check import Rows, SparseRows
from vgfast.model.activations import find
from vgfast.model.architecture import Architecture
from vgfast.model.dropout import AlphaDropout, rate_of
from vgfast.model.engine import Backward, Engine, Settings, mean
from vgfast.model.losses import LOSSES
from vgfast.model.quantities import RECORD
from vgfast.model.rules import RuleState

# About what plain C without vectors does in 30 ms: 8 GFLOP/s were measured.
_SLICE_FLOPS = 240_000_000
# Of a run without an update.
_NO_STEP = Settings("sgd", lr=0.0)
_PROBABILITIES: dict[str, Callable[[np.ndarray, np.ndarray], Any] | None] = {
    "softmax": _core.softmax,
    "sigmoid": partial(_core.activate, "sigmoid"),
    "linear": None,
}


def _slices(n_rows: int, multiplied: int) -> Iterator[slice]:
    """Slices of rows, each of which C finishes within some 30 ms, so that Ctrl-C is answered between them. multiplied:
    the parameters that a row is multiplied by."""
    rows = max(1, _SLICE_FLOPS // (2 * max(1, multiplied)) // _core.FORWARD_ROWS) * _core.FORWARD_ROWS
    for start in range(0, n_rows, rows):
        yield slice(start, min(start + rows, n_rows))


def core_net(architecture: Architecture, sparse: bool = False) -> _core.Net:
    """Sizes and places in the parameter vector; sparse: for rows that are. MemoryError or OverflowError for a net
    beyond the address space."""
    net, norm = architecture, architecture.normalization
    kinds = [(phi.kind, phi.alpha) for phi in map(find, net.kinds)]
    how = _core.LOSSES.index(net.loss), _core.DTYPES.index(net.dtype.name)
    dropouts = [(rate_of(one), isinstance(one, AlphaDropout)) for one in net.dropout]
    placed = None if norm is None else (norm.kind, norm.place == "before", norm.eps, norm.affine, norm.momentum)
    return _core.Net(net.sizes, kinds, *how, dropouts, net.blocks, net.scale, net.learns_scales, placed, sparse)


class CEngine(Engine):
    """``core``: the net in C, for dense rows. ``params`` starts on a cache line."""

    dtypes = _core.DTYPES

    def __init__(self, architecture: Architecture) -> None:
        self.core = core_net(architecture)
        self._sparse_core: _core.Net | None = None  # made when it is asked for
        super().__init__(architecture)
        self.probabilities = _PROBABILITIES[LOSSES[architecture.loss].link]
        self.forward_few = self.core.forward_few

    def make_memory(self, n: int) -> np.ndarray:
        return _core.aligned(n, self.architecture.dtype)

    def core_for(self, sparse: bool) -> _core.Net:
        """The net in C for such rows."""
        if not sparse:
            return self.core
        if self._sparse_core is None:
            self._sparse_core = core_net(self.architecture, sparse=True)
        return self._sparse_core

    def _core_of(self, x: Rows) -> _core.Net:
        return self.core_for(isinstance(x, SparseRows))

    # ---- predictions ----------------------------------------------------------------------------------

    def compute_outputs(self, x: Rows) -> np.ndarray:
        z, core = np.empty((len(x), self.architecture.sizes[-1]), self.architecture.dtype), self._core_of(x)
        multiplied = self.params.size
        if isinstance(x, SparseRows):
            multiplied += self.architecture.sizes[1] * (x.count() // len(x) - x.shape[1])
        for rows in _slices(len(x), multiplied):
            n_threads = core.threads_for(rows.stop - rows.start, config.get_num_threads())
            core.forward(self.vector, x[rows], z[rows], n_threads)
        return z

    def compute_outputs_in_training(self, x: Rows, lock: _core.TrainingLock) -> np.ndarray:
        workspace = self._memory(len(x), self._core_of(x))
        run = _core.Run(workspace, _core.OUTPUTS, self.vector, None, lock, self.draws)
        run.set_optimizer(*_NO_STEP)
        run.set_data(x, None, len(x))
        self._one_batch(run, None)
        return workspace.output(self.architecture.n_layers).copy()

    def compute_losses(
        self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        losses, correct = np.empty(len(z)), np.empty(len(z))
        for rows in _slices(len(z), self.params.size):
            _core.loss(self.architecture.loss, z[rows], t[rows], losses[rows], correct[rows], np.empty_like(z[rows]))
        return mean(losses, sample_weight), correct

    # ---- one batch, without an update -----------------------------------------------------------------

    def backward(self, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None = None) -> Backward | None:
        return self._backward(x, t, False, sample_weight)

    def backward_from(self, x: Rows, dz: np.ndarray) -> Backward | None:
        found = self._backward(x, dz, True)
        return None if found is None else found._replace(loss=np.nan)

    def _backward(
        self, x: Rows, t: np.ndarray, given_deltas: bool, sample_weight: np.ndarray | None = None
    ) -> Backward | None:
        workspace, gradient = self._memory(len(x), self._core_of(x)), self.make_vector()
        run = _core.Run(workspace, _core.GRADIENT, self.vector, gradient, None, self.draws)
        run.set_optimizer(*_NO_STEP)
        run.set_data(x, t, len(x), given_deltas, sample_weight)
        found = self._one_batch(run, None)
        if found is None:
            return None
        layers = range(1, self.architecture.n_layers + 1)
        inputs, deltas = [x, *map(workspace.output, layers[:-1])], [workspace.delta(l) for l in layers]
        return Backward(found[0], gradient, inputs, deltas)

    def inspect(
        self,
        x: Rows,
        t: np.ndarray,
        settings: Settings,
        state: RuleState,
        exponents: np.ndarray | None,
        sample_weight: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray] | None:
        workspace = self._memory(len(x), self._core_of(x))
        run = _core.Run(workspace, _core.INSPECT, self.vector, self.make_vector(), None, self.draws)
        run.set_optimizer(*settings, *state)
        run.set_data(x, t, len(x), sample_weight=sample_weight)
        return self._one_batch(run, exponents)

    def _memory(self, rows: int, core: _core.Net) -> _core.Workspace:
        n_threads = core.threads_for(rows, config.get_num_threads())
        return _core.Workspace(core, rows, n_threads, None, config.free_memory)

    def _one_batch(self, run: _core.Run, exponents: np.ndarray | None) -> tuple[float, np.ndarray] | None:
        """(loss, records) of all rows of the run at once; None if something is not finite."""
        loss, correct, records = np.empty(1), np.empty(1), np.zeros((1, self.architecture.n_layers), RECORD)
        run.set_records(records, 0, exponents)
        run.set_results(loss, correct, 0)
        run.begin_epoch(None)
        return None if run.go() == _core.NON_FINITE else (float(loss[0]), records[0])

    # ---- updates --------------------------------------------------------------------------------------

    def apply(self, gradient: np.ndarray, settings: Settings, state: RuleState, lock: _core.TrainingLock) -> bool:
        run = _core.Run(self._memory(1, self.core), _core.APPLY, self.vector, gradient, lock, self.draws)
        run.set_optimizer(*settings, *state)
        return run.apply() != _core.NON_FINITE

    def make_workspace(
        self, rows: int, old: _core.Workspace | None = None, in_parts: bool = False, sparse: bool = False
    ) -> _core.Workspace:
        core = self.core_for(sparse)
        n_threads = core.threads_to_try(rows, config.get_num_threads())
        part = core.part_of_batch(rows, n_threads) if in_parts else rows
        if old is not None and (old.net, old.batch, old.rows, old.n_threads) == (core, rows, part, n_threads):
            return old
        return _core.Workspace(core, rows, n_threads, part, config.free_memory)

    def make_run(
        self,
        x: Rows,
        t: np.ndarray,
        batch_size: int,
        workspace: Any,
        lock: _core.TrainingLock,
        sample_weight: np.ndarray | None = None,
    ) -> _core.Run:
        gradient = self.make_vector() if workspace.needs_gradient else None
        run = _core.Run(workspace, _core.TRAIN, self.vector, gradient, lock, self.draws)
        run.set_data(x, t, batch_size, sample_weight=sample_weight)
        return run
