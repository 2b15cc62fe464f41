"""A torch module's own forward and backward, judged: are they those of the layers that it was read as?

The module has been run as it is, with its hooks, and each Linear layer has noted its inputs and outputs. Then each step
of that run is done again with torch's plain functions, from the numbers that the run itself had: x W + b, the
normalization, the activation, the loss, and their derivatives. So no error grows from layer to layer, and a ReLU whose
input is all but 0 is taken on the same side; what differs by more than roundings is something that vgfast would not
know of.

From top to bottom: what follows a Linear; forward; backward; numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vgfast.export.torch_names import PARAMETERS
from vgfast.interop.torch_norms import Norm
from vgfast.interop.torch_run import Call, Run, first_line
from vgfast.model.activations import find

# Roundings of a sum of n terms add up to about sqrt(n) u of the product of its factors' norms, u = eps / 2, and to
# more than 8 times that hardly ever (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019).
_ROUNDINGS = 4.0


# ---- what follows a Linear --------------------------------------------------------------------------------


# Of torch.nn.functional, where they have our names.
_FUNCTIONS = (
    *("leaky_relu", "softsign", "elu", "selu", "softplus", "gelu", "silu", "mish"),
    *("hardtanh", "hardsigmoid", "hardswish"),
)


def activations(torch: Any, names: Sequence[str]) -> list[Callable[[Any], Any]]:
    """torch's plain functions by vgfast's names, and ``log_softmax``."""
    functions = torch.nn.functional
    known = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        **{name: getattr(functions, name) for name in _FUNCTIONS},
        "gelu_tanh": lambda z: functions.gelu(z, approximate="tanh"),
        "scaled_tanh": lambda z: 1.7159 * torch.tanh(2 / 3 * z),
        "log_softmax": lambda z: torch.log_softmax(z, 1),
    }

    def function(name: str) -> Callable[[Any], Any]:
        if name in known:
            return known[name]
        phi = find(name)  # with a parameter
        return partial(known[phi.kind], **{PARAMETERS[phi.kind]: phi.alpha})

    return [function(name) for name in names]


class Block(NamedTuple):
    """A call of a Linear and what follows it: an activation, by its name in ``activations``, and perhaps a
    normalization before or after it."""

    call: Call
    activation: str
    norm: Norm | None

    def apply(self, torch: Any, z: Any, leaves: Sequence[Any]) -> Any:
        """Of z (rows, n), with these for the parameters of the normalization."""
        (act,) = activations(torch, [self.activation])
        if self.norm is None:
            return act(z)
        normalize = self.norm.function(torch)
        return act(normalize(z, *leaves)) if self.norm.place == "before" else normalize(act(z), *leaves)

    def leaves(self) -> list[Any]:
        """The parameters of the normalization, apart from the run's graph."""
        own = () if self.norm is None else self.norm.parameters()
        return [None if p is None else p.detach().requires_grad_() for p in own]

    def normalization_size(self, torch: Any, z: Any, size: float) -> float:
        """How large roundings of numbers of this size may come out of the normalization."""
        if self.norm is None:
            return 0.0
        given = z if self.norm.place == "before" else activations(torch, [self.activation])[0](z)
        return float(self.norm.largest_factor(given)) * size


# ---- forward ----------------------------------------------------------------------------------------------


def check_forward(torch: Any, name: str, ran: Run, x: Any, blocks: list[Block]) -> None:
    """Refuse a run, of the module of this name, in which anything but these layers made its outputs from x (rows,
    n_in)."""
    if not torch.is_tensor(ran.outputs):
        raise ValueError(
            f"the forward of {name} returns a {type(ran.outputs).__name__}, and vgfast inspects modules with one "
            f"output; inspect one that returns a tensor"
        )
    first = blocks[0].call
    if not _is_same(torch, first.inputs, x):
        raise ValueError(
            f"something that is no layer changes X before the {first.layer}, in the forward of {name} or a hook; "
            f"do that to X first, and inspect the module without it"
        )
    after = [block.call.inputs for block in blocks[1:]] + [_as_matrix(ran.outputs)]
    for l, (block, follows) in enumerate(zip(blocks, after, strict=True)):
        call = block.call
        a, W, b = _leaves(call)
        z = torch.nn.functional.linear(a, W, b)
        finite = bool(torch.isfinite(z).all())  # else it is for MLP.inspect to explain
        size = _norm(a) * _norm(W) + (0.0 if b is None else math.sqrt(len(a)) * _norm(b))
        if not _close(torch, call.outputs, z, size if finite else math.inf, len(W.T) + 1):
            raise ValueError(
                f"what comes out of the {call.layer} is not x W + b: a hook, autocast in the forward of {name}, or a "
                f"change of the weights while it runs; remove that"
            )
        made = block.apply(torch, call.outputs, block.leaves())
        finite = finite and bool(torch.isfinite(made).all())
        size = _norm(made) + (_norm(call.outputs) if block.activation == "log_softmax" else 0.0)
        size += block.normalization_size(torch, call.outputs, _norm(call.outputs)) if finite else 0.0
        if not _close(torch, follows, made, size if finite else math.inf, 4):
            raise ValueError(_between(name, ran.calls, call, blocks[l + 1].call if l + 1 < len(blocks) else None))


def _between(name: str, calls: list[Call], call: Call, following: Call | None) -> str:
    """The error for a forward that does something between layers."""
    end = len(calls) if following is None else calls.index(following)
    last = calls[end - 1].layer if end > calls.index(call) else call.layer
    place = f"between the {last} and the {following.layer}" if following else f"after the {last}"
    return (
        f"{place}, the forward of {name} or a hook does something that is no layer, such as torch.relu or +; write it "
        f"as a layer, such as nn.ReLU(), in an nn.Sequential, or remove it"
    )


def _as_matrix(outputs: Any) -> Any:
    """(rows,) as (rows, 1): the outputs of a net with one, squeezed."""
    return outputs[:, None] if outputs.ndim == 1 else outputs


# ---- backward ---------------------------------------------------------------------------------------------


def check_backward(torch: Any, module: Any, blocks: list[Block], actual: Any, expected: Callable[[Any], Any]) -> None:
    """Refuse a module whose own backward is not that of these layers.

    actual: the loss of the run, a tensor; expected: the loss that the report is of, a function of what the last
    layer makes (rows, n_out).
    """
    gradients = _gradients(torch, module, blocks, actual)
    back = None  # what the layers after this one pass back to it
    for block in blocks[::-1]:
        call = block.call
        z, of_norm = call.outputs.requires_grad_(), block.leaves()
        made = block.apply(torch, z, of_norm)
        if back is None:
            made = expected(made)
            _check_loss(torch, float(actual.detach()), float(made.detach()), z)
        used = [leaf for leaf in of_norm if leaf is not None]
        delta, *wanted = torch.autograd.grad(made, [z, *used], None if back is None else back.to(z.device))
        size = _norm(delta)
        if back is not None:
            size += block.normalization_size(torch, z, _norm(back))
            _check_norm(torch, block, gradients, wanted, back)
        back = gradients[id(call.inputs)]
        _check_linear(torch, call, gradients, delta, size, call is blocks[0].call)


def _check_norm(torch: Any, block: Block, gradients: dict[int, Any], wanted: Sequence[Any], back: Any) -> None:
    """Of the normalization's weight and bias: sums over the rows of at most what is passed back times a normalized
    number, whose square is 1 in the mean."""
    if block.norm is None:
        return
    own = zip(("weight", "bias"), block.norm.parameters(), strict=True)
    for (name, parameter), want in zip([(name, p) for name, p in own if p is not None], wanted, strict=True):
        got, size = gradients[id(parameter)], 2 * _norm(back) * math.sqrt(back.numel())
        if not _close(torch, got, want, size, len(back)):
            raise ValueError(_differs(f"the {name} of the {block.norm.layer}", got, want))


def _check_linear(torch: Any, call: Call, gradients: dict[int, Any], delta: Any, size: float, is_first: bool) -> None:
    """Of a Linear, with dloss/dz = delta; size: as large as delta, or as what roundings of it are relative to."""
    leaves = [leaf for leaf in _leaves(call) if leaf is not None]
    wanted = torch.autograd.grad(torch.nn.functional.linear(*leaves), leaves, delta)
    a, W, *_ = leaves
    rows = math.sqrt(len(a))
    own = call.layer.torch
    for what, tensor, want, factor, terms in (
        (f"the weight of the {call.layer}", own.weight, wanted[1], _norm(a), len(a)),
        (f"the bias of the {call.layer}", own.bias, wanted[-1], rows, len(a)),
        (f"what comes into the {call.layer}", call.inputs, wanted[0], _norm(W), len(W)),
    ):
        if tensor is None or (tensor is call.inputs and is_first):
            continue  # no bias; X, whose gradient is not reported
        got = gradients[id(tensor)]
        if not _close(torch, got, want, factor * size, terms):
            raise ValueError(_differs(what, got, want))


def _gradients(torch: Any, module: Any, blocks: list[Block], loss: Any) -> dict[int, Any]:
    """autograd's, by the identity of each parameter and of each Linear's inputs; None where there is none."""
    layers = [block.call.layer for block in blocks]
    layers += [block.norm.layer for block in blocks if block.norm is not None]
    ours = {id(p) for layer in layers for p in layer.torch.parameters()}
    tensors = [p for p in module.parameters() if p.requires_grad] + [block.call.inputs for block in blocks]
    found: Sequence[Any] = [None] * len(tensors)
    if loss.requires_grad:
        try:
            # No hook is called that waits for gradients to be accumulated, and may take a step.
            found = torch.autograd.grad(loss, tensors, allow_unused=True)
        except Exception as error:
            raise ValueError(
                f"torch's own backward fails: {first_line(error)}; inspect a module that it trains"
            ) from error
    gradients = {id(tensor): gradient for tensor, gradient in zip(tensors, found, strict=True)}
    for name, parameter in module.named_parameters():
        if id(parameter) not in ours and gradients.get(id(parameter)) is not None:
            raise ValueError(
                f"the parameter {name!r} gets a gradient, and is of no Linear layer that the module runs; vgfast knows "
                f"no others: remove it to inspect the rest"
            )
    return gradients


def _check_loss(torch: Any, got: float, want: float, z: Any) -> None:
    info = torch.finfo(z.dtype)
    if not abs(got - want) <= _ROUNDINGS * math.sqrt(z.numel()) * info.eps * abs(want) + info.tiny:
        raise ValueError(
            f"the loss computes {got:.6g} on this batch, and the report would be of {want:.6g}; something changes it, "
            f"such as a hook on the loss: remove that"
        )


def _differs(what: str, got: Any, want: Any) -> str:
    if got is None:
        return (
            f"torch's own backward has no gradient for {what}: it is cut off, as by detach() or torch.no_grad(), and "
            f"the report would be of one that there is not; remove what cuts it off"
        )
    off = _norm(_double(got) - _double(want)) if got.shape == want.shape else math.nan
    return (
        f"torch's own backward has another gradient for {what} than its layers in order (norm {_norm(got):.3g}, not "
        f"{_norm(want):.3g}; {off:.3g} apart): a hook or an autograd.Function changes it; remove that"
    )


# ---- numbers ----------------------------------------------------------------------------------------------


def _leaves(call: Call) -> list[Any]:
    """A Linear's inputs, weight and bias or None, apart from the run's graph."""
    own = call.layer.torch
    return [None if t is None else t.detach().requires_grad_() for t in (call.inputs, own.weight, own.bias)]


def _double(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _is_same(torch: Any, got: Any, want: Any) -> bool:
    """Whether got is a tensor of the same numbers, on whatever device."""
    return torch.is_tensor(got) and np.array_equal(_double(got), _double(want))


def _norm(values: Any) -> float:
    """Of all entries, in float64, and scaled, so that no square leaves its range."""
    array = np.abs(values if isinstance(values, np.ndarray) else _double(values))
    largest = float(array.max()) if array.size else 0.0
    return largest * float(np.linalg.norm(array / largest)) if 0 < largest < math.inf else largest


def _close(torch: Any, got: Any, want: Any, size: float, terms: int) -> bool:
    """Whether they are the same but for roundings: sums of so many terms, `size` the product of the factors' norms.

    Below the smallest normal number, where all digits may be lost, all are the same; and where size is infinite.
    """
    if not torch.is_tensor(got) or got.shape != want.shape:
        return False
    if size == math.inf:
        return True
    info = torch.finfo(want.dtype)
    slack = _ROUNDINGS * math.sqrt(terms) * info.eps * size + terms * math.sqrt(want.numel()) * info.tiny
    return _norm(_double(got) - _double(want)) <= slack
