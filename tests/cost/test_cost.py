"""What a step costs: the report, its timers, and what it says of nets that are too large."""

import json
import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core
from vgfast.cost import counts, limits, rows, timers
from vgfast.cost import report as cost
from vgfast.cost.roofline import Roofs
from vgfast.model.architecture import Architecture
from vgfast.training import fit


@pytest.fixture(scope="module")
def report():
    return vg.MLP([20, 30, 30, 30, 5], "sigmoid", rng=0).cost(batch_size=16)


def trained(net, X, y, epochs=2, batch=16, times=False, unblocked=False):
    """The losses; the net is changed."""
    rng = np.random.default_rng(0)
    loop = fit.Loop(net._learner(), *net._batch(X, y), epochs, batch, vg.SGD(lr=0.1), rng=rng)
    spent = np.zeros((vg.get_num_threads(), len(net.sizes), len(_core.PHASES)))
    if times:
        loop.run.set_times(spent)
    if unblocked:
        loop.run.set_unblocked(True)
        loop.run.set_gradient(net._engine.make_vector())
    loop.train(epochs)
    return loop.losses, spent


def problem(rng, dtype, n_in=37, classes=5, rows=50):
    return rng.normal(size=(rows, n_in)).astype(dtype), rng.integers(0, classes, rows)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("how", ["times", "unblocked"])
def test_timers_and_products_without_tiles_change_no_bit(isa, dtype, rng, how, activation, threads, forced_threads):
    X, y = problem(rng, dtype)
    nets = [vg.MLP([37, 70, 19, 5], activation, dtype=dtype, rng=0) for _ in range(2)]
    with vg.threads(threads):
        plain, _ = trained(nets[0], X, y)
        other, _ = trained(nets[1], X, y, **{how: True})
    assert plain.tobytes() == other.tobytes()
    assert nets[0].params.tobytes() == nets[1].params.tobytes()


def test_all_time_is_some_phases(rng):
    """Each phase of each layer took time, and none that there is not; n threads count 1/n each."""
    X, y = problem(rng, np.float32, rows=512)
    net = vg.MLP([37, 70, 19, 5], "tanh", rng=0)
    first = _core.ticks()
    _, spent = trained(net, X, y, epochs=20, batch=64, times=True)
    whole = spent.sum(axis=0)
    assert 0 < whole.sum() < _core.ticks() - first
    there = {(0, "gather"), (0, "barrier"), (3, "loss")} | {(l, "backward") for l in (2, 3)}
    there |= {(l, phase) for l in (1, 2, 3) for phase in ("forward", "activation", "update")}
    found = {(l, _core.PHASES[i]) for l, i in zip(*np.nonzero(whole), strict=True)}
    assert found == there


TOOK = {(0, "gather"): 0.5e-3, (1, "forward"): 2e-3, (1, "update"): 2.5e-3, (0, "barrier"): 1e-3}


class Steps:
    """In the place of C's run: two threads, and a clock that nothing else moves. A step takes 6 ms, a tick is 1 ns."""

    now, drawing, threads = 0.0, 50e-3, 2

    def __init__(self, workspace, mode, params):
        self.step, self.times = 0, None

    def set_optimizer(self, *settings):
        pass

    def set_data(self, x, y, batch_size):
        self.n_steps = len(x) // batch_size

    def set_exchange(self, gradient):
        pass

    def set_results(self, *arrays):
        pass

    def begin_epoch(self, order):
        self.step = 0
        Steps.now += self.drawing

    def set_times(self, times):
        self.times = times

    def go(self, seconds):
        end = Steps.now + seconds
        while self.step < self.n_steps and Steps.now < end:
            self.step += 1
            for (l, phase), took in TOOK.items():
                Steps.now += took
                if self.times is not None:
                    self.times[: self.threads, l, _core.PHASES.index(phase)] += 1e9 * took / self.threads
        return _core.DONE if self.step == self.n_steps else _core.PAUSED


@pytest.fixture
def clockwork(monkeypatch):
    """Steps whose time is known, by a clock of their own."""
    core = {name: getattr(_core, name) for name in dir(_core)}
    core |= {"Run": Steps, "ticks": lambda: int(1e9 * Steps.now)}
    core |= {name: lambda n, dtype: 1e9 for name in ("fma_peak", "product_peak")}
    monkeypatch.setattr(timers, "_core", SimpleNamespace(**core))
    monkeypatch.setattr(timers, "time", SimpleNamespace(perf_counter=lambda: Steps.now))
    monkeypatch.setattr(timers, "exchange", lambda n: 1e9)
    here = limits.limits()
    monkeypatch.setattr(limits, "limits", lambda: here)  # for any number of threads


@pytest.mark.parametrize("steps", [2, 64])
def test_rows_add_up_to_the_step(steps, clockwork, monkeypatch):
    """And drawing the order of the rows is no part of it, be it for many steps or for two."""
    monkeypatch.setattr(timers, "n_batches", lambda of_one: steps)
    with vg.threads(2):
        found = vg.MLP([60, 50], rng=0).cost(10)
    assert found.threads == 2
    assert (found.step.median, found.timed.median, found.measured) == pytest.approx((6e-3, 6e-3, 6e-3))
    assert found.in_memory.median == pytest.approx(6e-3)
    took = {(row.layer, row.phase): row.measured.median for row in found.rows if row.measured.median > 0}
    assert took == pytest.approx({(l, rows.PHASES[phase]): seconds for (l, phase), seconds in TOOK.items()})


def test_what_threads_exchange_takes_time():
    """In forward every thread needs all of W, of which others have changed their shares; in dX it takes lines for the
    deltas of the layer below from all others; of dW + update, each does a share."""
    counted = counts.count_step(Architecture.checked([20, 30, 5]), 8)
    forward, dx, update = (
        next(row for row in counted if row.phase == phase) for phase in ("forward", "dX", "dW + update")
    )
    here = limits.limits()
    moved = (
        (forward, lambda n: (n - 1) * 4 * 600),
        (dx, lambda n: (n - 1) * 4 * 8 * 30),
        (update, lambda n: (n - 1) / n * 4 * (8 * 50 + 2 * 630)),
    )
    for n in (1, 2, 4):
        roofs = replace(Roofs.from_machine(here, "float32", 1), threads=n, exchange=np.inf)
        for row, n_bytes in moved:
            levels = [here.levels[0]] * len(row.parts)
            alone, together = (
                replace(roofs, exchange=rate).predicted(row.parts, "relu", levels) for rate in (np.inf, 1e9)
            )
            assert together - alone == pytest.approx(n_bytes(n) / 1e9, rel=1e-6)


def test_the_report_says_what_it_is(report):
    assert report.flops == sum(row.flops for row in report.rows)
    assert [r.phase for r in report.rows if r.layer == 2] == ["forward", "activation", "dX", "dW + update"]
    assert [r.phase for r in report.rows if r.layer == 4] == ["forward", "activation", "loss", "dX", "dW + update"]
    assert sum(report.share_of_step(l) for l in range(5)) == pytest.approx(1)
    for row in report.rows:
        if row.flops:
            assert row.limit <= row.predicted * 1.0001
            assert row.rate == pytest.approx(row.intensity * row.bandwidth)
            assert row.bound in {"compute", "functions", "overhead", *report.roofs}
            assert (row.bound == "overhead") == (row.share < 0.5)
    text = str(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "layers 2 to 3, each: 30 -> 30, sigmoid" in text
    assert "layer 4: 30 -> 5, identity" in text
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["flops"] == report.flops
    assert len(data["rows"]) == len(report.rows)
    assert data["rows"][1]["measured"]["median"] > 0


def test_measuring_changes_nothing_in_the_net(rng):
    net = vg.MLP([6, 5, 4], rng=0)
    before, state = net.params.copy(), net._rng.bit_generator.state
    net.cost(batch_size=3)
    assert net.params.tobytes() == before.tobytes()
    assert net._rng.bit_generator.state == state


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
def test_other_losses_and_float64(loss):
    found = vg.MLP([6, 5, 1], "tanh", loss, dtype="float64", rng=0).cost(batch_size=7)
    assert found.dtype == "float64"
    assert found.step.median > 0
    assert found.rows[1].bytes == 8 * (7 * 6 + 6 * 5)


def test_static_measures_no_step(monkeypatch):
    monkeypatch.setattr(cost.timers, "time_steps", None)
    net = vg.MLP([784, 256, 128, 10], rng=0)
    found = net.cost(128, measure=False)
    assert found.step is None
    assert all(row.measured is None for row in found.rows)
    assert found.predicted > 0
    assert max(map(len, str(found).splitlines())) <= 80
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [([10**6, 10**6, 10], "of memory"), ([10**9] * 4, "of memory"), ([3000, 3000, 10], "a step would")],
)
def test_nets_that_are_too_large_to_measure(monkeypatch, sizes, why):
    """They are told of by their sizes alone, with the reason."""
    if why == "a step would":
        monkeypatch.setattr(cost, "LONGEST", 1e-6)
    monkeypatch.setattr(cost.timers, "time_steps", None)
    found = cost.report_cost(sizes, batch_size=100)
    assert found.step is None
    assert why in found.note
    assert found.note in " ".join(str(found).split())
    m, n = sizes[:2]
    assert found.rows[1].flops == 2 * 100 * m * n
    assert max(map(len, str(found).splitlines())) <= 80


def test_memory_that_measuring_takes_is_counted_before():
    """Of few inputs and many outputs, too."""
    found = cost.report_cost([1, 10**5], loss="mse", batch_size=10**6)
    assert "of memory" in found.note
    assert cost.report_cost([1, 10**5], batch_size=10**6, measure=False).step is None


class Counted(tuple):
    """Rows that count how often somebody has gone through them all."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


@pytest.mark.parametrize("widths", [(8, 8), (8, 9)])
def test_the_rows_are_gone_through_no_more_often_for_more_layers(widths):
    """Of layers that are alike, and of those that are not."""
    X, y = np.zeros((4, 8)), np.zeros(4, int)
    passes = []
    for pairs in (3, 30):
        net = vg.MLP([*widths * pairs, 3], rng=0)
        found = net.cost(4, measure=False)
        found = replace(found, rows=Counted(found.rows))
        str(found)
        found.beside(net.inspect(X, y, try_remedies=False))
        found.to_dict()
        passes.append(found.rows.passes)
    assert passes[0] == passes[1] < 20


@pytest.mark.once
def test_no_columns_run_together():
    for sizes, batch in (([784, 30, 10], 60000), ([2, 2], 10**6), ([10**9] * 4, 32), ([1, 2], 1)):
        lines = str(cost.report_cost(sizes, batch_size=batch, measure=sizes[0] < 3)).splitlines()
        rows = [line.split() for line in lines if line.startswith(" ") and "gather" not in line and "/" not in line]
        assert max(map(len, lines)) <= 80
        for cells in rows[2:]:
            assert all(cell.count(".") <= 1 for cell in cells), cells


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "3", None, True])
def test_bad_batches(batch_size):
    with pytest.raises((TypeError, ValueError), match="batch_size must be"):
        vg.MLP([3, 2], rng=0).cost(batch_size)


@pytest.mark.parametrize("sizes", [[3], [3, 0], [3, -2, 2], [3, 2.5], "32", 7, [[3, 2]]])
def test_bad_sizes(sizes):
    with pytest.raises((TypeError, ValueError), match="sizes"):
        cost.report_cost(sizes)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_net_whose_step_is_not_finite(bad):
    net = vg.MLP([3, 4, 2], rng=0)
    net.weights[1][...] = bad
    with pytest.raises(ValueError, match="not finite; start from smaller weights"):
        net.cost(batch_size=4)
    assert np.array_equal(net.weights[1], np.full((4, 2), bad, np.float32), equal_nan=True)
    net.weights[1][...] = 1.0  # smaller ones, as it says
    assert net.cost(batch_size=4).step.median > 0


def test_huge_but_finite_weights_are_measured():
    """Such as trip the guards of every step, which then needs the gradient in memory."""
    net = vg.MLP([3, 4, 2], "tanh", loss="mse", rng=0)
    net.weights[0][...] = 1e12
    assert net.cost(batch_size=4).step.median > 0


def test_a_net_in_training_is_not_timed():
    net = vg.MLP([8, 8, 2], rng=0)
    X, y = np.zeros((64, 8)), np.zeros(64, int)
    found = []

    def callback(*_):
        def other():
            with pytest.raises(RuntimeError, match="cannot be timed now"):
                net.cost(4)
            found.append(True)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    net.fit(X, y, epochs=1, callbacks=[callback])
    assert found == [True]


def test_cost_beside_learning(rng):
    X, y = problem(rng, np.float32)
    net = vg.MLP([37, 30, 30, 5], "sigmoid", init="lecun_normal", rng=0)
    inspected = net.inspect(X, y, optimizer=vg.SGD(lr=1e-6))
    found = net.cost(batch_size=50)
    both = found.beside(inspected)
    assert [layer.layer for layer in both.layers] == [1, 2, 3]
    for layer, record in zip(both.layers, inspected.records, strict=True):
        assert layer.frozen == record["frozen"]
        assert layer.time == found.share_of_step(layer.layer)
    first = both.layers[0]
    assert f"layer 1: {first.time:.0%} of the time, {first.frozen:.0%} of its weights unchanged" in str(both)
    assert max(map(len, str(both).splitlines())) <= 80
    json.dumps(both.to_dict(), allow_nan=False)
    net.params[...] = 0
    nothing = found.beside(net.inspect(X, y, try_remedies=False)).to_dict()
    json.dumps(nothing, allow_nan=False)
    assert nothing["layers"][0]["update_ratio"] is None
    with pytest.raises(ValueError, match=r"of these sizes, \[37, 30, 30, 5\]; got one on \[37, 5\]") as caught:
        found.beside(vg.MLP([37, 5], rng=0).inspect(X, y))
    sizes = json.loads(re.search(r"of these sizes, (\[.*\]);", str(caught.value))[1])
    assert len(found.beside(vg.MLP(sizes, rng=0).inspect(X, y, try_remedies=False)).layers) == 3


def test_the_picture_has_a_dot_a_row(report):
    pytest.importorskip("matplotlib")
    (ax,) = report.plot().axes
    whole = sum(row.seconds for row in report.rows)
    wanted = {
        (row.intensity, round(row.rate / 1e9, 9)) for row in report.rows if row.flops and row.seconds > 1e-3 * whole
    }
    drawn = {(float(x), round(float(y), 9)) for dots in ax.collections for x, y in dots.get_offsets()}
    assert drawn == wanted
    assert "FLOP/byte" in ax.get_xlabel()
    assert "GFLOP/s" in ax.get_ylabel()
