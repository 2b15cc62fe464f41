"""The textbook, which says what the loss should be."""

from __future__ import annotations

from typing import Any

from vgfast import reference
from vgfast.bench.competitors.competitor import Competitor
from vgfast.bench.problems import LR
from vgfast.training.optimizers import SGD


class Textbook(Competitor):
    """``vgfast.reference`` in float64."""

    def start(self) -> None:
        self.net = reference.MLP(
            self.problem.sizes, self.problem.activation, init="zeros", dtype="float64", rng=self.rng
        )
        self.net.params[...] = self.first.params

    def train(self, epochs: int) -> None:
        self.net.fit(self.X, self.y, epochs=epochs, batch_size=self.problem.batch, optimizer=SGD(lr=LR))

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))
