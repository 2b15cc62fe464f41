"""scikit-learn's multi-layer perceptrons, with the parameters that it has and some that it has not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import type_of_target, unique_labels

import vgfast as vg
from vgfast.model.activations import sigmoid
from vgfast.model.losses import softmax
from vgfast.sklearn import poisson
from vgfast.sklearn.base import SPARSE, BaseMLP, has_steps
from vgfast.sklearn.epochs import Epochs, Order
from vgfast.sklearn.validation import validated, with_callbacks
from vgfast.sklearn.weights import by_class


def _keep(estimator: Any, parameters: dict[str, Any]) -> None:
    """The arguments of a constructor, just as they are."""
    vars(estimator).update({name: value for name, value in parameters.items() if name not in ("self", "__class__")})


class MLPClassifier(ClassifierMixin, BaseMLP):
    """``sklearn.neural_network.MLPClassifier`` on vgfast's core: the same parameters, attributes and results, for the
    same ``random_state`` to rounding, in a fraction of the time; and parameters that it does not have.

    Labels are numbers, strings, booleans, or an indicator matrix for several labels a row. Training is in float32
    where X is, else in float64. X may be sparse. scikit-learn's documentation says what its parameters do; ``alpha`` is
    divided by the rows of each batch there and here, and so is not the weight decay of other libraries.

    More than there:

    activation : scikit-learn's four, or any of vgfast's, by name or object; or a list, one a hidden layer.
    learning_rate : "constant", "invscaling", "adaptive", or a schedule (``vg.schedules``): a function of the step.
    normalization, residual, dropout : as of ``vg.MLP``.
    class_weight : None, "balanced", or a dict from labels to weights, which are multiplied with sample_weight.
    callbacks : as of ``vg.MLP.fit``, called after each epoch with (net, history).
    inspect_every : inspect each step whose number divides by it; 0 is never.

    With one of scikit-learn's activations, and without normalization and residual connections, first weights are
    scikit-learn's; else those of ``vg.init``'s "auto".

    Attributes: all of scikit-learn's. ``coefs_`` and ``intercepts_`` are live views, and may be assigned. More than
    there: ``net_``, the ``vg.MLP``; ``history_``, its ``History``; ``gradient_report_``, the inspection of the first
    batch after training, if inspect_every is above 0; ``validation_loss_curve_``, the loss on the rows held out, after
    each epoch, without the penalty, if there are such rows. Errors: ValueError or TypeError, and all is as it was.

    >>> from sklearn.datasets import load_digits
    >>> from vgfast.sklearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((64,), random_state=0, tol=1e-2).fit(X[:1000] / 16, y[:1000])
    >>> model.score(X[1000:] / 16, y[1000:]) > 0.85
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        normalization: Any = None,
        residual: Any = None,
        dropout: Any = 0.0,
        class_weight: Any = None,
        callbacks: Sequence[Any] | None = None,
        inspect_every: int = 0,
    ) -> None:
        _keep(self, locals())

    # ---- y ----------------------------------------------------------------------------------------------

    @property
    def _binary(self) -> bool:
        return self.n_outputs_ == 1

    @property
    def _net_loss(self) -> str:  # type: ignore[override]
        return "cross_entropy" if self.out_activation_ == "softmax" else "binary_cross_entropy"

    @property
    def _gradient_factor(self) -> float:  # type: ignore[override]
        return 1.0 if self.out_activation_ == "softmax" else float(self.n_outputs_)

    _loss_factor = _gradient_factor  # type: ignore[assignment]

    def _read_data(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        how = {"accept_sparse": SPARSE, "multi_output": True, "dtype": (np.float64, np.float32), "reset": reset}
        X, y = validated(self, X, y, **how)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_classes(y)
        else:
            self._compare_classes(y)
        binary = self._binarize(y)
        self.out_activation_ = "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"
        return X, binary

    def _binarize(self, y: Any) -> np.ndarray:
        """y as the label binarizer gives it, (rows, outputs) bool, of labels that are known."""
        if y.ndim == 2 or len(self.classes_) < 2:
            return self._label_binarizer.transform(y).astype(bool)
        places = np.searchsorted(self.classes_, y)
        return places[:, None] == ([1] if len(self.classes_) == 2 else np.arange(len(self.classes_)))

    def _learn_classes(self, y: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _compare_classes(self, y: Any) -> None:
        classes = unique_labels(y)
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}; name "
                "all classes in the first call of partial_fit"
            )

    def _targets(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return y.argmax(axis=1) if self.out_activation_ == "softmax" else y.astype(dtype)

    def _held_out_y(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise ValueError(f"y_val has the label {unknown[0]!r}, which y has not; it has {self.classes_}")
        binary = self._label_binarizer.transform(y).astype(bool)
        return binary, self._scored_y(binary)

    def _scored_y(self, y: np.ndarray) -> np.ndarray:
        return y.argmax(axis=1) if self.out_activation_ == "softmax" else y

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        return y if self._binary else None

    def _score_outputs(self, z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> float:
        predicted = z.argmax(axis=1) if self.out_activation_ == "softmax" else z > 0
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def _weights_of_rows(self, y: np.ndarray, sample_weight: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        given = self.class_weight
        if given is None:
            return sample_weight
        if incremental and given == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows, which partial_fit has not; use "
                "sklearn.utils.class_weight.compute_class_weight on all of y, and give what it gives as a dict"
            )
        several = self.out_activation_ == "logistic" and y.shape[1] > 1
        classes = y.astype(np.int64) if several else self._scored_y(y).astype(np.int64).ravel()
        weights = compute_sample_weight(
            given if several or given == "balanced" else by_class(given, self.classes_), classes
        )
        return weights if sample_weight is None else weights * sample_weight

    # ---- the methods ------------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X (rows, n_features) and y (rows,), or (rows, labels) of 0 and 1; returns self.

        sample_weight (rows,): at least 0. X_val and y_val: rows to judge each epoch by, in ``validation_scores_`` and
        ``validation_loss_curve_``; with early_stopping they are those that it goes by. After Ctrl-C, which gives a
        warning, the model is that of the last whole step.
        """
        return self._train(X, y, sample_weight, (X_val, y_val))

    @has_steps
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """One epoch on X and y, from the weights that there are, with what the optimizer has kept; returns self.

        classes: all labels that there will be; needed in the first call unless y has several labels a row.
        """
        first = not hasattr(self, "classes_")
        self._first_classes(y, classes)
        try:
            return self._train(X, y, sample_weight, (None, None), incremental=True)
        except BaseException:
            if first:
                del self.classes_, self._label_binarizer
            raise

    def _first_classes(self, y: Any, classes: Any) -> None:
        if hasattr(self, "classes_"):
            if classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
            return
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit, got None; name all labels")
        multilabel = type_of_target(y).startswith("multilabel")
        self._learn_classes(y if multilabel else unique_labels(classes))

    def predict(self, X: Any) -> np.ndarray:
        """The labels (rows,) of X (rows, n_features), or (rows, labels) of 0 and 1."""
        z = self._outputs(X)
        if self.out_activation_ == "softmax":
            return self.classes_[z.argmax(axis=1)]
        chosen = (z.ravel() if self._binary else z) > 0
        return self._label_binarizer.inverse_transform(chosen.astype(np.int64))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (rows, classes)."""
        z = self._outputs(X)
        if self.out_activation_ == "softmax":
            return softmax(z)
        p = sigmoid(z)
        return np.hstack([1 - p, p]) if self._binary else p

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of ``predict_proba``."""
        p = self.predict_proba(X)
        return np.log(p, out=p)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """``sklearn.neural_network.MLPRegressor`` on vgfast's core. See ``MLPClassifier``, of whose parameters it has all
    but class_weight, and before them

    loss : "squared_error", half the squared error; or "poisson", of which predictions are exp of the outputs, and
        which takes neither callbacks nor inspect_every.

    Of several outputs ``loss_`` has the penalty divided by their number, so that it is what training makes small.

    >>> import numpy as np
    >>> from vgfast.sklearn import MLPRegressor
    >>> X = np.linspace(-2, 2, 200).reshape(-1, 1)
    >>> y = np.sin(2 * X).ravel()
    >>> model = MLPRegressor(hidden_layer_sizes=30, activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.99
    True
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        normalization: Any = None,
        residual: Any = None,
        dropout: Any = 0.0,
        callbacks: Sequence[Any] | None = None,
        inspect_every: int = 0,
    ) -> None:
        _keep(self, locals())

    # ---- y ----------------------------------------------------------------------------------------------

    _net_loss = "mse"

    @property
    def _gradient_factor(self) -> float:  # type: ignore[override]
        return 1.0 if self.loss == "poisson" else self.n_outputs_ / 2

    @property
    def _loss_factor(self) -> float:  # type: ignore[override]
        return 1.0 if self.loss == "poisson" else 0.5

    def _read_data(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        how = {"accept_sparse": SPARSE, "multi_output": True, "y_numeric": True, "reset": reset}
        X, y = validated(self, X, y, dtype=(np.float64, np.float32), **how)
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        return X, self._as_columns(y)

    def _as_columns(self, y: Any) -> np.ndarray:
        y = y.toarray() if issparse(y) else y
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"loss='poisson' is of counts of at least 0, got {y.min()}; use loss='squared_error'")
        return y.reshape(len(y), -1)

    def _targets(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return y.astype(dtype, copy=False)

    def _held_out_y(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        y = self._as_columns(y if issparse(y) else np.asarray(y))
        return y, y

    def _score_outputs(self, z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> float:
        return float(r2_score(y, self._values(z), sample_weight=sample_weight))

    def _values(self, z: np.ndarray) -> np.ndarray:
        return np.exp(z) if self.loss == "poisson" else z

    # ---- loss="poisson" ---------------------------------------------------------------------------------

    def _loss_of_outputs(self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None) -> float:
        if self.loss == "poisson":
            return poisson.loss_and_derivative(z, t, sample_weight)[0]
        return super()._loss_of_outputs(z, t, sample_weight)

    def _loss_and_gradients(self, net: vg.MLP, X: Any, t: np.ndarray, sample_weight: Any) -> tuple[float, Any]:
        if self.loss != "poisson":
            return super()._loss_and_gradients(net, X, t, sample_weight)
        loss, derivative = poisson.loss_and_derivative(net.forward(X), t, sample_weight)
        return loss, net.backward(X, derivative)

    def _run(
        self,
        net: vg.MLP,
        X: Any,
        t: np.ndarray,
        sample_weight: np.ndarray | None,
        batch_size: int,
        order: Order | None,
        epochs: Epochs,
    ) -> None:
        if self.loss != "poisson":
            super()._run(net, X, t, sample_weight, batch_size, order, epochs)
            return
        most = 1 if epochs.incremental else self.max_iter
        poisson.train(net, X, t, most, batch_size, self._optimizer.optimizer, order, sample_weight, epochs.end)

    # ---- the methods ------------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X (rows, n_features) and y (rows,) or (rows, n_outputs); returns self. All else as for
        ``MLPClassifier.fit``."""
        return self._train(X, y, sample_weight, (X_val, y_val))

    @has_steps
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch on X and y, from the weights that there are, with what the optimizer has kept; returns self."""
        return self._train(X, y, sample_weight, (None, None), incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The values (rows,) or (rows, n_outputs) for X (rows, n_features)."""
        values = self._values(self._outputs(X))
        return values.ravel() if values.shape[1] == 1 else values
