"""What the parts of a training step must take on this machine, by the roofs of the roofline model.

The limit of a part is the longest of its operations at the peak of multiply-adds, its functions at the rate of the
activations, and its bytes at the bandwidth of where they are. What is predicted is the same with the peak of a product
in place of that of multiply-adds: what the kernel of the products does at best, with operands that are near, which is
less by its loads and by the beginning and end of its tiles; and to it comes the time of what threads exchange, which
has to be fetched from another processor's caches. The peak of a product is reached by products of middle size, with
some hundred rows, inputs and outputs. Of few rows or few outputs, tiles and vectors are not filled, and the product
takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vgfast.cost.counts import Part
from vgfast.cost.limits import Level, Machine, of_threads


@dataclass(frozen=True)
class Roofs:
    """Of so many threads and one dtype, in units a second: multiply-adds, products, functions by activation, and bytes
    that threads exchange."""

    threads: int
    peak: float
    product: float
    functions: dict[str, float]
    exchange: float
    levels: tuple[Level, ...]

    @classmethod
    def from_machine(cls, here: Machine, dtype: str, threads: int) -> Roofs:
        """As the machine's limits say."""
        functions = {name: of_threads(by, threads) for name, by in here.functions[dtype].items()}
        peak, product = (of_threads(by, threads) for by in (here.fma[here.isa][dtype], here.product[dtype]))
        exchange = here.exchange.median * threads / here.threads
        return cls(threads, peak, product, functions, exchange, here.levels)

    def home(self, n_bytes: float) -> Level:
        """The nearest level that holds so much."""
        return next(level for level in self.levels if n_bytes <= level.capacity(self.threads))

    def bandwidths(self) -> dict[str, float]:
        """Bytes a second that can be read, by level."""
        return {level.name: of_threads(level.read, self.threads) for level in self.levels}

    def _longest(self, part: Part, activation: str, level: Level, peak: float) -> tuple[float, str]:
        read, write = (of_threads(by, self.threads) for by in (level.read, level.write))
        return max(
            (part.flops / peak, "compute"),
            (part.functions / self.functions.get(activation.partition("(")[0], self.functions["sigmoid"]), "functions"),
            (part.read / read + part.written / write, level.name),
        )

    def limit(self, parts: Sequence[Part], activation: str, levels: Sequence[Level]) -> tuple[float, str]:
        """Seconds of all parts, one after the other, each with its data in a level; and what bounds the longest."""
        each = zip(parts, levels, strict=True)
        times = [self._longest(part, activation, level, self.peak) for part, level in each]
        return sum(seconds for seconds, _ in times), max(times)[1]

    def predicted(self, parts: Sequence[Part], activation: str, levels: Sequence[Level]) -> float:
        """The same at the peak of a product, and with what threads exchange."""
        each = zip(parts, levels, strict=True)
        alone = sum(self._longest(part, activation, level, self.product)[0] for part, level in each)
        n = self.threads
        exchanged = sum(part.exchanged + n * part.exchanged_by_all for part in parts)
        return alone + (n - 1) / n * exchanged / self.exchange
