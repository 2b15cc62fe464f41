"""JAX, with a call of compiled code a step and an epoch, and on a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast.bench.competitors.competitor import Competitor, NotHere
from vgfast.bench.problems import Problem


def _renewed(running: Any, batch: Any, factors: Any) -> Any:
    """Running mean and variance of batch norm, by PyTorch's formula with its defaults."""
    return tuple(0.9 * old + 0.1 * factor * new for old, new, factor in zip(running, batch, factors, strict=True))


class Jax(Competitor):
    """A call of compiled code a step. Adam is that of optax."""

    package = module = "jax"

    @classmethod
    def packages(cls, problem: Problem) -> list[str]:
        optax = problem.optimizer == "adam" and importlib.util.find_spec("optax")
        return ["jax", "optax"] if optax else ["jax"]

    def prepare(self) -> None:
        import jax

        self.jax: Any = jax
        phi = {"tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[self.problem.activation]
        self.X_, self.y_ = jax.device_put(self.X), jax.device_put(self.y)

        lr = self.problem.lr
        self.adam = self.import_optax().adam(lr) if self.problem.optimizer == "adam" else None

        def forward(layers: Any, a: Any) -> tuple[Any, list[Any]]:
            """The output, and (mean, variance) of what batch norm gets. Of it, layers have (weights, shifts, gains)."""
            batch = []
            for weights, biases, *gains in layers[:-1]:
                a = a @ weights
                if gains:
                    batch.append((a.mean(axis=0), a.var(axis=0)))
                    a = gains[0] * (a - batch[-1][0]) / jax.numpy.sqrt(batch[-1][1] + 1e-5)
                a = phi(a + biases)
            return a @ layers[-1][0] + layers[-1][1], batch

        def loss(layers: Any, x: Any, y: Any) -> tuple[Any, list[Any]]:
            z, batch = forward(layers, x)
            log_p = jax.nn.log_softmax(z)
            return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean(), batch

        def step(state: Any, x: Any, y: Any) -> Any:
            layers, running, kept = state
            gradients, batch = jax.grad(loss, has_aux=True)(layers, x, y)
            if self.adam is None:
                layers = jax.tree.map(lambda parameter, gradient: parameter - lr * gradient, layers, gradients)
            else:
                steps, kept = self.adam.update(gradients, kept)
                layers = jax.tree.map(jax.numpy.add, layers, steps)
            unbiased = (1.0, len(x) / max(len(x) - 1, 1))
            return layers, [_renewed(*pair, unbiased) for pair in zip(running, batch, strict=True)], kept

        self.raw_step = step
        self.gather_and_step = jax.jit(lambda state, X, y, rows: step(state, X[rows], y[rows]), donate_argnums=0)
        self.step = jax.jit(step, donate_argnums=0)
        self.probabilities = jax.jit(lambda layers, x: jax.nn.softmax(forward(layers, x)[0]))

    def import_optax(self) -> Any:
        import optax

        return optax

    def start(self) -> None:
        array = self.jax.numpy.array
        layers: list[Any] = [(array(w), array(b)) for w, b in zip(self.first.weights, self.first.biases, strict=True)]
        running: list[Any] = []
        if self.problem.batch_norm:
            hidden = self.problem.sizes[1:-1]
            norms = [(self.jax.numpy.zeros(n), self.jax.numpy.ones(n)) for n in hidden]
            layers = [(w, *norm) for (w, _), norm in zip(layers, norms, strict=False)] + layers[-1:]
            running = [(self.jax.numpy.zeros(n), self.jax.numpy.ones(n)) for n in hidden]
        self.state = self.jax.block_until_ready((layers, running, self.adam.init(layers) if self.adam else ()))

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                self.state = self.gather_and_step(self.state, self.X_, self.y_, rows)
        self.jax.block_until_ready(self.state)

    def layers(self) -> list[tuple[Any, Any]]:
        return [(np.asarray(weights), np.asarray(biases)) for weights, biases, *_ in self.state[0]]

    def norms(self) -> list[tuple[Any, Any, Any, Any]]:
        layers, running, _ = self.state
        return [(gains, shifts, *of) for (_, shifts, gains), of in zip(layers, running, strict=False)]

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, y, row = self.X_[: self.problem.batch], self.y_[: self.problem.batch], self.X[:1]

        def step() -> None:
            self.state = self.jax.block_until_ready(self.step(self.state, x, y))

        return {"step_call": step, "predict_call": lambda: np.asarray(self.probabilities(self.state[0], row))}


class JaxEpoch(Jax):
    """A call of compiled code an epoch: a scan over its batches."""

    def prepare(self) -> None:
        super().prepare()

        def epoch(state: Any, X: Any, y: Any, order: Any) -> Any:
            def body(state: Any, rows: Any) -> Any:
                return self.raw_step(state, X[rows], y[rows]), None

            return self.jax.lax.scan(body, state, order)[0]

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
