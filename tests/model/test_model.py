"""The model as its users know it: shapes, views, predictions, files, copies; and how it takes its inputs."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgfast as vg
from vgfast import _core, activations, reference


def test_parameters_are_live_views_of_one_vector(dtype):
    net = vg.MLP([3, 4, 2], dtype=dtype, rng=0)
    assert net.sizes == (3, 4, 2)
    assert net.n_params == net.params.size == 3 * 4 + 4 + 4 * 2 + 2
    assert net.params.ctypes.data % 64 == 0
    assert net.dtype == np.dtype(dtype)
    assert [w.shape for w in net.weights] == [(3, 4), (4, 2)]
    assert [b.shape for b in net.biases] == [(4,), (2,)]
    assert all(np.shares_memory(piece, net.params) for piece in [*net.weights, *net.biases])
    net.weights[1] = np.arange(8).reshape(4, 2)
    net.biases[1] = [8, 9]
    np.testing.assert_array_equal(net.params[-10:], np.arange(10))
    net.params = np.zeros(net.n_params)
    assert not net.weights[1].any()
    assert repr(net) == f"MLP([3, 4, 2], 'relu', loss='cross_entropy', dtype='{dtype}')"


def test_predictions(digits):
    X, y = digits
    net = vg.MLP([64, 30, 10], "tanh", rng=0)
    net.fit(X, y, epochs=5, optimizer=vg.SGD(0.1))
    z, p = net.forward(X), net.predict_proba(X)
    assert z.shape == p.shape == (1797, 10)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(net.predict(X), z.argmax(axis=1))
    scores = net.evaluate(X, y)
    assert scores.accuracy == (net.predict(X) == y).mean() > 0.9
    assert scores.loss == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-4)
    # a row's bits do not depend on its company
    np.testing.assert_array_equal(net.forward(X[100:101]), z[100:101])
    with vg.threads(2):
        np.testing.assert_array_equal(net.forward(np.tile(X, (20, 1)))[-1797:], z)


def test_predictions_of_the_other_losses(rng):
    X = rng.normal(size=(50, 3))
    net = vg.MLP([3, 8, 2], loss="binary_cross_entropy", rng=0)
    t = (X[:, :2] > 0).astype(int)
    net.fit(X, t, epochs=200, batch_size=10, optimizer=vg.SGD(0.5))
    assert net.predict(X).dtype == np.int64
    np.testing.assert_array_equal(net.predict(X), net.predict_proba(X) > 0.5)
    assert net.evaluate(X, t).accuracy == (net.predict(X) == t).mean() > 0.95
    net = vg.MLP([3, 8, 1], loss="mse", rng=0)
    history = net.fit(X, X[:, 0] * 2, epochs=200, batch_size=10, optimizer=vg.SGD(0.05))
    np.testing.assert_array_equal(net.predict(X), net.forward(X))
    assert net.evaluate(X, X[:, :1] * 2).loss < 0.05
    assert net.evaluate(X, X[:, 0]).accuracy is None
    assert set(history.epochs[-1]) == {"loss", "seconds"}


@pytest.mark.parametrize(
    "change",
    [
        lambda X: np.asfortranarray(X),
        lambda X: X.astype(np.float64),
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X[::-1][::-1],
        lambda X: X.astype(">f4"),
        lambda X: X.tolist(),
        lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),  # read-only
        lambda X: np.frombuffer(b"x" + X.tobytes(), X.dtype, X.size, 1).reshape(X.shape),  # unaligned
        lambda X: np.ma.array(X),
    ],
)
def test_inputs_of_every_layout_mean_the_same(change, digits):
    X, y = digits[0][:100], digits[1][:100]
    nets = [vg.MLP([64, 20, 10], rng=0) for _ in range(2)]
    nets[0].fit(X, y, epochs=2)
    nets[1].fit(change(X), y.astype(np.uint8), epochs=2)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)
    np.testing.assert_array_equal(nets[0].predict(X), nets[1].predict(change(X)))


def test_integer_and_boolean_inputs(rng):
    X = rng.integers(0, 2, (30, 4))
    y = X[:, 0] ^ X[:, 1]
    found = {
        vg.MLP([4, 5, 2], rng=0).fit(x, t, batch_size=10).loss.tobytes()
        for x in (X, X.astype(bool), X.astype(float))
        for t in (y, y.astype(bool))
    }
    assert len(found) == 1


def test_training_on_its_own_weights_does_not_read_what_it_writes():
    net = vg.MLP([4, 4, 4], "tanh", "mse", rng=0)
    other = net.copy()
    X = net.weights[0]
    assert np.shares_memory(X, net.params)
    net.fit(X, X, epochs=5, batch_size=2, shuffle=False)
    other.fit(other.weights[0].copy(), other.weights[0].copy(), epochs=5, batch_size=2, shuffle=False)
    np.testing.assert_array_equal(net.params, other.params)


def test_seeds(digits):
    X, y = digits
    a, b, c = (vg.MLP([64, 10], rng=seed) for seed in (1, np.random.default_rng(1), 2))
    assert (a.params == b.params).all()
    assert not (a.params == c.params).all()
    assert (a.fit(X, y).loss == b.fit(X, y).loss).all()
    narrow, wide = (vg.MLP([64, 10], dtype=dtype, rng=1) for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(narrow.params, wide.params.astype(np.float32))


@pytest.mark.parametrize("loss", _core.LOSSES)
def test_save_and_load(tmp_path, dtype, loss, rng):
    net = vg.MLP([4, 7, 5, 3], ["tanh", "relu"], loss, dtype=dtype, rng=0)
    path = tmp_path / "net.safetensors"
    net.save(path)
    net.save(path)  # in place of the old one
    again = vg.MLP.load(str(path))
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.params, net.params)
    X = rng.normal(size=(9, 4))
    np.testing.assert_array_equal(again.forward(X), net.forward(X))
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    np.testing.assert_array_equal(reference.MLP.load(path).params, net.params)
    # the format's own rules, and torch's names and shapes
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["2.weight"]["shape"] == [5, 7]
    start, stop = header["2.weight"]["data_offsets"]
    base = 8 + int.from_bytes(data[:8], "little")
    assert base % 8 == 0
    stored = np.frombuffer(data[base + start : base + stop], dtype).reshape(5, 7)
    np.testing.assert_array_equal(stored, net.weights[1].T)


def test_copies_share_nothing(digits):
    X, y = digits
    net = vg.MLP([64, 20, 10], rng=0)
    plain = reference.MLP([64, 20, 10], rng=0)
    assert (plain.copy().fit(X, y, epochs=1).loss == plain.fit(X, y, epochs=1).loss).all()
    copies = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    before = net.params.copy()
    net.fit(X, y, epochs=1)
    for other in copies:
        np.testing.assert_array_equal(other.params, before)
        other.fit(X, y, epochs=1)  # in the same order of rows
        np.testing.assert_array_equal(other.params, net.params)
    optimizer = vg.SGD(0.1, 0.9)
    net.step(X, y, optimizer)
    assert repr(pickle.loads(pickle.dumps(optimizer))) == repr(optimizer)


def test_copies_of_a_subclass():
    class Named(vg.MLP):
        def __init__(self, name):
            super().__init__([3, 2], rng=0)
            self.name = name

    other = Named("a").copy()
    assert type(other) is Named
    assert other.name == "a"


def test_velocity_belongs_to_optimizer_and_net(digits):
    X, y = digits
    optimizer = vg.SGD(0.1, 0.9)
    a, b = vg.MLP([64, 10], rng=0), vg.MLP([64, 10], rng=0)
    a.step(X, y, optimizer)
    b.step(X, y, optimizer)
    np.testing.assert_array_equal(a.params, b.params)  # b's did not start with a's
    a.step(X, y, optimizer)
    b.step(X, y, vg.SGD(0.1, 0.9))
    assert not (a.params == b.params).all()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    rows=st.integers(1, 40),
    data=st.data(),
)
def test_any_net_trains_like_the_textbook(sizes, rows, data):
    activation = data.draw(st.sampled_from(_core.ACTIVATIONS))
    loss = data.draw(st.sampled_from(_core.LOSSES if sizes[-1] > 1 else _core.LOSSES[1:]))
    batch = data.draw(st.integers(1, rows))
    optimizer = {
        "lr": 0.002,
        "momentum": data.draw(st.sampled_from([0.0, 0.5])),
        "clip_norm": data.draw(st.sampled_from([None, 0.1])),
    }
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    X = rng.normal(size=(rows, sizes[0]))
    y = rng.integers(0, sizes[-1], rows) if loss == "cross_entropy" else rng.uniform(size=(rows, sizes[-1]))
    nets = [
        kind(sizes, activation, loss, init="lecun_normal", dtype="float64", rng=3) for kind in (vg.MLP, reference.MLP)
    ]
    a, b = (net.fit(X, y, epochs=2, batch_size=batch, optimizer=vg.SGD(**optimizer)) for net in nets)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(nets[0].predict(X), nets[1].predict(X), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_every_activation_is_known_on_every_floor(activation):
    """Whoever adds one is told of the place that is missing (see csrc/README.md)."""
    from vgfast.bench import loops

    X, y = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), np.arange(20) % 3
    net, plain = (kind([4, 5, 5, 3], activation, rng=0) for kind in (vg.MLP, reference.MLP))
    report = net.inspect(X, y)
    assert np.isfinite(report.layers.predicted_gain[:-1]).all()
    assert len(str(report).splitlines()) > 3
    assert all(row.flops >= 0 for row in net.cost(8, measure=False).rows)
    expected = plain.gradients(X[:1], y[:1]).weights[0][0, 0]
    assert net.trace(1, 0, 0, X[0], y[0]).gradient == pytest.approx(expected, rel=1e-4)
    assert net.check_gradient(1, 0, 0, X, y).agrees
    z = [[0.7, -0.3]]
    loops.activate(z, [0.0, 0.0], activation)
    np.testing.assert_allclose(z, activations.CATALOG[activation].value(np.array([[0.7, -0.3]])), rtol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_probabilities_of_few_rows_are_those_of_many(loss, rng):
    """Of few rows that are as C takes them, they are made in one call; of others in two."""
    net = vg.MLP([5, 7, 3], loss=loss, rng=0)
    X = rng.normal(size=(100, 5)).astype(np.float32)
    many = net.predict_proba(X)
    for rows in (1, 17, 64):
        np.testing.assert_array_equal(net.predict_proba(X[:rows]), many[:rows])
    np.testing.assert_array_equal(net.predict_proba(X[:3].tolist()), many[:3])
