"""Nets each step of which is well, and which stay at the best constant answer all the same."""

import drawn_nets
import numpy as np
import pytest
from sklearn.datasets import make_circles

import vgfast as vg
from vgfast import reference
from vgfast.inspection import stalled
from vgfast.model.losses import LOSSES


@pytest.fixture(scope="module")
def circles():
    """X (1000, 2), labels y (1000,)."""
    return make_circles(1000, noise=0.1, random_state=1)


def reach(net, X, y, optimizer, steps=1000, sample_weight=None):
    x, t, weights = net._weighted(X, y, sample_weight)
    return stalled.measure_reach(net._case(x, t, optimizer, sample_weight=weights), steps)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_five_layers_of_five_sigmoids_on_circles(circles, kind):
    """https://machinelearningmastery.com/visualizing-the-vanishing-gradient-problem/: the steps of its training."""
    optimizer = vg.SGD(lr=0.05, momentum=0.9)
    words = set()
    for seed in range(3):
        report = kind([2, *[5] * 5, 2], "sigmoid", rng=seed).inspect(*circles, optimizer, 3200)
        words.add(report.verdict)
        assert report.fault == "activations", str(report)
        assert report.remedies[0].endswith("(healthy)")
        if report.verdict == "stalled":
            assert f"{report.numbers['moved_by_training']:.2g} of their weights" in report.explanation
            assert "all 3200 steps" in report.explanation
            assert max(map(len, str(report).splitlines())) <= 80
        assert kind([2, *[5] * 5, 2], "tanh", rng=seed).inspect(*circles, optimizer, 3200).verdict == "healthy"
    assert words == {"stalled", "vanishing"}


def test_what_is_said_comes_true(circles):
    X, y = circles
    optimizer = vg.SGD(lr=0.05, momentum=0.9)
    ends = {}
    for activation in ("sigmoid", "tanh", "relu"):
        net = vg.MLP([2, *[5] * 5, 2], activation, rng=0)
        word = net.inspect(X, y, optimizer, 3200).verdict
        net.fit(X, y, epochs=100, optimizer=optimizer)
        ends[activation] = word, net.evaluate(X, y).loss < 0.9 * np.log(2)
    assert ends == {"sigmoid": ("stalled", False), "tanh": ("healthy", True), "relu": ("healthy", True)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
def test_the_constant_answer_is_the_best_one(rng, loss, weighted):
    y = rng.random((50, 3)) if loss != "cross_entropy" else rng.integers(0, 3, 50)
    weights = rng.random(50) if weighted else None
    of = LOSSES[loss].of
    z = stalled.find_constant(LOSSES[loss], y, weights, 3)
    least = of(np.tile(z, (50, 1)), y, weights)[0]
    for _ in range(20):
        assert least < of(np.tile(z + 0.01 * rng.normal(size=3), (50, 1)), y, weights)[0]


def test_a_class_that_is_not_there_has_a_finite_answer():
    z = stalled.find_constant(LOSSES["cross_entropy"], np.array([0, 1, 1]), None, 3)
    assert np.isfinite(z).all()
    assert np.isfinite(stalled.find_constant(LOSSES["binary_cross_entropy"], np.ones((3, 1)), None, 1)).all()


def linear(rng, dtype="float64"):
    X, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    return vg.MLP([3, 2], dtype=dtype, init=vg.init.normal(1e-3), rng=0), X, y


def test_reach_is_what_is_written_down(rng):
    """A layer alone, by hand."""
    net, X, y = linear(rng)
    shares = np.bincount(y) / len(y)
    deltas = (shares - np.eye(2)[y]) / len(y)
    dW, loss = X.T @ deltas, -(shares * np.log(shares)).sum()
    found = reach(net, X, y, vg.SGD(lr=2e-5), 3000)
    size = np.linalg.norm(net.weights[0])
    np.testing.assert_allclose(found.moved, 3000 * 2e-5 * np.linalg.norm(dW) / size, rtol=1e-12)
    np.testing.assert_allclose(found.promised, 3000 * 2e-5 * np.square(dW).sum() / loss, rtol=1e-12)
    assert abs(deltas.sum(axis=0)).max() < 1e-15  # the biases' gradient
    np.testing.assert_allclose(found.least_rate, 2e-5 / max(found.moved.sum(), 5 * found.promised), rtol=1e-12)
    for lr, stalls in ((0.99 * found.least_rate, True), (1.01 * found.least_rate, False)):
        assert reach(net, X, y, vg.SGD(lr), 3000).stalls == stalls
        assert net.inspect(X, y, vg.SGD(lr), 3000).verdict == ("stalled" if stalls else "healthy")


def test_reach_with_momentum_clips_and_weights(rng):
    net, X, y = linear(rng)
    plain = reach(net, X, y, vg.SGD(0.01))
    np.testing.assert_allclose(reach(net, X, y, vg.SGD(0.01, momentum=0.9)).moved, 10 * plain.moved)
    norm = plain.moved[0] * np.linalg.norm(net.weights[0]) / (1000 * 0.01)
    clipped = reach(net, X, y, vg.SGD(0.01, clip_norm=norm / 4))
    np.testing.assert_allclose(clipped.moved, plain.moved / 4)
    np.testing.assert_allclose(clipped.promised, plain.promised / 4)
    assert reach(net, X, y, vg.SGD(0.01, clip_value=norm / 100)).moved < plain.moved / 4
    repeats = rng.integers(0, 3, len(X))
    repeated = reach(net, np.repeat(X, repeats, axis=0), np.repeat(y, repeats), vg.SGD(0.01))
    weighted = reach(net, X, y, vg.SGD(0.01), sample_weight=repeats)
    np.testing.assert_allclose(weighted.moved, repeated.moved)
    np.testing.assert_allclose(weighted.promised, repeated.promised)


def test_who_is_not_judged(rng):
    """One row, which the constant answer knows; rows without weight; weights of 0, of which any step is infinite; nets
    that know more."""
    net, X, y = linear(rng)
    assert reach(net, X[:1], y[:1], vg.SGD(1e-9)) is None
    rare = np.eye(1, 3000, 1)[0]  # no row that is taken has a weight
    assert reach(net, rng.normal(size=(3000, 3)), rng.integers(0, 2, 3000), vg.SGD(1e-9), sample_weight=rare) is None
    assert not reach(vg.MLP([3, 2], init="zeros", rng=0), X, y, vg.SGD(1e-9)).stalls
    net.fit(X, (X[:, 0] > 0).astype(int), epochs=100, optimizer=vg.SGD(0.5))
    assert reach(net, X, (X[:, 0] > 0).astype(int), vg.SGD(1e-9)) is None


@pytest.mark.parametrize("optimizer", [vg.Adam(1e-9), vg.AdamW(1e-9), vg.RMSprop(1e-9), vg.Adagrad(1e-9)], ids=repr)
def test_steps_that_do_not_go_by_the_size_of_gradients_are_not_judged(rng, optimizer):
    net, X, y = linear(rng)
    assert reach(net, X, y, optimizer) is None
    assert net.inspect(X, y, optimizer).verdict != "stalled"


def test_large_batches_are_judged_by_some_rows(rng):
    X = rng.normal(size=(5000, 3))
    y = (X[:, 0] > 0).astype(int)
    net, optimizer = vg.MLP([3, 8, 2], "tanh", init=vg.init.normal(0.01), rng=0), vg.SGD(1e-3)
    few = reach(net, X[::5], y[::5], optimizer)
    np.testing.assert_array_equal(reach(net, X, y, optimizer).moved, few.moved)


def test_short_trainings_are_judged_as_a_thousand_steps(circles):
    net, optimizer = vg.MLP([2, 16, 2], "tanh", rng=0), vg.SGD(0.01)
    numbers = [net.inspect(*circles, optimizer, steps).numbers for steps in (1, 1000, 2000)]
    moved = [one["moved_by_training"] for one in numbers]
    assert moved[0] == moved[1] == pytest.approx(moved[2] / 2)


def test_what_is_at_fault(circles):
    """Each alone, and the remedy that is told first makes the net healthy, and then learn."""
    X, y = circles
    flat = vg.MLP([2, 30, 30, 2], "tanh", init=vg.init.normal(0.1 / 30**0.5), rng=0)
    well = vg.MLP([2, 30, 30, 2], rng=0)
    for net, x, lr, fault in (
        (flat, X, 0.1, "weights"),
        (well, X, 1e-4, "learning rate"),
        (well, 0.01 * X, 0.1, "inputs"),
    ):
        report = net.inspect(x, y, vg.SGD(lr), 2000)
        assert (report.verdict, report.fault) == ("stalled", fault), str(report)
        assert report.remedies[0].endswith("(healthy)"), str(report)
        assert {
            "weights": "The weights are at fault",
            "learning rate": "The learning rate, 0.0001, is at fault",
            "inputs": "The inputs are at fault, whose largest value is 0.012",
        }[fault] in report.explanation
    said = well.inspect(X, y, vg.SGD(1e-4), 2000).remedies
    [rate] = [one for one in said if one.startswith("lr=")]
    well.fit(X, y, epochs=64, optimizer=vg.SGD(float(rate[3:].partition(":")[0])))
    assert well.evaluate(X, y).loss < 0.9 * np.log(2)


@pytest.mark.slow
def test_verdicts_come_true():
    """Of 65 nets with steps of 0.3 or less, 9 in 10 of those that stay at chance are not called healthy, and 9 in 10 of
    those that learn are. (``benchmarks/bench_verdicts.py`` draws more, and longer steps.)"""
    found = drawn_nets.count(range(100, 180), most_rate=0.31)
    assert found.stay + found.learn >= 60
    assert min(found.shares) >= 0.9, (found.shares, found.wrong)


@pytest.mark.parametrize(("moved", "promised", "stalls"), [(0.99, 0.19, True), (1.01, 0.0, False), (0.0, 0.21, False)])
def test_either_is_enough_to_leave(moved, promised, stalls):
    assert stalled.Reach(np.array([moved / 2, moved / 2]), promised, 0.1).stalls == stalls
