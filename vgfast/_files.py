"""Model files: a net's description and parameters, with a checksum over both, as safetensors."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from vgfast import _safetensors


def _digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def save(
    path: str | os.PathLike[str],
    description: tuple[Any, ...],
    weights: list[np.ndarray],
    biases: list[np.ndarray],
) -> None:
    """description: what ``load`` gives back, as JSON can hold it."""
    tensors = {}
    for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"{2 * l}.weight"] = np.ascontiguousarray(w.T)
        tensors[f"{2 * l}.bias"] = b
    text = json.dumps(description)
    _safetensors.write(path, tensors, {"vgfast": text, "sha256": _digest(text, tensors)})


def load(path: str | os.PathLike[str]) -> tuple[list[Any], np.ndarray]:
    """(description, the flat parameters); ValueError if anything in the file is not as it was saved."""
    tensors, metadata = _safetensors.read(path)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("vgfast"), str):
        raise ValueError("it does not hold a vgfast net")
    if metadata.get("sha256") != _digest(metadata["vgfast"], tensors):
        raise ValueError("its contents do not fit its checksum: it was altered after it was saved")
    parts = []
    for l in range(len(tensors) // 2):
        parts += [tensors[f"{2 * l}.weight"].T.ravel(), tensors[f"{2 * l}.bias"]]
    return json.loads(metadata["vgfast"]), np.concatenate(parts)
