"""Rows whose zeros are left out: the bits of the same rows with their zeros."""

import subprocess
import sys

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core
from vgfast._check import SparseRows

sp = pytest.importorskip("scipy.sparse")

OPTIMIZERS = {
    "sgd": vg.SGD(lr=0.3),
    "clip_value": vg.SGD(lr=0.3, clip_value=1e-3),
    "clip_norm": vg.SGD(lr=0.3, clip_norm=0.05),
    "decay": vg.SGD(lr=0.1, weight_decay=0.01),
    "nesterov": vg.SGD(lr=0.1, momentum=0.9, nesterov=True),
    "adam": vg.Adam(lr=0.01, weight_decay=1e-3),
    "penalty": vg.Adam(lr=0.01, penalty=0.1),
    "adamw": vg.AdamW(lr=0.01),
    "rmsprop": vg.RMSprop(lr=0.01, momentum=0.5),
    "adagrad": vg.Adagrad(lr=0.05),
    "adagrad, decay": vg.Adagrad(lr=0.05, weight_decay=0.01),
}
# Rows, columns, batch, and what the net has besides. Of few columns some are in every batch, of many most are in none;
# 37 units are vectors and a part of one; a batch of 1200 of few weights is taken in chunks.
SHAPES = {
    "narrow": (53, [61, 37, 5], 20, {}),
    "wide": (33, [2500, 150, 3], 16, {"activation": "tanh"}),
    "few units": (40, [70, 3, 4], 7, {}),
    "one row": (5, [90, 20, 3], 1, {}),
    "chunks": (2100, [40, 12, 2], 1200, {}),
    "no hidden layer": (40, [90, 4], 16, {}),
    "more": (
        60,
        [80, 30, 30, 3],
        30,
        {"normalization": "batch", "residual": True, "dropout": 0.2, "activation": "elu"},
    ),
}


def make_rows(n_rows, n_in, seed=0, scale=1.0):
    """CSR with entries of both signs, rows without any, and columns without any."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n_rows, n_in)) * (rng.random((n_rows, n_in)) < 8 / n_in) * scale
    dense[::5] = 0
    dense[:, 3] = 0
    return sp.csr_matrix(dense)


def results(X, y, sizes, batch, optimizer, dtype, inspect_every, more):
    """What comes of every method that takes X, as bytes by name."""
    net = vg.MLP(sizes, dtype=dtype, rng=0, **more)
    weights = np.linspace(0, 1, X.shape[0])
    history = net.fit(
        X, y, 2, batch, optimizer, inspect_every=inspect_every, validation_data=(X, y), sample_weight=weights
    )
    losses = (
        [net.step(X[:batch], y[:batch], optimizer) for _ in range(2)]
        if batch > 1 or "normalization" not in more
        else []
    )
    found = {
        "loss": history.loss,
        "validation": [epoch["val_loss"] for epoch in history.epochs],
        "records": history.gradients,
        "steps": losses,
        "params": net.params,
        "gradients": net.gradients(X, y, weights).flat,
        "forward": net.forward(X),
        "training": net.forward(X, training=True),
        "backward": net.backward(X, np.ones((X.shape[0], sizes[-1]))).flat,
        "predict": net.predict(X),
        "predict_proba": net.predict_proba(X),
        "evaluate": net.evaluate(X, y, weights),
    }
    if "normalization" not in more:
        found["sample_norms"] = net.sample_norms(X, y)
    return {name: np.asarray(value).tobytes() for name, value in found.items()}


def differing(X, sizes, batch, optimizer, dtype, inspect_every=0, more=None):
    """The names of results that are not those of dense rows."""
    y = np.random.default_rng(1).integers(0, sizes[-1], X.shape[0])
    how = (y, sizes, batch, optimizer, dtype, inspect_every, more or {})
    sparse, dense = results(X, *how), results(X.toarray(), *how)
    return [name for name in sparse if sparse[name] != dense[name]]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("shape", ["narrow", "wide"])
def test_every_rule_has_the_bits_of_dense_rows(isa, dtype, shape, optimizer):
    n_rows, sizes, batch, more = SHAPES[shape]
    assert differing(make_rows(n_rows, sizes[0]), sizes, batch, OPTIMIZERS[optimizer], dtype, 0, more) == []


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_net_and_its_records(isa, dtype, shape, optimizer):
    n_rows, sizes, batch, more = SHAPES[shape]
    assert differing(make_rows(n_rows, sizes[0]), sizes, batch, OPTIMIZERS[optimizer], dtype, 2, more) == []


@pytest.mark.parametrize("n_threads", [2, 3, 7])
@pytest.mark.parametrize("shape", ["narrow", "wide", "chunks", "more"])
def test_any_number_of_threads(forced_threads, shape, n_threads):
    n_rows, sizes, batch, more = SHAPES[shape]
    with vg.threads(n_threads):
        for optimizer in ("sgd", "adam", "clip_norm"):
            assert differing(make_rows(n_rows, sizes[0]), sizes, batch, OPTIMIZERS[optimizer], "float32", 3, more) == []


def test_huge_inputs_and_entries_that_are_zeros(dtype):
    """Whose checks fail, so that all is looked at value by value; and so it is with a rate beyond what is proved."""
    X = make_rows(40, 61, scale=1e12 if dtype == "float32" else 1e50)
    X.data[::3] = 0
    assert differing(X, [61, 20, 3], 10, vg.SGD(lr=1e-26 if dtype == "float32" else 1e-102), dtype) == []
    assert differing(make_rows(40, 61, scale=1e-3), [61, 20, 3], 10, vg.SGD(lr=2.0**21), dtype) == []


def train_in_parts(X, y, optimizer, dtype, part, columns, n_threads):
    """Parameters after two epochs with so many rows of a batch in memory."""
    net = vg.MLP([X.shape[1], 30, 3], dtype=dtype, rng=0)
    x, t = net._batch(X, y)
    core = net._engine.core_for(isinstance(x, SparseRows))
    workspace = _core.Workspace(core, 60, n_threads, part)
    run = _core.Run(workspace, _core.TRAIN, net.params, net._engine.make_vector())
    run.set_optimizer(*optimizer)
    run.set_data(x, t, 60)
    run.share_columns(columns)
    run.set_results(np.empty(4), np.empty(4), 0)
    for order in (np.random.default_rng(2).permutation(len(x)), None):
        run.begin_epoch(order)
        assert run.go() == _core.DONE
    return net.params.tobytes()


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_batches_in_parts_and_rows_shared_by_columns(isa, dtype, decay, forced_threads):
    X, y = make_rows(100, 80), np.arange(100) % 3
    optimizer = ("sgd", 0.2, decay, (), np.inf, np.inf)
    whole = train_in_parts(X.toarray(), y, optimizer, dtype, None, 0, 1)
    for part, columns, n_threads in ((None, 0, 1), (1, 0, 1), (7, 0, 2), (59, 0, 3), (None, 2, 2), (23, 2, 4)):
        assert train_in_parts(X, y, optimizer, dtype, part, columns, n_threads) == whole, (part, columns, n_threads)


def test_rows_that_no_batch_has_are_not_visited():
    """By rules under which they rest."""
    X = make_rows(40, 61)
    for optimizer in (vg.SGD(lr=0.1), vg.SGD(lr=0.1, clip_value=1.0), vg.Adagrad(lr=0.1)):
        net = vg.MLP([61, 20, 3], rng=0)
        before = net.weights[0].copy()
        net.fit(X, np.arange(40) % 3, 2, 10, optimizer)
        assert net.weights[0][3].tobytes() == before[3].tobytes()
        assert (net.weights[0] != before).any(axis=1).sum() > 40


def test_reports_are_those_of_dense_rows():
    X, y = make_rows(60, 61), np.arange(60) % 3
    for scale in (1.0, 1e4):  # the second has to be scaled
        reports = [vg.MLP([61, 20, 20, 3], "sigmoid", rng=0).inspect(rows * scale, y) for rows in (X, X.toarray())]
        assert str(reports[0]) == str(reports[1])
        assert reports[0].records.tobytes() == reports[1].records.tobytes()


def test_a_divergence_is_explained_as_of_dense_rows():
    X, y = make_rows(60, 61) * 1e4, np.random.default_rng(0).normal(size=(60, 1))
    errors = []
    for rows in (X, X.toarray()):
        net = vg.MLP([61, 20, 1], loss="mse", rng=0)
        with pytest.raises(vg.DivergenceError) as caught:
            net.fit(rows, y, 20, 10, vg.SGD(lr=10.0))
        errors.append((str(caught.value), net.params.tobytes()))
    assert errors[0] == errors[1]


def test_the_reference_takes_sparse_rows():
    X, y = make_rows(40, 61), np.arange(40) % 3
    found = []
    for rows in (X, X.toarray()):
        net = vg.reference.MLP([61, 20, 3], dtype="float64", rng=0)
        net.fit(rows, y, 2, 10, inspect_every=1)
        found.append((net.params.tobytes(), net.predict(rows).tobytes(), net.gradients(rows, y).flat.tobytes()))
    assert found[0] == found[1]


def test_dense_and_sparse_in_turn():
    """One net, and one optimizer, takes both."""
    X, y, optimizer = make_rows(40, 61), np.arange(40) % 3, vg.Adam()
    turns, dense = vg.MLP([61, 20, 3], rng=0), vg.MLP([61, 20, 3], rng=0)
    for i in range(6):
        turns.step(X if i % 3 == 1 else X.toarray(), y, optimizer)
        dense.step(X.toarray(), y, optimizer)
    assert turns.params.tobytes() == dense.params.tobytes()
    assert turns.evaluate(X, y) == dense.evaluate(X.toarray(), y)


def test_memory_goes_by_the_entries():
    net = vg.MLP([1_000_000, 2, 2], rng=0)
    x, _ = net._batch(sp.csr_matrix(([1.0, 2.0], ([0, 255], [5, 999_999])), (256, 1_000_000)), np.zeros(256, int))
    workspace = net._engine.make_workspace(256, sparse=True)
    assert workspace.memory.nbytes < 1_000_000
    assert x.count_most(100) == 2


def test_slices_and_choices_of_rows():
    X = make_rows(20, 30)
    x = vg.MLP([30, 2], dtype="float64", rng=0)._batch(X, np.zeros(20, int))[0]
    dense = X.toarray()
    assert np.shares_memory(x.values, X.data)  # nothing is copied but where things are
    for rows in (slice(3, 9), slice(None, None, 4), slice(30, 40), np.array([7, 0, 7]), dense[:, 0] > 0):
        np.testing.assert_array_equal(x[rows].toarray(), dense[rows])
    np.testing.assert_array_equal(x[4:][3:8].toarray(), dense[7:12])
    np.testing.assert_array_equal(x[7], dense[7])


def test_a_checkpoint_knows_sparse_rows(tmp_path):
    X, y = make_rows(40, 61), np.arange(40) % 3
    whole, first, then = (vg.MLP([61, 20, 3], rng=0) for _ in range(3))
    whole.fit(X, y, 4, 10)
    kept = [vg.Checkpoint(tmp_path / "kept")]
    first.fit(X, y, 2, 10, callbacks=kept)
    then.fit(X, y, 4, 10, callbacks=kept)
    assert then.params.tobytes() == whole.params.tobytes() != first.params.tobytes()
    with pytest.raises(ValueError, match="checkpoint of a training with X, y and weights"):
        then.fit(make_rows(40, 61, seed=1), y, 4, 10, callbacks=kept)


def test_scipy_is_not_imported():
    code = (
        "import sys, numpy as np, vgfast as vg; vg.MLP([2, 2]).step(np.eye(2), [0, 1]); print('scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
