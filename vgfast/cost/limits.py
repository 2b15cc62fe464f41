"""``vgfast info``: what this machine can do at best, measured in C, and shown with its spread.

Operations a second of multiply-adds that touch no memory, by instruction set, type and number of threads; values a
second of the activations that are more than a comparison; bytes a second that are read from and written to each cache
and to memory, by the widest instructions that there are, and what a load takes that waits for the one before; what
threads pay for a barrier, and for being woken.

These are the roofs of the roofline model (Williams, Waterman and Patterson, "Roofline: an insightful visual
performance model for multicore architectures", 2009), by which ``vgfast.cost`` predicts the time of a training step.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vgfast import _core, config
from vgfast._version import __version__
from vgfast.cost.rounds import Measured, take_turns
from vgfast.model.activations import CATALOG
from vgfast.show import numbers

ROUNDS = 5
# Activations that are more than a comparison: their values, and the exp of the losses, are counted as functions.
FUNCTIONS = tuple(name for name, of in CATALOG.items() if of.functions)
# Memory is measured on so much that no cache holds it.
_MEMORY_LEAST, _MEMORY_MOST, _PAGE = 64 << 20, 512 << 20, 4096
_EXCHANGED = 128 << 10  # bytes of each thread: about as many as in a training step, and in its own caches
# A cache ends where a load takes so much longer; the next begins where another half size more adds less than the other.
_JUMP, _FLAT = 1.5, 1.15


@dataclass(frozen=True)
class Level:
    """A cache, or memory, whose ``size`` is None: ``shared`` by how many processors; ``read`` and ``write`` in bytes a
    second, by the number of threads, all together; ``latency`` in seconds."""

    name: str
    size: int | None
    shared: int
    read: dict[int, Measured]
    write: dict[int, Measured]
    latency: Measured

    def capacity(self, threads: int) -> float:
        """Bytes that so many threads have here together, each on a processor of its own."""
        return np.inf if self.size is None else self.size * max(1, threads // self.shared)


@dataclass(frozen=True)
class Machine:
    """The limits. ``fma[isa][dtype][threads]``, of multiply-adds, and ``product[dtype][threads]``, of a layer's product
    with near operands, are in operations a second, ``functions[dtype][name][threads]`` in values a second,
    ``exchange``, of what threads write for and read of each other, in bytes a second, ``barrier`` and ``waking`` in
    seconds. ``sizes_from``: "the system", or "measured" where it does not say the sizes of its caches. ``threads``: as
    many as may be used, but not more than there are processors. ``complete``: whether all of them took part each time,
    which they do not while another call has the team."""

    isa: str
    threads: int
    levels: tuple[Level, ...]
    sizes_from: str
    fma: dict[str, dict[str, dict[int, Measured]]]
    product: dict[str, dict[int, Measured]]
    functions: dict[str, dict[str, dict[int, Measured]]]
    exchange: Measured
    barrier: Measured
    waking: Measured
    seconds: float
    when: str
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def of_threads(by_threads: dict[int, Measured], threads: int) -> float:
    """The median for a number of threads, between those that were measured by the line through both.

    >>> both = {1: Measured(10, 9, 11), 4: Measured(28, 27, 29)}
    >>> of_threads(both, 1), of_threads(both, 2)
    (10.0, 16.0)
    """
    known = sorted(by_threads)
    return float(np.interp(threads, known, [by_threads[n].median for n in known]))


# ---- caches: what the system says, or else what loads say -----------------------------------------------


def _count(text: str) -> int:
    """Processors in a list such as 0-3,8."""
    ends = [part.split("-") for part in text.strip().split(",")]
    return sum(int(last[-1]) - int(last[0]) + 1 for last in ends)


def caches_of_system(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> list[tuple[int, int]]:
    """(bytes, processors that share it) of the data caches from near to far; empty where the system does not say."""
    found = {}
    try:
        for index in sorted(folder.glob("index*")):
            text = {name: (index / name).read_text().strip() for name in ("type", "level", "size", "shared_cpu_list")}
            size = int(text["size"].removesuffix("K")) * 1024
            if text["type"] != "Instruction" and size > 0:
                found[int(text["level"])] = size, _count(text["shared_cpu_list"])
    except (OSError, ValueError):
        return []
    return [found[level] for level in sorted(found)]


def caches_of_latencies(sizes: Sequence[int], latencies: Sequence[float]) -> list[int]:
    """Where a load that waits for the one before begins to take much longer: bytes of each cache, about.

    >>> caches_of_latencies([16, 32, 64, 128, 256, 512, 1024], [1, 1, 2.9, 3, 3.1, 60, 61])
    [32, 256]
    """
    # What is larger cannot be quicker; where it was, the smaller was disturbed.
    curve = np.minimum.accumulate(np.asarray(latencies)[::-1])[::-1]
    found, plateau, rising = [], curve[0], False
    for i in range(1, len(curve)):
        if rising and curve[i] < _FLAT * curve[i - 1]:
            plateau, rising = curve[i], False
        elif not rising and curve[i] > _JUMP * plateau:
            found.append(int(sizes[i - 1]))
            rising = True
    return found


def _measured_caches(memory: np.ndarray) -> list[tuple[int, int]]:
    """The same from loads; as if none were shared."""
    powers = [1 << p for p in range(14, len(memory).bit_length())]  # no first cache has less than 16 KiB
    sizes = sorted({size for power in powers for size in (power, power * 3 // 2) if size <= len(memory)})
    latencies = [np.median([_core.latency(memory, size) for _ in range(3)]) for size in sizes]
    return [(size, 1) for size in caches_of_latencies(sizes, latencies)]


# ---- measuring -------------------------------------------------------------------------------------------


def _in_rounds(measurements: dict[Any, Callable[[], float]]) -> tuple[dict[Any, Measured], bool]:
    """What each comes to in some rounds, and whether all threads took part."""
    for _ in range(3):  # processors that were idle took 50 ms to come to their speed
        _core.fma_peak(config.get_num_threads())
    *_, values = take_turns(measurements, ROUNDS)
    complete = all(value > 0 for of in values.values() for value in of)
    return {key: Measured.from_rounds(np.abs(of).tolist()) for key, of in values.items()}, complete


def _tree(flat: dict[Any, Measured], kind: str) -> dict[Any, Any]:
    """{(kind, a, b, ...): m} as {a: {b: m}}."""
    tree: dict[Any, Any] = {}
    for key, value in flat.items():
        if key[0] == kind:
            branch = tree
            for part in key[1:-1]:
                branch = branch.setdefault(part, {})
            branch[key[-1]] = value
    return tree


def _working_sets(caches: Sequence[tuple[int, int]], threads: int) -> list[int]:
    """Bytes for each thread that lie in one cache and not in the one before, and at last in none; whole pages, and
    more than none.

    >>> _working_sets([(32768, 1), (524288, 1), (33554432, 2)], 1)
    [16384, 131072, 4194304, 134217728]
    >>> _working_sets([(32768, 8), (65536, 8)], 8)
    [4096, 8192, 8388608]
    """
    below, sets = 0, []
    for size, shared in caches:
        mine = max(size // min(threads, shared), 2 * below, 2 * _PAGE)
        sets.append(int((below * mine) ** 0.5 if below else mine / 2) // _PAGE * _PAGE)
        below = mine
    last, shared = caches[-1] if caches else (0, 1)
    most = max(4 * last * -(-threads // shared), _MEMORY_LEAST)
    return [*sets, min(most, _MEMORY_MOST) // threads // _PAGE * _PAGE]


def exchange(threads: int) -> float:
    """Bytes a second, all together, that threads write for and read of each other; negative if fewer took part."""
    return _core.exchange_bandwidth(_core.aligned(threads * _EXCHANGED, np.uint8), _EXCHANGED, threads)


def measure() -> Machine:
    """All of it anew, in about two seconds."""
    start, threads = time.perf_counter(), min(config.get_num_threads(), config.n_processors())
    counts = sorted({1, threads})
    caches, sizes_from = caches_of_system(), "the system"
    if not caches:
        caches, sizes_from = _measured_caches(_core.aligned(_MEMORY_LEAST, np.uint8)), "measured"
    sets = {n: _working_sets(caches, n) for n in counts}
    memory = _core.aligned(max(n * size for n in counts for size in sets[n]), np.uint8)
    todo: dict[Any, Callable[[], float]] = {
        ("waking",): partial(_core.waking_seconds, threads),
        ("barrier",): partial(_core.barrier_seconds, threads),
        ("exchange",): partial(exchange, threads),
    }
    for i, size in enumerate(sets[1]):
        todo["latency", i] = partial(_core.latency, memory, size)
        for n, access in product(counts, ("read", "write")):
            todo[access, i, n] = partial(_core.bandwidth, access, memory, sets[n][i], n)
    for n, dtype in product(counts, _core.DTYPES):
        for isa in _core.isas():
            todo["fma", isa, dtype, n] = partial(_core.fma_peak, n, dtype, isa)
        todo["product", dtype, n] = partial(_core.product_peak, n, dtype)
        for name in FUNCTIONS:
            todo["functions", dtype, name, n] = partial(_core.function_peak, n, dtype, name)
    found, complete = _in_rounds(todo)
    read, write, latency = (_tree(found, kind) for kind in ("read", "write", "latency"))
    named = [(f"L{i}", size, shared) for i, (size, shared) in enumerate(caches, 1)]
    return Machine(
        isa=_core.isa(),
        threads=threads,
        levels=tuple(
            Level(name, size, shared, read[i], write[i], latency[i])
            for i, (name, size, shared) in enumerate([*named, ("memory", None, threads)])
        ),
        sizes_from=sizes_from,
        fma=_tree(found, "fma"),
        product=_tree(found, "product"),
        functions=_tree(found, "functions"),
        exchange=found["exchange",],
        barrier=found["barrier",],
        waking=found["waking",],
        seconds=time.perf_counter() - start,
        when=time.strftime("%Y-%m-%d %H:%M"),
        complete=complete,
    )


# ---- kept until the machine starts again -----------------------------------------------------------------

_known: dict[tuple[Any, ...], Machine] = {}
_one_at_a_time = threading.Lock()


def _forked() -> None:
    """The thread that held the lock may not be in the child."""
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _boot() -> str | None:
    """What names this start of the machine; None where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _file(key: tuple[Any, ...]) -> Path:
    """RuntimeError where there is no home directory."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "vgfast" / f"machine-{'-'.join(map(str, key))}.json"


def _by_threads(values: dict[str, Any]) -> dict[int, Measured]:
    return {int(n): Measured(**value) for n, value in values.items()}


def _from_dict(data: dict[str, Any]) -> Machine:
    """The inverse of ``to_dict`` by way of JSON, which makes every key a string."""
    levels = tuple(
        Level(
            **{
                **level,
                "read": _by_threads(level["read"]),
                "write": _by_threads(level["write"]),
                "latency": Measured(**level["latency"]),
            }
        )
        for level in data["levels"]
    )
    trees = {
        name: {a: {b: _by_threads(of) for b, of in branch.items()} for a, branch in data[name].items()}
        for name in ("fma", "functions")
    }
    products = {dtype: _by_threads(of) for dtype, of in data["product"].items()}
    singles = {name: Measured(**data[name]) for name in ("exchange", "barrier", "waking")}
    return Machine(**{**data, "levels": levels, "product": products, **trees, **singles})


def _kept(key: tuple[Any, ...], boot: str) -> Machine | None:
    """What was written since the machine started; None if that is not all there, as it was written."""
    try:
        kept = json.loads(_file(key).read_text())
        found = _from_dict(kept["limits"])
        whole = found.fma[found.isa].keys() == found.product.keys() == found.functions.keys() == set(_core.DTYPES)
        return found if kept["boot"] == boot and found.isa == _core.isa() and whole and found.levels else None
    except Exception:  # whatever somebody has written there: it is measured again
        return None


def _keep(key: tuple[Any, ...], boot: str, machine: Machine) -> None:
    """Whole or not at all; and where that cannot be, it is measured again next time."""
    with suppress(OSError, RuntimeError):
        path = _file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
            json.dump({"boot": boot, "limits": machine.to_dict()}, file)
            file.flush()
            path.unlink(missing_ok=True)
            os.link(file.name, path)


def limits(refresh: bool = False) -> Machine:
    """The limits of this machine for the threads that calls may use now; measured if they are not known since its last
    start, or with refresh.

    They are kept under ``$XDG_CACHE_HOME`` or ``~/.cache``, in ``vgfast``; not if they are not ``complete``.

    >>> from vgfast.cost import limits
    >>> here = limits.limits()
    >>> here.fma[here.isa]["float32"][1].median > 1e8
    True
    """
    boot = _boot()
    key = (__version__, _core.isa(), config.get_num_threads())
    with _one_at_a_time:
        found = None if refresh else _known.get(key)
        if found is None and not refresh and boot is not None:
            found = _kept(key, boot)
        if found is None:
            found = measure()
            if found.complete and boot is not None:
                _keep(key, boot, found)
        if found.complete:
            _known[key] = found
        return found


def lack_of_memory(n_bytes: float) -> str:
    """That so much would be more than half of what is free, in words; "" if it is not."""
    if n_bytes <= config.free_memory() / 2:
        return ""
    return f"it would take {numbers.n_bytes(n_bytes)} of memory, more than half of what is free"
