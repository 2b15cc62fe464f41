"""Small nets with normalization, and rows for them."""

import itertools

import numpy as np
from differences import is_smooth

import vgfast as vg

SIZES = (4, 6, 5, 3)


def make(norm, activation="tanh", sizes=SIZES, engine=vg.MLP, dtype="float64", seed=0):
    """All parameters are drawn, gains about 1."""
    first = vg.init.normal(0.6, bias_std=0.6)
    net = engine(sizes, activation, init=first, dtype=dtype, rng=seed, normalization=norm)
    rng = np.random.default_rng(seed)
    for name, part in net.parameters().items():
        if "norm" in name:
            part[...] += 0.3 * rng.normal(size=part.shape)
    return net


def problem(rows, sizes=SIZES, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], rows)


def smooth(norm, activation, rows, steepest):
    """The first such net and data on which a difference is a derivative."""
    for seed in itertools.count():
        net, (X, y) = make(norm, activation, seed=seed), problem(rows, seed=seed)
        if is_smooth(net, X, steepest):
            return net, X, y
