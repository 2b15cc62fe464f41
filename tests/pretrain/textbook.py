"""A restricted Boltzmann machine as one would write it in NumPy, with the same settings, the same first weights and the
same random numbers as ``vgfast.pretrain.RBM``."""

import numpy as np

from vgfast.model.philox import uniforms

DEFAULTS = {
    "learning_rate": 0.1, "batch_size": 10, "n_iter": 10, "k": 1, "persistent": False, "sample_visible": None,
    "shuffle": True, "momentum": 0.0, "weight_decay": 0.0, "sparsity_target": None, "sparsity_cost": 0.1,
    "visible": "binary",
}  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Textbook:
    def __init__(self, n, rng, **settings):
        self.n, self.rng = n, np.random.default_rng(rng)
        self.__dict__ |= DEFAULTS | settings
        self.gaussian = self.visible == "gaussian"
        self.draws = self.persistent if self.sample_visible is None else self.sample_visible

    def fit(self, X):
        rows, m = X.shape
        batch = min(self.batch_size, rows)
        self.W = self.rng.normal(0, 0.01, (m, self.n))
        p = X.mean(axis=0).clip(1 / (rows + 1), rows / (rows + 1))
        self.b = X.mean(axis=0) if self.gaussian else np.log(p / (1 - p))
        self.c = np.zeros(self.n)
        self.velocity = [np.zeros_like(each) for each in (self.W, self.c, self.b)]
        self.seed, self.step = int(self.rng.integers(1 << 63)), 0
        self.h, self.activity = np.zeros((batch, self.n)), self.sparsity_target
        for epoch in range(self.n_iter):
            pair = self.momentum if isinstance(self.momentum, tuple) else (self.momentum,) * 2
            order = self.rng.permutation(rows) if self.shuffle else np.arange(rows)
            for start in range(0, rows, batch):
                self.take_step(X[order[start : start + batch]], pair[epoch >= 5])
        return self

    def drawn(self, p, draw):
        return (uniforms(self.seed, self.step, draw, *p.shape) < p) * 1.0

    def take_step(self, v0, momentum):
        rows = len(v0)
        h0 = sigmoid(v0 @ self.W + self.c)
        h = self.h[:rows] if self.persistent else self.drawn(h0, 0)
        for i in range(self.k):
            v = h @ self.W.T + self.b
            if not self.gaussian:
                v = sigmoid(v)
                v = self.drawn(v, 2 * i + 1) if self.draws else v
            hk = sigmoid(v @ self.W + self.c)
            h = self.drawn(hk, 2 * i + 2)
        self.h[:rows] = h
        missed = 0 if self.sparsity_target is None else self.sparsity_cost * (self.activity - self.sparsity_target)
        toward = h0 - missed
        gradients = (
            -(v0.T @ toward - v.T @ hk) / rows + self.weight_decay * self.W,
            -(toward - hk).sum(axis=0) / rows,
            -(v0 - v).sum(axis=0) / rows,
        )
        for parameter, velocity, gradient in zip((self.W, self.c, self.b), self.velocity, gradients, strict=True):
            velocity *= momentum
            velocity += gradient
            parameter -= self.learning_rate * velocity
        if self.sparsity_target is not None:
            self.activity = 0.9 * self.activity + 0.1 * h0.mean(axis=0)
        self.step += 1


def flat(rbm):
    """All parameters in one vector."""
    return np.concatenate([rbm.weights.ravel(), rbm.intercept_hidden_, rbm.intercept_visible_])
