"""What ranks of vgfast.mpi take for a step, beside what ``cost.scale`` says and beside as many threads of one process.

mpiexec -n 2 python benchmarks/ranks.py
"""

import json
import time

import numpy as np
from mpi4py import MPI

import vgfast as vg
import vgfast.mpi

SIZES, ROWS, STEPS, ROUNDS = [784, 256, 128, 10], 128, 20, 7
comm = MPI.COMM_WORLD
rng = np.random.default_rng(0)
X, y = rng.random((comm.size * ROWS * STEPS, 784), np.float32), rng.integers(0, 10, comm.size * ROWS * STEPS)


def seconds_of(work):
    comm.Barrier()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_to_add(n):
    """The all-reduce of n float32, by the slowest rank."""
    reducer, numbers = vgfast.mpi.Reducer(comm), np.ones(n, np.float32)
    one = min(seconds_of(lambda: reducer.add(numbers)) for _ in range(50))
    return comm.allreduce(one, MPI.MAX)


def main():
    net = vg.MLP(SIZES, rng=0)
    few, all_of_them = seconds_to_add(1), seconds_to_add(net.n_params)
    latency, bandwidth = few / 2, net.n_params * 4 / (all_of_them - few)
    ranks, threads = [], []
    for _ in range(ROUNDS):
        train = {"epochs": 5, "batch_size": comm.size * ROWS, "optimizer": vg.SGD(1e-3), "shuffle": False}
        history = vgfast.mpi.fit(net, X, y, **train)
        ranks += [epoch["seconds"] / STEPS for epoch in history.epochs]
        if comm.rank == 0:
            with vg.threads(comm.size):
                history = vg.MLP(SIZES, rng=0).fit(X, y, **train)
                threads += [epoch["seconds"] / STEPS for epoch in history.epochs]
            for rank in range(1, comm.size):
                comm.send(None, rank)
        else:
            while not comm.iprobe(source=0):  # a barrier would keep a processor busy
                time.sleep(0.01)
            comm.recv(source=0)
    with vg.threads(1):  # all at once, as in training
        cost = net.cost(ROWS)
    if comm.rank == 0:
        row = cost.scale(comm.size, bandwidth=bandwidth, latency=latency).rows[0]
        found = {"step of the ranks": np.median(ranks), "of as many threads": np.median(threads), "computed": row.step}
        print(
            json.dumps(
                {
                    "ranks": comm.size,
                    **{name: round(1e6 * s) for name, s in found.items()},
                    "GB/s": bandwidth / 1e9,
                    "latency us": latency * 1e6,
                }
            )
        )


main()
