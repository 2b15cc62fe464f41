"""Read and write the safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.

A reader of files from anywhere: it believes nothing. Every tensor must lie where the header says, in order,
with no gap, no overlap and nothing after the last.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

# The format's own names, little-endian in the file.
_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
# The reference implementation's limit, in bytes.
_HEADER_MOST = 100_000_000


def write(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write all or nothing: a new file takes the old one's place only when it is complete."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, tensor in tensors.items():
        kind = next(k for k, dtype in _DTYPES.items() if dtype == tensor.dtype)
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [start, start + tensor.nbytes]}
        start += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target = Path(path).resolve()  # a link stays a link
    if target.exists() and not target.is_file():
        raise ValueError(f"{target} is not a regular file, so it is not replaced; choose another path")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                file.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice in its header")
    return dict(pairs)


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the tensors start."""
    if len(data) < 8:
        raise ValueError(f"it has {len(data)} bytes, fewer than a header needs")
    length = int.from_bytes(data[:8], "little")
    if length > _HEADER_MOST or 8 + length > len(data):
        raise ValueError(f"its header should have {length} bytes, and the file has {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, 8 + length


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors by name, and the metadata. ValueError says what is wrong with the file."""
    data = Path(path).read_bytes()
    header, base = _header(data)
    metadata = header.pop("__metadata__", {})
    tensors: dict[str, np.ndarray] = {}
    places: list[tuple[int, int]] = []
    for name, entry in header.items():
        try:
            dtype = _DTYPES[entry["dtype"]]
            shape, (start, stop) = entry["shape"], entry["data_offsets"]
            whole = [*shape, start, stop]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"the entry of {name!r} in its header is not understood") from None
        if any(type(n) is not int or n < 0 for n in whole):
            raise ValueError(f"the shape or place of {name!r} is not made of whole numbers")
        if stop - start != math.prod(shape) * dtype.itemsize or base + stop > len(data):
            raise ValueError(f"{name!r} of shape {tuple(shape)} does not fit the bytes {start} to {stop}")
        places.append((start, stop))
        flat: np.ndarray = np.frombuffer(data[base + start : base + stop], dtype)
        tensors[name] = flat.reshape(shape)
    end = 0
    for start, stop in sorted(places):
        if start != end:
            raise ValueError(f"its tensors overlap or leave a gap at byte {start}")
        end = stop
    if base + end != len(data):
        raise ValueError(f"it has {len(data) - base - end} bytes after the last tensor")
    return tensors, metadata
