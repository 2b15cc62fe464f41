"""What ``fit(reduce=...)`` costs, and whether ``cost.scale`` says what a delay in it takes. To be run where nothing
else does; ranks of MPI are measured by ``ranks.py``.

pytest benchmarks/bench_reduce.py
"""

import time

import numpy as np
import pytest
from bench_data import side_by_side

import vgfast as vg
from vgfast.cost.networks import Network
from vgfast.cost.scaling import Worker, scale_step

RNG = np.random.default_rng(0)
NETS = {
    "mnist": ([784, 256, 128, 10], 128),
    "deepwide": ([784, 1000, 500, 100, 10], 128),
    "digits": ([64, 100, 10], 32),
}
OPTIMIZERS = {"SGD": lambda: vg.SGD(1e-3), "Adam": lambda: vg.Adam(1e-4)}


def make_training(sizes, batch_size, steps, optimizer):
    """A function of reduce."""
    X, y = RNG.random((batch_size * steps, sizes[0]), np.float32), RNG.integers(0, sizes[-1], batch_size * steps)
    net = vg.MLP(sizes, rng=0)
    how = {"epochs": 1, "batch_size": batch_size, "optimizer": optimizer, "shuffle": False}
    return lambda reduce: net.fit(X, y, reduce=reduce, **how)


def leave(flat, rows):
    pass


@pytest.mark.benchmark(group="reduce")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETS)
def test_a_gradient_that_is_left_alone(benchmark, record, name, optimizer):
    """A step with a function that does nothing, over one without."""
    sizes, batch_size = NETS[name]
    steps = (400 if name == "digits" else 10) if benchmark.enabled else 2
    train = make_training(sizes, batch_size, steps, OPTIMIZERS[optimizer]())
    args = lambda: train(leave), lambda: train(None), 15 if benchmark.enabled else 1
    record(with_over_without=benchmark.pedantic(side_by_side, args=args, rounds=1))


@pytest.mark.benchmark(group="reduce")
def test_a_delay_is_as_long_as_the_model_says(benchmark, record):
    """A step whose gradient waits, over what ``scale_step`` says of two workers on a network that takes as long."""
    sizes, batch_size = NETS["mnist"]
    steps, rounds = (20, 7) if benchmark.enabled else (2, 1)
    train = make_training(sizes, batch_size, steps, vg.SGD(1e-3))

    def seconds(delay):
        def wait(flat, rows):
            until = time.perf_counter() + delay
            while time.perf_counter() < until:
                pass

        start = time.perf_counter()
        train(wait if delay else leave)
        return (time.perf_counter() - start) / steps

    def compare():
        delays = [0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
        taken = np.median([[seconds(delay) for delay in delays] for _ in range(rounds)], axis=0)
        worker = Worker(tuple(sizes), "float32", 235_146, vg.get_num_threads(), batch_size, taken[0], True)
        said = [scale_step(worker, 2, Network("", np.inf, delay / 2, "")).step for delay in delays[1:]]
        return (taken[1:] / said).tolist()

    record(taken_over_said=benchmark.pedantic(compare, rounds=1))
