"""Ranks, here threads, whose rows come from sources: as one process that has them all in memory, or all end."""

import numpy as np
import pytest
from training.ranks import OPTIMIZERS, SIZES, assert_as_one, make_data, order_of_shards, run_ranks

import vgfast as vg
from vgfast.data import blocks
from vgfast.training import reader

pytestmark = pytest.mark.any_isa

X, Y = make_data()
WEIGHTS = np.random.default_rng(2).uniform(0.5, 2, len(X))
WEIGHTS[:9] = 0
SMOOTHED = np.eye(4)[Y] * 0.7 + 0.075
PARTS = np.split(np.arange(len(X)), [13, 14, 40])  # of 4 ranks, one of which has a single row
ROW_BYTES = 9 * 8 + 4 + 16


@pytest.fixture(autouse=True)
def small_places(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 10 * ROW_BYTES)


def source(rows, size=7, x=X, y=Y, weights=None, spoil=lambda number, block: block):
    """Of these rows, in blocks of other sizes in each rank, which spoil(number, block) may change."""

    def make():
        for number, first in enumerate(range(0, len(rows), size)):
            part = rows[first : first + size]
            yield spoil(number, (x[part], y[part]) if weights is None else (x[part], y[part], weights[part]))

    return blocks.from_function(make, len(rows))


def train(data, reduce=None, kind=vg.MLP, optimizer="momentum", **how):
    net = kind(SIZES, dtype="float64", rng=3, dropout=how.pop("dropout", 0))
    how = {"epochs": 10, "batch_size": 16, "shuffle": False} | how
    return net, net.fit(*data, optimizer=OPTIMIZERS[optimizer](), reduce=reduce, **how)


CASES = {
    "momentum": {},
    "adam, probabilities, all rows": {"optimizer": "adam", "batch_size": 67, "y": SMOOTHED, "epochs": 50},
    "weights, clipped": {"weights": WEIGHTS, "optimizer": "clip", "inspect_every": 4},
    "dropout, small batches": {"dropout": 0.3, "batch_size": 5, "inspect_every": 7, "optimizer": "decay", "epochs": 4},
    "single rows": {"batch_size": 1, "epochs": 2, "inspect_every": 9, "optimizer": "penalty"},
}


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP], ids=["core", "numpy"])
@pytest.mark.parametrize("case", CASES)
def test_ranks_with_sources_are_one_process_that_has_all_rows(case, kind):
    how = CASES[case] | {"kind": kind}
    weights, y = how.pop("weights", None), how.pop("y", Y)

    def one_rank(r):
        return train([source(PARTS[r.rank], 3 + 4 * r.rank, y=y, weights=weights)], r, **how)

    order = order_of_shards(PARTS, how.get("batch_size", 16))
    one = train((X[order], y[order]), sample_weight=None if weights is None else weights[order], **how)
    assert_as_one(run_ranks(4, one_rank, sharded=True), one)


def test_blocks_and_rows_are_shuffled_by_each_rank(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1 << 20)  # each rank has all of its rows in memory
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5 * 80)
    parts = np.split(np.arange(len(X)), [20])

    def one_rank(r):
        rows = parts[r.rank]
        return train([blocks.from_arrays(X[rows], Y[rows])], r, epochs=3, shuffle=True)

    net, optimizer, losses = vg.MLP(SIZES, dtype="float64", rng=3), OPTIMIZERS["momentum"](), []
    for _ in range(3):
        seed, shuffled = int(net._rng.integers(2**63)), []
        for rank, rows in enumerate(parts):
            own = np.random.default_rng([seed, rank])
            in_blocks = np.split(rows, range(5, len(rows), 5))
            read = np.concatenate([in_blocks[number] for number in own.permutation(len(in_blocks))])
            shuffled.append(read[own.permutation(len(rows))])
        order = order_of_shards(shuffled, 16)
        losses.append(net.fit(X[order], Y[order], 1, 16, optimizer, False).loss)
    for its, history in run_ranks(2, one_rank, sharded=True):
        np.testing.assert_allclose(its.params, net.params, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(history.loss, np.concatenate(losses), rtol=1e-12)
        assert its._rng.bit_generator.state == net._rng.bit_generator.state


def test_shuffled_rows_are_each_taken_once():
    def one_rank(r):
        net = vg.MLP(SIZES, dtype="float64", rng=3)
        data, still = source(PARTS[r.rank], weights=WEIGHTS), vg.SGD(1e-30)
        return net, net.fit(data, epochs=3, batch_size=16, optimizer=still, shuffle=True, reduce=r)

    loss, accuracy = vg.MLP(SIZES, dtype="float64", rng=3).evaluate(X, Y, WEIGHTS)
    for _, history in run_ranks(4, one_rank, sharded=True):
        np.testing.assert_allclose([epoch["loss"] for epoch in history.epochs], [loss] * 3, rtol=1e-12)
        np.testing.assert_allclose([epoch["accuracy"] for epoch in history.epochs], [accuracy] * 3, rtol=1e-12)
        assert len(set(history.loss)) == len(history.loss) == 15


class OnDisk:
    """A source of blocks in any order, whose disk is gone in the fourth epoch, at a block."""

    def __init__(self, rows, breaks=None):
        self.source, self.breaks, self.epoch = blocks.from_arrays(X[rows], Y[rows], WEIGHTS[rows]), breaks, 0
        self.n_blocks = self.source.n_blocks

    def __len__(self):
        return len(self.source)

    def blocks(self, order):
        self.epoch += 1
        for number, block in enumerate(self.source.blocks(order)):
            if (self.epoch, number) == (4, self.breaks):
                raise OSError("the disk is gone")
            yield block


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP], ids=["core", "numpy"])
@pytest.mark.parametrize("breaks", [0, 4])
def test_a_training_whose_source_failed_goes_on_from_its_checkpoint(breaks, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5 * 80)

    def one_rank(r, path="", breaks=None):
        keep = [vg.Checkpoint(tmp_path / f"{path}{r.rank}.npz", every_steps=2)] if path else []
        data = [OnDisk(PARTS[r.rank], breaks if r.rank == 3 else None)]
        how = {"shuffle": True, "epochs": 6, "inspect_every": 3, "callbacks": keep, "dropout": 0.2, "kind": kind}
        return train(data, r, **how)

    whole = run_ranks(4, one_rank, sharded=True)
    for error in run_to_errors(4, lambda r: one_rank(r, "run", breaks)):
        assert f"after {15 if breaks == 0 else 16} steps" in str(error)
    gone_on = run_ranks(4, lambda r: one_rank(r, "run"), sharded=True)
    for (net, history), (other, its) in zip(whole, gone_on, strict=True):
        np.testing.assert_array_equal(net.params, other.params)
        np.testing.assert_array_equal(history.loss, its.loss)
        assert [e["loss"] for e in history.epochs] == [e["loss"] for e in its.epochs]
        assert [e["accuracy"] for e in history.epochs] == [e["accuracy"] for e in its.epochs]
        assert history.gradients.tobytes() == its.gradients.tobytes()


def test_ranks_that_go_on_from_other_steps_are_told(tmp_path):
    def one_rank(r, epochs=3):
        keep = [vg.Checkpoint(tmp_path / f"{r.rank}.npz")] if r.rank == 1 or epochs == 3 else []
        return train([source(PARTS[0])], r, epochs=epochs, callbacks=keep)

    run_ranks(3, one_rank, sharded=True)
    for error in run_to_errors(3, lambda r: one_rank(r, 4)):
        assert type(error).__name__ == "DriftError"
        assert "rank 1 of 3 begins an epoch at step 9, and rank 0 at 0" in str(error)


# ---- ranks that cannot go on -----------------------------------------------------------------------------


def run_to_errors(size, work):
    """The error of each rank, which has not ended the others."""

    def one_rank(r):
        try:
            return work(r)
        except Exception as error:
            return error

    return run_ranks(size, one_rank, sharded=True)


def broken(number, block):
    if number == 3:
        raise OSError("the disk is gone")
    return block


def with_nan(number, block):
    return (np.where(number == 3, np.nan, block[0]), block[1])


def without_a_column(number, block):
    return (block[0][:, number == 3 :], block[1])


def without_rows(number, block):
    return (block[0][: 0 if number == 3 else None], block[1][: 0 if number == 3 else None])


FAILURES = {
    "fails": (broken, RuntimeError, "the source failed where block 3 was due (OSError: the disk is gone)"),
    "NaN": (with_nan, ValueError, "block 3 of the source: X has NaN in row 0, column 0"),
    "columns": (without_a_column, ValueError, "block 3 of the source: X must have 9 columns"),
    "ends early": (without_rows, ValueError, "the source ended after 4 blocks with 21 rows, and must give the 27"),
    "no block": (lambda number, block: block[:1], TypeError, "block 0 of the source: a block must be (X, y) or"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_all_end_with_the_error_of_a_source_in_the_state_of_the_last_step(case):
    spoil, kind, words = FAILURES[case]
    nets = {}

    def one_rank(r):
        net = nets[r.rank] = vg.MLP(SIZES, dtype="float64", rng=3)
        how = {"spoil": spoil} if r.rank == 3 else {}
        return net.fit(source(PARTS[r.rank], **how), epochs=2, batch_size=16, shuffle=False, reduce=r)

    errors = run_to_errors(4, one_rank)
    order, n = order_of_shards(PARTS, 16), len(nets[0].history.loss)
    one = vg.MLP(SIZES, dtype="float64", rng=3)
    loss = one.fit(X[order[: 16 * n]], Y[order[: 16 * n]], 1, 16, shuffle=False).loss if n > 0 else []
    for rank, error in enumerate(errors):
        assert type(error) is kind
        assert error.of_all_ranks
        assert str(error).startswith(f"rank 3 of 4: {words}")
        assert f"after {n} steps" in str(error)
        assert (error.__cause__ is None) == (rank != 3 or case == "ends early")
        np.testing.assert_allclose(nets[rank].params, one.params, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(nets[rank].history.loss, loss, rtol=1e-12)
    assert (n > 0) == (case != "no block")


def test_two_that_fail_are_told_by_the_first():
    how = [{}, {"spoil": broken}, {"spoil": lambda number, block: (block[0], block[1] + number)}]
    errors = run_to_errors(3, lambda r: train([source(PARTS[3], **how[r.rank])], r, batch_size=81))
    assert [type(error) for error in errors] == [RuntimeError] * 3
    assert len({str(error) for error in errors}) == 1
    assert "rank 1 of 3: the source failed where block 3 was due" in str(errors[0])


@pytest.mark.parametrize(
    ("y", "weights", "words"),
    [
        (Y, WEIGHTS, "got labels with weights in rank 1 of 3, and labels without weights in rank 0"),
        (SMOOTHED, None, "got values for each output without weights in rank 1 of 3, and labels without"),
    ],
)
def test_sources_that_are_not_alike_are_refused_before_any_change(y, weights, words):
    nets = {}

    def one_rank(r):
        net = nets[r.rank] = vg.MLP(SIZES, rng=3)
        other = {"y": y, "weights": weights} if r.rank else {}
        return net.fit(source(PARTS[0], **other), reduce=r, shuffle=False)

    for error in run_to_errors(3, one_rank):
        assert type(error) is ValueError
        assert error.of_all_ranks
        assert words in str(error)
    assert all((net.params == vg.MLP(SIZES, rng=3).params).all() for net in nets.values())


def test_weights_that_are_all_0_are_refused_in_all():
    for error in run_to_errors(2, lambda r: train([source(PARTS[0], weights=np.zeros(67))], r)):
        assert type(error) is ValueError
        assert error.of_all_ranks
        assert "some weight above 0, got 0 in all 26 rows" in str(error)


def test_a_rank_that_ends_before_the_others_is_named_in_all():
    def one_rank(r):
        return train([source(PARTS[0])], r, callbacks=[lambda net, history: r.rank == 1])

    for error in run_to_errors(3, one_rank):
        assert type(error).__name__ == "DriftError"
        assert "training ends after 1 epochs in rank 1 of 3" in str(error)


@pytest.mark.parametrize("size", [1, 2])
def test_rows_that_are_not_finite_are_told_in_all(size):
    x, y = X.astype("float32"), Y
    x[60] = 3e38  # of the last rank

    def one_rank(r):
        parts = np.split(np.arange(67), [20]) if size == 2 else [np.arange(67)]
        return vg.MLP(SIZES, rng=3).fit(source(parts[r.rank], x=x, y=y), batch_size=16, shuffle=False, reduce=r)

    errors = run_to_errors(size, one_rank)
    for error in errors:
        assert isinstance(error, vg.DivergenceError)
        assert error.step == len(error.history.loss) == 3
        assert size == 1 or "rank 1 of 2 was not finite" in str(error)


def test_a_source_is_refused_where_all_have_the_same_rows():
    class Alone(vg.Reducer):
        rank, size = 0, 1

        def add(self, numbers):
            pass

    alone = Alone()
    with pytest.raises(ValueError, match=r"got a source of blocks; give each process a source of its own rows, with"):
        train([source(PARTS[0])], alone)
    alone.sharded = True
    train([source(PARTS[0])], alone)
