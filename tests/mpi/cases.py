"""Trainings that several ranks do as one process does, and what a rank has to show of one."""

import hashlib

import numpy as np
from training.ranks import CLOSE, OPTIMIZERS, SIZES, STEPS, make_data, order_of_shards

import vgfast as vg
from vgfast.data import blocks
from vgfast.training import reader

WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, 67)
# name: of an optimizer, what the net takes, what fit takes
CASES = {
    **{f"{name}, {dtype}": (name, {"dtype": dtype}, {}) for name in OPTIMIZERS for dtype in CLOSE},
    # 67 rows in batches of 11: the last has one row, which not every rank sees.
    "uneven batches": ("momentum", {"dropout": 0.3}, {"batch_size": 11, "sample_weight": WEIGHTS, "inspect_every": 5}),
    "layer norm": ("adam", {"normalization": "layer"}, {"shuffle": False, "inspect_every": 4}),
    "averages after each step": ("plain", {"dropout": 0.3}, {"average_every": 1, "sample_weight": WEIGHTS}),
    "shards": ("momentum", {}, {"shuffle": False, "sharded": True, "inspect_every": 3}),
    "weighted shards": ("adam", {}, {"shuffle": False, "sharded": True, "sample_weight": WEIGHTS}),
    "sources": (
        "adam",
        {"dropout": 0.2},
        {"shuffle": False, "sharded": True, "sample_weight": WEIGHTS, "inspect_every": 6, "block": 5},
    ),
}


def split(size):
    """The numbers of the rows of each rank's shard: of very different length."""
    return np.split(np.arange(67), [13, 40, 52][: size - 1])


def in_blocks(X, y, sample_weight, size):
    """A source of blocks of so many rows, of which two places in memory have two each."""
    reader.BLOCK_BYTES = 2 * size * (9 * 8 + 4 + 16)
    parts = [slice(first, first + size) for first in range(0, len(X), size)]
    return blocks.from_function(lambda: ((X[p], y[p], sample_weight[p]) for p in parts), len(X))


def train(name, fit, rank=0, size=1, **more):
    """(net, history) of a case. fit: of a rank, ``vgfast.mpi.fit``; else ``vg.MLP.fit``. size: where one process does
    what ranks do with their shards, how many ranks."""
    optimizer, of_net, how = CASES[name]
    net = vg.MLP(SIZES, rng=3, **{"dtype": "float64"} | of_net)
    X, y = make_data(dtype=net.dtype)
    how = {"epochs": STEPS // 5, "batch_size": 16} | how | more
    if how.get("sharded"):
        alone = fit is vg.MLP.fit
        rows = order_of_shards(split(size), how["batch_size"]) if alone else split(size)[rank]
        X, y = X[rows], y[rows]
        how |= {"sample_weight": how["sample_weight"][rows]} if "sample_weight" in how else {}
        how = {key: value for key, value in how.items() if key != "sharded"} if alone else how
    if fit is vg.MLP.fit:
        how.pop("average_every", None)
    size = how.pop("block", None)
    if size is not None and how.get("sharded"):
        X, y = in_blocks(X, y, how.pop("sample_weight"), size), None
    return net, fit(net, X, y, optimizer=OPTIMIZERS[optimizer](), **how)


def train_with_checkpoint(path, fit, epochs=12, shard=None, **more):
    """(net, history) of 5 steps an epoch. path: may be empty, for none. shard: the numbers of this rank's own rows."""
    net = vg.MLP(SIZES, dtype="float64", rng=3, dropout=0.2)
    how = {"epochs": epochs, "batch_size": 16, "inspect_every": 7, "optimizer": vg.Adam(0.003)} | more
    X, y = make_data()
    rows = np.arange(67) if shard is None else shard
    how |= {} if shard is None else {"sharded": True}
    callbacks = [vg.Checkpoint(path, every=4, every_steps=2)] if path else []
    return net, fit(net, X[rows], y[rows], callbacks=callbacks, **how)


def digest(net):
    return hashlib.sha256(net.params.tobytes()).hexdigest()
