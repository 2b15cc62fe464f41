"""What a restricted Boltzmann machine says of data: free energies, likelihoods, the partition function.

W (m, n), visible biases b (m), hidden biases c (n). Energies, binary visible units and Gaussian ones of variance 1:
E(v, h) = -b.v - c.h - vWh and E(v, h) = |v - b|²/2 - c.h - vWh; p(v) = exp(-F(v)) / Z. All in float64.

Sources: Hinton, "A practical guide to training restricted Boltzmann machines" (2010); Salakhutdinov and Murray, "On the
quantitative analysis of deep belief networks" (2008), for annealed importance sampling.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Units of the smaller side, all of whose states are summed: a million of them, in blocks.
ENUMERABLE = 20
_BLOCK_BITS = 12
# Entries of a temporary array, which should stay in a cache (784 x 500: 3.4 ms a row, and 22 with 2^21).
_ENTRIES = 1 << 16


class Machine(NamedTuple):
    """The parameters, in float64, and whether the visible units are Gaussian."""

    W: np.ndarray
    b: np.ndarray
    c: np.ndarray
    gaussian: bool


class LogPartition(NamedTuple):
    """``value`` of log Z. By enumeration ``standard_error`` is 0 and ``effective_samples`` None; annealed importance
    sampling estimates both: of a few effective samples only, do not believe it."""

    value: float
    standard_error: float
    effective_samples: float | None


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1, e) / (1 + e)


def _log_sum(x: np.ndarray) -> float:
    most = x.max()
    return float(most + np.log(np.exp(x - most).sum()))


def free_energy(machine: Machine, v: np.ndarray) -> np.ndarray:
    """F (rows,) of v (rows, m): -log of the sum over h of exp(-E(v, h))."""
    of_hidden = softplus(v @ machine.W + machine.c).sum(axis=1)
    return ((v - machine.b) ** 2).sum(axis=1) / 2 - of_hidden if machine.gaussian else -v @ machine.b - of_hidden


def pseudo_likelihood(machine: Machine, v: np.ndarray) -> np.ndarray:
    """(rows,) sums over i of log P(v_i | the others), of binary units: of each, that it is as it is and not flipped.

    With x = c + vW, flipping unit i multiplies the factor 1 + exp(x_j) by 1 - s(x_j) + s(x_j) exp(±W_ij)."""
    W, b, c, _ = machine
    m, n = W.shape
    result = np.empty(len(v))
    growth = {sign: np.exp(np.clip(sign * W, -700, 700)) for sign in (1, -1)}
    rows = max(1, _ENTRIES // (m * n))
    for start in range(0, len(v), rows):
        part = v[start : start + rows]
        x = part @ W + c
        on, off = sigmoid(x)[:, None, :], sigmoid(-x)[:, None, :]
        # A row of grey v is taken by its nearer state.
        up = part < 0.5
        factors = off + on * np.where(up[:, :, None], growth[1], growth[-1])
        flipped = np.where(up, b, -b) + np.log(factors).sum(axis=2)  # F(v) - F(v with unit i flipped)
        result[start : start + rows] = -softplus(flipped).sum(axis=1)
    return result


def _states(n: int) -> np.ndarray:
    """All 2^n rows of n bits."""
    return (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(np.float64)


def enumerated(machine: Machine) -> LogPartition:
    """log Z by the sum over all states of the smaller side; of Gaussian units, of the hidden ones."""
    W, b, c, gaussian = machine
    m, n = W.shape
    if not gaussian and m < n:
        W, b, c = W.T, c, b
        n = m
    low = _states(min(n, _BLOCK_BITS))
    sums = []
    for high in _states(n - low.shape[1]):
        h = np.hstack([low, np.broadcast_to(high, (len(low), len(high)))])
        x = h @ W.T
        of_visible = (x @ b + (x**2).sum(axis=1) / 2) if gaussian else softplus(x + b).sum(axis=1)
        sums.append(_log_sum(h @ c + of_visible))
    return LogPartition(_log_sum(np.array(sums)) + (len(b) / 2 * math.log(2 * math.pi) if gaussian else 0), 0.0, None)


def annealed(
    machine: Machine, rng: np.random.Generator, n_temperatures: int, n_chains: int, base: np.ndarray
) -> LogPartition:
    """log Z by annealed importance sampling, from the machine without weights whose visible biases are ``base``."""
    W, b, c, gaussian = machine
    m, n = W.shape

    def log_weight(v: np.ndarray, x: np.ndarray, t: float) -> np.ndarray:
        """log of the unnormalised probability of v at the inverse temperature t; x = vW + c."""
        of_visible = -((v - b) ** 2).sum(axis=1) / 2 if gaussian else v @ ((1 - t) * base + t * b)
        return of_visible + softplus(t * x).sum(axis=1)

    if gaussian:
        log_base = m / 2 * math.log(2 * math.pi) + n * math.log(2)
        v = b + rng.standard_normal((n_chains, m))
    else:
        log_base = softplus(base).sum() + n * math.log(2)
        v = (rng.random((n_chains, m)) < sigmoid(base)).astype(np.float64)
    weights = np.zeros(n_chains)
    temperatures = np.linspace(0, 1, n_temperatures + 1)
    x = v @ W + c
    for before, t in pairwise(temperatures):
        weights += log_weight(v, x, t) - log_weight(v, x, before)
        h = (rng.random(x.shape) < sigmoid(t * x)).astype(np.float64)
        mean = t * (h @ W.T)
        if gaussian:
            v = b + mean + rng.standard_normal(v.shape)
        else:
            v = (rng.random(v.shape) < sigmoid(mean + (1 - t) * base + t * b)).astype(np.float64)
        x = v @ W + c
    relative = np.exp(weights - weights.max())
    mean = relative.mean()
    error = float(relative.std(ddof=1) / math.sqrt(n_chains) / mean) if n_chains > 1 else math.inf
    value = float(log_base + weights.max() + math.log(mean))
    return LogPartition(value, error, float(relative.sum() ** 2 / (relative**2).sum()))
