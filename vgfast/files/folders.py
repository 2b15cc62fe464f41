"""Folders that files are to be written to."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def check(folder: Path, what: str = "picture") -> None:
    """Make the folder before the work is done; OSError if the picture, or ``what`` else, could not be written there,
    ValueError if it is no folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"the {what} needs a folder, and {folder} is or is in a file; choose another") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"the {what} cannot be written to this folder; choose another", str(folder))
