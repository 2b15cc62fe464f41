"""A layer of tied weights that is taught without labels: what a Boltzmann machine and an autoencoder share."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from vgfast import _check, _core, config
from vgfast.model.errors import DivergenceError
from vgfast.pretrain.history import PretrainHistory
from vgfast.training.shuffle import Shuffle

Progress = Callable[[int, int, PretrainHistory], Any]
Result = TypeVar("Result")

# C hands control back after about so many seconds of steps: for Ctrl-C and progress.
_SLICE = 0.03
# With such rates the first step from values of moderate size, which C checks, is finite (kernels.h, VG_RATE_MOST).
RATES_BELOW = 2.0**20
# What C takes for moderate size (finite_check.tmpl.h).
_MODERATE = {"float32": 2.0**33, "float64": 2.0**129}
# What is scaled to [0, 1], in float32 too, may be off by so much (see vgfast/_check/targets.py).
UNIT_TOLERANCE = 16 * float(np.finfo(np.float32).eps)
# Where momentum is a pair, the second is that after so many epochs (Hinton 2010, section 9).
_FIRST_EPOCHS = 5


class Parameters(NamedTuple):
    """Views of one vector that C knows: W (m, n), hidden biases c (n), visible biases b (m)."""

    flat: np.ndarray
    W: np.ndarray
    c: np.ndarray
    b: np.ndarray

    @classmethod
    def of(cls, flat: np.ndarray, m: int, n: int) -> Parameters:
        return cls(flat, flat[: m * n].reshape(m, n), flat[m * n : m * n + n], flat[m * n + n :])


class TiedLayer:
    """Parameters, settings and training. While one thread trains a layer, others may use it, as a net."""

    _chain = 1  # steps of the chain, of which C is told the cost
    _position = 1  # the layer that it is in a stack

    def __init__(
        self,
        n_components: Any,
        learning_rate: Any,
        batch_size: Any,
        n_iter: Any,
        momentum: Any,
        weight_decay: Any,
        shuffle: Any,
        dtype: Any,
        rng: Any,
    ) -> None:
        self.n_components, self.learning_rate, self.batch_size = n_components, learning_rate, batch_size
        self.n_iter, self.momentum, self.weight_decay, self.shuffle = n_iter, momentum, weight_decay, shuffle
        self._dtype = _check.dtype(dtype, _core.DTYPES)
        self.history_ = PretrainHistory()
        self._rng = _check.generator(rng)
        self._lock = _core.TrainingLock("layer")
        self._parameters: Parameters | None = None
        self._velocity: np.ndarray | None = None
        self._seed = self._steps = self._epochs = 0
        self._check_settings()

    # ---- settings, as they are now: attributes may be changed between calls ------------------------------

    def _check_settings(self) -> None:
        _check.integer("n_components", self.n_components, 1, _check.MOST_ELEMENTS)
        _check.real("learning_rate", self.learning_rate, 0, above=True, below=RATES_BELOW)
        _check.integer("batch_size", self.batch_size, 1)
        _check.integer("n_iter", self.n_iter, 1)
        _check.real("weight_decay", self.weight_decay, 0, below=RATES_BELOW)
        _check.flag("shuffle", self.shuffle)
        self._momenta()

    def _momenta(self) -> tuple[float, float]:
        """Of the first epochs, and of the others."""
        pair = self.momentum if isinstance(self.momentum, tuple | list) else (self.momentum, self.momentum)
        if len(pair) != 2:
            raise ValueError(
                f"momentum must be a number, or a pair such as (0.5, 0.9) for the first {_FIRST_EPOCHS} epochs and for "
                f"the others, got {len(pair)} numbers"
            )
        return _check.real("momentum", pair[0], 0, below=1), _check.real("momentum", pair[1], 0, below=1)

    # ---- parameters -------------------------------------------------------------------------------------

    def _trained(self, what: str) -> Parameters:
        if self._parameters is None:
            raise RuntimeError(
                f"{what} needs trained weights, and this {type(self).__name__} has none yet; call fit(X) first"
            )
        return self._parameters

    def _read(self, what: str, work: Callable[[Parameters], Result]) -> Result:
        """work(parameters), which only reads them; or, while another thread trains the layer, work of a copy made
        between two steps. In standard arithmetic."""
        own = self._trained(what)
        with _core.standard_arithmetic():
            if not self._lock.is_anothers():
                version = self._lock.version
                result = work(own)
                if version == self._lock.version:
                    return result
            return work(Parameters.of(self._lock.between_steps(own.flat.copy), *own.W.shape))

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64: what parameters are made of."""
        return self._dtype

    @property
    def n_features_in_(self) -> int:
        """Columns of the data, which are visible units; 0 before ``fit``."""
        return 0 if self._parameters is None else len(self._parameters.W)

    @property
    def weights(self) -> np.ndarray:
        """W (n_features, n_components): a view."""
        return self._trained("weights").W

    @property
    def components_(self) -> np.ndarray:
        """W transposed (n_components, n_features), as scikit-learn has it: a view."""
        return self._trained("components_").W.T

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """The hidden units' biases (n_components,): a view."""
        return self._trained("intercept_hidden_").c

    @property
    def intercept_visible_(self) -> np.ndarray:
        """The visible units' biases (n_features,): a view."""
        return self._trained("intercept_visible_").b

    def __repr__(self) -> str:
        n = self.n_components if self._parameters is None else self._parameters.W.shape[1]
        trained = f"{self.n_features_in_} visible and " if self._parameters is not None else ""
        return f"<{type(self).__name__} of {trained}{n} hidden units>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.history_._repr_html_()}"

    def copy(self) -> Self:
        """An independent layer, with parameters, settings and a generator of its own."""
        return deepcopy(self)

    def __copy__(self) -> Self:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return self._lock.between_steps(self._state)

    def _state(self) -> dict[str, Any]:
        """All but the lock, with copies of the arrays that training changes."""
        state = {name: np.array(it) if isinstance(it, np.ndarray) else it for name, it in self.__dict__.items()}
        del state["_lock"]
        if self._parameters is not None:
            state["_parameters"] = (np.array(self._parameters.flat), *self._parameters.W.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = _core.TrainingLock("layer")
        if self._parameters is not None:
            flat, m, n = state["_parameters"]
            self._parameters = Parameters.of(_core.aligned(len(flat), self.dtype), m, n)
            self._parameters.flat[:] = flat

    # ---- what a kind of layer says ------------------------------------------------------------------------

    def _in_range(self, name: str, x: np.ndarray) -> np.ndarray:
        """x, if it holds what the visible units take."""
        return x

    def _check_training_data(self, x: np.ndarray) -> None:
        """Refuse what can be looked at and not learned."""

    def _fill(self, parameters: Parameters, x: np.ndarray, rng: np.random.Generator) -> None:
        """The first weights and biases, which are zeros."""
        raise NotImplementedError

    def _prepare(self, run: _core.PretrainRun, x: np.ndarray, batch_size: int, anew: bool) -> dict[str, Any]:
        """Hand C the settings of this kind, before the first epoch; returns the attributes that are new by it."""
        raise NotImplementedError

    def _note(self, x: np.ndarray, losses: np.ndarray, held_out: np.ndarray | None) -> dict[str, float]:
        """What is recorded of an epoch that has ended; losses: of an autoencoder's steps."""
        raise NotImplementedError

    # ---- training ---------------------------------------------------------------------------------------

    def _data(self, name: str, X: Any, columns: int | None) -> np.ndarray:
        """X (rows, columns) as C takes it; None: of any number of columns."""
        x = _check.inputs(name, X, columns, self.dtype, "visible units")
        return self._in_range(name, x)

    def fit(self, X: Any, y: Any = None, *, validation_data: Any = None, progress: Progress | None = None) -> Self:
        """Start anew, and train for n_iter epochs on X (rows, n_features); returns self. y is not looked at.

        validation_data: rows that are held out, of which ``history_`` then tells after each epoch. progress(done,
        total, history): called about every 30 ms. Ctrl-C and a ``DivergenceError`` leave the parameters of the last
        whole step. Errors besides: TypeError or ValueError for bad input and RuntimeError while another thread trains
        this layer, before any change."""
        return self._fit(X, self.n_iter, validation_data, progress, True)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One epoch more on X (rows, n_features), from the weights that there are; returns self."""
        return self._fit(X, 1, None, None, self._parameters is None)

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """``fit``, then ``transform``."""
        return self.fit(X, y).transform(X)

    def _fit(self, X: Any, epochs: int, held_out: Any, progress: Progress | None, anew: bool) -> Self:
        self._check_settings()
        check_progress(progress)
        x = self._data("X", X, None if anew else self.n_features_in_)
        self._check_training_data(x)
        other = None if held_out is None else self._data("validation_data", without_targets(held_out), x.shape[1])
        try:
            self._lock.own("trained")
            self._train(x, epochs, other, progress, anew)
        finally:
            self._lock.disown()
        return self

    def _train(
        self, x: np.ndarray, epochs: int, held_out: np.ndarray | None, progress: Progress | None, anew: bool
    ) -> None:
        parameters, batch_size = self._new(x) if anew else self._trained("training"), min(self.batch_size, len(x))
        seed = int(self._rng.integers(1 << 63)) if anew else self._seed
        m, n = parameters.W.shape
        limit = config.get_num_threads()
        run = _core.PretrainRun(parameters.flat, m, n, batch_size, self._chain, limit, seed, self._lock)
        velocity = _core.aligned(len(parameters.flat), self.dtype) if any(self._momenta()) else None
        if velocity is not None and self._velocity is not None and not anew:
            velocity = self._velocity
        state = {**self._prepare(run, x, batch_size, anew), "_velocity": velocity}
        if anew:
            state |= {"_parameters": parameters, "_seed": seed, "_steps": 0, "_epochs": 0}
            state["history_"] = PretrainHistory()
        self.__dict__.update(state)  # at once: Ctrl-C finds the layer that was or the new one
        per_epoch = -(-len(x) // batch_size)
        losses, shuffle = np.zeros(per_epoch), Shuffle(self._rng, len(x)) if self.shuffle else None
        for epoch in range(epochs):
            start = time.perf_counter()
            self._set_optimizer(run)
            run.set_epoch(x, None if shuffle is None else shuffle.draw(), batch_size, losses, self._steps)
            try:
                while (status := run.go(_SLICE)) != _core.DONE:
                    if status == _core.NON_FINITE:
                        raise self._divergence(epoch, epoch * per_epoch + run.step, x)
                    self._tell(progress, epoch * per_epoch + run.step, epochs * per_epoch, parameters)
            finally:
                self._steps += run.step
            self._epochs += 1
            self._end_epoch(run, x, losses, held_out, start)
            self._tell(progress, (epoch + 1) * per_epoch, epochs * per_epoch, parameters)

    def _tell(self, progress: Progress | None, done: int, total: int, parameters: Parameters) -> None:
        if progress is not None:
            progress(done, total, self.history_)
            if self._parameters is not parameters:
                raise RuntimeError(
                    "progress has trained this layer anew, so its training before ends here; train a layer.copy() there"
                )

    def _new(self, x: np.ndarray) -> Parameters:
        m, n = x.shape[1], self.n_components
        parameters = Parameters.of(_core.aligned(m * n + n + m, self.dtype), m, n)
        self._fill(parameters, x, self._rng)
        return parameters

    def _set_optimizer(self, run: _core.PretrainRun) -> None:
        momentum = self._momenta()[self._epochs >= _FIRST_EPOCHS]
        rule = "sgd" if self._velocity is None else "momentum"
        run.set_optimizer(rule, self.learning_rate, self.weight_decay, momentum, self._velocity)

    def _end_epoch(
        self, run: _core.PretrainRun, x: np.ndarray, losses: np.ndarray, held_out: np.ndarray | None, start: float
    ) -> None:
        _, weight, step, frozen = run.last_step
        seconds = time.perf_counter() - start
        with _core.standard_arithmetic():
            kind = self._note(x, losses, held_out)
        ratio = step / weight if weight > 0 else 0.0
        record = {"weight_norm": weight, "update_ratio": ratio, "frozen": frozen / self.weights.size}
        self.history_.epochs.append({"seconds": seconds, **kind, **record})

    def _divergence(self, epoch: int, step: int, x: np.ndarray) -> DivergenceError:
        largest = float(np.abs(x).max())
        if self._steps + step == 0 or largest >= _MODERATE[self.dtype.name]:  # whatever the rate
            why = f"X, whose values go up to {largest:.3g}, takes layer {self._position} beyond moderate size"
            how = "scale it, for example to columns of mean 0 and variance 1,"
        else:
            why = f"values in layer {self._position} have left moderate size and would soon not be finite"
            decay = f" or weight_decay (it is {self.weight_decay:g})" if self.weight_decay else ""
            how = f"lower learning_rate (it is {self.learning_rate:g}){decay}"
        error = DivergenceError(
            f"pre-training diverged at step {step} (epoch {epoch + 1}): {why}; {how} and fit "
            "again; the parameters are those of the last good step",
            step,
            self._position,
        )
        error.history = self.history_
        return error

    # ---- the layer --------------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """P(h = 1 | v) for each row of X: (rows, n_components), of the layer's dtype."""
        return self._read("transform", lambda own: hidden(own, self._data("X", X, len(own.W))))


def hidden(parameters: Parameters, x: np.ndarray) -> np.ndarray:
    """s(x W + c)."""
    _, W, c, _ = parameters
    return _core.propagate("sigmoid", x, W, c, False, config.get_num_threads())


def outputs(parameters: Parameters, h: np.ndarray, activation: str) -> np.ndarray:
    """phi(h Wᵀ + b)."""
    _, W, _, b = parameters
    return _core.propagate(activation, h, W, b, True, config.get_num_threads())


def check_progress(progress: Any) -> None:
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function of (done, total, history), got {_check.quote(progress)}")


def without_targets(held_out: Any) -> Any:
    """validation_data, if it is not a pair (X, y), as it is of nets."""
    if isinstance(held_out, tuple | list) and len(held_out) == 2 and getattr(held_out[0], "ndim", 1) == 2:
        raise TypeError(
            f"validation_data must be rows like those of X, without targets, got a {type(held_out).__name__} of 2; use "
            "validation_data[0]"
        )
    return held_out


def in_unit_range(name: str, x: np.ndarray, who: str, instead: str) -> np.ndarray:
    """x, which is from 0 to 1; clipped, if it is so but for rounding."""
    low, high = x.min(), x.max()
    if low >= 0 and high <= 1:
        return x
    if low >= -UNIT_TOLERANCE and high <= 1 + UNIT_TOLERANCE:
        return x.clip(0, 1)
    row, column = np.unravel_index(int(np.argmax((x < -UNIT_TOLERANCE) | (x > 1 + UNIT_TOLERANCE))), x.shape)
    raise ValueError(
        f"{name} must be from 0 to 1 for {who}, got {x[row, column]!s} in row {row}, column {column}; scale it, or use "
        f"{instead}"
    )
