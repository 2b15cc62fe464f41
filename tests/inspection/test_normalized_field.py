"""Theory of normalized nets against wide nets. tests/inspection/test_theory_exactly.py has its integrals."""

import math

import numpy as np
import pytest

import vgfast as vg
from vgfast.inspection.normalized_field import chi, moments, predict

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
