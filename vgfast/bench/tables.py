"""What ``vgfast bench`` prints: a row as soon as it has been measured, and tables of the rest at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vgfast.bench import gpu
from vgfast.bench.problems import CALLS, INSPECTION, MEMORY
from vgfast.show.console import print_lines
from vgfast.show.numbers import count, microseconds
from vgfast.show.table import Layout, Table, lines


class Steps:
    """Everybody's time of a step: a row a workload, shown when it is there. What went wrong is said at the end."""

    def __init__(self, console: Any) -> None:
        self.console = console
        self.notes: list[str] = []
        self._names: list[str] = []
        self._layout = Layout(())
        self._shown: set[str] = set()

    def show(self, result: dict[str, Any]) -> None:
        """The rows that have not been shown before; before the first, the machine and the headings."""
        for workload, of in result["workloads"].items():
            if workload not in self._shown and workload != INSPECTION:
                if not self._shown:
                    self._names = [name for name in of["competitors"] if name not in gpu.NAMES]
                    self._begin(result)
                self._lines(self._layout.line(self._row(workload, of)))
                self._shown.add(workload)

    def end(self, result: dict[str, Any]) -> None:
        """What belongs below the rows."""
        if self._shown:
            self._lines(f"* the fastest of the others; medians of {count(result['rounds'], 'round')}")
        else:
            show_machine(result, self.console)
        self._lines(*(f"[{number}] {note}" for number, note in enumerate(self.notes, 1)))

    def _begin(self, result: dict[str, Any]) -> None:
        """With all competitors, 80 columns."""
        self._layout = Layout((11, *[7, *[8] * (len(self._names) - 1)], 6))
        show_machine(result, self.console)
        self.console.print("\nTime of a training step", style="bold")
        names = (name.replace("-", "\n") for name in self._names)
        self._lines(*self._layout.heading(("step, us", *names, "*/\nvgfast")), self._layout.rule())

    def _lines(self, *text: str) -> None:
        print_lines(list(text), self.console)

    def _row(self, workload: str, of: dict[str, Any]) -> list[str]:
        cells = [workload]
        for name in self._names:
            found = of["competitors"].get(name)
            if found is None:
                cells.append("")
            elif found["status"] == "ok":
                cells.append(microseconds(found["step"]["median"]) + "*" * (name == of["fastest_other"]))
            else:
                self.notes.append(f"{workload}, {name}: {found['status']}: {found['reason']}")
                cells.append(f"[{len(self.notes)}]")
        return [*cells, "" if of["ratio"] is None else f"{of['ratio']:.2f}"]


class ByNet:
    """A table with some rows a net, shown when they are there. ``begin`` prints the machine, the title and the
    headings, and ``lines_of`` are those of a net."""

    def __init__(self, console: Any, widths: Sequence[int]) -> None:
        self.console = console
        self.layout = Layout(tuple(widths))
        self._shown: set[str] = set()

    def begin(self, result: dict[str, Any]) -> None:
        raise NotImplementedError

    def lines_of(self, workload: str, of: dict[str, Any], result: dict[str, Any]) -> list[str]:
        raise NotImplementedError

    def show(self, result: dict[str, Any]) -> None:
        """The rows that have not been shown before."""
        for workload, of in result["workloads"].items():
            if workload in self._shown:
                continue
            if not self._shown:
                self.begin(result)
            self._shown.add(workload)
            if of["status"] == "ok":
                print_lines(self.lines_of(workload, of, result), self.console)
            else:
                name = self.layout.line((workload,)).ljust(self.layout.widths[0])
                print_lines([f"{name} {of['status']}: {of['reason']}"], self.console)


def left_out(result: dict[str, Any]) -> list[str]:
    """What to say below a table that ended before its end."""
    if not result["partial"]:
        return []
    return [f"Ended before its end; what is above is complete. Left out: {', '.join(result['left_out'])}."]


def show_table(title: str, table: Table, console: Any) -> None:
    """With its title above."""
    console.print(f"\n{title}", style="bold", highlight=False)
    print_lines(lines(table), console)


def _too_busy(result: dict[str, Any]) -> list[str]:
    """Who kept more processors busy than it had threads to use."""
    threads = result["machine"]["threads"]
    return [
        f"{workload}, {name}: kept {found['processors']['median']:.1f} processors busy, instead of {threads}"
        for workload, of in result["workloads"].items()
        for name, found in of["competitors"].items()
        if "processors" in found and found["processors"]["median"] > threads + 0.2
    ]


def _vgfast_table(result: dict[str, Any]) -> Table:
    threads = result["machine"]["threads"]
    headings = ["step, us", "quartiles", "1\nthread", f"{threads} over\n1", "GFLOP/s", "of the\npeak", "inspect"]
    rows = []
    for workload, of in result["workloads"].items():
        found = of["competitors"]["vgfast"]
        if "step" not in found:
            continue
        seconds, one = found["step"]["median"], found["one_thread"]["median"]
        rows.append(
            (
                workload,
                "-".join(map(microseconds, found["step"]["quartiles"])),
                microseconds(one),
                f"{one / seconds:.2f} x",
                f"{of['flops'] / seconds / 1e9:.1f}",
                f"{found['share_of_peak']['median']:.0%}",
                f"{found['inspection']['median']:+.0%}",
                "-" if found["off"] is None else f"{found['off']:.0e}",
            )
        )
    return Table((*headings, "loss\noff by"), rows)


def _calls_table(of: dict[str, Any]) -> Table:
    calls = ("step_call", "step", "predict_call")
    timed = {name: found for name, found in of["competitors"].items() if "step_call" in found}
    rows = [(name, *(microseconds(found[call]["median"]) for call in calls)) for name, found in timed.items()]
    return Table(("", "a step", "its batch\nin training", "probabilities\nof one row"), rows)


def _memory_line(memory: dict[str, Any]) -> str:
    if "failed" in memory:
        return f"memory of {MEMORY}: not measured: {memory['failed']}"
    share = memory["bytes"] / memory["needed"]
    return f"memory of {MEMORY}: {memory['bytes'] / 1e6:.0f} MB, {share:.2f} x parameters + activations + deltas"


def show_machine(result: dict[str, Any], console: Any, threads: str | None = None) -> None:
    """threads: how many, in words, where that is not so many for each."""
    about = result["machine"]
    threads = f"{count(about['threads'], 'thread')} each" if threads is None else threads
    processors = count(about["processors"], "processor")
    console.print(f"{about['processor']}, {processors}, {about['instruction set']}", highlight=False)
    libraries = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    console.print(f"{threads}; Python {about['python']}, {libraries}", highlight=False)


def show(result: dict[str, Any], steps: Steps) -> None:
    """All that ``steps`` has not shown yet: vgfast alone, calls, memory, and who was not there or wrong."""
    console = steps.console
    steps.show(result)
    steps.end(result)
    for line in _too_busy(result):
        console.print(line, highlight=False)
    for name, reason in result["missing"].items():
        console.print(f"{name}: {reason}", highlight=False)
    if gpu.devices(result):
        show_table(f"On a GPU: {', '.join(gpu.devices(result))}", gpu.table(result), console)
        print_lines(gpu.notes(result), console)
    show_table("vgfast alone", _vgfast_table(result), console)
    console.print(
        "peak: multiply-adds without memory, in the same rounds; inspect: what inspect_every=1 adds; loss: relative "
        "to the textbook's in float64, after one epoch",
        highlight=False,
    )
    if CALLS in result["workloads"]:
        calls = _calls_table(result["workloads"][CALLS])
        show_table(f"A call from Python, us, {CALLS}", calls, console)
    console.print()
    if "memory" in result:
        console.print(_memory_line(result["memory"]), highlight=False)
    for line in left_out(result):
        console.print(line, highlight=False)
