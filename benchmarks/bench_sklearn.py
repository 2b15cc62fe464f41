"""``fit`` and ``predict_proba`` of the estimators, beside scikit-learn's own. To be run where nothing else does, with
OPENBLAS_NUM_THREADS and VGFAST_NUM_THREADS alike.

pytest benchmarks/bench_sklearn.py
"""

import functools

import numpy as np
import pytest
from bench_data import side_by_side
from sklearn import neural_network

from vgfast import datasets
from vgfast import sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)


@functools.cache
def digits():
    return datasets.digits()[:2]


@functools.cache
def mnist():
    return datasets.mnist_subset()[:2]


def values():
    X = RNG.normal(size=(20_640, 8))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * RNG.normal(size=len(X))


# Data, kind, hidden layers, epochs.
NETS = {
    "digits (100,)": (digits, "MLPClassifier", (100,), 30),
    "digits (100, 50)": (digits, "MLPClassifier", (100, 50), 30),
    "values (64, 64)": (values, "MLPRegressor", (64, 64), 3),
    "MNIST (256, 128)": (mnist, "MLPClassifier", (256, 128), 4),
}


@pytest.mark.benchmark(group="estimators")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [32, 200])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("name", NETS)
def test_fit(benchmark, record, name, solver, batch_size, dtype):
    """scikit-learn's time over vgfast's, from the same first weights to the same losses."""
    load, kind, hidden, epochs = NETS[name]
    X, y = load()
    X, y = X.astype(dtype), y.astype(dtype) if kind == "MLPRegressor" else y
    how = {"hidden_layer_sizes": hidden, "solver": solver, "batch_size": batch_size, "random_state": 0, "tol": 0}
    how |= {"max_iter": epochs if benchmark.enabled else 1, "n_iter_no_change": 1000}
    X, y = (X, y) if benchmark.enabled else (X[:300], y[:300])
    models = [getattr(room, kind)(**how) for room in (neural_network, ours)]
    args = lambda: models[0].fit(X, y), lambda: models[1].fit(X, y), 3 if benchmark.enabled else 1
    record(theirs_over_ours=benchmark.pedantic(side_by_side, args=args, rounds=1))
    np.testing.assert_allclose(models[0].loss_curve_[0], models[1].loss_curve_[0], rtol=1e-4)


@pytest.mark.benchmark(group="estimators")
def test_probabilities_of_one_row(benchmark, record):
    """Those of 500 rows, one after the other."""
    X, y = digits()
    models = [room.MLPClassifier(random_state=0, max_iter=2).fit(X, y) for room in (neural_network, ours)]
    works = [lambda model=model: [model.predict_proba(X[:1]) for _ in range(500)] for model in models]
    args = *works, 5 if benchmark.enabled else 1
    record(theirs_over_ours=benchmark.pedantic(side_by_side, args=args, rounds=1))
