"""What a training step costs, layer by layer and phase by phase, and what it must cost on this machine.

Each row is one phase of one layer, as ``vgfast.cost.counts`` counts it. ``limit`` is what it must take by the roofline:
the longest of its operations at the peak of multiply-adds, its exps and tanhs at the rate of the activations, and its
bytes at the bandwidth of the nearest cache that holds all that the step comes back to (of dW + update, first for the
gradient, then for its update, as one follows the other). ``predicted`` is the same at the peak of a product, which the
kernel reaches where its operands are near, with what threads exchange (see ``roofline``). What is measured is
measured by timers within the step, which are off at other times; the rates of a prediction are measured in the same
rounds. ``share`` is limit over measured, and ``bound`` what the limit is, or "overhead" where it is less than half of
the time.

In the measured time of a row, n threads count 1/n each: with the time in which they wait for each other, the row
"barriers" (of one thread "rest"), the rows add up to the time of the step. Of an activation, some 10 ns for each tile
of the product before it are the timers' own.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast.cost import counts, limits, scaling_report, shares, tables, timers
from vgfast.cost.learning import LayerCost, LearningCost
from vgfast.cost.roofline import Roofs
from vgfast.cost.rounds import Measured
from vgfast.cost.rows import PHASES, CostRow, cost_rows
from vgfast.cost.scaling import Worker
from vgfast.cost.scaling_report import ScalingReport
from vgfast.model import init
from vgfast.model.architecture import Architecture
from vgfast.model.engine_c import CEngine
from vgfast.show.numbers import count, duration, scaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgfast.inspection.report import GradientReport

LONGEST = 2.0  # seconds of a step that is still measured, as predicted


@dataclass(frozen=True)
class CostReport:
    """What ``net.cost`` finds: ``rows``; the whole ``step``, measured without timers, and ``timed``, with them (None
    without measuring). ``peak`` and ``product_peak``: multiply-adds and products of as many threads, in operations a
    second; ``home``: the nearest cache that holds what the step comes back to; ``roofs``: bytes a second that can be
    read from each level.

    ``str()`` is a table of 80 columns, ``to_dict()`` plain data, ``plot()`` the roofline, ``save_html(path)`` a page of
    both, ``beside(report)`` joins it with what a ``GradientReport`` says of learning, ``scale(workers, network)`` says
    what more machines would bring. ``note`` says why nothing was measured, where that was asked for.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    batch_size: int
    dtype: str
    n_params: int
    isa: str
    threads: int
    peak: float
    product_peak: float
    home: str
    roofs: dict[str, float]
    rows: tuple[CostRow, ...]
    step: Measured | None = None
    timed: Measured | None = None
    in_memory: Measured | None = None
    note: str = ""

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    @property
    def limit(self) -> float:
        return sum(row.limit for row in self.rows)

    @property
    def predicted(self) -> float:
        return sum(row.predicted for row in self.rows)

    @property
    def measured(self) -> float:
        """Seconds of all rows together: with ``step``, what the timers see."""
        return sum(row.measured.median for row in self.rows if row.measured) if self.step else np.nan

    @cached_property
    def by_layer(self) -> dict[int, tuple[CostRow, ...]]:
        """The rows of each layer; of layer 0, which are the first and the last of all, too."""
        by_layer: dict[int, tuple[CostRow, ...]] = {}
        for layer, rows in groupby(self.rows, key=lambda row: row.layer):
            by_layer[layer] = (*by_layer.get(layer, ()), *rows)
        return by_layer

    @cached_property
    def seconds(self) -> float:
        """Of all rows together, measured or else predicted."""
        return sum(row.seconds for row in self.rows)

    def share_of_step(self, layer: int) -> float:
        """Of the rows' time, measured or else predicted, that a layer takes; layer 0 is the batch and the barriers."""
        return sum(row.seconds for row in self.by_layer.get(layer, ())) / self.seconds

    @property
    def heading(self) -> str:
        """Which net, how many rows, and what worked on them."""
        about = f"{self.dtype}, {self.isa}, {count(self.threads, 'thread')}"
        return f"One step of {tables.name_sizes(self.sizes)} on {self.batch_size} rows: {about}"

    @property
    def formula(self) -> str:
        """How the step's operations come about, in words."""
        shapes = list(pairwise(self.sizes))
        products = counts.count_products(self.sizes, self.batch_size)
        sums = ", ".join(f"{m} x {n}" for m, n in shapes[:4]) + (", ..." if len(shapes) > 4 else "")
        return (
            f"A product of {self.batch_size} rows with m x n weights is 2 x {self.batch_size} x m x n operations, a "
            f"multiply-add being two: forward, for dW, and for dX, which layer 1 does not need. With m x n = {sums} "
            f"that is {scaled(products)}, {products / self.flops:.1%} of the step's {scaled(self.flops)} operations."
        )

    @property
    def notes(self) -> list[str]:
        """What its numbers stand on, in sentences: ``formula``, the limits, what was timed, and ``note``."""
        return tables.notes(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; what is not known is None."""
        rows = []
        for row in self.rows:
            names = ("share", "rate", "bandwidth")
            more = {name: getattr(row, name) if row.measured else None for name in names}
            if not row.bytes:  # barriers and the rest
                more |= dict.fromkeys(("intensity", "rate", "bandwidth"))
            rows.append({**asdict(row), "shape": list(row.shape), **more, "bound": row.bound})
        return {
            "sizes": list(self.sizes),
            "activations": list(self.activations),
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "n_params": self.n_params,
            "isa": self.isa,
            "threads": self.threads,
            "peak": self.peak,
            "product_peak": self.product_peak,
            "working_set_in": self.home,
            "read_bandwidth": self.roofs,
            "rows": rows,
            "flops": self.flops,
            "bytes": self.bytes,
            "limit": self.limit,
            "predicted": self.predicted,
            "measured": self.measured if self.step else None,
            "step": asdict(self.step) if self.step else None,
            "step_with_timers": asdict(self.timed) if self.timed else None,
            "step_with_gradient_in_memory": asdict(self.in_memory) if self.in_memory else None,
            "formula": self.formula,
            "note": self.note,
        }

    def plot(self) -> Figure:
        """A matplotlib Figure, which belongs to no window: the roofline, with one dot a row. ImportError without
        matplotlib."""
        packages.require("matplotlib", "cost.plot", "'vgfast[demo]'")
        from vgfast.cost import figures

        return figures.draw_roofline(self)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page, one file that needs no network: the roofline, the table, and each phase's share of the time;
        of many layers some, evenly chosen.

        Errors: OSError where it cannot be written, the old file being as it was; TypeError or ValueError for what names
        no file.

        >>> import os, tempfile, vgfast as vg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     vg.MLP([64, 30, 10], rng=0).cost(32, measure=False).save_html(os.path.join(folder, "cost.html"))
        ...     os.listdir(folder)
        ['cost.html']
        """
        from vgfast.show import page  # only read when asked for
        from vgfast.show.page import data

        page.save(page.checked_path(path), data.COST_TITLE, [data.of_cost(self)])

    def beside(self, report: GradientReport) -> LearningCost:
        """Each layer's share of the step's time, and what the inspected step did to its weights.

        ValueError for a report on a net of other sizes.
        """
        if tuple(report.sizes) != self.sizes:
            raise ValueError(
                f"the report must be on a net of these sizes, {list(self.sizes)}; got one on {list(report.sizes)}"
            )
        return LearningCost(
            tuple(
                LayerCost(l, self.share_of_step(l), float(record["frozen"]), float(record["update_ratio"]))
                for l, record in enumerate(report.records, 1)
            )
        )

    def scale(
        self,
        workers: Any,
        network: str | None = None,
        *,
        bandwidth: float | None = None,
        latency: float | None = None,
        jitter: float = 0.0,
        noise_scale: Any = None,
    ) -> ScalingReport:
        """What more machines like this one would bring in data-parallel training, each with ``batch_size`` rows of its
        own, by the model in ``vgfast.cost.scaling``. The figures for more than one machine are computed: it was run on
        one machine only.

        workers: a number of machines, or several. network: a name in ``vgfast.cost.networks``; or else bandwidth, in
        bytes a second, and latency, in seconds. jitter: the standard deviation of a step's computing over its mean.
        noise_scale: rows from which on more of them teach little more; or a report of ``net.inspect`` or
        ``history.mean()``, which have it by layer. Errors: TypeError or ValueError for what is none of these.

        >>> import vgfast as vg
        >>> cost = vg.MLP([784, 256, 128, 10], rng=0).cost(128, measure=False)
        >>> found = cost.scale([1, 2, 1024], "10GbE", noise_scale=2000)
        >>> found.rows[0].efficiency, found.rows[1].efficiency > found.rows[2].efficiency, found.useful_workers
        (1.0, True, 15)
        """
        seconds, sizes, batch_size = self.step.median if self.step else self.predicted, self.sizes, self.batch_size
        in_memory = self.in_memory.median if self.in_memory else None
        who = sizes, self.dtype, self.n_params, self.threads
        alone = Worker(*who, batch_size, seconds, self.step is not None, in_memory)
        return scaling_report.scale(alone, workers, network, bandwidth, latency, jitter, noise_scale)

    def __str__(self) -> str:
        return tables.as_text(self)

    def _repr_html_(self) -> str:
        return tables.as_html(self)


# ---- prediction ------------------------------------------------------------------------------------------


def _why_not(n_bytes: int, seconds: float) -> str:
    """What forbids to measure; "" if nothing does."""
    note = limits.lack_of_memory(n_bytes)
    if note:
        return f"Not measured: {note}."
    if seconds > LONGEST:
        return f"Not measured: a step would take {duration(seconds)} at least; up to {duration(LONGEST)} are measured."
    return ""


def report_cost(
    sizes: Any,
    activation: Any = "relu",
    loss: str = "cross_entropy",
    dtype: Any = "float32",
    batch_size: int = 32,
    measure: bool = True,
) -> CostReport:
    """The cost of a step of a net that need not be there; arguments as of ``vg.MLP`` and ``net.cost``.

    >>> from vgfast.cost import report
    >>> huge = report.report_cost([10**6, 10**6, 10], batch_size=10**5, measure=False)
    >>> f"{huge.flops:.2e}"
    '4.00e+17'
    """
    return of_architecture(Architecture.checked(sizes, activation, loss, dtype), batch_size, measure)


def of_architecture(net: Architecture, batch_size: int, measure: bool, engine: CEngine | None = None) -> CostReport:
    """The cost of a step of such a net, of which an engine is made if it is to be measured and none is given."""
    B = _check.integer("batch_size", batch_size, 1, _check.MOST_ELEMENTS)
    net.check_batch_size(B)
    here = limits.limits()
    static = _report(net, B, here, Roofs.from_machine(here, net.dtype.name, shares.threads_for(net, B)), None)
    if not measure:
        return static
    note = _why_not(timers.memory(net, B, shares.rows_at_once(net, B, static.threads)), static.predicted)
    if note:
        return replace(static, note=note)
    times = timers.time_steps(_first(net) if engine is None else engine, B)
    roofs = Roofs.from_machine(here, net.dtype.name, times.threads)
    peak = max(times.peak.median, times.product.median)  # which is multiply-adds, too
    roofs = replace(roofs, peak=peak, product=times.product.median, exchange=times.exchange.median)
    return _report(net, B, here, roofs, times)


def _first(net: Architecture) -> CEngine:
    """One with first weights."""
    engine = CEngine(net)
    init.prepare("auto", net)(engine, np.random.default_rng(0))
    return engine


def _report(net: Architecture, B: int, here: limits.Machine, roofs: Roofs, times: timers.Times | None) -> CostReport:
    """What is counted, with what it must take by these roofs and what it took, if that was measured."""
    of_batch = timers.batch_bytes(net, B)
    at_once = shares.rows_at_once(net, B, roofs.threads)
    home, of_data = roofs.home(counts.working_set(net, at_once)), roofs.home(timers.n_batches(of_batch) * of_batch)
    took = {(l, PHASES[phase]): m for (l, phase), m in times.phases.items()} if times else {}
    counted, barriers = counts.count_step(net, B), shares.count_barriers(net, B, roofs.threads)
    return CostReport(
        sizes=net.sizes,
        activations=net.activations,
        batch_size=B,
        dtype=net.dtype.name,
        n_params=net.n_params,
        isa=here.isa,
        threads=roofs.threads,
        peak=roofs.peak,
        product_peak=roofs.product,
        home=home.name,
        roofs=roofs.bandwidths(),
        rows=tuple(cost_rows(counted, net, roofs, home, of_data, barriers * here.barrier.median, took)),
        step=times.step if times else None,
        timed=times.timed if times else None,
        in_memory=times.in_memory if times else None,
    )
