"""A torch module, read into a net of vgfast that tells where its gradient goes.

Only ``inspect_torch`` imports torch, when it is called. From top to bottom: the layers of a module in the order that
they are run in; the sizes, parameters and activations that they come to; the loss; the net.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from vgfast import _check, _core
from vgfast.gradients import GradientReport
from vgfast.mlp import MLP
from vgfast.sgd import SGD

# torch's names of what can be read, and ours of the activations. Identity is no layer: it may stand anywhere.
_ACTIVATIONS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "ReLU": "relu", "LeakyReLU": "leaky_relu"}
_ENDINGS = ("Softmax", "LogSoftmax")
_LAYERS = ("Linear", *_ACTIVATIONS, "Identity", "Flatten", "Dropout", *_ENDINGS)
_KNOWN = "Linear, Sigmoid, Tanh, ReLU, LeakyReLU(0.01), Identity, Flatten, LogSoftmax at the end, and Dropout in eval()"

_LOSSES = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy",
    "MSELoss": "mse",
}
# What each of torch's losses has of these must be so.
_OPTIONS = {"weight": None, "pos_weight": None, "ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"}


def inspect_torch(
    module: Any, X: Any, y: Any, loss: Any = "cross_entropy", optimizer: SGD | None = None, steps: int = 1000
) -> GradientReport:
    """What a step on this batch would do to each layer of a torch module: the report of ``MLP.inspect``.

    module: a ``torch.nn.Sequential``, also one of Sequentials, of float32 or float64 Linear layers with Sigmoid, Tanh,
        ReLU, LeakyReLU with its slope of 0.01, or nothing between. Identity, Flatten and a Dropout that is switched
        off may stand there too. A module with a ``forward`` of its own will do if it runs its layers in the order
        that they were assigned in, each once; it is run on X to see whether it does.
    X: (rows, n_in), or what a Flatten before the first Linear makes that of. y: as for ``vg.MLP``. Both NumPy or torch.
    loss: the name of one of ``vg.MLP``, or what is trained with: CrossEntropyLoss, NLLLoss after a LogSoftmax,
        BCEWithLogitsLoss or MSELoss, with default options.
    optimizer, steps: as for ``MLP.inspect``; momentum starts from 0.

    Nothing changes in the module; its hooks are not called, unless its own ``forward`` is run. The report is of all
    parameters, also of those that do not require a gradient; a Linear without a bias counts as one whose bias is 0.

    Errors: ImportError without torch; TypeError if an argument is of the wrong kind; ValueError if vgfast has no such
    layer, loss or dtype, or the parameters are shared or not finite; those of ``MLP.inspect`` for X and y.

    Example, which needs torch::

        import torch, vgfast as vg
        from torch import nn

        module = nn.Sequential(nn.Linear(64, 30), nn.Sigmoid(), nn.Linear(30, 30), nn.Sigmoid(), nn.Linear(30, 10))
        X, y = torch.rand(100, 64), torch.randint(10, (100,))
        report = vg.inspect_torch(module, X, y, loss=nn.CrossEntropyLoss(), optimizer=vg.SGD(lr=0.1))
        print(report)  # a row a layer, and a verdict
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module such as torch.nn.Sequential, got {type(module).__name__}")
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be a vg.SGD, got torch's {type(optimizer).__name__}, whose steps are its own; "
            f"for example vg.SGD(lr=0.1)"
        )
    layers = list(_layers(torch.nn, module))
    chain = _chain(torch, layers)
    name = _loss(torch.nn, loss, chain.ending)
    net = _net(chain, name)
    given, y = _array(torch, "X", X), _array(torch, "y", y)
    flat = chain.flattens and getattr(given, "ndim", 0) > 2 and given.size > 0
    x = given.reshape(len(given), -1) if flat else given
    if not _runs_in_order(torch.nn, module):
        _compare(torch, module, given, net.forward(x), chain.ending)
    return net.inspect(x, y, optimizer, steps)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "inspect_torch reads modules of torch, which cannot be imported here; pip install torch"
        ) from error
    return torch


# ---- the layers, in the order that they are run in ----------------------------------------------------


class _Layer(NamedTuple):
    """A torch layer; ``kind`` is torch's name of it, or "" if it is not one of ``_LAYERS``."""

    path: str
    kind: str
    torch: Any

    def __str__(self) -> str:
        """What it is and where, as torch prints the module."""
        return type(self.torch).__name__ + (f" at {self.path!r}" if self.path else "")


def _kind(namespace: Any, it: Any, names: Sequence[str]) -> str:
    """The name of the torch class that `it` is or runs as, its ``forward`` not replaced; "" if there is none."""
    for name in names:
        known = getattr(namespace, name)
        if isinstance(it, known) and getattr(it.forward, "__func__", None) is known.forward:
            return name
    return ""


def _runs_in_order(nn: Any, module: Any) -> bool:
    """Whether the module is a layer, or a Sequential that does what all do."""
    return bool(_kind(nn, module, ("Sequential", *_LAYERS)))


def _layers(nn: Any, module: Any, path: str = "") -> Iterator[_Layer]:
    """Sequentials are gone through, and so is the outermost module, whatever it is; the rest are layers."""
    kind = _kind(nn, module, _LAYERS)
    # Not children(), which names a layer that stands twice only once.
    parts = {name: part for name, part in module._modules.items() if part is not None}
    goes_through = _kind(nn, module, ["Sequential"]) or (parts and not path)
    if kind or not goes_through:
        yield _Layer(path, kind, module)
        return
    for name, part in parts.items():
        yield from _layers(nn, part, f"{path}.{name}" if path else name)


# ---- what they come to ------------------------------------------------------------------------------------


class _Chain(NamedTuple):
    """``weights[l-1]`` (n_in, n_out) and ``biases[l-1]`` (n_out,) or None; ``activations``, one a hidden layer;
    whether X is flattened first; what follows the last Linear."""

    weights: list[np.ndarray]
    biases: list[np.ndarray | None]
    activations: list[str]
    flattens: bool
    ending: _Layer | None


def _chain(torch: Any, layers: list[_Layer]) -> _Chain:
    linears: list[_Layer] = []
    activations: list[str] = []
    flattens, after = False, None  # after: what stands between the last Linear and here
    for layer in layers:
        if layer.kind == "Linear":
            if linears:
                activations.append(_activation(after) if after else "identity")
            linears.append(layer)
            after = None
        elif layer.kind in _ACTIVATIONS or layer.kind in _ENDINGS:
            if after or not linears:
                place = f"follows the {after}" if after else "stands before the first Linear"
                raise ValueError(
                    f"the {layer} {place}, and vgfast has one activation after a Linear; join or remove it"
                )
            after = layer
        else:
            _check_harmless(layer)
            flattens |= layer.kind == "Flatten" and not linears
    if not linears:
        raise ValueError("the module has no Linear layer, so there is no gradient to inspect; give it one")
    parameters = _parameters(torch, linears)
    return _Chain(parameters[::2], parameters[1::2], activations, flattens, after)


def _unknown(layer: _Layer) -> NoReturn:
    place = " before the last Linear" if layer.kind in _ENDINGS else ""
    raise ValueError(f"vgfast does not know the module's {layer}{place}; it knows {_KNOWN}")


def _activation(layer: _Layer) -> str:
    if layer.kind in _ENDINGS:
        _unknown(layer)
    slope = getattr(layer.torch, "negative_slope", 0.01)
    if slope != 0.01:
        raise ValueError(f"the {layer} has a slope of {slope:g}, and vgfast's leaky_relu has 0.01; use that")
    return _ACTIVATIONS[layer.kind]


def _check_harmless(layer: _Layer) -> None:
    """Layers that leave a matrix as it is; all others are refused."""
    if layer.kind == "Dropout":
        if layer.torch.training and layer.torch.p > 0:
            raise ValueError(
                f"the {layer} drops units at random while it is in training mode, and vgfast does not; "
                f"call module.eval() first, or set its p to 0"
            )
    elif layer.kind == "Flatten":
        if (layer.torch.start_dim, layer.torch.end_dim) != (1, -1):
            raise ValueError(f"the {layer} must join all dimensions but the first, as torch.nn.Flatten() does")
    elif layer.kind != "Identity":
        _unknown(layer)


def _parameters(torch: Any, linears: list[_Layer]) -> list[Any]:
    """W1, b1, W2, b2, ..., of fitting shapes, one dtype, and finite; None for a bias that there is not."""
    found: list[Any] = []
    seen: dict[int, _Layer] = {}
    dtypes = {str(p.dtype) for layer in linears for p in layer.torch.parameters()}
    if not dtypes <= {"torch.float32", "torch.float64"} or len(dtypes) > 1:
        raise ValueError(
            f"the module's parameters must be all float32 or all float64, got {' and '.join(sorted(dtypes))}; "
            f"inspect copy.deepcopy(module).float()"
        )
    for layer in linears:
        own = layer.torch._parameters
        if set(own) != {"weight", "bias"} or torch.nn.parameter.is_lazy(own["weight"]):
            raise ValueError(
                f"the {layer} has no weight of its own to read: it is computed from others, as by weight_norm or "
                f"pruning, or still lazy; remove that, or run a lazy module once"
            )
        first = seen.setdefault(id(own["weight"]), layer)
        if first is not layer:
            raise ValueError(f"the {layer} has the weight of the {first}; vgfast shares none: give it its own")
        weights = _finite(torch, f"weight of the {layer}", own["weight"]).T
        if found and len(weights) != found[-2].shape[1]:
            raise ValueError(
                f"the {layer} takes {len(weights)} inputs, but the Linear before it has {found[-2].shape[1]} outputs; "
                f"make them equal"
            )
        bias = own["bias"]
        found += [weights, None if bias is None else _finite(torch, f"bias of the {layer}", bias)]
    return found


def _finite(torch: Any, name: str, parameter: Any) -> np.ndarray:
    array = _array(torch, name, parameter)
    if not np.isfinite(array).all():
        what = "NaN" if np.isnan(array).any() else "infinity"
        raise ValueError(f"the {name} holds {what}, so there is no gradient; inspect the module before it diverges")
    return array


def _array(torch: Any, name: str, value: Any) -> Any:
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


# ---- the loss, and what it takes ----------------------------------------------------------------------------


def _loss(nn: Any, loss: Any, ending: _Layer | None) -> str:
    """vgfast's name of the loss; ValueError if it and the module's last layer are not what a vgfast net has."""
    kind = ""
    if isinstance(loss, str):
        name = _check.choice("loss", loss, _core.LOSSES)
    else:
        kind = _kind(nn, loss, tuple(_LOSSES))
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
        _check_ending(ending, kind, name)
    return name


def _check_options(loss: Any, kind: str, name: str) -> None:
    for option, default in _OPTIONS.items():
        value = getattr(loss, option, default)
        if value is not None if default is None else value != default:
            raise ValueError(
                f"{kind} has {option}={value if default is not None else '...'}, which vgfast's {name} does not have; "
                f"inspect with loss={name!r}, which leaves it out"
            )


def _check_ending(ending: _Layer, kind: str, loss: str) -> None:
    """A LogSoftmax of a LogSoftmax is the same, so cross-entropy may come after it; every other ending is refused."""
    if ending.kind == "LogSoftmax" and loss == "cross_entropy" and ending.torch.dim in (1, -1, None):
        return
    inside = {"Softmax": "cross_entropy", "LogSoftmax": "cross_entropy", "Sigmoid": "binary_cross_entropy"}
    why = (
        f"which vgfast has within its loss: inspect module[:-1], without it, with loss={inside[ending.kind]!r}"
        if ending.kind in inside
        else "but a vgfast net ends in a Linear layer: inspect module[:-1], without it"
    )
    raise ValueError(f"the module ends in a {ending}, {why}")


# ---- the net ----------------------------------------------------------------------------------------------


def _net(chain: _Chain, loss: str) -> MLP:
    sizes = [len(chain.weights[0]), *(weights.shape[1] for weights in chain.weights)]
    net = MLP(sizes, chain.activations, loss, init="zeros", dtype=chain.weights[0].dtype)
    for l, (weights, biases) in enumerate(zip(chain.weights, chain.biases, strict=True)):
        net.weights[l] = weights
        if biases is not None:
            net.biases[l] = biases
    return net


def _compare(torch: Any, module: Any, X: np.ndarray, z: np.ndarray, ending: _Layer | None) -> None:
    """Refuse a module whose own ``forward`` does not make z (rows, n_out) of X."""
    if not np.isfinite(z).all():
        return  # for inspect to explain
    copied = torch.from_numpy(np.array(X, z.dtype, order="C"))  # which the forward may overwrite
    with torch.no_grad():
        made = module(copied.to(next(module.parameters()).device))
    if isinstance(made, torch.Tensor) and tuple(made.shape) == z.shape:
        expected = torch.log_softmax(torch.from_numpy(z), 1).numpy() if ending else z
        # Half of the digits: roundings cost fewer, and anything else that a forward might do costs more.
        most = np.sqrt(np.finfo(z.dtype).eps) * np.abs(expected).max()
        if np.abs(made.numpy(force=True) - expected).max() <= most:
            return
    raise ValueError(
        f"the forward of {type(module).__name__} is not its layers in order, each once, with nothing between; "
        f"write it as one torch.nn.Sequential"
    )
