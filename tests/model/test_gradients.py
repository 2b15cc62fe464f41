"""The gradient against central differences and against the textbook."""

import itertools

import numpy as np
import pytest
from differences import slopes

import vgfast as vg
from vgfast import _core, reference
from vgfast.model.activations import CATALOG


def problem(loss, rng, rows=6, n_in=4, n_out=3):
    X = rng.normal(size=(rows, n_in))
    if loss == "mse":
        return X, rng.normal(size=(rows, n_out))
    if loss == "binary_cross_entropy":
        return X, rng.uniform(size=(rows, n_out))
    return X, rng.integers(0, n_out, rows)


def far_from_kinks(activation, loss):
    """A net and data with no z near 0, where the ReLUs have no derivative to compare with, or near another kink."""
    kinks = np.array(CATALOG[activation].kinks or [0.0])
    for seed in itertools.count():
        rng = np.random.default_rng(seed)
        X, y = problem(loss, rng)
        net = vg.MLP([4, 5, 6, 3], activation, loss, init=vg.init.lecun_normal(bias_std=0.5), dtype="float64", rng=rng)
        plain = reference.MLP(net.sizes, activation, loss, "zeros", "float64")
        plain.params[...] = net.params
        if min(np.abs(z[..., None] - kinks).min() for z in plain._engine.forward(X)[0][:-1]) > 0.02:
            return net, X, y


@pytest.mark.parametrize("loss", [*_core.LOSSES, "probabilities"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_every_parameter_against_central_differences(isa, activation, loss):
    """Slopes that are themselves of the size of the differences' error are compared to 1e-11."""
    net, X, y = far_from_kinks(activation, "cross_entropy" if loss == "probabilities" else loss)
    if loss == "probabilities":
        y = np.random.default_rng(5).dirichlet(np.ones(3), size=len(X))
    found, wanted = slopes(net, net.gradients(X, y).flat, X, y)
    assert (np.abs(found - wanted) <= 1e-6 * np.abs(wanted) + 1e-11).all()


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_gradients_are_the_textbooks(dtype, activation, loss, rng):
    X, y = problem(loss, rng, rows=37)
    fast = vg.MLP([4, 19, 33, 3], activation, loss, dtype=dtype, rng=1)
    plain = reference.MLP([4, 19, 33, 3], activation, loss, dtype=dtype, rng=1)
    np.testing.assert_array_equal(fast.params, plain.params)
    a, b = fast.gradients(X, y), plain.gradients(X, y)
    eps = np.finfo(dtype).eps
    assert a.loss == pytest.approx(b.loss, rel=float(37 * eps))
    for got, want in zip([*a.weights, *a.biases, *a.deltas], [*b.weights, *b.biases, *b.deltas], strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=200 * eps * np.abs(want).max())
