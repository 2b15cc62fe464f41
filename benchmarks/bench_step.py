"""Whole training steps, small nets to large ones, beside the same net in NumPy (vgfast.reference), on the threads that
each of them chooses. One round is one epoch; ``extra_info`` has the microseconds of a step.

    pytest benchmarks/bench_step.py
"""

from itertools import pairwise

import numpy as np
import pytest

import vgfast as vg

# sizes, hidden activation, batch size, rows
WORKLOADS = {
    "tiny": ([4, 16, 16, 3], "tanh", 32, 1024),
    "nielsen": ([784, 30, 10], "sigmoid", 10, 1000),
    "digits": ([64, 128, 64, 10], "relu", 64, 1792),
    "deep": ([64, *[30] * 64, 10], "sigmoid", 32, 1792),
    "mnist": ([784, 256, 128, 10], "relu", 128, 1280),
    "deepwide": ([784, *[256] * 10, 10], "tanh", 128, 1280),
    "big": ([784, 2048, 2048, 2048, 10], "relu", 512, 1024),
}


@pytest.mark.parametrize("by", ["vgfast", "numpy"])
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.benchmark(group="training step, float32")
def test_step(benchmark, workload, by):
    sizes, activation, batch, rows = WORKLOADS[workload]
    rng = np.random.default_rng(0)
    X, y = rng.random((rows, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], rows)
    kind = vg.MLP if by == "vgfast" else vg.reference.MLP
    net, optimizer = kind(sizes, activation, rng=0), vg.SGD(lr=1e-3)
    benchmark(lambda: net.fit(X, y, epochs=1, batch_size=batch, optimizer=optimizer))
    steps = -(-rows // batch)
    flops = sum((4 if l == 0 else 6) * batch * a * b for l, (a, b) in enumerate(pairwise(sizes)))
    if benchmark.stats:  # absent when every benchmark only runs for an instant
        seconds = benchmark.stats.stats.median / steps
        benchmark.extra_info |= {"us a step": seconds * 1e6, "GFLOP/s": flops / seconds / 1e9}


@pytest.mark.parametrize("inspect_every", [0, 10, 1])
@pytest.mark.benchmark(group="what inspection costs: deep net, float32")
def test_inspection(benchmark, inspect_every):
    rng = np.random.default_rng(0)
    X, y = rng.random((1792, 64), dtype=np.float32), rng.integers(0, 10, 1792)
    net, optimizer = vg.MLP([64, *[30] * 8, 10], "sigmoid", rng=0), vg.SGD(lr=1e-3)
    benchmark(lambda: net.fit(X, y, epochs=1, optimizer=optimizer, inspect_every=inspect_every))


@pytest.mark.parametrize("by", ["vgfast", "numpy"])
@pytest.mark.parametrize("call", ["step", "predict_proba of one row"])
@pytest.mark.benchmark(group="one call from Python, tiny net, float32")
def test_call(benchmark, call, by):
    sizes, activation, batch, _ = WORKLOADS["tiny"]
    rng = np.random.default_rng(0)
    X, y = rng.random((batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch)
    kind = vg.MLP if by == "vgfast" else vg.reference.MLP
    net, optimizer = kind(sizes, activation, rng=0), vg.SGD(lr=1e-3)
    row = X[:1]
    benchmark((lambda: net.step(X, y, optimizer)) if call == "step" else lambda: net.predict_proba(row))
