"""``vgfast.sklearn.RBM``: an estimator as scikit-learn wants it, which is ``vgfast.pretrain.RBM``."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from vgfast import pretrain

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import estimator_checks

from vgfast.sklearn import RBM

OUT_OF_RANGE = ("must be from 0 to 1 for binary units", "Negative values in data")


class Squashed(RBM):
    """One that brings the data of scikit-learn's checks, which goes up from 0, into [0, 1)."""

    def _checked(self, X, *rest, **how):
        x = super()._checked(X, *rest, **how)
        return x / (1 + x)


def failures(estimator):
    """{name of a check of scikit-learn: its error}"""
    try:
        results = estimator_checks.check_estimator(estimator, on_fail=None, on_skip=None)
    except TypeError:
        pytest.skip("before scikit-learn 1.6 one failed check hides the others")
    assert len(results) > 30
    return {result["check_name"]: str(result["exception"]) for result in results if result["status"] == "failed"}


@pytest.mark.filterwarnings("ignore")  # the checks warn on purpose
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scikit_learn_finds_nothing_wrong(dtype):
    settings = {"n_components": 3, "n_iter": 2, "dtype": dtype}
    assert failures(RBM(visible="gaussian", learning_rate=1e-5, **settings)) == {}
    assert failures(Squashed(**settings)) == {}
    # Its data is outside [0, 1], where nothing is to be learned by binary units, and then that is what is said.
    assert all(any(text in error for text in OUT_OF_RANGE) for error in failures(RBM(**settings)).values())


def test_names_of_columns(digits):
    pandas = pytest.importorskip("pandas")
    rbm, frame = RBM(3, n_iter=1, random_state=0), pandas.DataFrame(digits[0]).add_prefix("pixel")
    estimator_checks.check_dataframe_column_names_consistency("RBM", RBM(3, visible="gaussian", learning_rate=1e-5))
    found = rbm.set_output(transform="pandas").fit_transform(frame)
    assert list(found.columns) == list(rbm.get_feature_names_out()) == ["rbm0", "rbm1", "rbm2"]
    assert list(rbm.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        rbm.transform(frame.add_prefix("my_"))


@pytest.fixture(scope="module")
def pipeline():
    rbm = RBM(20, learning_rate=0.1, n_iter=20, random_state=0)
    return Pipeline([("rbm", rbm), ("classes", LogisticRegression(C=10, solver="newton-cholesky"))])


def test_a_pipeline_of_it_classifies_is_cloned_searched_and_pickled(digits, pipeline):
    X, y = digits[0][:400], digits[1][:400]
    model = clone(pipeline).fit(X, y)
    assert model.score(X, y) > 0.8
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(clone(model).fit(X, y)["rbm"].components_, model["rbm"].components_)
    search = GridSearchCV(pipeline, {"rbm__n_components": [1, 20]}, cv=2).fit(X, y)
    assert search.best_params_ == {"rbm__n_components": 20}
    assert search.best_score_ > search.cv_results_["mean_test_score"][0] + 0.3


def test_it_is_the_machine_of_pretrain(digits):
    X = digits[0][:200]
    settings = {"k": 2, "persistent": True, "momentum": (0.5, 0.9), "weight_decay": 1e-3, "sparsity_target": 0.1}
    ours = RBM(8, n_iter=3, random_state=5, **settings).fit(X)
    machine = pretrain.RBM(8, n_iter=3, rng=5, **settings).fit(X)
    np.testing.assert_array_equal(ours.components_, machine.components_)
    np.testing.assert_array_equal(ours.intercept_hidden_, machine.intercept_hidden_)
    np.testing.assert_array_equal(ours.intercept_visible_, machine.intercept_visible_)
    for method in ("transform", "free_energy", "score_samples", "gibbs", "log_likelihood"):
        np.testing.assert_array_equal(getattr(ours, method)(X), getattr(machine, method)(X))
    given = pretrain.LogPartition(0.0, 0.0, None)
    np.testing.assert_array_equal(ours.log_likelihood(X, given), -ours.free_energy(X))


def test_its_first_parameters_are_those_of_scikit_learn():
    ours, theirs = RBM().get_params(), BernoulliRBM().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert RBM(7).n_components == 7
    machine = pretrain.RBM()
    assert all(getattr(machine, name) == value for name, value in ours.items() if hasattr(machine, name))


def test_epoch_by_epoch(digits):
    X = digits[0][:200]
    whole, parts = RBM(8, n_iter=3, random_state=0).fit(X), RBM(8, n_iter=1, random_state=0)
    for _ in range(3):
        assert parts.partial_fit(X) is parts
    np.testing.assert_array_equal(parts.components_, whole.components_)
    before = parts.components_.copy()
    parts.set_params(learning_rate=1e-30).partial_fit(X)
    np.testing.assert_array_equal(parts.components_, before)
    with pytest.raises(ValueError, match="is expecting 64 features"):
        parts.partial_fit(X[:, :3])


@pytest.mark.parametrize("seed", [np.random.RandomState, None])
def test_random_states_of_scikit_learn(digits, seed):
    """A RandomState, and the global one."""
    np.random.seed(3)  # noqa: NPY002
    first = RBM(4, n_iter=1, random_state=seed and seed(3)).fit(digits[0][:50]).components_
    np.random.seed(3)  # noqa: NPY002
    again = RBM(4, n_iter=1, random_state=seed and seed(3)).fit(digits[0][:50]).components_
    np.testing.assert_array_equal(first, again)
    other = RBM(4, n_iter=1, random_state=seed and seed(4)).fit(digits[0][:50]).components_
    assert not np.array_equal(first, other)


def test_what_a_stopped_training_leaves(digits, monkeypatch):
    X, rbm = digits[0][:200], RBM(4, n_iter=3, random_state=0)
    with pytest.raises(NotFittedError):
        rbm.transform(X)
    with pytest.raises(ValueError, match="must be from 0 to 1 for binary units"):
        rbm.fit(16 * X)
    with pytest.raises(NotFittedError):
        rbm.transform(X)
    rbm.fit(X)
    kept = rbm.components_.copy()
    with pytest.raises(ValueError, match=r"Negative values .* RBM, whose binary units .*; scale it, or use visible="):
        rbm.fit(-X)
    np.testing.assert_array_equal(rbm.components_, kept)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain.RBM, "_note", interrupted)
    rbm.set_params(n_components=5)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(X)
    assert rbm.transform(X).shape == (200, 5)


def test_gaussian_units_have_no_pseudo_likelihood(digits):
    X = StandardScaler().fit_transform(digits[0][:200, 2:6])
    rbm = RBM(4, visible="gaussian", learning_rate=1e-3, n_iter=2, random_state=0).fit(X)
    assert not hasattr(rbm, "score_samples")
    assert rbm.log_likelihood(X).shape == (200,)
    with pytest.raises(ValueError, match="drop the 1 constant column"):
        rbm.fit(np.hstack([X, np.ones((200, 1))]))


def test_log_likelihood_as_is_told_where_there_is_no_pseudo_likelihood(digits):
    X = StandardScaler().fit_transform(digits[0][:200, 2:6])
    rbm = RBM(4, visible="gaussian", learning_rate=1e-3, n_iter=2, random_state=0).fit(X)
    with pytest.raises(AttributeError) as caught:
        rbm.score_samples(X)
    told = str(caught.value.__cause__ or caught.value)
    assert eval("rbm." + re.search(r"use (.*)", told)[1], {"rbm": rbm, "X": X}).shape == (200,)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 16)])
def test_data_out_of_range_is_scaled_or_of_gaussian_units(digits, low, high):
    X = low + (high - low) * digits[0][:200, 2:6]
    words = r"; scale it, or use visible='gaussian' on columns of mean 0 and variance 1\.?$"
    with pytest.raises(ValueError, match=words):
        RBM(4, n_iter=1).fit(X)
    assert RBM(4, n_iter=1).fit((X - low) / (high - low)).transform(digits[0][:9, 2:6]).shape == (9, 4)
    Z = StandardScaler().fit_transform(X)
    assert RBM(4, n_iter=1, visible="gaussian", learning_rate=1e-3).fit(Z).transform(Z).shape == (200, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("machine", [RBM, pretrain.RBM, pretrain.Autoencoder])
def test_what_scikit_learn_has_scaled_is_in_range(machine, dtype):
    """Where rounding takes it out of [0, 1], as it does for two of three such arrays, it is clipped."""
    for scaled in ("float32", "float64"):
        X = np.random.default_rng(1).normal(5, 3, (100, 20)).astype(scaled)
        Z = MinMaxScaler().fit_transform(X)
        assert Z.max() > 1
        made = machine(3, n_iter=1, dtype=dtype).fit(Z)
        np.testing.assert_array_equal(made.transform(Z), made.transform(Z.clip(0, 1)))
        assert made.transform(-1e-7 * Z).shape == (100, 3)
        with pytest.raises(ValueError, match=r"got 1\.0000"):
            made.fit(1.00001 * Z)
        with pytest.raises(ValueError, match="from 0 to 1"):
            made.fit(Z - 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "x", None])
def test_a_dtype_that_there_is_not(digits, dtype):
    """Also where only the tags of the estimator are asked for, as by a page that shows it."""
    for ask in (lambda: RBM(dtype=dtype).fit(digits[0]), RBM(dtype=dtype).__sklearn_tags__):
        with pytest.raises(ValueError, match=r"dtype .*; there is float32, float64$") as caught:
            ask()
    dtype = re.search("there is (.*), ", str(caught.value))[1]
    assert RBM(3, n_iter=1, dtype=dtype).fit(digits[0][:50]).transform(digits[0]).dtype == dtype


def test_constant_columns_are_dropped_as_is_told(digits):
    rbm, X = RBM(4, visible="gaussian", learning_rate=1e-3, n_iter=1), digits[0][:200]
    with pytest.raises(ValueError, match="drop the 11 constant columns, for example by X = ") as caught:
        rbm.fit(X)
    kept = eval(re.search("by X = (.*), and standardise", str(caught.value))[1], {"np": np, "X": X})
    assert rbm.fit(StandardScaler().fit_transform(kept)).n_features_in_ == 53


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (True, TypeError), ("a", ValueError), (1.5, ValueError), ([1, 2], ValueError)]
)
def test_bad_random_states_are_named_as_they_were_given(digits, seed, error):
    with pytest.raises(error, match=r"random_state must be None, a seed|cannot be used to seed"):
        RBM(4, n_iter=1, random_state=seed).fit(digits[0][:50])

    def first(seed):
        return RBM(4, n_iter=1, random_state=seed).fit(digits[0][:50]).components_

    np.testing.assert_array_equal(first(np.int64(1)), first(np.random.default_rng(1)))
    assert first(None).shape == (4, 64)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_what_is_refused_changes_nothing(digits):
    """Neither the machine nor what is known of the columns."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(digits[0][:100]).add_prefix("pixel")
    bad = {
        "values": (16 * frame.iloc[:, :5]).add_prefix("my_"),
        "names": -frame.add_prefix("my_"),
        "no columns": frame.iloc[:, :0],
        "NaN": frame * np.nan,
        "one dimension": frame["pixel0"],
    }
    for x in bad.values():
        new = RBM(4, n_iter=1, random_state=0)
        for call in (new.fit, new.partial_fit):
            with pytest.raises(ValueError):  # noqa: PT011 - sentences of scikit-learn's too
                call(x)
        assert vars(new) == vars(RBM(4, n_iter=1, random_state=0))
    rbm = RBM(4, n_iter=1, random_state=0).fit(frame)
    before = pickle.dumps(rbm)
    for x in bad.values():
        for call in (rbm.fit, rbm.partial_fit, rbm.transform):
            with pytest.raises(ValueError):  # noqa: PT011
                call(x)
    assert pickle.dumps(rbm) == before
    for settings in ({"learning_rate": -1}, {"k": 0}, {"persistent": "no"}, {"momentum": (0.5,)}, {"shuffle": 2}):
        machine = pickle.dumps(rbm.rbm_)
        for call in (rbm.set_params(**settings).fit, rbm.partial_fit):
            with pytest.raises((TypeError, ValueError), match=next(iter(settings))):
                call(frame)
        assert pickle.dumps(rbm.rbm_) == machine
        rbm.set_params(**{name: RBM().get_params()[name] for name in settings})
    assert len(rbm.partial_fit(frame).rbm_.history_.epochs) == 2


def test_ctrl_c_in_the_first_epoch_of_partial_fit(digits, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    rbm = RBM(4, random_state=0)
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.RBM, "_note", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rbm.partial_fit(digits[0][:100])
    assert rbm.partial_fit(digits[0][:100]).transform(digits[0]).shape == (1797, 4)


def test_a_line_an_epoch(digits, capsys):
    RBM(4, n_iter=2, random_state=0, verbose=1).fit(digits[0][:100])
    said = capsys.readouterr().out
    assert re.findall(r"^\[RBM\] epoch (\d): reconstruction error 0\.\d+, \d\.\d\d s$", said, re.MULTILINE) == [
        "1",
        "2",
    ]
    assert said.count("\n") == 2
    RBM(4, n_iter=2, random_state=0).fit(digits[0][:100])
    assert capsys.readouterr().out == ""


def test_without_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None; import vgfast.pretrain; import vgfast.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: vgfast.sklearn needs scikit-learn, which is not installed; install it with: pip install "
        "'vgfast[sklearn]'"
    )
