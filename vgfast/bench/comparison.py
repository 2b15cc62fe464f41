"""``vgfast bench``: the time of a training step with each of the libraries that there are, from small nets to large.

What the reader should see: who is fastest at which size, on as many threads and with the same loss; how much of what
the processor can do vgfast does; what inspection, a call from Python and memory cost.

Each competitor is a process of its own. In each round each trains in turn, and what is shown are medians of the rounds.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vgfast.bench.about import describe_machine, versions
from vgfast.bench.competitors import COMPETITORS, Textbook, VGFast
from vgfast.bench.problems import CALLED, CALLS, INSPECTION, LR, MEMORY, WORKLOADS
from vgfast.bench.runner import Begin, Results, find_epochs, read_common_settings, read_names, read_workloads
from vgfast.bench.workers import Failed, Workers
from vgfast.cost.rounds import summary, take_turns
from vgfast.show.numbers import count

# The largest relative difference of the loss after one epoch from that of the textbook in float64. Measured, those who
# are right: 5e-8 at most where the activation is smooth, 4e-5 where it is ReLU, as a unit whose z is within rounding of
# 0 passes a row's gradient in one library and not in another. Those who are wrong: 7e-4 (tiny), 1.5e-4 (deep), 3e-6
# (deep200) and 2e-4 (full, in its one step) with a learning rate that is 1 % off, 2.8e-4 (mnist) and 3.5e-3 (big) with
# another order of the rows, and with products of TF32 (11 bits, computed in NumPy) in place of float32 6.7e-5 (b1),
# 3.2e-6 (deep200), 2.2e-6 (tiny), 1.6e-6 (higgs) and 1.5e-6 (deepwide), but no more than is allowed on seven others.
# What rounding may do: the weights of 200 layers, each off by 6e-8 at most, shift an output by sqrt(200) times that,
# 8e-7, where the signs fall by chance, and the mean over all rows by less. A sum over 60,000 rows, added up one by one,
# is off by sqrt(60,000) times 6e-8, 1.5e-5; where the step moves the loss by 2.5 %, 4e-7.
TOLERANCE = {"tanh": 1e-6, "sigmoid": 1e-6, "relu": 1e-4}
# Of Adam: optax's bias corrections are made in float32, which comes to 2e-6 of the loss, and scikit-learn adds eps to
# sqrt(v) before it is corrected, which comes to 3e-5 (mnist-adam).
ADAM_TOLERANCE = 1e-4

ROUNDS = 7
PICTURE = "bench.png"

# ---- who and what is asked for -----------------------------------------------------------------------


def read_settings(
    competitors: str | None,
    workloads: str | None,
    threads: str | None,
    rounds: int | None,
    quick: bool,
    minutes: float | None = None,
) -> dict[str, Any]:
    """What ``measure`` takes, and ``minutes``, from a command line; ValueError for what it cannot take."""
    asked = {"competitors": _competitors(competitors), "workloads": read_workloads(workloads)}
    return asked | read_common_settings(threads, rounds, ROUNDS, quick, minutes)


def _competitors(text: str | None) -> list[str]:
    """The names in a list with commas, vgfast first, which is always there."""
    names = list(COMPETITORS) if text is None else read_names(text)
    for name in names:
        if name not in COMPETITORS:
            installed = [known for known, kind in COMPETITORS.items() if importlib.util.find_spec(kind.module)]
            raise ValueError(
                f"unknown competitor {name!r}; there is {', '.join(COMPETITORS)}, and installed is "
                f"{', '.join(installed)}"
            )
    return list(dict.fromkeys(["vgfast", *names]))


# ---- measuring ---------------------------------------------------------------------------------------


class Entrant:
    """A competitor on a workload: what it has shown so far, or why it is out."""

    def __init__(self, workers: Workers, name: str, workload: str, seconds: float) -> None:
        self.name, self.workload, self.problem, self.seconds = name, workload, WORKLOADS[workload], seconds
        self.kind = COMPETITORS[name]
        self.ask = partial(workers.ask, self.kind)
        self.rounds: dict[str, list[float]] = {}
        self.about: dict[str, Any] = {}
        self.failed: Failed | None = None

    def attempt(self, part: Callable[[], None]) -> None:
        """Do a part of the work, unless this or an earlier one fails."""
        try:
            if self.failed is None:
                part()
        except Failed as failed:
            self.failed = failed

    def absence(self) -> str:
        """Why it cannot be here at all; "" if that is not why it failed."""
        if self.failed is None:
            return ""
        if self.failed.missing == self.kind.module:
            return f"not installed: pip install {self.kind.package}"
        return str(self.failed) if self.failed.not_here else ""

    def warm_up(self) -> None:
        """Compile, find the loss, and how many epochs last about as long as a round should."""
        self.ask(problem=self.problem)
        if self.kind.device != "cpu":
            self.about = self.ask(do="describe_device")
        self.loss = self.ask(do="loss", epochs=1)["loss"]
        self.epochs = find_epochs(partial(self.ask, do="time"), self.seconds)

    def round(self) -> None:
        plain = self._step()
        if self.name == "vgfast":
            self._note("inspection", self._step(inspect_every=1) / plain - 1)
            self._note("one_thread", self._step(threads=1))
            self._note("share_of_peak", self.problem.flops / plain / self.ask(do="peak")["flops"])
        self._note("step", plain)
        if self.workload == CALLS and self.name in CALLED:
            for call, seconds in self.ask(do="time_calls", seconds=self.seconds / 4).items():
                self._note(call, seconds)

    def _step(self, **settings: int) -> float:
        """Seconds a step."""
        answer = self.ask(do="time", epochs=self.epochs, **settings)
        if not settings:
            self._note("processors", answer["processors"])
        return answer["seconds"] / (self.epochs * self.problem.steps)

    def _note(self, name: str, value: float) -> None:
        self.rounds.setdefault(name, []).append(value)

    def result(self, exact: float) -> dict[str, Any]:
        """As data: "status" is ok, disagrees or failed, the latter two with a "reason"."""
        if self.failed is not None:
            return {"status": "failed", "reason": str(self.failed)}
        off = abs(self.loss / exact - 1)
        found = {"status": "ok", **self.about, "loss": self.loss, "off": off, "epochs": self.epochs}
        if not math.isfinite(off):
            found |= {"loss": None, "off": None}
        allowed = ADAM_TOLERANCE if self.problem.optimizer == "adam" else TOLERANCE[self.problem.activation]
        if not off <= allowed:  # NaN is not
            found |= {"status": "disagrees", "reason": f"its loss is {self.loss:.6g}, the textbook's {exact:.6g}"}
        return found | {name: summary(values) for name, values in self.rounds.items()}


def count_turns(settings: dict[str, Any]) -> int:
    """How often ``measure`` calls ``begin``."""
    entrants = sum(len(entrants_of(workload, settings["competitors"])) for workload in settings["workloads"])
    return (1 + settings["rounds"]) * entrants + (MEMORY in settings["workloads"])


def measure(
    begin: Begin, competitors: Sequence[str], workloads: Sequence[str], threads: int, rounds: int, seconds: float
) -> Results:
    """What there is after each workload, and after memory: "partial" while anything is "left_out". ``begin`` is called
    with whose turn it is."""
    left = [*workloads, *(["memory"] if MEMORY in workloads else [])]
    found: dict[str, Any] = {
        "machine": describe_machine(threads),
        "versions": {},
        "rounds": rounds,
        "learning_rate": LR,
        "partial": True,
        "left_out": left,
        "missing": {},
        "workloads": {},
    }
    with Workers(threads) as workers:
        for workload in workloads:
            there = [name for name in entrants_of(workload, competitors) if name not in found["missing"]]
            of = _compare(workers, workload, there, rounds, seconds, begin, found["missing"])
            found["workloads"][workload] = of
            kinds = [COMPETITORS[name] for name in competitors if name not in found["missing"]]
            packages = [kind.packages(WORKLOADS[each]) for kind in kinds for each in workloads]
            found["versions"] = versions(package for of_one in packages for package in of_one)
            left.remove(workload)
            found["partial"] = bool(left)
            yield found
    if MEMORY in workloads:
        begin("memory")
        found["memory"] = _memory(threads)
        left.remove("memory")
        found["partial"] = False
        yield found


def entrants_of(workload: str, competitors: Sequence[str]) -> list[str]:
    if workload == INSPECTION:
        return ["vgfast"]
    return [name for name in competitors if COMPETITORS[name].takes(WORKLOADS[workload])]


def _compare(
    workers: Workers,
    workload: str,
    competitors: Sequence[str],
    rounds: int,
    seconds: float,
    begin: Begin,
    missing: dict[str, str],
) -> dict[str, Any]:
    """The competitors on one workload; a library that is not there is noted in ``missing``."""
    problem = WORKLOADS[workload]
    workers.ask(Textbook, problem=problem)
    exact = workers.ask(Textbook, do="loss", epochs=1)["loss"]
    entrants = [Entrant(workers, name, workload, seconds) for name in competitors]
    for entrant in entrants:
        begin(f"{workload}: {entrant.name} warms up")
        entrant.attempt(entrant.warm_up)
        if entrant.absence():
            missing[entrant.name] = entrant.absence()
    entrants = [entrant for entrant in entrants if entrant.name not in missing]
    turns = {entrant.name: partial(entrant.attempt, entrant.round) for entrant in entrants}
    for _ in take_turns(turns, rounds, lambda n, name: begin(f"{workload}: round {n} of {rounds}, {name}")):
        pass
    results = {entrant.name: entrant.result(exact) for entrant in entrants}
    return {
        "sizes": list(problem.sizes),
        "activation": problem.activation,
        "batch": problem.batch,
        "rows": problem.rows,
        "flops": problem.flops,
        "textbook_loss": exact,
        **_ranking(results),
        "competitors": results,
    }


def _ranking(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fastest of the others that agree, on the CPU and on a GPU, and its time over vgfast's; None where there is
    none."""
    times = {name: found["step"]["median"] for name, found in results.items() if found["status"] == "ok"}
    ours = times.pop("vgfast", None)

    def fastest(device: str) -> tuple[str | None, float | None]:
        name = min((name for name in times if COMPETITORS[name].device == device), key=times.__getitem__, default=None)
        return name, times[name] / ours if name and ours else None

    (other, ratio), (gpu, gpu_ratio) = fastest("cpu"), fastest("cuda")
    return {"fastest_other": other, "ratio": ratio, "fastest_gpu": gpu, "gpu_ratio": gpu_ratio}


def _memory(threads: int) -> dict[str, Any]:
    """What vgfast takes for its largest net, in a process that has done nothing before."""
    try:
        with Workers(threads) as workers:
            workers.ask(VGFast, problem=WORKLOADS[MEMORY])
            return workers.ask(VGFast, do="memory")
    except Failed as failed:  # as where there is no /proc
        return {"failed": str(failed)}


# ---- the picture -------------------------------------------------------------------------------------


def save_picture(result: dict[str, Any], folder: Path) -> Path:
    """The picture's path, absolute."""
    from vgfast.bench import figures

    path = (folder / PICTURE).resolve()
    times = {
        workload: {
            name: found["step"]["median"] for name, found in of["competitors"].items() if found["status"] == "ok"
        }
        for workload, of in result["workloads"].items()
        if workload != INSPECTION
    }
    about = result["machine"]
    title = f"{about['processor']}, {count(about['threads'], 'thread')}, {about['instruction set']}"
    figures.draw_step_times(times, title, path)
    return path
