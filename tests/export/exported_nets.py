"""Nets of every activation, loss, normalization and residual connection, for those tests that export them."""

import itertools

import numpy as np

import vgfast as vg
from vgfast import _core

ACTIVATIONS = [*_core.ACTIVATIONS, "leaky_relu(0.2)", "elu(0.3)"]
LOSSES = list(_core.LOSSES)
NORMS = [None, *[getattr(vg.norm, kind)(place) for kind in vg.norm.NAMES for place in ("before", "after")]]
PLAIN = [getattr(vg.norm, kind)(place, affine=False) for kind in vg.norm.NAMES for place in ("before", "after")]
WAYS = [None, vg.residual(), vg.residual(2, 0.3), vg.residual(2, "1/sqrt(L)"), vg.residual(1, "rezero")]
SIZES = [5, 16, 16, 16, 3]
ROWS = np.random.default_rng(5).normal(size=(1000, SIZES[0]))


def make(activation="relu", loss="cross_entropy", norm=None, way=None, dtype="float32", seed=3, **more):
    """All parameters are drawn, and batch norm has seen a batch."""
    net = vg.MLP(SIZES, activation, loss, vg.init.normal(0.25, bias_std=0.3), dtype, seed, norm, way, **more)
    rng = np.random.default_rng(seed)
    for name, part in net.parameters().items():
        if "norm" in name or "scale" in name:
            part[...] += 0.2 * rng.normal(size=part.shape)
    net.forward(ROWS[:50], training=True)
    return net


def in_pairs(*lists):
    """Tuples in which every two entries of two lists come up together."""
    wanted = {
        (i, a, j, b)
        for (i, one), (j, other) in itertools.combinations(enumerate(lists), 2)
        for a, b in itertools.product(range(len(one)), range(len(other)))
    }
    rng, found = np.random.default_rng(0), []
    while wanted:
        i, a, j, b = min(wanted)
        drawn = [[int(rng.integers(len(values))) for values in lists] for _ in range(30)]
        for choice in drawn:
            choice[i], choice[j] = a, b
        covers = [{(i, c[i], j, c[j]) for i, j in itertools.combinations(range(len(lists)), 2)} & wanted for c in drawn]
        best = max(range(len(drawn)), key=lambda n: len(covers[n]))
        wanted -= covers[best]
        found.append(tuple(values[n] for values, n in zip(lists, drawn[best], strict=True)))
    return found


def of_all():
    """Each activation with each loss and each normalization; residual connections and dtypes in turn."""
    rest = zip(itertools.cycle(WAYS), itertools.cycle(["float32", "float64", "float64"]), strict=False)
    chosen = itertools.product(ACTIVATIONS, LOSSES, [*NORMS, *PLAIN])
    return [(*choice, *more) for choice, more in zip(chosen, rest, strict=False)]


def tolerance(net):
    """Of outputs, relative to the largest or to 1: 16 roundings in float32, and any number in float64."""
    return 1e-6 if net.dtype == "float32" else 1e-13


def apart(got, want):
    return np.abs(got - want).max() / max(1.0, np.abs(want).max())
