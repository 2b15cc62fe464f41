"""The textbook, which says what the loss should be."""

from __future__ import annotations

from typing import Any

from vgfast import reference
from vgfast.bench.competitors.competitor import Competitor, make_optimizer


class Textbook(Competitor):
    """``vgfast.reference`` in float64."""

    def start(self) -> None:
        p = self.problem
        self.net = reference.MLP(
            p.sizes, p.activation, init="zeros", dtype="float64", rng=self.rng, normalization=p.normalization
        )
        self.net.params[...] = self.first.params
        self.optimizer = make_optimizer(p)

    def train(self, epochs: int) -> None:
        self.net.fit(self.X, self.y, epochs=epochs, batch_size=self.problem.batch, optimizer=self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        return self.net.state_dict()

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))
