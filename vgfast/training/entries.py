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
from collections.abc import Iterator, Sequence
from typing import Any

from vgfast import _check
from vgfast.model.quantities import RECORD

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
    history: Any, first: int = 0, quantities: Sequence[str] | None = None
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


def write_lines(history: Any, path: str | os.PathLike[str]) -> None:
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
