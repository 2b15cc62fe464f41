"""What inspection reports, against the textbook and of nets whose state is known."""

import json

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference
from vgfast.model.quantities import RECORD
from vgfast.training.records import over_time


@pytest.mark.parametrize(
    "optimizer", [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "clip_norm": 0.01, "weight_decay": 0.01}]
)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_inspection_is_the_textbooks(isa, dtype, activation, optimizer, digits):
    """Each quantity, in fit and in inspect; norms are sums of up to 64 x 40 roundings of eps."""
    X, y = digits[0][:200], digits[1][:200]
    nets = [kind([64, 40, 30, 10], activation, dtype=dtype, rng=2) for kind in (vg.MLP, reference.MLP)]
    histories = [net.fit(X, y, epochs=1, batch_size=32, optimizer=vg.SGD(**optimizer), inspect_every=3) for net in nets]
    assert histories[0].steps.tolist() == histories[1].steps.tolist() == [0, 3, 6]
    reports = [net.inspect(X, y, vg.SGD(**optimizer)).records[None] for net in nets]
    for got, want in ((histories[0].gradients, histories[1].gradients), reports):
        for name in RECORD.names:
            # A weight at the edge of half an ulp may go either way.
            atol = 3 / 300 if name in ("frozen", "zero", "saturated") else 0
            np.testing.assert_allclose(got[name], want[name], rtol=3000 * np.finfo(dtype).eps, atol=atol, err_msg=name)


def test_the_ledger_adds_up(digits):
    report = vg.MLP([64, *[30] * 8, 10], "sigmoid", rng=0).inspect(*digits)
    r = report.records
    np.testing.assert_allclose(r["weight_gain"][:-1] * r["activation_gain"][:-1], r["gain"][:-1], rtol=1e-12)
    np.testing.assert_allclose(np.prod(r["gain"][:-1]), r["delta_norm"][0] / r["delta_norm"][-1], rtol=1e-12)
    assert (r["activation_gain"][:-1] <= 0.25).all()  # the largest derivative of a sigmoid
    assert np.isnan(r["gain"][-1])


def test_inspect_tells_the_step_that_follows(digits):
    """update_ratio and frozen, from what a step then does to the weights; with velocity from before."""
    X, y = digits
    net, optimizer = vg.MLP([64, 30, 10], rng=0), vg.SGD(lr=1e-6, momentum=0.9)
    net.step(X, y, optimizer)
    before = net.copy()
    report = net.inspect(X, y, optimizer)
    np.testing.assert_array_equal(net.params, before.params)
    net.step(X, y, optimizer)
    for layer, old, new in zip(report.layers, before.weights, net.weights, strict=True):
        assert layer.frozen == (old == new).mean() > 0
        assert layer.update_ratio == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=0.2)


def test_vanished_gradients_are_not_flushed():
    """Sixty sigmoid layers: the float32 gradient of layer 1 lives among the subnormals, then dies."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 10)), rng.integers(0, 2, 50)
    report = vg.MLP([10, *[20] * 64, 2], "sigmoid", init="lecun_normal", rng=0).inspect(X, y)
    assert (report.records["subnormal"] > 0.5).any()
    assert 0 < report.records["delta_norm"][0] < np.finfo(np.float32).smallest_normal
    # float64 continues where float32 ends
    wide = vg.MLP([10, *[20] * 64, 2], "sigmoid", init="lecun_normal", rng=0, dtype="float64").inspect(X, y)
    np.testing.assert_allclose(report.records["delta_norm"][10:], wide.records["delta_norm"][10:], rtol=1e-2)
    assert (wide.records["subnormal"] == 0).all()


def test_verdicts(digits):
    X, y = digits
    deep = [64, *[30] * 8, 10]
    found = {
        "vanishing": vg.MLP(deep, "sigmoid", init="lecun_normal", rng=0).inspect(X, y, vg.SGD(lr=10.0)),
        "frozen": vg.MLP(deep, "relu", rng=0).inspect(X, y, vg.SGD(lr=1e-9)),
        "exploding": vg.MLP(deep, "relu", init=vg.init.normal(1.0), rng=0).inspect(X, y, vg.SGD(lr=0.1)),
        "healthy": vg.MLP(deep, "relu", rng=0).inspect(X, y, vg.SGD(lr=0.1)),
    }
    for verdict, report in found.items():
        assert report.verdict == verdict
        assert f"{verdict}: " in str(report)
        assert bool(report.remedies) == (verdict != "healthy")
        assert max(map(len, str(report).splitlines())) <= 80
        json.dumps(report.to_dict(), allow_nan=False)
        assert report._repr_html_().count("<tr>") == len(deep)
    assert "relu" in " ".join(found["vanishing"].remedies)
    # the remedy is a cure
    assert found["healthy"].numbers["total_gain"] > 1000 * found["vanishing"].numbers["total_gain"]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("bias", [-18, 18, 40])
def test_saturated_units_are_not_dead(isa, dtype, activation, bias, rng):
    """Where the output is rounded to 1, the derivative is small but not 0, and so is the gradient."""
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    nets = [kind([4, 6, 5, 3], activation, dtype=dtype, rng=0) for kind in (vg.MLP, reference.MLP)]
    for net in nets:
        net.biases[0][...] = bias
    got, want = (net.inspect(X, y).records for net in nets)
    assert got["dead"][0] == 0
    assert got["saturated"][0] == 1
    assert 0 < got["grad_norm"][0] < 1e-7
    for name in ("mean_derivative", "grad_norm", "delta_norm", "gain"):
        np.testing.assert_allclose(got[name], want[name], rtol=3000 * np.finfo(dtype).eps)


def test_nothing_passes_zero_weights(rng):
    report = vg.MLP([4, 6, 5, 3], init="zeros").inspect(rng.normal(size=(9, 4)), np.arange(9) % 3)
    assert report.verdict == "dead"
    assert "Nothing reaches layer 2: the weights of layer 3 pass on 0." in report.explanation
    assert report.remedies[0].startswith("new first weights, init='auto': gain over all layers")


def test_dead_units_are_told(digits):
    X, y = digits
    net = vg.MLP([64, 20, 10], rng=0)
    net.biases[0] = np.full(20, -1e3)
    report = net.inspect(X, y)
    assert report.layers[0].dead == 1.0
    assert report.layers[0].zero == 1.0
    assert (report.verdict, report.layer) == ("dead", 1)
    assert "Nothing passes layer 1" in report.explanation
    assert "biases of 0" in " ".join(report.remedies)


def test_a_net_with_nothing_left_to_learn():
    X, y = np.eye(3), np.eye(3)[:, :2]
    net = vg.MLP([3, 2], "relu", "mse", init="zeros", dtype="float64")
    net.weights[0] = np.linalg.lstsq(X, y, rcond=None)[0]
    report = net.inspect(X, y)
    assert report.loss == 0
    assert report.verdict == "healthy"
    assert "nothing left to learn" in report.explanation


def test_weights_that_only_decay_are_not_stuck(rng):
    X = np.zeros((20, 40))
    X[:, :2] = rng.normal(size=(20, 2))
    report = vg.MLP([40, 2], rng=0).inspect(X, np.arange(20) % 2, vg.SGD(lr=0.1, weight_decay=0.1))
    assert report.layers[0].zero == 0.95
    assert report.layers[0].frozen == 0
    assert report.layers[0].stuck == 0
    assert "no layer has more than 0.0% of its weights stuck" in report.explanation


def test_over_time_keeps_the_ledger(digits):
    history = vg.MLP([64, 20, 20, 10], "tanh", rng=0).fit(*digits, epochs=1, inspect_every=5)
    mean = over_time(history.gradients)
    np.testing.assert_allclose(mean["weight_gain"][:-1] * mean["activation_gain"][:-1], mean["gain"][:-1], rtol=1e-12)


def test_over_time_of_small_batches():
    """A step without a gradient in a narrow layer does not make the means 0, nor a batch of one row the noise NaN."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(201, 2)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    history = vg.MLP([2, 8, 4, 2], rng=0).fit(X, y, 30, 4, vg.SGD(lr=0.02), inspect_every=1)
    assert (history.gradients["delta_norm"] == 0).any()
    mean = over_time(history.gradients)
    assert (mean["grad_norm"] > 0).all()
    assert not np.isnan(mean["noise_scale"]).any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_exponents_are_counted_in_any_dtype_of_the_textbook(dtype, rng):
    """As many entries as weights, each where its exponent is; float16 has 32 exponents."""
    net = reference.MLP([4, 6, 3], dtype=dtype, rng=0)
    X, y = rng.normal(size=(9, 4)), np.arange(9) % 3
    exponents = net.inspect(X, y, try_remedies=False, inspect="histograms").exponents
    assert exponents.sum(axis=1).tolist() == [w.size for w in net.weights]
    bias = 1 - int(np.finfo(dtype).minexp)
    for counts, dw in zip(exponents, net.gradients(X, y).weights, strict=True):
        found = np.flatnonzero(counts[1:]) + 1
        size = np.abs(dw[np.abs(dw) >= np.finfo(dtype).smallest_normal]).astype(np.float64)
        np.testing.assert_array_equal(found, np.unique(np.floor(np.log2(size)).astype(int) + bias))
