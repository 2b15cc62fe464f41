"""Pictures of the bench and the ladder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vgfast.show.figures import Picture
from vgfast.show.numbers import duration, significant
from vgfast.show.palette import BLUE, GREY, MARKS, ORANGE


def draw_step_times(times: dict[str, dict[str, float]], title: str, path: Path) -> None:
    """Save a PNG: for each workload, each competitor's time of a step over that of vgfast."""
    rows = [(workload, of) for workload, of in times.items() if "vgfast" in of]
    names = list(dict.fromkeys(name for _, of in rows for name in of if name != "vgfast"))
    figure = Picture(9, 2 + 0.5 * len(rows))
    ax = figure.subplots()
    for row in range(0, len(rows), 2):
        ax.axhspan(row - 0.5, row + 0.5, color=GREY, alpha=0.25, linewidth=0)
    for number, name in enumerate(names):
        again, which = divmod(number, len(MARKS))
        colour, mark = MARKS[which]
        lower = 0.6 * ((number + 0.5) / len(names) - 0.5)  # so that none hides another
        points = [(of[name] / of["vgfast"], row + lower) for row, (_, of) in enumerate(rows) if name in of]
        face = "white" if again else colour
        ax.plot(*zip(*points, strict=True), mark, color=colour, label=name, markersize=8, markerfacecolor=face)
    ax.axvline(1, color="black", linewidth=1.5, label="vgfast")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    ax.xaxis.minorticks_off()
    ax.set_yticks(range(len(rows)), [f"{workload}\n{duration(of['vgfast'])}" for workload, of in rows])
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("time of a training step, over that of vgfast, which stands at the left")
    ax.set_title(title, fontsize=11)
    figure.legend(loc="outside upper center", ncols=5)
    figure.savefig(path, dpi=150)


def draw_ladder(result: dict[str, Any], path: Path) -> None:
    """Save a PNG: each rung's time of a step, and what it brought."""
    rungs = [rung for rung in result["rungs"] if rung["available"]]
    seconds = [rung["seconds_per_step"] for rung in rungs]
    figure = Picture(9, 1.4 + 0.45 * len(rungs))
    ax = figure.subplots()
    colours = [ORANGE if "csrc" not in rung["file"] else BLUE for rung in rungs]
    ax.barh(range(len(rungs)), seconds, color=colours, alpha=0.85)
    for i, rung in enumerate(rungs):
        gain = "" if rung["over_last"] is None else f", x {significant(rung['over_last'])}"
        ax.annotate(f"{duration(seconds[i])}{gain}", (seconds[i], i), (5, -3), textcoords="offset points", size=9)
    ax.set_xscale("log")
    ax.set_xlim(min(seconds) / 3, max(seconds) * 8)
    ax.xaxis.set_major_locator(LogLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda second, _: duration(second)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(rungs)), [rung["name"] for rung in rungs])
    ax.set_ylim(len(rungs) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("time of a training step, and how many times as fast as the rung above")
    sizes = "-".join(map(str, result["sizes"]))
    ax.set_title(
        f"{sizes}, batch {result['batch']}: Python and NumPy, then C; the weights come out the same", fontsize=11
    )
    figure.savefig(path, dpi=150)
