"""vg.Reducer: several processes, here threads, that train one net as one process would."""

import numpy as np
import pytest
import scipy.sparse
from training.ranks import CLOSE, OPTIMIZERS, SIZES, STEPS, assert_as_one, make_data, order_of_shards, run_ranks

import vgfast as vg
from vgfast import reference
from vgfast.training import shares
from vgfast.training.shares import share_batches, share_shards


def train(reduce=None, optimizer="momentum", data=None, dtype="float64", kind=vg.MLP, **how):
    X, y = make_data(dtype=dtype) if data is None else data
    net_how = {name: how.pop(name) for name in ("dropout", "normalization") if name in how}
    net = kind(SIZES, dtype=dtype, rng=3, **net_how)
    how = {"epochs": STEPS // 5, "batch_size": 16} | how
    return net, net.fit(X, y, optimizer=OPTIMIZERS[optimizer](), reduce=reduce, **how)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_ranks_are_one_process(optimizer, dtype):
    ranks = run_ranks(2, lambda r: train(r, optimizer, dtype=dtype))
    assert_as_one(ranks, train(None, optimizer, dtype=dtype), CLOSE[dtype])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP], ids=["core", "numpy"])
def test_any_number_of_ranks_with_dropout_weights_and_batches_that_do_not_divide(size, kind):
    # 67 rows in batches of 11: the last has one row, which four ranks of five do not see.
    how = {"kind": kind, "batch_size": 11, "dropout": 0.3, "epochs": 7, "inspect_every": 5}
    how["sample_weight"] = np.random.default_rng(1).uniform(0.5, 2, 67)
    assert_as_one(run_ranks(size, lambda r: train(r, **how)), train(None, **how))


def test_rows_in_their_order_and_sparse():
    X, y = make_data()
    X = scipy.sparse.csr_matrix(np.where(np.abs(X) > 1, X, 0))
    how = {"data": (X, y), "shuffle": False, "inspect_every": 4, "normalization": "layer"}
    assert_as_one(run_ranks(3, lambda r: train(r, **how)), train(None, **how))


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
def test_uneven_shards(weighted):
    X, y = make_data()
    parts = np.split(np.arange(67), [13, 40])
    weights = np.random.default_rng(2).uniform(0.5, 2, 67) if weighted else None
    how = {"shuffle": False, "inspect_every": 3}

    def one_rank(r):
        mine = parts[r.rank]
        return train(r, data=(X[mine], y[mine]), sample_weight=None if weights is None else weights[mine], **how)

    order = order_of_shards(parts, 16)
    one = train(data=(X[order], y[order]), sample_weight=None if weights is None else weights[order], **how)
    assert_as_one(run_ranks(3, one_rank, sharded=True), one)


def test_a_huge_weight_does_not_hide_the_others_of_its_shard():
    X, y = make_data()
    parts, weights = np.split(np.arange(67), [13, 40]), np.r_[1e25, np.ones(66)]

    def one_rank(r):
        return train(r, data=(X[parts[r.rank]], y[parts[r.rank]]), sample_weight=weights[parts[r.rank]], shuffle=False)

    order = order_of_shards(parts, 16)
    one = train(data=(X[order], y[order]), sample_weight=weights[order], shuffle=False)
    assert_as_one(run_ranks(3, one_rank, sharded=True), one)


def test_weighted_epochs_have_the_same_bits_however_many_are_noted_at_once():
    """Weights added up in the order of an epoch differ in the last bit from one epoch to the next."""
    weights = np.random.default_rng(2).uniform(0, 2, 67)

    def one_rank(r, callbacks):
        _, history = train(r, batch_size=1, sample_weight=weights, callbacks=callbacks)
        return [epoch["loss"] for epoch in history.epochs]

    at_once, one_by_one = (
        run_ranks(2, lambda r, given=given: one_rank(r, given)) for given in ([], [lambda net, history: None])
    )
    assert at_once == one_by_one


def test_shards_are_shuffled_by_one_generator():
    X, y = make_data()
    parts = np.split(np.arange(67), [20])
    ranks = run_ranks(2, lambda r: train(r, data=(X[parts[r.rank]], y[parts[r.rank]])), sharded=True)
    np.testing.assert_array_equal(ranks[0][0].params, ranks[1][0].params)
    states = [net._rng.bit_generator.state for net, _ in ranks]
    assert states[0] == states[1]
    still, _ = run_ranks(1, lambda r: train(r, data=(X, y), shuffle=False), sharded=True)[0]
    moved, _ = run_ranks(1, lambda r: train(r, data=(X, y)), sharded=True)[0]
    assert (still.params != moved.params).any()


@pytest.mark.parametrize(("n", "batch_size", "size"), [(67, 16, 3), (5, 5, 5), (12, 4, 7), (1, 1, 2), (100, 33, 4)])
def test_every_row_is_taken_once(n, batch_size, size):
    taken = [share_batches(n, batch_size, rank, size) for rank in range(size)]
    assert sorted(np.concatenate([places for places, _ in taken])) == list(range(n))
    for step in range(-(-n // batch_size)):
        begins = 0
        for places, batches in taken:
            first, rows, offset, total = batches[step].tolist()
            assert (offset, total) == (begins, min(batch_size, n - step * batch_size))
            assert list(places[first : first + rows]) == list(
                range(step * batch_size + begins, step * batch_size + begins + rows)
            )
            begins += rows
        assert begins == min(batch_size, n - step * batch_size)


@pytest.mark.parametrize("counts", [[13, 27, 27], [1, 50], [0, 5, 9], [40]])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 51])
def test_shards_fill_their_batches(counts, batch_size):
    shares = [share_shards(np.array(counts), batch_size, rank) for rank in range(len(counts))]
    n = sum(counts)
    whole = [min(batch_size, n - first) for first in range(0, n, batch_size)]
    assert [int(x) for x in sum(share["rows"] for share in shares)] == whole
    assert [int(share["rows"].sum()) for share in shares] == counts
    for share, count in zip(shares, counts, strict=True):  # as large a part as of all rows, to the next row
        assert np.abs(np.cumsum(share["rows"]) - np.cumsum(whole) * count / n).max() <= len(counts)


def test_shards_are_the_merge_of_all_rows_by_their_times(monkeypatch):
    monkeypatch.setattr(shares, "_AT_ONCE", 50)  # of which there are many
    rng = np.random.default_rng(5)
    for _ in range(150):
        counts = rng.integers(0, rng.choice([2, 5, 40]), rng.integers(1, 7))
        counts[rng.integers(len(counts))] += 1
        times = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
        owners = np.repeat(np.arange(len(counts)), counts)[np.argsort(times, kind="stable")]
        batch_size = int(rng.integers(1, len(owners) + 2))
        for rank in range(len(counts)):
            of_batches = np.split(owners, range(batch_size, len(owners), batch_size))
            expected = [((batch == rank).sum(), (batch < rank).sum()) for batch in of_batches]
            found = share_shards(counts, batch_size, rank)
            assert list(zip(found["rows"], found["offset"], strict=True)) == expected


def test_a_rank_whose_rows_are_not_finite_is_named_in_all():
    X, y = make_data(dtype="float32")
    X[16 * 2 + 12] = 3e38  # the third batch's, in the second half

    def one_rank(r):
        with pytest.raises(vg.DivergenceError) as error:
            train(r, data=(X, y), dtype="float32", shuffle=False)
        return error.value

    errors = run_ranks(2, one_rank)
    for error in errors:
        assert "rank 1 of 2" in str(error)
        assert error.step == 2
        assert len(error.history.loss) == 2


@pytest.mark.parametrize("sharded", [False, True])
def test_an_update_that_is_not_finite_is_told_in_all_by_the_rows_there(sharded):
    X, y = make_data(5000, dtype="float32")
    parts = np.split(np.arange(5000), [4500]) if sharded else [np.arange(5000)] * 2

    def one_rank(r):
        net, rows = vg.MLP(SIZES, rng=3), parts[r.rank]
        sgd = vg.SGD(lambda step: 1e-9 if step < 1 else 3e38)
        with pytest.raises(vg.DivergenceError) as error:
            net.fit(1e3 * X[rows], y[rows], 3, 2500, sgd, False, reduce=r)
        return error.value

    for error in run_ranks(2, one_rank, sharded):
        assert "diverged at step 1 (epoch 1): the updated weights of layer 1 would not be finite" in str(error)
        assert error.step == 1


def test_a_reducer_that_says_nonsense_is_refused():
    for rank, size in ((2, 2), (-1, 3), (0, 0)):

        class Wrong(vg.Reducer):
            def add(self, numbers):
                raise AssertionError("nothing is to be added")

        wrong = Wrong()
        wrong.rank, wrong.size = rank, size
        with pytest.raises(ValueError, match="of a Reducer must be"):
            train(wrong)


def test_a_rank_that_has_other_parameters_is_named():
    def one_rank(r):
        X, y = make_data()
        r.check_every = 3

        def spoil(net, history):
            if r.rank == 1 and len(history.epochs) == 2:
                net.weights[0][0, 0] += 1e-9

        with pytest.raises(RuntimeError) as error:
            train(r, data=(X, y), callbacks=[spoil])
        return str(error.value)

    texts = run_ranks(3, one_rank)
    assert len(set(texts)) == 1
    assert "the parameters of rank 1 of 3 are not those of the others before step 12" in texts[0]


def test_the_history_of_a_training_that_diverges_is_of_whole_batches():
    def diverge(reduce):
        seen, (X, y) = [], make_data()
        net = vg.MLP([9, 12, 1], "identity", "mse", dtype="float64", rng=3)
        how = {"epochs": 60, "batch_size": 16, "optimizer": vg.SGD(0.5), "reduce": reduce}
        how["progress"] = lambda done, total, history: seen.append(history.loss.copy())
        with pytest.raises(vg.DivergenceError) as error:
            net.fit(X, y[:, None], **how)
        return error.value.history.loss, seen

    (one, _), ranks = diverge(None), run_ranks(2, diverge)
    assert len(one) > 5
    for loss, seen in ranks:
        np.testing.assert_allclose(loss, one, rtol=1e-9)
        for part in seen:
            np.testing.assert_allclose(part, one[: len(part)], rtol=1e-9)


def test_ranks_that_end_with_other_parameters_are_told():
    def one_rank(r):
        def spoil(net, history):
            net.params[...] += r.rank == 1

        with pytest.raises(RuntimeError) as error:
            train(r, callbacks=[spoil], epochs=1)
        return str(error.value)

    for text in run_ranks(3, one_rank):
        assert "the parameters of rank 1 of 3 are not those of the others" in text
