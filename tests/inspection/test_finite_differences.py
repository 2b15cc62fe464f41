"""One gradient against finite differences of the loss: what they agree on, at kinks, and how far off they may be."""

import re

import numpy as np
import pytest
from traced_nets import X3, make

import vgfast as vg
from vgfast import _core
from vgfast.inspection import finite_differences, paths

NORMS = vg.norm.batch, vg.norm.layer, vg.norm.rms


def batch(loss, rows=20):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(rows, 3))
    return X, rng.integers(0, 2, rows) if loss == "cross_entropy" else rng.uniform(size=(rows, 2))


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_back_propagation_agrees_with_finite_differences(dtype, activation, loss):
    """And both estimates hold against the textbook's gradient in float64, and are small enough to tell something."""
    X, y = batch(loss)
    for seed, (layer, i, j) in enumerate([(1, 0, 1), (2, 3, 2), (3, 1, 4), (4, 4, 0)]):
        net = make(activation, loss, dtype, seed=seed)
        found = net.check_gradient(layer, i, j, X, y)
        plain = paths.float64_copy(net._engine)
        x, t = net._batch(X, y)
        exact = plain.architecture.views(plain.backward(x, t).gradient)[0][layer - 1][i, j]
        assert found.agrees, str(found)
        assert not found.kink
        assert found.analytic == net.gradients(X, y).weights[layer - 1][i, j]
        assert found.difference == abs(found.analytic - found.numeric)
        assert abs(found.numeric - exact) <= found.error <= 1e-6 * abs(exact) + 1e-9
        assert abs(found.analytic - exact) <= found.rounding <= 1000 * np.finfo(dtype).eps * (abs(exact) + 0.01)


@pytest.mark.parametrize("way", [None, vg.residual(scale="1/sqrt(L)"), vg.residual(2, "rezero")], ids=str)
@pytest.mark.parametrize("norm", [None, *(f(p) for f in NORMS for p in vg.norm.PLACES)], ids=str)
def test_with_normalization_and_residual_connections(dtype, norm, way):
    """Of the loss of the whole batch, with what each unit and row does to all others of its layer."""
    X, y = batch("cross_entropy")
    for seed, (layer, i, j) in enumerate([(1, 0, 1), (2, 3, 2), (4, 4, 0)]):
        first = vg.init.lecun_normal(bias_std=0.5)
        net = vg.MLP([3, 5, 5, 5, 2], "tanh", init=first, dtype=dtype, rng=seed, normalization=norm, residual=way)
        rng = np.random.default_rng(seed)
        for name, part in net.parameters().items():
            if "norm" in name or "scale" in name:
                part[...] += 0.3 * rng.normal(size=part.shape)
        found = net.check_gradient(layer, i, j, X, y)
        plain = paths.float64_copy(net._engine)
        exact = plain.architecture.views(plain.backward(*net._batch(X, y)).gradient)[0][layer - 1][i, j]
        assert found.agrees, str(found)
        assert found.analytic == net.gradients(X, y).weights[layer - 1][i, j]
        assert abs(found.numeric - exact) <= found.error <= 1e-6 * abs(exact) + 1e-9
        assert abs(found.analytic - exact) <= found.rounding <= 2000 * np.finfo(dtype).eps * (abs(exact) + 0.01)


def test_a_closed_block_and_a_large_mean_and_a_kink_behind_a_normalization():
    X, y = batch("cross_entropy")
    net = vg.MLP([3, 4, 4, 2], "tanh", rng=0, residual=vg.residual(scale="rezero"), normalization="layer")
    found = net.check_gradient(2, 1, 1, X, y)
    assert found.agrees
    assert found.analytic == found.numeric == 0
    net = vg.MLP([3, 4, 4, 2], "sigmoid", rng=0, normalization="batch")
    assert net.check_gradient(1, 0, 1, 1e4 + X, y).agrees
    net = vg.MLP([2, 2, 2, 2], "relu", rng=0, normalization=vg.norm.rms(affine=False), dtype="float64")
    net.biases[0] = -np.ones(2) @ net.weights[0]
    assert net.check_gradient(1, 0, 0, np.ones((1, 2)), [0]).kink


def test_of_one_row_there_is_no_batch_norm():
    net = vg.MLP([3, 4, 2], normalization="batch", rng=0)
    with pytest.raises(ValueError, match="at least 2 rows in a batch"):
        net.check_gradient(1, 0, 0, np.ones((1, 3)), [0])


def test_a_wrong_gradient_through_a_normalization_is_found(monkeypatch):
    """Of a layer that shares its mean with others: forgotten, that is wrong by more than rounding."""
    X, y = batch("cross_entropy")
    net, other = (vg.MLP([3, 5, 5, 2], "tanh", dtype="float64", rng=0, normalization=kind) for kind in ("layer", "rms"))
    right = finite_differences.take_gradients
    monkeypatch.setattr(finite_differences, "take_gradients", lambda engine, x, t: right(other._engine, x, t))
    assert not net.check_gradient(2, 2, 1, X, y).agrees


@pytest.mark.parametrize("wrong", [1e-4, -1e-3])
def test_a_wrong_gradient_is_found(dtype, wrong, monkeypatch):
    right = finite_differences.take_gradients

    def broken(engine, x, t):
        found = right(engine, x, t)
        found.weights[1][2, 1] *= 1 + wrong
        return found

    X, y = batch("cross_entropy")
    net = make(dtype=dtype)
    assert net.check_gradient(2, 2, 1, X, y).agrees
    monkeypatch.setattr(finite_differences, "take_gradients", broken)
    found = net.check_gradient(2, 2, 1, X, y)
    assert not found.agrees
    assert "DISAGREE" in str(found)


def kinked(z, activation="relu"):
    """(net, X, y): w_1 = 1, b_1 = z - 1, x = 1, so that z_1 = z."""
    net = vg.MLP([1, 1, 1], activation, "mse", init="zeros", dtype="float64")
    net.weights[0], net.biases[0], net.weights[1] = [[1.0]], [z - 1], [[1.0]]
    return net, [[1.0]], [1.0]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_kinks(activation):
    found = kinked(0.0, activation)[0].check_gradient(1, 0, 0, [[1.0]], [1.0])
    left, right = {"relu": (0, -2), "leaky_relu": (-0.02, -2)}[activation]
    assert found.kink
    assert found.analytic == left
    assert found.numeric == pytest.approx((left + right) / 2, abs=1e-6)
    assert found.error == pytest.approx((left - right) / 2, abs=1e-6)
    assert "At a kink" in str(found)
    net, X, y = kinked(0.0, "tanh")
    assert not net.check_gradient(1, 0, 0, X, y).kink


@pytest.mark.parametrize("z", [0.01, -0.01, 1e-5])
def test_steps_stay_between_kinks(z):
    net, X, y = kinked(z)
    found = net.check_gradient(1, 0, 0, X, y)
    assert not found.kink
    assert found.step < abs(z)
    assert found.agrees
    assert found.error < 1e-8
    assert found.numeric == pytest.approx(2 * (z - 1) if z > 0 else 0, abs=1e-8)


def test_a_kink_of_one_row_of_many():
    net, _, y = kinked(0.0)
    assert net.check_gradient(1, 0, 0, [[1.0], [2.0], [3.0]], y * 3).kink
    found = net.check_gradient(1, 0, 0, [[1.0001], [2.0], [3.0]], y * 3)
    assert not found.kink
    assert found.agrees
    assert found.step < 1e-4


@pytest.mark.parametrize("powers", [1, 2, 3])
def test_extrapolation_takes_away_three_powers(powers):
    """Of a series whose terms shrink, so that each level is better than the one before."""
    h = 4.0 ** -np.arange(powers + 1)
    slopes = 1 + sum(0.01**m * h ** (2 * m + 2) for m in range(powers))
    value, error, step = finite_differences._extrapolated(slopes, h, np.full(len(h), 1e-16))
    assert abs(value - 1) < 1e-14 < error
    assert step == h[-1]
    more = np.append(np.inf, slopes), np.append(1e9, h), np.full(len(h) + 1, 1e-16)  # a step that overflowed
    assert finite_differences._extrapolated(*more) == (value, error, step)


def test_a_kink_further_on_and_one_that_the_weight_does_not_move():
    net = vg.MLP([2, 2, 1, 1], ["identity", "relu"], "mse", init="zeros", dtype="float64")
    net.weights[0], net.weights[1], net.weights[2] = np.eye(2), [[1.0], [0.0]], [[1.0]]
    assert net.check_gradient(1, 0, 0, [[1.0, 1.0]], [2.0]).kink is False
    net.biases[1] = [-1.0]
    assert net.check_gradient(1, 0, 0, [[1.0, 1.0]], [2.0]).kink is True
    assert net.check_gradient(1, 0, 1, [[1.0, 1.0]], [2.0]).kink is False


def test_a_weight_that_does_not_enter_the_loss_and_one_too_small_to_measure():
    net = make("sigmoid")
    found = net.check_gradient(1, 0, 0, X3 * [0, 1, 1], [0, 1])
    assert found[:5] == (0, 0, 0, 0, 0)
    assert found.agrees
    deep = vg.MLP([3, *[3] * 30, 2], "sigmoid", dtype="float64", rng=0)
    found = deep.check_gradient(1, 0, 0, X3, [0, 1])
    assert found.agrees
    assert found.error > abs(found.analytic) > 0
    assert "says little" in str(found)
    assert max(map(len, str(found).splitlines())) <= 80


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("rows", [1, 20])
def test_the_errors_hold_in_a_net_that_fits(dtype, loss, rows):
    """There the loss is a small difference of large numbers, and p - y too."""
    X, y = batch(loss, rows)
    for seed in range(5):
        net = make("tanh", loss, dtype, seed=seed)
        net.weights[3] *= 10 if loss != "mse" else 1
        y = net.predict(X) + (1e-6 if loss == "mse" else 0)
        found = net.check_gradient(2, 1, 1, X, y)
        plain = paths.float64_copy(net._engine)
        exact = plain.architecture.views(plain.backward(*net._batch(X, y)).gradient)[0][1][1, 1]
        assert found.agrees, str(found)
        assert abs(found.numeric - exact) <= found.error
        assert abs(found.analytic - exact) <= found.rounding


def test_the_check_is_the_same_each_time_and_changes_nothing():
    net, (X, y) = make("relu", dtype="float32"), batch("cross_entropy")
    before, state = net.params.copy(), net._rng.bit_generator.state
    assert net.check_gradient(1, 0, 0, X, y) == net.check_gradient(1, 0, 0, X, y)
    np.testing.assert_array_equal(net.params, before)
    assert net._rng.bit_generator.state == state
    for bad, word in [((5, 0, 0), "layer"), ((1, 3, 0), "i, one"), ((1, 0, 4), "j, one")]:
        with pytest.raises(ValueError, match=word):
            net.check_gradient(*bad, X, y)
    with pytest.raises(ValueError, match=re.escape("X must have 3 columns")):
        net.check_gradient(1, 0, 0, X[:, :2], y)
