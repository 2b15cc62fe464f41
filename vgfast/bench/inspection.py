"""``vgfast bench --inspection``: what it costs to look at every step.

What the reader should see: on a dense net of middle size, that inspecting each step adds a few percent to it, and what
the best-known tool for this, Cockpit for PyTorch, published for the same net and batch.

One process trains in each way in turn, round after round. A ratio is that of two times of the same round; shown are
medians and quartiles of the rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from vgfast import _core
from vgfast.bench import tables
from vgfast.bench.about import describe_machine, versions
from vgfast.bench.competitors import VGFast
from vgfast.bench.problems import INSPECTION, WORKLOADS
from vgfast.bench.runner import Begin, Results, read_common_settings, refuse_choice
from vgfast.bench.workers import Workers
from vgfast.cost.rounds import summary, take_turns
from vgfast.show.numbers import count, milliseconds, significant
from vgfast.show.table import Table

ROUNDS = 21  # of ``bench`` there are 7: here a few percent are to be seen


@dataclass(frozen=True, eq=False)
class Way:
    """A way of training: its name for programs and for readers, and the arguments of ``fit``."""

    name: str
    title: str
    settings: dict[str, Any]


PLAIN = Way("none", "no inspection", {})
WAYS = (
    PLAIN,
    Way("scalars", "scalars", {"inspect_every": 1}),
    Way("histograms", "scalars and exponent histograms", {"inspect_every": 1, "inspect": "histograms"}),
)


class Published(NamedTuple):
    """A quantity of Cockpit, computed at every step: seconds a step, and that over those without."""

    title: str
    step: float
    ratio: float


# Medians over ten seeds of the raw results in github.com/fsschneider/cockpit-experiments (commit a9eaf3d,
# experiments/01_benchmark), for the mnist_mlp of DeepOBS, which is funnel, on a CPU.
COCKPIT = (
    Published("no inspection", 11.5e-3, 1.0),
    Published("GradNorm", 11.9e-3, 1.03),
    Published("NormTest", 146e-3, 12.7),
    Published("GradHist1d", 498e-3, 43.0),
    Published("economy", 734e-3, 64.0),
)
SOURCE = "fsschneider/cockpit-experiments"
ITS_PROCESSOR = "Intel Core i7-8700K"

SCALARS = (
    f"scalars: {len(_core.QUANTITIES)} quantities of each layer, such as the norms of gradient, deltas and weights, "
    "gains, how far the weights move, shares of frozen weights and of saturated and dead units, and from the norm of "
    "each sample's gradient the noise scale, which is what the norm test needs. exponent histograms: of the entries "
    "of the batch's gradient, by layer."
)
NOT_ALIKE = (
    f"Cockpit: on another machine ({ITS_PROCESSOR}), so that only ratios compare; medians of the results in {SOURCE}. "
    "Its GradHist1d counts the entries of each sample's gradient, which are 128 times as many as vgfast counts; "
    "economy is these three, Alpha, Distance, InnerTest, OrthoTest, UpdateSize and the loss."
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
    refuse_choice(f"--inspection times vgfast alone, on {INSPECTION}", competitors, workloads)
    return read_common_settings(threads, rounds, ROUNDS, quick, minutes)


def count_turns(settings: dict[str, Any]) -> int:
    """How often ``measure`` calls ``begin``."""
    return 1 + settings["rounds"] * len(WAYS)


def measure(begin: Begin, threads: int, rounds: int, seconds: float) -> Results:
    """What there is after each round, of fewer "rounds" while it is "partial". ``begin`` is called with whose turn it
    is."""
    with Workers(threads) as workers:
        ask = partial(workers.ask, VGFast)
        begin("vgfast warms up")
        ask(problem=WORKLOADS[INSPECTION])
        ask(do="time", epochs=1)
        epochs = max(1, round(seconds / ask(do="time", epochs=1)["seconds"]))
        turns = {way: partial(ask, do="time", epochs=epochs, **way.settings) for way in WAYS}
        for answers in take_turns(turns, rounds, lambda n, way: begin(f"round {n} of {rounds}, {way.title}")):
            left = rounds - len(answers[PLAIN])
            yield {**_result(threads, epochs, answers), "partial": left > 0, "left_out": left}


def _result(threads: int, epochs: int, answers: dict[Way, list[dict[str, float]]]) -> dict[str, Any]:
    """Of whole rounds, and what each way answered in them."""
    problem = WORKLOADS[INSPECTION]
    steps = epochs * problem.steps
    times = {way: [answer["seconds"] / steps for answer in of] for way, of in answers.items()}
    return {
        "machine": describe_machine(threads),
        "versions": versions(["vgfast", "numpy"]),
        "rounds": len(times[PLAIN]),
        "processors": summary([answer["processors"] for of in answers.values() for answer in of]),
        "sizes": list(problem.sizes),
        "activation": problem.activation,
        "batch": problem.batch,
        "dtype": "float32",
        "vgfast": {way.name: _against(times[way], times[PLAIN]) for way in WAYS},
        "cockpit": {
            "processor": ITS_PROCESSOR,
            "source": SOURCE,
            "published": {row.title: {"step": row.step, "ratio": row.ratio} for row in COCKPIT},
        },
    }


def _against(times: list[float], plain: list[float]) -> dict[str, Any]:
    ratios = [time / other for time, other in zip(times, plain, strict=True)]
    return {"step": summary(times), "ratio": summary(ratios)}


# ---- showing -----------------------------------------------------------------------------------------


def _table(result: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for way in WAYS:
        found = result["vgfast"][way.name]
        cells = [milliseconds(found["step"]["median"]), "-".join(map(milliseconds, found["step"]["quartiles"]))]
        ratio = [significant(found["ratio"]["median"]), "-".join(map(significant, found["ratio"]["quartiles"]))]
        rows.append((way.title, *cells, *(["", ""] if way is PLAIN else ratio)))
    rows += [("",), ("Cockpit, as published",)]
    for row in COCKPIT:
        rows.append((row.title, milliseconds(row.step), "", "" if row.ratio == 1 else f"{row.ratio:g}", ""))
    return Table(("vgfast", "ms a step", "quartiles", "x over no\ninspection", "quartiles"), rows)


def show(result: dict[str, Any], console: Any) -> None:
    """The machine, the net, vgfast's rows, Cockpit's, and what each of them computes."""
    tables.show_machine(result, console)
    sizes = "-".join(map(str, result["sizes"]))
    tables.show_table(f"Inspecting every step of {sizes}, batch {result['batch']}", _table(result), console)
    console.print(
        f"{result['activation'].replace('relu', 'ReLU')}, {result['dtype']}, plain SGD; medians of "
        f"{count(result['rounds'], 'round')} in turn, ratios of times in the same round; on "
        f"{result['processors']['median']:.1f} processors at a time",
        highlight=False,
    )
    for line in (SCALARS, NOT_ALIKE):
        console.print(line, highlight=False)
    if result["partial"]:
        asked = result["rounds"] + result["left_out"]
        console.print(f"Ended before its end: {result['rounds']} of {asked} rounds.", highlight=False)
