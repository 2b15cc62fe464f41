"""The engine of ``vgfast.reference.MLP``: the same arithmetic in plain NumPy, to be read like a textbook.

Forward, for l = 1..L, with a[0] = X:          z[l] = a[l-1] W[l] + b[l],   a[l] = phi(z[l])
The loss gives the first delta:                delta[L] = d loss / d z[L]
The chain rule takes it back, for l = L-1..1:  delta[l] = (delta[l+1] W[l+1]ᵀ) ∘ phi'(z[l])
and each delta gives its layer's gradient:     dW[l] = a[l-1]ᵀ delta[l],    db[l] = sum of delta[l] over the rows
which the update subtracts:                    W[l] -= lr dW[l],            b[l] -= lr db[l]

A normalization N of the hidden layers stands before phi, a[l] = phi(N(z[l])), or after it, a[l] = N(phi(z[l])), and
the chain rule takes delta back through it in its place (``norm_numpy``).

With dropout, a step multiplies a[l] and phi'(z[l]) by a mask: 1 / keep with the probability keep, else 0; behind a
normalization, instead of phi' what comes back to that. With alpha dropout the mask is A or 0, and a[l] becomes
A a[l] + C where it is kept, else A a' + C (``dropout``).

With a residual connection around layers k..m:  a[m] = a[k-1] + scale f,   f being what layer m makes, such as phi(z[m])
On the way back, with u[l] = d loss / d a[l]:   u[m] = delta[m+1] W[m+1]ᵀ,         delta[m] = scale u[m] ∘ phi'(z[m])
and what goes around arrives besides:           u[k-1] = delta[k] W[k]ᵀ + u[m],    dscale = sum of u[m] ∘ f
A normalization and dropout of layer m are in f, and on the way back they get scale u[m].

In the code, index l - 1 holds what belongs to layer l.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgfast import _core
from vgfast._check import Rows, to_dense
from vgfast.model import philox
from vgfast.model import quantities_numpy as quantities
from vgfast.model.activations import CATALOG, sigmoid
from vgfast.model.architecture import Architecture, Parts
from vgfast.model.dropout import dropped
from vgfast.model.engine import Backward, Engine, Settings
from vgfast.model.losses import LOSSES, softmax
from vgfast.model.norm_numpy import Normalized, normalize, normalize_back, renew_running
from vgfast.model.quantities_numpy import Masks, Pass
from vgfast.model.rules import RULES, RuleState
from vgfast.model.run_numpy import NumPyRun

_PROBABILITIES = {"softmax": softmax, "sigmoid": sigmoid}


class Forward(NamedTuple):
    """A batch on its way forward: of each layer ``zs``, what phi is of; ``activations``, a with a[0] = x;
    ``normalized``, None without a normalization; the masks of dropout; and, of residual connections, by the last layer
    of each, ``added``: f, which is added to what goes around."""

    zs: list[np.ndarray]
    activations: list[np.ndarray]
    normalized: list[Normalized | None]
    masks: Masks
    added: dict[int, np.ndarray]


class NumPyEngine(Engine):
    """Also in half precision, which C has not: for lessons."""

    dtypes = ("float16", *_core.DTYPES)

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.loss = LOSSES[architecture.loss].of
        self.around = {last: first for first, last in architecture.blocks}
        function = _PROBABILITIES.get(LOSSES[architecture.loss].link)
        self.probabilities = None if function is None else lambda z, out: np.copyto(out, function(z))
        self.forward_few = lambda params, X, lock, probabilities=False: None

    # ---- forward, chain, update -----------------------------------------------------------------------

    def draw_masks(self, n_rows: int, first_row: int = 0) -> Masks:
        """Of the next step: (n_rows, n_l) for each hidden layer, None where nothing is dropped; () without dropout.
        first_row: of the batch."""
        if self.draws is None:
            return ()
        seed, step = (int(number) for number in self.draws)
        masks: list[np.ndarray | None] = []
        for l, of in enumerate(map(dropped, self.architecture.dropout), 1):
            shape = n_rows, self.architecture.sizes[l]
            kept = philox.uniforms(seed, step, l, *shape, first_row) < of.keep if of.keep < 1 else None
            masks.append(None if kept is None else kept * self.params.dtype.type(of.scale))
        return masks

    def drop(self, masks: Masks, l: int, a: np.ndarray) -> np.ndarray:
        """What is left of the outputs of layer l."""
        mask = masks[l - 1] if l <= len(masks) else None
        if mask is None:
            return a
        number, of = self.params.dtype.type, dropped(self.architecture.dropout[l - 1])
        return np.where(mask > 0, a * mask + number(of.shift), number(of.dropped)) if of.end else a * mask

    def forward(self, x: np.ndarray, masks: Masks = ()) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(what phi is of in every layer, a of every layer with a[0] = x). Without masks, nothing is dropped."""
        return self.forward_pass(x, masks)[:2]

    def forward_pass(self, x: Rows, masks: Masks = (), training: bool = True) -> Forward:
        """Batch norm takes, in training, what the batch shows, else what runs. Sparse rows get their zeros here."""
        found = Forward([], [to_dense(x)], [], masks, {})
        for weights in self.weights:
            self.append_layer(found, found.activations[-1] @ weights, training)
        return found

    def append_layer(self, found: Forward, product: np.ndarray, training: bool = True) -> None:
        """What the next layer makes of a W, behind those before it."""
        l = len(found.zs)
        z, norm, kept = product, self.architecture.norm_of(l + 1), None
        running = None if training or norm is None or norm.kind != "batch" else self.running[l]
        if self.biases[l].size:
            z = z + self.biases[l]
        if norm and norm.place == "before":
            z, kept = normalize(norm, z, self.gains[l], self.shifts[l], running)
        a = CATALOG[self.architecture.kinds[l]].value(z)
        if norm and norm.place == "after":
            a, kept = normalize(norm, a, self.gains[l], self.shifts[l], running)
        a, first = self.drop(found.masks, l + 1, a), self.around.get(l + 1)
        if first is not None:
            found.added[l + 1] = a
            a = found.activations[first - 1] + self.scale(l + 1) * a
        found.zs.append(z)
        found.activations.append(a)
        found.normalized.append(kept)

    def scale(self, last: int) -> np.floating:
        """Of the block that ends with this layer."""
        learned = self.scales.get(last)
        return self.params.dtype.type(self.architecture.scale) if learned is None else learned[0]

    def chain(self, found: Forward, delta: np.ndarray) -> Pass:
        """The way back from delta of the last layer."""
        gradient = np.empty_like(self.params)
        parts, d_scales = self.architecture.parts(gradient), self.architecture.scales(gradient)
        zs, activations, deltas = found.zs, found.activations, [delta]
        raw: list[np.ndarray] = []
        between: list[np.ndarray | None] = []
        sums: dict[int, np.ndarray] = {}  # u of what leaves these layers, where a block ends
        passed: dict[int, np.ndarray] = {}  # and what the layers of that block get of it
        ends = {first - 1: last for last, first in self.around.items()}
        for l in range(len(zs) - 1, -1, -1):
            parts.weights[l][...] = activations[l].T @ deltas[0]
            if parts.biases[l].size:
                parts.biases[l][...] = deltas[0].sum(axis=0)
            if l > 0:
                raw.insert(0, deltas[0] @ self.weights[l].T)
                arrived = raw[0] + sums[ends[l]] if l in ends else raw[0]
                if l in ends or l in self.around:
                    sums[l] = arrived
                if l in d_scales:
                    d_scales[l][...] = (arrived * found.added[l]).sum()
                if l in self.around:
                    arrived = passed[l] = self.scale(l) * arrived
                delta, inner = self.layer_back(l - 1, found, arrived, parts)
                deltas.insert(0, delta)
                between.insert(0, inner)
        return Pass(zs, activations, deltas, raw, between, gradient, found.masks, sums, passed)

    def layer_back(self, l: int, found: Forward, g: np.ndarray, parts: Parts) -> tuple[np.ndarray, np.ndarray | None]:
        """(delta, and what lies between activation and normalization, or None) of g = dloss/da of layer l + 1, whose
        gradient of gains and shifts is written into the parts of the gradient."""
        derivative = CATALOG[self.architecture.kinds[l]].derivative(found.zs[l])
        norm, kept = self.architecture.normalization, found.normalized[l]
        if norm is None or kept is None:
            return g * _masked(found.masks, l + 1, derivative), None
        inner = _masked(found.masks, l + 1, g * derivative if norm.place == "before" else g)
        dz, parts.gains[l][...], parts.shifts[l][...] = normalize_back(norm, inner, kept, self.gains[l])
        return (dz, inner) if norm.place == "before" else (dz * derivative, dz)

    def renew_running(self, found: Forward) -> None:
        """What runs, after a step."""
        norm = self.architecture.normalization
        for running, kept in zip(self.running, found.normalized, strict=False):
            if norm is not None and kept is not None:
                renew_running(norm, running, kept)

    def step(
        self, gradient: np.ndarray, settings: Settings, state: RuleState
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """(what params -= subtracts, the vectors of the state then)."""
        rule, lr, decay, hyper, clip_norm, clip_value, _ = settings
        number = self.params.dtype.type
        g = gradient.copy()
        if clip_norm < np.inf and (norm := quantities.norm(g)) > clip_norm:
            g *= number(clip_norm / norm)
        np.clip(g, -clip_value, clip_value, out=g)
        decoupled = rule in _core.DECOUPLED
        if not decoupled:
            self._add_decay(g, decay)
        t = 1 if state.n_taken is None else int(state.n_taken[0]) + 1
        step, vectors = RULES[rule](g, state.vectors, hyper, t)
        if decoupled:
            self._add_decay(step, decay)
        return number(lr) * step, vectors

    def _add_decay(self, to: np.ndarray, decay: float) -> None:
        for part, weights in zip(self.architecture.views(to)[0], self.weights, strict=True):
            part += self.params.dtype.type(decay) * weights

    def update(self, gradient: np.ndarray, settings: Settings, state: RuleState) -> bool:
        """One step; False, and nothing has changed, if it would leave a value that is not finite."""
        step, vectors = self.step(gradient, settings, state)
        params = self.params - step
        if not np.isfinite(params).all():
            return False
        self.params[...] = params
        for vector, then in zip(state.vectors, vectors, strict=True):
            vector[...] = then
        self.count_step(state)
        return True

    def count_step(self, state: RuleState) -> None:
        """On which rates and dropout's masks depend."""
        if state.n_taken is not None:
            state.n_taken[0] += 1
        if self.draws is not None:
            self.draws[1] += np.uint64(1)

    # ---- the methods of every engine ------------------------------------------------------------------

    def make_memory(self, n: int) -> np.ndarray:
        return np.zeros(n, self.architecture.dtype)

    def compute_outputs(self, x: Rows) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # here and below, who asks looks whether all is finite
            return self.forward_pass(x, training=False).zs[-1]

    def compute_outputs_in_training(self, x: Rows, lock: _core.TrainingLock) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.forward_pass(x, self.draw_masks(len(x)))
            lock.change(lambda: self.renew_running(found))
        return found.zs[-1]

    def compute_losses(
        self, z: np.ndarray, t: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            loss, _, correct = self.loss(z, t, sample_weight)
        return loss, correct

    def backward(self, x: Rows, t: np.ndarray, sample_weight: np.ndarray | None = None) -> Backward | None:
        with np.errstate(over="ignore", invalid="ignore"):
            forward = self.forward_pass(x, self.draw_masks(len(x)))
            loss, delta, _ = self.loss(forward.zs[-1], t, sample_weight)
            found = self.chain(forward, delta)
        return _finite(loss, found) if np.isfinite(loss) else None

    def backward_from(self, x: Rows, dz: np.ndarray) -> Backward | None:
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(np.nan, self.chain(self.forward_pass(x, self.draw_masks(len(x))), dz))

    def inspect(
        self,
        x: Rows,
        t: np.ndarray,
        settings: Settings,
        state: RuleState,
        exponents: np.ndarray | None,
        sample_weight: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray] | None:
        with np.errstate(over="ignore", invalid="ignore"):
            forward = self.forward_pass(x, self.draw_masks(len(x)))
            loss, delta, _ = self.loss(forward.zs[-1], t, sample_weight)
            found = self.chain(forward, delta)
            if not (np.isfinite(loss) and np.isfinite(found.gradient).all()):
                return None
            total = float(len(x) if sample_weight is None else sample_weight.sum()) or 1.0
            settings, penalty = self.with_penalty(settings, total)
            step, _ = self.step(found.gradient, settings, state)
            records = quantities.of_step(self.architecture, self.weights, found, step, sample_weight)
        if exponents is not None:
            quantities.count_exponents(self.architecture, found.gradient, exponents[0])
        return loss + penalty, records

    def with_penalty(self, settings: Settings, total: float) -> tuple[Settings, float]:
        """The settings of a step on rows of this weight, and what the penalty adds to the loss."""
        penalty = settings.penalty / total
        squares = sum(float(np.square(W, dtype=np.float64).sum()) for W in self.weights) if penalty else 0.0
        return settings._replace(weight_decay=settings.weight_decay + penalty), penalty * squares / 2

    def apply(self, gradient: np.ndarray, settings: Settings, state: RuleState, lock: _core.TrainingLock) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(lock.change(lambda: self.update(gradient, settings, state)))

    def make_workspace(self, rows: int, old: Any = None, in_parts: bool = False, sparse: bool = False) -> None:
        return None

    def make_run(
        self,
        x: Rows,
        t: np.ndarray,
        batch_size: int,
        workspace: None,
        lock: _core.TrainingLock,
        sample_weight: np.ndarray | None = None,
    ) -> NumPyRun:
        return NumPyRun(self, x, t, batch_size, lock, sample_weight)


def textbook(engine: Engine, dtype: Any = None) -> NumPyEngine:
    """The same net in NumPy; with parameters of another dtype, if one is given."""
    net = engine.architecture if dtype is None else engine.architecture._replace(dtype=np.dtype(dtype))
    plain = NumPyEngine(net)
    plain.vector[...] = engine.vector
    if engine.draws is not None and plain.draws is not None:
        plain.draws[...] = engine.draws
    return plain


def _masked(masks: Masks, l: int, values: np.ndarray) -> np.ndarray:
    """Those of layer l, times its mask if it has one."""
    mask = masks[l - 1] if l <= len(masks) else None
    return values if mask is None else values * mask


def _finite(loss: float, found: Pass) -> Backward | None:
    if not np.isfinite(found.gradient).all():
        return None
    return Backward(loss, found.gradient, found.activations[:-1], found.deltas)
