"""One call of ``fit``: its loop over what it was given, and its epochs, with all that is between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import _check
from vgfast._check import Rows
from vgfast.model.architecture import Architecture
from vgfast.model.errors import DivergenceError
from vgfast.model.quantities import INSPECTIONS
from vgfast.training import ranks
from vgfast.training.fit import Loop, measured
from vgfast.training.history import History
from vgfast.training.optimizers import Optimizer
from vgfast.training.states import States

if TYPE_CHECKING:
    from vgfast.training.callbacks import Callbacks


def check_numbers(epochs: Any, inspect_every: Any, inspect: Any) -> tuple[int, int]:
    """The epochs and steps between inspections of ``fit``, with its errors."""
    epochs = _check.integer("epochs", epochs, 1)
    inspect_every = _check.integer("inspect_every", inspect_every, 0, _check.MOST_ELEMENTS)
    if _check.choice("inspect", inspect, INSPECTIONS) == "histograms" and inspect_every == 0:
        raise ValueError("inspect='histograms' needs inspect_every above 0, got 0; for example inspect_every=10")
    return epochs, inspect_every


def check_batches(net: Architecture, batch_size: Any, n_rows: int, epochs: int) -> int:
    """The rows of a batch, where an epoch has so many, with the errors of ``fit``."""
    batch_size = _check.batch_size(batch_size, n_rows)
    net.check_batch_size(n_rows, batch_size)
    _check.integer("epochs x steps of an epoch", epochs * -(-n_rows // batch_size), 1, _check.MOST_ELEMENTS)
    return batch_size


def check_schedule(optimizer: Optimizer, states: States, n_steps: int, dtype: np.dtype) -> None:
    """ValueError where its lr is a schedule that has no rate for one of so many steps to come."""
    if callable(optimizer.lr):
        from vgfast.training import schedules  # here and below: only read when asked for

        schedules.check_rates(optimizer.lr, states.steps_taken(optimizer), n_steps, dtype)


def check_progress(progress: Any) -> None:
    """TypeError for what ``fit`` does not take."""
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be True, False, or a function of (done, total, history), got {progress!r}")


def prepare(net: Any, X: Any, y: Any, sample_weight: Any, reduce: Any) -> tuple[Callable[..., Loop], int]:
    """(what makes the loop over this data, or source, once the rest is known; the rows of an epoch), with the errors of
    ``fit``."""
    ranks.check(reduce, net._architecture, not isinstance(X, np.ndarray) and hasattr(type(X), "blocks"))
    if hasattr(type(X), "blocks"):
        from vgfast.training import block_loop

        if block_loop.is_source(X):
            block_loop.check_source(X, y, sample_weight)
            if not isinstance(reduce, ranks.Reducer):
                return partial(block_loop.BlockLoop, net._learner(), X, reduce=reduce), len(X)
            from vgfast.training.rank_loop import RankLoop

            n_rows = ranks.count_rows(reduce, len(X))
            return partial(RankLoop, net._learner(), X, reduce=reduce, n_rows=n_rows), n_rows
    x, t, weights = net._weighted(X, y, sample_weight)
    n_rows = ranks.count_rows(reduce, len(x))
    how = {"sample_weight": weights, "n_rows": n_rows, "reduce": reduce}
    return partial(Loop, net._learner(), x, t, **how), n_rows


def train(
    net: Any,
    loop: Loop,
    epochs: int,
    validation: tuple[Rows, np.ndarray, np.ndarray | None] | None,
    callbacks: Callbacks,
    progress: bool | Callable[[int, int, History], Any],
) -> None:
    """Until there are so many epochs, or a callback says so."""
    check_schedule(loop.optimizer, net._states, loop.total, net.dtype)
    callbacks.check_monitors(measured(net.loss, validation is not None))
    kept = callbacks.read_checkpoint(loop, epochs)
    net._history = loop.history
    at_once = epochs if validation is None and not callbacks.items else 1
    display = None
    if progress is True:
        from vgfast.training.progress import Display

        display = Display(epochs, loop.total)
    told = callbacks.with_progress(net, display or progress or None)
    try:
        ended = callbacks.begin(net, loop, kept)
        while not ended and loop.noted < epochs:
            n = min(at_once, epochs - loop.noted, display.at_once if display else epochs)
            loop.train(n, told if display is None or n == 1 else None)
            if validation is not None:
                loop.note_validation(net._evaluate(*validation))
            ended = bool(callbacks.items) and callbacks.end_epoch(net, loop, epochs)
            if display is not None:
                display.end_epochs(loop.current_history())
        if loop.exchange is not None:
            loop.exchange.end(loop)
        callbacks.end(net, loop.current_history())
    except BaseException as error:
        if isinstance(error, DivergenceError):
            error.history = loop.history
        callbacks.fail(net, loop.current_history(), error)
        raise
    finally:
        net._history = loop.current_history()  # a callback may have trained in between
        if display is not None:
            display.close(net._history)
