"""Whole training steps, small nets to large ones, and of the same net in NumPy (vgfast.bench.competitors.numpy), on the
threads that each of them chooses. One round is one epoch; ``extra_info`` has the microseconds of a step.
``vgfast bench`` compares more libraries, in turn.

    pytest benchmarks/bench_step.py
"""

import pytest

from vgfast.bench.competitors import COMPETITORS
from vgfast.bench.problems import CALLS, WORKLOADS

BY = {name: COMPETITORS[name] for name in ("vgfast", "numpy")}


def ready(by, workload):
    competitor = BY[by](WORKLOADS[workload])
    competitor.rewind()
    return competitor


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.benchmark(group="training step, float32")
def test_step(benchmark, workload, by):
    competitor = ready(by, workload)
    benchmark(lambda: competitor.train(1))
    if benchmark.stats:  # absent when every benchmark only runs for an instant
        seconds = benchmark.stats.stats.median / competitor.problem.steps
        benchmark.extra_info |= {"us a step": seconds * 1e6, "GFLOP/s": competitor.problem.flops / seconds / 1e9}


@pytest.mark.parametrize("inspect_every", [0, 10, 1])
@pytest.mark.benchmark(group="what inspection costs: deep net, float32")
def test_inspection(benchmark, inspect_every):
    competitor = ready("vgfast", "deep")
    benchmark(lambda: competitor.train(1, inspect_every=inspect_every))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("call", ["step_call", "predict_call"])
@pytest.mark.benchmark(group="one call from Python, tiny net, float32")
def test_call(benchmark, call, by):
    benchmark(ready(by, CALLS).calls()[call])
