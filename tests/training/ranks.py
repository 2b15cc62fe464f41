"""Several processes that train one net, as threads of one process; and what they are compared by."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import vgfast as vg
from vgfast.training.shares import share_shards

SIZES = [9, 16, 12, 4]
STEPS = 50
# Of values of about 1 after 50 steps, each of which adds some roundings of sums in another order.
CLOSE = {"float64": 1e-12, "float32": 1e-5}
OPTIMIZERS = {
    "plain": lambda: vg.SGD(0.1),
    "momentum": lambda: vg.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: vg.Adam(0.003),
    "clip": lambda: vg.SGD(0.1, clip_norm=0.2),
    "decay": lambda: vg.AdamW(0.003, weight_decay=0.1),
    "penalty": lambda: vg.SGD(0.1, penalty=2.0),
}


class Meeting:
    """Where as many threads as there are ranks add up arrays, in the order of their ranks."""

    def __init__(self, size):
        self.size, self.arrays = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=60)
        self.calls = [0] * size

    def add(self, rank, numbers):
        self.arrays[rank] = numbers.copy()
        self.calls[rank] += 1
        self.barrier.wait()
        first = self.arrays[0]
        assert all((a.shape, a.dtype) == (first.shape, first.dtype) for a in self.arrays)
        total = sum(self.arrays[1:], first.copy())
        self.barrier.wait()
        numbers[...] = total


class ThreadReducer(vg.Reducer):
    def __init__(self, meeting, rank, sharded=False):
        self.meeting, self.rank, self.size, self.sharded = meeting, rank, meeting.size, sharded

    def add(self, numbers):
        assert numbers.flags.c_contiguous
        self.meeting.add(self.rank, numbers)


def run_ranks(size, work, sharded=False):
    """What work(reducer) returns, or the error it raises, in each rank."""
    meeting = Meeting(size)

    def one(rank):
        try:
            with vg.threads(1):
                return work(ThreadReducer(meeting, rank, sharded))
        except Exception as error:
            meeting.barrier.abort()
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def make_data(rows=67, seed=0, n_in=9, n_out=4, dtype="float64"):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, n_in)).astype(dtype), rng.integers(0, n_out, rows)


def order_of_shards(parts, batch_size):
    """In which one process must have the rows, whose numbers each rank has, to take the batches that the ranks do."""
    counts = np.array([len(part) for part in parts])
    shares = [share_shards(counts, batch_size, rank) for rank in range(len(parts))]
    taken = [
        part[int(share[step]["first"]) :][: int(share[step]["rows"])]
        for step in range(len(shares[0]))
        for part, share in zip(parts, shares, strict=True)
    ]
    return np.concatenate(taken)


def assert_as_one(ranks, one, close=1e-12):
    """All ranks hold the same bits, and those of the one process but for roundings."""
    (net, history), *others = ranks
    for other, its in others:
        np.testing.assert_array_equal(net.params, other.params)
        np.testing.assert_array_equal(history.loss, its.loss)
        assert [e["accuracy"] for e in history.epochs] == [e["accuracy"] for e in its.epochs]
    np.testing.assert_allclose(net.params, one[0].params, rtol=close, atol=close)
    np.testing.assert_allclose(history.loss, one[1].loss, rtol=10 * close, atol=close)
    for mine, its in zip(history.epochs, one[1].epochs, strict=True):
        np.testing.assert_allclose(mine["loss"], its["loss"], rtol=10 * close)
        np.testing.assert_allclose(mine["accuracy"], its["accuracy"], rtol=1e-12)
    assert len(history.gradients) == len(one[1].gradients)
    for name in history.gradients.dtype.names or ():
        a, b = history.gradients[name], one[1].gradients[name]
        np.testing.assert_allclose(a, b, rtol=1e3 * close, atol=1e3 * close, err_msg=name)
