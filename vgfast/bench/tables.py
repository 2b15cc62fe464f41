"""What ``vgfast bench`` prints: a row as soon as it has been measured, and tables of the rest at the end."""

from __future__ import annotations

from typing import Any

from vgfast.bench import comparison
from vgfast.bench.comparison import count
from vgfast.show.tables import microseconds


def new_table(title: str, *headings: str, padding: int = 1) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)
    table.padding = (0, padding, 0, 0)
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", vertical="bottom")
    return table


class Steps:
    """Everybody's time of a step: a row a workload, shown when it is there. What went wrong is told at the end."""

    def __init__(self, console: Any) -> None:
        self.console = console
        self.notes: list[str] = []
        self._peers: list[str] = []
        self._shown: set[str] = set()

    def show(self, result: dict[str, Any]) -> None:
        """The rows that have not been shown before; before the first, the machine and the headings."""
        for workload, of in result["workloads"].items():
            if workload not in self._shown and workload != comparison.INSPECTION:
                if not self._shown:
                    self._peers = list(of["peers"])
                    show_machine(result, self.console)
                    self.console.print("\nTime of a training step", style="bold")
                    self._lines(*self._headings())
                self._lines(self._row(workload, of))
                self._shown.add(workload)

    def end(self, result: dict[str, Any]) -> None:
        """What belongs below the rows."""
        if self._shown:
            self._lines(f"* the fastest of the others; medians of {count(result['rounds'], 'round')}")
        else:
            show_machine(result, self.console)
        self._lines(*(f"[{number}] {note}" for number, note in enumerate(self.notes, 1)))

    def _lines(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line, markup=False, highlight=False)

    def _headings(self) -> list[str]:
        above, below = zip(*(peer.rpartition("-")[::2] for peer in self._peers), strict=True)
        lines = [_cells("", *above, "*/"), _cells("step, us", *below, "vgfast")]
        return [lines[0], lines[1], "─" * len(lines[1])]

    def _row(self, workload: str, of: dict[str, Any]) -> str:
        cells = []
        for peer in self._peers:
            found = of["peers"].get(peer)
            if found is None:
                cells.append("")
            elif found["status"] == "ok":
                cells.append(microseconds(found["step"]["median"]) + "*" * (peer == of["fastest_other"]))
            else:
                self.notes.append(f"{workload}, {peer}: {found['status']}: {found['reason']}")
                cells.append(f"[{len(self.notes)}]")
        return _cells(workload, *cells, "" if of["ratio"] is None else f"{of['ratio']:.2f}")


def _cells(name: str, *cells: str) -> str:
    """A line; with all peers, 80 columns."""
    return f"{name:<9}" + "".join(f"{cell:>9}" for cell in cells[:-1]) + f"{cells[-1]:>8}"


def _too_busy(result: dict[str, Any]) -> list[str]:
    """Who kept more processors busy than it had threads to use."""
    threads = result["machine"]["threads"]
    return [
        f"{workload}, {peer}: kept {found['processors']['median']:.1f} processors busy, instead of {threads}"
        for workload, of in result["workloads"].items()
        for peer, found in of["peers"].items()
        if "processors" in found and found["processors"]["median"] > threads + 0.2
    ]


def _vgfast_table(result: dict[str, Any]) -> Any:
    threads = result["machine"]["threads"]
    headings = ["quartiles", "1\nthread", f"{threads} over\n1", "GFLOP/s", "of the\npeak", "inspect", "loss\noff by"]
    table = new_table("vgfast alone", "step, us", *headings)
    for workload, of in result["workloads"].items():
        found = of["peers"]["vgfast"]
        if "step" not in found:
            continue
        seconds, one = found["step"]["median"], found["one_thread"]["median"]
        table.add_row(
            workload,
            "-".join(map(microseconds, found["step"]["quartiles"])),
            microseconds(one),
            f"{one / seconds:.2f} x",
            f"{of['flops'] / seconds / 1e9:.1f}",
            f"{found['share_of_peak']['median']:.0%}",
            f"{found['inspection']['median']:+.0%}",
            "-" if found["off"] is None else f"{found['off']:.0e}",
        )
    return table


def _calls_table(of: dict[str, Any]) -> Any:
    table = new_table(
        f"A call from Python, us, {comparison.CALLS}",
        "",
        "a step",
        "its batch\nin training",
        "probabilities\nof one row",
    )
    for peer, found in of["peers"].items():
        if "step_call" in found:
            times = (found[name]["median"] for name in ("step_call", "step", "predict_call"))
            table.add_row(peer, *map(microseconds, times))
    return table


def _memory_line(memory: dict[str, Any]) -> str:
    if "failed" in memory:
        return f"memory of {comparison.MEMORY}: not measured: {memory['failed']}"
    share = memory["bytes"] / memory["needed"]
    return (
        f"memory of {comparison.MEMORY}: {memory['bytes'] / 1e6:.0f} MB, "
        f"{share:.2f} x parameters + activations + deltas"
    )


def show_machine(result: dict[str, Any], console: Any) -> None:
    about = result["machine"]
    processors = count(about["processors"], "processor")
    console.print(f"{about['processor']}, {processors}, {about['instruction set']}", highlight=False)
    libraries = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    console.print(f"{count(about['threads'], 'thread')} each; Python {about['python']}, {libraries}", highlight=False)


def show(result: dict[str, Any], steps: Steps) -> None:
    """All that ``steps`` has not shown yet: vgfast alone, calls, memory, and who was not there or wrong."""
    console = steps.console
    steps.show(result)
    steps.end(result)
    for line in _too_busy(result):
        console.print(line, highlight=False)
    for peer, reason in result["missing"].items():
        console.print(f"{peer}: {reason}", highlight=False)
    console.print()
    console.print(_vgfast_table(result))
    console.print(
        "peak: multiply-adds without memory, in the same rounds; inspect: what inspect_every=1 adds; loss: relative "
        "to the textbook's in float64, after one epoch",
        highlight=False,
    )
    console.print()
    if comparison.CALLS in result["workloads"]:
        console.print(_calls_table(result["workloads"][comparison.CALLS]))
    if "memory" in result:
        console.print(_memory_line(result["memory"]), highlight=False)
    if result["partial"]:
        left = ", ".join(result["left_out"])
        console.print(f"Ended before its end; what is above is complete. Left out: {left}.", highlight=False)
