"""The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.

A reader of files from anywhere: it believes nothing. Every tensor must lie where the header says, in order,
with no gap, no overlap and nothing after the last; and no more is read than there is a reason for.
"""

from __future__ import annotations

import json
import math
import reprlib
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vgfast.files.foreign import Misused

WANTED = "a safetensors file"
# The format's own names of what is read here, little-endian in the file.
DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the upper half of an F32
}
# The reference implementation's limit, in bytes.
_HEADER_MOST = 100_000_000
# As many as NumPy takes.
_DIMENSIONS_MOST = 32
_PIECE = 1 << 18  # bytes read at a time: what is asked for has memory before it is there


class Tensor(NamedTuple):
    """What the header says of one, and where it lies in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Contents(NamedTuple):
    """``tensors`` by name, in the header's order; ``metadata``; ``data``, the file's bytes as far as they were read;
    ``end``, how many there must be."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    data: bytearray
    end: int

    def array(self, name: str) -> np.ndarray:
        """The tensor of this name; those of half precision as float32, which holds each of their values."""
        kind, shape, start, _ = self.tensors[name]
        flat: np.ndarray = np.frombuffer(self.data, DTYPES[kind], math.prod(shape), start)
        if kind == "BF16":
            flat = (flat.astype("<u4") << np.uint32(16)).view("<f4")
        return (flat.astype("<f4") if kind == "F16" else flat).reshape(shape)


def pack(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Iterator[bytes]:
    """The file of these float32 and float64 tensors, piece by piece."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, tensor in tensors.items():
        kind = next(k for k, dtype in DTYPES.items() if dtype == tensor.dtype)
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [start, start + tensor.nbytes]}
        start += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for tensor in tensors.values():
        yield np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes()


def read_header(file: BinaryIO, data: bytearray) -> Contents:
    """What the file holds but for the tensors themselves; data: what was read of it. ValueError says in half a sentence
    how it is damaged."""
    header, base = _header(file, data)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata is not text by name")
    tensors = {name: _tensor(name, entry, base) for name, entry in header.items()}
    end = base
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor[2:]):
        if tensor.start != end:
            raise ValueError(f"its tensors overlap or leave a gap at byte {tensor.start - base}")
        end = tensor.stop
    return Contents(tensors, metadata, data, end)


def read_tensors(file: BinaryIO, contents: Contents) -> None:
    """The rest of the file, which must end with the last tensor."""
    data, end = contents.data, contents.end
    take(file, data, end + 1)
    if len(data) > end:
        raise ValueError("it goes on after the last tensor")
    if len(data) < end:
        raise ValueError(f"it ends {end - len(data)} bytes too soon")


def take(file: BinaryIO, data: bytearray, size: int) -> None:
    """Read until there are so many bytes, or no more to read."""
    while len(data) < size:
        try:
            piece: Any = file.read(min(size - len(data), _PIECE))
        except UnicodeDecodeError:
            piece = ""  # it was opened as a text
        except (EOFError, zlib.error) as error:
            raise ValueError(f"what is packed in it cannot be read ({error})") from None
        if not isinstance(piece, bytes | bytearray):
            raise Misused(f"must give bytes, got {type(piece).__name__}; open it with mode 'rb'")
        if not piece:
            return
        data += piece


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice in its header")
    return dict(pairs)


def _integer(text: str) -> int:
    """Such as there is in a file; of much longer ones Python's own conversion is slow."""
    if len(text) > 19:
        raise ValueError(f"its header has a number of {len(text)} digits")
    return int(text)


def _constant(text: str) -> None:
    raise ValueError(f"its header is not JSON, which has no {text}")


def _header(file: BinaryIO, data: bytearray) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the tensors start."""
    take(file, data, 8)
    if len(data) < 8:
        raise ValueError(f"it has {len(data)} bytes, fewer than a header needs")
    length = int.from_bytes(data[:8], "little")
    if length > _HEADER_MOST:
        raise ValueError(f"it does not begin as {WANTED} does, with the length of a header below {_HEADER_MOST}")
    take(file, data, 8 + length)
    if len(data) < 8 + length:
        raise ValueError(f"it ends after {len(data)} bytes, within its header")
    try:
        text = data[8 : 8 + length].decode()
        header = json.loads(text, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, 8 + length


def _tensor(name: str, entry: Any, base: int) -> Tensor:
    """As the header says, if that can be."""
    shown = reprlib.repr(name)
    try:
        kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = [*shape, start, stop]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"the entry of {shown} in its header is not understood") from None
    if not isinstance(kind, str) or not isinstance(shape, list):
        raise ValueError(f"the entry of {shown} in its header is not understood")
    if any(type(n) is not int or n < 0 for n in whole) or stop < start:
        raise ValueError(f"the shape or place of {shown} is not made of whole numbers")
    if len(shape) > _DIMENSIONS_MOST:
        raise ValueError(f"{shown} has {len(shape)} dimensions, more than {_DIMENSIONS_MOST}")
    if kind in DTYPES and stop - start != math.prod(shape) * DTYPES[kind].itemsize:
        raise ValueError(f"{shown} of shape {reprlib.repr(tuple(shape))} does not fit the bytes {start} to {stop}")
    return Tensor(kind, tuple(shape), base + start, base + stop)
