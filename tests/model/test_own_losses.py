"""Losses of one's own: ``forward(X, training=True)``, then ``backward`` through the same pass; with both engines."""

import copy
import pickle

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference

ENGINES = pytest.mark.parametrize("engine", [vg.MLP, reference.MLP])
SIZES = [6, 12, 12, 12, 4]
ALPHA = vg.dropout.alpha(0.2)
# What a net has, each alone and several together.
NETS = {
    "plain": {},
    "dropout": {"dropout": [0.5, 0.0, 0.2]},
    "alpha dropout": {"activation": "selu", "dropout": ALPHA},
    "batch norm": {"normalization": "batch"},
    "batch norm after": {"normalization": vg.norm.batch("after", momentum=0.3)},
    "layer norm": {"normalization": "layer"},
    "rms norm, dropout": {"normalization": vg.norm.rms("after"), "dropout": 0.3},
    "residual, dropout": {"residual": True, "dropout": [0.5, 0.3, 0.2]},
    "residual, batch norm, alpha dropout": {
        "residual": vg.residual(2, "rezero"), "normalization": "batch", "dropout": ALPHA,
    },
}  # fmt: skip
# Whose outputs in training are others.
OTHERWISE = [name for name in NETS if "dropout" in name or "batch" in name]


def make(name, engine=vg.MLP, dtype="float64", **more):
    net = engine(SIZES, **{"activation": "tanh", "loss": "mse", "dtype": dtype, "rng": 3} | NETS[name] | more)
    for scale in net._engine.scales.values():
        scale[...] = 0.5
    return net


def problem(rows=16, dtype="float64"):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, 6)).astype(dtype), rng.normal(size=(rows, 4)).astype(dtype)


def squared_error(z, y):
    """The derivative of mse: of 2^n rows and outputs, its only rounding is that of the difference."""
    return (z - y) * z.dtype.type(2 / z.size)


def own_step(net, X, y, optimizer):
    net.apply(net.backward(X, squared_error(net.forward(X, training=True), y)), optimizer)


@ENGINES
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rows", [16, 1024])  # of which the larger is taken in chunks where there is no batch norm
def test_the_built_in_loss_by_hand_has_the_bits_of_step(name, engine, dtype, rows):
    """Parameters, and batch norm's running statistics."""
    (X, y), nets = problem(rows, dtype), [make(name, engine, dtype) for _ in range(2)]
    optimizers = [vg.Adam(0.01) for _ in nets]
    for _ in range(4):
        nets[0].step(X, y, optimizers[0])
        own_step(nets[1], X, y, optimizers[1])
        assert nets[0]._engine.vector.tobytes() == nets[1]._engine.vector.tobytes()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("width", [12, 150])
def test_any_number_of_threads(name, width, dtype, forced_threads):
    X, y = problem(64, dtype)
    sizes, found = [6, width, width, width, 4], set()
    for n_threads in (1, 2, 5):
        more = {"activation": "tanh", "loss": "mse", "dtype": dtype, "rng": 3} | NETS[name]
        net = vg.MLP(sizes, **more)
        with vg.threads(n_threads):
            outputs = net.forward(X, training=True)
            own_step(net, X, y, vg.SGD(0.1))
        found.add(outputs.tobytes() + net._engine.vector.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", [name for name in NETS if "batch" not in name])
def test_threads_that_share_columns(name, forced_threads):
    X, net, found = problem(32)[0], make(name), set()
    for n_threads, n_columns in ((1, 1), (4, 2), (4, 4)):
        with vg.threads(n_threads):
            workspace = _core.Workspace(net._engine.core, len(X), n_threads)
            run = _core.Run(workspace, _core.OUTPUTS, net._vector, None, net._lock, net._engine.draws)
            run.share_columns(n_columns)
            run.set_optimizer("sgd", 0.0, 0.0, (), np.inf, np.inf)
            run.set_data(X, None, len(X))
            run.set_results(np.empty(1), np.empty(1), 0)
            run.begin_epoch(None)
            assert run.go() == _core.DONE
        found.add(workspace.output(4).tobytes())
    assert found == {net.forward(X, training=True).tobytes()}


@pytest.mark.parametrize("name", NETS)
def test_the_engines_agree(name, dtype):
    X, y = problem(16, dtype)
    fast, plain = (make(name, engine, dtype) for engine in (vg.MLP, reference.MLP))
    rtol, atol = (2e-4, 1e-5) if dtype == "float32" else (1e-10, 1e-13)
    outputs = [net.forward(X, training=True) for net in (fast, plain)]
    np.testing.assert_allclose(*outputs, rtol, atol)
    found, expected = (net.backward(X, y) for net in (fast, plain))
    np.testing.assert_allclose(found.flat, expected.flat, rtol, 10 * atol)
    np.testing.assert_allclose(fast._engine.vector, plain._engine.vector, rtol, atol)


@ENGINES
@pytest.mark.parametrize("name", NETS)
def test_what_training_has_of_its_own(name, engine):
    """Outputs are other ones where dropout or batch norm is, and only running statistics change, once a call."""
    net, X = make(name, engine), problem()[0]
    before, draws, version = net._engine.vector.copy(), net._draws(), net._lock.version
    predicted = net.forward(X)
    first, second = net.forward(X, training=True), net.forward(X, training=True)
    assert net._lock.version > version  # others that read meanwhile see that it changed
    np.testing.assert_array_equal(first, second)
    assert np.allclose(first, predicted, rtol=1e-12, atol=1e-12) == (name not in OTHERWISE)
    np.testing.assert_array_equal(net.params, before[: net.n_params])
    np.testing.assert_array_equal(net._draws(), draws)
    twice = copy.deepcopy(net)
    twice._vector[...] = before
    for _ in range(2):
        twice._seed_draws(draws)  # the same masks
        twice.step(X, X[:, :4], vg.SGD(1e-30))
    np.testing.assert_array_equal(twice._vector[net.n_params :], net._vector[net.n_params :])
    net.apply(np.zeros_like(net.params))
    assert (net.forward(X, training=True) == first).all() == ("dropout" not in name)


# What comes between forward and backward, and what is wrong with that; "" if nothing is.
BETWEEN = {
    "nothing": (lambda net, X: None, ""),
    "reading": (lambda net, X: [net.forward(X), net.predict(X), net.inspect(X, X[:, :4]), net.copy()], ""),
    "backward": (lambda net, X: net.backward(X, X[:, :4]), ""),
    "apply": (lambda net, X: net.apply(np.zeros_like(net.params)), "one before the net was changed"),
    "step": (lambda net, X: net.step(X, X[:, :4]), "one before the net was changed"),
    "fit": (lambda net, X: net.fit(X, X[:, :4], 1), "one before the net was changed"),
    "assigning": (lambda net, X: setattr(net, "params", net.params), "one before the net was changed"),
    "loading": (lambda net, X: net.load_state_dict(net.state_dict()), "one before the net was changed"),
    "another forward": (lambda net, X: net.forward(X[::-1], training=True), "one of another X"),
    "fewer rows": (lambda net, X: net.forward(X[:-1], training=True), "one of another X"),
    "other rows in the array": (lambda net, X: X.__setitem__(0, 0), "one of another X"),
}


@ENGINES
@pytest.mark.parametrize("name", OTHERWISE[::3])
@pytest.mark.parametrize("what", BETWEEN)
def test_backward_belongs_to_the_last_forward(name, engine, what):
    """Which its error says, and how to mend it."""
    net, (X, y), (between, wrong) = make(name, engine), problem(), BETWEEN[what]
    net.forward(X, training=True)
    between(net, X)
    before = net._vector.tobytes()
    if wrong:
        said = rf"backward must follow forward\(X, training=True\) of the same X, .*, got {wrong}; call it, and"
        with pytest.raises(ValueError, match=said):
            net.backward(X, y)
        assert net._vector.tobytes() == before
        net.forward(X, training=True)
    assert np.isfinite(net.backward(X, y).flat).all()


@ENGINES
@pytest.mark.parametrize("name", NETS)
def test_without_a_forward_in_training(name, engine):
    (X, y), net = problem(), make(name, engine)
    net.forward(X)
    if name not in OTHERWISE:
        net.backward(X, y)
        return
    for other in (net, net.copy(), pickle.loads(pickle.dumps(net))):
        with pytest.raises(ValueError, match="got no such call; call it"):
            other.backward(X, y)
        net.forward(X, training=True)  # which the copies do not know of
        copied = copy.copy(net)
    with pytest.raises(ValueError, match="got no such call; call it"):
        copied.backward(X, y)


@ENGINES
@pytest.mark.parametrize("name", NETS)
def test_outputs_that_are_not_finite_leave_the_net_as_it_was(name, engine):
    net = make(name, engine, activation="relu")
    net.weights[0] = net.weights[0] * 1e200
    X, before = problem()[0], net._vector.tobytes()
    X[3] = 1e200
    with pytest.raises(vg.DivergenceError, match=r"row \d+ of X.*makes outputs that are too large"):
        net.forward(X, training=True)
    assert net._vector.tobytes() == before


@ENGINES
def test_what_forward_in_training_refuses(engine):
    net, X = make("batch norm", engine), problem()[0]
    before = net._vector.tobytes()
    with pytest.raises(ValueError, match="at least 2 rows in a batch"):
        net.forward(X[:1], training=True)
    with pytest.raises(TypeError, match=r"training must be True or False, got 1.*use True"):
        net.forward(X, training=1)
    with pytest.raises(ValueError, match="X must have 6 columns"):
        net.forward(X[:, :5], training=True)
    assert net._vector.tobytes() == before
    np.testing.assert_array_equal(net.forward(X, training=np.bool_(False)), net.forward(X))


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_loss_of_ones_own_trains(name):
    """The Huber loss; predictions get better, by running statistics and without dropout."""
    net, X, optimizer = make(name), problem(64)[0], vg.SGD(0.1, momentum=0.9)
    y = 2 * X[:, :4]

    def huber():
        off = np.abs(net.forward(X) - y)
        return float(np.where(off < 1, off**2 / 2, off - 0.5).mean())

    before = huber()
    for _ in range(200):
        dz = np.clip(net.forward(X, training=True) - y, -1, 1) / y.size
        net.apply(net.backward(X, dz), optimizer)
    assert huber() < before / 2
