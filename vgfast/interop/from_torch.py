"""A ``torch.nn.Sequential``, read into a net of vgfast: its layers are read as they stand there, and not run.

``torch_layers`` and ``torch_norms`` know the layers. From top to bottom: the loss; dropout and residual connections;
the net.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from vgfast import _check, _core
from vgfast._check import packages
from vgfast.export.torch_names import ENDINGS
from vgfast.interop import torch_layers
from vgfast.interop.torch_layers import Chain
from vgfast.interop.torch_run import Call, Layer, Run
from vgfast.mlp import MLP
from vgfast.model import dropout as drops
from vgfast.model import norm
from vgfast.model import residual as skips
from vgfast.model.norm import Normalization
from vgfast.model.residual import Residual

# What may stand anywhere.
_IDLE = ("Identity", "Flatten")


def from_torch(module: Any, loss: str | None = None, rng: Any = None) -> MLP:
    """The net of vgfast that a ``torch.nn.Sequential`` is: the same layers, and its parameters, copied bit by bit.

    module: Linear layers of float32 or float64, and between them torch's layer of one of ``vg.activations``, or none,
        a BatchNorm1d, LayerNorm or RMSNorm before or after it, all hidden layers alike, and then Dropout or
        AlphaDropout; in other Sequentials too. Flatten and Identity are passed over, and so are hooks. What
        ``net.to_torch()`` gives can be read, residual connections included.
    loss: a name as of ``vg.MLP``. None: that which ``to_torch`` has noted, or to which the end of the module belongs:
        cross_entropy to a Softmax or LogSoftmax, binary_cross_entropy to a Sigmoid, which are then within the loss;
        else cross_entropy, as of ``vg.MLP``.
    rng: as of ``vg.MLP``, for shuffling and dropout.

    Batch norm takes its running statistics along, less the bias of a Linear before it, which it takes away; a missing
    bias is 0. Residual connections by 1/sqrt(L) have that number for their scale. torch's GELU is off left of -3 in
    float32, by less than 3e-7.

    Errors: ImportError without torch; TypeError for what is no module; ValueError, with name and place, for a layer
    that vgfast has not, or not there, for widths that do not fit, parameters that are shared, not finite, or of another
    dtype, and for a loss to which the end of the module does not belong.

    Example, which needs torch::

        from torch import nn

        module = nn.Sequential(nn.Linear(64, 30), nn.ReLU(), nn.Dropout(0.2), nn.Linear(30, 10))
        net = vg.from_torch(module)
        net.fit(X, y, optimizer=vg.Adam())
    """
    torch = packages.require("torch", "from_torch", "torch")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Sequential, got {type(module).__name__}")
    torch_layers.check_parameters(torch, module)
    form = _read_form(_walk(torch, module, ""))
    linears = torch_layers.check_linears(form.layers)
    ran = Run([Call(layer) for layer in form.layers], None, None, False)
    chain = torch_layers.read_chain(type(module).__name__, ran, linears.dtype)
    _check_widths(chain)
    chain = chain._replace(normalization=_with_momentum(chain))
    name = _loss_of(module, loss, chain.ending)
    net = make_net(torch, chain, name, form, rng)
    _copy_running(torch, net, chain)
    return net


# ---- the loss ---------------------------------------------------------------------------------------------


def _loss_of(module: Any, given: str | None, ending: Layer | None) -> str:
    noted = getattr(module, "loss", None)
    told = noted if isinstance(noted, str) and noted in _core.LOSSES else None
    if ending is not None:
        if ending.kind not in ENDINGS:
            raise ValueError(
                f"the module ends in a {ending}, but a vgfast net ends in a Linear layer; give module[:-1], without it"
            )
        if ending.kind != "Sigmoid" and ending.torch.dim not in (1, -1, None):
            raise ValueError(f"the {ending} is over dimension {ending.torch.dim}, and not over the outputs; set dim=1")
        told = ENDINGS[ending.kind]
    if given is None:
        return told or "cross_entropy"
    name = _check.choice("loss", given, _core.LOSSES)
    if ending is not None and name != told:
        raise ValueError(
            f"the module ends in a {ending}, which is within loss={told!r}, got loss={name!r}; leave out loss, or give "
            f"module[:-1], without it"
        )
    return name


# ---- dropout and residual connections ---------------------------------------------------------------------


class _Step(NamedTuple):
    """A layer on the way through the module; or a Residual, where it is entered and where it is left."""

    layer: Layer
    enters: bool = False
    leaves: bool = False


class Block(NamedTuple):
    """A residual connection around Linear layers, the first and the last of them, from 1."""

    first: int
    last: int
    layer: Layer


class Form(NamedTuple):
    """The layers without what drops, how much is dropped after each hidden one, and the residual connections."""

    layers: list[Layer]
    dropout: list[drops.Given]
    blocks: list[Block]
    residual: Residual | None


def _walk(torch: Any, module: Any, path: str) -> Iterator[_Step]:
    """Through a Sequential and the Sequentials in it; ValueError for anything with a forward of its own."""
    from vgfast.export import torch_modules  # which imports torch

    kind = torch_layers.kind_of_layer(torch.nn, module) or torch_layers.kind_of(torch.nn, module, ["Sequential"])
    kind = kind or torch_layers.kind_of(torch_modules, module, ["Residual"])
    layer = Layer(path, kind, module)
    if kind == "Sequential":
        for name, part in module._modules.items():
            yield from _walk(torch, part, f"{path}.{name}" if path else name)
    elif kind == "Residual":
        yield _Step(layer, enters=True)
        yield from _walk(torch, module.f, f"{path}.f" if path else "f")
        yield _Step(layer, leaves=True)
    elif kind:
        yield _Step(layer)
    elif module._modules:
        raise ValueError(
            f"the {layer} has a forward of its own, which is not read here; give from_torch a torch.nn.Sequential of "
            f"its layers"
        )
    else:
        torch_layers.refuse_unknown(layer, ", Flatten, Dropout, and Softmax, LogSoftmax or Sigmoid at the end")


def _read_form(steps: Iterator[_Step]) -> Form:
    layers: list[Layer] = []
    dropout: list[drops.Given] = [0.0]  # before all, and after each Linear
    blocks: list[Block] = []
    first, inside = 0, None  # of the block that is open
    last: Layer | None = None  # what must come last after a Linear, and has come
    for layer, enters, leaves in steps:
        n = len(dropout) - 1
        if enters:
            if inside:
                _refuse(layer, f"lies within the {inside}", "vgfast has no way around within another")
            first, inside = n + 1, layer
        elif leaves:
            if n < first:
                _refuse(layer, "has no Linear layer", "vgfast leads around hidden layers")
            blocks.append(Block(first, n, layer))
            last, inside = layer, None
        elif layer.kind == "Linear":
            dropout.append(0.0)
            layers.append(layer)
            last = None
        elif layer.kind in _IDLE or (layer.kind in torch_layers.DROPOUTS and not layer.torch.p):
            layers.append(layer)
        else:
            if inside and n < first:
                _refuse(layer, f"is the first in the {inside}", "a way around begins at a Linear")
            if last is not None:
                _refuse(layer, f"comes after the {last}", "vgfast has that last, right before the next Linear")
            if layer.kind in torch_layers.DROPOUTS:
                dropout[n], last = _rate(layer, n), layer
            else:
                layers.append(layer)
    if last is not None and last.kind in torch_layers.DROPOUTS:
        _refuse(last, "comes after the last Linear", "vgfast drops outputs of hidden layers")
    return Form(layers, dropout[1:-1], blocks, _read_residual(blocks, len(dropout) - 1))


def _refuse(layer: Layer, what: str, why: str) -> NoReturn:
    raise ValueError(f"the {layer} {what}, and {why}; move or remove it")


def _rate(layer: Layer, n_linears: int) -> drops.Given:
    p = layer.torch.p
    if not n_linears:
        _refuse(layer, "drops inputs", "vgfast drops outputs of hidden layers")
    if p >= 1:
        raise ValueError(f"the {layer} drops all outputs, and nothing would be learned; set its p below 1")
    return drops.alpha(p) if layer.kind == "AlphaDropout" else float(p)


def _read_residual(blocks: Sequence[Block], n_linears: int) -> Residual | None:
    """As vgfast has it, around every so many layers but the first and the last."""
    if not blocks:
        return None
    first = blocks[0]
    every = first.last - first.first + 1
    wanted = [(l, l + every - 1) for l in range(2, n_linears, every)]
    found = [block[:2] for block in blocks]
    if found != wanted or wanted[-1][1] != n_linears - 1:
        off = next((b for b, want in zip(blocks, [*wanted, None], strict=False) if b[:2] != want), blocks[-1])
        raise ValueError(
            f"the {off.layer} leads around the Linear layers {off.first} to {off.last} of {n_linears}, and vgfast has "
            f"ways around every so many layers, from the second to the last but one; put all of these in such modules"
        )
    scales = [block.layer.torch.scale for block in blocks]
    learned = not isinstance(scales[0], float | int)
    for block, scale in zip(blocks, scales, strict=True):
        if learned == isinstance(scale, float | int) or (not learned and scale != scales[0]):
            raise ValueError(
                f"the {block.layer} has another scale than the {first.layer}, and vgfast has one number for all, or a "
                f"parameter in each; make them equal"
            )
    return skips.residual(every, skips.LEARNED if learned else float(scales[0]))


# ---- the net ----------------------------------------------------------------------------------------------


def make_net(torch: Any, chain: Chain, loss: str, form: Form | None = None, rng: Any = None) -> MLP:
    """With the parameters of these layers, and, by its form, dropout and residual connections."""
    parameters = [_parameters(torch, block.call.layer) for block in chain.blocks]
    sizes = [len(parameters[0][0]), *(weights.shape[1] for weights, _ in parameters)]
    hidden = [block.activation for block in chain.blocks[:-1]]
    more: dict[str, Any] = {} if form is None else {"dropout": form.dropout, "residual": form.residual}
    more |= {"dtype": parameters[0][0].dtype, "normalization": chain.normalization}
    net = MLP(sizes, hidden, loss, init="zeros", rng=rng, **more)
    views = net.parameters()
    for l, ((weights, biases), block) in enumerate(zip(parameters, chain.blocks, strict=True), 1):
        views[f"layer{l}.weight"][...] = weights
        if biases is not None and f"layer{l}.bias" in views:  # batch norm takes away what a bias before it adds
            views[f"layer{l}.bias"][...] = biases
        if block.norm is None:
            continue
        for name, parameter in zip(("weight", "bias"), block.norm.parameters(), strict=True):
            if parameter is not None:
                views[f"layer{l}.norm.{name}"][...] = finite(torch, f"{name} of the {block.norm.layer}", parameter)
    for way in form.blocks if form and net.residual and net.residual.scale == skips.LEARNED else ():
        views[f"layer{way.last}.scale"][...] = finite(torch, f"scale of the {way.layer}", way.layer.torch.scale)
    return net


def _parameters(torch: Any, layer: Layer) -> tuple[np.ndarray, np.ndarray | None]:
    """(W (n_in, n_out), b (n_out,) or None), finite."""
    own = layer.torch._parameters
    bias = own["bias"]
    weights = finite(torch, f"weight of the {layer}", own["weight"]).T
    return weights, None if bias is None else finite(torch, f"bias of the {layer}", bias)


def finite(torch: Any, name: str, parameter: Any) -> np.ndarray:
    """A tensor's numbers."""
    array = array_of(torch, name, parameter)
    what = _check.name_unfinite(array)
    if what:
        raise ValueError(f"the {name} holds {what}, so there is no gradient; take the module before it diverges")
    return array


def array_of(torch: Any, name: str, value: Any) -> Any:
    """A tensor, wherever it is, as an array that may share its memory; all else as it is."""
    if not isinstance(value, torch.Tensor):
        return value  # whatever it is, to be checked as the arguments of vgfast are
    if value.is_meta:
        raise TypeError(f"{name} must hold numbers, got a tensor on the device 'meta', which has none; load them first")
    if value.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {value.layout}; use to_dense()")
    if value.dtype is torch.bfloat16:
        raise TypeError(f"{name} must have a dtype that NumPy knows, got torch.bfloat16; use float()")
    return value.numpy(force=True)


def _check_widths(chain: Chain) -> None:
    """Refuse layers that do not fit each other."""
    before: Layer | None = None
    for block in chain.blocks:
        layer = block.call.layer
        n_in, n_out = layer.torch.in_features, layer.torch.out_features
        if before is not None and before.torch.out_features != n_in:
            raise ValueError(
                f"the {layer} takes {n_in} inputs, but what comes into it, after the {before}, has "
                f"{before.torch.out_features}; make them equal"
            )
        if block.norm is not None and block.norm.width != (n_out,):
            raise ValueError(
                f"the {block.norm.layer} is of shape {block.norm.width}, and not of the {n_out} outputs of the "
                f"{layer}; make them equal"
            )
        before = layer


def _with_momentum(chain: Chain) -> Normalization | None:
    """The normalization of all hidden layers, as it is trained."""
    found, norms = chain.normalization, [block.norm for block in chain.blocks if block.norm is not None]
    if found is None or found.kind != "batch":
        return found
    for own in norms:
        if own.momentum != norms[0].momentum:
            raise ValueError(
                f"the {own.layer} has a momentum of {own.momentum:g}, and the {norms[0].layer} one of "
                f"{norms[0].momentum:g}; vgfast has one for all hidden layers: make them equal"
            )
    return norm.batch(found.place, found.eps, found.affine, norms[0].momentum)


def _copy_running(torch: Any, net: MLP, chain: Chain) -> None:
    """Of batch norm; the bias that a Linear before it has is in the mean."""
    state = net.state_dict()
    for l, block in enumerate(chain.blocks[:-1] if net.normalization and net.normalization.kind == "batch" else (), 1):
        assert block.norm is not None
        own, layer = block.norm.layer.torch, block.norm.layer
        mean = finite(torch, f"running mean of the {layer}", own.running_mean).astype(np.float64)
        bias = _parameters(torch, block.call.layer)[1]
        if bias is not None and block.norm.place == "before":
            mean = mean - bias
        state[f"layer{l}.norm.running_mean"] = mean
        state[f"layer{l}.norm.running_var"] = finite(torch, f"running variance of the {layer}", own.running_var)
    net.load_state_dict(state)
