"""The lesson on isometry: its claim holds for the nets it was made for, and where weights squeeze, or rates are wrong,
it says so."""

import copy

import numpy as np
import pytest

import vgfast as vg
from vgfast import lessons
from vgfast.lessons import isometry

pytestmark = pytest.mark.slow  # trains nets, for some seconds in all

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def found():
    return isometry.measure(quick=True)


@pytest.fixture
def other(found):
    return copy.deepcopy(found)


def told(found):
    holds, sentences = isometry.conclude(found)
    return holds, " ".join(sentences)


def test_the_claim_holds(found):
    holds, sentences = told(found)
    assert holds
    assert "NOT" not in sentences
    assert "Through 100 layers of orthogonal weights" in sentences


def test_both_train_for_as_many_epochs(found):
    turned, normal, _ = found["depths"][0]["nets"].values()
    assert len(turned["loss"]) == len(normal["loss"]) < 1 + isometry.EPOCHS
    assert turned["loss"][-2] > turned["loss"][0] / 2 >= turned["loss"][-1]


def test_each_image_is_of_mean_square_1():
    X, y = isometry.images()
    np.testing.assert_allclose(np.mean(X**2, axis=1), 1, rtol=1e-5)
    assert X.shape == (len(y), isometry.WIDTH)


def test_the_jacobian_is_that_of_the_hidden_layers(rng):
    """As products of its factors have it, in float64: the net computes in float32, of which 1e-7 a layer is a bound."""
    net = vg.MLP([64, 64, 64, 64, 10], "tanh", init=vg.init.critical(q=0.5, orthogonal=True), rng=0)
    row = rng.normal(size=64).astype(np.float32)
    jacobian, a = np.eye(64), row.astype(np.float64)
    for w, b in zip(net.weights[:3], net.biases[:3], strict=True):
        a = np.tanh(a @ w.astype(np.float64) + b)
        jacobian = jacobian @ w * (1 - a**2)
    values = np.linalg.svd(jacobian, compute_uv=False)
    np.testing.assert_allclose(isometry.singular_values(net, row[None]), [values], rtol=1e-5)


def test_the_jacobian_of_a_residual_net(rng):
    """Of each block I + scale W diag(relu'), after a first layer that is linear."""
    net, row = isometry.initial("ReZero", 4, 1.0, 0), rng.normal(size=64).astype(np.float32)
    scales = [value for name, value in net.parameters().items() if name.endswith("scale")]
    assert scales == [0, 0, 0]
    for scale in scales:
        scale[...] = 0.5
    a = row.astype(np.float64) @ net.weights[0]
    jacobian = net.weights[0].astype(np.float64)
    for w in net.weights[1:4]:
        z = a @ w.astype(np.float64)
        jacobian = jacobian @ (np.eye(64) + 0.5 * w * (z > 0))
        a = a + 0.5 * np.maximum(z, 0)
    values = np.linalg.svd(jacobian, compute_uv=False)
    assert values[0] / values[-1] > 1.5
    np.testing.assert_allclose(isometry.singular_values(net, row[None]), [values], rtol=1e-5)


def test_a_layer_with_a_way_around_passes_on_what_it_gets(found):
    """To the bit before training; the singular values are then those of the first layer's orthogonal weights."""
    net = found["depths"][0]["nets"]["ReZero"]
    assert net["hidden"] == [1.0, 1.0]
    np.testing.assert_allclose(net["values"], 1, rtol=1e-5)
    assert net["loss"][-1] <= net["loss"][0] / 2
    assert net["accuracy"] > 0.8


def test_a_net_that_was_not_given_orthogonal_weights_of_this_q(monkeypatch):
    """Where z is as large as that, tanh squeezes as normal weights do."""
    monkeypatch.setattr(isometry, "EPOCHS", 1)
    holds, sentences = told(isometry.measure(quick=True, spread=300))
    assert not holds
    assert "the Jacobian is NOT nearly a rotation" in sentences
    assert "NOT half to twice as much" in sentences


def test_a_rate_that_is_too_low(monkeypatch):
    monkeypatch.setattr(isometry, "EPOCHS", 1)
    found = isometry.measure(quick=True, rate=1e-6)
    before, after = found["depths"][0]["nets"]["orthogonal"]["loss"]
    assert after == pytest.approx(before, rel=0.01)
    holds, sentences = told(found)
    assert not holds
    assert "With orthogonal weights, in 1 epoch, " in sentences
    assert sentences.count("was NOT halved") == 2


def test_a_training_that_diverges_is_told(other, monkeypatch):
    data = np.full((4, 64), 1e30), np.full((4, 64), 1e30), np.arange(4), np.arange(4)
    net = vg.MLP([64, 64, 10], "identity", init=vg.init.normal(1.0), rng=0)
    other["depths"][0]["nets"]["orthogonal"] |= isometry.trained(net, list(data), 1e20, 2, True)
    holds, sentences = told(other)
    assert not holds
    assert "to inf and was NOT halved" in sentences


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda turned, normal: turned.update(condition=[2.0, 4.5]), "NOT nearly a rotation"),
        (lambda turned, normal: normal.update(condition=[9e5, 1e9]), "9e+05 times the smallest, which is NOT above"),
        (lambda turned, normal: turned.update(total=0.4), "0.4 of the last layer's |delta|, NOT half to twice"),
        (lambda turned, normal: turned.update(total=2.1), "2.1 of the last layer's |delta|, NOT half to twice"),
        (lambda turned, normal: turned.update(loss=[2.3, 1.2]), "from 2.300 to 1.200 and was NOT halved"),
        (lambda turned, normal: normal.update(loss=[2.3, 1.1]), "halved too, which is NOT as claimed"),
    ],
)
def test_what_comes_out_otherwise(other, change, sentence):
    nets = other["depths"][0]["nets"]
    change(nets["orthogonal"], nets["normal"])
    holds, sentences = told(other)
    assert not holds
    assert sentence in sentences


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden": [1 - 2**-24, 1.0]}, "the gain of each of 99 layers is NOT exactly 1 but 0.99999994 to 1, and"),
        ({"loss": [2.5, 1.3]}, "from 2.500 to 1.300 and was NOT halved."),
    ],
)
def test_what_comes_out_otherwise_of_rezero(other, change, sentence):
    other["depths"][0]["nets"]["ReZero"] |= change
    holds, sentences = told(other)
    assert not holds
    assert sentence in sentences


def test_the_deep_one_is_of_rezero_alone(monkeypatch):
    monkeypatch.setattr(isometry, "DEEP", 5)
    result = lessons.run("isometry", deep=True)
    (each,) = result["found"]["depths"]
    assert (each["layers"], list(each["nets"])) == (5, ["ReZero"])
    assert len(result["saw"]) == 1
    assert result["deep"]
    assert not result["quick"]


def test_the_table_and_the_picture_have_both_nets(found):
    headings, rows, _ = isometry.table(found)
    assert [row[0] for row in rows] == ["100, orthogonal", "100, normal", "100, ReZero"]
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    figure = pytest.importorskip("matplotlib.figure").Figure()
    isometry.draw(found, figure)
    values, losses = figure.axes
    assert [len(axes.lines) for axes in (values, losses)] == [4, 3]
    assert len(values.lines[0].get_xdata()) == isometry.WIDTH
