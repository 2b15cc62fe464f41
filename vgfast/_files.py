"""Model files: a net's description and parameters, with a checksum over both, as safetensors."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Any

import numpy as np

from vgfast import _check, _core, _safetensors


def _digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}".encode() + np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def save(path: Any, description: tuple[Any, ...], weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
    """description: (sizes, activations, loss, dtype)."""
    tensors = {}
    for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"{2 * l}.weight"] = np.ascontiguousarray(w.T)
        tensors[f"{2 * l}.bias"] = b.copy()
    text = json.dumps(description)
    _safetensors.write(path, tensors, {"vgfast": text, "sha256": _digest(text, tensors)})


def _description(metadata: Any) -> tuple[tuple[int, ...], tuple[str, ...], str, str]:
    """What ``save`` was given, each part checked as the constructor would."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("vgfast"), str):
        raise ValueError("it does not hold a vgfast net")
    try:
        sizes, activations, loss, dtype = json.loads(metadata["vgfast"])
        sizes = _check.sizes(sizes)
        activations = _check.activations(activations, len(sizes) - 2, _core.ACTIVATIONS)
        _check.choice("loss", loss, _core.LOSSES)
        return sizes, activations, loss, _check.choice("dtype", dtype, _core.DTYPES)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("its description of the net is not understood") from None


def load(path: Any) -> tuple[tuple[Any, ...], np.ndarray]:
    """(description, the flat parameters); ValueError if anything in the file is not as it was saved."""
    tensors, metadata = _safetensors.read(path)
    sizes, activations, loss, dtype = _description(metadata)
    wanted: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(sizes)):
        wanted[f"{2 * l}.weight"], wanted[f"{2 * l}.bias"] = (n_out, n_in), (n_out,)
    if {name: (t.shape, t.dtype.name) for name, t in tensors.items()} != {n: (s, dtype) for n, s in wanted.items()}:
        raise ValueError("its tensors do not have the names, shapes and dtype of the net that it describes")
    if metadata.get("sha256") != _digest(metadata["vgfast"], tensors):
        raise ValueError("its contents do not fit its checksum: it was altered after it was saved")
    flat = np.concatenate([tensors[name].T.ravel() for name in wanted])
    if not np.isfinite(flat).all():
        raise ValueError("its parameters hold NaN or infinity")
    return (sizes, activations, loss, dtype), flat
