"""What a source of blocks costs, and what is gained by many trainings at once. To be run where nothing else does.

pytest benchmarks/bench_data.py
"""

import time

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

import vgfast as vg
from vgfast.data import blocks
from vgfast.sklearn import MLPClassifier

RNG = np.random.default_rng(0)


def side_by_side(first, second, rounds):
    """Seconds of the one over those of the other: medians of rounds, in each of which both have a turn."""
    seconds = np.empty((rounds, 2))
    for i in range(rounds):
        for j, work in enumerate((first, second)):
            start = time.perf_counter()
            work()
            seconds[i, j] = time.perf_counter() - start
    before, after = np.median(seconds, axis=0)
    return before / after


@pytest.mark.benchmark(group="sources of blocks")
def test_a_source_of_one_gigabyte_a_second(benchmark, record):
    """784-256-128-10 with Adam on batches of 128, an epoch from a source over one from memory: 1.1 at most."""
    rows, each = 60_000 if benchmark.enabled else 2_000, 10_000
    X, y = RNG.random((rows, 784), np.float32), RNG.integers(0, 10, rows)

    def slowly():
        due = time.perf_counter()
        for first in range(0, rows, each):
            part = slice(first, first + each)
            due = max(due, time.perf_counter() - 0.02) + X[part].nbytes / 1e9
            time.sleep(max(0.0, due - time.perf_counter()))
            yield X[part], y[part]

    source = blocks.from_function(slowly, rows)

    def train(*data):
        vg.MLP([784, 256, 128, 10], rng=0).fit(*data, epochs=1, batch_size=128, optimizer=vg.Adam())

    how = {"args": (lambda: train(source), lambda: train(X, y), 9 if benchmark.enabled else 1), "rounds": 1}
    record(source_over_memory=benchmark.pedantic(side_by_side, **how))


@pytest.mark.benchmark(group="many trainings")
@pytest.mark.parametrize("batch_size", [8, 32, 128])
def test_many_nets(benchmark, record, batch_size):
    """64 nets 17-64-64-6 one after the other, over ``fit_many``: about the number of processors."""
    X, y = RNG.normal(size=(2000, 17)).astype(np.float32), RNG.integers(0, 6, 2000)
    how = {"epochs": 6 if benchmark.enabled else 1, "batch_size": batch_size, "optimizer": vg.Adam()}
    nets = [vg.MLP([17, 64, 64, 6], rng=i) for i in range(64 if benchmark.enabled else 4)]

    def alone():
        for net in nets:
            net.fit(X, y, **how)

    args = alone, lambda: vg.fit_many(nets, X, y, **how), 9 if benchmark.enabled else 1
    record(alone_over_many=benchmark.pedantic(side_by_side, args=args, rounds=1), threads=vg.get_num_threads())


@pytest.mark.benchmark(group="many trainings")
def test_a_grid_in_processes(benchmark, record):
    """24 fits with n_jobs=1 over n_jobs=-1, when the processes have started: about the number of processors."""
    X, y = RNG.normal(size=(1500, 64)).astype(np.float32), RNG.integers(0, 10, 1500)
    classifier = MLPClassifier((100, 50), batch_size=32, random_state=0, tol=1e3, n_iter_no_change=60)
    grid = {"alpha": [1e-4, 1e-3, 1e-2, 1e-1], "learning_rate_init": [1e-3, 3e-3]}

    def search(n_jobs):
        GridSearchCV(classifier, grid, cv=3, n_jobs=n_jobs, refit=False).fit(X, y)

    joblib.Parallel(n_jobs=-1)(joblib.delayed(vg.get_num_threads)() for _ in range(8))
    args = lambda: search(1), lambda: search(-1), 3 if benchmark.enabled else 1
    record(one_over_all=benchmark.pedantic(side_by_side, args=args, rounds=1), processors=joblib.cpu_count())
