"""How the core shares a step among threads: what it asks of a net that need not fit the address space."""

from __future__ import annotations

from vgfast import config
from vgfast.model.architecture import Architecture
from vgfast.model.engine_c import core_net


def threads_for(net: Architecture, rows: int) -> int:
    """As many as such a net would use; all for one that does not fit the address space."""
    limit = config.get_num_threads()
    try:
        return core_net(net).threads_for(rows, limit)
    except (MemoryError, OverflowError):
        return limit


def rows_at_once(net: Architecture, B: int, threads: int) -> int:
    """Of a batch, that are taken forward and back at a time."""
    try:
        return core_net(net).part_of_batch(B, threads)
    except (MemoryError, OverflowError):
        return B


def count_barriers(net: Architecture, B: int, threads: int) -> int:
    """Of a step: two for each part of the batch, and where threads share rows, one more for each op but the last
    forward, and for each but the first layer on the way back."""
    try:
        core = core_net(net)
    except (MemoryError, OverflowError):
        return 2
    at_once = B if core.chunk_rows(B) else core.part_of_batch(B, threads)
    each = 2 if core.columns_of(at_once, threads) == 1 else 2 + 2 * net.n_layers
    return each * -(-B // at_once)
