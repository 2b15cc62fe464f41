"""The lesson on exploding: its claim holds on the digits, and where nothing explodes, or clipping is no cure, it says
so."""

import copy

import numpy as np
import pytest

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import exploding

pytestmark = pytest.mark.slow  # trains nets, for some seconds in all

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def found():
    return exploding.measure(quick=True)


def test_the_claim_holds(found):
    seen = exploding.conclude(found)
    assert seen.holds
    assert "NOT" not in " ".join(seen.sentences)
    assert "64 of 64 gains" in seen.sentences[0]
    assert "leaky x4, whose first update is 300 times a layer's weights, diverged at step 2" in seen.sentences[1]


def test_the_signal_is_that_of_the_deltas(found):
    """And gain to the 8 is what is left of it, so that one number tells both."""
    net = vg.MLP([64, *[30] * 8, 10], "leaky_relu", init="he_normal", rng=0)
    net.params *= 2
    deltas = net.gradients(*datasets.digits()[:2]).deltas
    norms = np.array([np.linalg.norm(delta.astype(np.float64)) for delta in deltas])
    (twice,) = (net for net in found["nets"] if net["name"] == "leaky x2")
    # Both from the same float32 deltas, the sums in float64.
    np.testing.assert_allclose(twice["signal"], norms / norms[-1], rtol=1e-6)
    np.testing.assert_allclose(twice["gain"] ** 8, twice["signal"][0], rtol=1e-6)


def test_without_a_gain_above_1_nothing_explodes():
    seen = exploding.conclude(exploding.measure(quick=True, scales={"leaky_relu": (1 / 4, 1)}))
    assert not seen.holds
    assert "had a gain clearly above 1: the claim on divergence was NOT put to the test" in seen.sentences[1]


def test_updates_that_are_not_too_large_do_not_diverge():
    found = exploding.measure(quick=True, scales={"leaky_relu": (2,)}, lr=1e-5)
    assert found["nets"][0]["gain"] > 1.5
    seen = exploding.conclude(found)
    assert not seen.holds
    assert "leaky x2" in seen.sentences[1]
    assert "which is NOT as claimed" in seen.sentences[1]


def test_a_clip_that_clips_nothing_saves_nothing():
    seen = exploding.conclude(exploding.measure(quick=True, scales={"leaky_relu": (1 / 4, 1, 4)}, clip_norm=1e30))
    assert not seen.holds
    assert "diverged at step 2, and clipped to norm 1e+30 was not: its loss" in seen.sentences[1]
    assert "which is NOT as claimed" in seen.sentences[1]


def test_a_signal_that_goes_the_other_way_is_told(found):
    other = copy.deepcopy(found)
    other["nets"][0]["signal"][0] = 2.0
    seen = exploding.conclude(other)
    assert not seen.holds
    assert "did NOT foretell" in seen.sentences[0]


def test_a_steady_net_that_does_not_learn_is_told(found):
    other = copy.deepcopy(found)
    (steady,) = (net for net in other["nets"] if net["name"] == "leaky x1")
    steady["plain"]["accuracy"] = 0.1
    seen = exploding.conclude(other)
    assert not seen.holds
    assert "Right, NOT as claimed" in seen.sentences[2]


@pytest.mark.parametrize("name", ["leaky x1/4", "sigmoid x1", "sigmoid x50", "leaky x2"])
def test_a_net_far_from_1_that_learns_is_told(found, name):
    other = copy.deepcopy(found)
    (net,) = (net for net in other["nets"] if net["name"] == name)
    net["plain"] |= {"accuracy": 0.99, "diverged": None}
    seen = exploding.conclude(other)
    assert not seen.holds
    assert "Right, NOT as claimed" in seen.sentences[2]


@pytest.mark.parametrize(("way", "what"), [("plain", {"diverged": 7}), ("clipped", {"end": 0.01})])
def test_a_sigmoid_that_diverges_or_is_cured_is_told(found, way, what):
    other = copy.deepcopy(found)
    (net,) = (net for net in other["nets"] if net["name"] == "sigmoid x50")
    net[way] |= what
    seen = exploding.conclude(other)
    assert not seen.holds
    assert seen.sentences[1].endswith("which is NOT as claimed.")


def test_table_and_picture(found):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    table = exploding.table(found)
    widths = [max(len(row[i]) for row in [table.headings, *table.rows]) for i in range(len(table.headings))]
    assert sum(widths) + 2 * len(widths) <= 80
    figure = Figure()
    exploding.draw(found, figure)
    fan, losses = figure.axes
    assert len(fan.lines) == len(found["nets"]) == len(table.rows) == 8
    assert sum(line.get_marker() == "x" for line in losses.lines) == 2  # those that diverged
