"""The lesson on depth: what it says of the nets of its claim, and what it says where the claim is false."""

import numpy as np
import pytest

import vgfast as vg
from vgfast.lessons import depth

pytestmark = pytest.mark.slow  # trains nets, for some seconds in all

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def found():
    return depth.measure(quick=True)


def test_the_claim_holds(found):
    holds, sentences = depth.conclude(found)
    assert holds
    assert "NOT" not in " ".join(sentences)


def test_the_sentences_have_the_numbers_found(found):
    sentences = " ".join(depth.conclude(found).sentences)
    for method in found["sets"][0]["methods"].values():
        assert f"{100 * np.mean(method['accuracy']):.1f} %" in sentences


@pytest.mark.parametrize("kind", [("relu", "he_normal"), ("tanh", "lecun_uniform")])
def test_the_deep_net_is_told_if_it_learns(kind):
    holds, sentences = depth.conclude(depth.measure(quick=True, activation=kind[0], init=kind[1]))
    assert not holds
    assert "did NOT stay at chance" in sentences[0]


def test_a_net_that_is_not_deep_is_told():
    assert not depth.conclude(depth.measure(quick=True, layers=2)).holds


def altered(found, name, **values):
    each = found["sets"][0]
    methods = each["methods"] | {name: each["methods"][name] | values}
    return depth.conclude(found | {"sets": [each | {"methods": methods}]})


@pytest.mark.parametrize("name", ["shallow net", "3 neighbours", "SVM"])
@pytest.mark.parametrize("values", [{"accuracy": [0.9, 0.62]}, {"accuracy": [0.9], "diverged": 1}])
def test_one_rival_that_does_badly_is_enough_to_be_told(found, name, values):
    holds, sentences = altered(found, name, **values)
    assert not holds
    assert "did NOT all come to 85%" in sentences[1]


@pytest.mark.parametrize("name", ["deep net, tanh", "deep net, ReLU"])
@pytest.mark.parametrize("share", [0.1, 0.8])
def test_a_cure_that_does_not_cure_is_told(found, name, share):
    holds, sentences = altered(found, name, accuracy=[share])
    assert not holds
    assert f"came to {100 * share:.1f} %" in sentences[3]
    assert "NOT both to 85%" in sentences[3]


def test_the_deep_net_must_be_at_chance_at_either_rate(found):
    """Near it, from above and from below; what the better rate brings is not enough."""
    chance = found["sets"][0]["chance"]
    for at_rates, stays in (
        ([chance, chance + 0.04], True),
        ([chance, chance - 0.04], True),
        ([chance, chance + 0.06], False),
        ([chance, chance - 0.06], False),
        ([chance, None], False),
    ):
        holds, sentences = altered(found, "deep net", at_rates=[at_rates])
        assert holds is stays
        assert ("did NOT stay at chance" in sentences[0]) is not stays


def test_a_deep_net_that_diverges_is_told(monkeypatch):
    """At every rate: it is told neither as 0 % nor as chance, and table and picture do with it."""
    Figure = pytest.importorskip("matplotlib.figure").Figure
    monkeypatch.setattr(depth, "RATES", (1e6, 1e7))
    found = depth.measure(quick=True, activation="relu", init="he_normal")
    holds, sentences = depth.conclude(found)
    assert not holds
    assert found["sets"][0]["methods"]["deep net"]["diverged"] == 1
    assert "the deep net of relu diverged" in sentences[0]
    assert "did NOT stay at chance" in sentences[0]
    assert "that of ReLUs diverged" in sentences[3]
    assert ("  deep net", "8,770", "diverged", "", "0.00 s") in depth.table(found).rows
    depth.draw(found, Figure())


def test_one_seed_that_diverges_is_told(found):
    sentences = altered(found, "deep net", accuracy=[0.1], diverged=1, at_rates=[[0.1, 0.1], [None, None]])[1]
    assert "came to 10.0 %, 1 diverged" in sentences[0]


@pytest.mark.parametrize("n_in", [64, 784])
def test_both_have_as_many_parameters(n_in):
    """A unit of the shallow net has n_in + 11, and the nearest number of units is at most half of that away."""
    deep, shallow = (vg.MLP(sizes).n_params for sizes in depth.sizes_of(n_in, [30] * 8))
    assert abs(deep - shallow) <= (n_in + 11) / 2
    assert abs(shallow / deep - 1) < 0.03


@pytest.mark.parametrize("rates", [(0.05, 0.5), (0.5, 0.05)])
def test_the_rate_is_the_one_of_the_lower_loss(rates, monkeypatch, digits):
    X, y = digits
    split = [X[:200], X[200:400], y[:200], y[200:400]]
    monkeypatch.setattr(depth, "RATES", rates)
    best = depth.best_of_rates([64, 20, 10], "sigmoid", "lecun_uniform", split, 5, 0)
    losses = {}
    for rate in rates:
        net = vg.MLP([64, 20, 10], "sigmoid", init="lecun_uniform", rng=0)
        losses[rate] = net.fit(split[0], split[2], 5, depth.BATCH, vg.SGD(lr=rate)).epochs[-1]["loss"]
    assert best["loss"] == min(losses.values())
    assert losses[best["rate"]] == best["loss"]


def test_a_training_that_diverges_does_not_count(monkeypatch, digits):
    X, y = digits
    split = [X[:200], X[200:400], y[:200], y[200:400]]
    monkeypatch.setattr(depth, "RATES", (0.05, 1e6))
    best = depth.best_of_rates([64, *[30] * 8, 10], "relu", "he_normal", split, 5, 0)
    assert best["rate"] == 0.05
    assert best["at_rates"] == [best["accuracy"], None]


def test_the_picture_has_all_methods(found):
    Figure = pytest.importorskip("matplotlib.figure").Figure
    figure = Figure(figsize=(9, 4.5))
    depth.draw(found, figure)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(found["sets"][0]["methods"])
    assert len(axes.patches) == len(found["sets"][0]["methods"])


def test_the_table_is_text(found):
    headings, rows, _ = depth.table(found)
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    assert sum(max(map(len, column)) + 2 for column in zip(headings, *rows, strict=True)) <= 80
