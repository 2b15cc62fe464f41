"""Small nets, their data, and the optimizers that have trained them."""

import numpy as np

import vgfast as vg
from vgfast import reference

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 100)
NETS = [vg.MLP, reference.MLP]


def pair(kind=vg.MLP):
    """A net, and the optimizer that has trained it."""
    net, optimizer = kind([6, 10, 3], rng=0), vg.SGD(lr=0.1, momentum=0.9)
    net.fit(X, Y, 3, 16, optimizer)
    return net, optimizer
