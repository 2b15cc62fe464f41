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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vgfast import _check, _core, config, plots
from vgfast.children import Children, Failed
from vgfast.peers import LR, PEERS, Problem
from vgfast.tables import microseconds

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
TEXTBOOK = "vgfast.peers:Textbook"

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
    peers: str | None, workloads: str | None, threads: int | None, rounds: int | None, quick: bool
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
    }


def _peers(text: str | None) -> list[str]:
    """The names in a list with commas, vgfast first, which is always there."""
    names = list(PEERS) if text is None else text.split(",")
    for name in names:
        if name not in PEERS:
            installed = [peer for peer, entry in PEERS.items() if importlib.util.find_spec(entry.module)]
            raise ValueError(
                f"unknown peer {name!r}; there is {', '.join(PEERS)}, and installed is {', '.join(installed)}"
            )
    return list(dict.fromkeys(["vgfast", *names]))


def _workloads(text: str | None) -> list[str]:
    names = list(WORKLOADS) if text is None else text.split(",")
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


def measure(
    peers: Sequence[str],
    workloads: Sequence[str],
    threads: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], Any] = lambda turn: None,
) -> dict[str, Any]:
    """Everything, as plain data; ``progress`` is told whose turn it is."""
    missing: dict[str, str] = {}
    with Children(threads) as children:
        results = {}
        for workload in workloads:
            there = [peer for peer in entrants_of(workload, peers) if peer not in missing]
            results[workload] = _compare(children, workload, there, rounds, seconds, progress, missing)
    found: dict[str, Any] = {
        "machine": machine(threads),
        "versions": versions([peer for peer in peers if peer not in missing]),
        "rounds": rounds,
        "learning_rate": LR,
        "missing": missing,
        "workloads": results,
    }
    if MEMORY in workloads:
        found["memory"] = _memory(threads)
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


# ---- showing -----------------------------------------------------------------------------------------


@contextmanager
def progress_bar(console: Any, turns: int) -> Iterator[Callable[[str], None]]:
    """What is to be told of each of so many turns, and shows it."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=turns)
        yield lambda turn: bar.update(task, advance=1, description=turn)
        bar.update(task, completed=turns, description="done")


def watched(
    console: Any, peers: Sequence[str], workloads: Sequence[str], rounds: int, **settings: Any
) -> dict[str, Any]:
    """``measure`` under a progress bar that tells whose turn it is."""
    turns = (1 + rounds) * sum(len(entrants_of(workload, peers)) for workload in workloads)
    with progress_bar(console, turns) as progress:
        return measure(peers, workloads, rounds=rounds, progress=progress, **settings)


def save_picture(result: dict[str, Any], folder: Path) -> Path:
    """The picture's path, absolute."""
    path = (folder / PICTURE).resolve()
    times = {
        workload: {peer: found["step"]["median"] for peer, found in of["peers"].items() if found["status"] == "ok"}
        for workload, of in result["workloads"].items()
        if workload != INSPECTION
    }
    about = result["machine"]
    title = f"{about['processor']}, {_count(about['threads'], 'thread')}, {about['instruction set']}"
    plots.step_times(times, title, path)
    return path


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def new_table(title: str, *headings: str, padding: int = 1) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)
    table.padding = (0, padding, 0, 0)
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", vertical="bottom")
    return table


def _steps_table(result: dict[str, Any], notes: list[str]) -> Any:
    """Everybody's time of a step; what went wrong is written to ``notes``."""
    peers = list(dict.fromkeys(peer for of in result["workloads"].values() for peer in of["peers"]))
    headings = ["step, µs", *(peer.replace("-", "\n") for peer in peers), "*/\nvgfast"]
    table = new_table("Time of a training step", *headings, padding=0)
    for workload, of in result["workloads"].items():
        if workload == INSPECTION:
            continue
        cells: list[str] = []
        for peer in peers:
            found = of["peers"].get(peer)
            if found is None:
                cells.append("")
            elif found["status"] == "ok":
                cells.append(microseconds(found["step"]["median"]) + "*" * (peer == of["fastest_other"]))
            else:
                notes.append(f"{workload}, {peer}: {found['status']}: {found['reason']}")
                cells.append(f"[{len(notes)}]")
        table.add_row(workload, *cells, "" if of["ratio"] is None else f"{of['ratio']:.2f}")
    return table


def _too_busy(result: dict[str, Any]) -> list[str]:
    """Who kept more processors busy than it had threads to use."""
    threads = result["machine"]["threads"]
    return [
        f"{workload}, {peer}: kept {found['processors']['median']:.1f} processors busy, instead of {threads}"
        for workload, of in result["workloads"].items()
        for peer, found in of["peers"].items()
        if "processors" in found and found["processors"]["median"] > threads + 0.2
    ]


def _vgfast_table(result: dict[str, Any]) -> Any:
    threads = result["machine"]["threads"]
    headings = ["quartiles", "1\nthread", f"{threads} over\n1", "GFLOP/s", "of the\npeak", "inspect", "loss\noff by"]
    table = new_table("vgfast alone", "step, µs", *headings)
    for workload, of in result["workloads"].items():
        found = of["peers"]["vgfast"]
        if "step" not in found:
            continue
        seconds, one = found["step"]["median"], found["one_thread"]["median"]
        table.add_row(
            workload,
            "-".join(map(microseconds, found["step"]["quartiles"])),
            microseconds(one),
            f"{one / seconds:.2f} x",
            f"{of['flops'] / seconds / 1e9:.1f}",
            f"{found['share_of_peak']['median']:.0%}",
            f"{found['inspection']['median']:+.0%}",
            "-" if found["off"] is None else f"{found['off']:.0e}",
        )
    return table


def _calls_table(of: dict[str, Any]) -> Any:
    table = new_table(
        f"A call from Python, µs, {CALLS}", "", "a step", "its batch\nin training", "probabilities\nof one row"
    )
    for peer, found in of["peers"].items():
        if "step_call" in found:
            times = (found[name]["median"] for name in ("step_call", "step", "predict_call"))
            table.add_row(peer, *map(microseconds, times))
    return table


def _memory_line(memory: dict[str, Any]) -> str:
    if "failed" in memory:
        return f"memory of {MEMORY}: not measured: {memory['failed']}"
    share = memory["bytes"] / memory["needed"]
    return f"memory of {MEMORY}: {memory['bytes'] / 1e6:.0f} MB, {share:.2f} x parameters + activations + deltas"


def show_machine(result: dict[str, Any], console: Any) -> None:
    about = result["machine"]
    processors = _count(about["processors"], "processor")
    console.print(f"{about['processor']}, {processors}, {about['instruction set']}", highlight=False)
    libraries = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    console.print(f"{_count(about['threads'], 'thread')} each; Python {about['python']}, {libraries}", highlight=False)


def show(result: dict[str, Any], picture: Path, console: Any) -> None:
    """The machine, everybody's steps, vgfast alone, calls, memory, and who was not there or wrong."""
    show_machine(result, console)
    notes: list[str] = []
    steps = _steps_table(result, notes)
    if steps.row_count:
        console.print()
        console.print(steps)
        console.print(f"* the fastest of the others; medians of {result['rounds']} rounds", highlight=False)
    for number, note in enumerate(notes, 1):
        console.print(f"[{number}] {note}", markup=False, highlight=False)
    for line in _too_busy(result):
        console.print(line, highlight=False)
    for peer, reason in result["missing"].items():
        console.print(f"{peer}: {reason}", highlight=False)
    console.print()
    console.print(_vgfast_table(result))
    console.print(
        "peak: multiply-adds without memory, in the same rounds; inspect: what inspect_every=1 adds; loss: relative "
        "to the textbook's in float64, after one epoch",
        highlight=False,
    )
    console.print()
    if CALLS in result["workloads"]:
        console.print(_calls_table(result["workloads"][CALLS]))
    if "memory" in result:
        console.print(_memory_line(result["memory"]), highlight=False)
    console.print("Time over vgfast's, by workload:")
    console.print(str(picture), soft_wrap=True, highlight=False)
