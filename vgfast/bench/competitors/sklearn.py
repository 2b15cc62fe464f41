"""scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast.bench.competitors.competitor import Competitor
from vgfast.bench.problems import Problem


class ScikitLearn(Competitor):
    """An epoch a call of ``partial_fit``. It has no batch norm; its Adam adds eps to sqrt(v) before v is corrected for
    its start, as ``vg.Adam(eps_hat=True)`` does: to that correction, which the textbook has not, its loss owes up to
    the shown difference."""

    package, module = "scikit-learn", "sklearn"

    @classmethod
    def takes(cls, problem: Problem) -> bool:
        return not problem.batch_norm

    def prepare(self) -> None:
        # Of labels it would make one output for two classes, and another net; of columns of 0 and 1, one for each.
        self.targets = np.eye(2, dtype=int)[self.y] if self.problem.sizes[-1] == 2 else self.y

    def start(self) -> None:
        from sklearn.neural_network import MLPClassifier

        p = self.problem
        self.net = MLPClassifier(
            p.sizes[1:-1],
            activation={"sigmoid": "logistic"}.get(p.activation, p.activation),
            solver=p.optimizer,
            alpha=0,
            batch_size=p.batch,
            learning_rate_init=p.lr,
            shuffle=False,
            momentum=0,
        )
        # It draws weights of its own at the first call: these are then written over, and it makes a new optimizer.
        self.net.partial_fit(self.X[: p.batch], self.targets[: p.batch], classes=np.arange(p.sizes[-1]))
        self.net.out_activation_ = "softmax"  # which for columns would be logistic
        for own, first in zip(self.net.coefs_, self.first.weights, strict=True):
            own[...] = first
        for own, first in zip(self.net.intercepts_, self.first.biases, strict=True):
            own[...] = first
        del self.net._optimizer

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(self.problem.rows)
            self.net.partial_fit(self.X[order], self.targets[order])

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.coefs_, self.net.intercepts_, strict=True))
