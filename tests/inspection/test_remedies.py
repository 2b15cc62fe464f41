"""Normalization and residual connections as remedies: what is said of them comes true, and they are proposed where
they are possible."""

import numpy as np
import pytest

import vgfast as vg
from vgfast.inspection import remedies

SIZES = [20, *[30] * 10, 5]
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 20)), RNG.integers(0, 5, 64)
NARROW = vg.init.normal(0.2 / 30**0.5)


def proposed(net, judged, X=X, y=Y):
    """The names of what is tried against this verdict."""
    case = net._case(*net._batch(X, y), vg.SGD(0.03))
    return [what for what, _ in remedies.propose(case, judged)]


def starting(name, sentences):
    return [one for one in sentences if one.startswith(name)]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_what_is_said_comes_true(activation):
    """Of a net with that argument, and otherwise the same weights."""
    net = vg.MLP(SIZES, activation, init=NARROW if activation == "tanh" else "lecun_normal", rng=0)
    report = net.inspect(X, Y)
    assert report.verdict == "vanishing"
    for name in ("normalization", "residual"):
        [said] = starting(f"{name}=", report.remedies)
        argument, _, outcome = said.partition(": ")
        other = vg.MLP(SIZES, activation, rng=1, **{name: eval(argument.partition("=")[2], {"vg": vg})})
        for mine, weights in zip(other.weights, net.weights, strict=True):
            mine[...] = weights
        found = other.inspect(X, Y, try_remedies=False)
        gain, was = found.numbers["total_gain"], report.numbers["total_gain"]
        assert outcome == f"gain over all layers {gain:.2g} instead of {was:.2g} ({found.verdict})"
        assert found.verdict == "healthy"
    assert len(report.remedies) <= remedies._SHOWN


def test_the_best_of_each_is_told():
    sentences = ["residual=a: 1", "activation=b: 2", "residual=b: 3", "normalization=a: 4", "normalization=b: 5"]
    assert remedies._best([*sentences, "activation=a: 6"]) == [*sentences[:2], sentences[3], "activation=a: 6"]


def test_large_weights_are_divided_by_batch_norm():
    """That exploding gradients become healthy is said, too."""
    report = vg.MLP(SIZES, "relu", init=vg.init.normal(8 / 30**0.5), rng=0).inspect(X, Y, vg.SGD(0.05))
    assert report.verdict == "exploding"
    assert starting("normalization=", report.remedies)[0].endswith("(healthy)")


def test_they_are_proposed_where_they_are_possible():
    both = ["normalization='batch'", "normalization=vg.norm.layer(place='after')"]
    around = ["residual=vg.residual(scale='rezero')", "residual=vg.residual(scale='1/sqrt(L)')"]
    net = vg.MLP(SIZES, "sigmoid", rng=0)
    judged = net.inspect(X, Y, try_remedies=False).judged
    assert [one for one in proposed(net, judged) if one.startswith(("normalization", "residual"))] == both + around
    for has in ({"normalization": "layer"}, {"residual": True}):
        tried = proposed(vg.MLP(SIZES, "sigmoid", rng=0, **has), judged)
        assert tried
        assert not [what for what in tried if what.startswith(("normalization", "residual"))]
    # A learning rate that alone is at fault is not mended so.
    assert not starting("normalization", proposed(net, judged._replace(word="stalled", fault="learning rate")))


def test_what_is_not_possible_is_not_told():
    """Residual connections of layers of unequal widths, and batch norm of one row."""
    report = vg.MLP([20, *[30, 40] * 5, 5], "sigmoid", rng=0).inspect(X, Y)
    assert report.verdict == "vanishing"
    assert starting("normalization=", report.remedies)
    assert not starting("residual=", report.remedies)
    [alone] = starting("normalization=", vg.MLP(SIZES, "sigmoid", rng=0).inspect(X[:1], Y[:1]).remedies)
    assert alone.startswith("normalization=vg.norm.layer(place='after')")


def test_of_a_stalled_net_nothing_is_said_that_is_not_known(digits):
    """A block whose scale is 0 has no gradient yet by which to say how far a training comes."""
    images, labels = digits
    net = vg.MLP([64, *[30] * 3, 10], "sigmoid", init="lecun_normal", rng=0)
    report = net.inspect(images, labels, vg.SGD(0.03), steps=1000)
    assert report.verdict == "stalled"
    assert "nan" not in " ".join(report.remedies)
    tried = proposed(net, report.judged, images, labels)
    assert starting("residual=vg.residual(scale='1/sqrt(L)')", tried)
    assert not starting("residual=vg.residual(scale='rezero')", tried)
