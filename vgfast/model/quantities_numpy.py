"""What is recorded of each layer on an inspected step, computed in plain NumPy. The names are defined in
``vgfast.inspection``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vgfast._check import Rows, SparseRows
from vgfast.model.activations import CATALOG
from vgfast.model.architecture import Architecture
from vgfast.model.quantities import RECORD

# ---- norms ----------------------------------------------------------------------------------------------

# Of sparse rows, as many get their zeros at a time as hold so many values.
_DENSE = 1 << 20


def norm(x: np.ndarray) -> float:
    """Frobenius norm, in float64 and scaled so that tiny entries do not vanish when squared."""
    x = np.asarray(x, np.float64)
    largest = float(np.abs(x).max(initial=0))
    return largest * float(np.sqrt(np.square(x / largest).sum())) if largest > 0 else largest


def _ratio(a: float, b: float) -> float:
    """a / b, as C has it."""
    return a / b if b != 0 else np.nan if a == 0 else np.inf


def effective_rows(rows: int, sample_weight: np.ndarray | None) -> float:
    """So many rows of equal weight have a mean of the same variance: Kish's sample size, sum(w)² / sum(w²).

    >>> effective_rows(3, None), effective_rows(3, np.array([2.0, 2.0, 0.0]))
    (3.0, 2.0)
    """
    if sample_weight is None or not sample_weight.any():
        return float(rows)
    return 1 / float(np.square(sample_weight / sample_weight.sum()).sum())


def _noise(norms: np.ndarray, rows: float, grad_norm: float, bias_grad_norm: float) -> tuple[float, float]:
    """(``sample_norm``, ``noise_scale``) of a layer, from the norms (B,) of the parts that its samples have in its
    gradient, of so many (effective) rows, and the gradient's."""
    rms = norm(norms) * float(np.sqrt(rows))
    if rows == 1 or rms == 0:
        return rms, np.nan
    square = (float(np.hypot(grad_norm, bias_grad_norm)) / rms) ** 2
    signal = rows * square - 1
    return rms, rows * max(1 - square, 0) / signal if signal > 0 else np.inf


def _row_norms(x: Rows) -> np.ndarray:
    """(rows,) in float64, scaled so that no square leaves its range. Sparse rows get their zeros some at a time."""
    if isinstance(x, SparseRows):
        some = max(1, _DENSE // x.shape[1])
        return np.concatenate([_row_norms(x[i : i + some].toarray()) for i in range(0, len(x), some)])
    x = np.asarray(x, np.float64)
    largest = np.abs(x).max(axis=1)
    scale = np.where(largest > 0, largest, 1)
    return scale * np.sqrt(np.square(x / scale[:, None]).sum(axis=1))


def sample_norms(inputs: Sequence[Rows], deltas: list[np.ndarray]) -> np.ndarray:
    """(rows, L) of the parts of the gradient of W_l and b_l that are the rows', from each layer's inputs (rows, n_in)
    and deltas (rows, n_out)."""
    return np.stack([_row_norms(d) * np.hypot(_row_norms(a), 1) for a, d in zip(inputs, deltas, strict=True)], 1)


# ---- a step in NumPy ------------------------------------------------------------------------------------


# Of dropout: (rows, n_l) for each hidden layer, each entry 0 or 1 / keep, or
# of alpha dropout A; None for a layer of which nothing is dropped.
Masks = Sequence[np.ndarray | None]


class Pass(NamedTuple):
    """One batch forward and back. Of layer l: ``zs[l-1]``; ``activations[l]``, a_l, with a_0 = x; ``deltas[l-1]``;
    ``raw[l-1]``, delta_{l+1} W_{l+1}ᵀ; ``between[l-1]``, the same behind the first of activation and normalization, or
    None without the latter; and all together ``gradient`` (n_params,), with these masks. Of residual nets ``sums[l]``:
    dloss/da_l, where layers are gone around, and ``passed[l]``, scale times that, where they end."""

    zs: list[np.ndarray]
    activations: list[np.ndarray]
    deltas: list[np.ndarray]
    raw: list[np.ndarray]
    between: list[np.ndarray | None]
    gradient: np.ndarray
    masks: Masks = ()
    sums: dict[int, np.ndarray] = {}  # noqa: RUF012
    passed: dict[int, np.ndarray] = {}  # noqa: RUF012


def of_step(
    net: Architecture,
    weights: list[np.ndarray],
    found: Pass,
    step: np.ndarray,
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """RECORD (L,) of this pass and of the step (n_params,) that the update would subtract."""
    (d_weights, d_biases, _, d_shifts), (moves, _) = net.parts(found.gradient), net.views(step)
    zs, deltas, sums = found.zs, found.deltas, found.sums
    after = net.normalization is not None and net.normalization.place == "after"  # then that is what is dropped
    records = np.full(net.n_layers, np.nan, RECORD)
    tiny = np.finfo(net.dtype).smallest_normal
    norms = sample_norms(found.activations[: len(deltas)], deltas)
    rows = effective_rows(len(norms), sample_weight)
    for l, (r, kind) in enumerate(zip(records, net.kinds, strict=True)):
        derivative = CATALOG[kind].derivative(zs[l])
        size = np.abs(d_weights[l])
        added = d_biases[l] if d_biases[l].size else d_shifts[l]  # what batch norm has in the place of biases
        r["grad_norm"], r["bias_grad_norm"] = norm(d_weights[l]), norm(added) if added.size else np.nan
        r["weight_norm"], r["speed"] = norm(weights[l]), r["bias_grad_norm"]
        r["delta_norm"] = norm(sums.get(l + 1, deltas[l]))
        if l + 1 < len(zs):
            _write_gains(net, found, l, r)
        mask = found.masks[l] if l < len(found.masks) and not after else None
        kept = np.full(derivative.shape, True) if mask is None else mask > 0
        seen = derivative if mask is None else derivative[kept]  # C, which sums up all, divides by at least 1
        r["mean_derivative"] = seen.mean(dtype=np.float64) if seen.size else 0
        r["saturated"] = (np.abs(seen) < CATALOG[kind].saturated_below).mean() if seen.size else 0
        r["dead"] = (((derivative == 0) | ~kept).all(axis=0) & kept.any(axis=0)).mean()
        same = weights[l] - moves[l] == weights[l]
        r["update_ratio"] = _ratio(norm(moves[l]), norm(weights[l]))
        r["frozen"], r["stuck"] = same.mean(), (same & (size > 0)).mean()
        r["zero"], r["max_abs"] = (size == 0).mean(), size.max()
        r["subnormal"] = ((size > 0) & (size < tiny)).mean()
        if not net.has_batch_norm:  # with it, no row has a gradient of its own
            r["sample_norm"], r["noise_scale"] = _noise(norms[:, l], rows, r["grad_norm"], r["bias_grad_norm"])
    return records


def _write_gains(net: Architecture, found: Pass, l: int, r: np.void) -> None:
    """What weights, activation, normalization and residual connection do at layer l + 1 to what comes from the next."""
    here, behind = found.sums.get(l + 1), found.sums.get(l + 2)
    arrives, delta_after = norm(found.raw[l]), norm(found.deltas[l + 1])
    signal_after = delta_after if behind is None else norm(behind)
    own = (1.0, 1.0) if here is not None else _gains_inside(net, found, l, arrives)
    next_ones = (1.0, 1.0) if behind is None else _gains_inside(net, found, l + 1, signal_after)
    r["weight_gain"] = _ratio(arrives, delta_after)
    r["activation_gain"], r["normalization_gain"] = own[0] * next_ones[0], own[1] * next_ones[1]
    r["skip_gain"] = 1 if here is None else _ratio(r["delta_norm"], arrives)
    r["gain"] = _ratio(r["delta_norm"], signal_after)


def _gains_inside(net: Architecture, found: Pass, l: int, size: float) -> tuple[float, float]:
    """What activation and normalization of layer l + 1 do to a signal of this norm at the end of it, on its way to
    delta. The scale of a residual connection counts as the activation's, and so does dropout there."""
    delta, middle = norm(found.deltas[l]), found.between[l]
    if middle is None or net.normalization is None:
        return _ratio(delta, size), 1.0
    between, passed = norm(middle), found.passed.get(l + 1)
    if net.normalization.place == "before":
        return _ratio(between, size), _ratio(delta, between)
    if passed is None:
        return _ratio(delta, between), _ratio(between, size)
    mask = found.masks[l] if l < len(found.masks) else None
    enters = norm(passed if mask is None else passed * mask)
    return _ratio(enters, size) * _ratio(delta, between), _ratio(between, enters)


def count_exponents(net: Architecture, gradient: np.ndarray, exponents: np.ndarray) -> None:
    """Into exponents (L, bins): how many entries of each layer's dW have each exponent."""
    info = np.finfo(net.dtype)
    for counts, dw in zip(exponents, net.views(gradient)[0], strict=True):
        patterns = dw.view(f"i{net.dtype.itemsize}").ravel()
        bins = np.right_shift(patterns, int(info.nmant)) % (1 << info.nexp)
        counts[...] = np.bincount(bins, minlength=len(counts))
