"""The net, with biases, one of whose gradients is traced, or checked; and two rows for it."""

import numpy as np

import vgfast as vg

SIZES = [3, 4, 3, 5, 2]
X3 = np.ones((2, 3))


def make(activation="tanh", loss="cross_entropy", dtype="float64", sizes=SIZES, seed=0):
    return vg.MLP(sizes, activation, loss, vg.init.lecun_normal(bias_std=0.5), dtype, seed)
