"""solver="lbfgs": scipy's L-BFGS-B on all rows at once, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result

import vgfast as vg
from vgfast.sklearn.solver import not_finite


class Objective:
    """Loss and gradient of all rows, with the penalty alpha / (2 n) ΣW², for a vector (n_params,) of parameters."""

    def __init__(self, estimator: Any, net: vg.MLP, X: Any, t: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.estimator, self.net, self.X, self.t, self.sample_weight = estimator, net, X, t, sample_weight
        self.alpha = estimator.alpha / (X.shape[0] if sample_weight is None else float(sample_weight.sum()))

    def __call__(self, params: np.ndarray) -> tuple[float, np.ndarray]:
        if not np.isfinite(params).all():
            raise vg.DivergenceError("L-BFGS came to parameters that are not finite; scale X")
        self.net.params = params
        loss, gradients = self.estimator._loss_and_gradients(self.net, self.X, self.t, self.sample_weight)
        for weights, gradient in zip(self.net.weights, gradients.weights, strict=True):
            gradient += self.alpha * weights
            loss += self.alpha / 2 * float(np.vdot(weights, weights))
        return loss, gradients.flat


def fit(estimator: Any, net: vg.MLP, X: Any, t: np.ndarray, sample_weight: np.ndarray | None) -> None:
    """Train the net, and note ``n_iter_`` and ``loss_``."""
    e, exact = estimator, net
    if net.dtype != np.float64:
        exact = e._new_net([net.weights[0].shape[0], *(w.shape[1] for w in net.weights)], np.dtype(np.float64))
        exact.load_state_dict({name: values.astype(np.float64) for name, values in net.state_dict().items()})
        X, t = X.astype(np.float64), t if t.ndim == 1 else t.astype(np.float64)
    objective = Objective(e, exact, X, t, sample_weight)
    options = {"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": e.tol}
    start = exact.params.copy()
    try:
        found = scipy.optimize.minimize(
            objective, start, method="L-BFGS-B", jac=True, options=options, callback=_printer(e)
        )
    except vg.DivergenceError as error:
        exact.params = start
        raise not_finite(error) from error
    e.n_iter_ = _check_optimize_result("lbfgs", found, e.max_iter)
    e.loss_ = float(found.fun) * e._loss_factor / e._gradient_factor
    net.params = found.x.astype(net.dtype)


def _printer(estimator: Any) -> Any:
    if not estimator.verbose:
        return None

    def show(intermediate_result: Any) -> None:
        print(f"loss = {float(intermediate_result.fun) * estimator._loss_factor / estimator._gradient_factor:.8f}")

    return show
