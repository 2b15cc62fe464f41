"""What MLPClassifier and MLPRegressor refuse, and what is left of a model when training fails."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn_models import BASE, COUNTS, SCORES, SGD, VALUES, X, Y, fitted

from vgfast.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"), pytest.mark.any_isa]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"hidden_layer_sizes": (3, -1)}, "hidden_layer_sizes must be > 0, got"),
        ({"hidden_layer_sizes": "12"}, "hidden_layer_sizes"),
        ({"activation": "rleu"}, "unknown activation 'rleu'; did you mean 'relu'"),
        ({"activation": ["relu"]}, "activation"),
        ({"solver": "rmsprop"}, "unknown solver 'rmsprop'; there is adam"),
        ({"alpha": -1}, "alpha must be at least 0"),
        ({"learning_rate": "falling"}, "unknown learning_rate 'falling'"),
        ({"learning_rate_init": 0}, "learning_rate_init must be above 0"),
        ({"momentum": 1}, "momentum must be at least 0 and below 1"),
        ({"shuffle": "yes"}, "shuffle must be True or False"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"beta_1": 1}, "beta_1 must be at least 0 and below 1"),
        ({"dropout": 1.5}, "dropout"),
        ({"normalization": "group"}, "unknown normalization 'group'"),
        ({"solver": "lbfgs", "dropout": 0.5}, "solver='lbfgs' takes no steps of batches, which dropout=0.5 needs"),
        ({"solver": "lbfgs", "callbacks": [print]}, "callbacks=.* needs; use sgd or adam"),
        ({"callbacks": 3}, "callbacks must be a list"),
        ({"verbose": "yes"}, "verbose must be"),
        ({"class_weight": "balancd"}, "unknown class_weight 'balancd'; did you mean 'balanced'"),
        ({"class_weight": [1, 2]}, r"class_weight must be None, 'balanced' or a dict .*, got \[1, 2\]; use a dict"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_fit_and_leave_the_model_as_it_was(how, words):
    model = fitted()
    before, params = vars(model).copy(), model.net_.params.copy()
    model.set_params(**how)
    with pytest.raises((ValueError, TypeError), match=words):
        model.fit(X, Y)
    assert {**vars(model), **{name: before[name] for name in how}}.keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before if name not in how)
    np.testing.assert_array_equal(model.net_.params, params)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.fit(X, Y, X_val=X), "X_val needs y_val, got None; give both, or neither"),
        (lambda m: m.fit(X, Y, y_val=Y), "y_val needs X_val, got None"),
        (lambda m: m.fit(X, Y, X_val=X, y_val=Y[:5]), "as many rows, got 330 and 5"),
        (lambda m: m.fit(X, Y, X_val=X, y_val=Y + 1), "y_val has the label .*3.*, which y has not"),
        (lambda m: m.fit(X, Y, X_val=X[:, :3], y_val=Y), "3 features"),
        (lambda m: m.set_params(class_weight={7: 2}).fit(X, Y), "class_weight has the label 7, which y has not"),
        (lambda m: m.set_params(class_weight="balanced").partial_fit(X, Y), "class_weight='balanced' needs all rows"),
        (lambda m: m.partial_fit(X, Y + 1), "classes not in"),
        (lambda m: m.partial_fit(X, Y, classes=[0, 1]), "not the same as on last call"),
        (lambda m: m.fit(X, Y, sample_weight=np.zeros(330)), "weight"),
        (lambda m: m.fit(X, Y, sample_weight=-np.ones(330)), "at least 0"),
        (lambda m: m.fit(np.full_like(X, np.inf), Y), "infinity"),
        (lambda m: m.predict(np.full((1, 12), np.nan)), "NaN"),
        (lambda m: m.predict(X[:, :5]), "5 features"),
        (lambda m: MLPClassifier().partial_fit(X, Y), "classes must be passed on the first call"),
        (lambda m: MLPRegressor(loss="poisson").fit(X, -COUNTS - 1), "counts of at least 0"),
        (lambda m: m.set_params(solver="lbfgs").fit(X, Y, X_val=X, y_val=Y), "which solver='lbfgs' has not; use sgd"),
        (lambda m: MLPRegressor(loss="poisson", callbacks=[print]).fit(X, COUNTS), "poisson' keeps no history, which"),
        (lambda m: MLPRegressor(loss="poisson", inspect_every=1).fit(X, COUNTS), "inspect_every=1 needs; leave it"),
        (
            lambda m: MLPRegressor(loss="mae").fit(X, VALUES),
            "vgfast has no loss 'mae'; there is squared_error",
        ),
    ],
)
def test_bad_data_is_refused_and_leaves_the_model_as_it_was(call, words):
    model = fitted()
    before, params = vars(model).copy(), model.net_.params.copy()
    with pytest.raises(ValueError, match=words):
        call(model)
    model.set_params(class_weight=None, solver="adam")
    assert vars(model) == before
    np.testing.assert_array_equal(model.net_.params, params)
    assert model.partial_fit(X, Y) is model


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_model_that_goes_on_refuses_bad_data_and_is_as_it_was(solver, method):
    model = MLPRegressor(**{**BASE, "max_iter": 3, "warm_start": True, "solver": solver}).fit(X, VALUES)
    if method == "partial_fit":
        model.set_params(solver="adam")
    before, params = vars(model).copy(), model.net_.params.copy()
    for y, weights in ((SCORES, None), (VALUES, -np.ones(330))):
        with pytest.raises(ValueError, match="must"):
            getattr(model, method)(X, y, weights)
        assert vars(model) == before
        np.testing.assert_array_equal(model.net_.params, params)


def test_classes_of_a_first_partial_fit_that_fails_are_forgotten():
    model = MLPClassifier(**BASE)
    before = vars(model).copy()
    with pytest.raises(ValueError, match=r"has classes not in .* name all classes in the first call of partial_fit"):
        model.partial_fit(X, Y, classes=[0, 1])
    assert vars(model) == before
    assert model.partial_fit(X, Y, classes=[0, 1, 2]).predict(X).shape == (330,)


def test_values_may_be_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    y = sparse.csr_array(SCORES)
    model = MLPRegressor(**BASE).fit(X, y, X_val=X, y_val=y)
    dense = MLPRegressor(**BASE).fit(X, SCORES, X_val=X, y_val=SCORES)
    np.testing.assert_array_equal(model.net_.params, dense.net_.params)
    assert model.validation_loss_curve_ == dense.validation_loss_curve_


def test_lbfgs_that_diverges_leaves_the_weights_as_they_were():
    model = MLPRegressor(**{**BASE, "max_iter": 3, "warm_start": True, "solver": "lbfgs"}).fit(X, VALUES)
    params = model.net_.params.copy()
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.fit(X * 1e100, VALUES)
    np.testing.assert_array_equal(model.net_.params, params)


def test_batches_of_counts_without_weight_change_nothing_but_by_the_penalty():
    weights = np.r_[np.zeros(300), np.ones(30)]
    how = {**BASE, **SGD, "loss": "poisson", "batch_size": 30, "shuffle": False, "alpha": 0.0, "max_iter": 1}
    model = MLPRegressor(**how).fit(X, COUNTS, weights)
    alone = MLPRegressor(**how).fit(X[300:], COUNTS[300:])
    np.testing.assert_allclose(model.coefs_[0], alone.coefs_[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "how",
    [{"activation": "tanh"}, {"hidden_layer_sizes": (20, 11)}, {"normalization": "layer"}, {"dropout": [0.1, 0]}],
    ids=str,
)
def test_another_net_than_the_one_that_goes_on_is_refused(how):
    model = fitted(warm_start=True)
    params = model.net_.params.copy()
    model.set_params(**how)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=rf"{next(iter(how))} is .* and was .* when the net was made"):
            call(X, Y)
    np.testing.assert_array_equal(model.net_.params, params)
    model.set_params(warm_start=False).fit(X, Y)
    model.set_params(hidden_layer_sizes=list(model.hidden_layer_sizes)).partial_fit(X, Y)


def test_training_that_diverges_says_where_and_early_stopping_goes_back():
    how = {**BASE, "activation": "identity", "solver": "sgd", "learning_rate_init": 1e3}
    model = MLPRegressor(**how)
    with pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights.*In detail: .*layer"):
        model.fit(X, VALUES)
    assert not hasattr(model, "coefs_")
    with pytest.warns(ConvergenceWarning, match="ended before its 20 epochs"):
        model.set_params(early_stopping=True).fit(X, VALUES)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.predict(X)).all()


def test_nothing_is_printed_without_verbose(capsys):
    fitted()
    assert capsys.readouterr().out == ""
