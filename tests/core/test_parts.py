"""A batch that is taken forward and back in parts: the bits of one that is taken at once."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

SIZES, ROWS, BATCH = (9, 40, 17, 3), 171, 100  # the second batch is shorter
OPTIMIZERS = {
    "sgd": vg.SGD(lr=0.3),
    "momentum": vg.SGD(lr=0.1, momentum=0.9, weight_decay=1e-3),
    "clip_norm": vg.SGD(lr=0.3, clip_norm=0.01),
    "clip_value": vg.SGD(lr=0.3, clip_value=1e-4),
    "huge": vg.SGD(lr=2.0**22),  # beyond what is proved to stay finite: tried first
}


def train(dtype, optimizer, part=None, n_threads=1, loss="cross_entropy", scale=1.0):
    """Two epochs: parameters, velocity, losses and right answers as bytes."""
    rng = np.random.default_rng(5)
    net = vg.MLP(SIZES, "tanh", loss=loss, dtype=dtype, rng=1)
    engine, x = net._engine, (scale * rng.normal(size=(ROWS, SIZES[0]))).astype(dtype)
    y = (
        rng.integers(0, 3, ROWS).astype(np.int32)
        if loss == "cross_entropy"
        else rng.normal(size=(ROWS, 3)).astype(dtype)
    )
    workspace = _core.Workspace(engine.core, BATCH, n_threads, part)
    run = _core.Run(workspace, _core.TRAIN, engine.params, engine.make_vector())
    velocity = engine.make_vector() if optimizer.momentum else None
    run.set_optimizer(*vg.training.optimizers.read_settings(optimizer, np.dtype(dtype)), velocity)
    run.set_data(x, y, BATCH)
    found = []
    for epoch in range(2):
        losses, correct = np.zeros(2), np.zeros(2)
        run.set_results(losses, correct, 2 * epoch)
        run.begin_epoch(rng.permutation(ROWS))
        status = run.go()
        found += [losses.tobytes(), correct.tobytes(), status]
    return [engine.params.tobytes(), b"" if velocity is None else velocity.tobytes(), *found]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_parts_of_any_size_give_the_same_bits(isa, dtype, optimizer, loss):
    whole = train(dtype, OPTIMIZERS[optimizer], loss=loss)
    for part in (1, 2, 7, 33, 50, 71, 99):
        assert train(dtype, OPTIMIZERS[optimizer], part, loss=loss) == whole, part


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_parts_by_several_threads(dtype, n_threads):
    whole = train(dtype, OPTIMIZERS["momentum"])
    for part in (1, 5, 33, 64):
        assert train(dtype, OPTIMIZERS["momentum"], part, n_threads) == whole, part


def test_huge_inputs(dtype):
    """Whose checks fail: the whole batch is looked at value by value."""
    large = 1e12 if dtype == "float32" else 1e50
    whole = train(dtype, OPTIMIZERS["sgd"], scale=large)
    assert train(dtype, OPTIMIZERS["sgd"], 30, scale=large) == whole


def run_once(x, lr, part):
    """The status of a step on x, and whether it changed a parameter."""
    net = vg.MLP(SIZES, "relu", rng=0)
    engine, before = net._engine, net._engine.params.copy()
    run = _core.Run(_core.Workspace(engine.core, BATCH, 2, part), _core.TRAIN, engine.params, engine.make_vector())
    run.set_optimizer(*vg.training.optimizers.read_settings(vg.SGD(lr=lr), np.dtype("float32")), None)
    run.set_data(x, np.zeros(BATCH, np.int32), BATCH)
    run.set_results(np.empty(1), np.empty(1), 0)
    run.begin_epoch(None)
    return run.go(), (engine.params != before).any()


@pytest.mark.parametrize("row", [0, 45, BATCH - 1])
@pytest.mark.parametrize(("value", "lr"), [(np.inf, 0.1), (1e35, 1e6)])
def test_one_part_would_leave_what_is_not_finite(row, value, lr):
    """By its inputs, or by the update that they lead to; nothing changes."""
    x = np.ones((BATCH, SIZES[0]), np.float32)
    assert run_once(x, 0.1, 40) == (_core.DONE, True)
    x[row] = value
    assert run_once(x, lr, 40) == run_once(x, lr, None) == (_core.NON_FINITE, False)


def test_the_gradient_needs_memory():
    net = vg.MLP(SIZES, "relu", rng=0)
    engine = net._engine
    run = _core.Run(_core.Workspace(engine.core, BATCH, 1, 40), _core.TRAIN, engine.params)
    run.set_optimizer(*vg.training.optimizers.read_settings(vg.SGD(lr=0.1), np.dtype("float32")), None)
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
