"""What the records of many inspected steps come to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vgfast.model.quantities import RECORD


def medians(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, medians) of values (records, layers): of at most `most` groups of neighbouring records, the first record
    (groups,) and the medians (groups, layers). The median of a quantity is that of its logarithm too, and takes zeros
    as they are. Not finite where NaN or infinity is in the middle.

    >>> import numpy as np
    >>> medians(np.array([[1.0], [4.0], [2.0], [0.0], [0.0], [5.0]]), 2)[1].tolist()
    [[2.0], [0.0]]
    """
    edges = np.linspace(0, len(values), min(len(values), most) + 1).astype(np.int64)
    if len(edges) == len(values) + 1:
        return edges[:-1], values
    with np.errstate(all="ignore"):
        groups = [np.median(values[start:stop], axis=0) for start, stop in pairwise(edges)]
    return edges[:-1], np.array(groups)


def over_time(records: np.ndarray) -> np.ndarray:
    """(L,) what records (inspected steps, L) of a training come to: geometric means of norms, gains and ratios,
    so that the ledger's products still hold; means of shares; the largest of ``max_abs``; the median noise scale.
    Of steps on which every layer had a gradient, if there were any: on a small batch, a narrow layer may have none."""
    driven = ((records["delta_norm"] > 0) & (records["grad_norm"] > 0)).all(axis=1)
    if not driven.any():
        driven = records["delta_norm"][:, -1] > 0
    records = records[driven] if driven.any() else records
    result = np.empty(records.shape[1], RECORD)
    shares = {"mean_derivative", "saturated", "dead", "frozen", "stuck", "zero", "subnormal"}
    for name in RECORD.names or ():
        column = records[name]
        if name == "max_abs":
            result[name] = column.max(axis=0)
        elif name in shares:
            result[name] = column.mean(axis=0)
        elif name == "noise_scale":  # infinite on some steps, without a value on batches of one row
            known = [c[~np.isnan(c)] for c in column.T]
            result[name] = [float(np.median(c)) if len(c) else np.nan for c in known]
        else:
            with np.errstate(all="ignore"):  # of zeros and infinities
                result[name] = np.exp(np.log(column).mean(axis=0))
    return result


def total_gain(mean: np.ndarray) -> str:
    """One sentence on the signal from the last layer to the first."""
    first, last = float(mean["delta_norm"][0]), float(mean["delta_norm"][-1])
    if len(mean) == 1 or not 0 < last < np.inf or not np.isfinite(first):
        return ""
    share = f"{first / last:.2g} {'of' if first < last else 'times'}"
    return f"Layer 1 gets {share} layer {len(mean)}'s signal."


def exponent_of(k: int, bins: int) -> int:
    """Of bin k, which holds from two to the power of it to twice that.

    >>> exponent_of(1, 256), exponent_of(1, 2048), exponent_of(127, 256)
    (-126, -1022, 0)
    """
    return k + 1 - bins // 2


def exponents_over_time(exponents: np.ndarray) -> np.ndarray:
    """(L, bins) counts of all records together."""
    return exponents.sum(axis=0, dtype=np.int64)
