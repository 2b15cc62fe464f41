"""What this process uses: the instruction set, chosen at import, and the number of threads."""

from __future__ import annotations

import math
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from vgfast import _check, _core
from vgfast._version import __version__

# The most threads that a call may use; None: not asked for yet.
_limit: int | None = None


class _Context:
    """A ``threads(n)`` that is open: the thread that it is in, and its limit."""

    def __init__(self, n: int) -> None:
        self.thread, self.n = threading.get_ident(), n


# In the order in which they were opened.
_open: list[_Context] = []


def _own_context() -> _Context | None:
    """The innermost of this thread."""
    me = threading.get_ident()
    # Of a copy: other threads may close theirs meanwhile.
    return next((context for context in _open[::-1] if context.thread == me), None)


def _drop_of_others() -> None:
    """In the child of a fork only the thread lives that forked."""
    me = threading.get_ident()
    _open[:] = [context for context in _open if context.thread == me]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_of_others)


def _choose_isa() -> None:
    """The widest instruction set, or the one that VGFAST_ISA names as the widest to use."""
    there = _core.isas()
    cap = os.environ.get("VGFAST_ISA")
    if cap is not None and cap not in there:
        raise ImportError(
            f"VGFAST_ISA is {cap!r}, which this machine or this build does not have; "
            f"there is {', '.join(there)}: set it to one of these or unset it"
        )
    _core.use_isa(cap if cap is not None else there[-1])


# Paths are text here: ``pathlib`` would cost a third of the time that ``import vgfast`` takes.
def _read(*path: str) -> str:
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def _cgroups() -> Iterator[str]:
    """The control group of the process, and each that it lies in."""
    own = "/"
    with suppress(OSError, StopIteration):
        own = next(line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::"))
    folder = os.path.join("/sys/fs/cgroup", own.strip("/"))
    while folder != os.path.dirname(folder):
        yield folder
        folder = os.path.dirname(folder)


def _cgroup_quotas() -> Iterator[int]:
    """Processors that the control groups allow, rounded up."""
    for group in _cgroups():
        with suppress(OSError, ValueError):
            quota, period = _read(group, "cpu.max").split()[:2]
            if quota != "max":
                yield max(1, -(-int(quota) // int(period)))


def free_memory() -> float:
    """Bytes that can still be had; infinity where the system does not say."""
    free = math.inf
    with suppress(OSError, StopIteration, ValueError):
        lines = _read("/proc/meminfo").splitlines()
        free = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    for group in _cgroups():
        with suppress(OSError, ValueError):  # "max" is no number
            limit = int(_read(group, "memory.max"))
            free = min(free, limit - int(_read(group, "memory.current")) + _reclaimable(group))
    return free


def _reclaimable(group: str) -> int:
    """Bytes that a control group uses and gives back when they are needed: files that were read or written, above
    all."""
    used = dict(line.split() for line in _read(group, "memory.stat").splitlines())
    return sum(int(used.get(name, 0)) for name in ("active_file", "inactive_file", "slab_reclaimable"))


def n_processors() -> int:
    """That the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_processors() -> int:
    """That the process may keep busy: those that it may run on, and no more than its control groups allow."""
    return min([n_processors(), *_cgroup_quotas()])


def _default_threads() -> int:
    """The least of affinity, control group and OMP_NUM_THREADS; VGFAST_NUM_THREADS overrules them."""
    asked = os.environ.get("VGFAST_NUM_THREADS")
    if asked is not None:
        if not asked.isdecimal() or len(asked) > 4 or not 1 <= int(asked) <= _core.THREADS_MOST:
            raise ValueError(
                f"VGFAST_NUM_THREADS is {asked[:20]!r}; set it to a whole number from 1 to {_core.THREADS_MOST}"
            )
        return int(asked)
    limits = [usable_processors()]
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdecimal() and int(openmp) > 0:
        limits.append(int(openmp))
    return min(*limits, _core.THREADS_MOST)


def get_num_threads() -> int:
    """The most threads that a call may use. Small nets use fewer, because company costs time too.

    By default the least of the processors that the process may run on, the quota of its control groups (version 2),
    and the environment variable ``OMP_NUM_THREADS``; ``VGFAST_NUM_THREADS`` overrules all three. Within
    ``vg.threads(n)`` it is n.

    >>> import vgfast as vg
    >>> vg.get_num_threads() >= 1
    True
    """
    global _limit
    if _open:
        context = _own_context()
        with suppress(IndexError):  # another thread may close the last one
            return (context or _open[-1]).n
    if _limit is None:
        _limit = _default_threads()
    return _limit


def set_num_threads(n: int) -> None:
    """Let calls use up to n threads, from now on and in every thread of the process; within ``vg.threads``, in this
    thread and until that ends.

    Results do not depend on it: the same seed gives the same bits with any number of threads.

    >>> import vgfast as vg
    >>> before = vg.get_num_threads()
    >>> vg.set_num_threads(1)
    >>> vg.get_num_threads()
    1
    >>> vg.set_num_threads(before)
    """
    global _limit
    n = _check.integer("the number of threads", n, 1, _core.THREADS_MOST)
    context = _own_context()
    if context is None:
        _limit = n
    else:
        context.n = n


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Within this context, calls use up to n threads: those in this thread, and those in threads that have no such
    context of their own, where the one that was opened last holds. When it ends, the limit is what it was, in whatever
    order the contexts of several threads end.

    >>> import vgfast as vg
    >>> with vg.threads(1):
    ...     vg.get_num_threads()
    1
    """
    context = _Context(_check.integer("the number of threads", n, 1, _core.THREADS_MOST))
    _open.append(context)
    try:
        yield
    finally:
        with suppress(ValueError):  # dropped after a fork
            _open.remove(context)


def _register_with_threadpoolctl() -> None:
    """Let ``threadpoolctl.threadpool_limits`` reach vgfast, where it is installed."""
    try:
        from threadpoolctl import LibController, register
    except ImportError:
        return

    class Controller(LibController):
        user_api = internal_api = "vgfast"
        filename_prefixes = ("crossing",)
        check_symbols = ("vg_team_exists",)

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            set_num_threads(max(1, min(num_threads, _core.THREADS_MOST)))

        def get_version(self) -> str:
            return __version__

    register(Controller)


def describe() -> dict[str, object]:
    """What ``show_config`` prints, as data."""
    return {
        "vgfast": __version__,
        "instruction set": _core.isa(),
        "available": list(_core.isas()),
        "threads": get_num_threads() if _core.HAS_THREADS else 1,
        "thread team": "pthreads" if _core.HAS_THREADS else "none: built without pthreads, one thread",
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def show_config() -> None:
    """Print the version, the instruction set in use and the others, and the number of threads."""
    for name, value in describe().items():
        text = ", ".join(value) if isinstance(value, list) else value
        print(f"{name:>16}: {text}", file=sys.stdout)


_choose_isa()
_register_with_threadpoolctl()
