"""The same network in plain NumPy, to be read like a textbook: the oracle of the tests and the opponent of the
benchmarks. Same constructor, same methods, same meaning as ``vgfast.MLP``; same first weights and the same
order of the rows from the same seed.

Forward, for l = 1..L, with a[0] = X:          z[l] = a[l-1] W[l] + b[l],   a[l] = phi(z[l])
The loss gives the first delta:                delta[L] = d loss / d z[L]
The chain rule takes it back, for l = L-1..1:  delta[l] = (delta[l+1] W[l+1]ᵀ) ∘ phi'(z[l])
and each delta gives its layer's gradient:     dW[l] = a[l-1]ᵀ delta[l],    db[l] = sum of delta[l] over the rows
which the update subtracts:                    W[l] -= lr dW[l],            b[l] -= lr db[l]

In the code, index l - 1 holds what belongs to layer l.

>>> import numpy as np, vgfast as vg
>>> X, y = np.eye(4), np.array([0, 1, 1, 0])
>>> fast, plain = vg.MLP([4, 8, 2], rng=0), vg.reference.MLP([4, 8, 2], rng=0)
>>> np.allclose(fast.fit(X, y, batch_size=2).loss, plain.fit(X, y, batch_size=2).loss, rtol=1e-5)
True
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vgfast import _check, _core, mlp
from vgfast.inspection.remedies import with_velocity
from vgfast.inspection.report import GradientReport, Gradients, reported, sample_norms
from vgfast.model import init as init_module
from vgfast.model.activations import CATALOG, sigmoid
from vgfast.model.architecture import Architecture
from vgfast.model.errors import DivergenceError, unapplied
from vgfast.model.init import Init
from vgfast.model.losses import LOSSES, softmax
from vgfast.model.quantities import INSPECTIONS, RECORD, histograms
from vgfast.training.fit import shuffled
from vgfast.training.history import History
from vgfast.training.optimizers import SGD, Velocities, checked_optimizer

# Half precision, which C has not, is for lessons.
DTYPES = ("float16", *_core.DTYPES)

# ---- the network ----------------------------------------------------------------------------------------


def _norm(x: np.ndarray) -> float:
    """Frobenius norm, in float64 and scaled so that tiny entries do not vanish when squared."""
    x = np.asarray(x, np.float64)
    largest = float(np.abs(x).max(initial=0))
    return largest * float(np.sqrt(np.square(x / largest).sum())) if largest > 0 else largest


def _ratio(a: float, b: float) -> float:
    """a / b, as C has it."""
    return a / b if b != 0 else np.nan if a == 0 else np.inf


def _noise(norms: np.ndarray, grad_norm: float, bias_grad_norm: float) -> tuple[float, float]:
    """(``sample_norm``, ``noise_scale``) of a layer, from the norms (B,) of its samples' gradients and the batch's."""
    rows = len(norms)
    rms = _norm(norms) / float(np.sqrt(rows))
    if rows == 1 or rms == 0:
        return rms, np.nan
    square = (float(np.hypot(grad_norm, bias_grad_norm)) / rms) ** 2
    signal = rows * square - 1
    return rms, rows * max(1 - square, 0) / signal if signal > 0 else np.inf


class MLP:
    """``vgfast.MLP`` in NumPy. See there for the arguments, shapes and errors."""

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        loss: str = "cross_entropy",
        init: str | Init = "auto",
        dtype: Any = "float32",
        rng: Any = None,
    ) -> None:
        self._architecture = Architecture.checked(sizes, activation, loss, dtype, DTYPES)
        self.sizes, self.activations, self.loss, self.dtype = self._architecture
        self.rng = _check.generator(rng)
        self._velocities = Velocities()
        self.n_params = self._architecture.n_params
        self.params = np.empty(self.n_params, self.dtype)
        self.weights, self.biases = self._architecture.views(self.params)
        init_module.fill(init_module.rules(init, self._architecture), self.weights, self.biases, self.rng)

    # ---- forward, chain, update ----------------------------------------------------------------------

    def _forward(self, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(z of every layer, a of every layer with a[0] = x)."""
        zs, activations = [], [x]
        for weights, biases, kind in zip(self.weights, self.biases, self._architecture.kinds, strict=True):
            zs.append(activations[-1] @ weights + biases)
            activations.append(CATALOG[kind].value(zs[-1]))
        return zs, activations

    def _chain(
        self, zs: list[np.ndarray], activations: list[np.ndarray], delta: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """From delta of the last layer: (the flat gradient, all deltas, all delta[l+1] W[l+1]ᵀ)."""
        flat = np.empty(self.n_params, self.dtype)
        d_weights, d_biases = self._architecture.views(flat)
        deltas = [delta]
        before_activation: list[np.ndarray] = []
        for l in range(len(zs) - 1, -1, -1):
            d_weights[l][...] = activations[l].T @ deltas[0]
            d_biases[l][...] = deltas[0].sum(axis=0)
            if l > 0:
                before_activation.insert(0, deltas[0] @ self.weights[l].T)
                derivative = CATALOG[self.activations[l - 1]].slope(zs[l - 1])
                deltas.insert(0, before_activation[0] * derivative)
        return flat, deltas, before_activation

    def _step_of(self, gradient: np.ndarray, optimizer: SGD, velocity: np.ndarray) -> np.ndarray:
        """The step s of params -= lr s; changes velocity."""
        _, momentum, nesterov, decay, clip_norm, clip_value = optimizer.checked()
        norm = _norm(gradient)
        g = gradient * self.dtype.type(clip_norm / norm) if norm > clip_norm else gradient.copy()
        np.clip(g, -clip_value, clip_value, out=g)
        for g_weights, weights in zip(self._architecture.views(g)[0], self.weights, strict=True):
            g_weights += self.dtype.type(decay) * weights
        velocity *= self.dtype.type(momentum)
        velocity += g
        return g + self.dtype.type(momentum) * velocity if nesterov else velocity

    def _velocity(self, optimizer: SGD) -> np.ndarray:
        velocity = optimizer.velocity(self, lambda: np.empty(self.n_params, self.dtype))
        return np.zeros(self.n_params, self.dtype) if velocity is None else velocity

    def _update(self, x: np.ndarray, t: np.ndarray, optimizer: SGD) -> tuple[float, float]:
        """One step; returns (loss, rows predicted rightly). Nothing changes if a value is not finite."""
        zs, activations = self._forward(x)
        loss, delta, correct = LOSSES[self.loss].of(zs[-1], t)
        if not np.isfinite(loss):
            raise DivergenceError("the next step would not be finite; lower lr")
        self._apply(self._chain(zs, activations, delta)[0], optimizer)
        return loss, float(correct.sum())

    def _apply(self, gradient: np.ndarray, optimizer: SGD) -> None:
        """One update; nothing changes if a value would not be finite."""
        velocity = self._velocity(optimizer).copy()
        with np.errstate(over="ignore", invalid="ignore"):  # an error, below
            new = self.params - self.dtype.type(optimizer.lr) * self._step_of(gradient, optimizer, velocity)
        if not np.isfinite(new).all():
            raise unapplied(self.params, optimizer)
        self._velocity(optimizer)[...] = velocity
        self.params[...] = new

    # ---- the methods of vgfast.MLP -------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: SGD | None = None,
        shuffle: bool = True,
        validation_data: tuple[Any, Any] | None = None,
        inspect_every: int = 0,
        callbacks: Sequence[Callable[[MLP, History], Any]] = (),
        progress: Callable[[int, int, History], Any] | None = None,
        inspect: str = "scalars",
    ) -> History:
        optimizer = checked_optimizer(optimizer, self.dtype)
        epochs = _check.integer("epochs", epochs, 1)
        inspect_every = _check.integer("inspect_every", inspect_every, 0)
        x, t = self._batch(X, y)
        batch_size = _check.batch_size(batch_size, len(x))
        losses: list[float] = []
        records: list[np.ndarray] = []
        exponents: list[np.ndarray] = []
        steps: list[int] = []
        history = History(np.zeros(0))

        def tell() -> History:
            history.loss, history.steps = np.array(losses), np.array(steps, np.int64)
            history.gradients = np.array(records) if records else history.gradients
            history.exponents = np.array(exponents) if exponents else None
            return history

        total = epochs * -(-len(x) // batch_size)
        for _ in range(epochs):
            start, right, weighted = time.perf_counter(), 0.0, 0.0
            order = shuffled(len(x), self.rng) if shuffle else np.arange(len(x))
            for first in range(0, len(x), batch_size):
                rows = order[first : first + batch_size]
                if inspect_every and len(losses) % inspect_every == 0:
                    report = self.inspect(x[rows], t[rows], optimizer, try_remedies=False, inspect=inspect)
                    records.append(report.records)
                    if report.exponents is not None:
                        exponents.append(report.exponents)
                    steps.append(len(losses))
                loss, correct = self._update(x[rows], t[rows], optimizer)
                losses.append(loss)
                right, weighted = right + correct, weighted + loss * len(rows)
                if progress is not None:
                    progress(len(losses), total, tell())
            scores = {"loss": weighted / len(x)}
            if LOSSES[self.loss].has_accuracy:
                scores["accuracy"] = right / len(x)
            history.epochs.append({**scores, "seconds": time.perf_counter() - start})
            if validation_data is not None:
                validation = self.evaluate(*validation_data)
                history.epochs[-1]["val_loss"] = validation.loss
                if validation.accuracy is not None:
                    history.epochs[-1]["val_accuracy"] = validation.accuracy
            if mlp.wants_to_stop(self, tell(), callbacks):
                break
        return history

    def step(self, X: Any, y: Any, optimizer: SGD | None = None) -> float:
        return self._update(*self._batch(X, y), checked_optimizer(optimizer, self.dtype))[0]

    def backward(self, X: Any, dz: Any) -> Gradients:
        x = self._architecture.inputs(X)
        d = self._architecture.output_gradient(dz, len(x))
        with np.errstate(over="ignore", invalid="ignore"):  # an error, below
            flat, deltas, _ = self._chain(*self._forward(x), d)
        if not np.isfinite(flat).all():
            raise DivergenceError("this dz leads to gradients that are not finite; make it, or X, smaller")
        return Gradients(np.nan, *self._architecture.views(flat), deltas, flat)

    def apply(self, gradients: Gradients | np.ndarray, optimizer: SGD | None = None) -> None:
        optimizer = checked_optimizer(optimizer, self.dtype)
        self._apply(_check.gradients(gradients, [w.shape for w in self.weights], self.params), optimizer)

    def gradients(self, X: Any, y: Any) -> Gradients:
        x, t = self._batch(X, y)
        zs, activations = self._forward(x)
        loss, delta, _ = LOSSES[self.loss].of(zs[-1], t)
        flat, deltas, _ = self._chain(zs, activations, delta)
        return Gradients(loss, *self._architecture.views(flat), deltas, flat)

    def sample_norms(self, X: Any, y: Any) -> np.ndarray:
        x, t = self._batch(X, y)
        zs, activations = self._forward(x)
        _, delta, _ = LOSSES[self.loss].of(zs[-1], t)
        _, deltas, _ = self._chain(zs, activations, delta)
        return sample_norms(activations[: len(deltas)], deltas)

    def inspect(
        self,
        X: Any,
        y: Any,
        optimizer: SGD | None = None,
        steps: int = 1000,
        try_remedies: bool = True,
        inspect: str = "scalars",
    ) -> GradientReport:
        inspect = _check.choice("inspect", inspect, INSPECTIONS)
        optimizer = checked_optimizer(optimizer, self.dtype)
        x, t = self._batch(X, y)
        zs, activations = self._forward(x)
        loss, delta, _ = LOSSES[self.loss].of(zs[-1], t)
        flat, deltas, before = self._chain(zs, activations, delta)
        step = self.dtype.type(optimizer.lr) * self._step_of(flat, optimizer, self._velocity(optimizer).copy())
        (d_weights, d_biases), (moves, _) = self._architecture.views(flat), self._architecture.views(step)
        records = np.full(len(zs), np.nan, RECORD)
        tiny = np.finfo(self.dtype).smallest_normal
        norms = sample_norms(activations[: len(deltas)], deltas)
        for l, (r, kind) in enumerate(zip(records, self._architecture.kinds, strict=True)):
            derivative = CATALOG[kind].slope(zs[l])
            size = np.abs(d_weights[l])
            r["grad_norm"], r["bias_grad_norm"] = _norm(d_weights[l]), _norm(d_biases[l])
            r["weight_norm"], r["delta_norm"], r["speed"] = (
                _norm(self.weights[l]),
                _norm(deltas[l]),
                _norm(d_biases[l]),
            )
            if l + 1 < len(zs):
                r["weight_gain"] = _ratio(_norm(before[l]), _norm(deltas[l + 1]))
                r["activation_gain"] = _ratio(_norm(deltas[l]), _norm(before[l]))
                r["gain"] = _ratio(_norm(deltas[l]), _norm(deltas[l + 1]))
            r["mean_derivative"] = derivative.mean(dtype=np.float64)
            r["saturated"] = (derivative < CATALOG[kind].saturated_below).mean()
            r["dead"] = (derivative == 0).all(axis=0).mean()
            r["update_ratio"] = _ratio(_norm(moves[l]), _norm(self.weights[l]))
            r["frozen"] = (self.weights[l] - moves[l] == self.weights[l]).mean()
            r["stuck"] = ((self.weights[l] - moves[l] == self.weights[l]) & (size > 0)).mean()
            r["zero"], r["max_abs"] = (size == 0).mean(), size.max()
            r["subnormal"] = ((size > 0) & (size < tiny)).mean()
            r["sample_norm"], r["noise_scale"] = _noise(norms[:, l], r["grad_norm"], r["bias_grad_norm"])
        report = reported(self, x, t, optimizer, records, loss, steps, try_remedies)
        if inspect == "histograms":
            report.exponents = histograms(1, self._architecture)[0]
            for counts, dw in zip(report.exponents, d_weights, strict=True):
                patterns = dw.view(f"i{self.dtype.itemsize}").ravel()
                bins = np.right_shift(patterns, int(np.finfo(self.dtype).nmant)) % (1 << np.finfo(self.dtype).nexp)
                counts[...] = np.bincount(bins, minlength=len(counts))
        return report

    def forward(self, X: Any) -> np.ndarray:
        return self._forward(self._architecture.inputs(X))[0][-1]

    def predict_proba(self, X: Any) -> np.ndarray:
        if not LOSSES[self.loss].has_accuracy:
            raise ValueError("a net with loss='mse' predicts values, not probabilities; use predict")
        return softmax(self.forward(X)) if self.loss == "cross_entropy" else sigmoid(self.forward(X))

    def predict(self, X: Any) -> np.ndarray:
        z = self.forward(X)
        if self.loss == "cross_entropy":
            return z.argmax(axis=1)
        return (z > 0).astype(np.int64) if self.loss == "binary_cross_entropy" else z

    def evaluate(self, X: Any, y: Any) -> mlp.Evaluation:
        x, t = self._batch(X, y)
        loss, _, correct = LOSSES[self.loss].of(self.forward(x), t)
        return mlp.Evaluation(loss, float(np.mean(correct)) if LOSSES[self.loss].has_accuracy else None)

    def __getstate__(self) -> dict[str, Any]:
        views = {"weights", "biases"}  # which would come back as arrays of their own
        return {name: value for name, value in vars(self).items() if name not in views} | {
            "_velocities": self._velocities.copied()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _velocities=Velocities(state["_velocities"]))
        self.weights, self.biases = self._architecture.views(self.params)

    def copy(self) -> MLP:
        net = copy.deepcopy(self)
        net._velocities = Velocities()
        return net

    __copy__ = copy

    def save(self, path: Any) -> None:
        mlp.MLP._restore(self._architecture, self.params, None, {}).save(path)

    @classmethod
    def load(cls, path: Any, rng: Any = None, activation: Any = None, loss: Any = None) -> MLP:
        fast = mlp.MLP.load(path, rng, activation, loss)
        net = cls(fast.sizes, fast.activations, fast.loss, "zeros", fast.dtype, rng)
        net.params[...] = fast.params
        return net

    def _batch(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._architecture.batch(X, y)


def _textbook(net: Any) -> MLP:
    """The same net, in NumPy."""
    plain = MLP(net.sizes, net.activations, net.loss, "zeros", net.dtype)
    plain.params[...] = net.params
    return plain


class Parts(NamedTuple):
    """A step taken apart, layer by layer: z; the loss; then, or None where what comes before is not finite, (dW, db),
    and (W, b) after the update."""

    outputs: list[np.ndarray]
    loss: float
    gradients: list[tuple[np.ndarray, np.ndarray]] | None
    updated: list[tuple[np.ndarray, np.ndarray]] | None


def take_apart(net: Any, x: np.ndarray, t: np.ndarray, optimizer: SGD | None) -> Parts:
    """The parts of a step that failed; no update without an optimizer. Nothing changes."""
    plain = _textbook(net)
    with np.errstate(all="ignore"):
        zs, activations = plain._forward(x)
        exact = t if t.ndim == 1 else t.astype(np.float64)
        loss = LOSSES[plain.loss].of(zs[-1].astype(np.float64), exact)[0]  # as C has it: its squares do not overflow
        if not np.isfinite(loss):
            return Parts(zs, loss, None, None)
        flat = plain._chain(zs, activations, LOSSES[plain.loss].of(zs[-1], t)[1])[0]
        gradients = list(zip(*plain._architecture.views(flat), strict=True))
        if optimizer is None or not np.isfinite(flat).all():
            return Parts(zs, loss, gradients, None)
        velocity = plain._velocity(with_velocity(optimizer, net, plain)).copy()
        new = plain.params - plain.dtype.type(optimizer.lr) * plain._step_of(flat, optimizer, velocity)
        return Parts(zs, loss, gradients, list(zip(*plain._architecture.views(new), strict=True)))


def shut_shares(net: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L-1,) each: the shares of units with phi' = 0 on every row of x, and of entries with phi' below 1 % of its
    maximum, in each hidden layer."""
    zs = _textbook(net)._forward(x)[0][:-1]
    kinds = [CATALOG[kind] for kind in net.activations]
    derivatives = [kind.slope(z) for kind, z in zip(kinds, zs, strict=True)]
    dead = [float((d == 0).all(axis=0).mean()) for d in derivatives]
    saturated = [float((d < kind.saturated_below).mean()) for kind, d in zip(kinds, derivatives, strict=True)]
    return np.array(dead), np.array(saturated)
