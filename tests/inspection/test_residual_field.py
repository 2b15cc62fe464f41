"""Theory of nets with residual connections against closed forms, and against nets 400 wide."""

import itertools
import math

import numpy as np
import pytest

import vgfast as vg
from vgfast.inspection import mean_field
from vgfast.inspection.residual_field import through
from vgfast.model.engine_numpy import textbook

BLOCKS, WIDTH, ROWS = 8, 400, 40
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(ROWS, WIDTH)), RNG.integers(0, 10, ROWS)
ACTIVATIONS = pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])


def make(activation, kind, dropout=0.0, blocks=BLOCKS):
    sizes = [WIDTH, *[WIDTH] * (1 + blocks * kind.every), 10]
    return vg.MLP(sizes, activation, init="he_normal", rng=0, residual=kind, dropout=dropout)


def check_gains(net, every):
    """Within 3 %, as the mean over the blocks, at each place in a block. One gain² of 1 + G deviates by
    sqrt(5 / n) G = 0.11 G at most (Hanin's chance, of rows that are all alike): the mean gain of eight by 2 %."""
    layers = net.inspect(X, Y, try_remedies=False).layers[:-1]
    ratios = np.log(layers.gain / layers.predicted_gain)
    for place in range(every):
        assert abs(float(ratios[:-1][place::every].mean())) < math.log(1.03)
    assert abs(float(ratios[-1])) < math.log(1.03)
    assert np.isnan(layers.predicted_low).all()


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(
    "kind", [vg.residual(every, scale) for every, scale in itertools.product((1, 2), (1.0, "1/sqrt(L)"))], ids=str
)
@ACTIVATIONS
def test_wide_nets_have_the_predicted_gains(activation, kind, dropout):
    check_gains(make(activation, kind, dropout), kind.every)


@ACTIVATIONS
@pytest.mark.parametrize("every", [1, 2])
def test_scales_that_were_learned(activation, every):
    net = make(activation, vg.residual(every, "rezero"))
    for l, scale in enumerate(net._engine.scales.values()):
        scale[...] = 0.5 * (-1) ** l
    check_gains(net, every)


@ACTIVATIONS
def test_rezero_begins_with_a_gain_of_exactly_1(activation):
    net = make(activation, vg.residual(scale="rezero"))
    layers = net.inspect(X, Y, try_remedies=False).layers[:-2]
    assert layers.predicted_gain.tolist() == [1.0] * BLOCKS
    np.testing.assert_allclose(layers.gain, 1, rtol=1e-6)
    # Around two layers: nothing goes into a block, all of it comes out.
    report = make(activation, vg.residual(2, "rezero")).inspect(X, Y, try_remedies=False)
    assert "nan" not in str(report)
    layers = report.layers[:-2]
    assert layers.predicted_gain.tolist() == layers.gain.tolist() == [math.inf, 0.0] * BLOCKS
    np.testing.assert_allclose(layers.delta_norm[::2], layers.delta_norm[0], rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, "1/sqrt(L)"])
@pytest.mark.parametrize("every", [1, 2])
@ACTIVATIONS
def test_activities_grow_as_predicted(activation, every, scale):
    """From what layer 1 makes of inputs of mean square 1, over all blocks within 3 %; and the net's prediction is that
    of its blocks."""
    kind = vg.residual(every, scale)
    net = make(activation, kind)
    made = textbook(net._engine).forward(X.astype(np.float32))[1]
    sizes = [float(np.sqrt(np.square(a, dtype=float).mean())) for a in made[1::every][: BLOCKS + 1]]
    first = made[1].astype(float)
    blocks = through(activation, BLOCKS, kind, 2.0, square=np.square(first).mean(), mean=first.mean())
    assert sizes[-1] / sizes[0] == pytest.approx(float(np.prod(blocks["activity_gain"])), rel=0.03)
    predicted = mean_field.predict(net, X)["predicted_gain"][:-2]
    found = np.prod(predicted.reshape(BLOCKS, every), axis=1)
    np.testing.assert_allclose(found, blocks["gain"], rtol=0.02)


def test_closed_forms():
    """Of ReLU, D = 1/2 and M = q / 2; of identity, 1 and q."""
    for scale, sw2 in ((1.0, 2.0), (0.5, 3.0)):
        found = through("relu", 3, vg.residual(scale=scale), sw2)
        np.testing.assert_allclose(found["gain"], math.sqrt(1 + scale**2 * sw2 / 2), rtol=1e-14)
    np.testing.assert_allclose(through("relu", 1, vg.residual(), 2.0)["activity_gain"], math.sqrt(2), rtol=1e-14)
    mean = 1 / math.sqrt(math.pi)  # E max(z, 0) at q = 2
    assert through("relu", 1, vg.residual(), 2.0, mean=0.5)["activity_gain"][0] ** 2 == pytest.approx(2 + mean)
    both = through("identity", 100, vg.residual(3, "1/sqrt(L)"), 1.0)
    for name in both.dtype.names:
        np.testing.assert_allclose(both[name], math.sqrt(1.01), rtol=1e-14)


def test_no_depth_leaves_the_range():
    for scale in (1.0, "1/sqrt(L)"):
        net = vg.MLP([5, *[6] * 1000, 2], "relu", init="he_normal", rng=0, residual=vg.residual(scale=scale))
        assert np.isfinite(mean_field.predict(net, np.eye(5))["predicted_gain"][:-1]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("tahn", 1, vg.residual(), 1.0), ValueError, "unknown activation 'tahn'; did you mean 'tanh'"),
        (("tanh", 0, vg.residual(), 1.0), ValueError, "n_blocks must be at least 1, got 0"),
        (("tanh", 1, True, 1.0), TypeError, r"residual must be vg.residual\(...\), got True"),
        (("tanh", 1, vg.residual(), -1.0), ValueError, "sw2 must be at least 0 and finite, got -1"),
        (("tanh", 1, vg.residual(), 1.0, 0.0, 1.0, "x"), TypeError, "mean must be a number, got 'x'"),
    ],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        through(*arguments)
