"""The limits of the machine as text, as ``vgfast info`` prints them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from vgfast.cost.limits import ROUNDS, Level, Machine
from vgfast.cost.rounds import Measured
from vgfast.show.numbers import count, n_bytes, significant
from vgfast.show.table import WIDTH, Layout

_NAME, _COLUMN = 24, 19
# Of a level of memory: its name, its size, and read or write.
_LEVEL = Layout((6, 8, 5), left=(0, 1, 2))


def _with_spread(measured: Measured, unit: float) -> str:
    """Three digits, and the quartiles.

    >>> _with_spread(Measured(102.4e9, 99e9, 103.4e9), 1e9), _with_spread(Measured(4.04e9, 4e9, 4.1e9), 1e9)
    ('102 (99.0-103)', '4.04 (4.00-4.10)')
    """
    low, median, high = (significant(value / unit) for value in (measured.low, measured.median, measured.high))
    return f"{median} ({low}-{high})"


class _Lines:
    """Rows of a name and a rate for each number of threads."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = counts
        self.layout = Layout((_NAME, *[_COLUMN] * len(counts)))

    def heading(self, name: str) -> list[str]:
        return ["", self.layout.line((name, *(count(n, "thread") for n in self.counts)))]

    def rates(self, name: str, by_threads: dict[int, Measured]) -> str:
        """In units of 1e9 a second."""
        return self.layout.line((f"  {name}", *(_with_spread(by_threads[n], 1e9) for n in self.counts)))

    def level(self, level: Level) -> list[str]:
        size = "" if level.size is None else n_bytes(level.size)
        latency = f"a load that waits for the one before: {_with_spread(level.latency, 1e-9)} ns"
        return [
            self.rates(_LEVEL.line((level.name, size, "read")), level.read),
            self.rates(_LEVEL.line(("", "", "write")), level.write),
            f"  {_LEVEL.line(('', '', latency))}",
        ]


def as_lines(machine: Machine) -> list[str]:
    """At most 80 columns wide."""
    lines = _Lines(sorted({1, machine.threads}))
    text = [f"Medians of {ROUNDS} rounds, and their quartiles; {machine.when}, in {machine.seconds:.1f} s."]
    if not machine.complete:
        text.append("Not all threads took part, as another call had them: these limits are not kept.")
    text += lines.heading("multiply-adds, GFLOP/s")
    text += [lines.rates(f"{isa} {dtype}", by) for isa, of in machine.fma.items() for dtype, by in of.items()]
    text += lines.heading("a product, GFLOP/s")
    text += [lines.rates(f"{machine.isa} {dtype}", by) for dtype, by in machine.product.items()]
    text += lines.heading("activation, 1e9 values/s")
    text += [lines.rates(f"{name} {d}", by) for d, of in machine.functions.items() for name, by in of.items()]
    if machine.sizes_from == "the system":
        text += lines.heading("memory, GB/s")
    else:
        text += ["", "memory, GB/s, sizes inferred from the latencies"]
    for level in machine.levels:
        text += lines.level(level)
    if machine.threads > 1:
        barrier, waking = (_with_spread(measured, 1e-6) for measured in (machine.barrier, machine.waking))
        exchange = Layout((44, _COLUMN)).line(
            ("  written for, and read of, another thread", _with_spread(machine.exchange, 1e9))
        )
        costs = f"{machine.threads} threads: {barrier} us for a barrier, {waking} us to wake up."
        text += [exchange, "", *textwrap.wrap(costs, WIDTH)]
    return text
