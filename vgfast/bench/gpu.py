"""What ``vgfast bench`` shows where there is a GPU: from which size of step on it is faster than vgfast on the CPU."""

from __future__ import annotations

import textwrap
from typing import Any

from vgfast.bench.competitors import COMPETITORS
from vgfast.show.numbers import count, microseconds, significant
from vgfast.show.table import WIDTH, Table

NAMES = tuple(name for name, kind in COMPETITORS.items() if kind.device != "cpu")


def devices(result: dict[str, Any]) -> list[str]:
    """The names of those that somebody has computed on."""
    entrants = [found for of in result["workloads"].values() for found in of["competitors"].values()]
    return list(dict.fromkeys(found["device"] for found in entrants if "device" in found))


def table(result: dict[str, Any]) -> Table:
    names = [name for name in NAMES if any(name in of["competitors"] for of in result["workloads"].values())]
    rows = []
    for workload, of in result["workloads"].items():
        if of["gpu_ratio"] is not None:
            cells = [_step(of["competitors"].get(name)) for name in ("vgfast", *names)]
            over = significant(1 / of["gpu_ratio"])
            rows.append((workload, significant(of["flops"] / 1e6), *cells, over))
    headings = (name.replace("-", "\n") for name in names)
    return Table(("step, us", "MFLOP", "vgfast", *headings, "vgfast/\nfastest"), rows)


def _step(found: dict[str, Any] | None) -> str:
    return microseconds(found["step"]["median"]) if found is not None and found["status"] == "ok" else "-"


def notes(result: dict[str, Any]) -> list[str]:
    """Lines: which size makes the GPU the faster one, and who failed or disagreed."""
    wrong = [
        f"{workload}, {name}: {found['status']}: {found['reason']}"
        for workload, of in result["workloads"].items()
        for name, found in of["competitors"].items()
        if name in NAMES and found["status"] != "ok"
    ]
    return [*textwrap.wrap(_from_which_size(result), WIDTH), *wrong]


def _from_which_size(result: dict[str, Any]) -> str:
    """One sentence; "" where no GPU has been timed."""
    known = {name: of for name, of in result["workloads"].items() if of["gpu_ratio"] is not None}
    ordered = sorted(known, key=lambda name: known[name]["flops"])
    slower = [name for name in ordered if known[name]["gpu_ratio"] >= 1]
    above = ordered[ordered.index(slower[-1]) + 1 :] if slower else ordered
    below = [name for name in ordered if name not in above and name not in slower]
    cpu = f"vgfast on {count(result['machine']['threads'], 'thread')} of the CPU"
    if not ordered:
        return ""
    if not slower:
        return f"The GPU was faster than {cpu} on each of these nets."
    also = f"; of the smaller ones also on {', '.join(below)}" if below else ""
    if not above:
        return f"The GPU was not faster than {cpu} on the largest of these nets{also}."
    first = significant(known[above[0]]["flops"] / 1e6)
    return f"From {first} MFLOP a step ({above[0]}) on, the GPU was faster than {cpu}{also}."
