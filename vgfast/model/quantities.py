"""What is recorded of each layer on an inspected step."""

from __future__ import annotations

import numpy as np

from vgfast import _core
from vgfast.model.architecture import Architecture

# One layer on one inspected step. The names are defined in vgfast.inspection.
RECORD = np.dtype([(name, np.float64) for name in _core.QUANTITIES])


# How much of a step is recorded.
INSPECTIONS = ("scalars", "histograms")


def make_histograms(n_records: int, architecture: Architecture) -> np.ndarray:
    """(records, L, bins) of zeros, for the exponents of gradients in the net's dtype."""
    return np.zeros((n_records, architecture.n_layers, 1 << (8 if architecture.dtype == np.float32 else 11)), np.uint32)
