"""What remedies and trials change and try: a net on a batch with an optimizer, and others made of it."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from vgfast._check import SparseRows
from vgfast.inspection.verdict import shut_layer
from vgfast.model import init
from vgfast.model.activations import CATALOG
from vgfast.model.architecture import Architecture
from vgfast.model.engine import Engine
from vgfast.model.engine_numpy import textbook
from vgfast.model.rules import RuleState
from vgfast.training.optimizers import Optimizer
from vgfast.training.states import complete

# Inputs none of which is larger are tiny.
TINY = 0.1
# Of sparse rows, as many get their zeros as hold so many values.
_DENSE = 1 << 24


class Case(NamedTuple):
    """An engine; rows, in batches of batch_size, or all at once, with their weights or None; an optimizer; its state
    for this engine, or None. Nothing in it is changed: what is tried is tried on copies."""

    engine: Engine
    x: Any  # (rows, n_in); sparse rows until ``with_dense_rows``
    t: np.ndarray
    optimizer: Optimizer
    state: RuleState | None = None
    batch_size: int | None = None
    sample_weight: np.ndarray | None = None

    def take(self, rows: Any) -> Case:
        """The same with these rows alone."""
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        return self._replace(x=self.x[rows], t=self.t[rows], sample_weight=weights)

    def with_dense_rows(self) -> Case:
        """The same, for what is tried on rows with all their zeros: of sparse ones some, evenly spaced, where all would
        take too much memory."""
        if not isinstance(self.x, SparseRows):
            return self
        every = -(-len(self.x) * self.x.shape[1] // _DENSE)
        some = self if every == 1 else self.take(slice(None, None, every))
        return some._replace(x=some.x.toarray())

    @property
    def current_state(self) -> RuleState:
        """As the next step finds it."""
        return complete(self.state or RuleState(), self.optimizer, self.engine.make_vector)

    @property
    def descends(self) -> bool:
        """Whether steps are along gradients as they are, or as momentum has averaged them: not by their size."""
        return self.optimizer.checked().rule in ("sgd", "momentum", "nesterov")

    def with_optimizer(self, **settings: Any) -> Case:
        """The same with a copy of the optimizer that has these settings."""
        optimizer = copy.copy(self.optimizer)
        vars(optimizer).update(settings)
        return self._replace(optimizer=optimizer)

    def restart(self, rule: str | init.Init = "auto", activation: str | None = None) -> Case:
        """The case of a new net of the same sizes, with first weights of a fixed seed, new to its optimizer."""
        net = self.engine.architecture
        if activation is not None:
            net = net._replace(activations=(activation,) * len(net.activations))
        engine = self.engine.make_like(net)
        init.prepare(rule, net)(engine, np.random.default_rng(0))
        return self._replace(engine=engine, state=None)

    def rebuild(self, net: Architecture) -> Case:
        """The case of this net with the weights, and the biases that it has, of the engine; new to its optimizer."""
        engine = self.engine.make_like(net)
        for mine, others in ((engine.weights, self.engine.weights), (engine.biases, self.engine.biases)):
            for part, other in zip(mine, others, strict=True):
                part[...] = other if part.size else 0
        return self._replace(engine=engine, state=None)

    def widen(self) -> Case:
        """The same net in float64."""
        net = self.engine.architecture._replace(dtype=np.dtype(np.float64))
        t = self.t if self.t.ndim == 1 else self.t.astype(np.float64)
        state = None if self.state is None else self.state.copy(np.float64)
        engine = self.engine.make_like(net, self.engine.vector)
        return self._replace(engine=engine, x=self.x.astype(np.float64), t=t, state=state)


def scale_to_unit(values: np.ndarray) -> np.ndarray:
    """Of the same shape: columns of mean 0 and variance 1; rows that are all alike have none, and are divided by their
    root mean square; random ones for zeros; what another thread has meanwhile made infinite or NaN, as it is."""
    exact = np.asarray(values, np.float64)
    largest = float(np.abs(exact).max())
    if largest == 0:
        return np.random.default_rng(0).normal(size=values.shape).astype(values.dtype)
    if not np.isfinite(largest):
        return values
    exact = exact / largest  # no square can leave the range
    spread = np.where((values == values[0]).all(axis=0), 0, exact.std(axis=0))
    if not (spread > 0).any():
        return (exact / np.sqrt(np.square(exact).mean())).astype(values.dtype)
    return ((exact - exact.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(values.dtype)


def measure_shut_shares(engine: Engine, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L-1,) each: the shares of units with phi' = 0 on every row of x, and of entries with phi' below 1 % of its
    maximum, in each hidden layer."""
    zs = textbook(engine).forward(x)[0][:-1]
    kinds = [CATALOG[kind] for kind in engine.architecture.activations]
    derivatives = [kind.derivative(z) for kind, z in zip(kinds, zs, strict=True)]
    dead = [float((d == 0).all(axis=0).mean()) for d in derivatives]
    saturated = [float((np.abs(d) < kind.saturated_below).mean()) for kind, d in zip(kinds, derivatives, strict=True)]
    return np.array(dead), np.array(saturated)


def find_shut_layer(engine: Engine, x: np.ndarray) -> tuple[int, str]:
    """The first hidden layer that is dead, or else saturated, on these rows, and which of the two; (0, "")."""
    return shut_layer(
        *measure_shut_shares(engine, x), engine.architecture.sizes, engine.architecture.activations, len(x)
    )
