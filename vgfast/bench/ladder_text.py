"""What ``vgfast ladder`` prints: a rung as soon as it has been climbed, and how far it went."""

from __future__ import annotations

import textwrap
from typing import Any

from vgfast.bench.problems import Problem
from vgfast.show.numbers import count, duration, percent, significant
from vgfast.show.table import WIDTH, Layout

_LAYOUT = Layout((30, 9, 8, 9, 9, 8))


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
        cells = (
            rung["name"],
            duration(rung["seconds_per_step"]),
            *("" if rung[over] is None else significant(rung[over]) for over in ("over_last", "over_first")),
            significant(rung["flops_per_second"] / 1e9),
            percent(rung["share_of_peak"]),
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
