"""Data that nets can be trained on, what spoils them, and what tests of advice do with them."""

import numpy as np
import pytest

import vgfast as vg

pd = pytest.importorskip("pandas")

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3
P = np.random.default_rng(0).dirichlet(np.ones(3), 20)
FRAME = pd.DataFrame(X, columns=["size", "age", "income"])


def changed(values, index, value):
    values = np.array(values)
    values[index] = value
    return values


def masked(values):
    return np.ma.masked_less(values, 0)


def attempt(x, y, **kwargs):
    """Train a net on them."""
    net = vg.MLP(**{"sizes": [3, 4, 3], "rng": 0, **kwargs})
    return net.fit(x, y, 1, optimizer=vg.SGD(lr=1e-3, clip_norm=1.0))


def evaluated(expression, **names):
    """What an error says literally."""
    return eval(expression, {"np": np, "pd": pd, "vg": vg, **names})
