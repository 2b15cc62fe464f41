"""One training by the processes of ``torch.distributed``, as ``torchrun`` starts them: on CPUs, by gloo."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check
from vgfast._check import packages
from vgfast.training import ranks


class Reducer(ranks.Reducer):
    """Sums over a process group; None: over all. For ``net.fit(X, y, reduce=Reducer())`` of each process, whose nets
    must begin alike, by the same seed. sharded, check_every, and what happens if one process fails: see
    ``vg.Reducer``.

    Errors: ImportError without torch; RuntimeError before ``torch.distributed.init_process_group("gloo")``.
    """

    def __init__(self, group: Any = None, sharded: bool = False, check_every: int = 100) -> None:
        self._torch = packages.require("torch", "vgfast.torch_distributed", "torch")
        self._sum, self.group = self._torch.distributed, group
        if not (self._sum.is_available() and self._sum.is_initialized()):
            raise RuntimeError(
                'there is no process group of torch yet; call torch.distributed.init_process_group("gloo") before'
            )
        self.rank, self.size = self._sum.get_rank(group), self._sum.get_world_size(group)
        self.sharded = _check.flag("sharded", sharded)
        self.check_every = _check.integer("check_every", check_every, 0)

    def add(self, numbers: np.ndarray) -> None:
        self._sum.all_reduce(self._torch.from_numpy(numbers), group=self.group)
