"""Parquet files as a source, by pyarrow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast.data.sources import BLOCK_BYTES, Block, Source

# A value is read as this many bytes at most.
_VALUE_BYTES = 8


class ParquetSource(Source):
    """Columns of one file after the other. ``groups``: (file, row group) of each block in the order of shuffling."""

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        y: str | Sequence[str],
        X: Sequence[str] | None,
        sample_weight: str | None,
    ) -> None:
        self.parquet = packages.require("pyarrow.parquet", "blocks.from_parquet", "'vgfast[data]'")
        self.paths = [os.fspath(one) for one in ([path] if isinstance(path, str | os.PathLike) else path)]
        if not self.paths:
            raise ValueError("path must name a Parquet file, or several, got an empty list")
        self.y, self.single = ([y], True) if isinstance(y, str) else (list(y), False)
        self.weight = [] if sample_weight is None else [sample_weight]
        self.groups: list[tuple[int, int]] = []
        rows, self.X = 0, [] if X is None else [X] if isinstance(X, str) else list(X)
        for i, name in enumerate(self.paths):
            with self.parquet.ParquetFile(name) as file:
                names = file.schema_arrow.names
                if not self.X:
                    self.X = [column for column in names if column not in (*self.y, *self.weight)]
                self._check_names(name, names)
                rows += file.metadata.num_rows
                self.groups += [(i, group) for group in range(file.metadata.num_row_groups)]
        super().__init__(_check.integer(f"rows of {', '.join(self.paths)}", rows, 1))
        self.n_blocks = len(self.groups)

    def _check_names(self, path: str, names: list[str]) -> None:
        if not self.X:
            raise ValueError(f"{path} must have columns for X beside {', '.join(map(repr, self.y))}, got none")
        for column in (*self.X, *self.y, *self.weight):
            if column not in names:
                raise ValueError(f"{path} has no column {column!r}; it has {', '.join(map(repr, names))}")

    def blocks(self, order: np.ndarray | None) -> Iterator[Block]:
        columns = [*self.X, *self.y, *self.weight]
        rows = max(1, BLOCK_BYTES // (_VALUE_BYTES * len(columns)))
        for number in range(len(self.groups)) if order is None else order.tolist():
            which, group = self.groups[number]
            path, first = self.paths[which], 0
            with self.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=columns):
                    where = f"rows {first} to {first + batch.num_rows - 1} of row group {group} of {path}"
                    weight = _table(batch, self.weight)[:, 0] if self.weight else None
                    y = _table(batch, self.y)
                    yield Block(_table(batch, self.X), y[:, 0] if self.single else y, weight, where)
                    first += batch.num_rows


def _table(batch: Any, names: list[str]) -> np.ndarray:
    """(rows, columns) of these columns."""
    columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
    table = np.empty((batch.num_rows, len(columns)), np.result_type(*columns))
    for i, column in enumerate(columns):
        table[:, i] = column
    return table
