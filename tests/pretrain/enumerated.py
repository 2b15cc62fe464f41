"""A small restricted Boltzmann machine, all of whose states are gone through: what it expects, exactly."""

import numpy as np

from vgfast.pretrain import RBM
from vgfast.pretrain.likelihood import Machine


def states(n):
    """All rows of n bits."""
    return np.array(np.unravel_index(np.arange(2**n), (2,) * n), float).T.reshape(2**n, n)


def example():
    """4 visible and 3 hidden units with W[i, j] = ±0.1 (i + 1)(j + 1)."""
    i, j = np.arange(4)[:, None], np.arange(3)
    return Machine(0.1 * (i + 1) * (j + 1) * (-1.0) ** (i + j), 0.1 * np.arange(4), -0.1 * np.arange(3), False)


def machine_of(parameters, **settings):
    """An ``RBM`` with these weights and biases."""
    W, b, c, gaussian = parameters
    m, n = W.shape
    settings = {"visible": "gaussian" if gaussian else "binary", "dtype": "float64", "rng": 0, **settings}
    X = np.vstack([np.eye(m), np.zeros(m)])
    rbm = RBM(n, **settings).fit(X)
    rbm.weights[...], rbm.intercept_visible_[...], rbm.intercept_hidden_[...] = W, b, c
    return rbm


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_sums(x):
    """Of each row, the log of the sum of exp(x)."""
    most = x.max(axis=1, keepdims=True)
    return np.log(np.exp(x - most).sum(axis=1)) + most[:, 0]


def statistics(v, p):
    """Of each row of v and of the probabilities p of h: what goes with W, c and b, in one row."""
    return np.hstack([(v[:, :, None] * p[:, None]).reshape(len(v), -1), p, v])


class Enumerated:
    """``p``: of each state in ``v``; ``h``: P(h = 1 | v) there."""

    def __init__(self, machine):
        self.W, self.b, self.c, _ = machine
        m, n = self.W.shape
        self.v, hs = states(m), states(n)
        self.log_weights = log_sums((self.v @ self.b)[:, None] + hs @ self.c + self.v @ self.W @ hs.T)
        self.log_partition = log_sums(self.log_weights[None])[0]
        self.p = np.exp(self.log_weights - self.log_partition)
        self.h = sigmoid(self.v @ self.W + self.c)
        self.statistics = statistics(self.v, self.h)

    def pseudo_likelihood(self):
        """Of each v: the probability of each unit is that of v against v with this unit flipped."""
        total, place = np.zeros(len(self.v)), np.arange(len(self.v))
        for i in range(len(self.b)):
            flipped = self.log_weights[place ^ 1 << (len(self.b) - 1 - i)]
            total -= np.logaddexp(0, flipped - self.log_weights)
        return total

    def gradient(self, v0):
        """Of log p(v0), by W, c and b."""
        return statistics(v0[None], sigmoid(v0 @ self.W + self.c)[None])[0] - self.p @ self.statistics

    def contrastive_divergence(self, v0):
        """(mean, standard deviation) of an update by CD-1 from v0, with h drawn from P(h | v0) and v from P(v | h)."""
        hs, p = states(len(self.c)), sigmoid(v0 @ self.W + self.c)
        of_h = np.prod(np.where(hs > 0, p, 1 - p), axis=1)
        q = sigmoid(self.b + hs @ self.W.T)
        of_v = np.prod(np.where(self.v[:, None] > 0, q, 1 - q), axis=2) @ of_h
        mean = of_v @ self.statistics
        spread = np.sqrt(of_v @ (self.statistics - mean) ** 2)
        return statistics(v0[None], p[None])[0] - mean, spread
