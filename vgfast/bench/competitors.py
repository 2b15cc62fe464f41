"""The opponents of ``vgfast bench``, all of one shape, to be run each in a process of its own.

A peer has a problem in memory, starts from the weights and takes the batches that all others do, and is asked for its
``loss``, ``time`` and the like by ``vgfast.bench.workers``. One epoch, for everybody, is: draw the order of the rows,
gather each batch, one step of plain SGD on each. Only vgfast also reports the losses on its way; the others may leave
out what the step itself does not need.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vgfast import _core, config, reference
from vgfast.mlp import MLP
from vgfast.training.optimizers import SGD

SEED = 0
# At 0.01 the loss of each workload moves and none is chaotic: with 0.1 the ReLU nets of two libraries part for good
# within a hundred steps, by 1e-3 of the loss, from nothing but the order in which sums are rounded.
LR = 0.01


class Problem(NamedTuple):
    """A net with float32 parameters and softmax cross-entropy, and the rows that it learns."""

    sizes: tuple[int, ...]
    activation: str
    batch: int
    rows: int  # a multiple of batch: what is compiled for one shape stays compiled

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> int:
        """Of a step: 2 batch m n for each of forward, dW and dX, which the first layer does not need."""
        return sum((4 if l == 0 else 6) * self.batch * m * n for l, (m, n) in enumerate(pairwise(self.sizes)))

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, n_in) float32 from 0 to 1, and y (rows,), which of n_out directions each row lies along the most."""
        rng = np.random.default_rng(SEED)
        X = rng.random((self.rows, self.sizes[0]), np.float32)
        directions = rng.normal(size=(self.sizes[0], self.sizes[-1])).astype(np.float32)
        return X, ((X - np.float32(0.5)) @ directions).argmax(axis=1)


class Peer:
    """A library with a problem in memory. ``train`` is all that the clock sees."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.X, self.y = problem.data()
        rng = np.random.default_rng(SEED)
        self.first = reference.MLP(problem.sizes, problem.activation, rng=rng)
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
        """(weights (n_in, n_out), biases) of each layer."""
        raise NotImplementedError

    def calls(self) -> dict[str, Callable[[], Any]]:
        """One step on a batch, and the probabilities of one row, as a script would call them."""
        raise NotImplementedError

    # ---- what it is asked for ----------------------------------------------------------------------

    def loss(self, epochs: int) -> dict[str, float]:
        """The mean loss over all rows after so many epochs, for every peer by this one text, in float64."""
        self.rewind()
        self.train(epochs)
        judge = reference.MLP(self.problem.sizes, self.problem.activation, init="zeros", dtype="float64")
        for l, (weights, biases) in enumerate(self.layers()):
            judge.weights[l][...], judge.biases[l][...] = weights, biases
        parts = range(0, self.problem.rows, self.problem.batch)
        stops = [slice(first, first + self.problem.batch) for first in parts]
        return {"loss": float(np.mean([judge.evaluate(self.X[part], self.y[part]).loss for part in stops]))}

    def time(self, epochs: int, **settings: Any) -> dict[str, float]:
        """Seconds of so many epochs, and the processors that were busy meanwhile."""
        self.rewind()
        busy, start = time.process_time(), time.perf_counter()
        self.train(epochs, **settings)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "processors": (time.process_time() - busy) / seconds}

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


# ---- vgfast, and the textbook as the judge -----------------------------------------------------------


class VGFast(Peer):
    def start(self) -> None:
        self.net = MLP(self.problem.sizes, self.problem.activation, init="zeros", rng=self.rng)
        self.net.params = self.first.params
        self.optimizer = SGD(lr=LR)

    def train(self, epochs: int, threads: int | None = None, **inspection: Any) -> None:
        with config.threads(threads or config.get_num_threads()):
            self.net.fit(
                self.X,
                self.y,
                epochs=epochs,
                batch_size=self.problem.batch,
                optimizer=self.optimizer,
                **inspection,
            )

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, y, row = self.X[: self.problem.batch], self.y[: self.problem.batch], self.X[:1]
        return {
            "step_call": lambda: self.net.step(x, y, self.optimizer),
            "predict_call": lambda: self.net.predict_proba(row),
        }

    def peak(self) -> dict[str, float]:
        """FLOP/s of multiply-adds that touch no memory."""
        return {"flops": _core.fma_peak(config.get_num_threads())}

    def memory(self) -> dict[str, int]:
        """Bytes that making a net and training it for an epoch adds to the process at the most, with X in place;
        ``needed`` by parameters, activations and deltas of a batch."""
        before = _kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts again from here
        self.rewind()
        self.train(1)
        sizes, batch = self.problem.sizes, self.problem.batch
        needed = 4 * (self.net.n_params + batch * (sum(sizes) + sum(sizes[1:])))
        return {"bytes": 1024 * (_kilobytes("VmHWM") - before), "needed": needed}


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


class Textbook(Peer):
    """``vgfast.reference`` in float64, which says what the loss should be."""

    def start(self) -> None:
        self.net = reference.MLP(
            self.problem.sizes, self.problem.activation, init="zeros", dtype="float64", rng=self.rng
        )
        self.net.params[...] = self.first.params

    def train(self, epochs: int) -> None:
        self.net.fit(self.X, self.y, epochs=epochs, batch_size=self.problem.batch, optimizer=SGD(lr=LR))

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))


# ---- PyTorch ---------------------------------------------------------------------------------------


class Torch(Peer):
    """The usual loop."""

    def prepare(self) -> None:
        import torch

        self.torch: Any = torch
        torch.set_num_threads(config.get_num_threads())
        activation = {"tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}
        modules: list[Any] = []
        for m, n in pairwise(self.problem.sizes):
            modules += [torch.nn.Linear(m, n), activation[self.problem.activation]()]
        self.net: Any = torch.nn.Sequential(*modules[:-1])
        self.criterion = torch.nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=LR)  # foreach and fused are no quicker on a CPU
        self.X_, self.y_ = torch.from_numpy(self.X), torch.from_numpy(self.y)

    def start(self) -> None:
        with self.torch.no_grad():
            for layer, weights, biases in zip(self.net[::2], self.first.weights, self.first.biases, strict=True):
                layer.weight.copy_(self.torch.from_numpy(weights.T))
                layer.bias.copy_(self.torch.from_numpy(biases))

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                rows_ = self.torch.from_numpy(rows)
                self.step(self.X_[rows_], self.y_[rows_])

    def step(self, x: Any, y: Any) -> None:
        self.optimizer.zero_grad()
        self.criterion(self.net(x), y).backward()
        self.optimizer.step()

    def layers(self) -> list[tuple[Any, Any]]:
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in self.net[::2]]

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, y, row = self.X_[: self.problem.batch], self.y_[: self.problem.batch], self.X_[:1]

        def predict() -> Any:
            with self.torch.inference_mode():
                return self.net(row).softmax(1)

        return {"step_call": lambda: self.step(x, y), "predict_call": predict}


class TorchCompile(Torch):
    """Gather, forward, backward and update compiled as one graph."""

    def prepare(self) -> None:
        super().prepare()
        torch = self.torch
        self.parameters = dict(self.net.named_parameters())

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            return self.criterion(torch.func.functional_call(self.net, parameters, (x,)), y)

        def step(parameters: Any, X: Any, y: Any, rows: Any) -> None:
            gradients = torch.func.grad(loss)(parameters, X[rows], y[rows])
            for name, parameter in parameters.items():
                parameter.sub_(gradients[name], alpha=LR)

        # Called through C++, a step on a tiny net takes 78 instead of 100 microseconds.
        self.compiled = torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})

    def train(self, epochs: int) -> None:
        with self.torch.no_grad():
            for _ in range(epochs):
                for rows in self.batches():
                    self.compiled(self.parameters, self.X_, self.y_, self.torch.from_numpy(rows))


# ---- JAX -------------------------------------------------------------------------------------------


class Jax(Peer):
    """A call of compiled code a step."""

    def prepare(self) -> None:
        import jax

        self.jax: Any = jax
        phi = {"tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[self.problem.activation]
        self.X_, self.y_ = jax.device_put(self.X), jax.device_put(self.y)

        def forward(layers: Any, a: Any) -> Any:
            for weights, biases in layers[:-1]:
                a = phi(a @ weights + biases)
            return a @ layers[-1][0] + layers[-1][1]

        def loss(layers: Any, x: Any, y: Any) -> Any:
            log_p = jax.nn.log_softmax(forward(layers, x))
            return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean()

        def step(layers: Any, x: Any, y: Any) -> Any:
            gradients = jax.grad(loss)(layers, x, y)
            return jax.tree.map(lambda parameter, gradient: parameter - LR * gradient, layers, gradients)

        self.raw_step = step
        self.gather_and_step = jax.jit(lambda layers, X, y, rows: step(layers, X[rows], y[rows]), donate_argnums=0)
        self.step = jax.jit(step, donate_argnums=0)
        self.probabilities = jax.jit(lambda layers, x: jax.nn.softmax(forward(layers, x)))

    def start(self) -> None:
        pairs = zip(self.first.weights, self.first.biases, strict=True)
        self.state = self.jax.block_until_ready([(self.jax.numpy.array(w), self.jax.numpy.array(b)) for w, b in pairs])

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                self.state = self.gather_and_step(self.state, self.X_, self.y_, rows)
        self.jax.block_until_ready(self.state)

    def layers(self) -> list[tuple[Any, Any]]:
        return [(np.asarray(weights), np.asarray(biases)) for weights, biases in self.state]

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, y, row = self.X_[: self.problem.batch], self.y_[: self.problem.batch], self.X[:1]

        def step() -> None:
            self.state = self.jax.block_until_ready(self.step(self.state, x, y))

        return {"step_call": step, "predict_call": lambda: np.asarray(self.probabilities(self.state, row))}


class JaxEpoch(Jax):
    """A call of compiled code an epoch: a scan over its batches."""

    def prepare(self) -> None:
        super().prepare()

        def epoch(layers: Any, X: Any, y: Any, order: Any) -> Any:
            def body(layers: Any, rows: Any) -> Any:
                return self.raw_step(layers, X[rows], y[rows]), None

            return self.jax.lax.scan(body, layers, order)[0]

        self.epoch = self.jax.jit(epoch, donate_argnums=0)

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(self.problem.rows).reshape(-1, self.problem.batch)
            self.state = self.epoch(self.state, self.X_, self.y_, order)
        self.jax.block_until_ready(self.state)


# ---- scikit-learn ----------------------------------------------------------------------------------


class ScikitLearn(Peer):
    """An epoch a call of ``partial_fit``."""

    def start(self) -> None:
        from sklearn.neural_network import MLPClassifier

        p = self.problem
        self.net = MLPClassifier(
            p.sizes[1:-1],
            activation={"sigmoid": "logistic"}.get(p.activation, p.activation),
            solver="sgd",
            alpha=0,
            batch_size=p.batch,
            learning_rate_init=LR,
            shuffle=False,
            momentum=0,
        )
        # It draws weights of its own at the first call, which its optimizer keeps hold of: these are then written over.
        self.net.partial_fit(self.X[: p.batch], self.y[: p.batch], classes=np.arange(p.sizes[-1]))
        for own, first in zip(self.net.coefs_, self.first.weights, strict=True):
            own[...] = first
        for own, first in zip(self.net.intercepts_, self.first.biases, strict=True):
            own[...] = first

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(self.problem.rows)
            self.net.partial_fit(self.X[order], self.y[order])

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.coefs_, self.net.intercepts_, strict=True))


# ---- who there is ------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """Where a peer is found: its class as "module:name", which its process imports, and its library."""

    where: str
    module: str
    package: str


PEERS = {
    "vgfast": Entry("vgfast.bench.competitors:VGFast", "vgfast", "vgfast"),
    "numpy": Entry("vgfast.bench.tuned:NumPy", "numpy", "numpy"),
    "torch": Entry("vgfast.bench.competitors:Torch", "torch", "torch"),
    "torch-compile": Entry("vgfast.bench.competitors:TorchCompile", "torch", "torch"),
    "jax-epoch": Entry("vgfast.bench.competitors:JaxEpoch", "jax", "jax"),
    "jax-step": Entry("vgfast.bench.competitors:Jax", "jax", "jax"),
    "sklearn": Entry("vgfast.bench.competitors:ScikitLearn", "sklearn", "scikit-learn"),
}
