"""Write a file whole or not at all: into a part-file in the same folder, which then replaces the old file.

A part-file has a name of its own, and a lock while it is written. A process that was killed leaves one without a lock,
which the next removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress


def write(given: str, pieces: Iterable[bytes]) -> None:
    """Put a file of these pieces at this path. One that is there keeps its mode, and group and owner where that may
    be; a new one gets what the umask leaves. OSError, which names what was given; ValueError if it is no file's name.
    """
    target = os.path.realpath(given)  # a link stays a link
    if not os.path.basename(given) or (os.path.exists(target) and not os.path.isfile(target)):
        raise ValueError(f"{given!r} is not a regular file, so it is not replaced; choose another path")
    folder = os.path.dirname(target)
    try:
        _write(folder, target, pieces)
    except OSError as error:
        shown = folder if os.path.islink(given) else os.path.dirname(given) or os.curdir
        raise _explain(error, given, shown) from None


def _write(folder: str, target: str, pieces: Iterable[bytes]) -> None:
    stem = f".vgfast-{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}-"  # of any length is the target's own name
    _remove_left(folder, stem)
    old = os.stat(target) if os.path.exists(target) else None
    # What may be private is so from the start; else it is the system that takes the umask off, not this process, where
    # another thread may be about to create a file.
    handle, part = _create(os.path.join(folder, stem), 0o666 if old is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            if old is not None:
                _take_over(handle, old)
            os.fsync(handle)
            os.replace(part, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part)
        raise
    _sync(folder)


def _create(stem: str, mode: int) -> tuple[int, str]:
    """A new part-file, open and locked."""
    while True:
        part = f"{stem}{secrets.token_hex(8)}.part"
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        locked_by_other = False  # who takes it for one that was left, and removes it, now or soon
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            locked_by_other = True
        except OSError:  # there are no locks here
            pass
        if not locked_by_other and os.path.exists(part):
            return handle, part
        os.close(handle)


def _remove_left(folder: str, stem: str) -> None:
    """Remove the part-files of savers that are no more: those that can be locked."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(stem) and name.endswith(".part")]
    except OSError:
        return
    for name in names:
        part = os.path.join(folder, name)
        with suppress(OSError):
            handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(part)
            finally:
                os.close(handle)


def _take_over(handle: int, old: os.stat_result) -> None:
    """Give the open file the owner, group and mode of the old one, as far as that is allowed."""
    mode = stat.S_IMODE(old.st_mode) & 0o777
    try:
        os.fchown(handle, old.st_uid, old.st_gid)
    except OSError:
        try:
            os.fchown(handle, -1, old.st_gid)
        except OSError:  # another group: it may do what all may
            mode &= ~0o070 | (mode & 0o007) << 3
    with suppress(OSError):  # it stays private where there are no modes
        os.fchmod(handle, mode)


def _sync(folder: str) -> None:
    """So that the new name survives a loss of power; where folders can be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explain(error: OSError, given: str, folder: str) -> OSError:
    """The same error in a sentence that names what was given, and not the part-file."""
    if os.path.lexists(folder) and not os.path.isdir(folder):
        why, how = f"{folder}, in which it is to lie, is no folder", "choose another path"
    elif not os.path.isdir(folder):
        why, how = f"the folder {folder} does not exist", "create it or choose another path"
    elif isinstance(error, PermissionError):
        why, how = f"you may not write it into the folder {folder}", "choose another folder"
    else:
        why, how = f"{error.strerror or error}", "mend that or choose another path"
    explained = type(error)(f"{given} cannot be written: {why}; {how}")
    explained.errno = error.errno
    return explained
