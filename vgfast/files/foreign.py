"""Files from anywhere: opened only where they are files, and named for what they are where they are of another kind."""

from __future__ import annotations

import os
import stat
from typing import Any, BinaryIO, NamedTuple

# How many of a file's first bytes ``kind`` looks at.
BEGINNING = 512


class Kind(NamedTuple):
    """``what`` a file is, ``how`` one gets at what it holds, and whether that is arrays, which ``how`` reads."""

    what: str
    how: str
    arrays: bool = False


_PYTORCH = Kind("a PyTorch file (.pt)", "read it with torch.load", True)
_PICKLE = Kind("a pickle", "read it, if you trust where it is from, with pickle.load", True)
_PAGE = Kind("a web page (HTML)", "what was downloaded is not the file itself: get it again")
_JSON = Kind("a JSON file", "name the file that it belongs to")
_BEGINNINGS: dict[bytes, Kind] = {
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.": _PYTORCH,  # before there were zip files
    b"\x93NUMPY": Kind("a NumPy file (.npy)", "read it with numpy.load", True),
    b"\x89HDF\r\n\x1a\n": Kind("an HDF5 file", "read it with h5py", True),
    b"\x1f\x8b\x08": Kind("a gzip file", "unpack it first"),
    b"version https://git-lfs": Kind("a pointer of Git LFS", "get the file itself with git lfs pull"),
}
# The same of texts, in lower case and after spaces.
_TEXTS: dict[bytes, Kind] = {b"<!doctype html": _PAGE, b"<html": _PAGE, b"{": _JSON, b"[": _JSON}


class Other(ValueError):
    """The file is no damaged one, but another than is wanted: the rest of a sentence that begins with its name."""


class Misused(TypeError):
    """The same of a file that may be good, and that was given wrongly."""


def path_name(path: str | bytes | os.PathLike[Any]) -> str:
    """The path as text; ValueError for what cannot be one, such as a file's contents."""
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError("path must name a file, got one with a NUL in it; a file's contents go into a file first")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise ValueError(f"path must name a file, got {name!r}, which no file can be called; choose another") from None
    return name


def given_path(file: Any, method: str) -> str | None:
    """The path that was given; None if it is something with this method."""
    if isinstance(file, str | bytes | os.PathLike):
        return path_name(file)
    if getattr(file, "closed", False):
        raise ValueError(f"the file that is given is closed; open it again to {method}")
    if hasattr(file, method):
        return None
    raise TypeError(
        f"path must name a file, or be a binary file open to {method}, got {type(file).__name__}; "
        f"a file's contents can be wrapped in io.BytesIO"
    )


def file_name(file: Any) -> str:
    """Of an open file, for a sentence."""
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "the given file"


def opened(name: str, wanted: str) -> BinaryIO:
    """The file, to be read; ValueError if it is a directory, a pipe or a device, which may never end."""
    mode = os.stat(name).st_mode  # before it is opened, which would wait for the writer of a FIFO
    if stat.S_ISDIR(mode):
        raise ValueError(f"{name} must be {wanted}, and is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name} must be {wanted}, and is no regular file; put the file in its place")
    return open(name, "rb")


def kind(begin: bytes) -> Kind | None:
    """Of a file that begins so; None if that is not known."""
    if begin.startswith(b"PK\x03\x04"):
        return _zip(begin)
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    known = [known for magic, known in _BEGINNINGS.items() if begin.startswith(magic)]
    known += [known for magic, known in _TEXTS.items() if text.startswith(magic)]
    if begin[:1] == b"\x80" and b"\x02" <= begin[1:2] <= b"\x05" and begin[2:3] != b"\0":
        known.append(_PICKLE)
    return known[0] if known else None


def _zip(begin: bytes) -> Kind:
    """Told by the name of its first entry."""
    first = begin[30 : 30 + int.from_bytes(begin[26:28], "little")]
    if first.endswith(b"/data.pkl"):
        return _PYTORCH
    if b"/data/" in first:
        return Kind("a TorchScript file (.pt)", "read it with torch.jit.load", True)
    if first.endswith(b".npy"):
        return Kind("a NumPy file (.npz)", "read it with numpy.load", True)
    return Kind("a zip archive", "unpack it first")
