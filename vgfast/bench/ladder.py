"""``vgfast ladder``: the same training step, the same numbers out, climbed rung by rung from loops in Python.

What the reader should see: what each step from the textbook's formula to the metal brings, by how much, why, and where
it can be read. Each rung is a process of its own; all take the same steps from the same weights, and must end at the
same. All but the last have one thread.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check, _core, config
from vgfast.bench.competitors import Problem
from vgfast.bench.workers import Children, Failed
from vgfast.cost.limits import lack_of_memory
from vgfast.cost.timers import batch_bytes, n_batches
from vgfast.model.architecture import Architecture
from vgfast.show.numbers import count, duration, significant
from vgfast.show.table import WIDTH, Layout

SIZES, BATCH = (784, 256, 128, 10), 128
SECONDS = 0.1  # of a round
# Of weights, relative, after an epoch in float32; of what the epoch changed in them, it is the sum of some hundred
# products that are each rounded to 6e-8 of the weights, which are up to 1e4 times as large.
TOLERANCE, TOLERANCE_CHANGE = 1e-4, 1e-2
# Steps of an epoch: as many as loops do in so many seconds. A rung whose epoch would take longer than the longest is
# left out.
_STEPS_LEAST, _STEPS_MOST, _LOOPS, _LONGEST = 2, 64, 6.0, 60.0
PICTURE = "ladder.png"
_LAYOUT = Layout((30, 9, 8, 9, 9, 8))


class Rung(NamedTuple):
    """``flop``: about what one takes, in seconds, on nets of middle size; ``isa``: what it needs, None for any;
    ``threads``: whether it may have more than one."""

    name: str
    where: str
    what: str
    file: str
    flop: float
    isa: str | None = None
    threads: bool = False


RUNGS = (
    Rung(
        "Python loops",
        "Loops",
        "Each number is an object of its own, which the interpreter finds, looks at, multiplies and makes anew.",
        "vgfast/bench/loops.py",
        7e-8,
    ),
    Rung(
        "NumPy, a sample at a time",
        "NumPySamples",
        "A whole vector for one call: loops in C over numbers that lie side by side. But each weight is fetched for "
        "one multiply-add, so memory sets the pace.",
        "vgfast/reference.py",
        6e-10,
    ),
    Rung(
        "NumPy, a batch at a time",
        "NumPyBatches",
        "Matrix times matrix: a weight that has been fetched serves all rows, and the BLAS library behind it has "
        "vectors and blocks already, which the next rungs build up again from nothing.",
        "vgfast/reference.py",
        6e-11,
    ),
    Rung(
        "plain C",
        "PlainC",
        "One element of a product at a time, each addition waiting for the one before, and the gradient by way of "
        "memory: no interpreter, but no help from the processor either.",
        "csrc/simd/scalar.h",
        8e-10,
    ),
    Rung(
        "+ SIMD: AVX2",
        "PlainAVX2",
        "Eight numbers an instruction, and multiply and add are one. Every addition still waits for the one before.",
        "csrc/simd/avx2.h",
        1e-10,
        "avx2",
    ),
    Rung(
        "+ SIMD: AVX-512",
        "PlainAVX512",
        "Sixteen numbers an instruction.",
        "csrc/simd/avx512.h",
        5e-11,
        "avx512",
    ),
    Rung(
        "+ blocking and fused epilogues",
        "Blocked",
        "A tile of the product stays in registers: a dozen sums that need not wait for each other, and what is loaded "
        "is used several times. What lies far apart is copied first. A finished tile gets its bias and activation, or "
        "is subtracted from the weights, before it leaves the nearest cache.",
        "csrc/kernels/gemm.tmpl.h",
        2e-11,
    ),
    Rung(
        "+ the whole run in C",
        "WholeRun",
        "One call for many steps: rows are gathered, and steps follow each other, without the interpreter.",
        "csrc/run/epoch.c",
        2e-11,
    ),
    Rung(
        "+ threads",
        "WholeRun",
        "Each thread takes rows of the batch forward and back, then blocks of the weights, with a barrier after each.",
        "csrc/team/team.c",
        1e-11,
        threads=True,
    ),
)


def settings(sizes: Sequence[int] | None, batch: int | None) -> Problem:
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


def _why_not(rung: Rung, problem: Problem, threads: int) -> str:
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
    """Everything, as plain data; ``each`` is told what there is after each rung, and ``seconds`` is what a round
    takes. "partial" and "left_out" say what is still to be climbed."""
    threads = config.get_num_threads()
    # The best of some: what a machine does beside can only make it less, and two idle processors took 50 ms to
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
    rung: Rung, problem: Problem, threads: int, peak: float, before: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """What a rung, once climbed, tells; or why it was not."""
    entry: dict[str, Any] = {"name": rung.name, "what": rung.what, "file": rung.file, "seconds_per_step": None}
    reason = _why_not(rung, problem, threads)
    if not reason:
        try:
            with Children(threads if rung.threads else 1) as children:
                where = f"vgfast.bench.rungs:{rung.where}"
                entry |= _judged(_climb(partial(children.ask, where), problem, seconds), problem, peak, before)
        except Failed as failed:
            reason = f"failed: {failed}"
    return entry | {"available": not reason, "reason": reason}


def _climb(ask: Callable[..., dict[str, Any]], problem: Problem, seconds: float) -> dict[str, Any]:
    """How far off a rung is, and its seconds a step in some rounds: of those who are quick enough on more rows, so that
    the beginning of an epoch does not show; else only once."""
    ask(problem=problem)
    told = ask(do="agrees")
    more = n_batches(batch_bytes(Architecture.checked(problem.sizes), problem.batch))
    steps = min(more, round(seconds / told["seconds"]))
    if steps < 2:
        return {**told, "rounds": [told["seconds"]]}
    ask(problem=problem._replace(rows=steps * problem.batch))
    return {**told, **ask(do="rounds", seconds=seconds)}


def _judged(told: dict[str, Any], problem: Problem, peak: float, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a rung has told, beside those below it."""
    low, high = np.percentile(told["rounds"], [25, 75])
    seconds = min(told["rounds"])  # each rung is climbed at another time: what disturbs one need not disturb the next
    below = [rung["seconds_per_step"] for rung in before if rung["available"]]
    return {
        "seconds_per_step": seconds,
        "quartiles": [float(low), float(high)],
        "over_last": below[-1] / seconds if below else None,
        "over_first": below[0] / seconds if below else None,
        "flops_per_second": problem.flops / seconds,
        "share_of_peak": problem.flops / seconds / peak,
        "off": told["off"] if np.isfinite(told["off"]) else None,
        "off_change": told["off_change"] if np.isfinite(told["off_change"]) else None,
        "agrees": told["off"] <= TOLERANCE and told["off_change"] <= TOLERANCE_CHANGE,
    }


# ---- showing -----------------------------------------------------------------------------------------


def heading(problem: Problem) -> list[str]:
    sizes = "-".join(map(str, problem.sizes))
    about = (
        f"One training step of {sizes} on {problem.batch} rows: {problem.flops / 1e6:,.4g} million operations. Each "
        f"rung takes the same {problem.steps} steps from the same weights; shown is its quickest round, of the loops "
        f"the only one."
    )
    headings = ("", "a step", "x last", "x first", "GFLOP/s", "of peak")
    return [*textwrap.wrap(about, WIDTH), "", *_LAYOUT.heading(headings)]


def rung_lines(rung: dict[str, Any]) -> list[str]:
    """A line of numbers, and why."""
    if rung["available"]:
        share = rung["share_of_peak"]
        cells = (
            rung["name"],
            duration(rung["seconds_per_step"]),
            *("" if rung[over] is None else significant(rung[over]) for over in ("over_last", "over_first")),
            significant(rung["flops_per_second"] / 1e9),
            f"{share:.1%}" if share > 0.001 else f"{share:.0e}",
        )
        lines = [_LAYOUT.line(cells)]
        if not rung["agrees"]:
            by = "and are not finite" if rung["off"] is None else f"by {rung['off']:.1e} of them"
            lines.append(f"  ITS WEIGHTS DISAGREE, {by}.")
    else:
        lines = textwrap.wrap(_LAYOUT.line((rung["name"], "")) + " " + rung["reason"], WIDTH, subsequent_indent="  ")
    why = f"{rung['what']} [{rung['file']}]"
    return [*lines, *textwrap.wrap(why, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)]


def summary(result: dict[str, Any]) -> list[str]:
    """How far it went, and whether all agree."""
    climbed = [rung for rung in result["rungs"] if rung["available"]]
    left = f"Ended before its end. Left out: {', '.join(result['left_out'])}." if result["partial"] else ""
    if not climbed:
        return textwrap.wrap(f"No rung could be climbed. {left}", WIDTH)
    agree = "the weights of NOT all rungs agree with the textbook's in float64"
    if all(rung["agrees"] for rung in climbed):
        worst = max(rung["off"] for rung in climbed)
        agree = f"the weights of all rungs agree with the textbook's in float64, to {worst:.0e} of them"
    factor = significant(climbed[0]["seconds_per_step"] / climbed[-1]["seconds_per_step"])
    threads = count(result["threads"], "thread")
    text = (
        f"From the first rung to the last: {factor} times as fast. After {result['steps']} steps {agree}. Peak: "
        f"{result['peak'] / 1e9:.3g} GFLOP/s of multiply-adds on {threads}. {left}"
    )
    return textwrap.wrap(text, WIDTH)


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
