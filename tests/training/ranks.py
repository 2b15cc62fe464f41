"""Several processes that train one net, as threads of one process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import vgfast as vg


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
