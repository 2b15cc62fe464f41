"""A batch that is taken forward and back in parts: the bits of one that is taken at once."""

import numpy as np
import pytest
from units_of_work import OPTIMIZERS, take_one_step, train

import vgfast as vg
from vgfast import _core

SIZES, BATCH = (9, 40, 17, 3), 100


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_parts_of_any_size_give_the_same_bits(isa, dtype, optimizer, loss):
    whole = train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer], loss=loss)
    for part in (1, 2, 7, 33, 50, 71, 99):
        assert train(SIZES, BATCH, dtype, OPTIMIZERS[optimizer], part=part, loss=loss) == whole, part


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_parts_by_several_threads(dtype, n_threads):
    whole = train(SIZES, BATCH, dtype, OPTIMIZERS["momentum"])
    for part in (1, 5, 33, 64):
        assert train(SIZES, BATCH, dtype, OPTIMIZERS["momentum"], n_threads, part) == whole, part


def test_huge_inputs(dtype):
    """Whose checks fail: the whole batch is looked at value by value."""
    large = 1e12 if dtype == "float32" else 1e50
    whole = train(SIZES, BATCH, dtype, OPTIMIZERS["sgd"], scale=large)
    assert train(SIZES, BATCH, dtype, OPTIMIZERS["sgd"], part=30, scale=large) == whole


@pytest.mark.parametrize("row", [0, 45, BATCH - 1])
@pytest.mark.parametrize(("value", "lr"), [(np.inf, 0.1), (1e35, 1e6)])
def test_one_part_would_leave_what_is_not_finite(row, value, lr):
    """By its inputs, or by the update that they lead to; nothing changes."""
    x = np.ones((BATCH, SIZES[0]), np.float32)
    assert take_one_step(SIZES, x, 0.1, 2, 40) == (_core.DONE, True)
    x[row] = value
    assert take_one_step(SIZES, x, lr, 2, 40) == take_one_step(SIZES, x, lr, 2, None) == (_core.NON_FINITE, False)


def test_the_gradient_needs_memory():
    net = vg.MLP(SIZES, "relu", rng=0)
    engine = net._engine
    run = _core.Run(_core.Workspace(engine.core, BATCH, 1, 40), _core.TRAIN, engine.params)
    run.set_optimizer(*vg.training.settings.read_settings(vg.SGD(lr=0.1), np.dtype("float32")))
    run.set_data(np.ones((BATCH, SIZES[0]), np.float32), np.zeros(BATCH, np.int32), BATCH)
    run.set_results(np.empty(1), np.empty(1), 0)
    run.begin_epoch(None)
    assert run.go() == _core.NEEDS_GRADIENT
    run.set_gradient(engine.make_vector())
    assert run.go() == _core.DONE


def test_what_looks_at_a_whole_batch_is_refused_a_part():
    engine = vg.MLP(SIZES, "relu", rng=0)._engine
    workspace = _core.Workspace(engine.core, BATCH, 1, 40)
    for mode in (_core.GRADIENT, _core.INSPECT):
        with pytest.raises(ValueError, match="all rows"):
            _core.Run(workspace, mode, engine.params, engine.make_vector())
    run = _core.Run(workspace, _core.TRAIN, engine.params)
    with pytest.raises(ValueError, match="all rows"):
        run.set_records(np.zeros((1, 3), vg.training.records.RECORD), 1)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_fit_and_step_on_large_batches(n_threads, rng):
    """In parts, and inspected at once: the same bits, and memory for few rows."""
    X, y = rng.normal(size=(3000, 64)).astype(np.float32), rng.integers(0, 10, 3000)
    with vg.threads(n_threads):
        nets = [vg.MLP([64, 128, 64, 10], "tanh", rng=0) for _ in range(3)]
        nets[0].fit(X, y, epochs=3, batch_size=3000, shuffle=False)
        nets[1].fit(X, y, epochs=3, batch_size=3000, shuffle=False, inspect_every=1)
        for _ in range(3):
            nets[2].step(X, y)
        assert nets[0].params.tobytes() == nets[1].params.tobytes() == nets[2].params.tobytes()
        workspace = nets[0]._engine.make_workspace(3000, in_parts=True)
        assert workspace.rows < 1000 < workspace.batch


def test_a_batch_is_cut_into_parts_only_where_they_are_not_smaller_than_the_gradient():
    wide, narrow = (vg.MLP(sizes, rng=0)._engine.core for sizes in ([784, 2048, 2048, 10], [784, 256, 128, 10]))
    assert wide.part_of_batch(512, 2) == 512
    assert narrow.part_of_batch(512, 2) == 256
    assert wide.part_of_batch(100_000, 2) < 4000


def test_rows_of_two_threads_lie_a_page_apart_where_batches_are_in_chunks():
    """Of the narrowest array, of a number a row, 512 rows are 4 KiB."""
    core = vg.MLP([4, 32, 16, 4], rng=0)._engine.core
    chunk = core.chunk_rows(10_000)
    assert core.part_of_batch(10_000, 1) == chunk
    assert core.part_of_batch(10_000, 2) == 2 * (chunk + 512)
