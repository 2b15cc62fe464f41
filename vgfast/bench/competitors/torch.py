"""PyTorch, step by step and compiled."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from vgfast import config
from vgfast.bench.competitors.competitor import Competitor
from vgfast.bench.problems import LR

_LAYERS_IN_ONE_TEXT = 50


class Torch(Competitor):
    """The usual loop."""

    package = module = "torch"

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

        # Called through C++, a step on a tiny net takes 78 instead of 100 microseconds. That is one text of all layers:
        # of 200, g++ had not compiled it after 250 s; otherwise it has one text for all layers that are alike.
        options = {"cpp_wrapper": len(self.problem.sizes) <= _LAYERS_IN_ONE_TEXT}
        self.compiled = torch.compile(step, fullgraph=True, dynamic=False, options=options)

    def train(self, epochs: int) -> None:
        with self.torch.no_grad():
            for _ in range(epochs):
                for rows in self.batches():
                    self.compiled(self.parameters, self.X_, self.y_, self.torch.from_numpy(rows))
