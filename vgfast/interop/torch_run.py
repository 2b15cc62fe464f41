"""A torch module's own forward, run once with its hooks: the calls of its layers, and the module left as it was.

From top to bottom: the module left as it was; the run.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

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
