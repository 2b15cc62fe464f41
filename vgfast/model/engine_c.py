"""The engine of ``vgfast.MLP``: a net as the C core has it."""

from __future__ import annotations

from vgfast import _core
from vgfast.model.architecture import Architecture


def core_net(architecture: Architecture) -> _core.Net:
    """Sizes and places in the parameter vector. MemoryError or OverflowError for a net beyond the address space."""
    sizes, _, loss, dtype = architecture
    kinds = [_core.ACTIVATIONS.index(kind) for kind in architecture.kinds]
    return _core.Net(sizes, kinds, _core.LOSSES.index(loss), _core.DTYPES.index(dtype.name))


class CEngine:
    """``params``, a flat vector of zeros that starts on a cache line; ``weights`` and ``biases``, views of it."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.core = core_net(architecture)
        self.params = _core.aligned(self.core.n_params, architecture.dtype)
        self.weights, self.biases = architecture.views(self.params)
