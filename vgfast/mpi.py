"""One training by several processes of MPI, which mpi4py starts: ``mpiexec -n 4 python script.py``.

Each process, a rank, runs the whole script. Those of a script that calls ``vgfast.mpi.fit`` where others call
``net.fit`` take, of every batch, a part of the rows each; the gradient is the sum of their parts, so that each rank
takes the step that one process would take on the whole batch, and all end with equal parameters. The same seed gives
the same order of rows as in one process.

On one machine, two threads of one process are faster than two ranks: they exchange nothing.
``net.cost(...).scale(...)`` says from how many rows a rank on machines pay.

With ``average_every=H`` it is another algorithm, local SGD, for networks on which the exchange takes longer than the
step. Each rank takes H steps by itself, by the mean over its part of each batch. Then all go on with the average of
their parameters, to which a rank counts by the weight of the rows that it has taken since the last average. So they do
after each epoch, too, and all end with equal bits. What the optimizer keeps stays each rank's own; a rank without a row
of a batch leaves that step out. With plain SGD and H = 1 it is the training without, but for rounding. Losses and
accuracies are of whole batches, by the parameters that each rank had. Ranks are compared where an epoch begins, unless
check_every is 0. inspect_every, an optimizer's penalty and sources of blocks are refused, as they are of whole batches.
(S. U. Stich, Local SGD converges fast and communicates little, ICLR 2019; H. B. McMahan and others,
Communication-efficient learning of deep networks from decentralized data, AISTATS 2017.)
"""

from __future__ import annotations

import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

import numpy as np

from vgfast import _check, config
from vgfast._check import packages
from vgfast.training import ranks
from vgfast.training.block_loop import check_source, is_source
from vgfast.training.callbacks import Callbacks
from vgfast.training.checkpoint import Checkpoint, describe_optimizer
from vgfast.training.epochs import check_batches, check_numbers, check_progress, check_schedule
from vgfast.training.fit import measured
from vgfast.training.history import History
from vgfast.training.settings import check_optimizer

_INSTALL = "'vgfast[mpi]' mpich"
# Seconds for a launcher to read what a rank has printed: with the rank it ends what it has not read.
_HEARD = 0.5
T = TypeVar("T")


def _world() -> Any:
    try:
        return packages.require("mpi4py.MPI", "vgfast.mpi", _INSTALL).COMM_WORLD
    except RuntimeError as error:  # mpi4py is there, and finds no MPI
        raise ImportError(
            f"vgfast.mpi needs an MPI, which mpi4py cannot load ({error}); install one with: pip install mpich"
        ) from None


class Reducer(ranks.Reducer):
    """Sums over the ranks of a communicator of mpi4py; None: over all. For ``net.fit(X, y, reduce=...)`` of each rank,
    where ``vgfast.mpi.fit`` does too much; if one rank then fails, the others wait for it, unless it ends them
    (``comm.Abort``).

    exact: whether sums are taken in the order of the ranks, so that as many ranks give the same bits again, whatever
    MPI does; each rank then gets the numbers of all, which takes ``size`` times the bytes. The others: see
    ``vg.Reducer``.
    """

    def __init__(
        self,
        comm: Any = None,
        exact: bool = False,
        sharded: bool = False,
        check_every: int = 100,
        average_every: int | None = None,
    ) -> None:
        self.comm = _world() if comm is None else comm
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.exact, self.sharded = _check.flag("exact", exact), _check.flag("sharded", sharded)
        self.check_every = _check.integer("check_every", check_every, 0)
        self.average_every = None if average_every is None else _check.integer("average_every", average_every, 1)

    def add(self, numbers: np.ndarray) -> None:
        if not self.exact:
            self.comm.Allreduce(sys.modules["mpi4py.MPI"].IN_PLACE, numbers)
            return
        of_ranks = np.empty((self.size, *numbers.shape), numbers.dtype)
        self.comm.Allgather(numbers, of_ranks)
        numbers[...] = of_ranks[0]
        for other in of_ranks[1:]:
            numbers += other


def fit(
    net: Any,
    X: Any,
    y: Any = None,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Any = None,
    shuffle: bool = True,
    *,
    comm: Any = None,
    sharded: bool = False,
    exact: bool = False,
    check_every: int = 100,
    average_every: int | None = None,
    threads: int = 1,
    validation_data: tuple[Any, ...] | None = None,
    inspect_every: int = 0,
    inspect: str = "scalars",
    callbacks: Sequence[Any] = (),
    progress: Any = False,
    sample_weight: Any = None,
) -> History:
    """Train the net as ``net.fit`` does, by all ranks of comm (None: all there are); returns the history of whole
    batches, the same in each. batch_size: rows of a whole batch, of all ranks together. shuffle: by the net's own
    generator, or not at all.

    X, y, sample_weight: the same in every rank; or, sharded, each rank's own rows, or its own source of them in place
    of all three (see ``vgfast.data.blocks``), for rows beyond its memory. All else is the same in every rank, too,
    validation_data among it. Ranks begin with the parameters, the random numbers and what the optimizer knows of
    rank 0. exact, check_every: see ``Reducer``. threads: of each rank. progress: by rank 0, with the history of the
    epochs that have ended.
    callbacks: called in every rank, where they must do the same; of a ``vg.Checkpoint``, only rank 0 reads and writes
    the file, and a training that was killed and is started again gives the bits of one that was not, with the same
    number of ranks, and exact where MPI's own order of sums may differ.

    average_every: None; or, for slow networks, the H of **another algorithm**, local SGD: see ``help(vgfast.mpi)``.

    Errors of ``net.fit``, and ValueError for ranks with different nets, settings or data, or more ranks than rows of a
    batch: in all ranks, with the rank named if it is of one, before any change. ``DivergenceError`` likewise in all
    ranks, and RuntimeError where ranks no longer do the same; and the error of a source, with its rank named, after the
    last step that all have the rows of. Any other error in one rank is printed, and ends all of them, as the others
    would wait for that one for ever: so do errors of callbacks. MPI ends all where a rank is killed: Open MPI's mpiexec
    says which one; MPICH's says the number of a process, which may be one that it has ended itself.
    """
    reducer = Reducer(comm, exact, sharded, check_every, average_every)
    how: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle, "callbacks": callbacks}
    how |= {"inspect_every": inspect_every, "inspect": inspect, "progress": progress}
    how |= {"validation_data": validation_data, "sample_weight": sample_weight}
    optimizer, rows = _agree(reducer, lambda: _describe(net, X, y, optimizer, how, threads, reducer))
    _in_all(reducer, lambda: _check_steps(net, optimizer, rows, how))
    begin = partial(_begin_alike, net, optimizer, reducer)
    shared = [_OfRanks(one, reducer, begin) if isinstance(one, Checkpoint) else one for one in how["callbacks"]]
    how["callbacks"], how["progress"] = shared, progress if reducer.rank == 0 else False
    with _or_all_end(reducer), config.threads(threads):
        if not any(isinstance(one, _OfRanks) for one in shared):
            begin()
        return net.fit(X, y, optimizer=optimizer, reduce=reducer, **how)


class _Mine:
    """What a rank says before a training. ``facts``: what all ranks must have in common, as texts by name."""

    def __init__(self, optimizer: Any, n_rows: int, batch_size: int, facts: dict[str, str]) -> None:
        self.optimizer, self.n_rows, self.batch_size, self.facts = optimizer, n_rows, batch_size, facts


def _describe(net: Any, X: Any, y: Any, optimizer: Any, how: dict[str, Any], threads: Any, reducer: Reducer) -> _Mine:
    """The errors of ``fit`` that a rank can see alone."""
    if not hasattr(net, "_learner"):
        raise TypeError(f"net must be one of vgfast's, such as vg.MLP makes, got {_check.quote(net)}")
    from_source = is_source(X)
    ranks.check(reducer, net._architecture, from_source)
    optimizer = check_optimizer(optimizer, net.dtype)
    check_numbers(how["epochs"], how["inspect_every"], how["inspect"])
    _check.flag("shuffle", how["shuffle"])
    _check.integer("threads", threads, 1)
    listeners = Callbacks(how["callbacks"])
    listeners.check_monitors(measured(net.loss, how["validation_data"] is not None))
    callbacks = how["callbacks"] = listeners.items
    for one in callbacks:
        if isinstance(one, Checkpoint) and type(one) is not Checkpoint:
            raise TypeError(f"ranks share a vg.Checkpoint itself, got its subclass {type(one).__name__}; give that one")
    check_progress(how["progress"])
    if from_source:
        check_source(X, y, how["sample_weight"])
        x, t, weights = X, None, None
    else:
        x, t, weights = net._weighted(X, y, how["sample_weight"])
    ranks.check_run(reducer, x, how["inspect_every"], optimizer)
    held_out, names = how["validation_data"], [f"validation_data[{i}]" for i in range(3)]
    validation = () if held_out is None else net._weighted(*_check.held_out(held_out), names)
    batch_size = _check.integer("batch_size", how["batch_size"], 1)
    facts = {name: str(value) for name, value in net._architecture._asdict().items()}
    facts |= {"random numbers of": type(net._rng.bit_generator).__name__} | describe_optimizer(optimizer)
    facts |= {name: str(how[name]) for name in ("epochs", "batch_size", "shuffle", "inspect_every", "inspect")}
    facts |= {name: str(getattr(reducer, name)) for name in ("sharded", "exact", "check_every", "average_every")}
    facts |= {"X": "from a source" if from_source else "in memory"}
    facts |= {"sample_weight": "none" if weights is None else "given"}
    facts |= {"callbacks": ", ".join(map(_name_callback, callbacks)) or "none"}
    facts |= {"validation_data of the checksum": _check.checksum(*validation) if validation else "none"}
    if not reducer.sharded:
        facts |= {"rows of X": str(len(x)), "X, y and weights of the checksum": _check.checksum(x, t, weights)}
    return _Mine(optimizer, len(x), batch_size, facts)


def _in_all(reducer: Reducer, check: Callable[[], T]) -> T:
    """What check() returns in this rank; the error of the first rank that has one, which is named, in all."""
    found, failed = None, None
    try:
        found = check()
    except Exception as error:
        failed = error if type(error) in (TypeError, ValueError, MemoryError) else RuntimeError(repr(error))
    for rank, its in enumerate(reducer.comm.allgather(failed)):
        if its is not None:
            raise type(its)(f"rank {rank} of {reducer.size}: {its}")
    return cast(T, found)


def _agree(reducer: Reducer, describe: Callable[[], _Mine]) -> tuple[Any, int]:
    """(the optimizer, the rows of an epoch), when all ranks have said that they will do the same; else an error in all
    of them."""
    mine = _in_all(reducer, describe)
    said = reducer.comm.allgather((mine.n_rows, mine.facts))
    first = said[0][1]
    for rank, (_, facts) in enumerate(said):
        for name, fact in facts.items():
            if fact != first.get(name):
                raise ValueError(
                    f"rank {rank} of {reducer.size} trains with {name} {fact}, and rank 0 with {first.get(name)}; give "
                    f"all ranks the same"
                )
    rows = sum(n for n, _ in said) if reducer.sharded else mine.n_rows
    if min(mine.batch_size, rows) < reducer.size:
        raise ValueError(
            f"a batch must have a row for each of the {reducer.size} ranks, got batch_size={mine.batch_size} and "
            f"{rows} rows in all; take larger batches, or fewer ranks"
        )
    return mine.optimizer, rows


def _check_steps(net: Any, optimizer: Any, rows: int, how: dict[str, Any]) -> None:
    """The errors of ``net.fit`` about so many steps."""
    batch_size = check_batches(net._architecture, how["batch_size"], rows, how["epochs"])
    check_schedule(optimizer, net._states, how["epochs"] * -(-rows // batch_size), net.dtype)


def _begin_alike(net: Any, optimizer: Any, reducer: Reducer) -> None:
    """All ranks take what rank 0 has: parameters, random numbers, and what the optimizer keeps."""
    learner, comm = net._learner(), reducer.comm
    digests = comm.allgather(zlib.crc32(learner.engine.vector.data))
    learner.lock.change(lambda: comm.Bcast(learner.engine.vector))
    learner.rng.bit_generator.state = comm.bcast(learner.rng.bit_generator.state)
    if learner.engine.draws is not None:
        comm.Bcast(learner.engine.draws)
    learner.set_optimizer_state(optimizer, comm.bcast(learner.optimizer_state(optimizer)))
    others = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if others and reducer.rank == 0:
        _warn(
            f"{ranks.name_ranks(others, reducer.size)} had other parameters than rank 0, which all now take; make "
            f"each net with the same seed"
        )


def _warn(text: str) -> None:
    """At the line that has called ``fit``."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "vgfast":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


@contextmanager
def _or_all_end(reducer: Reducer) -> Iterator[None]:
    """An error that one rank alone has ends all."""
    try:
        yield
    except BaseException as error:
        if reducer.size == 1 or ranks.is_raised_by_all(error):
            raise
        rank = f"rank {reducer.rank} of {reducer.size}"
        print(f"vgfast.mpi: {rank} failed, so all ranks end:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        time.sleep(_HEARD)
        reducer.comm.Abort(1)
        raise


def _name_callback(callback: Any) -> str:
    """As it must be in all ranks. The path of a checkpoint need not: rank 0's is looked at."""
    if isinstance(callback, Checkpoint):
        return f"Checkpoint({callback.when})"
    return str(getattr(callback, "__name__", type(callback).__name__))


class _OfRanks(Checkpoint):
    """A checkpoint of all ranks, in rank 0's file. begin: makes all ranks alike, where there is no file yet."""

    def __init__(self, checkpoint: Checkpoint, reducer: Reducer, begin: Callable[[], None]) -> None:
        super().__init__(checkpoint.path, checkpoint.every, checkpoint.every_steps)
        self.reducer, self.begin = reducer, begin
        self.optimizers: list[Any] = []  # what they keep in each rank, where that is not the same
        self.data: list[dict[str, str]] = []  # of each rank

    def read(self, loop: Any, epochs: int, others: list[Any]) -> dict[str, Any] | None:
        kept, failed = None, None
        self.data = self.reducer.comm.allgather(loop.describe_data())
        if self.reducer.rank == 0:
            try:
                kept = super().read(loop, epochs, others)
            except (OSError, ValueError) as error:
                failed = error
        kept, failed = self.reducer.comm.bcast((kept, failed))
        if failed is not None:
            raise ranks.raised_by_all(failed)
        had = self.reducer.size if kept is None else kept.get("ranks", 1)  # a net.fit says none
        own = "an optimizer" if self.reducer.average_every is not None else "rows" if self.reducer.sharded else ""
        if had != self.reducer.size and own:
            raise _refused(
                f"{self.path} is a checkpoint of {_count(had)}, each with {own} of its own, and goes on with "
                f"{self.reducer.size}; take as many, or name another path"
            )
        if kept is not None and had == self.reducer.size:
            self._compare_data(kept)
        if had != self.reducer.size and self.reducer.rank == 0:
            _warn(
                f"{self.path} is a checkpoint of {_count(had)}, and goes on with {self.reducer.size}: sums are "
                f"taken in another order, so that the last bits may differ"
            )
        if kept is None:
            self.begin()
        return kept

    def _compare_data(self, kept: dict[str, Any]) -> None:
        """ValueError if a rank has other data than it had."""
        for rank, (had, has) in enumerate(zip(kept.get("data", ()), self.data, strict=False)):
            for name, fact in had.items():
                if has.get(name) != fact:
                    raise _refused(
                        f"{self.path} is a checkpoint of a training with {name} {fact} in rank {rank}, got "
                        f"{has.get(name, 'none')}; go on with the same, or name another path"
                    )

    def resume(self, kept: dict[str, Any], loop: Any) -> None:
        super().resume(kept, loop)
        if kept.get("optimizers"):
            loop.learner.set_optimizer_state(loop.optimizer, kept["optimizers"][self.reducer.rank])

    def besides(self) -> dict[str, Any]:
        return {"ranks": self.reducer.size, "optimizers": self.optimizers, "data": self.data}

    def write(self, loop: Any, ended: bool, others: list[Any]) -> None:
        if self.reducer.average_every is not None and loop.done > 0:  # until then it is rank 0's in all
            self.optimizers = self.reducer.comm.gather(loop.learner.optimizer_state(loop.optimizer)) or []
        if self.reducer.rank == 0:
            super().write(loop, ended, others)


def _refused(text: str) -> ValueError:
    """In all ranks."""
    return ranks.raised_by_all(ValueError(text))


def _count(n: int) -> str:
    return f"{n} rank{'s' * (n != 1)}"
