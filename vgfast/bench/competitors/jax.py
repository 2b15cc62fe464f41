"""JAX, with a call of compiled code a step and an epoch, and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast.bench.competitors.competitor import Competitor, NotHere
from vgfast.bench.problems import LR


class Jax(Competitor):
    """A call of compiled code a step."""

    package = module = "jax"

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


class JaxCuda(JaxEpoch):
    """On a GPU, an epoch a call, too."""

    device = "cuda"

    def prepare(self) -> None:
        import jax

        try:
            jax.devices(self.device)
        except RuntimeError:
            raise NotHere(f"JAX {jax.__version__} finds no GPU") from None
        # float32 as on the CPU, and not TF32, which rounds what it multiplies to 11 bits.
        jax.config.update("jax_default_matmul_precision", "highest")
        super().prepare()

    def name_device(self) -> str:
        return str(self.jax.devices()[0].device_kind)
