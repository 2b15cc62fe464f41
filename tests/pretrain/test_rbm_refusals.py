"""Bad input of the restricted Boltzmann machine: refused with a sentence, and all left as it was."""

import numpy as np
import pytest
from textbook import flat

import vgfast as vg
from vgfast.pretrain import RBM

ROWS, M = 52, 21
X = np.random.default_rng(8).random((ROWS, M))


def refused(kind, call):
    """The message, which is one sentence."""
    with pytest.raises(kind) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert ". " not in message
    assert not message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"k": 0}, "k, the steps of the chain, must be from 1 to 16384, got 0"),
        ({"k": 1.5}, "k, the steps of the chain, must be a whole number, got 1.5"),
        ({"n_components": 0}, "n_components must be from 1 to"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": 1e30}, "learning_rate must be above 0 and below 1.04858e+06, got 1e+30"),
        ({"weight_decay": 1e30}, "weight_decay must be at least 0 and below 1.04858e+06, got 1e+30"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"n_iter": 0}, "n_iter must be at least 1"),
        ({"momentum": 1}, "momentum must be at least 0 and below 1"),
        ({"momentum": (0.5, 0.6, 0.7)}, "a pair such as (0.5, 0.9)"),
        ({"sparsity_target": 0}, "sparsity_target must be above 0 and below 1"),
        ({"sparsity_cost": 1e30}, "sparsity_cost must be at least 0 and below 1.04858e+06"),
        ({"visible": "gauss"}, "did you mean 'gaussian'?"),
        ({"rng": 1, "random_state": 1}, "got both; give one of them"),
    ],
)
def test_bad_settings(settings, says):
    assert says in refused((ValueError, TypeError), lambda: RBM(**settings))
    if "rng" not in settings:  # attributes may be changed later

        def later():
            rbm = RBM(2)
            rbm.__dict__ |= settings
            rbm.fit(X)

        assert says in refused((ValueError, TypeError), later)


def test_data_outside_0_to_1():
    bad = X.copy()
    bad[3, 2] = 1.5
    for call in (RBM(2).fit, RBM(2).partial_fit, RBM(2, n_iter=1).fit(X).transform):
        message = refused(ValueError, lambda call=call: call(bad))
        assert "got 1.5 in row 3, column 2; scale it, or use visible='gaussian' on columns of mean 0" in message
    RBM(2, n_iter=1).fit(bad / bad.max())
    RBM(2, n_iter=1, visible="gaussian", learning_rate=0.001).fit((bad - bad.mean(axis=0)) / bad.std(axis=0))
    bad[3, 2] = -0.5
    assert "X must be from 0 to 1 for binary units, got -0.5" in refused(ValueError, lambda: RBM(2).fit(bad))
    assert "validation_data must be" in refused(ValueError, lambda: RBM(2).fit(X, validation_data=bad))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_is_no_number(value):
    bad = X.copy()
    bad[3, 2] = value
    message = refused(ValueError, lambda: RBM(2).fit(bad))
    assert "row 3, column 2" in message


def test_sizes_that_do_not_meet():
    rbm = RBM(2, n_iter=1).fit(X)
    for call in (rbm.transform, rbm.score_samples, rbm.gibbs, rbm.partial_fit, rbm.free_energy, rbm.reconstruct):
        assert f"{M}" in refused(ValueError, lambda call=call: call(X[:, 1:]))
    assert f"{M}" in refused(ValueError, lambda: RBM(2).fit(X, validation_data=X[:, 1:]))


def test_before_fit():
    rbm = RBM(2)
    for name in ("transform", "score_samples", "gibbs", "free_energy", "reconstruct", "log_likelihood"):
        assert "call fit(X) first" in refused(RuntimeError, lambda name=name: getattr(rbm, name)(X))
    for name in ("weights", "components_", "intercept_hidden_", "intercept_visible_"):
        assert "call fit(X) first" in refused(RuntimeError, lambda name=name: getattr(rbm, name))
    assert rbm.n_features_in_ == 0


def test_constant_columns_of_gaussian_units():
    constant = X.copy()
    constant[:, [4, 7]] = 0.25
    message = refused(ValueError, lambda: RBM(2, visible="gaussian").fit(constant))
    assert "X has 0.25 in every row of column 4" in message
    assert "drop the 2 constant columns" in message
    advice = message[message.index("X = ") + 4 : message.index(", and standardise")]
    kept = eval(advice, {"np": np, "X": constant})
    assert kept.shape == (ROWS, M - 2)
    RBM(2, visible="gaussian", n_iter=1, learning_rate=0.001).fit(kept)
    assert "log_likelihood(X)" in refused(
        ValueError, lambda: RBM(2, visible="gaussian", n_iter=1, learning_rate=0.001).fit(kept).score_samples(kept)
    )


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("rate", [300, 9e5])
@pytest.mark.parametrize("batch_size", [10, ROWS])
def test_divergence(rate, momentum, batch_size):
    """It says when, and the parameters are those of the last good step."""
    settings = {"visible": "gaussian", "momentum": momentum, "batch_size": batch_size, "rng": 4}
    rbm = RBM(2, learning_rate=rate, weight_decay=1e-4, n_iter=50, **settings)
    with pytest.raises(vg.DivergenceError) as error:
        rbm.fit(X)
    message = str(error.value)
    per_epoch = -(-ROWS // batch_size)
    assert f"at step {error.value.step} (epoch {error.value.step // per_epoch + 1})" in message
    assert f"lower learning_rate (it is {rate:g})" in message
    assert error.value.layer == 1
    assert len(error.value.history.epochs) == error.value.step // per_epoch
    assert np.isfinite(flat(rbm)).all()
    # as many steps, and no more
    if batch_size == ROWS:
        same = RBM(2, learning_rate=rate, weight_decay=1e-4, n_iter=error.value.step, **settings).fit(X)
        np.testing.assert_array_equal(flat(same), flat(rbm))
    RBM(2, learning_rate=0.001, n_iter=2, **settings).fit(X)
