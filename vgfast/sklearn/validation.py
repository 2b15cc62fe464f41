"""Data as scikit-learn checks it, whatever its version."""

from __future__ import annotations

from typing import Any


def validated(estimator: Any, *data: Any, **how: Any) -> Any:
    """X, or X and y, as ``validate_data`` gives them, with the estimator's names and number of columns."""
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # before scikit-learn 1.6
        return estimator._validate_data(*data, **how)
    return validate_data(estimator, *data, **how)


try:  # scikit-learn 1.9 and later
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks
except ImportError:

    class CallbackSupport:  # type: ignore[no-redef]
        """Nothing, before scikit-learn has callbacks."""

    def with_callbacks(method: Any) -> Any:
        return method


# What with_callbacks takes down after a method, also after one that fails.
CALLBACKS_OWN = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


class Task:
    """What scikit-learn's callbacks (``set_callbacks``) are told of one ``fit``: its epochs, one after the other."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator, self.data = estimator, {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.fit = estimator._init_callback_context(
            max_subtasks=0 if estimator.solver == "lbfgs" else estimator.max_iter
        )
        self.fit.call_on_fit_task_begin(**self.data)
        self.epoch: Any = None

    def begin_epoch(self) -> None:
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.data)

    def end_epoch(self) -> bool:
        """Whether a callback ends training."""
        epoch, self.epoch = self.epoch, None
        return bool(epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=self._learned()))

    def end(self) -> None:
        """Of training; of an epoch that was not finished too."""
        if self.epoch is not None:
            self.end_epoch()
        self.fit.call_on_fit_task_end(**self.data, reconstruction_attributes=self._learned())

    def _learned(self) -> dict[str, Any]:
        """What the estimator predicts by."""
        e = self.estimator
        return {name: getattr(e, name) for name in ("net_", "coefs_", "intercepts_", "_views")}


def begin_task(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Task | None:
    """X, y and sample_weight as the user gave them, whose scorers are to understand them; None where there are no
    callbacks to tell."""
    if not getattr(estimator, "_skl_callbacks", None) and not hasattr(estimator, "_parent_callback_ctx"):
        return None
    return Task(estimator, X, y, sample_weight)
