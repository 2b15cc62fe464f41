"""Whole training steps, small nets to large ones, beside the same net in NumPy (that of vgfast.bench.tuned), on the
threads that each of them chooses. One round is one epoch; ``extra_info`` has the microseconds of a step.
``vgfast bench`` compares more libraries, in turn.

    pytest benchmarks/bench_step.py
"""

import pytest

from vgfast.bench import competitors, tuned
from vgfast.bench.comparison import CALLS, WORKLOADS

BY = {"vgfast": competitors.VGFast, "numpy": tuned.NumPy}


def ready(by, workload):
    peer = BY[by](WORKLOADS[workload])
    peer.rewind()
    return peer


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.benchmark(group="training step, float32")
def test_step(benchmark, workload, by):
    peer = ready(by, workload)
    benchmark(lambda: peer.train(1))
    if benchmark.stats:  # absent when every benchmark only runs for an instant
        seconds = benchmark.stats.stats.median / peer.problem.steps
        benchmark.extra_info |= {"us a step": seconds * 1e6, "GFLOP/s": peer.problem.flops / seconds / 1e9}


@pytest.mark.parametrize("inspect_every", [0, 10, 1])
@pytest.mark.benchmark(group="what inspection costs: deep net, float32")
def test_inspection(benchmark, inspect_every):
    peer = ready("vgfast", "deep")
    benchmark(lambda: peer.train(1, inspect_every=inspect_every))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("call", ["step_call", "predict_call"])
@pytest.mark.benchmark(group="one call from Python, tiny net, float32")
def test_call(benchmark, call, by):
    benchmark(ready(by, CALLS).calls()[call])
