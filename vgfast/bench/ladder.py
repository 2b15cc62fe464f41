"""``vgfast ladder``: the same training step, the same numbers out, climbed rung by rung from loops in Python.

What the reader should see: what each step from the textbook's formula to the metal brings, by how much, why, and where
it can be read. Each rung is a process of its own; all take the same steps from the same weights, and must end at the
same. All but the last have one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vgfast import _check, _core, config
from vgfast.bench.problems import Problem
from vgfast.bench.rungs import RUNGS, Rung
from vgfast.bench.workers import Failed, Workers
from vgfast.cost.limits import lack_of_memory
from vgfast.cost.rounds import Measured
from vgfast.cost.timers import batch_bytes, n_batches
from vgfast.model.architecture import Architecture
from vgfast.show.numbers import duration

SIZES, BATCH = (784, 256, 128, 10), 128
SECONDS = 0.1  # of a round
# Of weights, relative, after an epoch in float32; of what the epoch changed in them, it is the sum of some hundred
# products that are each rounded to 6e-8 of the weights, which are up to 1e4 times as large.
TOLERANCE, TOLERANCE_CHANGE = 1e-4, 1e-2
# Steps of an epoch: as many as loops do in so many seconds. A rung whose epoch would take longer than the longest is
# left out.
_STEPS_LEAST, _STEPS_MOST, _LOOPS, _LONGEST = 2, 64, 6.0, 60.0
PICTURE = "ladder.png"


def read_settings(sizes: Sequence[int] | None, batch: int | None) -> Problem:
    """What ``measure`` takes, from a command line; ValueError for what it cannot take."""
    net = Architecture.checked(SIZES if sizes is None else sizes)
    rows = _check.integer("--batch", BATCH if batch is None else batch, 1, _check.MOST_ELEMENTS)
    problem = Problem(net.sizes, "relu", rows, rows)
    steps = int(np.clip(_LOOPS / (RUNGS[0].flop * problem.flops), _STEPS_LEAST, _STEPS_MOST))
    problem = problem._replace(rows=steps * rows)
    # Of floats, or of Python's objects: the rows, the parameters, their copies and their gradient.
    n_bytes = 4 * (problem.rows * net.sizes[0] + 6 * net.n_params)
    lack = lack_of_memory(n_bytes)
    if lack:
        raise ValueError(
            f"the ladder cannot be climbed with this net: {lack}; take smaller --sizes or a smaller --batch"
        )
    return problem


def _why_not(rung: type[Rung], problem: Problem, threads: int) -> str:
    """What keeps a rung from being climbed here; "" if nothing does."""
    if rung.isa is not None and rung.isa not in _core.isas():
        return f"not here: this processor, or this build, has no {rung.isa}"
    if rung.isa is not None and _core.isas().index(rung.isa) > _core.isas().index(_core.isa()):
        return f"not here: VGFAST_ISA allows {_core.isa()} at most"
    if rung.threads and threads == 1:
        return "not here: one thread is all that there is, or that is allowed"
    seconds = rung.flop * problem.flops
    if seconds * problem.steps > _LONGEST:
        return f"left out: a step would take about {duration(seconds)}"
    return ""


def measure(
    problem: Problem, each: Callable[[dict[str, Any]], Any] = lambda found: None, seconds: float = SECONDS
) -> dict[str, Any]:
    """Everything, as plain data; ``each`` is called with what there is after each rung, and ``seconds`` is what a round
    takes. "partial" and "left_out" say what is still to be climbed."""
    threads = config.get_num_threads()
    # The best of some: what else a machine does can only make it less, and two idle processors took 50 ms to
    # come to their speed.
    peak = max(_core.fma_peak(min(threads, config.n_processors())) for _ in range(10))
    found: dict[str, Any] = {
        "sizes": list(problem.sizes),
        "activation": problem.activation,
        "batch": problem.batch,
        "steps": problem.steps,
        "flops": problem.flops,
        "isa": _core.isa(),
        "threads": threads,
        "peak": peak,
        "rungs": [],
    }
    for number, rung in enumerate(RUNGS, 1):
        found["rungs"].append(_entry(rung, problem, threads, peak, found["rungs"], seconds))
        left = [rung.name for rung in RUNGS[number:]]
        found |= {"partial": bool(left), "left_out": left}
        each(found)
    return found


def _entry(
    rung: type[Rung], problem: Problem, threads: int, peak: float, before: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """What a rung came to; or why it was not climbed."""
    entry: dict[str, Any] = {"name": rung.name, "what": rung.what, "file": rung.file, "seconds_per_step": None}
    reason = _why_not(rung, problem, threads)
    if not reason:
        try:
            with Workers(threads if rung.threads else 1) as workers:
                answer = _climb(partial(workers.ask, rung), problem, seconds)
                entry |= _assessed(answer, problem, peak, before)
        except Failed as failed:
            reason = f"failed: {failed}"
    return entry | {"available": not reason, "reason": reason}


def _climb(ask: Callable[..., dict[str, Any]], problem: Problem, seconds: float) -> dict[str, Any]:
    """How far off a rung is, and its seconds a step in some rounds: of those who are quick enough on more rows, so that
    the beginning of an epoch does not show; else only once."""
    ask(problem=problem)
    answer = ask(do="agrees")
    more = n_batches(batch_bytes(Architecture.checked(problem.sizes), problem.batch))
    steps = min(more, round(seconds / answer["seconds"]))
    if steps < 2:
        return {**answer, "rounds": [answer["seconds"]]}
    ask(problem=problem._replace(rows=steps * problem.batch))
    return {**answer, **ask(do="rounds", seconds=seconds)}


def _assessed(
    answer: dict[str, Any], problem: Problem, peak: float, before: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What a rung has answered, and how that compares with those below it."""
    measured = Measured.from_rounds(answer["rounds"])
    seconds = min(answer["rounds"])  # each rung is climbed at another time: what disturbs one need not disturb the next
    below = [rung["seconds_per_step"] for rung in before if rung["available"]]
    return {
        "seconds_per_step": seconds,
        "quartiles": [measured.low, measured.high],
        "over_last": below[-1] / seconds if below else None,
        "over_first": below[0] / seconds if below else None,
        "flops_per_second": problem.flops / seconds,
        "share_of_peak": problem.flops / seconds / peak,
        "off": answer["off"] if np.isfinite(answer["off"]) else None,
        "off_change": answer["off_change"] if np.isfinite(answer["off_change"]) else None,
        "agrees": answer["off"] <= TOLERANCE and answer["off_change"] <= TOLERANCE_CHANGE,
    }


def check(result: dict[str, Any]) -> None:
    """ValueError, in a sentence, if a rung failed or disagrees."""
    failed = [rung["name"] for rung in result["rungs"] if rung["reason"].startswith("failed: ")]
    wrong = [rung["name"] for rung in result["rungs"] if rung["available"] and not rung["agrees"]]
    if failed or wrong:
        raise ValueError(
            f"of the rungs, {', '.join(failed + wrong)} failed or disagreed: there is too little memory, the sums are "
            f"too long for float32, or one of them is wrong"
        )


def save_picture(result: dict[str, Any], folder: Path) -> Path:
    """The picture's path, absolute."""
    from vgfast.bench import figures

    path = (folder / PICTURE).resolve()
    figures.draw_ladder(result, path)
    return path
