"""The catalog of activations and losses: that each line has what it needs, and that what it says is so."""

import numpy as np
import pytest

from vgfast import _core, activations
from vgfast.model import engine_numpy, losses
from vgfast.model.activations import CATALOG

Z = np.concatenate([-np.geomspace(700, 1e-6, 4000), np.geomspace(1e-6, 700, 4000)])
OTHERS = ["leaky_relu(0.2)", "leaky_relu(3)", "elu(0.5)", "elu(2)"]
NAMES = pytest.mark.parametrize("name", [*CATALOG, *OTHERS])


def test_every_line_has_its_formulas():
    assert [name for name in _core.ACTIVATIONS if name not in activations.FORMULAS] == []
    assert [name for name in _core.LOSSES if name not in losses.FORMULAS] == []
    assert [name for name in _core.RULES if name not in engine_numpy.RULES] == []


def test_every_formula_has_its_line():
    assert tuple(CATALOG) == activations.NAMES == tuple(activations.FORMULAS)
    assert tuple(losses.LOSSES) == _core.LOSSES == tuple(losses.FORMULAS)
    assert tuple(engine_numpy.RULES) == _core.RULES


@NAMES
def test_the_derivative_is_that_of_the_value(name):
    """By differences of 2^-14, whose error is some h² / 6 of the third derivative."""
    phi, h = CATALOG[name], 2.0**-14
    smooth = (np.abs(Z) > 2 * h) & (np.abs(np.abs(Z) - phi.joint) > 2 * h)
    z = Z[smooth]
    difference = (phi.value(z + h) - phi.value(z - h)) / (2 * h)
    np.testing.assert_allclose(difference, phi.derivative(z), rtol=1e-7, atol=2e-8)


@NAMES
def test_the_form_of_the_derivative_is_as_told(name):
    """For both signs, from what the core has of it: one, the output, or what was stored where that tells too little."""
    phi = CATALOG[name]
    slope, outputs = phi.derivative(Z), phi.value(Z)
    below = {"one": 1.0, "step": 0.0, "leak": phi.alpha}.get(phi.form)
    if phi.stored:
        assert not np.array_equal(slope, np.where(outputs > 0, 1.0, phi.alpha))
    else:
        np.testing.assert_array_equal(slope, np.where(outputs > 0, 1.0, below))
    assert phi.slope_below == below


@NAMES
def test_kinks_are_where_the_slope_jumps(name):
    lines = {"relu": (0,), "leaky_relu": (0,), "hardtanh": (-1, 1), "hardsigmoid": (-3, 3), "hardswish": (-3, 3)}
    assert CATALOG[name].kinks == (lines | dict.fromkeys(["selu", *OTHERS], (0,))).get(name, ())


@NAMES
def test_the_largest_derivative_is_reached_and_not_passed(name):
    phi = CATALOG[name]
    beside = np.array([-phi.joint, phi.joint]) * (1 - 1e-9)
    slope = np.abs(phi.derivative(np.concatenate([Z, beside, [0.0]])))
    assert slope.max() == pytest.approx(phi.largest_derivative, rel=1e-5)
    assert slope.max() <= phi.largest_derivative * (1 + 1e-15)


@NAMES
def test_a_squashing_one_saturates_at_both_ends(name):
    """And no other does."""
    phi = CATALOG[name]
    ends = phi.derivative(np.array([-700.0, 700.0])) < phi.saturated_below
    assert phi.squashing == ends.all()
