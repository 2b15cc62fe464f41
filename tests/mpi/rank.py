"""What one rank does in a test: ``mpiexec -n N python rank.py FOLDER WORK [ARGUMENT]``. It leaves in FOLDER a pickle of
what it has found, by its number; of several works, as in cases+exact, by their names."""

import os
import pickle
import signal
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from mpi.cases import CASES, digest, split, train, train_with_checkpoint
from mpi4py import MPI
from training.ranks import SIZES, make_data

import vgfast as vg
from vgfast import mpi

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


def show(net, history):
    """As far as one can be compared, and sent."""
    kept = SimpleNamespace(loss=history.loss, epochs=history.epochs, gradients=history.gradients)
    return SimpleNamespace(params=net.params, dtype=net.dtype), kept


def cases(names):
    names = names.split(";") if names else CASES
    return {name: show(*train(name, mpi.fit, RANK, SIZE)) for name in names}


def exact(_):
    """Digests of the same training, three times; and where the sum is MPI's own."""
    name = "uneven batches"
    three = [digest(train(name, mpi.fit, RANK, SIZE, exact=True)[0]) for _ in range(3)]
    return three, digest(train(name, mpi.fit, RANK, SIZE)[0])


def refusal(net=None, X=None, y=None, **how):
    """(error, what it says, whether the net is as it was) of a training that must not begin."""
    data = make_data(dtype="float32")
    net = vg.MLP(SIZES, rng=3) if net is None else net
    before = net.params.copy() if isinstance(net, vg.MLP) else np.zeros(0)
    state = net._rng.bit_generator.state if isinstance(net, vg.MLP) else None
    rows = [X] if isinstance(X, Source) else [data[0] if X is None else X, data[1] if y is None else y]
    try:
        mpi.fit(net, *rows, **{"epochs": 2, "batch_size": 16} | how)
    except (TypeError, ValueError, RuntimeError) as error:
        same = state is None or ((net.params == before).all() and net._rng.bit_generator.state == state)
        return type(error).__name__, str(error), bool(same)
    return None


def mine(here, there):
    """What rank 1 has, and what the others have."""
    return here if RANK == 1 else there


def own_net():
    """Which begins otherwise in each rank."""
    return vg.MLP(SIZES, rng=3 + RANK)


def rate(step):
    """A schedule without a rate for some step."""
    if step == 6:
        raise KeyError(step)
    return 0.1 if step < 4 else -1.0


class Source:
    def __init__(self, failing=False):
        self.failing = failing

    def __len__(self):
        return 67

    def blocks(self, order):
        if self.failing:
            raise OSError("the disk is gone")
        yield make_data(dtype="float32")


def refusals(_):
    import scipy.sparse  # half the time that a rank takes to start

    X, y = make_data(dtype="float32")
    spoilt = X.copy()
    spoilt[40, 3] = np.nan
    return {
        "nets": refusal(mine(vg.MLP([9, 8, 4], rng=3), vg.MLP(SIZES, rng=3))),
        "dtypes": refusal(vg.MLP(SIZES, rng=3, dtype=mine("float64", "float32"))),
        "rows": refusal(X=X[: mine(50, 67)], y=y[: mine(50, 67)]),
        "data": refusal(X=mine(X + 1, X)),
        "optimizers": refusal(optimizer=vg.SGD(mine(0.2, 0.1))),
        "epochs": refusal(epochs=mine(3, 2)),
        "inspections": refusal(inspect_every=mine(3, 2)),
        "callbacks": refusal(callbacks=mine([print], [])),
        "checkpoints": refusal(callbacks=[vg.Checkpoint("no file", every_steps=mine(3, 2))]),
        "held out": refusal(validation_data=mine((X[:9], y[:9]), (X[:8], y[:8]))),
        "averages": refusal(average_every=mine(3, 2)),
        "averages and inspection": refusal(average_every=2, inspect_every=2),
        "few averages": refusal(average_every=0),
        "exactness": refusal(exact=RANK == 1),
        "NaN": refusal(X=mine(spoilt, X)),
        "NaN in a shard": refusal(X=mine(spoilt, X), sharded=True),
        "no net": refusal(mine("net", None)),
        "source": refusal(X=Source()),
        "one source": refusal(X=mine(Source(), None), sharded=True),
        "weights beside a source": refusal(X=Source(), sharded=True, sample_weight=mine(np.ones(67), None)),
        "small batches": refusal(batch_size=SIZE - 1),
        "few rows": refusal(X=X[:1], y=y[:1]),
        "batch norm": refusal(vg.MLP(SIZES, rng=3, normalization="batch")),
        "sparse shards": refusal(X=scipy.sparse.csr_matrix(X), sharded=True, inspect_every=2),
        "threads": refusal(threads=mine(0, 1)),
        "progress": refusal(progress=mine(3, False)),
        "schedules": refusal(own_net(), optimizer=vg.SGD(rate)),
        "schedules that fail": refusal(own_net(), optimizer=vg.SGD(lambda step: rate(6 if step == 3 else 0))),
        "many steps": refusal(own_net(), epochs=2**30),
    }


def others(_):
    """What ranks that begin or go on otherwise than they should come to."""
    data = make_data(dtype="float32")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = vg.MLP(SIZES, rng=5 + RANK)
        mpi.fit(net, *data, epochs=2, batch_size=16, optimizer=vg.Adam())
    alike = digest(net), net._rng.bit_generator.state
    ended = refusal(callbacks=[lambda net, history: RANK == 1], epochs=3)

    def spoil(net, history):
        if RANK == 1:
            net.weights[0][0, 0] += 1e-3

    drifted = refusal(callbacks=[spoil], epochs=3, check_every=2)
    X, y = make_data(dtype="float32")
    X[16 * 2 + 12] = 3e38  # of the third batch's second half
    net, diverged = vg.MLP(SIZES, rng=3), None
    try:
        mpi.fit(net, X, y, batch_size=16, shuffle=False)
    except vg.DivergenceError as error:
        diverged = str(error), error.step, len(error.history.loss), digest(net)
    return {
        "warnings": [str(one.message) for one in caught if one.filename == __file__],
        "alike": alike,
        "ended": ended,
        "drifted": drifted,
        "failed": refusal(X=Source(failing=RANK == 1), sharded=True),
        "diverged": diverged,
        "shown": show(*one_step(data)),
    }


def one_step(data):
    """Of progress, which rank 0 alone is told."""
    net, told = vg.MLP(SIZES, rng=3), []
    history = mpi.fit(net, *data, epochs=1, batch_size=16, progress=lambda done, total, history: told.append(done))
    assert bool(told) == (RANK == 0)
    return net, history


def fails(how):
    """Rank 1 alone fails after two epochs: by an error, or as one that is killed."""

    def callback(net, history):
        if RANK == 1 and len(history.epochs) == 2:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyError("no such row")

    mpi.fit(vg.MLP(SIZES, rng=3), *make_data(dtype="float32"), epochs=100_000, batch_size=16, callbacks=[callback])


def goes_on(argument):
    """A training with a checkpoint, if it has a path; with a death such as 1:30, that rank is killed at that step."""
    path, death, sharded = argument.split(",")
    add, steps = mpi.Reducer.add, []
    n_params = vg.MLP(SIZES).n_params

    def mortal(self, numbers):
        if numbers.size == n_params:  # a step's gradient
            if death == f"{RANK}:{len(steps)}":
                os.kill(os.getpid(), signal.SIGKILL)
            steps.append(len(steps))
        add(self, numbers)

    mpi.Reducer.add = mortal
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        shard = split(SIZE)[RANK] if sharded else None
        shown = show(*train_with_checkpoint(path, mpi.fit, shard=shard, exact=True))
    told = [str(one.message) for one in caught if one.filename == train_with_checkpoint.__code__.co_filename]
    assert len(told) == len(caught)
    return {"shown": shown, "steps": len(steps), "warnings": told}


def averages(path):
    """A training by local SGD, and one that goes on from a checkpoint halfway."""
    if SIZE == 3:  # two have left a file
        return refusal(own_net(), average_every=3, epochs=4, optimizer=vg.Adam(), callbacks=[vg.Checkpoint(path)])
    made = []
    for file, epochs in (("", 4), (path, 2), (path, 4)):
        net, optimizer = vg.MLP(SIZES, rng=3), vg.Adam()
        callbacks = [vg.Checkpoint(file, every_steps=6)] if file else []
        how = {"epochs": epochs, "batch_size": 16, "callbacks": callbacks, "average_every": 3}
        history = mpi.fit(net, *make_data(dtype="float32"), optimizer=optimizer, **how)
        kept = [vector.tobytes() for vector in net._states.find(optimizer).vectors]
        made.append((digest(net), history.loss.tobytes(), kept))
    return made


def other_shard(path):
    """A checkpoint of shards, with which rank 1 goes on with rows that are not those that it had."""
    X, y = make_data(dtype="float32")
    mine = split(SIZE)[RANK]
    how = {"sharded": True, "callbacks": [vg.Checkpoint(path)], "batch_size": 16}
    mpi.fit(vg.MLP(SIZES, rng=3), X[mine], y[mine], epochs=1, **how)
    return refusal(own_net(), X=X[mine] + (RANK == 1), y=y[mine], **how)


def fewer_shards(path):
    """A checkpoint of shards of two ranks, with which three go on, of which rank 0 has the rows that it had."""
    X, y = make_data(dtype="float32")
    rows = np.arange(20) if RANK == 0 else np.array_split(np.arange(20, len(X)), SIZE - 1)[RANK - 1]
    how = {"sharded": True, "callbacks": [vg.Checkpoint(path)], "batch_size": 16, "epochs": 2}
    if SIZE == 3:
        return refusal(own_net(), X=X[rows], y=y[rows], **how)
    mpi.fit(vg.MLP(SIZES, rng=3), X[rows], y[rows], **how)


def broken(path):
    """What a checkpoint that cannot be read, in rank 0, comes to in each."""
    if RANK == 0:
        Path(path).write_bytes(b"no checkpoint")
    MPI.COMM_WORLD.Barrier()
    return refusal(own_net(), callbacks=[vg.Checkpoint(path)])


if __name__ == "__main__":
    folder, work, *argument = sys.argv[1:]
    found = {name: globals()[name](*argument or [""]) for name in work.split("+")}
    found = found if "+" in work else found[work]
    Path(folder, f"{RANK}.pickle").write_bytes(pickle.dumps(found))
