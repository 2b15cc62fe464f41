"""``vgfast bench --threads 1,2,4``: what more threads bring, net by net.

What the reader should see: from which size on a second thread pays, how far from twice, four times as fast that is, and
what share of what so many threads can do at all is used.

One process trains with each number of threads in turn, round after round. A ratio is that of two times of the same
round; shown are medians of the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vgfast import config
from vgfast.bench import tables
from vgfast.bench.about import describe_machine, versions
from vgfast.bench.competitors import VGFast
from vgfast.bench.problems import WORKLOADS, Problem
from vgfast.bench.runner import (
    Begin,
    Results,
    find_epochs,
    read_common_settings,
    read_threads,
    read_workloads,
    refuse_choice,
)
from vgfast.bench.workers import Failed, Workers
from vgfast.cost.rounds import summary, take_turns
from vgfast.show.console import print_lines
from vgfast.show.numbers import count, microseconds

ROUNDS = 7

# ---- measuring ---------------------------------------------------------------------------------------


def read_settings(
    competitors: str | None,
    workloads: str | None,
    threads: str | None,
    rounds: int | None,
    quick: bool,
    minutes: float | None = None,
) -> dict[str, Any]:
    """What ``measure`` takes, and ``minutes``, from a command line; ValueError for what it cannot take."""
    refuse_choice("several numbers of --threads time vgfast alone", competitors, None)
    common = read_common_settings(None, rounds, ROUNDS, quick, minutes)
    return {**common, "threads": read_threads(threads), "workloads": read_workloads(workloads)}


def count_turns(settings: dict[str, Any]) -> int:
    """How often ``measure`` calls ``begin``."""
    return len(settings["workloads"]) * len(settings["threads"]) * (1 + settings["rounds"])


def measure(begin: Begin, threads: Sequence[int], workloads: Sequence[str], rounds: int, seconds: float) -> Results:
    """What there is after each workload: "partial" while any is "left_out". ``begin`` is called with whose turn it
    is."""
    left, processors = list(workloads), config.usable_processors()
    found: dict[str, Any] = {
        "machine": describe_machine(max(threads)),
        "versions": versions(["vgfast", "numpy"]),
        "rounds": rounds,
        "threads": list(threads),
        "usable_processors": processors,
        "oversubscribed": [n for n in threads if n > processors],
        "partial": True,
        "left_out": left,
        "workloads": {},
    }
    with Workers(max(threads)) as workers:
        for workload in workloads:
            trained = _Trained(partial(workers.ask, VGFast), WORKLOADS[workload], seconds)
            found["workloads"][workload] = _scale(trained, workload, threads, rounds, begin)
            left.remove(workload)
            found["partial"] = bool(left)
            yield found


class _Trained:
    """A net in a process, which is asked for its time with so many threads."""

    def __init__(self, ask: Callable[..., dict[str, Any]], problem: Problem, seconds: float) -> None:
        self.ask, self.problem, self.seconds = ask, problem, seconds
        self.epochs: dict[int, int] = {}

    def warm_up(self, threads: int) -> None:
        """Find how many epochs last about as long as a turn should."""
        self.epochs[threads] = find_epochs(partial(self.ask, do="time", threads=threads), self.seconds)

    def take_turn(self, threads: int) -> dict[str, float]:
        answer = self.ask(do="time", epochs=self.epochs[threads], threads=threads)
        step = answer["seconds"] / (self.epochs[threads] * self.problem.steps)
        peak = self.ask(do="peak", threads=threads)["flops"]
        return {"step": step, "share_of_peak": self.problem.flops / step / peak, "processors": answer["processors"]}


def _scale(trained: _Trained, workload: str, threads: Sequence[int], rounds: int, begin: Begin) -> dict[str, Any]:
    """One net, as data: "status" is ok, or failed with a "reason"."""
    problem, of = trained.problem, trained.problem._asdict()
    about = {name: of[name] for name in ("sizes", "activation", "batch", "rows")} | {"flops": problem.flops}
    try:
        trained.ask(problem=problem)
        for n in threads:
            begin(f"{workload}: {count(n, 'thread')}, warming up")
            trained.warm_up(n)
        turns = {n: partial(trained.take_turn, n) for n in threads}
        about_turn = f"{workload}: round {{}} of {rounds}, {{}}"
        *_, answers = take_turns(turns, rounds, lambda i, n: begin(about_turn.format(i, count(n, "thread"))))
    except Failed as failed:
        return {**about, "status": "failed", "reason": str(failed), "scaling": []}
    return {**about, "status": "ok", "scaling": [_point(n, answers[n], answers[threads[0]]) for n in threads]}


def _point(threads: int, answers: list[dict[str, float]], first: list[dict[str, float]]) -> dict[str, Any]:
    """What so many threads came to; first: the answers with the first number of them, round by round."""
    over = [other["step"] / answer["step"] for answer, other in zip(answers, first, strict=True)]
    rounds = {name: summary([answer[name] for answer in answers]) for name in answers[0]}
    return {"threads": threads, "over_first": summary(over), **rounds}


# ---- showing -----------------------------------------------------------------------------------------


class Rows(tables.ByNet):
    """The table: the rows of a net, one for each number of threads."""

    def __init__(self, console: Any) -> None:
        super().__init__(console, (9, 8, 9, 17, 9, 8))

    def begin(self, result: dict[str, Any]) -> None:
        numbers = ", ".join(map(str, result["threads"]))
        tables.show_machine(result, self.console, f"{numbers} threads in turn")
        self.console.print("\nvgfast with more threads", style="bold")
        over = f"over\n{result['threads'][0]}"
        headings = ("", "threads", "us a\nstep", "quartiles", over, "of the\npeak")
        print_lines([*self.layout.heading(headings), self.layout.rule()], self.console)

    def lines_of(self, workload: str, of: dict[str, Any], result: dict[str, Any]) -> list[str]:
        names = [workload, *[""] * (len(of["scaling"]) - 1)]
        rows = (_cells(point, point["threads"] in result["oversubscribed"]) for point in of["scaling"])
        return [self.layout.line((name, *cells)) for name, cells in zip(names, rows, strict=True)]


def _cells(point: dict[str, Any], oversubscribed: bool) -> list[str]:
    step = point["step"]
    return [
        f"{point['threads']}{'*' * oversubscribed}",
        microseconds(step["median"]),
        "-".join(map(microseconds, step["quartiles"])),
        f"{point['over_first']['median']:.2f} x",
        f"{point['share_of_peak']['median']:.0%}",
    ]


def show(result: dict[str, Any], rows: Rows) -> None:
    """The rows that were not shown before, and below them what they mean."""
    rows.show(result)
    first = count(result["threads"][0], "thread")
    lines = [
        f"medians of {count(result['rounds'], 'round')} in turn; over: times as fast as with {first}, in the same "
        "rounds; peak: multiply-adds without memory on as many threads; vgfast uses fewer where that is faster"
    ]
    if result["oversubscribed"]:
        processors = count(result["usable_processors"], "processor")
        lines.append(f"* oversubscribed: more threads than the {processors} that may be used")
    for line in [*lines, *tables.left_out(result)]:
        rows.console.print(line, highlight=False)
