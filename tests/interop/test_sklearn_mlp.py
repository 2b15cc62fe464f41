"""``vgfast.sklearn``'s MLPClassifier and MLPRegressor: scikit-learn's results, and what scikit-learn does not have."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_models import BASE, CASES, NAMES, OURS, SGD, THEIRS, VALUES, WEIGHTS, X, Y, both, fitted

import vgfast as vg
from vgfast.sklearn import MLPClassifier

pytestmark = [pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"), pytest.mark.any_isa]


# ---- scikit-learn's results ----------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_losses_scores_and_weights_are_scikit_learns(name, weighted, dtype):
    """From the same random_state: first weights, batches and rows held out too."""
    kind, y, how = CASES[name]
    if dtype == "float32" and y.dtype == float:
        y = y.astype(dtype)
    if kind == "regressor" and how.get("loss") and neural_network.MLPRegressor().get_params().get("loss") is None:
        pytest.skip("this scikit-learn has no Poisson loss")
    theirs, ours = THEIRS[kind](**BASE, **how), OURS[kind](**BASE, **how)
    weights = {"sample_weight": WEIGHTS} if weighted else {}
    try:
        theirs.fit(X.astype(dtype), y, **weights)
    except TypeError:
        pytest.skip("this scikit-learn has no sample_weight")
    ours.fit(X.astype(dtype), y, **weights)
    rtol = 1e-9 if dtype == "float64" else 1e-5
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    scores = theirs.validation_scores_
    assert (ours.validation_scores_ is None) == (scores is None)
    if scores is not None:
        np.testing.assert_allclose(ours.validation_scores_, scores, rtol=10 * rtol)
        np.testing.assert_allclose(ours.best_validation_score_, theirs.best_validation_score_, rtol=10 * rtol)
    for mine, its in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert mine.dtype == dtype
        # In float32 Adam may take a weight whose gradient is mere rounding two steps of 0.001 another way.
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-9 if dtype == "float64" else 2e-3)
    np.testing.assert_allclose(ours.predict(X) == theirs.predict(X), True) if kind == "classifier" else None
    for attribute in ("t_", "n_layers_", "n_outputs_", "out_activation_", "_no_improvement_count", "n_features_in_"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)


@pytest.mark.parametrize("name", ["adam", "values", "counts", "two classes"])
def test_lbfgs_comes_to_the_same_optimum(name, dtype):
    kind, y, _ = CASES[name]
    how = {**BASE, "solver": "lbfgs", "alpha": 10.0, "max_iter": 2000, "tol": 1e-6, "activation": "tanh"}
    how["hidden_layer_sizes"] = (5,)
    if name == "counts":
        how["loss"] = "poisson"
    theirs, ours = THEIRS[kind](**how).fit(X, y), OURS[kind](**how).fit(X.astype(dtype), y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    assert ours.coefs_[0].dtype == dtype


def test_partial_fit_keeps_the_optimizers_state_and_fit_forgets_it():
    theirs, ours = neural_network.MLPClassifier(**BASE), MLPClassifier(**BASE)
    for model in (theirs, ours):
        for rows in (slice(0, 100), slice(100, 250), slice(250, 330)):
            model.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=0, atol=1e-12)
    ours.fit(X, Y)
    np.testing.assert_array_equal(ours.coefs_[0], MLPClassifier(**BASE).fit(X, Y).coefs_[0])


@both
def test_weights_are_those_of_repeated_rows(kind):
    """Of one batch, in which a row of weight 2 counts as two, and one of weight 0 as none."""
    times = np.arange(len(X)) % 3
    how = {**BASE, "batch_size": 10_000, "shuffle": False, "max_iter": 30}
    rows = np.repeat(np.arange(len(X)), times)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        weighted, repeated = kind(**how).fit(X, Y, sample_weight=times), kind(**how).fit(X[rows], Y[rows])
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_warm_start_goes_on(solver):
    theirs, ours = (
        kind(**{**BASE, "solver": solver, "warm_start": True, "max_iter": 5})
        for kind in (neural_network.MLPClassifier, MLPClassifier)
    )
    for model in (theirs, ours):
        model.fit(X, Y).set_params(max_iter=7).fit(X, Y)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=0, atol=1e-8 if solver == "lbfgs" else 1e-12)


def test_partial_fit_keeps_the_rate_with_which_it_began():
    how = {**BASE, **SGD, "learning_rate": "invscaling"}
    theirs, ours = neural_network.MLPClassifier(**how), MLPClassifier(**how)
    for model in (theirs, ours):
        model.fit(X, Y).set_params(learning_rate_init=0.9)
        model.partial_fit(X, Y).partial_fit(X, Y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=0, atol=1e-12)


def test_partial_fit_takes_a_changed_alpha():
    theirs, ours = neural_network.MLPClassifier(**BASE), MLPClassifier(**BASE)
    for model in (theirs, ours):
        model.fit(X, Y).set_params(alpha=50.0).partial_fit(X, Y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=0, atol=1e-12)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-12)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"solver": "lbfgs"}, {"solver": "adam"}),
        ({"early_stopping": True}, {"early_stopping": False}),
        ({"early_stopping": False}, {"early_stopping": True}),
    ],
)
def test_training_goes_on_where_another_kind_of_training_ended(first, then, method):
    model = MLPClassifier(**{**BASE, "max_iter": 3, "warm_start": True}, **first).fit(X, Y).set_params(**then)
    if method == "partial_fit" and model.early_stopping:
        model.set_params(early_stopping=False)
    epochs = len(getattr(model, "loss_curve_", ()))
    getattr(model, method)(X, Y)
    assert len(model.loss_curve_) == epochs + (3 if method == "fit" else 1)
    assert (model.best_loss_ is None) == model.early_stopping
    if model.early_stopping:
        assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 3
        assert model.best_validation_score_ == max(model.validation_scores_)
    model.early_stopping or model.fit(X, Y, X_val=X, y_val=Y)
    assert len(model.validation_scores_) >= 3


def test_nothing_is_left_of_a_net_before():
    model = fitted(inspect_every=1).set_params(inspect_every=0, solver="lbfgs").fit(X, Y)
    for name in ("loss_curve_", "history_", "gradient_report_", "validation_scores_", "best_loss_"):
        assert not hasattr(model, name)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
@pytest.mark.parametrize("name", ["adam", "early stopping", "values by sgd", "counts"])
def test_sparse_rows_train_as_dense_ones(name, layout, dtype):
    """Bit by bit; and with repeated and unsorted indices."""
    sparse = pytest.importorskip("scipy.sparse")
    kind, y, how = CASES[name]
    x = np.where(np.abs(X) > 1, X, 0).astype(dtype)
    rows = getattr(sparse, f"{layout}_array")(x)
    if layout == "csr":
        rows.indices, rows.data = rows.indices.copy(), rows.data.copy()
        ends = rows.indptr[:2]
        rows.indices[ends[0] : ends[1]] = rows.indices[ends[0] : ends[1]][::-1]
        rows.data[ends[0] : ends[1]] = rows.data[ends[0] : ends[1]][::-1]
        rows.has_sorted_indices = False
    dense, model = OURS[kind](**BASE, **how).fit(x, y), OURS[kind](**BASE, **how).fit(rows, y)
    np.testing.assert_array_equal(model.net_.params, dense.net_.params)
    assert model.loss_curve_ == dense.loss_curve_
    np.testing.assert_array_equal(model.predict(rows), dense.predict(x))
    model.partial_fit(rows, y) if not model.early_stopping else None
    model.set_params(solver="lbfgs", early_stopping=False).fit(rows, y)
    assert np.isfinite(model.loss_)


def test_sparse_data_that_is_not_finite_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    x = X.copy()
    x[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        MLPClassifier(**BASE).fit(sparse.csr_array(x), Y)


# ---- what scikit-learn does not have -------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"activation": "gelu"},
        {"activation": ["selu", vg.activations.leaky_relu(0.2)]},
        {"normalization": "batch", "activation": "tanh"},
        {"normalization": "layer"},
        {"residual": True, "hidden_layer_sizes": (16, 16, 16)},
        {"dropout": 0.1},
        {"dropout": [0.1, 0.0]},
        {"learning_rate": vg.schedules.cosine(0.01, 100)},
        {"learning_rate": vg.schedules.step(0.1, 30), "solver": "sgd"},
    ],
    ids=str,
)
@both
def test_more_nets_learn(kind, how):
    model = kind(**{**BASE, "learning_rate_init": 0.01, "max_iter": 60, **how})
    y = Y if kind is MLPClassifier else VALUES
    assert model.fit(X, y).score(X, y) > 0.6
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.net_.params, model.net_.params)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_class_weight_is_a_weight_of_rows():
    by_class = MLPClassifier(**BASE, class_weight={0: 2.0, 1: 0.5}).fit(X, Y, sample_weight=WEIGHTS)
    by_row = MLPClassifier(**BASE).fit(X, Y, sample_weight=WEIGHTS * np.array([2.0, 0.5, 1.0])[Y])
    np.testing.assert_array_equal(by_class.coefs_[0], by_row.coefs_[0])
    balanced = MLPClassifier(**BASE, class_weight="balanced").fit(X, NAMES[Y])
    weights = len(Y) / 3 / np.bincount(Y)
    np.testing.assert_array_equal(balanced.coefs_[0], MLPClassifier(**BASE).fit(X, Y, weights[Y]).coefs_[0])


def test_class_weight_of_a_class_that_a_batch_lacks():
    some = Y > 0
    by_class, by_row = MLPClassifier(**BASE, class_weight={0: 9.0, 2: 3.0}), MLPClassifier(**BASE)
    by_class.partial_fit(X[some], Y[some], classes=[0, 1, 2])
    by_row.partial_fit(X[some], Y[some], np.array([0, 1.0, 3.0])[Y[some]], classes=[0, 1, 2])
    np.testing.assert_array_equal(by_class.coefs_[0], by_row.coefs_[0])


@both
def test_rows_of_ones_own_to_judge_by(kind):
    """They do not change training; with early_stopping they say when it ends, and which epoch was best."""
    y = NAMES[Y] if kind is MLPClassifier else VALUES
    plain = kind(**BASE).fit(X[:250], y[:250])
    model = kind(**BASE).fit(X[:250], y[:250], X_val=X[250:], y_val=y[250:])
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 20
    assert model.validation_scores_[-1] == pytest.approx(model.score(X[250:], y[250:]), rel=1e-12)
    if kind is MLPClassifier:
        right = model.predict_proba(X[250:])[np.arange(80), Y[250:]]
        assert model.validation_loss_curve_[-1] == pytest.approx(-np.log(right).mean(), rel=1e-12)
    else:
        off = model.predict(X[250:]) - y[250:]
        assert model.validation_loss_curve_[-1] == pytest.approx((off**2).mean() / 2, rel=1e-12)
    ended = kind(**{**BASE, "early_stopping": True, "n_iter_no_change": 2, "tol": 1e-2, "max_iter": 500})
    ended.fit(X[:250], y[:250], X_val=X[250:], y_val=y[250:])
    assert ended.n_iter_ < 500
    assert ended.score(X[250:], y[250:]) == pytest.approx(ended.best_validation_score_, rel=1e-12)


def test_callbacks_end_training_and_inspection_is_there():
    seen = []
    model = MLPClassifier(**BASE, callbacks=[lambda net, history: len(history.epochs) == 4], inspect_every=2)
    model.set_params(callbacks=[*model.callbacks, lambda net, history: seen.append(net)]).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_.epochs) == 4
    assert seen == [model.net_] * 4
    assert len(model.history_.gradients) == 4  # of 8 steps
    assert model.gradient_report_.verdict
    assert model.gradient_report_.records["grad_norm"].shape == (3,)


def test_scikit_learns_callbacks_hear_of_each_epoch_and_end_training():
    callback = pytest.importorskip("sklearn.callback")

    class Ending:
        def __init__(self):
            self.begun, self.ended = [], []

        def setup(self, estimator, context):
            self.begun.append("setup")

        def on_fit_task_begin(self, estimator, context, **_):
            self.begun.append(context.task_name)

        def on_fit_task_end(self, estimator, context, **_):
            self.ended.append(context.task_name)
            return self.ended == ["epoch"] * 3

        def teardown(self, estimator, context):
            self.ended.append("teardown")

    ending = Ending()
    assert isinstance(ending, callback.FitCallback)
    model = MLPClassifier(**BASE).set_callbacks(ending).fit(X, Y)
    assert model.n_iter_ == 3
    assert ending.begun == ["setup", "fit", "epoch", "epoch", "epoch"]
    assert ending.ended == ["epoch", "epoch", "epoch", "fit", "teardown"]


@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learns_scorers_see_the_labels_of_the_user(weighted):
    callback = pytest.importorskip("sklearn.callback")
    weights = {"sample_weight": WEIGHTS} if weighted else {}
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**BASE).set_callbacks(monitor).fit(X, NAMES[Y], **weights)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 20
    assert scores[-1] == pytest.approx(model.score(X, NAMES[Y], **weights), rel=1e-12)


def test_scikit_learns_callbacks_are_taken_down_after_a_failure():
    pytest.importorskip("sklearn.callback")
    ended = []

    class Watching:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **_):
            pass

        def on_fit_task_end(self, estimator, context, **_):
            pass

        def teardown(self, estimator, context):
            ended.append("teardown")

    def fail(net, history):
        raise RuntimeError("stop")

    model = MLPClassifier(**BASE, callbacks=[fail]).set_callbacks(Watching())
    before = set(vars(model))
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y)
    assert ended == ["teardown"]
    assert set(vars(model)) == before


def test_ctrl_c_keeps_the_model_with_a_warning():
    def interrupt(net, history):
        if len(history.epochs) == 2:
            raise KeyboardInterrupt

    model = MLPClassifier(**BASE, callbacks=[interrupt])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, Y)
    assert model.n_iter_ == len(model.history_.epochs) == 2
    assert model.predict(X).shape == (330,)


# ---- weights in and out --------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_coefs_are_live_and_may_be_assigned_and_copied(kind, copied):
    model, other = fitted(kind), fitted(kind, random_state=1)
    model.coefs_[0][...] = other.coefs_[0]
    model.coefs_[1:] = other.coefs_[1:]
    model.intercepts_ = [array.tolist() for array in other.intercepts_]
    again = copied(model)
    for one in (model, again):
        np.testing.assert_array_equal(one.predict(X), other.predict(X))
        np.testing.assert_array_equal(one.net_.params, other.net_.params)
        one.coefs_[0][...] = 0
        assert not one.net_.weights[0].any()
    model.partial_fit(X, Y)
    assert model.coefs_[0].any()


def test_layers_may_change_places():
    """The arrays assigned are views of the net into which they go."""
    model = fitted(hidden_layer_sizes=(9, 9, 9))
    first, second = model.coefs_[1].copy(), model.coefs_[2].copy()
    model.coefs_[1], model.coefs_[2] = model.coefs_[2], model.coefs_[1]
    model.predict(X)
    np.testing.assert_array_equal(model.coefs_[1], second)
    np.testing.assert_array_equal(model.coefs_[2], first)


def test_scikit_learns_weights_predict_the_same():
    theirs = neural_network.MLPClassifier(**BASE).fit(X, NAMES[Y])
    ours = MLPClassifier(**BASE).fit(X[:10], NAMES[Y[:10] * 0 + np.arange(10) % 3])
    ours.coefs_, ours.intercepts_ = theirs.coefs_, theirs.intercepts_
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    back = copy.deepcopy(theirs)
    back.coefs_, back.intercepts_ = [w.copy() for w in ours.coefs_], [b.copy() for b in ours.intercepts_]
    np.testing.assert_array_equal(back.predict_proba(X), theirs.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "place", "array", "words"),
    [
        ("coefs_", 0, np.ones((4, 20)), r"coefs_\[0\] must have shape \(12, 20\), as many rows as X has columns"),
        ("coefs_", 0, np.ones((12, 7)), r"intercepts_\[0\] must have shape \(7,\), as many as coefs_\[0\]"),
        ("coefs_", 1, np.ones((7, 10)), r"coefs_\[1\] must have shape \(20, 10\), as many rows as coefs_\[0\] has"),
        ("coefs_", 2, np.ones((10, 2)), r"coefs_\[2\] must have shape \(10, 3\).*as there are outputs, got \(10, 2\)"),
        ("coefs_", 0, np.ones(12), r"coefs_\[0\] must be a matrix of 12 rows, got 1 dimensions"),
        ("coefs_", 0, np.full((12, 20), 1j), r"coefs_\[0\] must hold real numbers, got an array of complex128"),
        ("intercepts_", 1, 1.0, r"intercepts_\[1\] must have shape \(10,\), .* got \(\)"),
        ("intercepts_", slice(1, 3), [np.ones(10)], "one array a layer each, got 3 and 2; assign both"),
        ("coefs_", None, None, "must be lists of arrays, one a layer"),
    ],
)
def test_coefs_of_wrong_shape_are_refused_until_they_are_right(name, place, array, words):
    model = fitted()
    right, before = list(getattr(model, name)), model.predict(X)
    if place is None:
        setattr(model, name, array)
    else:
        getattr(model, name)[place] = array
    for call in (lambda: model.predict(X), lambda: model.partial_fit(X, Y), lambda: pickle.dumps(model)):
        with pytest.raises(ValueError, match=words):
            call()
    setattr(model, name, right)
    np.testing.assert_array_equal(model.predict(X), before)


def test_coefs_of_another_net_may_be_assigned():
    model, other = fitted(), fitted(hidden_layer_sizes=(7, 8, 9))
    model.coefs_, model.intercepts_ = tuple(other.coefs_), tuple(other.intercepts_)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    assert model.n_layers_ == 5


def test_a_model_of_a_pipeline_and_of_named_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"c{i}" for i in range(12)])
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(**BASE)).fit(frame, NAMES[Y])
    assert model.predict(frame[:3]).tolist() == model.predict(frame)[:3].tolist()
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(frame[frame.columns[::-1]])


def test_verbose_tells_each_epoch(capsys):
    MLPClassifier(**{**BASE, "max_iter": 2, "verbose": True}).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Iteration 1", "Iteration 2"]
