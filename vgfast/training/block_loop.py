"""A run of steps over a source, whose rows are never all in memory (see ``vgfast.data.blocks``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check
from vgfast.model.errors import DivergenceError
from vgfast.training.fit import Loop, by_batch
from vgfast.training.learner import Learner
from vgfast.training.optimizers import Optimizer
from vgfast.training.reader import Reader, Rows, Shape, SourceError
from vgfast.training.shuffle import Shuffle


def is_source(X: Any) -> bool:
    """Whether it is one, and not data itself."""
    return callable(getattr(type(X), "blocks", None)) and hasattr(type(X), "__len__")


def check_source(source: Any, y: Any, sample_weight: Any) -> None:
    """TypeError or ValueError for one that cannot be, and for y or weights beside it."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise TypeError(f"fit takes {name} from the blocks of a source, got it beside one; let each block hold it")
    _check.integer("the rows of a source, len(source),", len(source), 1)
    blocks = getattr(source, "n_blocks", None)
    if blocks is not None:
        _check.integer("the n_blocks of a source", blocks, 1)


class BlockLoop(Loop):
    """One call of ``fit`` with a source. What is in memory at a time is a run of its own for C, whose place in the
    epoch goes on; rows that make no whole batch are left for the next."""

    def __init__(
        self,
        learner: Learner,
        source: Any,
        epochs: int,
        batch_size: int,
        optimizer: Optimizer,
        inspect_every: int = 0,
        inspect: str = "scalars",
        rng: np.random.Generator | None = None,
        reduce: Any = None,
        n_rows: int | None = None,
    ) -> None:
        """rng: shuffles blocks and rows; None: as they come. reduce: see ``exchange``. n_rows: of an epoch, where the
        source has not all of them."""
        net = learner.engine.architecture
        nothing = np.empty((0, net.sizes[0]), net.dtype), np.empty(0, np.int32)
        how: dict[str, Any] = {"inspect_every": inspect_every, "inspect": inspect, "rng": rng, "reduce": reduce}
        how["n_rows"] = len(source) if n_rows is None else n_rows
        self.source = source
        super().__init__(learner, *nothing, epochs, batch_size, optimizer, **how)
        self.shape = Shape(net, self.batch_rows, len(source))
        self.places: list[Rows] = []
        self.weighs = True  # as is known only from the first block on
        self.order = np.zeros(0, np.int64)
        self.mixes: np.random.Generator | None = None  # blocks and rows of this epoch

    def train(self, epochs: int, progress: Any = None) -> None:
        for _ in range(epochs):
            self._train_at_once(1, progress)

    def _train_epoch(self, progress: Any) -> None:
        self.begin_clock()
        weights: list[np.ndarray] = []
        self.mixes = self.begin_epoch()
        n_blocks = getattr(self.source, "n_blocks", None)
        order = None if n_blocks is None else self.draw(n_blocks)
        try:
            with Reader(self.source, order, self.shape, self.places) as reader:
                for rows in reader:
                    weight = self.train_on(rows, progress)
                    weights += [] if weight is None else [weight]
        except SourceError as error:
            raise self.explain(error) from error.cause
        self.note_weight(weights)
        if progress is not None:
            progress(self.done, self.total, self.current_history())

    def begin_epoch(self) -> np.random.Generator | None:
        """What mixes it."""
        return self.rng

    def draw(self, n: int) -> np.ndarray | None:
        """A random order of so many blocks or rows; None: as they come."""
        return None if self.mixes is None else Shuffle(self.mixes, n).draw()

    def explain(self, error: SourceError) -> Exception:
        """What to raise."""
        return error.kind(f"{error.text}; training has stopped after {self.done} steps, and the net is as of then")

    def train_on(self, rows: Rows, progress: Any) -> np.ndarray | None:
        """All whole batches of these rows, and of the last ones all; the weights of the batches, if they have any."""
        self.x, self.t, self.sample_weight = rows.filled()
        n = len(self.x) if rows.last else len(self.x) // self.batch_size * self.batch_size
        order = self.draw(len(self.x))
        self.order = np.arange(len(self.x)) if order is None else order
        rows.left = slice(n, None) if order is None else order[n:]
        if n == 0:
            return None
        self.rows_now = n
        self.run.set_data(self.x, self.t, self.batch_size, sample_weight=self.sample_weight, n_rows=n)
        self.take_steps(order, progress)
        return None if self.sample_weight is None else by_batch(self.sample_weight[self.order[:n]], self.batch_size)

    def note_weight(self, weights: list[np.ndarray]) -> None:
        """Of all rows together, by what the batches of an epoch weigh."""
        if not self.shape.weighted:
            return
        self.weight = float(np.add.reduce(np.concatenate(weights)))
        if self.weight == 0:
            raise ValueError(
                f"sample_weight must hold some weight above 0, got 0 in all {self.n_rows} rows of the source; leave it "
                f"out for equal ones"
            )

    def describe_data(self) -> dict[str, str]:
        blocks = getattr(self.source, "n_blocks", None)
        return {"source": type(self.source).__name__, "blocks": str(blocks), "rows in memory": str(self.shape.most)}

    def divergence(self) -> DivergenceError:
        first = self.rows_of_batch().start
        return self.diagnose(self.order[max(0, first - self.most_recent) : first + self.batch_size])
