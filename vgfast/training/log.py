"""A callback that hands the numbers of a training to a logger, by the names of ``vgfast.training.entries``."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from vgfast.training.entries import checked_quantities, entries
from vgfast.training.history import History


class Log:
    """A callback for ``fit`` that hands numbers with flat names (see ``vgfast.training.entries``) to any logger.

    After each epoch it calls send(values, step) for every step inspected since the last time, and then once with the
    epoch's numbers. Steps are counted through, from one ``fit`` to the next with the same Log; an epoch that ends after
    n of them is sent as step n. What is not finite, such as the gains of the last layer, is left out.

    Of a training that goes on from a ``vg.Checkpoint``, what the file holds is not sent again, and steps go on from
    there. Epochs that were trained after the file was last written are trained again, and sent again by a new Log.

    send: a function of (dict of float by str, int), as ``wandb.log``, ``mlflow.log_metrics``, or for TensorBoard
        ``lambda values, step: [writer.add_scalar(name, value, step) for name, value in values.items()]``
        with ``writer = torch.utils.tensorboard.SummaryWriter()``. What it returns is not looked at.
    quantities: names of those to send of each layer; None is all, which are many curves for a deep net.

    Errors: TypeError if send is not a function; TypeError or ValueError for unknown quantities. What ``send`` raises
    ends training, after the epoch.

    >>> import numpy as np, vgfast as vg
    >>> def send(values, step):
    ...     print(step, *values)
    >>> log = Log(send, quantities=["grad_norm", "gain"])
    >>> net = vg.MLP([4, 8, 2], rng=0)
    >>> _ = net.fit(np.eye(4), [0, 1, 1, 0], epochs=1, batch_size=1, inspect_every=3, callbacks=[log])
    0 loss gradients/total gradients/layer1.weight gain/layer1 gradients/layer2.weight
    3 loss gradients/total gradients/layer1.weight gain/layer1 gradients/layer2.weight
    4 epoch/number epoch/loss epoch/accuracy epoch/seconds
    """

    def __init__(self, send: Callable[[dict[str, float], int], Any], quantities: Sequence[str] | None = None) -> None:
        if not callable(send):
            raise TypeError(f"send must be a function of (values, step) such as wandb.log, got {send!r}")
        self.send, self.quantities = send, checked_quantities(quantities)
        self._before = 0  # steps of the trainings before this one
        self._seen = self._records = self._epochs = 0  # of this one: steps, and what has been sent
        self._first: dict[str, Any] | None = None  # its first epoch, whose seconds no other training has
        self._history: Callable[[], History | None] = lambda: None  # weak, as a history can be large

    def on_train_begin(self, net: Any, history: History) -> None:
        """Take for sent what a ``vg.Checkpoint`` has put back."""
        self._history = weakref.ref(history)
        if not history.epochs or history.epochs[0] != self._first:
            self._begin(history, len(history.gradients), len(history.epochs))

    def _begin(self, history: History, records: int, epochs: int) -> None:
        """A training of which so much was sent."""
        self._before, self._seen = self._before + self._seen, len(history.loss)
        self._records, self._epochs = records, epochs

    def __call__(self, net: Any, history: History) -> None:
        """Send what is new in the history."""
        if self._history() is not history:
            self._history = weakref.ref(history)
            self._begin(history, 0, 0)
        self._seen, self._first = len(history.loss), history.epochs[0]
        for step, values in entries(history, self._records, self.quantities):
            self._records += 1
            self._send(values, step)
        for number, epoch in enumerate(history.epochs[self._epochs :], self._epochs + 1):
            self._epochs = number
            values = {"epoch/number": float(number)} | {f"epoch/{key}": float(value) for key, value in epoch.items()}
            self._send(values, len(history.loss) * number // len(history.epochs))

    def _send(self, values: dict[str, float], step: int) -> None:
        self.send({key: value for key, value in values.items() if math.isfinite(value)}, self._before + step)
