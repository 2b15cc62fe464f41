"""Histories as plain numbers with flat names, for a logger or a file.

The names. Quantity q of layer l (1..L) is ``q/layer<l>``, q being spelled as in ``vgfast.inspection.report``:
``gain/layer1``, ``update_ratio/layer1``, ``frozen/layer1``, ... Two quantities go by the names that loggers give them:

``gradients/layer<l>.weight``
    ``grad_norm``, the norm of the gradient of layer l's weights.
``gradients/layer<l>.bias``
    ``bias_grad_norm``, that of its biases.

Of all layers together there is ``gradients/total``, the norm of the whole gradient; ``loss`` is that of the step's
batch. What belongs to an epoch is ``epoch/number`` (1, 2, ...), ``epoch/loss``, ``epoch/accuracy``,
``epoch/val_loss``, ``epoch/val_accuracy`` and ``epoch/seconds``, as far as ``History.epochs`` has it.

Histograms of exponents are no plain numbers: ``History.exponents`` and ``History.to_dict()`` have them.
"""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vgfast import _check
from vgfast.model.quantities import RECORD
from vgfast.training.history import History

_GIVEN_NAMES = {"grad_norm": "gradients/layer{}.weight", "bias_grad_norm": "gradients/layer{}.bias"}


def name(quantity: str, layer: int) -> str:
    """The flat name of a layer's quantity.

    >>> name("grad_norm", 1), name("frozen", 3)
    ('gradients/layer1.weight', 'frozen/layer3')
    """
    return _GIVEN_NAMES.get(quantity, quantity + "/layer{}").format(layer)


def checked_quantities(value: Any) -> tuple[str, ...]:
    """Those asked for, or all."""
    known = RECORD.names or ()
    if value is None:
        return known
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"quantities must be a list of names such as ['grad_norm', 'gain'], got {value!r}")
    return tuple(dict.fromkeys(_check.choice("quantity", quantity, known) for quantity in value))


def entries(
    history: History, first: int = 0, quantities: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, values by flat name), a pair an inspected step from the first-th record on; values may be NaN.

    >>> import numpy as np, vgfast as vg
    >>> h = vg.MLP([4, 8, 2], rng=0).fit(np.eye(4), [0, 1, 1, 0], epochs=1, batch_size=2, inspect_every=2)
    >>> [(step, list(values)) for step, values in entries(h, quantities=["gain"])]
    [(0, ['loss', 'gradients/total', 'gain/layer1', 'gain/layer2'])]
    """
    wanted = checked_quantities(quantities)
    names = [name(quantity, l) for l in range(1, history.gradients.shape[1] + 1) for quantity in wanted]
    fields = [(history.gradients.dtype.names or ()).index(quantity) for quantity in wanted]
    for step, record in zip(history.steps[first:].tolist(), history.gradients[first:], strict=True):
        values = {"loss": float(history.loss[step])}
        values["gradients/total"] = math.hypot(*record["grad_norm"].tolist(), *record["bias_grad_norm"].tolist())
        values |= zip(names, (layer[field] for layer in record.tolist() for field in fields), strict=True)
        yield step, values


def write_lines(history: History, path: str | os.PathLike[str]) -> None:
    """Write the entries of a history as JSON lines; OSError where that cannot be done."""
    file_name = os.fspath(path)
    try:
        with open(file_name, "w", encoding="utf-8", newline="\n") as file:
            for step, values in entries(history):
                line = {key: value if math.isfinite(value) else None for key, value in values.items()}
                file.write(json.dumps({"step": step, **line}, allow_nan=False) + "\n")
    except OSError as error:
        reason = f"the history cannot be written to this file ({error.strerror}); choose another path"
        raise OSError(error.errno, reason, file_name) from None


class Log:
    """A callback for ``fit`` that hands numbers with flat names (see ``vgfast.training.log``) to any logger.

    After each epoch it calls send(values, step) for every step inspected since the last time, and then once with the
    epoch's numbers. Steps are counted through, from one ``fit`` to the next with the same Log; an epoch that ends after
    n of them is sent as step n. What is not finite, such as the gains of the last layer, is left out.

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
        self._history: Callable[[], History | None] = lambda: None  # weak, as a history can be large

    def __call__(self, net: Any, history: History) -> None:
        """Send what is new in the history."""
        if self._history() is not history:
            self._before += self._seen
            self._records = self._epochs = 0
            self._history = weakref.ref(history)
        self._seen = len(history.loss)
        for step, values in entries(history, self._records, self.quantities):
            self._records += 1
            self._send(values, step)
        for number, epoch in enumerate(history.epochs[self._epochs :], self._epochs + 1):
            self._epochs = number
            values = {"epoch/number": float(number)} | {f"epoch/{key}": float(value) for key, value in epoch.items()}
            self._send(values, len(history.loss) * number // len(history.epochs))

    def _send(self, values: dict[str, float], step: int) -> None:
        self.send({key: value for key, value in values.items() if math.isfinite(value)}, self._before + step)
