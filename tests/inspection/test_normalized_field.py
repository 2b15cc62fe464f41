"""Theory of normalized nets against integrals, and against wide nets."""

import math

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core
from vgfast.inspection.normalized_field import chi, mean_value, moments, predict
from vgfast.model.activations import CATALOG

# (batch norm before, RMS or layer norm before), from tables of others' quadrature, to their digits.
KNOWN = {
    "sigmoid": (1.0336, 0.1528),
    "tanh": (1.1778, 1.1778),
    "softsign": (1.2440, 1.2440),
    "relu": (math.pi / (math.pi - 1), 1.0),
    "identity": (1.0, 1.0),
}


@pytest.mark.parametrize("activation", KNOWN)
def test_known_values(activation):
    batch, rms = KNOWN[activation]
    assert chi(activation, "batch") == pytest.approx(batch, abs=6e-5)
    for kind in ("rms", "layer"):
        assert chi(activation, kind) == pytest.approx(rms, abs=6e-5)


@pytest.mark.parametrize("q", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_means_are_those_of_fine_sums(activation, q):
    """The trapezoidal rule on 400,000 steps of a smooth or piecewise smooth function: its error is some 1e-10."""
    x = np.linspace(-10, 10, 400_001)
    terms = CATALOG[activation].value(np.sqrt(q) * x) * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    assert mean_value(activation, q) == pytest.approx(terms.sum() * (x[1] - x[0]), abs=1e-8 * np.sqrt(q))


NORMS = [getattr(vg.norm, kind)(place=place) for kind in ("batch", "layer", "rms") for place in ("before", "after")]


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_wide_nets_do_as_they_should(norm, activation):
    """400 wide, 200 rows, first weights of variance 1 / n: the mean over six layers within 3 % of sqrt(chi)."""
    rng = np.random.default_rng(0)
    X, dz = rng.normal(size=(200, 400)), rng.integers(0, 10, 200)
    net = vg.MLP([400, *[400] * 8, 10], activation, init="lecun_normal", rng=1, normalization=norm)
    gains = net.inspect(X, dz, try_remedies=False).layers.gain[1:-2]
    measured = float(np.exp(np.log(gains).mean()))
    assert measured == pytest.approx(math.sqrt(chi(activation, norm)), rel=0.03)
    expected = predict(net._architecture, moments(net._engine, X))
    np.testing.assert_allclose(expected[1:-2], math.sqrt(chi(activation, norm)), rtol=0.02)
    assert np.isnan(expected[-1])


@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_predictions_are_of_this_net(norm):
    """Unequal widths, weights of any scale, gains and shifts, inputs that have something in common, dropout: the mean
    over the layers behind the first within 6 %."""
    rng = np.random.default_rng(0)
    X, y = 1 + rng.normal(size=(300, 200)), rng.integers(0, 10, 300)
    first = vg.init.normal(0.1)
    net = vg.MLP([200, 500, 300, 400, 300, 10], "tanh", init=first, rng=1, normalization=norm, dropout=0.2)
    for name, part in net.parameters().items():
        if "norm.weight" in name:
            part[...] = rng.uniform(0.5, 1.5, part.shape)
        elif "norm.bias" in name:
            part[...] = 0.3 * rng.normal(size=part.shape)
    layers = net.inspect(X, y, try_remedies=False).layers[1:-1]
    ratios = np.log(layers.gain / layers.predicted_gain)
    assert abs(float(ratios.mean())) < 0.06


def test_variances_matter_where_they_should():
    assert chi("tanh", "batch", sw2=4.0) == chi("tanh", "batch")
    assert chi("tanh", "layer", sw2=2.0, sb2=0.3) < chi("tanh", "layer", sw2=2.0) == pytest.approx(chi("tanh", "layer"))
    assert chi("tanh", vg.norm.rms("after"), sw2=2.0) != chi("tanh", vg.norm.rms("after"))
    with pytest.raises(ValueError, match="got None"):
        chi("tanh", None)
