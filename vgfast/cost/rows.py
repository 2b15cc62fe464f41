"""One phase of one layer of a training step: what it is, what it must take, and what it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vgfast.cost import counts
from vgfast.cost.limits import Level
from vgfast.cost.roofline import Roofs
from vgfast.cost.rounds import Measured
from vgfast.model.architecture import Architecture

PHASES = {
    "forward": "forward",
    "activation": "activation",
    "normalization": "normalization",
    "loss": "loss",
    "backward": "dX",
    "update": "dW + update",
}
PHASES |= {"gather": "gather", "barrier": "barriers"}


@dataclass(frozen=True)
class CostRow:
    """One phase of one layer (0: of the batch). Times are in seconds; ``measured`` is None without measuring.

    ``flops`` counts +, -, x, / and comparisons, ``functions`` exp, log and tanh; ``bytes`` are the least, ``intensity``
    is flops over bytes; ``rate`` and ``bandwidth`` are flops and bytes over the measured time.
    """

    layer: int
    phase: str
    shape: tuple[int, ...]
    flops: int
    functions: int
    bytes: int
    intensity: float
    limit: float
    limit_by: str
    predicted: float
    measured: Measured | None

    @property
    def seconds(self) -> float:
        """Measured, or else predicted."""
        return self.measured.median if self.measured else self.predicted

    @property
    def share(self) -> float:
        """Of the limit: its time over the measured one."""
        return self.limit / self.measured.median if self.measured and self.measured.median > 0 else np.nan

    @property
    def rate(self) -> float:
        return self.flops / self.measured.median if self.measured and self.measured.median > 0 else np.nan

    @property
    def bandwidth(self) -> float:
        return self.bytes / self.measured.median if self.measured and self.measured.median > 0 else np.nan

    @property
    def bound(self) -> str:
        """What bounds it: "compute", "functions", a cache's name, "memory" or "overhead"."""
        return "overhead" if self.share < 0.5 else self.limit_by


def cost_rows(
    counted: Sequence[counts.Work],
    net: Architecture,
    roofs: Roofs,
    home: Level,
    data: Level,
    barriers: float,
    took: dict[tuple[int, str], Measured],
) -> Iterator[CostRow]:
    """``counted``, each with what it must take and what it ``took``; at last, the barriers, and what else
    belongs to no phase: the loss is added up, a call begins and ends."""
    kinds = net.kinds
    for row in counted:
        levels = (data, home) if row.phase == "gather" else (home,) * len(row.parts)
        kind = kinds[row.layer - 1] if row.layer > 0 else "identity"
        limit, bound_by = roofs.limit(row.parts, kind, levels)
        n_bytes = row.read + row.written
        yield CostRow(
            layer=row.layer,
            phase=row.phase,
            shape=row.shape,
            flops=row.flops,
            functions=row.functions,
            bytes=n_bytes,
            intensity=row.flops / n_bytes,
            limit=limit,
            limit_by=bound_by,
            predicted=roofs.predicted(row.parts, kind, levels),
            measured=took.get((row.layer, row.phase)),
        )
    alone = roofs.threads == 1
    rest, of_all = "rest" if alone else "barriers", 0.0 if alone else barriers
    yield CostRow(0, rest, (roofs.threads,), 0, 0, 0, np.nan, of_all, "overhead", of_all, took.get((0, "barriers")))
