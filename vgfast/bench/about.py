"""What a comparison was measured on: the machine, and the versions of the libraries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vgfast import _core


def describe_machine(threads: int) -> dict[str, Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "processor": processor,
        "processors": os.cpu_count(),
        "instruction set": _core.isa(),
        "threads": threads,
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of libraries, by the names of what is installed."""
    found = {}
    for package in dict.fromkeys(packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # on the path, but not installed there
            found[package] = "of unknown version"
    return found
