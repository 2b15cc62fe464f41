"""Gradients from outside: ``backward`` from the outputs' derivative, ``apply`` of a gradient that is there."""

import itertools

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference

SIZES = [20, 101, 33, 5]
OPTIMIZERS = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0.1, "clip_value": 0.01},
    {"lr": 0.1, "momentum": 0.5, "clip_norm": 0.05},
]


@pytest.fixture
def batch(rng):
    """X (64, 20), labels (64,)."""
    return rng.normal(size=(64, 20)), rng.integers(0, 5, 64)


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_gradients_applied_are_a_step_bit_by_bit(batch, dtype, isa, forced_threads, settings, n_threads):
    X, y = batch
    one, other = (vg.MLP(SIZES, "tanh", dtype=dtype, rng=0) for _ in range(2))
    of_one, of_other = vg.SGD(**settings), vg.SGD(**settings)
    with vg.threads(n_threads):
        for _ in range(4):
            one.step(X, y, of_one)
            other.apply(other.gradients(X, y), of_other)
    assert one.params.tobytes() == other.params.tobytes()


@pytest.mark.parametrize("activation", vg.activations.NAMES)
@pytest.mark.parametrize("loss", _core.LOSSES)
def test_the_losses_own_delta_gives_its_gradient(batch, dtype, isa, activation, loss):
    X, labels = batch
    y = labels if loss == "cross_entropy" else np.eye(5)[labels]
    net = vg.MLP(SIZES, activation, loss, dtype=dtype, rng=0)
    expected = net.gradients(X, y)
    found = net.backward(X, expected.deltas[-1])
    assert found.flat.tobytes() == expected.flat.tobytes()
    assert all((a == b).all() for a, b in zip(found.deltas, expected.deltas, strict=True))
    assert np.isnan(found.loss)


@pytest.mark.parametrize("activation", vg.activations.NAMES)
def test_the_textbook_agrees(batch, rng, activation):
    X, dz = batch[0], rng.normal(size=(64, 5))
    net, plain = (kind(SIZES, activation, dtype="float64", rng=0) for kind in (vg.MLP, reference.MLP))
    ours, theirs = net.backward(X, dz), plain.backward(X, dz)
    np.testing.assert_allclose(ours.flat, theirs.flat, rtol=1e-11, atol=1e-13 * np.abs(theirs.flat).max())
    for settings in OPTIMIZERS:
        net.apply(ours, vg.SGD(**settings))
        plain.apply(theirs, vg.SGD(**settings))
    np.testing.assert_allclose(net.params, plain.params, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_autograd_agrees(torch, batch, rng, activation):
    X, dz = batch[0], rng.normal(size=(64, 5))
    net = vg.MLP(SIZES, activation, dtype="float64", rng=0)
    kind = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[activation]
    layers = [torch.nn.Linear(m, n, dtype=torch.float64) for m, n in itertools.pairwise(SIZES)]
    for layer, w, b in zip(layers, net.weights, net.biases, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(w.T.copy()), torch.tensor(b.copy())
    module = torch.nn.Sequential(layers[0], kind(), layers[1], kind(), layers[2])
    module(torch.tensor(X)).backward(torch.tensor(dz))
    found = net.backward(X, dz)
    for layer, w, b in zip(layers, found.weights, found.biases, strict=True):
        np.testing.assert_allclose(w, layer.weight.grad.numpy().T, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(b, layer.bias.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_a_loss_of_ones_own_trains(batch, kind):
    """The Huber loss, by its derivative."""
    X = batch[0]
    y = X[:, :5] ** 2
    net, optimizer = kind(SIZES, "relu", "mse", rng=0), vg.SGD(0.05, momentum=0.9)

    def huber():
        off = np.abs(net.forward(X) - y)
        return float(np.where(off < 1, off**2 / 2, off - 0.5).mean())

    before = huber()
    for _ in range(100):
        dz = np.clip(net.forward(X) - y, -1, 1) / y.size * 5
        net.apply(net.backward(X, dz), optimizer)
    assert huber() < before / 3


def test_a_vector_is_taken_too(batch):
    X, y = batch
    one, other = (vg.MLP(SIZES, rng=0) for _ in range(2))
    gradients = one.gradients(X, y)
    one.apply(gradients)
    flat = gradients.flat.copy()
    flat.flags.writeable = False
    other.apply(flat[::1])
    assert one.params.tobytes() == other.params.tobytes()


def test_what_does_not_fit_the_checks_is_applied_exactly(batch):
    """Entries of 1e38, by a rate of 1e-38: huge, and finite."""
    net = vg.MLP(SIZES, rng=0)
    before, g = net.params.copy(), np.full(net.n_params, 1e38, np.float32)
    g[::2] *= -1
    net.apply(g, vg.SGD(1e-38))
    np.testing.assert_allclose(net.params, before - np.float32(1e-38) * g, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("part", ["weights", "biases"])
def test_a_plain_update_that_would_not_be_finite_leaves_all_as_it_was(part, dtype, isa):
    """One entry is too large, once by a moderate rate and once by a huge one."""
    net = vg.MLP(SIZES, dtype=dtype, rng=0)
    before, gradients = net.params.copy(), net.gradients(np.ones((1, 20)), [0])
    most = float(np.finfo(dtype).max)
    for entry, lr in ((most / 2**18, 2.0**19), (10.0, most / 2)):
        getattr(gradients, part)[1][..., 3] = entry
        with pytest.raises(vg.DivergenceError, match="lower lr"):
            net.apply(gradients, vg.SGD(lr))
        assert net.params.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_an_update_that_would_not_be_finite_leaves_all_as_it_was(batch, kind):
    X, y = batch
    net, optimizer = kind(SIZES, rng=0), vg.SGD(0.1, momentum=0.9)
    net.apply(net.gradients(X, y), optimizer)
    before, velocity = net.params.copy(), net._states.find(optimizer).vectors[0].copy()
    optimizer.lr = 1e20
    with pytest.raises(vg.DivergenceError, match="lower lr"):
        net.apply(np.full(net.n_params, 1e30, np.float32), optimizer)
    assert net.params.tobytes() == before.tobytes()
    assert net._states.find(optimizer).vectors[0].tobytes() == velocity.tobytes()


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
@pytest.mark.parametrize(
    ("dz", "error", "words"),
    [
        (
            np.ones((64, 4)),
            ValueError,
            r"dz must have 5 columns, as many as the net has outputs; got 4 \(shape \(64, 4\)\)",
        ),
        (np.ones((63, 5)), ValueError, r"dz must have a row for each of X, which has 64; got 63 \(shape \(63, 5\)\)"),
        (np.ones(5), ValueError, r"dz must be a matrix \(samples, 5\), got 1 dimension"),
        (np.full((64, 5), np.nan), ValueError, "dz has NaN in row 0, column 0"),
        (np.full((64, 5), "a"), TypeError, "dz must hold real numbers"),
        (None, TypeError, "dz must"),
    ],
)
def test_a_dz_that_does_not_fit(batch, kind, dz, error, words):
    net = kind(SIZES, rng=0)
    before = net.params.copy()
    with pytest.raises(error, match=words):
        net.backward(batch[0], dz)
    assert net.params.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_a_dz_whose_gradients_overflow(batch, strict, kind):
    net = kind(SIZES, rng=0)
    with pytest.raises(
        vg.DivergenceError, match="this dz leads to gradients that are not finite; make it, or X, smaller"
    ):
        net.backward(100 * batch[0], np.full((64, 5), 3e38))


def test_what_else_is_at_fault_is_named(batch):
    """Not dz, nor lr."""
    X, dz = batch[0], np.ones((64, 5))
    net = vg.MLP(SIZES, rng=0)
    gradients = net.backward(X, dz)
    with pytest.raises(vg.DivergenceError, match=r"row \d+ of X, whose largest value"):
        net.backward(np.full_like(X, 3e38), dz)
    with pytest.raises(vg.DivergenceError, match=r"or weight_decay \(it is 1e\+38\)"):
        net.apply(gradients, vg.SGD(1e3, weight_decay=1e38))
    net.params[3] = np.nan
    with pytest.raises(vg.DivergenceError, match="parameters hold NaN or infinity"):
        net.backward(X, dz)
    with pytest.raises(vg.DivergenceError, match="parameters already hold NaN or infinity, so no update is finite"):
        net.apply(gradients)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_gradients_that_do_not_fit(batch, kind):
    X, y = batch
    net = kind(SIZES, rng=0)
    before = net.params.copy()
    wide = kind([20, 7, 5], rng=0).gradients(X, y)
    turned = kind([20, 101, 33, 5][::-1], rng=0).gradients(np.ones((4, 5)), np.zeros(4, int))
    double = kind(SIZES, dtype="float64", rng=0).gradients(X, y)
    bad = net.gradients(X, y).flat.copy()
    bad[17] = np.inf
    cases = [
        (
            wide,
            ValueError,
            r"weights of \[\(20, 101\), .*, got weights of \[\(20, 7\), \(7, 5\)\]; compute them with such",
        ),
        (turned, ValueError, r"got weights of \[\(5, 33\)"),
        (
            double,
            TypeError,
            "gradients must be of float32, as the net is, got float64; compute them with a net of that",
        ),
        (bad, ValueError, "gradients must be finite, got inf in entry 17; leave that step out"),
        (net.params[:-1], ValueError, "got shape"),
        ([1.0, 2.0], TypeError, "gradients must be what gradients or backward returned"),
        (None, TypeError, "gradients must be what gradients or backward returned"),
        (net.gradients(X, y)._replace(weights=None), ValueError, "compute them with such a net"),
        (net.gradients(X, y)._replace(flat=None), TypeError, "gradients must be what gradients or backward returned"),
        (np.ma.array(net.params, mask=net.params > 0), ValueError, "gradients"),
    ]
    for given, error, words in cases:
        with pytest.raises(error, match=words):
            net.apply(given)
    with pytest.raises(TypeError, match=r"optimizer must be a vg\.SGD"):
        net.apply(net.gradients(X, y), 0.1)
    assert net.params.tobytes() == before.tobytes()
