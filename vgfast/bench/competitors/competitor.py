"""What all competitors have in common, which are run each in a process of its own.

A competitor has a problem in memory, starts from the weights and takes the batches that all others do, and is asked for
its ``loss``, ``time`` and the like by ``vgfast.bench.workers``. One epoch, for everybody, is: draw the order of the
rows, gather each batch, one step on each, of plain SGD or of Adam. Only vgfast also reports the losses on its way; the
others may leave out what the step itself does not need.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vgfast import reference
from vgfast.bench.problems import SEED, Problem
from vgfast.model.errors import DivergenceError
from vgfast.training.optimizers import SGD, Adam, Optimizer

_NORM = ("weight", "bias", "running_mean", "running_var")


def make_optimizer(problem: Problem) -> Optimizer:
    """That of vgfast and of the textbook."""
    return (Adam if problem.optimizer == "adam" else SGD)(lr=problem.lr)


class NotHere(Exception):
    """What a competitor needs beside its library is not on this machine."""


class Competitor:
    """A library with a problem in memory. ``train`` is all that the clock sees. ``package`` is the library's name where
    it is installed, and ``module`` where it is imported; ``device`` is what it computes on, cpu or cuda."""

    problem_type = Problem
    package = module = "vgfast"
    device = "cpu"

    @classmethod
    def takes(cls, problem: Problem) -> bool:
        """Whether the library has what this problem asks for."""
        return True

    @classmethod
    def packages(cls, problem: Problem) -> list[str]:
        """The libraries that it takes for this problem, of those that there are."""
        return [cls.package]

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.X, self.y = problem.data()
        rng = np.random.default_rng(SEED)
        self.first = reference.MLP(problem.sizes, problem.activation, rng=rng, normalization=problem.normalization)
        self._rng_after_first = rng
        self.prepare()

    def rewind(self) -> None:
        """Back to the first weights, and to the first order of the rows."""
        self.rng = copy.deepcopy(self._rng_after_first)
        self.start()

    def batches(self) -> Iterator[np.ndarray]:
        """The rows of each step of the next epoch."""
        order = self.rng.permutation(self.problem.rows)
        return (order[first : first + self.problem.batch] for first in range(0, len(order), self.problem.batch))

    # ---- what each library says in its own words -----------------------------------------------------

    def prepare(self) -> None:
        """Once: data and functions."""

    def start(self) -> None:
        """Take the weights of ``first``."""
        raise NotImplementedError

    def train(self, epochs: int) -> None:
        raise NotImplementedError

    def layers(self) -> list[tuple[Any, Any]]:
        """(weights (n_in, n_out), biases) of each layer; with batch norm, hidden layers' biases are of no account."""
        raise NotImplementedError

    def norms(self) -> list[tuple[Any, Any, Any, Any]]:
        """(gains, shifts, running means, running variances) of each hidden layer with batch norm."""
        raise NotImplementedError

    def name_device(self) -> str:
        """What it computes on, where that is not the CPU."""
        raise NotImplementedError

    def calls(self) -> dict[str, Callable[[], Any]]:
        """One step on a batch, and the probabilities of one row, as a script would call them."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Its parameters and running statistics, by the names of ``net.state_dict()``."""
        norms = self.norms() if self.problem.batch_norm else []
        state: dict[str, Any] = {}
        for l, (weights, biases) in enumerate(self.layers(), 1):
            state[f"layer{l}.weight"] = weights
            if l > len(norms):
                state[f"layer{l}.bias"] = biases
        for l, norm in enumerate(norms, 1):
            state |= {f"layer{l}.norm.{name}": value for name, value in zip(_NORM, norm, strict=True)}
        return state

    # ---- what it is asked for ----------------------------------------------------------------------

    def loss(self, epochs: int) -> dict[str, float]:
        """The mean loss over all rows after so many epochs, for every competitor by this one text, in float64."""
        self.rewind()
        self.train(epochs)
        p, state = self.problem, self.state_dict()
        if not all(np.isfinite(value).all() for value in state.values()):
            return {"loss": np.nan}
        textbook = reference.MLP(p.sizes, p.activation, init="zeros", dtype="float64", normalization=p.normalization)
        textbook.load_state_dict(state)
        parts = range(0, self.problem.rows, self.problem.batch)
        stops = [slice(first, first + self.problem.batch) for first in parts]
        try:
            return {"loss": float(np.mean([textbook.evaluate(self.X[part], self.y[part]).loss for part in stops]))}
        except DivergenceError:
            return {"loss": np.nan}

    def time(self, epochs: int, **settings: Any) -> dict[str, float]:
        """Seconds of so many epochs, and the processors that were busy meanwhile."""
        self.rewind()
        busy, start = time.process_time(), time.perf_counter()
        self.train(epochs, **settings)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "processors": (time.process_time() - busy) / seconds}

    def describe_device(self) -> dict[str, str]:
        return {"device": self.name_device()}

    def time_calls(self, seconds: float) -> dict[str, float]:
        """Seconds of one call of each kind: the mean of as many as last about so long."""
        self.rewind()
        return {name: _seconds_a_call(call, seconds) for name, call in self.calls().items()}


def _seconds_a_call(call: Callable[[], Any], seconds: float) -> float:
    call()  # compiles, perhaps
    n, took = 1, 0.0
    while took < seconds:
        n *= 2
        start = time.perf_counter()
        for _ in range(n):
            call()
        took = time.perf_counter() - start
    return took / n
