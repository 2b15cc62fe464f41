"""Data, settings and a small model that tests of the estimators share."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import neural_network

from vgfast.sklearn import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(330, 12))
SCORES = X[:, :3] + 0.5 * RNG.normal(size=(330, 3))
Y = SCORES.argmax(axis=1)
VALUES = SCORES[:, 0] * 2 - SCORES[:, 1] ** 2
COUNTS = RNG.poisson(np.exp(X[:, 0] / 2 + 0.5)).astype(float)
WEIGHTS = RNG.uniform(0.1, 3, len(X))
BASE = {"hidden_layer_sizes": (20, 10), "random_state": 0, "max_iter": 20}
NAMES = np.array(["ash", "birch", "cedar"])
SGD = {"solver": "sgd", "learning_rate_init": 0.05}

# What to train, and on which y. 330 rows leave a short last batch in each.
CASES = {
    "adam": ("classifier", Y, {}),
    "adam as rows come": ("classifier", Y, {"shuffle": False}),
    "sgd as rows come": ("classifier", Y, {**SGD, "shuffle": False}),
    "sgd with much decay": ("classifier", NAMES[Y], {**SGD, "alpha": 3.0, "batch_size": 64}),
    "logistic": ("classifier", Y, {**SGD, "activation": "logistic", "nesterovs_momentum": False}),
    "without momentum": ("classifier", Y, {**SGD, "momentum": 0, "activation": "identity"}),
    "invscaling": ("classifier", Y, {**SGD, "learning_rate": "invscaling", "batch_size": 50}),
    "adaptive": ("classifier", Y, {**SGD, "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 2}),
    "early stopping": ("classifier", NAMES[Y], {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.01}),
    "two classes": ("classifier", Y > 0, {"activation": "tanh", "early_stopping": True}),
    "many labels": ("classifier", SCORES > 0, {"alpha": 0.5, "batch_size": 64}),
    "many labels by sgd": ("classifier", SCORES > 0, {**SGD, "early_stopping": True}),
    "values": ("regressor", VALUES, {"alpha": 1.0}),
    "values by sgd": ("regressor", VALUES, {**SGD, "alpha": 1.0, "early_stopping": True}),
    "several values": ("regressor", SCORES, {"alpha": 0.0}),
    "several values by sgd": ("regressor", SCORES, {**SGD, "alpha": 0.0, "batch_size": 64}),
    "counts": ("regressor", COUNTS, {"loss": "poisson", "alpha": 1.0}),
    "counts by sgd": ("regressor", COUNTS, {**SGD, "loss": "poisson", "early_stopping": True}),
}
OURS = {"classifier": MLPClassifier, "regressor": MLPRegressor}
THEIRS = {"classifier": neural_network.MLPClassifier, "regressor": neural_network.MLPRegressor}
both = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])


def fitted(kind=MLPClassifier, **how):
    return kind(**{**BASE, "max_iter": 3, **how}).fit(X, Y)
