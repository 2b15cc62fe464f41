"""Local SGD: ranks, here threads, that take steps of their own, and then the average of their parameters."""

import threading

import numpy as np
import pytest
from training.ranks import SIZES, Meeting, assert_as_one, make_data, run_ranks

import vgfast as vg
from vgfast import reference
from vgfast.data import blocks
from vgfast.training.shares import share_batches, share_shards

pytestmark = pytest.mark.any_isa

KINDS = pytest.mark.parametrize("kind", [vg.MLP, reference.MLP], ids=["core", "numpy"])
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, 67)
PARTS = np.split(np.arange(67), [13, 40])
# 67 rows in batches of 11: the last has one row, which only the last of three ranks sees.
EPOCHS, BATCH, PER_EPOCH = 4, 11, 7


def train(reduce=None, every=None, kind=vg.MLP, rows=slice(None), optimizer=None, **how):
    if every is not None:
        reduce.average_every = every
    X, y = make_data()
    of_net = {name: how.pop(name) for name in ("dropout", "dtype", "normalization") if name in how}
    net = kind(SIZES, rng=3, **{"dtype": "float64"} | of_net)
    if how.get("sample_weight") is not None:
        how["sample_weight"] = how["sample_weight"][rows]
    how = {"epochs": EPOCHS, "batch_size": BATCH} | how
    return net, net.fit(X[rows].astype(net.dtype), y[rows], optimizer=optimizer or vg.SGD(0.2), reduce=reduce, **how)


def loss_and_gradient(net, params, X, y, weights):
    net.params[...] = params
    gradients = net.gradients(X, y, sample_weight=weights)
    return net.evaluate(X, y, sample_weight=weights), gradients.flat


class Simulation:
    """Of ranks by plain NumPy, each of which has the rows ``shares[rank][step]`` of the training in their order."""

    def __init__(self, shares, every, weights=None, lr=0.2, momentum=0.0):
        X, y = make_data()
        net = reference.MLP(SIZES, dtype="float64", rng=3)
        whole = net.params.copy()
        params, velocities = [whole.copy() for _ in shares], [np.zeros_like(whole) for _ in shares]
        self.losses, self.correct, self.n_averages = [], [], 0
        since = np.zeros(len(shares))
        for step in range(EPOCHS * PER_EPOCH):
            total, loss, right = 0.0, 0.0, 0.0
            for rank, share in enumerate(shares):
                rows = share[step % PER_EPOCH]
                if len(rows) == 0:
                    continue
                w = None if weights is None else weights[rows]
                n = len(rows) if w is None else w.sum()
                found, gradient = loss_and_gradient(net, params[rank], X[rows], y[rows], w)
                velocities[rank] = momentum * velocities[rank] + gradient
                params[rank] -= lr * velocities[rank]
                total, loss, right = total + n, loss + n * found.loss, right + n * found.accuracy
                since[rank] += n
            self.losses.append(loss / total)
            self.correct.append(right)
            if (step + 1) % every == 0 or (step + 1) % PER_EPOCH == 0:
                whole = sum(n * p for n, p in zip(since, params, strict=True)) / since.sum()
                params, since = [whole.copy() for _ in shares], np.zeros(len(shares))
                self.n_averages += 1
        self.params = whole


def parts_of_batches(size):
    """Of 67 rows that all ranks have."""
    shares = []
    for rank in range(size):
        places, batches = share_batches(67, BATCH, rank, size)
        shares.append([places[int(b["first"]) :][: int(b["rows"])] for b in batches])
    return shares


def parts_of_shards():
    counts = np.array([len(part) for part in PARTS])
    return [
        [part[int(b["first"]) :][: int(b["rows"])] for b in share_shards(counts, BATCH, rank)]
        for rank, part in enumerate(PARTS)
    ]


def assert_equal_ranks(ranks):
    (net, history), *others = ranks
    for other, its in others:
        assert net.params.tobytes() == other.params.tobytes()
        assert history.loss.tobytes() == its.loss.tobytes()
        assert [e["accuracy"] for e in history.epochs] == [e["accuracy"] for e in its.epochs]
        assert [e["loss"] for e in history.epochs] == [e["loss"] for e in its.epochs]


@KINDS
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("how", [{}, {"sample_weight": WEIGHTS, "dropout": 0.3}, {"normalization": "layer"}])
def test_with_plain_sgd_an_average_after_each_step_is_the_synchronous_training(how, size, kind):
    """The average of theta - lr g_r, weighted by n_r / n, is theta - lr sum(n_r g_r) / n, and that sum the gradient of
    the whole batch; what is left is the rounding of some hundred sums of values of about 1, over 28 steps."""
    assert_as_one(run_ranks(size, lambda r: train(r, 1, kind, **how)), train(None, kind=kind, **how))


def test_so_it_is_in_float32():
    assert_as_one(run_ranks(2, lambda r: train(r, 1, dtype="float32")), train(None, dtype="float32"), 1e-5)


def test_averages_of_equal_parameters_leave_them_as_they_are():
    """The shares of 11 rows, rounded, make less than 1: by 2.4e-7, which 280 averages would make 6.7e-5. What is left
    is rounding to either side."""
    ranks = run_ranks(3, lambda r: train(r, 1, dtype="float32", optimizer=vg.SGD(1e-30), epochs=40))
    net = vg.MLP(SIZES, dtype="float32", rng=3)
    n, began = (net.params != 0), net.params
    assert abs(np.mean(ranks[0][0].params[n] / began[n]) - 1) < 1e-5


SIMULATED = {
    "parts of batches": (parts_of_batches(3), [slice(None)] * 3, {}, False),
    "shards": (parts_of_shards(), PARTS, {}, True),
    "weighted shards": (parts_of_shards(), PARTS, {"sample_weight": WEIGHTS}, True),
}


@KINDS
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("every", [2, 3, 100])
@pytest.mark.parametrize("case", SIMULATED)
def test_it_is_the_algorithm_in_plain_numpy(case, every, momentum, kind):
    shares, rows, how, sharded = SIMULATED[case]

    def one_rank(r):
        return train(r, every, kind, rows[r.rank], vg.SGD(0.2, momentum=momentum), shuffle=False, **how)

    ranks = run_ranks(3, one_rank, sharded)
    assert_equal_ranks(ranks)
    simulated = Simulation(shares, every, how.get("sample_weight"), momentum=momentum)
    net, history = ranks[0]
    np.testing.assert_allclose(net.params, simulated.params, rtol=1e-12, atol=1e-12)
    # A small loss is what a difference of values of some tens leaves.
    np.testing.assert_allclose(history.loss, simulated.losses, rtol=1e-11, atol=1e-14)
    weight = 67 if how == {} else WEIGHTS.sum()
    right = np.sum(np.reshape(simulated.correct, (EPOCHS, PER_EPOCH)), axis=1) / weight
    np.testing.assert_allclose([e["accuracy"] for e in history.epochs], right, rtol=1e-12)
    synchronous = run_ranks(3, lambda r: train(r, None, kind, rows[r.rank], shuffle=False, **how), sharded)
    assert np.abs(net.params - synchronous[0][0].params).max() > 1e-4  # another algorithm


@pytest.mark.parametrize("optimizer", [vg.Adam, vg.RMSprop])
def test_what_optimizers_keep_stays_with_each_rank_and_shuffled_ranks_end_equal(optimizer):
    optimizers = [optimizer(0.01) for _ in range(2)]
    ranks = run_ranks(2, lambda r: train(r, 3, optimizer=optimizers[r.rank]))
    assert_equal_ranks(ranks)
    (first, second) = [net._states.find(one) for (net, _), one in zip(ranks, optimizers, strict=True)]
    assert (first.vectors[0] != second.vectors[0]).any()
    assert first.n_taken == second.n_taken == EPOCHS * PER_EPOCH


def count_sums(every):
    """By each of two ranks, of numbers as many as there are parameters, and of others."""
    sums = [[0, 0], [0, 0]]

    class Counting(Meeting):
        def add(self, rank, numbers):
            sums[rank][numbers.size < vg.MLP(SIZES).n_params] += 1
            super().add(rank, numbers)

    meeting = Counting(2)

    class Counted(vg.Reducer):
        size = 2

        def add(self, numbers):
            meeting.add(self.rank, numbers)

    def one_rank(rank):
        reduce = Counted()
        reduce.rank = rank
        with vg.threads(1):
            train(reduce, every)

    threads = [threading.Thread(target=one_rank, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums[0] == sums[1]
    return sums[0]


def test_it_adds_up_less_often():
    """An average each third step of 7, and after the epoch; beside it, that all begin an epoch, that they have the
    same, and its losses and what is right; at last, that all end, and have the same."""
    assert count_sums(3) == [EPOCHS * 3, EPOCHS * 4 + 2]
    assert count_sums(None)[0] == EPOCHS * PER_EPOCH


@KINDS
def test_a_rank_that_diverges_is_named_in_all_which_have_equal_bits(kind):
    """In the third step of the second rank, and in the midst of those between two averages."""
    X, y = make_data()
    X[2 * BATCH + 8] = 1.7e308

    def one_rank(r):
        r.average_every = 5
        net = kind(SIZES, dtype="float64", rng=3)
        with pytest.raises(vg.DivergenceError) as caught:
            net.fit(X, y, EPOCHS, BATCH, vg.SGD(0.2), False, reduce=r)
        return caught.value, net

    (error, net), *others = run_ranks(3, one_rank)
    assert "diverged at step 2: the loss, gradient or new parameters of rank 2 of 3 were not finite" in str(error)
    for other, its in ((error, net), *others):
        assert (str(other), other.step, len(other.history.loss)) == (str(error), 2, 2)
        assert its.params.tobytes() == net.params.tobytes()
        assert np.isfinite(its.params).all()
    ranks = run_ranks(3, lambda r: train(r, 100, kind, shuffle=False))
    np.testing.assert_allclose(error.history.loss, ranks[0][1].loss[:2], rtol=1e-12)


def test_ranks_that_begin_an_epoch_with_other_parameters_are_named():
    def one_rank(r):
        def spoil(net, history):
            if r.rank == 1 and len(history.epochs) == 2:
                net.weights[0][0, 0] += 1

        with pytest.raises(RuntimeError) as caught:
            train(r, 3, callbacks=[spoil])
        return str(caught.value)

    for said in run_ranks(3, one_rank):
        assert "rank 1 of 3 are not those of the others before step 14" in said


class Killed(Exception):
    pass


class Mortal(vg.Checkpoint):
    """Killed after so many writes."""

    def __init__(self, path, lasts):
        super().__init__(path, every=9, every_steps=6)
        self.lasts = lasts

    def write(self, *how):
        super().write(*how)
        self.lasts -= 1
        if self.lasts == 0:
            raise Killed


def test_checkpoints_where_all_have_the_same_go_on_to_the_same_bits(tmp_path):
    def one_rank(r, lasts=None):
        callbacks = [] if lasts is None else [Mortal(tmp_path / str(r.rank), lasts)]
        try:
            return train(r, 3, optimizer=vg.SGD(0.2, momentum=0.9), callbacks=callbacks)
        except Killed:
            return "killed"

    whole = run_ranks(2, one_rank)
    assert run_ranks(2, lambda r: one_rank(r, 3)) == ["killed"] * 2  # after step 12, of which the second epoch has 5
    assert_equal_ranks([*whole, *run_ranks(2, lambda r: one_rank(r, 99))])


@pytest.mark.parametrize(
    ("every", "how", "words"),
    [
        (0, {}, "average_every of a Reducer must be at least 1, got 0"),
        (1.5, {}, "average_every of a Reducer must be a whole number"),
        (3, {"inspect_every": 2}, "average_every takes no inspect_every, got 2: .*; let a callback call net.inspect"),
        (3, {"optimizer": vg.SGD(penalty=0.1)}, "average_every takes no optimizer with a penalty.*; use weight_decay"),
        (3, {"normalization": "batch"}, "takes no net with batch norm"),
        (3, {"callbacks": [vg.Checkpoint("no file", every_steps=4)]}, "must be a multiple of average_every=3.*, got 4"),
    ],
)
def test_what_does_not_go_with_it_is_refused(every, how, words):
    def one_rank(r):
        with pytest.raises((TypeError, ValueError), match=words):
            train(r, every, **how)

    assert run_ranks(2, one_rank) == [None, None]


def test_a_source_is_refused():
    def one_rank(r):
        r.average_every = 2
        with pytest.raises(ValueError, match="average_every takes rows in memory, got a source"):
            vg.MLP(SIZES).fit(blocks.from_arrays(*make_data()), reduce=r)

    assert run_ranks(2, one_rank) == [None, None]
