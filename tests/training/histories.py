"""Histories of made-up numbers, for tests of what shows them."""

import numpy as np

from vgfast.model.quantities import RECORD
from vgfast.training.history import History

NORMS = ("grad_norm", "bias_grad_norm", "weight_norm", "delta_norm", "speed", "update_ratio", "max_abs")


def made_up(n_records, n_layers, every=1):
    """A history of numbers over many decades, with what can be odd in one: gains of the last layer, zeros, infinity."""
    rng = np.random.default_rng(n_records)
    history = History(rng.uniform(0.1, 3, n_records * every))
    records = np.zeros((n_records, n_layers), RECORD)
    for name in RECORD.names:
        wide = name in NORMS or "gain" in name
        shape = records.shape
        records[name] = 10 ** rng.normal(-3, 3, shape) if wide else rng.uniform(size=shape)
    records["normalization_gain"] = 1  # a net with skips has no normalization
    for name in ("gain", "weight_gain", "activation_gain"):
        records[name][:, -1] = np.nan
    records["grad_norm"][: n_records // 2, 0] = records["update_ratio"][:, 0] = 0
    if n_layers > 2:
        records["activation_gain"][:, 0] = records["gain"][:, 0] = 0
        records["weight_gain"][:, 1] = records["grad_norm"][-1, -1] = np.inf
    history.gradients, history.steps = records, np.arange(n_records) * every
    history.epochs = [{"loss": 1.0, "accuracy": 0.5, "seconds": 0.1, "val_loss": 2.0}]
    return history


def spread(history, bins=256, seed=0):
    """The history, with histograms: of some, all, or no entries zero, few next to many, next to either end."""
    rng, shape = np.random.default_rng(seed), history.gradients.shape
    exponents = np.zeros((*shape, bins), np.uint32)
    exponents[:, :, 100:110] = rng.integers(0, 1000, (*shape, 10))
    exponents[:, 0] = 0
    exponents[:, 0, 0] = 9000
    if shape[1] > 2:
        exponents[-1, 1, [0, 1, bins - 2]] = 1, 4_000_000_000, 4_000_000_000
        exponents[0, 2, bins - 1] = 1
    history.exponents = exponents
    return history


ODD = [(1, 1), (1, 2), (2, 1), (3, 4), (50, 9)]
