"""Nets of many kinds, drawn at random, and what comes of them when they are trained to the end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn import datasets

import vgfast as vg
from vgfast.inspection.stalled import find_constant
from vgfast.model.losses import LOSSES

# Of the loss of the best constant answer, what a net that has learned something has at most.
LEFT = 0.9
# The most multiply-adds of a training, but for the shortest ones.
_WORK, _FEWEST = 5e8, 500
_DEPTHS, _WIDTHS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20], [3, 5, 8, 10, 16, 30, 50, 100]
_RATES = [0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.3, 1.0]
_ACTIVATIONS = ["sigmoid", "sigmoid", "tanh", "relu", "leaky_relu", "softsign"]
_FIRST = ["auto", "auto", "lecun_normal", "glorot_uniform", "he_normal", "critical", "orthogonal", 0.5, 1.5]


def scale(values):
    return (values - values.mean(axis=0)) / np.where(values.std(axis=0) > 0, values.std(axis=0), 1)


def _spirals(n=400):
    rng = np.random.default_rng(7)
    turn, y = 9 * np.sqrt(rng.random(n)), rng.integers(0, 2, n)
    angle = turn + np.pi * y
    return np.c_[turn * np.cos(angle), turn * np.sin(angle)] / 5 + rng.normal(size=(n, 2)) * 0.05, y


def _waves(n=500):
    x = np.random.default_rng(7).uniform(-2, 2, (n, 2))
    return x, np.sin(2 * x[:, :1]) + x[:, 1:] ** 2 - 1.3


def _load(name):
    """(X, y, loss, outputs)."""
    if name in ("circles", "moons"):
        X, y = getattr(datasets, f"make_{name}")(1000, noise=0.1, random_state=1)
        return X, y, "cross_entropy", 2
    if name == "spirals":
        return *_spirals(), "cross_entropy", 2
    if name == "waves":
        return *_waves(), "mse", 1
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name == "diabetes":
        return scale(X), scale(y[:, None]), "mse", 1
    return (X / 16 if name == "digits" else scale(X)), y, "cross_entropy", int(y.max()) + 1


NAMES = ["digits", "circles", "moons", "iris", "wine", "breast_cancer", "diabetes", "spirals", "waves"]
_LOADED: dict[str, tuple] = {}


class Drawn(NamedTuple):
    """A net, what it is to be trained on, how; and all that in words."""

    net: vg.MLP
    X: np.ndarray
    y: np.ndarray
    optimizer: vg.SGD
    steps: int
    batch_size: int
    text: str

    @property
    def rate(self) -> float:
        """lr / (1 - momentum)."""
        return self.optimizer.lr / (1 - self.optimizer.momentum)

    def inspect(self) -> vg.GradientReport:
        return self.net.inspect(self.X, self.y, self.optimizer, self.steps, try_remedies=False)

    def train(self) -> str:
        """ "learns", if it ends with less than 9/10 of the loss of the best constant answer; "stays", if no epoch comes
        to that; "breaks", if one does, and the end does not."""
        loss = LOSSES[self.net.loss]
        t = self.net._batch(self.X, self.y)[1]
        constant = find_constant(loss, t, None, self.net.sizes[-1])
        limit = LEFT * loss.of(np.tile(constant, (len(t), 1)), t if t.ndim == 1 else t.astype(float))[0]
        epochs = max(1, round(self.steps * self.batch_size / len(self.X)))
        last = np.inf
        try:
            self.net.fit(self.X, self.y, epochs, self.batch_size, self.optimizer)
            last = self.net.evaluate(self.X, self.y).loss
        except vg.DivergenceError:
            pass
        if last < limit:
            return "learns"
        return "breaks" if any(epoch["loss"] < limit for epoch in self.net.history.epochs) else "stays"


def draw(seed: int) -> Drawn:
    """The same for the same seed."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(NAMES))
    X, y, loss, n_out = _LOADED.setdefault(name, _load(name))
    depth, width, activation = int(rng.choice(_DEPTHS)), int(rng.choice(_WIDTHS)), str(rng.choice(_ACTIVATIONS))
    first = _FIRST[rng.integers(len(_FIRST))]
    lr, momentum = float(rng.choice(_RATES)), float(rng.choice([0, 0, 0.9]))
    lr = lr / 10 if momentum and lr > 0.1 else lr
    steps, batch_size = int(rng.choice([1000, 2000, 5000, 10_000])), int(rng.choice([10, 32, 100]))
    while steps > _FEWEST and steps * batch_size * depth * max(width, 10) ** 2 > _WORK:
        steps //= 2
    init = vg.init.normal(first / width**0.5) if isinstance(first, float) else first
    if (first, activation) == ("critical", "sigmoid"):
        init = "glorot_normal"
    net = vg.MLP([X.shape[1], *[width] * depth, n_out], activation, loss, init, rng=seed)
    text = f"{name}, {depth} x {width} {activation}, {first}, lr {lr:g}, momentum {momentum:g}, {steps} x {batch_size}"
    return Drawn(net, X, y, vg.SGD(lr, momentum), steps, batch_size, text)


class Count(NamedTuple):
    """Of nets that were trained: how many there are of each kind, which verdicts were right, and which were not."""

    stay: int
    stay_not_healthy: int
    learn: int
    learn_healthy: int
    wrong: list[str]

    @property
    def shares(self) -> tuple[float, float]:
        """(of those that stay, that were not called healthy; of those that learn, that were called healthy)."""
        return self.stay_not_healthy / max(self.stay, 1), self.learn_healthy / max(self.learn, 1)


def count(seeds, most_rate: float = np.inf) -> Count:
    """Of those that were drawn with a rate of so much at most; those that break are not counted."""
    found = {"stays": [0, 0], "learns": [0, 0], "breaks": [0, 0]}
    wrong = []
    for seed in seeds:
        drawn = draw(seed)
        if drawn.rate > most_rate:
            continue
        report = drawn.inspect()
        healthy, end = report.verdict == "healthy", drawn.train()
        found[end][0] += 1
        found[end][1] += healthy if end == "learns" else not healthy
        if (end, healthy) in (("stays", True), ("learns", False)):
            wrong.append(f"{seed}: {drawn.text}: {report.verdict}, {end}, {report.numbers}")
    return Count(*found["stays"], *found["learns"], wrong)
