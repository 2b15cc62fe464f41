"""``vgfast bench --pretraining``: the time of a step of restricted Boltzmann machines, and what they learn.

What the reader should see: how much longer BernoulliRBM of scikit-learn takes, and a loop in PyTorch, for persistent
contrastive divergence on the same rows with the same settings, and that who is faster does not learn less: beside each
time stands the exact pseudo-likelihood of rows that were held out.

Each is a process of its own. In each round each trains in turn; a ratio is that of two times of the same round.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from vgfast.bench import tables
from vgfast.bench.about import describe_machine, versions
from vgfast.bench.competitors.machines import MACHINES
from vgfast.bench.problems import PRETRAINING, MachineProblem
from vgfast.bench.runner import Begin, Results, read_common_settings, refuse_choice
from vgfast.bench.workers import Failed, Workers
from vgfast.cost.rounds import summary, take_turns
from vgfast.show.numbers import count, microseconds, significant
from vgfast.show.table import Table

ROUNDS = 7
SEEDS, QUICK_SEEDS = 5, 2

NOTE = (
    "PCD-1: a step of the chain a step, not shuffled, float32. Pseudo-likelihood: exact, of digits that were held out, "
    "mean and standard deviation of the seeds. vgfast's visible biases begin with the log-odds of the data, the "
    "others' with 0."
)


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
    refuse_choice(f"--pretraining times {', '.join(MACHINES)} on machines of its own", competitors, workloads)
    common = read_common_settings(threads, rounds, ROUNDS, quick, minutes)
    return {**common, "seeds": QUICK_SEEDS if quick else SEEDS}


def count_turns(settings: dict[str, Any]) -> int:
    """How often ``measure`` calls ``begin``."""
    return len(PRETRAINING) * len(MACHINES) * (1 + settings["seeds"] + settings["rounds"])


def measure(begin: Begin, threads: int, rounds: int, seconds: float, seeds: int) -> Results:
    """What there is after each machine: "partial" while any is "left_out". ``begin`` is called with whose turn it
    is."""
    left = [_name(problem) for problem in PRETRAINING]
    found: dict[str, Any] = {
        "machine": describe_machine(threads),
        "versions": {},
        "rounds": rounds,
        "seeds": seeds,
        "partial": True,
        "left_out": left,
        "missing": {},
        "machines": {},
    }
    with Workers(threads) as workers:
        for problem in PRETRAINING:
            entrants = {name: _Entrant(workers, name, problem, seconds) for name in MACHINES}
            found["machines"][_name(problem)] = _compare(entrants, rounds, seeds, begin, found["missing"])
            there = [kind.package for name, kind in MACHINES.items() if name not in found["missing"]]
            found["versions"] = versions(["numpy", *there])
            left.pop(0)
            found["partial"] = bool(left)
            yield found


def _name(problem: MachineProblem) -> str:
    return f"{problem.side**2} x {problem.hidden}"


class _Entrant:
    """A library on a machine. Its turns do nothing once one has failed, and ``reason`` says why."""

    def __init__(self, workers: Workers, name: str, problem: MachineProblem, seconds: float) -> None:
        self.name, self.problem, self.seconds = name, problem, seconds
        self.ask = partial(workers.ask, MACHINES[name])
        self.reason = ""
        self.missing = False
        self.rounds: list[dict[str, float]] = []
        self.scores: list[float] = []

    def attempt(self, part: Any, *arguments: Any) -> None:
        if self.reason:
            return
        try:
            part(*arguments)
        except Failed as failed:
            if self.name == "vgfast":  # to which all are compared
                raise
            self.reason, self.missing = str(failed), failed.missing == MACHINES[self.name].module

    def warm_up(self) -> None:
        """Find how many epochs last about as long as a turn should."""
        self.ask(problem=self.problem)
        self.ask(do="time", epochs=1)
        self.epochs = max(1, round(self.seconds / self.ask(do="time", epochs=1)["seconds"]))

    def learn(self, seed: int) -> None:
        self.scores.append(self.ask(do="score", epochs=self.problem.epochs, seed=seed)["score"])

    def take_turn(self) -> None:
        answer = self.ask(do="time", epochs=self.epochs)
        step = answer["seconds"] / (self.epochs * self.problem.steps)
        self.rounds.append({"step": step, "processors": answer["processors"]})

    def result(self, ours: list[dict[str, float]]) -> dict[str, Any]:
        """As data; ours: the rounds of vgfast."""
        if self.reason:
            return {"status": "failed", "reason": self.reason}
        steps = [turn["step"] for turn in self.rounds]
        ratios = [step / turn["step"] for step, turn in zip(steps, ours, strict=True)]
        spread = float(np.std(self.scores, ddof=1))
        return {
            "status": "ok",
            "step": summary(steps),
            "processors": summary([turn["processors"] for turn in self.rounds]),
            "over_vgfast": summary(ratios),
            "pseudo_likelihood": {"mean": float(np.mean(self.scores)), "deviation": spread, "seeds": self.scores},
        }


def _compare(
    entrants: dict[str, _Entrant], rounds: int, seeds: int, begin: Begin, missing: dict[str, str]
) -> dict[str, Any]:
    """All on one machine; a library that is not there is noted in ``missing``."""
    problem = entrants["vgfast"].problem
    about = _name(problem)
    for name, entrant in entrants.items():
        begin(f"{about}: {name} warms up")
        entrant.attempt(entrant.warm_up)
        if entrant.missing:
            missing[name] = f"not installed: pip install {MACHINES[name].package}"
        for seed in range(seeds):
            begin(f"{about}: {name} learns, seed {seed + 1} of {seeds}")
            entrant.attempt(entrant.learn, seed)
    turns = {name: partial(entrant.attempt, entrant.take_turn) for name, entrant in entrants.items()}
    for _ in take_turns(turns, rounds, lambda n, name: begin(f"{about}: round {n} of {rounds}, {name}")):
        pass
    ours = entrants["vgfast"].rounds
    competitors = {name: of.result(ours) for name, of in entrants.items() if not of.missing}
    return {**problem._asdict(), "competitors": competitors}


# ---- showing -----------------------------------------------------------------------------------------


def _rows(name: str, of: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line for the machine, and one for each library."""
    settings = f"batch {of['batch']}, rate {of['lr']:g}, {of['epochs']} epochs of {of['rows']} rows to learn"
    rows: list[tuple[str, ...]] = [("",), (f"{name}, {settings}",)]
    for competitor, found in of["competitors"].items():
        if found["status"] != "ok":
            rows += [(f"  {competitor}: {found['reason']}",)]
            continue
        times, ratio, score = found["step"], found["over_vgfast"], found["pseudo_likelihood"]
        cells = [microseconds(times["median"]), "-".join(map(microseconds, times["quartiles"]))]
        over = [significant(ratio["median"]), "-".join(map(significant, ratio["quartiles"]))]
        learned = (f"{score['mean']:.2f}", f"{score['deviation']:.2f}")
        rows.append((f"  {competitor}", *cells, *(["", ""] if competitor == "vgfast" else over), *learned))
    return rows


def show(result: dict[str, Any], console: Any) -> None:
    """The machine, a row for each library on each machine, and who was not there."""
    tables.show_machine(result, console)
    headings = ("", "us a step", "quartiles", "over\nvgfast", "quartiles", "pseudo-\nlikelihood", "dev.")
    rows = [row for name, of in result["machines"].items() for row in _rows(name, of)]
    tables.show_table("Restricted Boltzmann machines", Table(headings, rows[1:]), console)
    seeds = count(result["seeds"], "seed")
    console.print(f"medians of {count(result['rounds'], 'round')} in turn; {seeds}. {NOTE}", highlight=False)
    for name, reason in result["missing"].items():
        console.print(f"{name}: {reason}", highlight=False)
    if result["partial"]:
        console.print(f"Ended before its end. Left out: {', '.join(result['left_out'])}.", highlight=False)
