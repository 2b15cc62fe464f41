"""What a source is, whatever its rows are from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

# Bytes of a block of a file or an array, and of each of the two places that rows are converted into.
BLOCK_BYTES = 32 << 20


class Block(NamedTuple):
    """Some rows. ``where`` they are from, for errors, such as "rows 100 to 199"."""

    X: Any
    y: Any
    sample_weight: Any = None
    where: str = ""


class Source:
    """What all sources here have in common."""

    n_blocks: int | None = None

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def blocks(self, order: np.ndarray | None) -> Iterator[Any]:
        """Those of an epoch."""
        raise NotImplementedError
