"""The lesson on the ways out: each does what is claimed of it, and where one does not, the sentences say so."""

import copy

import numpy as np
import pytest

from vgfast import datasets
from vgfast.lessons import cures

pytestmark = pytest.mark.slow  # trains nets, for some seconds in all

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def found():
    return cures.measure(quick=True)


@pytest.fixture
def other(found):
    return copy.deepcopy(found)


def told(found):
    holds, sentences = cures.conclude(found)
    return holds, " ".join(sentences)


def test_the_claim_holds(found):
    holds, sentences = told(found)
    assert holds, sentences
    assert "NOT" not in sentences
    assert all(name in sentences for name in cures.WAYS)


def test_what_is_left_is_the_product_of_the_gains(found):
    for name, of in found["ways"].items():
        assert of["total"] == pytest.approx(of["gain"] ** 8, rel=1e-6), name


def test_unit_variance_is_no_cure(found):
    """E[phi'²] / E[phi²] of a sigmoid at q = 1 would be 0.1528 without a mean that grows into z: near it, no more."""
    assert found["ways"]["unit variance (lsuv)"]["predicted"] == pytest.approx(0.1528**0.5, rel=0.02)


def test_layer_norm_before_a_sigmoid_leaves_the_gain_small(found):
    """sqrt(E[phi'²] / E[phi²]) of z of variance 1 is 0.39, and with the mean taken away after phi it is above 1."""
    assert found["ways"]["layer norm before"]["predicted"] == pytest.approx(0.1528**0.5, rel=0.05)
    assert found["ways"]["layer norm after"]["predicted"] > 1


def test_residual_connections_keep_what_comes_back(found):
    """Blocks whose scale begins with 0 pass back exactly what they get; only the output layer's weights change it."""
    net = cures.WAYS["residual (ReZero)"].net(datasets.digits().X[:200], 0)
    gains = net.inspect(*datasets.digits()[:2], try_remedies=False).layers["gain"][:-2]
    assert found["ways"]["residual (ReZero)"]["total"] == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(gains, 1, rtol=1e-6)


def test_each_way_is_a_net_of_the_same_sizes():
    X = datasets.digits().X[:200]
    for name, way in cures.WAYS.items():
        if name != "pre-trained (RBMs)":
            net, again = way.net(X, 3), way.net(X, 3)
            assert list(net.sizes) == cures.SIZES, name
            np.testing.assert_array_equal(net.params, again.params)
            assert not np.array_equal(net.params, way.net(X, 4).params), name


def test_a_way_that_is_said_to_cure_and_does_not(monkeypatch):
    monkeypatch.setitem(cures.WAYS, "as it is", cures.Way(cures.deep(), cures=True))
    monkeypatch.setattr(cures, "EPOCHS", 2)
    holds, sentences = told(cures.measure(names=("as it is", "unit variance (lsuv)")))
    assert not holds
    assert "come NOT all of: as it is " in sentences
    assert "do NOT tell beforehand which is which" in sentences


def test_a_way_that_diverges_is_told(other):
    data = datasets.digits()
    rows = [data.X[:64], data.X[64:128], data.y[:64], data.y[64:128]]
    run = cures.trained(cures.WAYS["relu, He"].net(data.X, 0), 1e6, rows)
    assert run == {"accuracy": None, "step": None}
    other["ways"]["relu, He"] |= {"accuracy": [None, None], "diverged": [1, 1], "step": None}
    holds, sentences = told(other)
    assert not holds
    assert "relu, He diverged" in sentences
    assert [row[-3:] for row in cures.table(other).rows if row[0] == "relu, He"] == [("diverged", "diverged", "-")]
    cures.draw(other, pytest.importorskip("matplotlib.figure").Figure())


def test_a_seed_that_diverges_is_told_and_its_rate_is_not_counted(other):
    other["ways"]["relu, He"] |= {"accuracy": [0.96, 0.98], "diverged": [0, 2]}
    holds, sentences = told(other)
    assert holds
    assert "relu, He 96.0 %, " in sentences
    assert [row[-3:-1] for row in cures.table(other).rows if row[0] == "relu, He"] == [("96.0 %", "98.0 %, 2 diverged")]
    other["ways"]["relu, He"]["diverged"] = [1, 2]
    holds, sentences = told(other)
    assert not holds
    assert "relu, He 96.0 %, 1 diverged" in sentences


def test_what_diverges_in_a_measurement_is_none_and_counted(monkeypatch):
    monkeypatch.setattr(cures, "EPOCHS", 1)
    monkeypatch.setattr(cures, "RATES", (0.05, 1e6))
    of = cures.measure(quick=True, names=("relu, He",))["ways"]["relu, He"]
    assert of["diverged"] == [0, 1]
    assert of["accuracy"][0] > 0
    assert of["accuracy"][1] is None


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("as it is", {"accuracy": [0.1, 0.51]}, "Below 50% at both rates do NOT stay: as it is 51.0 %"),
        ("tanh, critical", {"accuracy": [0.94, 0.1]}, "To 95% at one of the rates come NOT all of"),
        ("relu, He", {"gain": 1.3}, "The gains that theory predicts are NOT right to"),
        ("relu, He", {"gain": 0.3, "predicted": 0.3}, "do NOT tell beforehand which is which"),
    ],
)
def test_what_comes_out_otherwise(other, name, change, sentence):
    other["ways"][name].update(change)
    holds, sentences = told(other)
    assert not holds
    assert sentence in sentences


def test_gains_of_weights_that_were_taught_are_not_foretold(other):
    other["ways"]["pre-trained (RBMs)"].update(predicted=0.01)
    assert told(other)[0]


def test_the_table_and_the_picture_have_all(found):
    headings, rows, _ = cures.table(found)
    assert [row[0] for row in rows] == list(cures.WAYS)
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    figure = pytest.importorskip("matplotlib.figure").Figure()
    cures.draw(found, figure)
    gains, shares = figure.axes
    assert [label.get_text() for label in gains.get_yticklabels()] == list(cures.WAYS)
    assert len(shares.patches) == len(rows)
