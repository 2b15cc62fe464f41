"""scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast.bench.competitors.competitor import Competitor
from vgfast.bench.problems import LR


class ScikitLearn(Competitor):
    """An epoch a call of ``partial_fit``."""

    package, module = "scikit-learn", "sklearn"

    def prepare(self) -> None:
        # Of labels it would make one output for two classes, and another net; of columns of 0 and 1, one for each.
        self.targets = np.eye(2, dtype=int)[self.y] if self.problem.sizes[-1] == 2 else self.y

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
        self.net.partial_fit(self.X[: p.batch], self.targets[: p.batch], classes=np.arange(p.sizes[-1]))
        self.net.out_activation_ = "softmax"  # which for columns would be logistic
        for own, first in zip(self.net.coefs_, self.first.weights, strict=True):
            own[...] = first
        for own, first in zip(self.net.intercepts_, self.first.biases, strict=True):
            own[...] = first

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(self.problem.rows)
            self.net.partial_fit(self.X[order], self.targets[order])

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.coefs_, self.net.intercepts_, strict=True))
