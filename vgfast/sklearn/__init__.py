"""Estimators as scikit-learn has them, for its pipelines and searches. They need the extra ``vgfast[sklearn]``.

``MLPClassifier`` and ``MLPRegressor`` are scikit-learn's with the import exchanged; ``RBM`` is a transformer.
"""

from vgfast._check import packages

packages.require("sklearn", "vgfast.sklearn", "'vgfast[sklearn]'")

from vgfast.sklearn.mlp import MLPClassifier, MLPRegressor  # noqa: E402
from vgfast.sklearn.rbm import RBM  # noqa: E402

__all__ = ["RBM", "MLPClassifier", "MLPRegressor"]
