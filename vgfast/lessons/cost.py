"""What a training step costs: the same numbers, ever faster, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import vgfast as vg
from vgfast.bench import ladder
from vgfast.lessons import BLUE, ORANGE, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "what a training step costs: from loops in Python to the limit of the machine"

CLAIM = """A training step is a few products of matrices, two operations for each weight, each row of the batch and
each of three products: forward, and back for the signal and for the weights. How long it takes is not a question of
how many operations there are, but of how many the processor does at a time and of how often a number has to be
fetched. Between loops in Python and a core in C lie thousands."""

PLAN = """We take the same steps from the same weights, first in loops over Python's floats, then in NumPy, then in C,
adding one idea on each rung: vectors, tiles that stay in registers, whole runs without the interpreter, threads. Then
net.cost takes a step apart: what each layer and phase has to do, how long that must take on this machine, and how
long it takes."""

EXPECT = """The same weights at the end of each rung, and thousands between the first and the last (without vector
instructions, hundreds); nearly all of the operations in the products, and most of them in the first layer; products
that take less than five times what they must; and all that is not a product costs more time than its operations are
worth."""

SIZES, BATCH = (784, 256, 128, 10), 128
QUICK = (64, 64, 10), 16
VECTORS, NONE = (1000, "thousands"), (100, "hundreds")  # what the last rung must be worth


def measure(quick: bool = False, sizes: Sequence[int] | None = None, batch: int | None = None) -> dict[str, Any]:
    if sizes is None or batch is None:
        sizes, batch = QUICK if quick else (SIZES, BATCH)
    climbed = ladder.measure(ladder.read_settings(sizes, batch), seconds=0.01 if quick else 0.1)
    report = vg.MLP(sizes, rng=0).cost(batch)
    phases: dict[str, dict[str, float]] = {}
    for row in report.rows:
        of = phases.setdefault(row.phase, {"flops": 0, "seconds": 0.0, "limit": 0.0})
        of["flops"] += row.flops
        of["seconds"] += row.seconds
        of["limit"] += row.limit
    return {
        "sizes": list(sizes),
        "batch": batch,
        "rungs": [rung for rung in climbed["rungs"] if rung["available"]],
        "phases": phases,
        "flops": report.flops,
        "first": sum(row.flops for row in report.rows if row.layer == 1) / report.flops,
        "isa": report.isa,
    }


PRODUCTS = ("forward", "dX", "dW + update")


def conclude(found: dict[str, Any]) -> Seen:
    rungs, phases = found["rungs"], found["phases"]
    times = rungs[0]["seconds_per_step"] / rungs[-1]["seconds_per_step"]
    least, word = NONE if found["isa"] == "scalar" else VECTORS
    faster, agree = times > least, all(rung["agrees"] for rung in rungs)
    flops, limit, seconds = (
        sum(phases[name][key] for name in PRODUCTS if name in phases) for key in ("flops", "limit", "seconds")
    )
    share, time = flops / found["flops"], seconds / sum(of["seconds"] for of in phases.values())
    most, first, near, rest = share > 0.9, found["first"] > 0.5, 5 * limit > seconds, 1 - time > 1 - share
    sentences = [
        f"The last rung is {times:,.0f} times as fast as the first: {word if faster else f'NOT {word}'}, "
        f"{'with the same weights on every rung' if agree else 'but the weights do NOT agree'}.",
        f"The products are {share:.1%} of the operations, {'nearly all' if most else 'NOT nearly all'}; layer 1 has "
        f"{found['first']:.0%} of them, {'most' if first else 'NOT most'}.",
        f"The products took {seconds / limit:.1f} times what they must, {'less' if near else 'NOT less'} than five "
        f"times.",
        f"All else took {1 - time:.0%} of the time for {1 - share:.1%} of the operations, "
        f"{'more' if rest else 'NOT more'} than its share.",
    ]
    return Seen(faster and agree and most and first and near and rest, sentences)


def table(found: dict[str, Any]) -> Table:
    rows = [
        (
            rung["name"],
            f"{1e6 * rung['seconds_per_step']:,.0f}",
            "" if rung["over_last"] is None else f"{rung['over_last']:,.2f}",
            "" if rung["over_first"] is None else f"{rung['over_first']:,.0f}",
            f"{rung['share_of_peak']:.2%}",
        )
        for rung in found["rungs"]
    ]
    notes = f"""Each is the quickest of some rounds, of the loops the only one. of peak: of the multiply-adds that
    {found["isa"]} instructions could do. Why each rung is faster, vgfast ladder says."""
    return Table(("", "a step, us", "x last", "x first", "of peak"), rows, " ".join(notes.split()))


def draw(found: dict[str, Any], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = [rung["name"] for rung in found["rungs"]]
    seconds = [rung["seconds_per_step"] for rung in found["rungs"]]
    left.barh(names, seconds, color=BLUE)
    for i, (second, rung) in enumerate(zip(seconds, found["rungs"], strict=True)):
        text = "" if rung["over_first"] is None else f"x {rung['over_first']:,.0f}"
        left.annotate(text, (second, i), (3, -4), textcoords="offset points")
    left.set_xscale("log")
    left.set_xlim(min(seconds) / 3, max(seconds) * 3)
    left.invert_yaxis()
    left.set_xlabel("seconds of a step; times as fast as the first")
    left.set_title("The same step, rung by rung")
    phases = [name for name, of in found["phases"].items() if of["seconds"] > 0]
    at = range(len(phases))
    right.barh(at, [1e6 * found["phases"][name]["seconds"] for name in phases], color=BLUE, label="takes")
    limits = [1e6 * found["phases"][name]["limit"] for name in phases]
    right.barh(at, limits, color=ORANGE, height=0.4, label="must take")
    right.set_yticks(at, phases)
    right.invert_yaxis()
    right.set_xlabel("µs of a step")
    right.set_title("Where the time goes")
    right.legend()
