"""A torch module, read into a net of vgfast that shows where its gradient goes.

Only ``inspect_torch`` imports torch, when it is called. ``torch_run`` runs the module, ``torch_layers`` and
``torch_norms`` read the layers, ``from_torch`` makes the net, and ``autograd`` judges whether the module's own forward
and backward are those of its layers. From top to bottom: the batch; the loss, and what it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vgfast import _check, _core
from vgfast.export.torch_names import ENDINGS
from vgfast.inspection.report import GradientReport
from vgfast.interop import autograd, torch_layers, torch_norms, torch_run
from vgfast.interop.from_torch import array_of, make_net
from vgfast.interop.torch_layers import Chain
from vgfast.interop.torch_run import Layer, Run
from vgfast.training.optimizers import Optimizer

# torch's losses, the first of each name being the one that a name stands for.
_LOSSES = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy",
    "MSELoss": "mse",
}
# What each of torch's losses has of these must be so.
_OPTIONS = {"weight": None, "pos_weight": None, "ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"}


def inspect_torch(
    module: Any, X: Any, y: Any, loss: Any = "cross_entropy", optimizer: Optimizer | None = None, steps: int = 1000
) -> GradientReport:
    """What a step on this batch would do to each layer of a torch module: the report of ``MLP.inspect``.

    module: of float32 or float64 Linear layers, one after another, with torch's layer of one of ``vg.activations``
        (LeakyReLU and ELU with any parameter from 0 on) or nothing between, and all with or all without a
        BatchNorm1d that is in training mode, a LayerNorm or an RMSNorm before or after it. Identity, Flatten and a
        Dropout that is switched off may stand there too. It is a ``torch.nn.Sequential``, or any module whose
        ``forward`` calls such layers: they are read in the order in which they are called, each Linear once, and those
        that are not called are left out.
    X: (rows, n_in), or what the module flattens to that. y: as for ``vg.MLP``. Both NumPy or torch.
    loss: the name of one of ``vg.MLP``, or what is trained with: CrossEntropyLoss, NLLLoss after a LogSoftmax,
        BCEWithLogitsLoss or MSELoss, with default options, and y of the shape of the outputs.
    optimizer, steps: as for ``MLP.inspect``; what the optimizer keeps is as before its first step.

    The module's own forward and backward are run once, with its hooks, to see that torch computes the gradients that
    are reported. A module that does anything that is none of these layers is refused: a functional activation, a skip
    connection, ``detach()``, ``no_grad()``, an ``autograd.Function``, a hook that changes values or gradients.

    Nothing changes in the module: not its parameters, gradients, buffers, hooks and attributes, nor torch's random
    numbers, also when it is refused. What a forward or a hook does elsewhere, such as printing, is done. No other
    thread may use the module meanwhile. Autocast, ``no_grad`` and ``inference_mode`` around the call have no effect.
    The report is of all parameters of the layers that are called, also of those that require no gradient; a missing
    bias counts as 0, and that of a Linear before a BatchNorm1d, which takes it away, is left out.

    Errors: ImportError without torch; TypeError for an argument of the wrong kind; ValueError if vgfast has no such
    layer, loss or dtype, parameters are shared or not finite, or the module fails, draws random numbers or computes
    anything else than its layers in order; those of ``MLP.inspect`` for X and y.

    Example, which needs torch::

        import torch, vgfast as vg
        from torch import nn

        module = nn.Sequential(nn.Linear(64, 30), nn.Sigmoid(), nn.Linear(30, 30), nn.Sigmoid(), nn.Linear(30, 10))
        X, y = torch.rand(100, 64), torch.randint(10, (100,))
        report = vg.inspect_torch(module, X, y, loss=nn.CrossEntropyLoss(), optimizer=vg.SGD(lr=0.1))
        print(report)  # a row a layer, and a verdict
    """
    torch = _torch()
    _check_kinds(torch, module, optimizer)
    layers, form = torch_layers.check_layers(torch, module)
    given, targets = array_of(torch, "X", X), array_of(torch, "y", y)
    x, shape = _matrix(given, form)
    own = type(module).__name__
    with torch_run.left_as_it_was(torch, module, form.device):
        tensor = torch.tensor(x, device=form.device)
        ran = torch_run.run(torch, module, layers, tensor.clone().reshape(shape))
        chain = torch_layers.read_chain(own, ran, form.dtype)
        _check_ran(own, ran, chain, x, given)
        name, kind = _loss(torch.nn, loss, chain.ending)
        autograd.check_forward(torch, own, ran, tensor, chain.blocks)
        net = make_net(torch, chain, name)
        _check_labels(torch, y, name, net.sizes[-1])
        report = net.inspect(x, targets, optimizer, steps)
        target = _check.targets("y", targets, len(x), net.sizes[-1], name, net.dtype)
        actual, expected = _both_losses(torch, loss, kind, ran.outputs, target, targets)
        autograd.check_backward(torch, module, chain.blocks, actual, expected)
    return report


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "inspect_torch reads modules of torch, which cannot be imported here; pip install torch"
        ) from error
    return torch


def _check_kinds(torch: Any, module: Any, optimizer: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module such as torch.nn.Sequential, got {type(module).__name__}")
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be a vg.SGD or another of vgfast's, got torch's {type(optimizer).__name__}, whose "
            f"steps are its own; for example vg.SGD(lr=0.1)"
        )


# ---- the batch --------------------------------------------------------------------------------------------


def _matrix(given: Any, form: torch_layers.Form) -> tuple[np.ndarray, tuple[int, ...]]:
    """X as (rows, columns), of whatever width, and the shape in which the module takes it."""
    try:
        shape = np.shape(given)
    except ValueError:  # of rows that are not equally long, which is refused below
        shape = ()
    if len(shape) > 2 and np.prod(shape) > 0:
        given = np.reshape(given, (shape[0], -1))
    n_in = np.shape(given)[1] if len(shape) > 1 and np.ndim(given) == 2 else form.n_in
    x = _check.inputs("X", given, n_in, form.dtype)
    return x, shape


def _check_ran(name: str, ran: Run, chain: Chain, x: np.ndarray, given: Any) -> None:
    """Refuse a module that failed on X (x as a matrix, given as the module took it), that is not the same twice, or
    that did not run as in a step."""
    torch_norms.check_training([block.norm for block in chain.blocks])
    first, last = chain.blocks[0].call, ran.calls[-1]
    if first.inputs is not None and first.inputs.ndim != 2:
        _check.inputs("X", given, first.layer.torch.in_features, x.dtype)
    if ran.error is not None and last.inputs is not None:
        got, n_in = last.inputs.shape[-1], last.layer.torch.in_features
        if last is first and tuple(last.inputs.shape) == x.shape:
            _check.inputs("X", x, n_in, x.dtype)
        if last is not first and got != n_in:
            raise ValueError(
                f"the {last.layer} takes {n_in} inputs, but what comes into it, after the {ran.calls[-2].layer}, has "
                f"{got}; make them equal"
            )
    if ran.error is not None:
        torch_layers.raise_failed(name, ran.error)
    if ran.random:
        raise ValueError(
            f"the forward of {name} draws random numbers, so its gradient is another each time; call module.eval() "
            f"first if that is dropout, or remove it"
        )


# ---- the loss, and what it takes ----------------------------------------------------------------------------


def _loss(nn: Any, loss: Any, ending: Layer | None) -> tuple[str, str]:
    """vgfast's and torch's names of the loss; ValueError if it and the module's last layer are not what a vgfast net
    has."""
    if isinstance(loss, str):
        name = _check.choice("loss", loss, _core.LOSSES)
        kind = next(kind for kind, ours in _LOSSES.items() if ours == name)
    else:
        kind = torch_layers.kind_of(nn, loss, tuple(_LOSSES))
        if not kind:
            hint = "; for BCELoss remove the Sigmoid and name 'binary_cross_entropy'" * isinstance(loss, nn.BCELoss)
            got = getattr(loss, "__name__", type(loss).__name__)
            raise TypeError(
                f"loss must be {', '.join(_core.LOSSES)} or one of torch's {', '.join(_LOSSES)}, got {got}{hint}"
            )
        name = _LOSSES[kind]
        _check_options(loss, kind, name)
    if ending is None and kind == "NLLLoss":
        raise ValueError(
            "NLLLoss takes what a LogSoftmax has made, and the module does not end in one; "
            "add it, or name loss='cross_entropy' if it is elsewhere"
        )
    if ending is not None:
        _check_ending(ending, name)
    return name, kind


def _check_options(loss: Any, kind: str, name: str) -> None:
    for option, default in _OPTIONS.items():
        value = getattr(loss, option, default)
        if value is not None if default is None else value != default:
            raise ValueError(
                f"{kind} has {option}={value if default is not None else '...'}, which vgfast's {name} does not have; "
                f"inspect with loss={name!r}, which leaves it out"
            )


def _check_ending(ending: Layer, loss: str) -> None:
    """A LogSoftmax of a LogSoftmax is the same, so cross-entropy may come after it; every other ending is refused."""
    if ending.kind == "LogSoftmax" and loss == "cross_entropy" and ending.torch.dim in (1, -1, None):
        return
    why = (
        f"which vgfast has within its loss: inspect module[:-1], without it, with loss={ENDINGS[ending.kind]!r}"
        if ending.kind in ENDINGS
        else "but a vgfast net ends in a Linear layer: inspect module[:-1], without it"
    )
    raise ValueError(f"the module ends in a {ending}, {why}")


def _check_labels(torch: Any, y: Any, name: str, n_out: int) -> None:
    """As for arrays; but a tensor has no ``astype``, which that error advises."""
    if name == "cross_entropy" and isinstance(y, torch.Tensor) and y.ndim == 1 and y.is_floating_point():
        raise TypeError(
            f"y must hold whole-number class labels, got {y.dtype}; use y.long() if they are whole, or probabilities "
            f"of shape (rows, {n_out})"
        )


def _both_losses(
    torch: Any, loss: Any, kind: str, outputs: Any, target: np.ndarray, y: Any
) -> tuple[Any, Callable[[Any], Any]]:
    """(the loss of the module's outputs, by what was given; the loss that is reported, as a function of outputs).

    target: y as vgfast takes it.
    """
    plain = getattr(torch.nn, kind)()
    aim = torch.tensor(target, device=outputs.device)
    aim = aim if aim.is_floating_point() else aim.long()
    if isinstance(loss, str):
        return plain(outputs.reshape(len(aim), -1), aim), lambda z: plain(z, aim)
    shape, made = np.shape(y), tuple(outputs.shape)
    if _LOSSES[kind] != "cross_entropy" and shape != made and len(aim) > 1:
        does = f"broadcasts to {np.broadcast_shapes(shape, made)}" if kind == "MSELoss" else "refuses"
        rows = (-1,) if len(made) == 1 else (-1, 1)
        raise ValueError(
            f"{kind} gets outputs of shape {made} and y of shape {shape}, which torch {does}, so that the report would "
            f"be of another loss; "
            + (f"use y.reshape{rows}" if hasattr(y, "reshape") else f"use np.reshape(y, {rows})")
        )
    try:
        return loss(outputs, aim.reshape(shape)), lambda z: plain(z, aim)
    except Exception as error:
        raise ValueError(
            f"torch's {kind} fails on this batch: {torch_run.first_line(error)}; give y as it takes it, or inspect "
            f"with loss={_LOSSES[kind]!r}"
        ) from error
