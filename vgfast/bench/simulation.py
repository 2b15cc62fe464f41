"""``vgfast bench --simulate 16``: what a step of each net would take with more threads than this machine has processors
for.

The threads run one after the other on one processor, each from one barrier to the next. A stage takes as long as its
longest thread, and to it comes a barrier, for which the time of one of this machine's own threads is scaled. What else
is assumed is shown below the table. With as many threads as this machine has processors for, the step is timed, too,
so that the reader sees how far the simulation is to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vgfast import _core, config
from vgfast.bench import tables
from vgfast.bench.about import describe_machine, versions
from vgfast.bench.competitors import VGFast
from vgfast.bench.problems import WORKLOADS, Problem
from vgfast.bench.runner import (
    Begin,
    Results,
    find_epochs,
    read_common_settings,
    read_numbers,
    read_workloads,
    refuse_choice,
)
from vgfast.bench.workers import Failed, Workers
from vgfast.cost import counts, limits
from vgfast.cost.limits import Machine, of_threads
from vgfast.cost.rounds import summary, take_turns
from vgfast.cost.shares import rows_at_once
from vgfast.model.architecture import Architecture
from vgfast.model.engine_c import core_net
from vgfast.show.console import print_lines
from vgfast.show.numbers import count, microseconds, significant

ROUNDS = 7

# ---- measuring ---------------------------------------------------------------------------------------


def read_settings(
    simulate: str,
    competitors: str | None,
    workloads: str | None,
    threads: str | None,
    rounds: int | None,
    quick: bool,
    minutes: float | None = None,
) -> dict[str, Any]:
    """What ``measure`` takes, and ``minutes``, from a command line; ValueError for what it cannot take."""
    refuse_choice("--simulate times vgfast alone, with the threads that it names", competitors, None, threads)
    common = read_common_settings(None, rounds, ROUNDS, quick, minutes)
    return {**common, "threads": read_numbers("--simulate", simulate), "workloads": read_workloads(workloads)}


def _own_threads() -> int:
    """As many as this machine has processors for."""
    return min(config.usable_processors(), _core.THREADS_MOST) if _core.HAS_THREADS else 1


def _turns(threads: Sequence[int], own: int) -> list[tuple[str, int]]:
    """Of each round: one thread, this machine's own number and those asked for, simulated; and those up to its own
    number timed."""
    numbers = sorted({1, own, *threads})
    return [*(("simulated", n) for n in numbers), *(("timed", n) for n in numbers if n <= own)]


def count_turns(settings: dict[str, Any]) -> int:
    """How often ``measure`` calls ``begin``."""
    return len(settings["workloads"]) * len(_turns(settings["threads"], _own_threads())) * (1 + settings["rounds"])


def measure(begin: Begin, threads: Sequence[int], workloads: Sequence[str], rounds: int, seconds: float) -> Results:
    """What there is after each workload: "partial" while any is "left_out". ``begin`` is called with whose turn it
    is."""
    left, own, here = list(workloads), _own_threads(), limits.limits()
    memory = here.levels[-1]
    found: dict[str, Any] = {
        "machine": describe_machine(own),
        "versions": versions(["vgfast", "numpy"]),
        "rounds": rounds,
        "simulate": list(threads),
        "own_threads": own,
        "memory": {
            "threads": here.threads,
            "read": of_threads(memory.read, here.threads),
            "write": of_threads(memory.write, here.threads),
        },
        "partial": True,
        "left_out": left,
        "workloads": {},
    }
    with Workers(own) as workers:
        for workload in workloads:
            team = _Team(partial(workers.ask, VGFast), WORKLOADS[workload], seconds, own, here)
            found["workloads"][workload] = _simulate(team, workload, _turns(threads, own), rounds, begin)
            left.remove(workload)
            found["partial"] = bool(left)
            yield found


class _Team:
    """A net in a process, which is asked for its time with so many threads: "simulated", or really "timed"."""

    def __init__(
        self, ask: Callable[..., dict[str, Any]], problem: Problem, seconds: float, own: int, here: Machine
    ) -> None:
        self.ask, self.problem, self.seconds, self.own, self.here = ask, problem, seconds, own, here
        self.net = Architecture.checked(problem.sizes, problem.activation)
        self.used: dict[int, int] = {}
        self.epochs: dict[int, int] = {}

    def warm_up(self, way: str, threads: int) -> None:
        """Find how many epochs last about as long as a turn should; or how many threads are the fastest, by halves: so
        does training (csrc/team/tuner.c)."""
        if way == "timed":
            self.epochs[threads] = find_epochs(partial(self.ask, do="time", threads=threads), self.seconds)
            return
        n = core_net(self.net).threads_to_try(self.problem.batch, threads)
        step = self._simulate(n)["step"]
        while n > 1:
            fewer = 1 << (n - 1).bit_length() - 1
            theirs = self._simulate(fewer)["step"]
            if theirs > step:
                break
            n, step = fewer, theirs
        self.used[threads] = n

    def take_turn(self, way: str, threads: int) -> dict[str, float]:
        peaks = threads * self.ask(do="peak_of_one")["flops"]
        if way == "simulated":
            answer = self._simulate(self.used[threads])
            return {**answer, "share_of_peak": self.problem.flops / answer["step"] / peaks}
        seconds = self.ask(do="time", epochs=self.epochs[threads], threads=threads)["seconds"]
        together = self.ask(do="peak", threads=threads)["flops"] / peaks
        return {"step": seconds / (self.epochs[threads] * self.problem.steps), "together": together}

    def _simulate(self, n: int) -> dict[str, float]:
        """Seconds of a step, and of its barriers, of exactly so many threads."""
        answer = self.ask(do="simulate", threads=n, seconds=self.seconds)
        barriers = 0.0
        if n > 1 and self.own > 1:
            barriers = answer["barriers"] * self.ask(do="barrier", threads=self.own)["seconds"] * n / self.own
        memory = memory_seconds(self.net, self.problem.batch, n, self.here) if n > 1 else 0.0
        step = max(answer["seconds"] + barriers, memory)
        return {"step": step, "of_barriers": barriers, "barriers": answer["barriers"], "of_memory": memory}


def memory_seconds(net: Architecture, B: int, threads: int, here: Machine) -> float:
    """What so many threads take at least to get the bytes of a step on B rows from memory, and back to it: 0 if the
    caches of so many processors hold all that a step comes back to."""
    size = counts.working_set(net, rows_at_once(net, B, threads))
    *caches, memory = here.levels
    if any(size <= cache.capacity(threads) for cache in caches):
        return 0.0
    parts = [part for work in counts.count_step(net, B) for part in work.parts]
    read, written = sum(part.read for part in parts), sum(part.written for part in parts)
    of_all = read / of_threads(memory.read, here.threads) + written / of_threads(memory.write, here.threads)
    return of_all * here.threads / threads


def _simulate(
    team: _Team, workload: str, turns: Sequence[tuple[str, int]], rounds: int, begin: Begin
) -> dict[str, Any]:
    """One net, as data: "status" is ok, or failed with a "reason"."""
    problem, of = team.problem, team.problem._asdict()
    about = {name: of[name] for name in ("sizes", "activation", "batch", "rows")} | {"flops": problem.flops}
    try:
        team.ask(problem=problem)
        for way, n in turns:
            begin(f"{workload}: {count(n, 'thread')} {way}, warming up")
            team.warm_up(way, n)
        entrants = {turn: partial(team.take_turn, *turn) for turn in turns}
        about_turn = f"{workload}: round {{}} of {rounds}, {{}} {{}}"
        *_, answers = take_turns(
            entrants, rounds, lambda i, turn: begin(about_turn.format(i, count(turn[1], "thread"), turn[0]))
        )
    except Failed as failed:
        return {**about, "status": "failed", "reason": str(failed), "simulation": []}
    return {
        **about,
        "status": "ok",
        "simulation": [_point(n, team.used[n], answers) for way, n in turns if way == "simulated"],
    }


def _point(threads: int, used: int, answers: dict[tuple[str, int], list[dict[str, float]]]) -> dict[str, Any]:
    """What so many threads came to; answers: of each turn, round by round."""
    own, one = answers["simulated", threads], answers["simulated", 1]
    rounds = {name: summary([answer[name] for answer in own]) for name in ("step", "share_of_peak", "of_barriers")}
    over = [first["step"] / answer["step"] for first, answer in zip(one, own, strict=True)]
    point = {"threads": threads, "used": used, "over_one": summary(over), **rounds}
    point |= {"barriers": own[0]["barriers"], "of_memory": own[0]["of_memory"], "timed": None, "off": None}
    timed = answers.get(("timed", threads))
    if timed is not None:
        off = [answer["step"] / true["step"] - 1 for answer, true in zip(own, timed, strict=True)]
        point |= {"timed": summary([true["step"] for true in timed]), "off": summary(off)}
        point |= {"together": summary([true["together"] for true in timed])}
    return point


# ---- showing -----------------------------------------------------------------------------------------


class Rows(tables.ByNet):
    """The table: the rows of a net, one for each number of threads."""

    def __init__(self, console: Any) -> None:
        super().__init__(console, (9, 7, 4, 9, 7, 6, 8, 7, 9, 5))

    def begin(self, result: dict[str, Any]) -> None:
        numbers = ", ".join(map(str, result["simulate"]))
        tables.show_machine(result, self.console, f"{numbers} threads simulated")
        self.console.print("\nvgfast with simulated threads", style="bold")
        names = (
            "",
            "threads",
            "used",
            "us a\nstep",
            "over\n1",
            "of the\npeak",
            "barriers",
            "their\nus",
            "really\nus",
            "off\nby",
        )
        print_lines([*self.layout.heading(names), self.layout.rule()], self.console)

    def lines_of(self, workload: str, of: dict[str, Any], result: dict[str, Any]) -> list[str]:
        names = [workload, *[""] * (len(of["simulation"]) - 1)]
        return [self.layout.line((name, *_cells(point))) for name, point in zip(names, of["simulation"], strict=True)]


def _cells(point: dict[str, Any]) -> list[str]:
    step, timed, off = point["step"]["median"], point["timed"], point["off"]
    return [
        str(point["threads"]),
        str(point["used"]),
        f"{microseconds(step)}{'*' * (step == point['of_memory'])}",
        f"{significant(point['over_one']['median'])} x",
        f"{point['share_of_peak']['median']:.0%}",
        str(point["barriers"]),
        microseconds(point["of_barriers"]["median"]),
        "" if timed is None else microseconds(timed["median"]),
        "" if off is None else f"{off['median']:+.0%}",
    ]


def show(result: dict[str, Any], rows: Rows) -> None:
    """The rows that were not shown before, and below them what they mean, and what they assume."""
    rows.show(result)
    lines = [
        f"medians of {count(result['rounds'], 'round')}; used: fewer threads where that is faster; over: times as fast "
        "as one, in the same rounds; peak: so many times the multiply-adds of one thread without memory; barriers: of "
        "a step, and what they take together; really: timed with so many threads, which this machine has processors "
        "for, and off by: what is simulated, in comparison",
        *(f"- {rule}" for rule in _rules(result)),
        *_together(result),
    ]
    for line in [*lines, *tables.left_out(result)]:
        rows.console.print(line, highlight=False)


def _rules(result: dict[str, Any]) -> list[str]:
    """What is assumed, in sentences."""
    own, memory = result["own_threads"], result["memory"]
    barrier = (
        f"A barrier of N threads takes N / {own} times as long as one of {own} threads takes here, as the threads "
        "arrive at it one after the other."
        if own > 1
        else "Barriers take no time, as there is one processor here, on which none can be timed."
    )
    return [
        "A stage, from one barrier to the next, takes as long as its longest thread, all of which have run one after "
        "the other on one processor, and in its caches.",
        barrier,
        f"N threads get N / {memory['threads']} times as many bytes a second from memory as {memory['threads']} get "
        f"here, {memory['read'] / 1e9:.3g} GB/s to read; a step (*) takes at least as long as its bytes, where the "
        "caches of N such processors do not hold its data.",
        "The order of an epoch's rows is drawn by one thread, while the others wait.",
        "Not in it are memory that is nearer to some cores than to others, a clock that falls as more cores work, two "
        "threads on one core, cache lines that go from core to core, and what else an epoch takes around its steps.",
    ]


def _together(result: dict[str, Any]) -> list[str]:
    """How much of this machine's own processors there was to be had while threads were really timed."""
    own = result["own_threads"]
    points = [point for of in result["workloads"].values() for point in of["simulation"] if point["threads"] == own]
    if own == 1 or not points:
        return []
    least = min(point["together"]["median"] for point in points)
    return [
        f"The {own} threads that were really timed had at least {least:.0%} of {own} times the multiply-adds of one: "
        "where that is less than all, other processes, or a falling clock, made them slower than what is simulated."
    ]
