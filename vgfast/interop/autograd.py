"""A torch module's own forward and backward, run once and judged: are they those of the layers that it was read as?

The module is run as it is, with its hooks, and each Linear layer notes its inputs and outputs. Then each step of that
run is done again with torch's plain functions, from the numbers that the run itself had: x W + b, the activation, the
loss, and their derivatives. So no error grows from layer to layer, and a ReLU whose input is all but 0 is taken on
the same side; what differs by more than roundings is something that vgfast would not know of.

From top to bottom: the module left as it was; the run; forward; backward.
"""

from __future__ import annotations

import copy
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

# Roundings of a sum of n terms add up to about sqrt(n) u of the product of its factors' norms, u = eps / 2, and to
# more than 8 times that hardly ever (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019).
_ROUNDINGS = 4.0

# Of what is not a tensor, what a forward may change in place.
_HOLDERS = (dict, OrderedDict, defaultdict, Counter, list, deque, set, np.ndarray)


class Layer(NamedTuple):
    """A torch layer; ``kind`` is torch's name of it, or "" if vgfast does not know it."""

    path: str
    kind: str
    torch: Any

    def __str__(self) -> str:
        """What it is and where, as torch prints the module."""
        return type(self.torch).__name__ + (f" at {self.path!r}" if self.path else "")


@dataclass
class Call:
    """One call of a layer; of a Linear, ``inputs`` (rows, n_in), by which the gradient is taken, and a copy of its
    ``outputs`` (rows, n_out): tensors, or None where the call has none."""

    layer: Layer
    inputs: Any = None
    outputs: Any = None


class Run(NamedTuple):
    """One forward: the calls in their order, the outputs or the error, and whether random numbers were drawn."""

    calls: list[Call]
    outputs: Any
    error: Exception | None
    random: bool


# ---- the module left as it was ----------------------------------------------------------------------------


@contextmanager
def left_as_it_was(torch: Any, module: Any, device: Any) -> Iterator[None]:
    """Inside, every parameter requires a gradient, and nothing that the module does to itself lasts.

    Its tensors are copies meanwhile, but the same objects, so that hooks on them are called. Attributes are put back,
    and what is in lists, dicts, sets and arrays among them, and in such within these; so are torch's random numbers.
    Contexts of the caller that would change what is computed are left: no_grad, inference_mode, autocast.
    """
    attributes = [vars(part) for part in module.modules()]
    holders = [(holder, copy.copy(holder)) for holder in _holders(attributes)]
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    tensors = [(tensor, tensor.data) for tensor in _tensors(torch, module, attributes)]
    cuda = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(cuda),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        try:
            for tensor, data in tensors:
                tensor.data = data.clone()
            for parameter, _, _ in parameters:
                parameter.grad = None
                parameter.requires_grad_(parameter.is_floating_point())
            yield
        finally:
            for holder, content in holders:
                _put_back(holder, content)
            for tensor, data in tensors:
                tensor.data = data
            for parameter, required, gradient in parameters:
                parameter.requires_grad_(required)
                parameter.grad = gradient


def _tensors(torch: Any, module: Any, attributes: list[Any]) -> list[Any]:
    """Parameters, buffers and other attributes, each once. Those of inference mode are left out: nobody can write to
    them outside of it."""
    own = [value for holder in _holders(attributes) for value in _values(holder)]
    found = [*module.parameters(), *module.buffers(), *(value for value in own if isinstance(value, torch.Tensor))]
    return list({id(tensor): tensor for tensor in found if not tensor.is_inference()}.values())


def _holders(attributes: list[Any]) -> list[Any]:
    """These, and what in them holds others or numbers that may change, at whatever depth; each once."""
    found: dict[int, Any] = {}
    left = list(attributes)
    while left:
        holder = left.pop()
        if type(holder) in _HOLDERS and id(holder) not in found:
            found[id(holder)] = holder
            left += _values(holder)
    return list(found.values())


def _values(holder: Any) -> list[Any]:
    if isinstance(holder, np.ndarray):
        return []
    return list(holder.values() if isinstance(holder, dict) else holder)


def _put_back(holder: Any, content: Any) -> None:
    if isinstance(holder, np.ndarray):
        if holder.flags.writeable:
            holder[...] = content
        return
    if not isinstance(holder, dict):
        holder.clear()
        holder.extend(content) if isinstance(holder, list | deque) else holder.update(content)
        return
    for name in holder.keys() - content.keys():
        del holder[name]
    if list(map(id, holder)) != list(map(id, content)):  # another order
        holder.clear()
    for name, value in content.items():
        holder[name] = value


# ---- the run ----------------------------------------------------------------------------------------------


def run(torch: Any, module: Any, layers: Sequence[Layer], x: Any) -> Run:
    """Call the module on the tensor x, and note which of these layers are called; in ``left_as_it_was``, which also
    takes away the hooks that do so."""
    calls: list[Call] = []  # a backward that computes layers again adds to them, when they have been read

    def before(layer: Layer, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = Call(layer)
        calls.append(call)
        given = args[0] if args else kwargs.get("input")
        if layer.kind != "Linear" or not isinstance(given, torch.Tensor) or not given.is_floating_point():
            return None
        # The layer alone uses this copy: its gradient is what the layer passes on.
        taken = given.clone()
        call.inputs = taken if taken.requires_grad else taken.requires_grad_()
        return (taken,), {}

    def after(layer: Layer, _: Any, args: Any, outputs: Any) -> None:
        call = next((call for call in reversed(calls) if call.layer is layer), None)
        if call is not None and isinstance(outputs, torch.Tensor):
            call.outputs = outputs.detach().clone()  # an activation may overwrite them

    for layer in {id(layer.torch): layer for layer in layers}.values():
        layer.torch.register_forward_pre_hook(partial(before, layer), with_kwargs=True)
        if layer.kind == "Linear":
            layer.torch.register_forward_hook(partial(after, layer))
    states, outputs, error = _random_states(torch, x.device), None, None
    try:
        outputs = module(x)
    except Exception as caught:
        error = caught
    for call in calls:
        call.inputs, call.outputs = _usable(call.inputs), _usable(call.outputs)
    drawn = not all(map(torch.equal, states, _random_states(torch, x.device)))
    return Run(calls, outputs, error, drawn)


def _usable(tensor: Any) -> Any:
    """A copy of what was made in inference mode, with which nothing can be computed; neither has a gradient."""
    return tensor.clone() if tensor is not None and tensor.is_inference() else tensor


def _random_states(torch: Any, device: Any) -> list[Any]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def first_line(error: Exception) -> str:
    """What an error of torch's, which may be long, says first."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no more is known').splitlines()[0]}"[:160]


# ---- forward ----------------------------------------------------------------------------------------------


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
        "log_softmax": lambda z: torch.log_softmax(z, 1),
    }
    return [known[name] for name in names]


def check_forward(torch: Any, name: str, ran: Run, linears: list[Call], x: Any, names: Sequence[str]) -> None:
    """Refuse a run in which anything but these layers made its outputs from x (rows, n_in).

    name: the module's; names: what follows each Linear, one of ``activations``.
    """
    if not torch.is_tensor(ran.outputs):
        raise ValueError(
            f"the forward of {name} returns a {type(ran.outputs).__name__}, and vgfast inspects modules with one "
            f"output; inspect one that returns a tensor"
        )
    first = linears[0]
    if not _is_same(torch, first.inputs, x):
        raise ValueError(
            f"something that is no layer changes X before the {first.layer}, in the forward of {name} or a hook; "
            f"do that to X first, and inspect the module without it"
        )
    after = [call.inputs for call in linears[1:]] + [_as_matrix(ran.outputs)]
    for l, (call, act, follows) in enumerate(zip(linears, activations(torch, names), after, strict=True)):
        a, W, b = _leaves(call)
        z = torch.nn.functional.linear(a, W, b)
        finite = bool(torch.isfinite(z).all())  # else it is for MLP.inspect to explain
        size = _norm(a) * _norm(W) + (0.0 if b is None else math.sqrt(len(a)) * _norm(b))
        if not _close(torch, call.outputs, z, size if finite else math.inf, len(W.T) + 1):
            raise ValueError(
                f"what comes out of the {call.layer} is not x W + b: a hook, autocast in the forward of {name}, or a "
                f"change of the weights while it runs; remove that"
            )
        made = act(call.outputs)
        size = _norm(made) + (_norm(call.outputs) if names[l] == "log_softmax" else 0.0)
        if not _close(torch, follows, made, size if finite else math.inf, 4):
            raise ValueError(_between(name, ran.calls, call, linears[l + 1] if l + 1 < len(linears) else None))


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


def check_backward(
    torch: Any, module: Any, linears: list[Call], names: Sequence[str], actual: Any, expected: Callable[[Any], Any]
) -> None:
    """Refuse a module whose own backward is not that of these layers.

    actual: the loss of the run, a tensor; expected: the loss that the report is of, a function of what the last
    layer makes (rows, n_out).
    """
    gradients = _gradients(torch, module, linears, actual)
    back = None  # what the layers after this one pass back to it
    for call, act in list(zip(linears, activations(torch, names), strict=True))[::-1]:
        z = call.outputs.requires_grad_()
        if back is None:
            loss = expected(act(z))
            _check_loss(torch, float(actual.detach()), float(loss.detach()), z)
            (delta,) = torch.autograd.grad(loss, z)
        else:
            (delta,) = torch.autograd.grad(act(z), z, back.to(z.device))
        leaves = [leaf for leaf in _leaves(call) if leaf is not None]
        wanted = torch.autograd.grad(torch.nn.functional.linear(*leaves), leaves, delta)
        a, W, *_ = leaves
        rows = math.sqrt(len(a))
        back = gradients[id(call.inputs)]
        own = call.layer.torch
        for what, tensor, want, size, terms in (
            (f"the weight of the {call.layer}", own.weight, wanted[1], _norm(a), len(a)),
            (f"the bias of the {call.layer}", own.bias, wanted[-1], rows, len(a)),
            (f"what comes into the {call.layer}", call.inputs, wanted[0], _norm(W), len(W)),
        ):
            if tensor is None or (tensor is call.inputs and call is linears[0]):
                continue  # no bias; X, whose gradient is not reported
            got = gradients[id(tensor)]
            if not _close(torch, got, want, size * _norm(delta), terms):
                raise ValueError(_differs(what, got, want))


def _gradients(torch: Any, module: Any, linears: list[Call], loss: Any) -> dict[int, Any]:
    """autograd's, by the identity of each parameter and of each Linear's inputs; None where there is none."""
    ours = {id(p) for call in linears for p in call.layer.torch.parameters()}
    tensors = [p for p in module.parameters() if p.requires_grad] + [call.inputs for call in linears]
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
