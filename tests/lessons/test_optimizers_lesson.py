"""The lesson on optimizers: its claim holds for deep sigmoids, and where nothing vanishes, or Adam fares otherwise, the
sentences say so."""

import copy

import numpy as np
import pytest

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import optimizers

pytestmark = pytest.mark.slow  # trains nets, for some seconds in all

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def found():
    return optimizers.measure(quick=True)


@pytest.fixture
def other(found):
    return copy.deepcopy(found)


def told(found):
    holds, sentences = optimizers.conclude(found)
    return holds, " ".join(sentences)


def test_the_claim_holds(found):
    holds, sentences = told(found)
    assert holds, sentences
    assert "NOT" not in sentences


def test_the_first_step_is_that_of_the_gradient():
    """The formula's g is the gradient by the weights of pixels that are not always 0; a large eps shows it best."""
    data = datasets.digits()
    X, y = data.X[:300], data.y[:300]
    net = vg.MLP([64, 30, 10], "sigmoid", init="lecun_normal", rng=1)
    g = np.abs(net.gradients(X, y).weights[0])[np.abs(X).max(axis=0) > 0].astype(np.float64)
    before = net.params.copy()
    change, formula = optimizers.moved(net, X, y, 1e-2)
    assert formula == pytest.approx(np.mean(g / (g + 1e-2)), rel=1e-12)
    assert change == pytest.approx(formula, rel=1e-4)  # float32: weights of 0.1 to 1 moved by 0.2
    np.testing.assert_array_equal(net.params, before)


def test_half_of_lr():
    depths = [{"hidden": h, "moved": [m]} for h, m in ((2, 1.0), (4, 0.6), (6, 0.4), (8, 0.1))]
    assert optimizers.half({"depths": depths}, 0) == pytest.approx(5)
    assert optimizers.half({"depths": depths[:2]}, 0) == np.inf


@pytest.mark.filterwarnings("error")
def test_where_nothing_vanishes(monkeypatch):
    """Steps are then of full length at every depth, and SGD learns."""
    monkeypatch.setattr(optimizers, "DEPTHS", (2, 4, 8, 12))
    monkeypatch.setattr(optimizers, "EPOCHS", 10)
    found = optimizers.measure(quick=True, activation="tanh", init="critical")
    holds, sentences = told(found)
    assert not holds
    assert "half of lr at none, none, none hidden layers" in sentences
    assert "1e-8 is NOT worth about eight" in sentences
    assert "NOT near the" in sentences
    assert "NOT what it should buy" in sentences
    assert "it is NOT so that steps are no cure" in sentences


def test_a_longer_step_than_the_formula_says(other):
    other["depths"][4]["moved"][1] += 0.02
    holds, sentences = told(other)
    assert not holds
    assert "Adam's first step is NOT as the formula has it, to 0.020 of lr" in sentences


@pytest.mark.parametrize(
    ("hidden", "way", "share", "sentence"),
    [
        (4, "SGD", 0.5, "NOT what it should buy"),
        (4, "Adam", 0.8, "NOT what it should buy"),
        (12, "Adam", 0.4, "it is NOT so that steps are no cure"),
        (12, "Adam, 1e-12", 0.4, "it is NOT so that steps are no cure"),
    ],
)
def test_what_comes_out_otherwise(other, hidden, way, share, sentence):
    (of,) = (of for of in other["depths"] if of["hidden"] == hidden)
    of["accuracy"][way] = [share]
    holds, sentences = told(other)
    assert not holds
    assert sentence in sentences


def test_steps_that_are_not_long_prove_nothing(other):
    """That of the smallest eps at 12 layers, a little too short for the claim, and as the formula has it."""
    (of,) = (of for of in other["depths"] if of["hidden"] == 12)
    of["moved"][2] = of["formula"][2] = 0.6
    holds, sentences = told(other)
    assert not holds
    assert "it is NOT so that steps are no cure" in sentences


def test_the_table_and_the_picture_have_all(found):
    headings, rows, _ = optimizers.table(found)
    assert [row[0] for row in rows] == [f"{hidden}" for hidden in optimizers.DEPTHS]
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    assert sum(row[-1] != "" for row in rows) == len(optimizers.TRAINED)
    figure = pytest.importorskip("matplotlib.figure").Figure()
    optimizers.draw(found, figure)
    steps, shares = figure.axes
    assert [len(axes.lines) for axes in (steps, shares)] == [7, 4]
