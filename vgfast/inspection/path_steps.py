"""From which unit to which a path may go, step by step, and what each step multiplies it by.

A path leads from z of one layer to z of the next by ``diag(phi'(z_k)) W_{k+1}``. A normalization adds a factor: batch
norm, which predicts by its running statistics, one for each unit; layer and RMS norm mix all units, so that they are a
step of their own, by their Jacobian ``N'_k[u,v] = rate gain_v (1[u = v] - 1/n - h_u h_v / n)``, of RMS norm without
1/n. Where a residual connection begins, a path may also go around, and comes back at its end as it was: so each step
there has, behind the units of the layers between, those of what goes around.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgfast.model.activations import CATALOG
from vgfast.model.engine_numpy import Forward, NumPyEngine

# A formula with places for one unit or two, and its values (n,) or (n, m).
Term = tuple[str, np.ndarray]


class Step(NamedTuple):
    """One step of all paths, from ``n_from`` units, and behind them those that go around, to ``n_to`` and those.

    ``diagonals``: factors of the unit that it leaves; ``last``: of that and the one that it reaches. ``matrix``: their
    products. ``joins``, ``begins``: whether what goes around comes back before ``last``, or begins to go around there.
    """

    matrix: np.ndarray
    n_from: int
    n_to: int
    diagonals: list[Term]
    last: Term
    joins: bool = False
    begins: bool = False

    def factors(self, u: int, v: int) -> list[tuple[str, float]]:
        """The formulas and values on the way from entry u to entry v."""
        inside, arrives = u < self.n_from, v < self.n_to
        unit = u if inside else u - self.n_from
        found = [(formula.format(unit), float(values[unit])) for formula, values in self.diagonals if inside]
        formula, values = self.last
        return [*found, (formula.format(unit, v), float(values[unit, v]))] if arrives else found


def _norm_term(plain: NumPyEngine, found: Forward, k: int) -> Term | None:
    """What the normalization of layer k multiplies by, of one sample."""
    norm, kept = plain.architecture.norm_of(k), found.normalized[k - 1]
    if norm is None or kept is None:
        return None
    n, gain = kept.h.shape[1], plain.gains[k - 1] if norm.has_gains else np.ones(kept.h.shape[1])
    if norm.kind == "batch":
        return f"N'_{k}[{{}}]", kept.rate[0] * gain
    h = kept.h[0]
    alike = np.outer(h, h) / n + (1 / n if norm.kind == "layer" else 0)
    return f"N'_{k}[{{}},{{}}]", float(kept.rate[0, 0]) * gain * (np.eye(n) - alike)


def _terms(plain: NumPyEngine, found: Forward, k: int) -> list[Term]:
    """From z_k to what layer k makes of it, in their order."""
    norm, term = plain.architecture.norm_of(k), _norm_term(plain, found, k)
    slopes = CATALOG[plain.architecture.kinds[k - 1]].derivative(found.zs[k - 1][0])
    before = norm is not None and norm.place == "before"
    phi = f"phi'(N_{k}[{{}}])" if before else f"phi'(z_{k}[{{}}])", slopes
    if term is None:
        return [phi]
    return [term, phi] if before else [phi, term]


def _product(diagonals: list[Term], n: int) -> np.ndarray:
    product = np.ones(n)
    for _, values in diagonals:
        product = product * values
    return product


def steps_of(plain: NumPyEngine, found: Forward, k: int) -> list[Step]:
    """From z_k to z_{k+1}, of one sample's ``found``; the last of them by W_{k+1}."""
    blocks = plain.architecture.blocks
    inside = next((first for first, last in blocks if first <= k <= last), None)
    n, around = plain.architecture.sizes[k], 0 if inside is None else plain.architecture.sizes[inside - 1]
    steps: list[Step] = []
    diagonals: list[Term] = []
    for term in _terms(plain, found, k):
        if term[1].ndim == 1:
            diagonals.append(term)
            continue
        matrix = _product(diagonals, n)[:, None] * term[1]
        steps.append(Step(_beside(matrix, np.eye(around)) if around else matrix, n, n, diagonals, term))
        diagonals = []
    if k in plain.around:
        diagonals.append((f"s_{k}", np.full(n, plain.scale(k))))
    weights = plain.weights[k]
    own, ends, begins = _product(diagonals, n), k in plain.around, k + 1 in [first for first, _ in blocks]
    matrix = own[:, None] * weights
    if begins:
        matrix = np.hstack([matrix, np.diag(own)])
    if ends:  # what comes back from the way around goes on as the layer's output does
        matrix = np.vstack([matrix, np.hstack([weights, np.eye(n)]) if begins else weights])
    elif around:
        matrix = _beside(matrix, np.eye(around))
    last = f"W_{k + 1}[{{}},{{}}]", weights
    return [*steps, Step(matrix, n, weights.shape[1], diagonals, last, ends, begins)]


def _beside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The block-diagonal matrix of both."""
    return np.block([[a, np.zeros((len(a), b.shape[1]))], [np.zeros((len(b), a.shape[1])), b]])


def count_paths(steps: list[Step]) -> int:
    """From one unit of the first layer to all of the last."""
    inside, around = 1, 0  # from each unit of a layer, and of what goes around
    for step in reversed(steps):
        on = step.n_to * inside + (around if step.begins else 0)
        inside, around = on, on if step.joins else around
    return inside
