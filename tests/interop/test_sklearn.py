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
from sklearn.preprocessing import StandardScaler
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
