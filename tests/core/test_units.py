"""Every kind of unit of work (rows, rows and columns, chunks of the batch) gives the same bits by any threads."""

import numpy as np
import pytest
from units_of_work import OPTIMIZERS, take_one_step, train

import vgfast as vg
from vgfast import _core
from vgfast.training.settings import read_settings

THREADS = (1, 2, 3, 7, 16)
# Of three layers, the widest of 100 columns, which are seven cache lines.
SIZES, BATCH = (9, 40, 100, 3), 70
# 1,500 rows are 12 chunks, of which the last is smaller; 1,100 are 9.
NARROW, MANY = (4, 19, 7, 3), 1500


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rows_and_columns(dtype, optimizer, forced_threads):
    one = train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer])
    inspected = train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer], inspect_every=1)
    assert inspected[: len(one)] == one
    for n_threads in THREADS:
        for columns in (n for n in range(1, n_threads + 1) if n_threads % n == 0):
            assert train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer], n_threads, columns=columns) == one, columns
            in_parts = train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer], n_threads, 33, columns)
            assert in_parts == one, columns
            assert train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer], n_threads, None, columns, 1) == inspected, columns


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_chunks(dtype, optimizer, forced_threads):
    """In memory at once or not, with or without inspection."""
    one = train(NARROW, MANY, dtype, OPTIMIZERS[optimizer])
    inspected = train(NARROW, MANY, dtype, OPTIMIZERS[optimizer], inspect_every=1)
    assert inspected[: len(one)] == one
    for n_threads in THREADS:
        for part in (None, n_threads, 50 * n_threads):
            assert train(NARROW, MANY, dtype, OPTIMIZERS[optimizer], n_threads, part) == one, part
        assert train(NARROW, MANY, dtype, OPTIMIZERS[optimizer], n_threads, inspect_every=1) == inspected


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_rows_with_weights(isa, dtype, loss, forced_threads):
    how = {"loss": loss, "weighted": True}
    for sizes, batch in ((SIZES, BATCH), (NARROW, MANY)):
        one = train(sizes, batch, dtype, OPTIMIZERS["sgd"], **how)
        assert one != train(sizes, batch, dtype, OPTIMIZERS["sgd"], loss=loss)
        assert train(sizes, batch, dtype, OPTIMIZERS["sgd"], 6, 36, 3, **how) == one
        inspected = train(sizes, batch, dtype, OPTIMIZERS["sgd"], inspect_every=1, **how)
        assert inspected[: len(one)] == one
        assert train(sizes, batch, dtype, OPTIMIZERS["sgd"], 3, inspect_every=1, **how) == inspected


def test_units_of_each_instruction_set(isa, dtype, forced_threads):
    one = train(SIZES, BATCH, dtype, OPTIMIZERS["momentum"])
    assert train(SIZES, BATCH, dtype, OPTIMIZERS["momentum"], 6, 33, 3) == one
    one = train(NARROW, MANY, dtype, OPTIMIZERS["momentum"])
    assert train(NARROW, MANY, dtype, OPTIMIZERS["momentum"], 3, 150) == one


def test_chunks_that_are_huge(dtype, forced_threads):
    """A check fails: all values are looked at before anything changes."""
    large = 1e12 if dtype == "float32" else 1e50
    one = train(NARROW, MANY, dtype, OPTIMIZERS["sgd"], scale=large)
    assert train(NARROW, MANY, dtype, OPTIMIZERS["sgd"], 3, 150, scale=large) == one


@pytest.mark.parametrize("row", [0, 700, MANY - 1])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(("value", "lr"), [(np.inf, 0.1), (1e37, 1e6)])
def test_a_chunk_would_leave_what_is_not_finite(row, n_threads, value, lr, forced_threads):
    """By its inputs, or by the update that they lead to; nothing changes."""
    x = np.ones((MANY, NARROW[0]), np.float32)
    assert take_one_step(NARROW, x, 0.1, n_threads, 50 * n_threads) == (_core.DONE, True)
    x[row] = value
    assert take_one_step(NARROW, x, lr, n_threads, 50 * n_threads) == (_core.NON_FINITE, False)


def test_the_gradient_of_chunks(dtype, rng):
    """Is the product of inputs and deltas: of a sum, n numbers one after the other, then some such sums, each addition
    and multiplication is off by half an ULP at most. And it is that of training, to the bit."""
    X, y = rng.normal(size=(MANY, NARROW[0])).astype(dtype), rng.integers(0, 3, MANY).astype(np.int32)
    net = vg.MLP(NARROW, "tanh", dtype=dtype, rng=0)
    found, gradients = net._engine.backward(X, y), net.gradients(X, y)
    chunk = net._engine.core.chunk_rows(MANY)
    most = (chunk + MANY / chunk + 1) * np.finfo(dtype).eps
    for l, (a, delta) in enumerate(zip(found.inputs, found.deltas, strict=True)):
        a, delta = a.astype(np.float64), delta.astype(np.float64)
        assert (np.abs(gradients.weights[l] - a.T @ delta) <= most * (np.abs(a).T @ np.abs(delta))).all()
        assert (np.abs(gradients.biases[l] - delta.sum(axis=0)) <= most * np.abs(delta).sum(axis=0)).all()
    by_hand = vg.MLP(NARROW, "tanh", dtype=dtype, rng=0)
    by_hand.apply(gradients, vg.SGD(lr=0.5))
    net.fit(X, y, epochs=1, batch_size=MANY, optimizer=vg.SGD(lr=0.5), shuffle=False)
    assert by_hand.params.tobytes() == net.params.tobytes()


def test_how_many_threads_share_rows():
    core = vg.MLP([784, 2048, 2048, 10], rng=0)._engine.core
    assert [core.columns_of(512, n) for n in (1, 2, 16, 64)] == [1, 1, 8, 16]
    assert core.columns_of(100_000, 64) == 1
    near, far = (vg.MLP([n] * 4, rng=0)._engine.core for n in (256, 1024))
    assert near.columns_of(128, 16) == 1  # W stays in an L2 cache: to read it costs less than the barriers
    assert far.columns_of(128, 16) > 1
    assert vg.MLP([4, 16, 3], rng=0)._engine.core.columns_of(32, 16) == 1


@pytest.mark.parametrize("columns", [-1, 3, 8])
def test_columns_must_divide_the_threads(columns):
    engine = vg.MLP(SIZES, rng=0)._engine
    run = _core.Run(_core.Workspace(engine.core, BATCH, 4), _core.TRAIN, engine.params)
    with pytest.raises(ValueError, match="does not divide 4 threads"):
        run.share_columns(columns)


def test_only_large_batches_of_few_parameters_are_in_chunks():
    few, many = vg.MLP([4, 32, 16, 4], rng=0)._engine.core, vg.MLP([784, 30, 10], rng=0)._engine.core
    assert [few.chunk_rows(rows) for rows in (1, 1023, 1024, 8192, 10_000, 10**6)] == [0, 0, 128, 144, 160, 15632]
    assert many.chunk_rows(10**6) == 0


def test_a_simulated_team(forced_threads, rng):
    """The same bits, and a time for each thread from one barrier to the next."""
    X, y = rng.normal(size=(64, 30)).astype(np.float32), rng.integers(0, 10, 64).astype(np.int32)
    nets, seconds = [vg.MLP([30, 50, 10], rng=0) for _ in range(2)], np.full(100, np.nan)
    found = []
    for net, n_threads in zip(nets, (1, 5), strict=True):
        engine = net._engine
        run = _core.Run(_core.Workspace(engine.core, 32, n_threads), _core.TRAIN, engine.params)
        run.set_optimizer(*read_settings(vg.SGD(lr=0.1), np.dtype("float32")))
        run.set_data(X, y, 32)
        run.set_results(np.zeros(2), np.zeros(2), 0)
        run.begin_epoch(None)
        found.append(run.simulate(seconds))
    assert nets[0].params.tobytes() == nets[1].params.tobytes()
    assert found == [1, 5 * (1 + 2 * 2)]  # two barriers a step
    assert (seconds[: found[1]] >= 0).all()
    assert np.isnan(seconds[found[1] :]).all()
    assert run.simulate(np.zeros(3)) == 5  # no steps are left
