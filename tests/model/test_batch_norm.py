"""Batch norm: its gradients through the statistics of the batch, those that run, and batches of one row."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from differences import slopes
from normalized_nets import SIZES, make, problem, smooth
from same_records import assert_records_agree

import vgfast as vg
from vgfast import _core, reference

NORMS = [vg.norm.batch(place, affine=affine) for place, affine in itertools.product(("before", "after"), (True, False))]
FORMS = "identity", "sigmoid", "relu", "leaky_relu", "gelu"  # of the derivative; gelu is not fused into the product
norms = pytest.mark.parametrize("norm", NORMS, ids=str)
engines = pytest.mark.parametrize("engine", [vg.MLP, reference.MLP])


@norms
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_every_parameter_against_central_differences(norm, activation):
    """The largest curvature is that of the rate, whose derivatives grow with its powers."""
    net, X, y = smooth(norm, activation, 9, steepest=30)
    found, wanted = slopes(net, net.gradients(X, y).flat, X, y)
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


@norms
def test_of_two_rows_the_engines_agree(norm):
    """h is 1 and -1 but for eps, and next to nothing goes back through it."""
    fast, plain = (make(norm, engine=engine) for engine in (vg.MLP, reference.MLP))
    X, y = problem(2)
    exact = plain.gradients(X, y).flat
    assert np.abs(fast.gradients(X, y).flat - exact).max() <= 1e-12 * np.abs(exact).max()


@norms
def test_the_engines_agree(isa, norm, dtype):
    """Gradients, records, training and what runs, for batches of one chunk of rows and of several, and for each form of
    the derivative."""
    eps = float(np.finfo(dtype).eps)
    cases = zip(FORMS, (3, 16, 33, 70, 24), (5, 16, 37, 300, 1100), strict=True)
    for activation, width, rows in cases:
        sizes = (7, width, 2 * width + 1, 4)
        fast, plain = (make(norm, activation, sizes, engine, dtype) for engine in (vg.MLP, reference.MLP))
        X, y = problem(rows, sizes, dtype)
        exact = make(norm, activation, sizes, reference.MLP)
        exact.params = fast.params
        flat = exact.gradients(X, y).flat
        for net in (fast, plain):
            assert np.abs(net.gradients(X, y).flat - flat).max() <= 1e4 * eps * np.abs(flat).max(), activation
        names = "weight_gain", "activation_gain", "normalization_gain", "gain", "bias_grad_norm", "speed", "noise_scale"
        names += "mean_derivative", "delta_norm", "sample_norm"
        assert_records_agree(fast, plain, X, y, 1e5 * eps, 1e3 * eps, names)
        for net in (fast, plain):
            net.fit(X[:60], y[:60], 1, 40, vg.SGD(lr=0.01, momentum=0.5, weight_decay=0.01), shuffle=False)
        np.testing.assert_allclose(fast._engine.vector, plain._engine.vector, rtol=0, atol=1e4 * eps)
        np.testing.assert_allclose(fast.forward(X), plain.forward(X), rtol=0, atol=1e5 * eps)


@norms
def test_training_is_that_of_torch(torch, norm):
    """Gradients, five steps, and what runs after them and predicts."""
    net, (X, y) = make(norm, "tanh", (4, 19, 33, 3)), problem(23)
    modules = []
    for m, n in itertools.pairwise(net.sizes[:-1]):
        between = [torch.nn.BatchNorm1d(n, eps=norm.eps, momentum=norm.momentum, affine=norm.affine), torch.nn.Tanh()]
        before = norm.place == "before"
        modules += [torch.nn.Linear(m, n, bias=not before), *(between if before else between[::-1])]
    module = torch.nn.Sequential(*modules, torch.nn.Linear(*net.sizes[-2:])).double()
    parameters = list(module.parameters())
    with torch.no_grad():
        for ours, theirs in zip(net.parameters().values(), parameters, strict=True):
            theirs.copy_(torch.from_numpy(ours.T.copy()))
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(y)).backward()
        expected = np.concatenate([p.grad.numpy().T.ravel() for p in parameters])
        assert np.abs(net.gradients(X, y).flat - expected).max() <= 1e-12 * np.abs(expected).max()
        optimizer.step()
        net.step(X, y, vg.SGD(lr=0.1))
    state = net.state_dict()
    ours = [state[name] for name in state if "running" in name]
    theirs = [value.numpy() for name, value in module.state_dict().items() if "running" in name]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    outputs = module.eval()(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(net.forward(X), outputs, rtol=0, atol=1e-12)


def test_a_large_mean_costs_float32_no_digits(isa):
    """Of units whose mean is 1e4 deviations: what float32 holds of them is normalized to some roundings. Weights of 1
    and no others, so that nothing but the normalization is measured."""
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(150, 40))).astype(np.float32)
    y = rng.normal(size=(150, 40)).astype(np.float32)
    found = []
    for engine, dtype in ((vg.MLP, "float32"), (reference.MLP, "float64")):
        net = engine([40, 40, 40], "identity", "mse", "zeros", dtype, normalization="batch")
        net.weights[0] = net.weights[1] = np.eye(40)
        gradients = net.gradients(X.astype(dtype), y.astype(dtype))
        net.fit(X.astype(dtype), y.astype(dtype), 1, 150, vg.SGD(lr=1e-20))
        running = [value for name, value in net.state_dict().items() if "running" in name]
        found.append((gradients.deltas[0], gradients.deltas[1], *running))
    for ours, exact in zip(*found, strict=True):
        assert np.abs(ours - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("norm", NORMS[::3], ids=str)
def test_the_same_bits_for_any_number_of_threads(forced_threads, norm, dtype):
    """Of batches that are no multiple of a chunk, and of fewer rows than threads."""
    for sizes, batch in (((9, 70, 40, 5), 50), ((4, 12, 9, 3), 1500), ((60, 150, 130, 10), 6)):
        X, y = problem(batch + 5, sizes, dtype)
        vectors = set()
        for n in (1, 2, 3, 7):
            for every in (0, 2):
                net = make(norm, "relu", sizes, dtype=dtype)
                with vg.threads(n):
                    net.fit(X, y, 2, batch, vg.SGD(lr=0.05, momentum=0.5), inspect_every=every)
                vectors.add(net._engine.vector.tobytes())
        assert len(vectors) == 1


def test_a_sigmoid_net_learns_through_it():
    """By theory, a layer passes on sqrt(1.0336) of |delta| with it, .24 without; the first less."""
    X, y = problem(200, (30, 10))
    net = vg.MLP([30, *[100] * 9, 10], "sigmoid", init="lecun_normal", rng=0, normalization="batch")
    deltas = net.inspect(X, y, try_remedies=False).layers.delta_norm
    assert 0.95 < (deltas[1] / deltas[8]) ** (1 / 7) < 1.1


# ---- what runs ----------------------------------------------------------------------------------------------


@engines
def test_running_statistics_are_means_over_batches(engine):
    """Of z = x W, of weights of 1: momentum times what each batch shows, its variance without bias."""
    X, y = problem(12, (3, 3))
    net = engine([3, 3, 3], "identity", init="zeros", dtype="float64", normalization=vg.norm.batch(momentum=0.25))
    net.weights[0] = np.eye(3)
    mean, variance = np.zeros(3), np.ones(3)
    for rows in (X[:5], X[5:10], X[10:]):  # lr is so small that weights stay
        mean, variance = 0.75 * mean + 0.25 * rows.mean(axis=0), 0.75 * variance + 0.25 * rows.var(axis=0, ddof=1)
    net.fit(X, y, 1, 5, vg.SGD(lr=1e-30), shuffle=False)
    state = net.state_dict()
    np.testing.assert_allclose(state["layer1.norm.running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["layer1.norm.running_var"], variance, rtol=1e-12)
    before = net._engine.vector[net.n_params :].copy()
    net.inspect(X, y), net.evaluate(X, y), net.predict(X)
    net.apply(net.gradients(X, y), vg.SGD(lr=0.1))
    assert net._engine.vector[net.n_params :].tobytes() == before.tobytes()


@engines
def test_predictions_depend_on_each_row_alone(engine):
    net, (X, y) = make(NORMS[0], engine=engine), problem(30)
    net.fit(X, y, 3, 10)
    np.testing.assert_allclose(net.forward(X)[:1], net.forward(X[:1]), rtol=1e-14, atol=1e-14)
    assert net.evaluate(X[:1], y[:1]).loss > 0


@norms
@engines
def test_copies_files_and_states_hold_it(norm, engine, tmp_path):
    net, (X, y) = make(norm, engine=engine), problem(20)
    net.fit(X, y, 2, 8)
    path = tmp_path / "net.safetensors"
    net.save(path)
    other = make(norm, engine=engine, seed=7)
    other.load_state_dict(net.state_dict())
    for same in (engine.load(path), net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), other):
        assert repr(same) == repr(net)
        assert same._engine.vector.tobytes() == net._engine.vector.tobytes()
        np.testing.assert_array_equal(same.forward(X), net.forward(X))
    names = list(net.state_dict())
    assert names[-2:] == ["layer2.norm.running_mean", "layer2.norm.running_var"]
    assert [name for name in net.parameters()] == names[:-4]
    state = net.state_dict()
    del state["layer1.norm.running_var"]
    with pytest.raises(ValueError, match="running_var"):
        net.load_state_dict(state)


def test_a_training_goes_on_with_what_runs(tmp_path):
    X, y = problem(20)
    whole, first, again = (make(NORMS[0]) for _ in range(3))
    whole.fit(X, y, 6, 8)
    keep = [vg.Checkpoint(tmp_path / "run.npz")]
    first.fit(X, y, 3, 8, callbacks=keep)
    again.fit(X, y, 6, 8, callbacks=keep)
    assert again._engine.vector.tobytes() == whole._engine.vector.tobytes()


def test_early_stopping_puts_back_what_runs():
    net, (X, y) = make(NORMS[0]), problem(20)
    kept = []
    stopping = vg.EarlyStopping(2, monitor="loss")
    worse = [lambda n, h: kept.append(n._engine.vector.copy()), lambda n, h: h.epochs[-1].update(loss=len(h.epochs))]
    net.fit(X, y, 9, 8, callbacks=[*worse, stopping])
    assert len(kept) == 3
    assert net._engine.vector.tobytes() == kept[0].tobytes()


@engines
def test_a_step_that_fails_leaves_what_runs(engine):
    """On the way forward, where squares leave the range of float32, and where the update does."""
    net, X = engine(SIZES, "tanh", "mse", rng=0, normalization="batch"), problem(8, dtype="float32")[0]
    y, before = 1e3 * X[:, :3], net._engine.vector.copy()
    for scale in (1e30, 1):
        with pytest.raises(vg.DivergenceError):
            net.step(np.float32(scale) * X, y, vg.SGD(lr=3e38))
        assert net._engine.vector.tobytes() == before.tobytes()


# ---- what it has not, and what is refused -------------------------------------------------------------------


def test_there_is_no_bias_in_front_of_it():
    net = vg.MLP(SIZES, rng=0, normalization="batch")
    assert list(net.parameters())[:4] == ["layer1.weight", "layer1.norm.weight", "layer1.norm.bias", "layer2.weight"]
    assert [b.shape for b in net.biases] == [(0,), (0,), (3,)]
    assert net.n_params == 4 * 6 + 12 + 6 * 5 + 10 + 5 * 3 + 3
    behind = vg.MLP(SIZES, rng=0, normalization=vg.norm.batch("after"))
    assert [b.shape for b in behind.biases] == [(6,), (5,), (3,)]


@norms
def test_what_inspection_says_of_it(norm):
    net, (X, y) = make(norm, "tanh", (6, 20, 18, 3)), problem(40, (6, 20, 18, 3))
    report = net.inspect(X, y)
    layers = report.layers[:-1]
    np.testing.assert_allclose(
        layers.weight_gain * layers.activation_gain * layers.normalization_gain, layers.gain, rtol=1e-12
    )
    known = norm.place == "after" or norm.affine  # biases, or shifts in their place
    assert np.isfinite(layers.bias_grad_norm).all() == known
    assert np.isnan(layers.noise_scale).all()
    assert max(map(len, str(report).splitlines())) <= 80
    history = net.fit(X, y, 2, 10, inspect_every=1)
    assert str(history)
    assert len(list(history.to_dict())) > 0


@engines
def test_batches_of_one_row_are_refused(engine):
    net, (X, y) = make(NORMS[0], engine=engine), problem(33)
    before = net._engine.vector.copy()
    calls = [
        lambda: net.fit(X, y, 1, 32),
        lambda: net.fit(X, y, 1, 1),
        lambda: net.fit(X[:1], y[:1]),
        lambda: net.step(X[:1], y[:1]),
        lambda: net.gradients(X[:1], y[:1]),
        lambda: net.inspect(X[:1], y[:1]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="batch norm needs at least 2 rows in a batch"):
            call()
    with pytest.raises(ValueError, match="batches of 32 rows with one of 1 at the end; use batch_size=33"):
        calls[0]()
    assert net._engine.vector.tobytes() == before.tobytes()
    net.fit(X, y, 1, 31)


def test_what_has_no_meaning_with_it_is_refused():
    net, (X, y) = make(NORMS[0]), problem(8)
    with pytest.raises(ValueError, match="do not depend on each other"):
        net.sample_norms(X, y)
    with pytest.raises(ValueError, match="at least 2 rows"):
        net.cost(1)
    for wrong in (0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="momentum"):
            vg.norm.batch(momentum=wrong)


def test_remedies_are_tried_with_it():
    """A step that is too long is seen by the loss that training sees, whatever runs."""
    X, y = problem(64)
    net = vg.MLP(SIZES, "tanh", rng=0, normalization="batch")
    report = net.inspect(X, y, vg.SGD(lr=1e6))
    assert report.verdict in ("overshooting", "saturated", "dead")
    assert net.inspect(X, y, vg.SGD(lr=0.1)).verdict == "healthy"


@pytest.mark.parametrize("norm", ["layer", vg.norm.rms("after"), "batch", vg.norm.batch("after")], ids=str)
def test_dropout_stands_behind_it(norm):
    """Both engines drop the same outputs of it, and the ledger still multiplies to the gain."""
    sizes = (5, 19, 7, 3)
    nets = [make(norm, "sigmoid", sizes, engine) for engine in (vg.MLP, reference.MLP)]
    dropped = [type(net)(sizes, "sigmoid", dtype="float64", rng=1, normalization=norm, dropout=0.4) for net in nets]
    X, y = problem(37, sizes)
    for net, other in zip(dropped, nets, strict=True):
        net.params = other.params
    found, exact = (net.gradients(X, y).flat for net in dropped)
    assert np.abs(found - exact).max() <= 1e-13
    assert np.abs(found - nets[0].gradients(X, y).flat).max() > 1e-3
    for net in dropped:
        layers = net.inspect(X, y, try_remedies=False).layers[:-1]
        product = layers.weight_gain * layers.activation_gain * layers.normalization_gain
        np.testing.assert_allclose(product, layers.gain, rtol=1e-12)
    losses = [net.fit(X, y, 2, 16, vg.Adam(lr=0.01)).loss for net in dropped]
    np.testing.assert_allclose(*losses, rtol=1e-7)
