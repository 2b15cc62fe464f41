"""What more machines would bring, as ``cost.scale`` reports it by the model in ``vgfast.cost.scaling``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast.cost import networks
from vgfast.cost.networks import Network
from vgfast.cost.scaling import ScalingRow, Worker, scale_step, simulate_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ScalingReport:
    """What ``cost.scale`` finds: a row for each number of workers, each of which is like ``worker``.

    ``str()`` is a table of 80 columns, ``to_dict()`` plain data, ``plot()`` the efficiency over the workers,
    ``simulate()`` the check of what ``jitter`` costs.
    """

    worker: Worker
    network: Network
    jitter: float
    noise_scale: float | None
    rows: tuple[ScalingRow, ...]

    @property
    def useful_workers(self) -> int | None:
        """With so many, and at least one, all rows together are as many as the noise scale; None without one."""
        return None if self.noise_scale is None else max(1, int(self.noise_scale / self.worker.batch_size))

    def simulate(self, steps: int = 2000, rng: Any = 0) -> tuple[float, ...]:
        """The mean seconds of a step of each row, over so many steps in which each worker's computing is drawn: the
        check of the formula for ``waiting``, which is an upper estimate.

        Times are normal, and none is below 0. Those of machines have a longer tail than that, but the formula is a
        bound for normal times, and so it is the formula that is checked, and not a second assumption. rng: a seed or
        Generator. Errors: ValueError for more than 2^31 - 1 draws.

        >>> import vgfast as vg
        >>> cost = vg.MLP([784, 30, 10], rng=0).cost(32, measure=False)
        >>> found = cost.scale([8, 1000], "25GbE", jitter=0.1)
        >>> all(simulated < row.step for simulated, row in zip(found.simulate(), found.rows))
        True
        """
        steps, rng = _check.integer("steps", steps, 1), _check.generator(rng)
        workers = sum(row.workers for row in self.rows)
        if steps * workers > _check.MOST_ELEMENTS:
            raise ValueError(
                f"steps x workers must be at most {_check.MOST_ELEMENTS}, got {steps * workers}: as many times would "
                "have to be drawn; take fewer of either"
            )
        return tuple(simulate_step(row, self.jitter, steps, rng) for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; what is not known is None."""
        return {
            **asdict(self),
            "worker": {**asdict(self.worker), "sizes": list(self.worker.sizes), "bytes": self.worker.bytes},
            "useful_workers": self.useful_workers,
            "rows": [row.to_dict() for row in self.rows],
        }

    def plot(self) -> Figure:
        """A matplotlib Figure, which belongs to no window: the efficiency over the workers, and that of the networks
        in ``vgfast.cost.networks``. ImportError without matplotlib."""
        packages.require("matplotlib", "scale.plot", "'vgfast[demo]'")
        from vgfast.cost import figures

        return figures.draw_scaling(self)

    def __str__(self) -> str:
        from vgfast.cost import tables

        return tables.scaling_as_text(self)


def scale(
    worker: Worker,
    workers: Any,
    network: Any = None,
    bandwidth: Any = None,
    latency: Any = None,
    jitter: Any = 0.0,
    noise_scale: Any = None,
) -> ScalingReport:
    """Arguments and errors as of ``cost.scale``."""
    over, numbers = networks.checked(network, bandwidth, latency), checked_workers(workers)
    spread = _check.real("jitter", jitter, 0.0, below=1.0)
    rows = tuple(scale_step(worker, n, over, spread) for n in numbers)
    return ScalingReport(worker, over, spread, checked_noise_scale(noise_scale), rows)


# ---- arguments -------------------------------------------------------------------------------------------


def checked_workers(workers: Any) -> tuple[int, ...]:
    """A whole number, or several."""
    if not isinstance(workers, Iterable) or isinstance(workers, str | bytes):
        return (_check.integer("workers", workers, 1, _check.MOST_ELEMENTS),)
    numbers = tuple(_check.integer(f"workers[{i}]", n, 1, _check.MOST_ELEMENTS) for i, n in enumerate(workers))
    if not numbers:
        raise ValueError(f"workers must hold at least one number, such as [2, 8, 64]; got {_check.quote(workers)}")
    return numbers


def checked_noise_scale(given: Any) -> float | None:
    """In rows, of the whole net: as it is given, or of a report's or a history's records.

    By layer, the expected square of a sample's gradient is the sum of the square of the expected gradient and of the
    variance, whose ratio is the layer's noise scale; both add up over the layers.
    """
    if given is None:
        return None
    records = getattr(given, "records", given)
    if not {"noise_scale", "sample_norm"} <= set(getattr(getattr(records, "dtype", None), "names", None) or ()):
        return _check.real("noise_scale, in rows,", given, 0.0)
    if records.ndim != 1:
        raise ValueError(
            f"noise_scale needs one record a layer, got shape {records.shape}; use history.mean(), or one step's"
        )
    with np.errstate(all="ignore"):  # of infinities and zeros
        square = (records["sample_norm"] / records["sample_norm"].max()) ** 2
        signal = np.sum(square / (1 + records["noise_scale"]))
        scale = float(np.maximum(np.sum(square) / signal - 1, 0))
    if not np.isfinite(scale):  # NaN: of one row, or with batch norm
        raise ValueError(
            f"noise_scale must be finite, got {scale} from these records; inspect a batch of more rows, with a net "
            "without batch norm, or leave it out"
        )
    return scale
