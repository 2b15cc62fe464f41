"""What a net holds: its engine and random numbers, and who may use them when; its copies and files."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self, TypeVar

import numpy as np

from vgfast import _check, _core
from vgfast.inspection.gradients import TrainingPass
from vgfast.model import init as init_module
from vgfast.model.activations import Given
from vgfast.model.architecture import Architecture
from vgfast.model.dropout import Given as Dropout
from vgfast.model.engine import Engine
from vgfast.model.init import Init
from vgfast.model.norm import Normalization
from vgfast.model.parameters import ParameterViews, copy_state
from vgfast.model.residual import Residual
from vgfast.model.rules import RuleState
from vgfast.training.history import History
from vgfast.training.optimizers import Tag
from vgfast.training.states import States
from vgfast.training.stepper import Stepper

if TYPE_CHECKING:
    from vgfast.model.summary import Summary

_Result = TypeVar("_Result")
_NAMES = "X", "y", "sample_weight"  # what errors call the data


class State:
    """The parameters of a dense network, in an engine, and all that is not arithmetic. See ``vgfast.MLP``."""

    _engine_type: ClassVar[type[Engine]]
    # One name a layer; empty where the first weights came from a file. Copies have it too.
    _inits: tuple[str, ...] = ()

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Given | Sequence[Given] = "relu",
        loss: str = "cross_entropy",
        init: str | Init = "auto",
        dtype: Any = "float32",
        rng: Any = None,
        normalization: str | Normalization | None = None,
        residual: bool | Residual | None = None,
        dropout: Dropout | Sequence[Dropout] = 0.0,
    ) -> None:
        how = self._engine_type.dtypes, dropout, residual, normalization
        architecture = Architecture.checked(sizes, activation, loss, dtype, *how)
        self._rng = _check.generator(rng)
        with _core.standard_arithmetic():
            fill = init_module.prepare(init, architecture)
            self._build(architecture)
            fill(self._engine, self._rng)
        self._seed_draws(None)
        self._inits = init_module.name_rules(init, architecture)

    def _build(self, architecture: Architecture) -> None:
        """The engine, the views of its parameters, and what one call leaves to the next."""
        self._engine = engine = self._engine_type(architecture)
        # Known from here on, as they are looked up in each of many short calls.
        self._params, self._vector = engine.params, engine.vector
        self._forward_few, self._probabilities = engine.forward_few, engine.probabilities
        self._loss = architecture.loss
        self._lock = _core.TrainingLock()
        self._weights = ParameterViews("weights", engine.weights, self._lock.change)
        self._biases = ParameterViews("biases", engine.biases, self._lock.change)
        self._states = States()
        self._history: History | None = None
        self._stepper: Stepper | None = None
        self._last_rows = 0  # of the last call of step
        self._last_pass: TrainingPass | None = None  # of forward(X, training=True)

    def _seed_draws(self, draws: np.ndarray | None) -> None:
        """Dropout goes on from there, or from a seed of the net's own random numbers."""
        own = self._engine.draws
        if own is None:
            return
        if draws is None:
            own[0] = self._rng.integers(2**64 - 1, dtype=np.uint64, endpoint=True)
        else:
            own[...] = draws

    def _draws(self) -> np.ndarray | None:
        """A copy."""
        return None if self._engine.draws is None else self._engine.draws.copy()

    @property
    def _architecture(self) -> Architecture:
        return self._engine.architecture

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, ...]:
        """(n_in, hidden..., n_out)."""
        return self._architecture.sizes

    @property
    def activations(self) -> tuple[str, ...]:
        """One name a hidden layer."""
        return self._architecture.activations

    @property
    def normalization(self) -> Normalization | None:
        """Of the hidden layers."""
        return self._architecture.normalization

    @property
    def dropout(self) -> tuple[Dropout, ...]:
        """One rate, or object of ``vg.dropout``, a hidden layer."""
        return self._architecture.dropouts

    @property
    def residual(self) -> Residual | None:
        """What ``vg.residual`` gave."""
        return self._architecture.residual

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return self._loss

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64 (of ``vgfast.reference`` also float16)."""
        return self._architecture.dtype

    @property
    def n_params(self) -> int:
        """Weights and biases together, and what a normalization learns."""
        return self._params.size

    @property
    def params(self) -> np.ndarray:
        """All parameters (n_params,): W1, b1, W2, b2, ..., with gains and shifts of a layer's normalization behind its
        biases. A live view; assignment copies in."""
        return self._params

    @params.setter
    def params(self, value: Any) -> None:
        self._lock.change(lambda: _check.assigned("params", value, self._params))

    @property
    def weights(self) -> ParameterViews:
        """``weights[l-1]`` is W_l (n_in, n_out), a live view of ``params``; assignment copies in."""
        return self._weights

    @property
    def biases(self) -> ParameterViews:
        """``biases[l-1]`` is b_l (n_out,), a live view of ``params``; assignment copies in."""
        return self._biases

    def parameters(self) -> Mapping[str, np.ndarray]:
        """Live views of ``params`` by name: ``layer1.weight`` (n_in, n_out), ``layer1.bias`` (n_out,), with a
        normalization ``layer1.norm.weight`` (n_out,) and ``layer1.norm.bias``, as PyTorch calls gains and shifts,
        ``layer2.weight``, ... What is written into one is in the net.

        >>> import vgfast as vg
        >>> net = vg.MLP([4, 8, 3], rng=0)
        >>> {name: value.shape for name, value in net.parameters().items() if "2" in name}
        {'layer2.weight': (8, 3), 'layer2.bias': (3,)}
        >>> net.parameters()["layer2.bias"][...] = 1
        """
        return MappingProxyType(self._architecture.named_views(self._params))

    @property
    def history(self) -> History | None:
        """The ``History`` of the last ``fit``, also of one that was interrupted, up to there; None before the first."""
        return self._history

    def __repr__(self) -> str:
        sizes, kinds, loss, dtype, rates, residual, norm = self._architecture
        shown = kinds[0] if len(set(kinds)) == 1 else list(kinds)
        more = f", normalization={norm}" if norm else ""
        more += f", residual={residual.shown}" if residual else ""
        more += f", dropout={rates[0] if len(set(rates)) == 1 else list(rates)}" if rates else ""
        return f"MLP({list(sizes)}, {shown!r}, loss={loss!r}, dtype='{dtype}'{more})"

    def summary(self) -> Summary:
        """A table with a row a layer: shape of the weights, parameters, activation, dropout, the layer whose outputs a
        residual connection adds, and by which rule of ``vg.init`` the weights were drawn ("-" where they came from a
        file). Below, how it adds them, and the loss.

        >>> import vgfast as vg
        >>> print(vg.MLP([784, 30, 10], "sigmoid", rng=0).summary())
        layer    weights  parameters  activation            init
        ────────────────────────────────────────────────────────
        1      (784, 30)      23,550     sigmoid  glorot_uniform
        2       (30, 10)         310    identity  glorot_uniform
        23,860 parameters of float32, 95.4k bytes
        loss cross_entropy, which has its softmax
        """
        from vgfast.model.summary import summarize  # only read when asked for

        return summarize(self._architecture, self._inits)

    def _repr_html_(self) -> str:
        from vgfast.model import summary

        return summary.as_html(self._architecture, self._inits, repr(self))

    # ---- who may use it ---------------------------------------------------------------------------

    def _read(self, work: Callable[[Self], _Result]) -> _Result:
        """work(net), which only reads this net; or, while another thread trains it, a copy made between two steps. In
        standard arithmetic."""
        with _core.standard_arithmetic():
            if not self._lock.is_anothers():
                version = self._lock.version
                try:
                    result = work(self)
                except Exception:
                    if version == self._lock.version:
                        raise
                else:
                    if version == self._lock.version:
                        return result
            return work(self._lock.between_steps(self._snapshot))

    def _snapshot(self) -> Self:
        """A copy to read, with the states of its optimizers."""
        states = self._states.copy_living()
        still = self._vector.copy(), self._rng, self._added(), states, self._draws()
        return self._restore(self._architecture, *still)

    def _apart(self, a: Any) -> Any:
        """The array, or the sparse rows; a copy where it shares memory with the parameters, which change meanwhile."""
        memory = a.values if isinstance(a, _check.SparseRows) else a
        return a.copy() if np.may_share_memory(memory, self._vector) else a

    def _batch(self, X: Any, y: Any, names: Sequence[str] = _NAMES) -> tuple[_check.Rows, np.ndarray]:
        """X and y as C takes them, sharing no memory with the parameters."""
        with _core.standard_arithmetic():
            x = self._architecture.check_rows(X, names[0])
            t = self._architecture.check_targets(y, len(x), names[1])
        return self._apart(x), self._apart(t)

    def _weighted(
        self, X: Any, y: Any, sample_weight: Any, names: Sequence[str] = _NAMES
    ) -> tuple[_check.Rows, np.ndarray, np.ndarray | None]:
        """The same, and the rows' weights, if there are any."""
        x, t = self._batch(X, y, names)
        if sample_weight is None:
            return x, t, None
        with _core.standard_arithmetic():
            return x, t, _check.sample_weight(names[2], sample_weight, len(x))

    # ---- parameters by name -----------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by name, as ``parameters`` has them: ``layer1.weight`` (n_in, n_out), which is the
        transpose of PyTorch's, ``layer1.bias`` (n_out,), ``layer2.weight``, ..., and, with batch norm, of its running
        statistics ``layer1.norm.running_mean`` and ``layer1.norm.running_var`` (n_out,). While another thread trains
        this net, they are those between two steps.

        >>> import numpy as np, vgfast as vg
        >>> net, other = vg.MLP([4, 8, 3], rng=0), vg.MLP([4, 8, 3], rng=1)
        >>> other.load_state_dict(net.state_dict())
        >>> np.array_equal(net.params, other.params)
        True
        """
        vector = self._lock.between_steps(self._vector.copy)
        return {name: view.copy() for name, view in self._architecture.named_state(vector).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy in all parameters, as ``state_dict`` gives them. What an optimizer knows of this net stays.

        Errors: TypeError or ValueError for names that are missing or unknown, and for arrays of another shape, of
        anything but real numbers, or not finite; RuntimeError while another thread trains this net. The net is then as
        it was.
        """
        vector = np.empty_like(self._vector)
        with _core.standard_arithmetic():
            copy_state(state, self._architecture.named_state(vector))
        self._lock.change(lambda: np.copyto(self._vector, vector))

    # ---- copies and files ------------------------------------------------------------------------

    @classmethod
    def _restore(
        cls,
        architecture: Architecture,
        vector: np.ndarray,
        rng: Any,
        more: dict[str, Any],
        states: Sequence[tuple[Tag, RuleState]] = (),
        draws: np.ndarray | None = None,
    ) -> Self:
        """A net of this class with this ``vector`` in its engine, without its constructor, which may be another's."""
        net = cls.__new__(cls)
        vars(net).update(more)
        net._rng = _check.generator(rng)
        net._build(architecture)
        net._vector[...] = vector
        net._states = States(states)
        net._seed_draws(draws)
        return net

    def _added(self) -> dict[str, Any]:
        """What a subclass, or its user, has added."""
        return {name: value for name, value in vars(self).items() if name not in _OWN}

    def __reduce__(self) -> Any:
        return self._lock.between_steps(self._reduce)

    def _reduce(self) -> Any:
        states = self._states.copy_living()
        # What was added may refer to the net, so it is restored after the net.
        added = self._added() or None
        own = self._architecture, self._vector.copy(), self._rng
        return self._restore, (*own, {}, states, self._draws()), added

    def _copy(self, more: dict[str, Any]) -> Self:
        rng = copy.deepcopy(self._rng)
        return self._lock.between_steps(
            lambda: self._restore(self._architecture, self._vector.copy(), rng, more, (), self._draws())
        )

    def __copy__(self) -> Self:
        return self._copy(self._added())

    def copy(self) -> Self:
        """A net with the same parameters that will shuffle alike, and shares nothing with this one; what an
        optimizer keeps of this net stays behind. (``copy.copy`` shares what a subclass has added, and
        ``copy.deepcopy((net, optimizer))`` takes such state along.)"""
        net = self._copy({})
        vars(net).update(copy.deepcopy(self._added(), {id(self): net}))
        return net

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write a safetensors file, whole or not at all; a file that is replaced keeps its mode. Or write to a binary
        file that is open.

        The tensors are named and shaped as by ``torch.nn.Sequential`` of Linear layers with activations, and
        normalizations, between: ``0.weight`` (n_out, n_in), ``0.bias``, ``2.weight``, ... Errors: ``DivergenceError``
        for parameters that are not finite, before anything is written; OSError, the old file being as it was.
        """
        from vgfast.model import files

        still = self._lock.between_steps(self._snapshot)
        files.save(path, still._architecture, still._engine.vector)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | BinaryIO,
        rng: Any = None,
        activation: Given | Sequence[Given] | None = None,
        loss: str | None = None,
    ) -> Self:
        """The net that ``save`` wrote; ``rng`` as for a new net, for shuffling. A binary file that is open is read from
        where it stands to its end.

        activation, loss: those of a net whose file others wrote: ``torch.nn.Sequential``'s tensors, named and shaped as
        ``save`` does it, in single, double or half precision, which becomes float32. A file of ``save`` holds them.
        Of a subclass whose constructor sets more, that constructor does not run: set it afterwards.
        Errors: ValueError if the file is damaged or is something else.

        >>> import io, vgfast as vg
        >>> net, file = vg.MLP([4, 8, 3], rng=0), io.BytesIO()
        >>> net.save(file)
        >>> vg.MLP.load(io.BytesIO(file.getvalue()))
        MLP([4, 8, 3], 'relu', loss='cross_entropy', dtype='float32')
        """
        from vgfast.model import files

        architecture, vector = files.load(path, activation, loss)
        return cls._restore(architecture, vector, rng, {})


# What a net is made of; all else in a subclass's __dict__ is copied as it is.
_OWN = {"_engine", "_params", "_vector", "_forward_few", "_probabilities", "_loss", "_rng", "_weights", "_biases"}
_OWN |= {"_lock", "_states", "_history", "_stepper", "_last_rows", "_last_pass"}
