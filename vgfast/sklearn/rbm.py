"""A restricted Boltzmann machine as a transformer."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, check_non_negative

from vgfast import _check, _core, pretrain
from vgfast.pretrain.layer import UNIT_TOLERANCE
from vgfast.sklearn.validation import validated

# Those of a machine's settings that may change between calls of partial_fit.
_CHANGEABLE = (
    *("learning_rate", "batch_size", "k", "persistent", "sample_visible", "shuffle", "momentum", "weight_decay"),
    *("sparsity_target", "sparsity_cost"),
)


def _is_binary(estimator: RBM) -> bool:
    if estimator.visible == "gaussian":
        raise AttributeError("a pseudo-likelihood is of binary units; of visible='gaussian' use log_likelihood(X)")
    return True


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """``vgfast.pretrain.RBM``, the restricted Boltzmann machine, as a transformer: rows of X to the probabilities of
    n_components hidden units.

    Its parameters, their order and their defaults are those of ``sklearn.neural_network.BernoulliRBM``, and after them
    those of ``vgfast.pretrain.RBM``, which tells what they are. BernoulliRBM's algorithm is ``persistent=True,
    shuffle=False``; ``partial_fit`` is an epoch on X and not a step. verbose: whether to print a line an epoch.
    random_state: an int or a Generator, for the same weights as of a machine with this rng, a RandomState, or None.

    Attributes: ``rbm_``, the machine, with ``history_`` and all its methods; ``components_`` (n_components,
    n_features), ``intercept_hidden_``, ``intercept_visible_``, ``n_features_in_``, ``feature_names_in_``. Errors:
    TypeError or ValueError for bad arguments, as ``fit`` finds them.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from vgfast.sklearn import RBM
    >>> X, y = load_digits(return_X_y=True)
    >>> features = RBM(50, learning_rate=0.05, n_iter=20, random_state=0)
    >>> model = make_pipeline(features, LogisticRegression(C=10, max_iter=200)).fit(X[:1000] / 16, y[:1000])
    >>> model.score(X[1000:] / 16, y[1000:]) > 0.9
    True
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: bool | int = 0,
        random_state: Any = None,
        visible: str = "binary",
        k: int = 1,
        persistent: bool = False,
        sample_visible: bool | None = None,
        shuffle: bool = True,
        momentum: float | tuple[float, float] = 0.0,
        weight_decay: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        dtype: Any = "float32",
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.visible = visible
        self.k = k
        self.persistent = persistent
        self.sample_visible = sample_visible
        self.shuffle = shuffle
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.dtype = dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = self.visible == "binary"
        tags.transformer_tags.preserves_dtype = [_check.dtype(self.dtype, _core.DTYPES).name]
        return tags

    # ---- training ---------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Start anew, and train for n_iter epochs on X (rows, n_features); returns self. y is not looked at. After
        Ctrl-C the parameters are those of the last whole step."""
        machine = self._new_machine()
        show = _printer(type(self).__name__) if self.verbose else None
        least = 2 if self.visible == "gaussian" else 1
        return self._train_new(machine, X, least, lambda x: machine.fit(x, progress=show))

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One epoch more on X (rows, n_features), from the weights that there are; returns self."""
        if not hasattr(self, "rbm_"):
            machine = self._new_machine()
            return self._train_new(machine, X, 1, machine.partial_fit)
        x, settings = self._checked(X, self.rbm_), self._changeable()
        pretrain.RBM(rng=0, **settings)  # which refuses bad ones, before any change
        for name, value in settings.items():
            setattr(self.rbm_, name, value)
        self.rbm_.partial_fit(x)
        return self

    def _train_new(self, machine: pretrain.RBM, X: Any, rows_least: int, train: Callable[[np.ndarray], Any]) -> Self:
        """Where this machine is refused X, the estimator stays as it was, names of columns included."""
        before = vars(self).copy()
        try:
            train(self._checked(X, machine, reset=True, rows_least=rows_least))
        finally:
            if machine.n_features_in_:  # it has begun
                self.rbm_ = machine
            else:
                self.__dict__ = before
        return self

    def _changeable(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CHANGEABLE}

    def _new_machine(self) -> pretrain.RBM:
        seed = self.random_state
        if not isinstance(seed, Integral | np.random.Generator):
            seed = int(check_random_state(seed).randint(2**31 - 1))
        return pretrain.RBM(
            self.n_components,
            visible=self.visible,
            n_iter=self.n_iter,
            dtype=self.dtype,
            random_state=seed,
            **self._changeable(),
        )

    def _checked(self, X: Any, machine: pretrain.RBM, reset: bool = False, rows_least: int = 1) -> np.ndarray:
        """X as scikit-learn checks it, in the machine's dtype."""
        x = validated(self, X, reset=reset, dtype=machine.dtype, ensure_min_samples=rows_least)
        if machine.visible == "binary" and x.min() < -UNIT_TOLERANCE:
            fix = "scale it, or use visible='gaussian' on columns of mean 0 and variance 1"
            check_non_negative(x, f"{type(self).__name__}, whose binary units are from 0 to 1; {fix}")
        return x

    def _ready(self, X: Any) -> tuple[pretrain.RBM, np.ndarray]:
        """The machine, which has been trained, and X for it."""
        check_is_fitted(self, "rbm_")
        return self.rbm_, self._checked(X, self.rbm_)

    # ---- the machine ------------------------------------------------------------------------------------

    @property
    def components_(self) -> np.ndarray:
        """The weights (n_components, n_features): a view."""
        return self.rbm_.components_

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """The hidden units' biases (n_components,): a view."""
        return self.rbm_.intercept_hidden_

    @property
    def intercept_visible_(self) -> np.ndarray:
        """The visible units' biases (n_features,): a view."""
        return self.rbm_.intercept_visible_

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def transform(self, X: Any) -> np.ndarray:
        """P(h = 1 | v) for each row of X: (rows, n_components), of dtype."""
        machine, x = self._ready(X)
        return machine.transform(x)

    def gibbs(self, v: Any) -> np.ndarray:
        """One Gibbs step from v (rows, n_features): h drawn from P(h | v), then v from P(v | h)."""
        machine, x = self._ready(v)
        return machine.gibbs(x)

    @available_if(_is_binary)
    def score_samples(self, X: Any) -> np.ndarray:
        """The pseudo-likelihood of each row, (rows,): over all units, where BernoulliRBM takes one at random."""
        machine, x = self._ready(X)
        return machine.score_samples(x)

    def free_energy(self, X: Any) -> np.ndarray:
        """F (rows,) with p(v) = exp(-F(v)) / Z."""
        machine, x = self._ready(X)
        return machine.free_energy(x)

    def log_likelihood(self, X: Any, log_partition: pretrain.LogPartition | None = None) -> np.ndarray:
        """log p(v) of each row, (rows,). log_partition: of an earlier ``rbm_.log_partition``; else it is found anew."""
        machine, x = self._ready(X)
        return machine.log_likelihood(x, log_partition)


def _printer(name: str) -> Callable[[int, int, pretrain.PretrainHistory], None]:
    """What prints a line after each epoch."""
    printed = 0

    def show(done: int, total: int, history: pretrain.PretrainHistory) -> None:
        nonlocal printed
        if len(history.epochs) > printed:
            printed = len(history.epochs)
            last = history.epochs[-1]
            error, seconds = last["reconstruction_error"], last["seconds"]
            print(f"[{name}] epoch {printed}: reconstruction error {error:.4g}, {seconds:.2f} s")

    return show
