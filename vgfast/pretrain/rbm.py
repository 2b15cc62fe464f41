"""The restricted Boltzmann machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check, _core
from vgfast.pretrain import likelihood
from vgfast.pretrain.layer import RATES_BELOW, Parameters, TiedLayer, hidden, in_unit_range, outputs
from vgfast.pretrain.likelihood import LogPartition, Machine

VISIBLE = ("binary", "gaussian")
# Standard deviation of the first weights (Hinton 2010, section 8).
_FIRST_STD = 0.01
# What the mean activity keeps of itself from step to step, for the sparsity target (section 11 there).
_ACTIVITY_DECAY = 0.9
# Rows on which the reconstruction error is measured after an epoch: one in so many, between these two.
_ONE_IN, _ROWS_LEAST, _ROWS_MOST = 20, 100, 1000
# A step that training never reaches: the draws of records are those of later ones.
_OF_RECORDS = 1 << 47


def generator(rng: Any, random_state: Any) -> np.random.Generator:
    """Of one argument by either of its names."""
    if rng is not None and random_state is not None:
        raise TypeError("rng and random_state are one thing, got both; give one of them")
    return _check.generator(rng) if random_state is None else _check.generator(random_state, "random_state")


class RBM(TiedLayer):
    """A restricted Boltzmann machine: n_components hidden units that learn what rows of X have in common, without
    labels, by contrastive divergence.

    P(h = 1 | v) = s(c + vW), and P(v = 1 | h) = s(b + hWᵀ), or of Gaussian units v ~ N(b + hWᵀ, 1).

    n_components: hidden units.
    visible: ``binary``, X in [0, 1] (grey values are taken for probabilities), or ``gaussian``: standardise each
        column to mean 0 and variance 1, and take a rate that is 10 to 100 times lower.
    k: steps of the chain. persistent: whether it goes on from step to step (Tieleman 2008), and not from the data.
    sample_visible: whether binary visible units are drawn on the way, as in a Gibbs chain, or their probabilities
        taken, which disturbs learning less (Hinton 2010, section 3.2). None: drawn only where persistent.
    momentum: a number, or a pair for the first five epochs and for the others, such as (0.5, 0.9).
    weight_decay: of the weights alone. sparsity_target: the share of rows in which a hidden unit should be on; missing
        it costs sparsity_cost (section 11 there).
    rng: None, a seed, or a ``numpy.random.Generator``; random_state: the same, by scikit-learn's name.

    The names are those of scikit-learn's BernoulliRBM, and ``persistent=True, shuffle=False`` is its algorithm. The
    same seed gives the same bits for any number of threads. Attributes: ``components_`` (n_components, n_features),
    ``weights`` (its transpose), ``intercept_hidden_``, ``intercept_visible_``, ``history_``.

    Sources: Hinton, "Training products of experts by minimizing contrastive divergence" (2002), and "A practical guide
    to training restricted Boltzmann machines" (2010). Errors: TypeError or ValueError for bad arguments.

    >>> import numpy as np
    >>> from vgfast.pretrain import RBM
    >>> X = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], 50, axis=0)
    >>> rbm = RBM(2, learning_rate=0.5, n_iter=100, rng=0).fit(X)
    >>> rbm.reconstruct([[1, 1, 0, 0]]).round().tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: str = "binary",
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        k: int = 1,
        persistent: bool = False,
        sample_visible: bool | None = None,
        shuffle: bool = True,
        momentum: float | tuple[float, float] = 0.0,
        weight_decay: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        dtype: Any = "float32",
        rng: Any = None,
        random_state: Any = None,
    ) -> None:
        self.visible, self.k, self.persistent, self.sample_visible = visible, k, persistent, sample_visible
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self._chains: np.ndarray | None = None
        self._activity: np.ndarray | None = None
        self._base: np.ndarray | None = None  # the data's log-odds, where annealed importance sampling begins
        super().__init__(
            n_components,
            learning_rate,
            batch_size,
            n_iter,
            momentum,
            weight_decay,
            shuffle,
            dtype,
            generator(rng, random_state),
        )

    def _check_settings(self) -> None:
        super()._check_settings()
        _check.choice("visible", self.visible, VISIBLE)
        _check.flag("persistent", self.persistent)
        if self.sample_visible is not None:
            _check.flag("sample_visible", self.sample_visible)
        self._chain = _check.integer("k, the steps of the chain,", self.k, 1, 1 << 14)
        if self.sparsity_target is not None:
            _check.real("sparsity_target", self.sparsity_target, 0, above=True, below=1)
        _check.real("sparsity_cost", self.sparsity_cost, 0, below=RATES_BELOW)

    @property
    def _gaussian(self) -> bool:
        return self.visible == "gaussian"

    # ---- training ---------------------------------------------------------------------------------------

    def _in_range(self, name: str, x: np.ndarray) -> np.ndarray:
        if self._gaussian:
            return x
        return in_unit_range(name, x, "binary units", "visible='gaussian' on columns of mean 0 and variance 1")

    def _check_training_data(self, x: np.ndarray) -> None:
        constant = x.min(axis=0) == x.max(axis=0)
        if not self._gaussian or not constant.any():
            return
        column, n, rows = int(np.argmax(constant)), int(constant.sum()), f"np.asarray(X, '{self.dtype}')"
        if n == x.shape[1]:
            how = "give rows that differ"
        else:
            how = (
                f"drop the {n} constant column{'s' if n > 1 else ''}, for example by X = {rows}[:, np.ptp({rows}, "
                "axis=0) > 0], and standardise the others"
            )
        raise ValueError(
            f"X has {x[0, column]:g} in every row of column {column}, and Gaussian units need columns of variance 1; "
            f"{how}"
        )

    def _independent(self, x: np.ndarray) -> np.ndarray:
        """The visible biases by which each unit alone would be on as often as in the data; of Gaussian units the
        means."""
        mean, least = x.mean(axis=0, dtype=np.float64), 1 / (len(x) + 1)
        p = mean.clip(least, 1 - least)
        return mean if self._gaussian else np.log(p / (1 - p))

    def _fill(self, parameters: Parameters, x: np.ndarray, rng: np.random.Generator) -> None:
        parameters.W[...] = rng.normal(0, _FIRST_STD, parameters.W.shape)
        parameters.b[...] = self._independent(x)

    def _prepare(self, run: _core.PretrainRun, x: np.ndarray, batch_size: int, anew: bool) -> dict[str, Any]:
        (_, n), target, cost = run.shape, self.sparsity_target, self.sparsity_cost
        chains = None if anew or not self.persistent else self._chains
        n_states = batch_size * run.chain_columns
        if self.persistent and (chains is None or len(chains) < n_states):
            chains = _core.aligned(n_states, self.dtype)
        activity = None if anew else self._activity
        penalty = _core.aligned(n, self.dtype)
        if target is None:
            activity = None
        elif activity is None:
            activity = _core.aligned(n, self.dtype)
            activity[:] = target
        else:
            penalty[:] = cost * (activity - target)
        draws = self.persistent if self.sample_visible is None else bool(self.sample_visible)
        goal = 0.0 if target is None else target
        run.set_rbm(self._gaussian, draws, chains, penalty, activity, goal, cost, _ACTIVITY_DECAY)
        base = self._independent(x) if anew else self._base
        return {"_chains": chains, "_activity": activity, "_base": base}

    def _note(self, x: np.ndarray, losses: np.ndarray, held_out: np.ndarray | None) -> dict[str, float]:
        n = min(max(_ROWS_LEAST, len(x) // _ONE_IN), _ROWS_MOST, len(x))
        rows, own = np.ascontiguousarray(x[:: len(x) // n][:n]), self._trained("training")
        states = np.empty((n, own.W.shape[1]), self.dtype)
        # By numbers of its own, so that who looks does not change what is drawn.
        _core.sample(hidden(own, rows), states, self._seed, _OF_RECORDS + self._epochs, 0, 0)
        error = np.subtract(rows, self._mean_visible(own, states), dtype=np.float64)
        notes = {"reconstruction_error": float((error**2).mean())}
        if held_out is not None:
            if not self._gaussian:
                notes["pseudo_likelihood"] = float(self.score_samples(held_out).mean())
            of_data = self.free_energy(x[: len(held_out)]).mean()
            notes["free_energy_gap"] = float(self.free_energy(held_out).mean() - of_data)
        return notes

    # ---- the model --------------------------------------------------------------------------------------

    def _mean_visible(self, parameters: Parameters, h: np.ndarray) -> np.ndarray:
        """E[v | h]."""
        return outputs(parameters, h, "identity" if self._gaussian else "sigmoid")

    def _machine(self, what: str) -> Machine:
        def copied(own: Parameters) -> Machine:
            W, b, c = (array.astype(np.float64) for array in (own.W, own.b, own.c))
            return Machine(W, b, c, self._gaussian)

        return self._read(what, copied)

    def _rows(self, name: str, X: Any) -> np.ndarray:
        """In float64."""
        return self._data(name, X, self.n_features_in_).astype(np.float64)

    def gibbs(self, v: Any) -> np.ndarray:
        """One Gibbs step from v (rows, n_features): h drawn from P(h | v), then v from P(v | h), by the machine's
        rng."""
        return self._read("gibbs", lambda own: self._step(own, self._data("v", v, len(own.W))))

    def _step(self, parameters: Parameters, v: np.ndarray) -> np.ndarray:
        p = hidden(parameters, v)
        h = (self._rng.random(p.shape) < p).astype(self.dtype)
        mean = self._mean_visible(parameters, h)
        if self._gaussian:
            return mean + self._rng.standard_normal(mean.shape).astype(self.dtype)
        return (self._rng.random(mean.shape) < mean).astype(self.dtype)

    def reconstruct(self, X: Any) -> np.ndarray:
        """E[v | h] with h = P(h = 1 | X): (rows, n_features)."""

        def down_again(own: Parameters) -> np.ndarray:
            return self._mean_visible(own, hidden(own, self._data("X", X, len(own.W))))

        return self._read("reconstruct", down_again)

    def free_energy(self, X: Any) -> np.ndarray:
        """F (rows,) with p(v) = exp(-F(v)) / Z; float64."""
        return likelihood.free_energy(self._machine("free_energy"), self._rows("X", X))

    def score_samples(self, X: Any) -> np.ndarray:
        """The pseudo-likelihood of each row, (rows,): the sum over all units of log P(v_i | the others); float64.

        It is exact: what scikit-learn's method of this name estimates by one unit drawn at random. A grey value counts
        as it is, against the flip of its nearer state. Errors: ValueError for Gaussian units, which have none."""
        machine = self._machine("score_samples")
        if self._gaussian:
            raise ValueError(
                "score_samples is the pseudo-likelihood of binary units, got a machine with visible='gaussian'; use "
                "log_likelihood(X)"
            )
        return likelihood.pseudo_likelihood(machine, self._rows("X", X))

    def log_partition(
        self, method: str = "auto", n_temperatures: int = 1000, n_chains: int = 100, rng: Any = None
    ) -> LogPartition:
        """log Z, with its standard error.

        method: ``exact`` sums over all states of the smaller side, at most 20 units (of Gaussian units, of the hidden
        ones); ``ais`` estimates by annealed importance sampling, n_chains of it over n_temperatures, from a machine
        without weights; ``auto`` is exact where that can be. Errors: ValueError for an exact sum of more units."""
        machine = self._machine("log_partition")
        fewest = machine.W.shape[1] if self._gaussian else min(machine.W.shape)
        method = _check.choice("method", method, ("auto", "exact", "ais"))
        if method == "exact" and fewest > likelihood.ENUMERABLE:
            raise ValueError(
                f"method='exact' sums over all states of at most {likelihood.ENUMERABLE} units, got {fewest}; use "
                "method='ais'"
            )
        if method != "ais" and fewest <= likelihood.ENUMERABLE:
            return likelihood.enumerated(machine)
        n_temperatures = _check.integer("n_temperatures", n_temperatures, 1)
        n_chains = _check.integer("n_chains", n_chains, 2)
        own = self._rng if rng is None else _check.generator(rng)
        base = machine.b if self._base is None else self._base
        return likelihood.annealed(machine, own, n_temperatures, n_chains, base)

    def log_likelihood(self, X: Any, log_partition: LogPartition | None = None) -> np.ndarray:
        """log p(v) of each row, (rows,): -F(v) - log Z. log_partition: of an earlier call; else it is found anew."""
        if log_partition is not None and not isinstance(log_partition, LogPartition):
            raise TypeError(
                f"log_partition must be what the method log_partition() returns, got {_check.quote(log_partition)} "
                f"({type(log_partition).__name__}); leave it out to have it computed"
            )
        free_energy = likelihood.free_energy(self._machine("log_likelihood"), self._rows("X", X))
        return -free_energy - (self.log_partition() if log_partition is None else log_partition).value
