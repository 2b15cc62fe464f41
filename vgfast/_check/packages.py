"""Packages that vgfast uses where they are installed."""

from __future__ import annotations

import importlib
from typing import Any

# What a package is called where it is installed, if it is imported by another name.
INSTALLED_AS = {"sklearn": "scikit-learn", "skimage": "scikit-image"}


def require(module: str, by: str, install: str) -> Any:
    """The module, imported; or ImportError with what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = (error.name or module).partition(".")[0]
        package = INSTALLED_AS.get(name, name)
        raise ImportError(
            f"{by} needs {package}, which is not installed; install it with: pip install {install}"
        ) from None
