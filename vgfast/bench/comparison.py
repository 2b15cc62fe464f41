"""``vgfast bench``: the time of a training step, beside the libraries that there are, from small nets to large ones.

What the reader should see: who is fastest at which size, on as many threads and with the same loss; how much of what
the processor can do vgfast does; what inspection, a call from Python and memory cost.

Each peer is a process of its own. In each round each trains in turn, and what is shown are medians of the rounds: what
slows the machine for a while slows them all.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from vgfast import _check, _core, config
from vgfast.bench.competitors import LR, PEERS, Problem
from vgfast.bench.workers import Children, Failed
from vgfast.show.numbers import count

WORKLOADS = {
    "tiny": Problem((4, 16, 16, 3), "tanh", 32, 1024),
    "nielsen": Problem((784, 30, 10), "sigmoid", 10, 5000),
    "digits": Problem((64, 128, 64, 10), "relu", 64, 1792),
    "deep": Problem((64, *[64] * 30, 10), "sigmoid", 32, 1792),
    "mnist": Problem((784, 256, 128, 10), "relu", 128, 12800),
    "deepwide": Problem((784, *[256] * 10, 10), "tanh", 128, 12800),
    "big": Problem((784, 2048, 2048, 2048, 10), "relu", 512, 5120),
    "funnel": Problem((784, 1000, 500, 100, 10), "relu", 128, 2560),
}
INSPECTION = "funnel"  # trained by vgfast only: layers of many sizes, to see what inspection costs
CALLS = "tiny"  # a call is long beside its work
CALLED = ("vgfast", "numpy", "torch", "jax-step")
MEMORY = "big"
TEXTBOOK = "vgfast.bench.competitors:Textbook"

# The largest relative difference of the loss after one epoch from that of the textbook in float64. Measured, those who
# are right: 4e-8 at most where the activation is smooth, 4e-5 where it is ReLU, as a unit whose z is within rounding of
# 0 passes a row's gradient in one library and not in another. Those who are wrong: 7e-4 (tiny) and 1.5e-4 (deep) with
# a learning rate that is 1 % off, 2.8e-4 (mnist) and 3.5e-3 (big) with another order of the rows.
TOLERANCE = {"tanh": 1e-6, "sigmoid": 1e-6, "relu": 1e-4}

SECONDS = 0.2  # of one peer in one round, about
QUICK_SECONDS = 0.03
ROUNDS = 7
QUICK_ROUNDS = 3
PICTURE = "bench.png"

# ---- who and what is asked for -----------------------------------------------------------------------


def settings(
    peers: str | None,
    workloads: str | None,
    threads: int | None,
    rounds: int | None,
    quick: bool,
    minutes: float | None = None,
) -> dict[str, Any]:
    """What ``measure`` takes, from a command line; ValueError for what it cannot take."""
    if threads is None:
        threads = config.get_num_threads()
    if rounds is None:
        rounds = QUICK_ROUNDS if quick else ROUNDS
    return {
        "peers": _peers(peers),
        "workloads": _workloads(workloads),
        "threads": _check.integer("--threads", threads, 1, _core.THREADS_MOST),
        "rounds": _check.integer("--rounds", rounds, 1),
        "seconds": QUICK_SECONDS if quick else SECONDS,
        "minutes": math.inf if minutes is None else _check.real("--minutes", minutes, 0, above=True),
    }


def _names(text: str) -> list[str]:
    """In a list with commas, as it is typed or as an error tells it."""
    return [name.strip() for name in text.split(",")]


def _peers(text: str | None) -> list[str]:
    """The names in a list with commas, vgfast first, which is always there."""
    names = list(PEERS) if text is None else _names(text)
    for name in names:
        if name not in PEERS:
            installed = [peer for peer, entry in PEERS.items() if importlib.util.find_spec(entry.module)]
            raise ValueError(
                f"unknown peer {name!r}; there is {', '.join(PEERS)}, and installed is {', '.join(installed)}"
            )
    return list(dict.fromkeys(["vgfast", *names]))


def _workloads(text: str | None) -> list[str]:
    names = list(WORKLOADS) if text is None else _names(text)
    return [_check.choice("workload", name, tuple(WORKLOADS)) for name in dict.fromkeys(names)]


# ---- measuring ---------------------------------------------------------------------------------------


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and the values themselves, of one measurement in each round."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "quartiles": [float(low), float(high)], "rounds": list(values)}


class Entrant:
    """A peer on a workload: what it has shown so far, or why it is out."""

    def __init__(self, children: Children, peer: str, workload: str, seconds: float) -> None:
        self.peer, self.workload, self.problem, self.seconds = peer, workload, WORKLOADS[workload], seconds
        self.ask = partial(children.ask, PEERS[peer].where)
        self.rounds: dict[str, list[float]] = {}
        self.failed: Failed | None = None

    def attempt(self, part: Callable[[], None]) -> None:
        """Do a part of the work, unless this or an earlier one fails."""
        try:
            if self.failed is None:
                part()
        except Failed as failed:
            self.failed = failed

    def warm_up(self) -> None:
        """Compile, tell the loss, and find how many epochs last about as long as a round should."""
        self.ask(problem=self.problem)
        self.loss = self.ask(do="loss", epochs=1)["loss"]
        self.epochs = 1
        for _ in range(2):  # the first epoch is often slow
            took = self.ask(do="time", epochs=self.epochs)["seconds"]
            if took > self.seconds:
                break
            self.epochs = round(self.epochs * self.seconds / took)

    def round(self) -> None:
        plain = self._step()
        if self.peer == "vgfast":
            self._note("inspection", self._step(inspect_every=1) / plain - 1)
            self._note("one_thread", self._step(threads=1))
            self._note("share_of_peak", self.problem.flops / plain / self.ask(do="peak")["flops"])
        self._note("step", plain)
        if self.workload == CALLS and self.peer in CALLED:
            for call, seconds in self.ask(do="time_calls", seconds=self.seconds / 4).items():
                self._note(call, seconds)

    def _step(self, **settings: int) -> float:
        """Seconds a step."""
        told = self.ask(do="time", epochs=self.epochs, **settings)
        if not settings:
            self._note("processors", told["processors"])
        return told["seconds"] / (self.epochs * self.problem.steps)

    def _note(self, name: str, value: float) -> None:
        self.rounds.setdefault(name, []).append(value)

    def result(self, exact: float) -> dict[str, Any]:
        """As data: "status" is ok, disagrees or failed, the latter two with a "reason"."""
        if self.failed is not None:
            return {"status": "failed", "reason": str(self.failed)}
        off = abs(self.loss / exact - 1)
        found = {"status": "ok", "loss": self.loss, "off": off, "epochs": self.epochs}
        if not math.isfinite(off):
            found |= {"loss": None, "off": None}
        if not off <= TOLERANCE[self.problem.activation]:  # NaN is not
            found |= {"status": "disagrees", "reason": f"its loss is {self.loss:.6g}, the textbook's {exact:.6g}"}
        return found | {name: summary(values) for name, values in self.rounds.items()}


class OutOfTime(Exception):
    """The minutes that there were are over."""


def timed(progress: Callable[[str], Any], minutes: float) -> Callable[[str], Any]:
    """The same, but ``OutOfTime`` once so many minutes from now are over."""
    end = monotonic() + 60 * minutes

    def turn(name: str) -> None:
        if monotonic() > end:
            raise OutOfTime
        progress(name)

    return turn


def too_short(minutes: float, what: str) -> ValueError:
    return ValueError(f"in {minutes:g} minutes {what}; give it more --minutes, or leave the option out")


def turns(settings: dict[str, Any]) -> int:
    """How often ``measure`` tells of its progress."""
    entrants = sum(len(entrants_of(workload, settings["peers"])) for workload in settings["workloads"])
    return (1 + settings["rounds"]) * entrants + (MEMORY in settings["workloads"])


def measure(
    peers: Sequence[str],
    workloads: Sequence[str],
    threads: int,
    rounds: int,
    seconds: float,
    minutes: float = math.inf,
    progress: Callable[[str], Any] = lambda turn: None,
    each: Callable[[dict[str, Any]], Any] = lambda found: None,
) -> dict[str, Any]:
    """Everything, as plain data; ``progress`` is told whose turn it is, and ``each`` what there is after each workload.

    After so many minutes it is "partial", without what is "left_out"; ValueError if that is all.
    """
    left = [*workloads, *(["memory"] if MEMORY in workloads else [])]
    found: dict[str, Any] = {
        "machine": machine(threads),
        "versions": {},
        "rounds": rounds,
        "learning_rate": LR,
        "partial": True,
        "left_out": left,
        "missing": {},
        "workloads": {},
    }
    turn = timed(progress, minutes)
    with suppress(OutOfTime):
        with Children(threads) as children:
            for workload in workloads:
                there = [peer for peer in entrants_of(workload, peers) if peer not in found["missing"]]
                of = _compare(children, workload, there, rounds, seconds, turn, found["missing"])
                found["workloads"][workload] = of
                found["versions"] = versions([peer for peer in peers if peer not in found["missing"]])
                left.remove(workload)
                found["partial"] = bool(left)
                each(found)
        if MEMORY in workloads:
            turn("memory")
            found["memory"] = _memory(threads)
            left.remove("memory")
            found["partial"] = False
    if not found["workloads"]:
        raise too_short(minutes, f"{workloads[0]} could not be measured")
    return found


def entrants_of(workload: str, peers: Sequence[str]) -> list[str]:
    return ["vgfast"] if workload == INSPECTION else list(peers)


def _compare(
    children: Children,
    workload: str,
    peers: Sequence[str],
    rounds: int,
    seconds: float,
    progress: Callable[[str], Any],
    missing: dict[str, str],
) -> dict[str, Any]:
    """The peers on one workload; a library that is not there is noted in ``missing``."""
    problem = WORKLOADS[workload]
    children.ask(TEXTBOOK, problem=problem)
    exact = children.ask(TEXTBOOK, do="loss", epochs=1)["loss"]
    entrants = [Entrant(children, peer, workload, seconds) for peer in peers]
    for entrant in entrants:
        progress(f"{workload}: {entrant.peer} warms up")
        entrant.attempt(entrant.warm_up)
        entry = PEERS[entrant.peer]
        if entrant.failed is not None and entrant.failed.missing == entry.module:
            missing[entrant.peer] = f"not installed: pip install {entry.package}"
    entrants = [entrant for entrant in entrants if entrant.peer not in missing]
    for number in range(1, rounds + 1):
        for entrant in entrants:
            progress(f"{workload}: round {number} of {rounds}, {entrant.peer}")
            entrant.attempt(entrant.round)
    results = {entrant.peer: entrant.result(exact) for entrant in entrants}
    return {
        "sizes": list(problem.sizes),
        "activation": problem.activation,
        "batch": problem.batch,
        "rows": problem.rows,
        "flops": problem.flops,
        "textbook_loss": exact,
        **_ranking(results),
        "peers": results,
    }


def _ranking(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fastest of the others that agree, and its time over vgfast's; None where there is none."""
    times = {peer: found["step"]["median"] for peer, found in results.items() if found["status"] == "ok"}
    ours = times.pop("vgfast", None)
    fastest = min(times, key=lambda peer: times[peer], default=None)
    return {"fastest_other": fastest, "ratio": times[fastest] / ours if fastest and ours else None}


def _memory(threads: int) -> dict[str, Any]:
    """What vgfast takes for its largest net, in a process that has done nothing before."""
    where = PEERS["vgfast"].where
    try:
        with Children(threads) as children:
            children.ask(where, problem=WORKLOADS[MEMORY])
            return children.ask(where, do="memory")
    except Failed as failed:  # as where there is no /proc
        return {"failed": str(failed)}


def machine(threads: int) -> dict[str, Any]:
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


def versions(peers: Sequence[str]) -> dict[str, str]:
    """Of the libraries of these peers."""
    found = {}
    for package in dict.fromkeys(PEERS[peer].package for peer in peers):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # on the path, but not installed there
            found[package] = "of unknown version"
    return found


# ---- the picture -------------------------------------------------------------------------------------


def save_picture(result: dict[str, Any], folder: Path) -> Path:
    """The picture's path, absolute."""
    from vgfast.bench import figures

    path = (folder / PICTURE).resolve()
    times = {
        workload: {peer: found["step"]["median"] for peer, found in of["peers"].items() if found["status"] == "ok"}
        for workload, of in result["workloads"].items()
        if workload != INSPECTION
    }
    about = result["machine"]
    title = f"{about['processor']}, {count(about['threads'], 'thread')}, {about['instruction set']}"
    figures.draw_step_times(times, title, path)
    return path
