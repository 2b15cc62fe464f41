"""The layers of a torch module: which it has, before it is run; which it called, in their order, afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from vgfast.export.torch_names import ACTIVATIONS, PARAMETERS
from vgfast.interop.autograd import Block
from vgfast.interop.torch_norms import KINDS as NORMS
from vgfast.interop.torch_norms import Norm, read_all
from vgfast.interop.torch_run import Call, Layer, Run, first_line
from vgfast.model.activations import elu, leaky_relu
from vgfast.model.norm import Normalization

# torch's names of what can be read, and ours of the activations. Identity is no layer: it may stand anywhere.
_OF_TORCH = {theirs: ours for ours, theirs in ACTIVATIONS.items() if ours != "gelu_tanh"}
_OWN = {"ScaledTanh": "scaled_tanh"}  # of ``export.torch_modules``
_ACTIVATIONS = {**_OF_TORCH, **_OWN}
DROPOUTS = ("Dropout", "AlphaDropout")
_ENDINGS = ("Softmax", "LogSoftmax")
_LAYERS = ("Linear", *_OF_TORCH, *NORMS, "Identity", "Flatten", *DROPOUTS, *_ENDINGS)
# Those with a parameter, and what makes ours.
_PARAMETERS = {"LeakyReLU": leaky_relu, "ELU": elu}
# What these activations can be set to, and what it is in ours.
_SETTINGS = {
    "Softplus": {"beta": 1.0, "threshold": 20.0},
    "Hardtanh": {"min_val": -1.0, "max_val": 1.0},
}
_KNOWN = ", ".join(("Linear", *_OF_TORCH, *NORMS))
# What else can be inspected.
_MORE = ", Flatten, LogSoftmax at the end, and Dropout in eval()"

# ---- what can be read, before the module is run -------------------------------------------------------------


def kind_of(namespace: Any, it: Any, names: Sequence[str]) -> str:
    """The name of the torch class that `it` is or runs as, its ``forward`` not replaced; "" if there is none."""
    for name in names:
        known = getattr(namespace, name)
        if isinstance(it, known) and getattr(it.forward, "__func__", None) is known.forward:
            return name
    return ""


def kind_of_layer(nn: Any, it: Any) -> str:
    """The same of all layers that vgfast knows."""
    found = kind_of(nn, it, _LAYERS)
    if found or not type(it).__module__.startswith("vgfast."):
        return found
    from vgfast.export import torch_modules  # which imports torch

    return kind_of(torch_modules, it, tuple(_OWN))


def find_layers(nn: Any, module: Any, path: str = "") -> Iterator[Layer]:
    """All parts that vgfast knows, that have no parts, or that, inside the module, have parameters besides those of
    their parts; the rest is gone through."""
    kind = kind_of_layer(nn, module)
    parts = {name: part for name, part in module._modules.items() if part is not None}
    own = path and any(parameter is not None for parameter in module._parameters.values())
    goes_through = kind_of(nn, module, ["Sequential"]) or (parts and not own)
    if kind or not goes_through:
        yield Layer(path, kind, module)
        return
    for name, part in parts.items():
        yield from find_layers(nn, part, f"{path}.{name}" if path else name)


def check_parameters(torch: Any, module: Any) -> None:
    """Refuse a module that has no numbers yet."""
    for path, part in module.named_modules():
        if any(torch.nn.parameter.is_lazy(p) for p in part._parameters.values()):
            raise ValueError(
                f"the {Layer(path, '', part)} is lazy, and has no parameters yet; run the module once: module(X)"
            )
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            raise TypeError(f"the parameter {name!r} is on the device 'meta', which has no numbers; load them first")


def check_runnable(torch: Any, module: Any) -> None:
    """Refuse what does not run as its layers do one after another, or would not stay as it was."""
    check_parameters(torch, module)
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    for path, part in module.named_modules():
        layer = Layer(path, "", part)
        if isinstance(part, parallel):
            raise ValueError(f"the {layer} runs copies of its module; inspect that, its .module")
        if "_orig_mod" in part._modules:
            raise ValueError(f"the {layer} is compiled, and its layers do not run one by one; inspect its ._orig_mod")
        if getattr(part, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"the {layer} is compiled, and its layers do not run one by one; inspect copy.deepcopy(module), which "
                f"is not"
            )
        if isinstance(part, torch.jit.ScriptModule):
            raise ValueError(f"the {layer} is a script, which vgfast cannot read; inspect what it was made from")
    for name, parameter in module.named_parameters():
        if parameter.is_inference():
            raise ValueError(
                f"the parameter {name!r} was made in inference mode, so it can have no gradient; "
                f"inspect copy.deepcopy(module)"
            )
        if getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise ValueError(
                f"the parameter {name!r} has a hook for when its gradient is accumulated, which may change it or train "
                f"the module; inspect copy.deepcopy(module), which has no hooks on parameters"
            )


class Form(NamedTuple):
    """What all Linear layers have in common, and the columns of the one that was assigned first."""

    dtype: np.dtype
    device: Any
    n_in: int


def check_linears(layers: list[Layer]) -> Form:
    """Refuse layers without a Linear, of several dtypes, or that share a parameter."""
    linears = [layer for layer in layers if layer.kind == "Linear"]
    if not linears:
        for layer in layers:
            if not layer.kind:
                refuse_unknown(layer)
        raise ValueError("the module has no Linear layer, of which a net is made; give it one")
    norms = [layer for layer in layers if layer.kind in NORMS]
    dtypes = {str(p.dtype) for layer in (*linears, *norms) for p in layer.torch.parameters()}
    if not dtypes <= {"torch.float32", "torch.float64"} or len(dtypes) > 1:
        raise ValueError(
            f"the module's parameters must be all float32 or all float64, got {' and '.join(sorted(dtypes))}; "
            + ("vgfast has no complex nets" if "complex" in str(dtypes) else "give copy.deepcopy(module).float()")
        )
    seen: dict[int, Layer] = {}
    for layer in {id(layer.torch): layer for layer in (*linears, *norms)}.values():
        for name, parameter in layer.torch._parameters.items():
            if parameter is None or parameter.numel() == 0:
                continue
            other = seen.setdefault(parameter.data_ptr(), layer)
            if other is not layer:
                raise ValueError(f"the {layer} has the {name} of the {other}; vgfast shares none: give it its own")
    first = linears[0].torch  # whose weight may be computed, and by that change: it is not asked for
    dtype = np.dtype(dtypes.pop().removeprefix("torch."))
    return Form(dtype, next(first.parameters()).device, first.in_features)


def check_layers(torch: Any, module: Any) -> tuple[list[Layer], Form]:
    """The layers of a module that can be run, and read."""
    check_runnable(torch, module)
    layers = list(find_layers(torch.nn, module))
    return layers, check_linears(layers)


# ---- the layers in the order in which they were run ---------------------------------------------------------


class Chain(NamedTuple):
    """The Linears with what follows each, the normalization of all hidden layers, and the last layer if it is none of a
    net's."""

    blocks: list[Block]
    normalization: Normalization | None
    ending: Layer | None


def read_chain(name: str, ran: Run, dtype: np.dtype) -> Chain:
    """The layers as this run of the module of this name called them."""
    if all(call.layer.kind != "Linear" for call in ran.calls):
        _raise_no_linear(name, ran)
    blocks: list[Block] = []
    linear: Call | None = None
    after, norm = None, None  # what stands between that Linear and here
    for call in ran.calls:
        layer = call.layer
        if layer.kind == "Linear":
            if linear:
                blocks.append(Block(linear, _activation(after) if after else "identity", norm))
            _check_linear(layer, blocks)
            linear, after, norm = call, None, None
        elif layer.kind in NORMS:
            _check_place(layer, after if after and after.kind in _ENDINGS else norm.layer if norm else None, linear)
            norm = Norm(layer, "after" if after else "before", dtype)
            _check_norm(norm, blocks)
        elif layer.kind in _ACTIVATIONS or layer.kind in _ENDINGS:
            _check_place(layer, after, linear)
            after = layer
        else:
            _check_harmless(layer)
    if norm:
        raise ValueError(
            f"the {norm.layer} comes after the last Linear, and vgfast normalizes hidden layers only; remove it"
        )
    assert linear is not None
    blocks = _settle_places(blocks, [call.layer for call in ran.calls])
    normalization = read_all([block.norm for block in blocks])
    return Chain([*blocks, Block(linear, "log_softmax" if after else "identity", None)], normalization, after)


def _settle_places(blocks: list[Block], layers: list[Layer]) -> list[Block]:
    """Without an activation, before and after it are the same: the place is that of the other layers, or else after an
    Identity, where one stands before the normalization."""
    others = [block.norm.place for block in blocks if block.norm and block.activation != "identity"]

    def settled(block: Block) -> Block:
        if block.norm is None or block.activation != "identity":
            return block
        between = layers[layers.index(block.call.layer) : layers.index(block.norm.layer)]
        after_identity = any(layer.kind == "Identity" for layer in between)
        place = others[0] if others else "after" if after_identity else "before"
        return block._replace(norm=block.norm._replace(place=place))

    return [settled(block) for block in blocks]


def _check_norm(norm: Norm, blocks: list[Block]) -> None:
    if any(block.norm and norm.layer.torch is block.norm.layer.torch for block in blocks):
        raise ValueError(f"the {norm.layer} is run twice, and vgfast shares no parameters: give each place its own")


def _check_linear(layer: Layer, blocks: list[Block]) -> None:
    if any(layer.torch is block.call.layer.torch for block in blocks):
        raise ValueError(f"the {layer} is run twice, and vgfast shares no weights: give each place its own")
    if set(layer.torch._parameters) != {"weight", "bias"} or vars(layer.torch).keys() & {"weight", "bias"}:
        raise ValueError(
            f"the {layer} has no weight of its own to read: it is computed from others, as by weight_norm or "
            f"pruning; remove that"
        )


def _check_place(layer: Layer, after: Layer | None, linear: Call | None) -> None:
    """Refuse a layer after one of its sort, or before all."""
    if after or not linear:
        place = f"is called right after the {after}" if after else "is called before any Linear layer"
        sort = "normalization" if layer.kind in NORMS else "activation"
        raise ValueError(f"the {layer} {place}, and vgfast has one {sort} after a Linear; join or remove it")


def _raise_no_linear(name: str, ran: Run) -> NoReturn:
    for call in ran.calls:
        if not call.layer.kind:
            refuse_unknown(call.layer)
    if ran.error is not None:
        raise_failed(name, ran.error)
    raise ValueError(
        f"the forward of {name} calls no Linear layer as self.layer(x), so vgfast cannot see how they are run; "
        f"write it as an nn.Sequential"
    )


def raise_failed(name: str, error: Exception) -> NoReturn:
    raise ValueError(
        f"the forward of {name} fails on X: {first_line(error)}; inspect it on an X with which module(X) works"
    ) from error


def refuse_unknown(layer: Layer, more: str = _MORE) -> NoReturn:
    """ValueError for a layer that vgfast has not, or not there; more: what it knows beside those between Linears."""
    place = " before the last Linear" if layer.kind in _ENDINGS else ""
    raise ValueError(f"vgfast does not know the module's {layer}{place}; it knows {_KNOWN}{more}")


def _activation(layer: Layer) -> str:
    if layer.kind in _ENDINGS:
        refuse_unknown(layer)
    name = _ACTIVATIONS[layer.kind]
    if layer.kind in _PARAMETERS:
        setting, make = PARAMETERS[name], _PARAMETERS[layer.kind]
        try:
            return make(getattr(layer.torch, setting)).name
        except (TypeError, ValueError) as error:
            raise ValueError(f"the {layer} has a {setting} that vgfast does not take: {error}") from None
    for setting, ours in _SETTINGS.get(layer.kind, {}).items():
        value = getattr(layer.torch, setting)
        if value != ours:
            raise ValueError(f"the {layer} has a {setting} of {value:g}, and vgfast's {name} has {ours:g}; use that")
    return "gelu_tanh" if getattr(layer.torch, "approximate", "none") == "tanh" else name


def _check_harmless(layer: Layer) -> None:
    """Layers that leave a matrix as it is; all others are refused."""
    if layer.kind in DROPOUTS:
        if layer.torch.training and layer.torch.p > 0:
            raise ValueError(
                f"the {layer} drops units at random while it is in training mode, and vgfast does not; "
                f"call module.eval() first, or set its p to 0"
            )
    elif layer.kind == "Flatten":
        if (layer.torch.start_dim, layer.torch.end_dim) != (1, -1):
            raise ValueError(f"the {layer} must join all dimensions but the first, as torch.nn.Flatten() does")
    elif layer.kind != "Identity":
        refuse_unknown(layer)
