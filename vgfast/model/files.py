"""Model files: a net's architecture and parameters, with a checksum over both, as safetensors; and files that other
programs write of the same tensors, which hold neither activation nor loss."""

from __future__ import annotations

import hashlib
import io
import json
import math
import reprlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from vgfast import _check, _core
from vgfast.files import foreign, replace, safetensors
from vgfast.files.foreign import Misused, Other
from vgfast.files.safetensors import Contents
from vgfast.model import dropout, norm
from vgfast.model.activations import names_of
from vgfast.model.architecture import Architecture
from vgfast.model.errors import DivergenceError
from vgfast.model.residual import residual

# What a description may have besides, and the tensor of the scales that residual connections learn.
_MORE, _SCALES = ("dropout", "residual", "normalization"), "scales"
_ASSIGN = "assign net.weights, each (n_in, n_out), and net.biases of a new vg.MLP"


def _digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}".encode() + np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _names(n_layers: int) -> list[str]:
    """Of the tensors, as torch.nn.Sequential has them where activations stand between the layers."""
    return [f"{2 * l}.{kind}" for l in range(n_layers) for kind in ("weight", "bias")]


def named(net: Architecture, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Views of a vector of parameters, and what runs, as torch.nn.Sequential has them: weights (n_out, n_in)."""
    norm = net.normalization
    named: dict[str, np.ndarray] = {}
    modules = 2 if norm is None else 3  # of a layer: Linear, and activation and normalization in their order
    behind = 1 if norm is not None and norm.place == "before" else 2
    for l, (weights, biases, gains, shifts) in enumerate(zip(*net.parts(vector), strict=True)):
        first = modules * l
        named |= {f"{first}.weight": weights.T, f"{first}.bias": biases}
        named |= {f"{first + behind}.weight": gains, f"{first + behind}.bias": shifts}
    for l, (mean, variance) in enumerate(net.running(vector)):
        norm_at = f"{modules * l + behind}"
        named |= {f"{norm_at}.running_mean": mean, f"{norm_at}.running_var": variance}
    return {name: view for name, view in named.items() if view.size}


# ---- saving ------------------------------------------------------------------------------------------


def save(path: Any, architecture: Architecture, vector: np.ndarray) -> None:
    """To a path, or to a binary file that is open; ``DivergenceError`` if there is NaN or infinity."""
    foreign.given_path(path, "write")  # an error of which comes first
    check_dtype(architecture, "a model file holds")
    # Copies, which nobody changes between checksum and file.
    tensors = {name: np.array(view, order="C") for name, view in named(architecture, vector).items()}
    check_finite(architecture, vector, "saved")
    if architecture.learns_scales:
        tensors[_SCALES] = np.concatenate(list(architecture.scales(vector).values()))
    more = {name: getattr(architecture, name) for name in _MORE if getattr(architecture, name)}
    more |= {"dropout": dropout.to_plain(architecture.dropout)} if architecture.dropout else {}
    text = json.dumps([*architecture[:3], architecture.dtype.name, *([more] if more else [])])
    write(path, safetensors.pack(tensors, {"vgfast": text, "sha256": _digest(text, tensors)}))


def check_dtype(architecture: Architecture, holds: str) -> None:
    """ValueError for a net of half precision; holds: how the sentence begins."""
    if architecture.dtype.name not in _core.DTYPES:
        raise ValueError(
            f"{holds} a net of {' or '.join(_core.DTYPES)}, got one of {architecture.dtype}; assign its params to a "
            f"net of such a dtype and use that"
        )


def check_finite(architecture: Architecture, vector: np.ndarray, done: str) -> None:
    """``DivergenceError`` for parameters that are not, with the layer; done: what is not done with the net then."""
    kinds = "weights", "biases", "gains", "shifts"
    arrays = [
        (l, kind, array)
        for l, parts in enumerate(zip(*architecture.parts(vector), strict=True), 1)
        for kind, array in zip(kinds, parts, strict=True)
    ]
    arrays += [(l, "scales", scale) for l, scale in architecture.scales(vector).items()]
    arrays += [(l, "running statistics", both) for l, both in enumerate(map(np.array, architecture.running(vector)), 1)]
    for layer, kind, array in arrays:
        what = _check.name_unfinite(array)
        if what:
            raise DivergenceError(
                f"the {kind} of layer {layer} hold {what}, so the net is not {done}; assign finite ones, for example "
                f"from a copy made before",
                layer=layer,
            )


def write(path: Any, pieces: Iterable[bytes]) -> None:
    """To a path, whole or not at all, or to a binary file that is open; OSError, TypeError or ValueError in one
    sentence."""
    name = foreign.given_path(path, "write")
    if name is None:
        _write(path, pieces)
    else:
        replace.write(name, pieces)


def _write(file: Any, pieces: Iterable[bytes]) -> None:
    """Into a file that is open, which may take less than it is given."""
    try:
        file.write(b"")
    except (TypeError, io.UnsupportedOperation) as error:
        raise TypeError(f"the net needs a binary file open for writing ({error}); open it with mode 'wb'") from None
    for piece in pieces:
        while piece:
            taken = file.write(piece)
            if taken == 0:
                raise OSError("the file takes no more bytes, so the net is not saved; save it to another")
            piece = b"" if taken is None else piece[taken:]


# ---- loading -----------------------------------------------------------------------------------------


def load(path: Any, activation: Any, loss: Any) -> tuple[Architecture, np.ndarray]:
    """(what net, its flat parameters) of a path or an open binary file; ValueError if anything in the file is not as it
    was saved. activation, loss: for a file that does not hold them, or None."""
    name = foreign.given_path(path, "read")
    if name is None:
        return _load_explained(path, foreign.file_name(path), activation, loss)
    with foreign.opened(name, safetensors.WANTED) as file:
        return _load_explained(file, name, activation, loss)


def _load_explained(file: BinaryIO, name: str, activation: Any, loss: Any) -> tuple[Architecture, np.ndarray]:
    """``_load``, with errors that are whole sentences."""
    try:
        return _load(file, activation, loss)
    except io.UnsupportedOperation as error:
        raise TypeError(f"{name} must be open for reading ({error}); open it with mode 'rb'") from None
    except Other as error:
        raise ValueError(f"{name} {error}") from None
    except Misused as error:
        raise TypeError(f"{name} {error}") from None
    except ValueError as error:
        raise ValueError(
            f"{name} is not a whole model file: {error}; get the file again or save the net again"
        ) from None


def _load(file: BinaryIO, activation: Any, loss: Any) -> tuple[Architecture, np.ndarray]:
    contents = _header(file)
    own = "vgfast" in contents.metadata
    architecture = (_described if own else _foreign_net)(contents, activation, loss)
    safetensors.read_tensors(file, contents)
    tensors = {name: contents.array(name) for name in contents.tensors}
    if own and contents.metadata.get("sha256") != _digest(contents.metadata["vgfast"], tensors):
        raise ValueError("its contents do not fit its checksum: it was altered after it was saved")
    flat = np.empty(architecture.n_params + architecture.n_running, architecture.dtype)
    for name, view in named(architecture, flat).items():
        view[...] = tensors[name]
    for n, scale in enumerate(architecture.scales(flat).values()):
        scale[...] = tensors[_SCALES][n]
    if not np.isfinite(flat).all():
        raise Other("holds a net with NaN or infinity among its parameters, which is of no use; load an earlier one")
    return architecture, flat


def _header(file: BinaryIO) -> Contents:
    """ValueError if it is damaged, ``Other`` if it is not one of safetensors."""
    data = bytearray()
    safetensors.take(file, data, foreign.BEGINNING)
    if not data:
        if _position(file) > 0:
            raise Other("is at its end, where there is nothing to read; go to where the net begins, as with seek(0)")
        raise ValueError("it is empty")
    try:
        return safetensors.read_header(file, data)
    except ValueError:
        known = foreign.kind(bytes(data[: foreign.BEGINNING]))
        if known is None:
            raise
        then = f" and {_ASSIGN}" if known.arrays else ""
        raise Other(f"is {known.what}, not {safetensors.WANTED}; {known.how}{then}") from None


def _position(file: BinaryIO) -> int:
    """How far it has been read or written; 0 if it does not know."""
    try:
        return file.tell()
    except (AttributeError, OSError):
        return 0


def _described(contents: Contents, activation: Any, loss: Any) -> Architecture:
    """The architecture that ``save`` wrote, checked as by the constructor, and against the tensors."""
    try:
        sizes, names, own_loss, dtype, *more = json.loads(contents.metadata["vgfast"])
        if isinstance(names, str) or dtype not in _core.DTYPES:  # other spellings, of which no file has any
            raise ValueError
        net = Architecture.checked(sizes, names, own_loss, dtype, **_more(more))
        if list(net.activations) != names:
            raise ValueError
    except (TypeError, ValueError, RecursionError):
        raise ValueError("its description of the net is not understood") from None
    kind = {"float32": "F32", "float64": "F64"}[net.dtype.name]
    n = net.n_params + net.n_running
    if n > sum(math.prod(tensor.shape) for tensor in contents.tensors.values()):
        raise ValueError("it has fewer parameters than the net that it describes")
    views = named(net, np.broadcast_to(np.float32(0), n))
    wanted = {name: (kind, view.shape) for name, view in views.items()}
    if net.learns_scales:
        wanted[_SCALES] = (kind, (len(net.blocks),))
    if {name: tensor[:2] for name, tensor in contents.tensors.items()} != wanted:
        raise ValueError("its tensors do not have the names, shapes and dtype of the net that it describes")
    given = _arguments(net.sizes, activation, loss)
    if given[0] not in (None, net.activations):
        known = _shown(net.activations)
        raise Other(f"says that its activations are {known}, got {activation!r}; leave out activation")
    if given[1] not in (None, net.loss):
        raise Other(f"says that its loss is {net.loss!r}, got {loss!r}; leave out loss")
    return net


def _more(found: list[Any]) -> dict[str, Any]:
    """What a description has beside sizes, activations, loss and dtype, as the constructor takes it; ValueError or
    TypeError if that is not understood."""
    if not found:
        return {}
    (more,) = found
    if (
        not isinstance(more, dict)
        or set(more) - set(_MORE)
        or not all(isinstance(value, list) for value in more.values())
    ):
        raise ValueError
    made: dict[str, Any] = {"residual": residual(*more["residual"])} if "residual" in more else {}
    made |= {"dropout": dropout.from_plain(more["dropout"])} if "dropout" in more else {}
    made |= {"normalization": norm.from_plain(more["normalization"])} if "normalization" in more else {}
    return more | made


def _arguments(sizes: tuple[int, ...], activation: Any, loss: Any) -> tuple[tuple[str, ...] | None, str | None]:
    """The caller's activation and loss, checked for a net of these sizes; None where they were not given."""
    try:
        activations = None if activation is None else names_of(activation, len(sizes) - 2)
        if loss is not None:
            _check.outputs(sizes[-1], _check.choice("loss", loss, _core.LOSSES))
    except (TypeError, ValueError) as error:
        kind = Misused if isinstance(error, TypeError) else Other
        raise kind(f"has the weights of vg.MLP({_shown(sizes)}): {error}") from None
    return activations, loss


def _foreign_net(contents: Contents, activation: Any, loss: Any) -> Architecture:
    """Sizes from the shapes of the tensors, the rest from the caller."""
    sizes = _sizes(contents)
    activations, loss = _arguments(sizes, activation if len(sizes) > 2 else (), loss)
    missing = ["activation='relu'"] if activations is None else []
    missing += [f"loss='{'binary_' if sizes[-1] == 1 else ''}cross_entropy'"] if loss is None else []
    if activations is None or loss is None:
        raise Other(
            f"is a safetensors file that vgfast did not write: it has the weights of vg.MLP({_shown(sizes)}), and does "
            f"not tell the rest; name it, for example with vg.MLP.load(path, {', '.join(missing)})"
        )
    double = any(tensor.dtype == "F64" for tensor in contents.tensors.values())
    return Architecture(sizes, activations, loss, np.dtype("float64" if double else "float32"))


def _sizes(contents: Contents) -> tuple[int, ...]:
    """Of the net that these tensors are; ``Other`` if they are none."""
    tensors, names = contents.tensors, _names(max(1, len(contents.tensors) // 2))
    if set(tensors) != set(names):
        raise Other(
            f"is a safetensors file without the tensors of a net of vgfast's: it must have {_few(names)}, and has "
            f"{_few(list(tensors)) or 'none'}; read it with safetensors and {_ASSIGN}"
        )
    unknown = next((name for name in names if tensors[name].dtype not in safetensors.DTYPES), None)
    if unknown is not None:
        raise Other(
            f"has {unknown} in {reprlib.repr(tensors[unknown].dtype)}, of which no net can be made; save its tensors "
            f"as one of {', '.join(safetensors.DTYPES)}"
        )
    sizes = list(tensors["0.weight"].shape[1:2])
    for weight, bias in zip(names[::2], names[1::2], strict=True):
        shape, n_out = tensors[weight].shape, tensors[weight].shape[:1]
        if len(shape) != 2 or shape[1] != sizes[-1] or 0 in shape or tensors[bias].shape != n_out:
            raise Other(
                f"is a safetensors file without the tensors of a net of vgfast's: {weight} must be (n_out, n_in), n_in "
                f"being n_out of the layer before, and {bias} (n_out,), and they are {_shown(shape)} and "
                f"{_shown(tensors[bias].shape)}; read it with safetensors and {_ASSIGN}"
            )
        sizes += n_out
    return tuple(sizes)


def _few(names: list[str]) -> str:
    """The first of them."""
    return ", ".join(reprlib.repr(name)[1:-1] for name in names[:6]) + (", ..." if len(names) > 6 else "")


def _shown(items: tuple[Any, ...]) -> str:
    return reprlib.repr(list(items))
