"""What ``fit`` calls between epochs.

A callback is a function of (net, history), which is called after each epoch; it may change the optimizer's attributes,
and ends training by returning True. Or it is an object with any of these methods:

``on_train_begin(net, history)``
    before the first epoch, when all arguments have been checked; where a ``vg.Checkpoint`` goes on with a training, net
    and history are as they were kept.
``on_epoch_end(net, history)``
    after each epoch, as the function; ``history.epochs[-1]`` is that epoch's. An object may be called instead.
``on_progress(net, history)``
    about every 30 ms within an epoch, and at its end, when ``history.epochs`` does not have it yet. It looks and
    changes nothing: at which steps it is called, nobody knows, nor does a ``vg.Checkpoint``.
``on_train_end(net, history)``
    after the last epoch; not where an error or Ctrl-C has ended training.
``on_exception(net, history, error)``
    where an error or Ctrl-C has ended it; net and history are as they were left, and the error goes on afterwards.

They are called in the order of the list; a ``vg.Checkpoint`` after all others. What it is to keep of an object is what
``state_dict()`` gives, plain data and arrays, and ``load_state_dict(state)`` takes.

>>> import numpy as np, vgfast as vg
>>> class Tell:
...     def on_train_begin(self, net, history):
...         print("begins with", len(history.epochs), "epochs")
...     def on_epoch_end(self, net, history):
...         return len(history.epochs) == 2
...     def on_train_end(self, net, history):
...         print("ends with", len(history.epochs))
>>> _ = vg.MLP([4, 8, 2], rng=0).fit(np.eye(4), [0, 1, 1, 0], epochs=9, callbacks=[Tell()])
begins with 0 epochs
ends with 2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.training.checkpoint import Checkpoint
from vgfast.training.fit import Loop
from vgfast.training.history import History

# Of one epoch, what may be monitored; of the last two, the larger one is better.
MONITORED = ("loss", "val_loss", "accuracy", "val_accuracy")
_METHODS = ("on_train_begin", "on_progress", "on_epoch_end", "on_train_end", "on_exception")

# A function of (net, history), or an object with methods.
Callback = Any


class _Watching:
    """What ``vgfast watch`` adds to every ``fit`` of this process: callbacks, after those given, of which no
    ``Checkpoint`` knows, and inspected steps where none would be."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self.inspect_every = 0

    def added(self, reduce: Any, checkpoint: Any) -> int:
        """``inspect_every`` of a training that gives none; 0 where that is compared, with other processes or a file."""
        return self.inspect_every if reduce is None and checkpoint is None else 0


watching = _Watching()


class EarlyStopping:
    """A callback for ``fit`` that ends training when an epoch's number has not become better for ``patience`` epochs in
    a row.

    monitor: ``val_loss`` or ``val_accuracy``, which need validation_data, or ``loss`` or ``accuracy``, which are those
        of training itself; a smaller loss and a larger accuracy are better.
    restore_best: whether the net gets the parameters of the best epoch when training has ended, for want of patience or
        of epochs. After Ctrl-C it keeps those that it has.

    ``best``: the best number; ``best_epoch``: of which epoch it is, from 1 on; both None before the first. With each
    ``fit`` it begins anew. Errors: TypeError or ValueError for a patience below 1, and for an unknown monitor;
    ValueError by ``fit`` where there is no such number.

    >>> import numpy as np, vgfast as vg
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
    >>> net, stop = vg.MLP([2, 64, 2], rng=0), vg.EarlyStopping(patience=5)
    >>> history = net.fit(
    ...     X[:50], y[:50], 500, 10, vg.SGD(0.3, momentum=0.9), validation_data=(X[50:], y[50:]), callbacks=[stop]
    ... )
    >>> len(history.epochs) == stop.best_epoch + 5
    True
    >>> net.evaluate(X[50:], y[50:]).loss == stop.best
    True
    """

    # Of what ``state_dict`` gives.
    state_names = ("best", "best_epoch", "params")

    def __init__(self, patience: int, monitor: str = "val_loss", restore_best: bool = True) -> None:
        self.patience = _check.integer("patience", patience, 1)
        self.monitor = _check.choice("monitor", monitor, MONITORED)
        self.restore_best = _check.flag("restore_best", restore_best)
        self._begin()

    def _begin(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._params: dict[str, np.ndarray] | None = None

    def on_train_begin(self, net: Any, history: History) -> None:
        """Forget an earlier training."""
        self._begin()

    def on_epoch_end(self, net: Any, history: History) -> bool:
        """Whether patience is over."""
        value, epoch = history.epochs[-1][self.monitor], len(history.epochs)
        sign = -1 if self.monitor.endswith("accuracy") else 1
        if self.best is None or sign * value < sign * self.best:
            self.best, self.best_epoch = value, epoch
            self._params = net.state_dict() if self.restore_best else None
        return epoch - (self.best_epoch or 0) >= self.patience

    def on_train_end(self, net: Any, history: History) -> None:
        """Put back the best parameters."""
        if self._params is not None and self.best_epoch != len(history.epochs):
            net.load_state_dict(self._params)
        self._params = None

    def state_dict(self) -> dict[str, Any]:
        """For ``vg.Checkpoint``."""
        return {"best": self.best, "best_epoch": self.best_epoch, "params": self._params}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What ``state_dict`` gave."""
        self.best, self.best_epoch, self._params = state["best"], state["best_epoch"], state["params"]

    def __repr__(self) -> str:
        return f"EarlyStopping({self.patience}, monitor={self.monitor!r}, restore_best={self.restore_best})"


class Callbacks:
    """Those of one ``fit``, checked: TypeError for what is neither function nor object with such methods."""

    def __init__(self, value: Sequence[Callback]) -> None:
        try:
            self.items = tuple(value)
        except TypeError:
            hint = "; put it in a list, callbacks=[...]" if _is_callback(value) else ""
            raise TypeError(f"callbacks must be a list of callbacks, got {_check.quote(value)}{hint}") from None
        for item in self.items:
            if not _is_callback(item):
                made = f"; make one, such as {item.__name__}(...)" if isinstance(item, type) else ""
                raise TypeError(
                    f"callbacks must hold functions of (net, history), or objects with {' or '.join(_METHODS)}, got "
                    f"{_check.quote(item)}{made}"
                )
        self._others = [item for item in self.items if not isinstance(item, Checkpoint)]
        self.checkpoint = next((item for item in self.items if isinstance(item, Checkpoint)), None)
        self._told = [*self._others, *watching.callbacks]
        if len(self.items) - len(self._others) > 1:
            raise ValueError("callbacks must hold one Checkpoint at most, got several; go on from one of them")
        self.items += tuple(watching.callbacks)
        self._each: list[Callable[..., Any]] = [
            getattr(item, "on_epoch_end", item)
            for item in self._told
            if callable(item) or hasattr(item, "on_epoch_end")
        ]

    def check_monitors(self, names: Sequence[str]) -> None:
        """ValueError for an ``EarlyStopping`` that waits for a number which an epoch of this training has not."""
        for item in self.items:
            if isinstance(item, EarlyStopping) and item.monitor not in names:
                given = item.monitor.startswith("val_") and item.monitor.removeprefix("val_") in names
                how = "give validation_data=(X, y)" if given else f"monitor one of {', '.join(names)}"
                raise ValueError(
                    f"EarlyStopping needs the {item.monitor} of each epoch, and this training has only "
                    f"{', '.join(names)}; {how}"
                )

    def read_checkpoint(self, loop: Loop, epochs: int) -> dict[str, Any] | None:
        """What a ``Checkpoint`` has kept of this training; None if there is none, or nothing. Its errors."""
        return None if self.checkpoint is None else self.checkpoint.read(loop, epochs, self._others)

    def begin(self, net: Any, loop: Loop, kept: dict[str, Any] | None) -> bool:
        """Before the first epoch, or before one of those that come after what was kept. Whether training has ended."""
        if self.checkpoint is not None and kept is not None:
            self.checkpoint.resume(kept, loop)
        history = loop.current_history()
        self._call("on_train_begin", net, history)
        self._call("_see_rows", net, history, loop.x)  # of pages, as theory needs the inputs
        if self.checkpoint is None:
            return False
        self.checkpoint.write_within_epochs(loop, self._others)
        if kept is None:
            return False
        self.checkpoint.resume_callbacks(kept, self._others)
        return bool(kept["ended"])

    def end_epoch(self, net: Any, loop: Loop, epochs: int) -> bool:
        """Whether one says that training shall end; all are called. epochs: how many there are to be."""
        history = loop.current_history()
        answers = [function(net, history) for function in self._each]
        ended = any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)
        if self.checkpoint is not None and (
            ended or len(history.epochs) == epochs or self.checkpoint.is_due(len(history.epochs), loop.done)
        ):
            self.checkpoint.write(loop, ended, self._others)
        return ended

    def with_progress(self, net: Any, told: Any) -> Callable[..., Any] | None:
        """What is to be told of progress: this, if it is any, and those with ``on_progress``; None for nobody."""
        each = [item.on_progress for item in self._told if hasattr(item, "on_progress")]
        if not each:
            return told

        def tell(done: int, total: int, history: History) -> None:
            if told is not None:
                told(done, total, history)
            for on_progress in each:
                on_progress(net, history)

        return tell

    def end(self, net: Any, history: History) -> None:
        """After the last epoch."""
        self._call("on_train_end", net, history)

    def fail(self, net: Any, history: History, error: BaseException) -> None:
        """Where an error has ended training after ``begin`` was called."""
        self._call("on_exception", net, history, error)

    def _call(self, method: str, *told: Any) -> None:
        for item in self._told:
            if hasattr(item, method):
                getattr(item, method)(*told)


def _is_callback(item: Any) -> bool:
    if isinstance(item, type):
        return False
    return (
        callable(item) or isinstance(item, Checkpoint) or any(callable(getattr(item, name, None)) for name in _METHODS)
    )
