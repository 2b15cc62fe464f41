"""What ``MLPClassifier`` and ``MLPRegressor`` have in common."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

import vgfast as vg
from vgfast.sklearn import lbfgs
from vgfast.sklearn.epochs import Epochs, HeldOut, Order, loss_of_outputs
from vgfast.sklearn.parameters import architecture, check_parameters, check_unchanged, hidden_sizes, is_scikit_learns
from vgfast.sklearn.solver import Solver, not_finite
from vgfast.sklearn.validation import CALLBACKS_OWN, CallbackSupport, Task, begin_task, validated
from vgfast.sklearn.weights import checked_arrays

SPARSE = ("csr",)
# What is noted of a net while it is trained, and not true of another one.
_OF_ONE_NET = (
    "_optimizer",
    "_no_improvement_count",
    "best_loss_",
    "best_validation_score_",
    "gradient_report_",
    "history_",
    "loss_",
    "loss_curve_",
    "validation_loss_curve_",
    "validation_scores_",
)


def _is_stochastic(estimator: BaseMLP) -> bool:
    if estimator.solver not in ("sgd", "adam"):
        raise AttributeError(f"partial_fit takes steps, which solver={estimator.solver!r} does not; use sgd or adam")
    return True


class BaseMLP(CallbackSupport, BaseEstimator):
    """``net_`` is the ``vg.MLP``; ``coefs_`` and ``intercepts_`` are live views of its weights and biases, and may be
    assigned. Subclasses say what y is."""

    _loss_factor: float  # by what the net's loss has to be multiplied to be scikit-learn's
    _gradient_factor: float  # and its gradient
    _net_loss: str
    coefs_: Any  # a list of arrays, for which a user may assign anything
    intercepts_: Any

    # ---- what subclasses say ----------------------------------------------------------------------------

    def _read_data(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        """X checked, and y as (rows, outputs)."""
        raise NotImplementedError

    def _targets(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What the net takes for y of ``_read_data``."""
        raise NotImplementedError

    def _score_outputs(self, z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> float:
        raise NotImplementedError

    def _weights_of_rows(self, y: np.ndarray, sample_weight: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        return sample_weight

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        """By what rows are held out in equal shares."""
        return None

    def _held_out_y(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """y_val as ``_read_data`` gives y, and as ``_score_outputs`` takes it."""
        raise NotImplementedError

    def _scored_y(self, y: np.ndarray) -> np.ndarray:
        """y of ``_read_data``, as ``_score_outputs`` takes it."""
        return y

    def _loss_of_outputs(self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None) -> float:
        return self._loss_factor * loss_of_outputs(self._net_loss, z, t, sample_weight)

    def _loss_and_gradients(self, net: vg.MLP, X: Any, t: np.ndarray, sample_weight: Any) -> tuple[float, Any]:
        """Of the sum over the outputs."""
        gradients = net.gradients(X, t, sample_weight)
        gradients.flat[...] *= self._gradient_factor
        return self._gradient_factor * gradients.loss, gradients

    # ---- the net ----------------------------------------------------------------------------------------

    def _new_net(self, sizes: list[int], dtype: np.dtype) -> vg.MLP:
        """With scikit-learn's first weights still to come, where it has some."""
        init = "zeros" if is_scikit_learns(self) else "auto"
        made_with = architecture(self)
        how = {name: value for name, value in made_with.items() if name != "hidden_layer_sizes"}
        seed = 0 if init == "zeros" and how["dropout"] == 0 else int(self._random_state.randint(2**31 - 1))
        net = vg.MLP(sizes, loss=self._net_loss, init=init, dtype=dtype, rng=seed, **how)
        self._made_with = made_with
        return net

    def _begin(self, n_features: int, dtype: np.dtype) -> None:
        """A new net, and nothing learned yet."""
        sizes = [n_features, *hidden_sizes(self), self.n_outputs_]
        net = self._new_net(sizes, dtype)
        if is_scikit_learns(self):
            for weights, biases in zip(net.weights, net.biases, strict=True):
                bound = np.sqrt((2 if self.activation == "logistic" else 6) / sum(weights.shape))
                weights[...] = self._random_state.uniform(-bound, bound, weights.shape)
                biases[...] = self._random_state.uniform(-bound, bound, biases.shape)
        self._link(net)
        self.n_iter_ = self.t_ = 0
        for name in _OF_ONE_NET:
            self.__dict__.pop(name, None)
        if self.solver != "lbfgs":
            self._begin_losses()

    def _begin_losses(self) -> None:
        held_out = self.early_stopping or self._has_validation
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.validation_scores_: list[float] | None = [] if held_out else None
        self.validation_loss_curve_: list[float] | None = [] if held_out else None
        self.best_loss_ = None if self.early_stopping else np.inf
        self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _go_on_with_losses(self) -> None:
        """What an earlier training, by lbfgs or without rows held out, has not noted."""
        if not hasattr(self, "loss_curve_"):
            self._begin_losses()
        if (self.early_stopping or self._has_validation) and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        if self.early_stopping:
            self.best_loss_ = None
            self.best_validation_score_ = (
                -np.inf if self.best_validation_score_ is None else self.best_validation_score_
            )
        elif self.best_loss_ is None:
            self.best_loss_ = np.inf

    def _link(self, net: vg.MLP) -> None:
        self.net_ = net
        self.n_layers_ = len(net.weights) + 1
        self.coefs_, self.intercepts_ = list(net.weights), list(net.biases)
        self._views = [*self.coefs_, *self.intercepts_]

    def _network(self) -> vg.MLP:
        """The net, with the arrays that a user has put into ``coefs_`` or ``intercepts_``."""
        views = self.__dict__.get("_views", ())
        if isinstance(self.coefs_, list) and isinstance(self.intercepts_, list):
            arrays = [*self.coefs_, *self.intercepts_]
            if len(arrays) == len(views) and all(map(_is, arrays, views)):
                return self.net_
        arrays = checked_arrays(self.coefs_, self.intercepts_, self.n_features_in_, self.n_outputs_)
        sizes = [arrays[0].shape[0], *(w.shape[1] for w in arrays[: len(self.coefs_)])]
        if not hasattr(self, "_random_state"):
            self._random_state = check_random_state(self.random_state)
        shapes = [view.shape for view in views]
        same = shapes == [array.shape for array in arrays]
        net = self.net_ if same else self._new_net(sizes, np.result_type(np.float32, *arrays))
        for mine, given in zip([*net.weights, *net.biases], arrays, strict=True):
            mine[...] = given
        self._link(net)
        return net

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_views" in state:
            self._network()
            for name in ("coefs_", "intercepts_", "_views"):
                del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "net_" in state:
            self._link(self.net_)

    # ---- training ---------------------------------------------------------------------------------------

    def _train(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any], incremental: bool = False
    ) -> Self:
        """As ``fit`` or, incremental, ``partial_fit``. Where a new net cannot be trained, or an old one not for one
        epoch, all is as it was, but for the weights that steps of this epoch have changed."""
        check_parameters(self)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True; it has one epoch, set it to False")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        before = vars(self).copy()
        try:
            self._train_checked(X, y, sample_weight, validation, incremental, first)
        except BaseException:
            if first or self.t_ == before.get("t_"):
                self.__dict__ = before | {name: vars(self)[name] for name in CALLBACKS_OWN if name in vars(self)}
            raise
        return self

    def _train_checked(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any], incremental: bool, first: bool
    ) -> None:
        given = (X, y, sample_weight)
        X, y = self._read_data(X, y, incremental, reset=first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        sample_weight = self._weights_of_rows(y, sample_weight, incremental)
        self._has_validation = _both(validation)
        if self._has_validation and self.solver == "lbfgs":
            raise ValueError(
                "X_val is to judge epochs by, which solver='lbfgs' has not; use sgd or adam, or leave it out"
            )
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._begin(X.shape[1], X.dtype)
        net = self._network()
        check_unchanged(self, self._made_with)
        X = X.astype(net.dtype, copy=False)
        task = begin_task(self, *given)
        if self.solver == "lbfgs":
            lbfgs.fit(self, net, X, self._targets(y, net.dtype), sample_weight)
        else:
            self._fit_by_steps(net, X, y, sample_weight, validation, task, incremental)
        if task is not None:
            task.end()

    def _hold_out(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, validation: tuple[Any, Any], dtype: np.dtype
    ) -> tuple[Any, np.ndarray, np.ndarray | None, HeldOut | None]:
        """The rows to train on, and those to judge by."""
        if self._has_validation:
            X_val = validated(self, validation[0], accept_sparse=SPARSE, dtype=dtype, reset=False)
            y_val, scored = self._held_out_y(validation[1])
            if len(y_val) != X_val.shape[0]:
                raise ValueError(f"X_val and y_val must have as many rows, got {X_val.shape[0]} and {len(y_val)}")
            return X, y, sample_weight, HeldOut(X_val, self._targets(y_val, dtype), scored, None)
        if not self.early_stopping:
            return X, y, sample_weight, None
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        how = {"random_state": self._random_state, "test_size": self.validation_fraction}
        X, X_val, y, y_val, *weights = train_test_split(*arrays, **how, stratify=self._strata(y))
        if X_val.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        kept, held = weights or (None, None)
        return X, y, kept, HeldOut(X_val, self._targets(y_val, dtype), self._scored_y(y_val), held)

    def _fit_by_steps(
        self,
        net: vg.MLP,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        validation: tuple[Any, Any],
        task: Task | None,
        incremental: bool,
    ) -> None:
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = Solver(self, self._gradient_factor)
        self._optimizer.set_alpha(self.alpha)  # which may be another one than in the call before
        self._go_on_with_losses()
        X, y, sample_weight, held_out = self._hold_out(X, y, sample_weight, validation, net.dtype)
        rows = X.shape[0]
        batch_size = self._batch_size(rows)
        batches = np.full(-(-rows // batch_size), batch_size)
        batches[-1] = rows - batch_size * (len(batches) - 1)
        solver = self._optimizer
        epochs = Epochs(self, solver, batches, self._loss_factor, held_out, task, incremental)
        order = Order(self._random_state, rows) if self.shuffle else None
        start = net.state_dict() if self.early_stopping else {}
        self.n_iter_ = 0
        if task is not None:
            task.begin_epoch()
        try:
            self._run(net, X, self._targets(y, net.dtype), sample_weight, batch_size, order, epochs)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
            self._keep_history(net)
            epochs.stopped = True
        except vg.DivergenceError as error:
            if not self.early_stopping:
                raise not_finite(error) from error
            self._keep_history(net)
            epochs.diverged(error)
        epochs.finish(net, start)

    def _keep_history(self, net: vg.MLP) -> None:
        """Of a training that was cut short."""
        if net.history is not None:
            self.history_ = net.history

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
        """The epochs, until one says that it is over."""
        optimizer = self._optimizer.optimizer
        self.history_ = net.fit(
            X,
            t,
            1 if epochs.incremental else self.max_iter,
            batch_size,
            optimizer,
            shuffle=order if order is not None else False,
            inspect_every=self.inspect_every,
            callbacks=[epochs, *(self.callbacks or ())],
            sample_weight=sample_weight,
        )
        if self.inspect_every:
            some = slice(0, batch_size)
            weights = None if sample_weight is None else sample_weight[some]
            self.gradient_report_ = net.inspect(X[some], t[some], optimizer, sample_weight=weights)

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn(
                f"batch_size is larger than the number of rows, {self.batch_size} and {rows}: it is clipped to it",
                stacklevel=2,
            )
        return min(int(self.batch_size), rows)

    # ---- predictions ------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> np.ndarray:
        """z (rows, n_outputs_): what the net gives for X."""
        if "coefs_" not in self.__dict__:
            check_is_fitted(self)
        net = self._network()
        plain = type(X) is np.ndarray and X.dtype == net.dtype and X.ndim == 2 and len(X) > 0
        if plain and X.shape[1] == self.n_features_in_ and "feature_names_in_" not in self.__dict__:
            with suppress(ValueError):  # which scikit-learn says in its words
                return net.forward(X)
        return net.forward(validated(self, X, accept_sparse=SPARSE, dtype=net.dtype, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _is(one: Any, other: Any) -> bool:
    return one is other


def _both(validation: tuple[Any, Any]) -> bool:
    """Whether there are rows to judge by."""
    names = ("X_val", "y_val")
    given = [name for name, value in zip(names, validation, strict=True) if value is not None]
    if len(given) == 1:
        missing = names[1 - names.index(given[0])]
        raise ValueError(f"{given[0]} needs {missing}, got None; give both, or neither")
    return bool(given)


has_steps = available_if(_is_stochastic)
