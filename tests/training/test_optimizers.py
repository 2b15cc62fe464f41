"""Adam, AdamW, RMSprop and Adagrad: against PyTorch, scikit-learn and plain arithmetic, and what holds for all."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 11)).astype(np.float32)
Y = RNG.integers(0, 4, 90)
SIZES = [11, 53, 17, 4]

# Each rule as a maker, beside what torch.optim has under that name.
RULES = {
    "adam": (lambda: vg.Adam(0.01), "Adam", {"lr": 0.01}),
    "adam, other numbers": (
        lambda: vg.Adam(0.02, (0.5, 0.9), 1e-3),
        "Adam",
        {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-3},
    ),
    "adam without averages": (lambda: vg.Adam(0.01, (0, 0)), "Adam", {"lr": 0.01, "betas": (0.0, 0.0)}),
    "adam with decay": (lambda: vg.Adam(0.01, weight_decay=0.1), "Adam", {"lr": 0.01, "weight_decay": 0.1}),
    "adamw": (lambda: vg.AdamW(0.01, weight_decay=0.3), "AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    "rmsprop": (lambda: vg.RMSprop(0.003), "RMSprop", {"lr": 0.003}),
    "rmsprop with momentum": (
        lambda: vg.RMSprop(0.001, 0.9, momentum=0.8, weight_decay=0.1),
        "RMSprop",
        {"lr": 0.001, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1},
    ),
    "adagrad": (lambda: vg.Adagrad(), "Adagrad", {}),
    "adagrad from 0.1": (
        lambda: vg.Adagrad(0.03, initial_accumulator_value=0.1, eps=1e-7),
        "Adagrad",
        {"lr": 0.03, "initial_accumulator_value": 0.1, "eps": 1e-7},
    ),
}
ALL = {**{name: make for name, (make, *_) in RULES.items()}, "hat": lambda: vg.Adam(0.01, eps=1e-3, eps_hat=True)}
ALL |= {"inside": lambda: vg.RMSprop(0.003, eps_inside=True), "clipped": lambda: vg.Adam(0.01, clip_norm=0.1)}
each_rule = pytest.mark.parametrize("name", ALL)


def trained(name, n, kind=vg.MLP, dtype="float32", steps=7):
    """A net and its optimizer after some steps on n threads."""
    net, optimizer = kind(SIZES, "tanh", dtype=dtype, rng=0), ALL[name]()
    with vg.threads(n):
        for _ in range(steps):
            net.step(X, Y, optimizer)
    return net, optimizer


# ---- the formulas --------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    """On one thread: what several cost to wake is more than such steps."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


def ulps(found, expected):
    """The largest distance, in units in the last place of what is expected."""
    return float((np.abs(found.astype(np.float64) - expected) / np.spacing(np.abs(expected))).max())


@pytest.mark.parametrize("size", [1, 0])
@pytest.mark.parametrize("name", RULES)
def test_a_step_is_pytorchs_to_2_ulp(torch, isa, dtype, name, size):
    """Of the weights, where those are larger than the step, which is 0.03 at most. Where they are 0, the step itself is
    seen, with half an ulp of a number (which may be a whole one of the result) for each of the twelve roundings that
    the two do not have in common."""
    make, theirs, settings = RULES[name]
    net, optimizer, rng = vg.MLP([19, 13], dtype=dtype, rng=0), make(), np.random.default_rng(1)
    n, shape = net.weights[0].size, net.weights[0].shape
    w = torch.zeros(shape, dtype=getattr(torch, dtype), requires_grad=True)
    of_torch = getattr(torch.optim, theirs)([w], **settings)
    for step in range(12):
        g = (rng.normal(size=net.n_params) * 10.0 ** rng.integers(-6, 2, net.n_params)).astype(dtype)
        net.weights[0] = size * rng.choice([-1, 1], shape) * rng.uniform(0.25, 1, shape)
        with torch.no_grad():
            w.copy_(torch.tensor(net.weights[0].copy()))
        net.apply(g, optimizer)
        w.grad = torch.tensor(g[:n].reshape(shape))
        of_torch.step()
        # A sum of both signs has the error of its largest part: how much is left of it is not known.
        if size or step == 0:
            assert ulps(net.weights[0], w.detach().numpy()) <= (2 if size else 12)


def test_a_thousand_steps_of_adam_are_pytorchs(torch):
    net, optimizer = vg.MLP(SIZES, "tanh", dtype="float64", rng=0), vg.Adam(0.001)
    layers = [torch.nn.Linear(n, m, dtype=torch.float64) for n, m in itertools.pairwise(SIZES)]
    with torch.no_grad():
        for layer, w, b in zip(layers, net.weights, net.biases, strict=True):
            layer.weight.copy_(torch.tensor(w.T.copy()))
            layer.bias.copy_(torch.tensor(b.copy()))
    theirs = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    of_torch = torch.optim.Adam(theirs.parameters(), 0.001)
    x, y = torch.tensor(X.astype(np.float64)), torch.tensor(Y)
    net.fit(X, Y, 1000, len(X), optimizer, shuffle=False)
    for _ in range(1000):
        of_torch.zero_grad()
        torch.nn.functional.cross_entropy(theirs(x), y).backward()
        of_torch.step()
    for layer, w, b in zip(layers, net.weights, net.biases, strict=True):
        np.testing.assert_allclose(w, layer.weight.detach().numpy().T, rtol=0, atol=1e-10)
        np.testing.assert_allclose(b, layer.bias.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_eps_hat_is_scikit_learns(kind):
    optimizers = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    net = kind([9, 5], dtype="float64", rng=0)
    w = net.weights[0].copy()
    theirs = optimizers.AdamOptimizer([w], 0.01, 0.9, 0.999, 1e-3)
    ours = vg.Adam(0.01, eps=1e-3, eps_hat=True)
    for _ in range(20):
        g = 0.01 * RNG.normal(size=net.n_params)
        theirs.update_params([w], [g[:45].reshape(9, 5)])
        net.apply(g, ours)
    np.testing.assert_allclose(net.weights[0], w, rtol=1e-12)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_eps_inside_the_root(kind):
    """As Keras and optax have it, by hand."""
    for optimizer, share, first in (
        (vg.RMSprop(0.01, 0.9, 1e-3, eps_inside=True), 0.9, 0.0),
        (vg.Adagrad(0.01, 0, 0.1, 1e-3, eps_inside=True), 1.0, 0.1),
    ):
        net = kind([9, 5], dtype="float64", rng=0)
        w, v = net.params.copy(), np.full(net.n_params, first)
        for _ in range(20):
            g = 0.01 * RNG.normal(size=net.n_params)
            v = share * v + (1 if share == 1 else 1 - share) * g * g
            w -= 0.01 * g / np.sqrt(v + 1e-3)
            net.apply(g, optimizer)
        np.testing.assert_allclose(net.params, w, rtol=1e-12)


@each_rule
def test_the_textbook_takes_the_same_steps(name, dtype):
    """Errors of 7 steps, each of lr times a number near 1: some roundings each, and those of gradients that are divided
    by their own size, which may be near eps."""
    (net, _), (other, _) = (trained(name, 1, kind, dtype) for kind in (vg.MLP, reference.MLP))
    np.testing.assert_allclose(net.params, other.params, rtol=0, atol=2000 * np.finfo(dtype).eps)


def test_biases_do_not_decay():
    for optimizer in (vg.Adam(0.1, weight_decay=0.1), vg.AdamW(0.1, weight_decay=0.1)):
        net = vg.MLP([6, 5], rng=0)
        net.biases[0][...] = 1
        net.apply(np.zeros(net.n_params, np.float32), optimizer)
        assert (net.biases[0] == 1).all()
    np.testing.assert_allclose(net.weights[0], 0.99 * vg.MLP([6, 5], rng=0).weights[0], rtol=1e-6)


# ---- the ways to an update -----------------------------------------------------------------------------


@each_rule
def test_bits_do_not_depend_on_threads(name, dtype, isa, forced_threads):
    """In registers, in parts, inspected or not; on one thread and on several."""
    found = set()
    for n in (1, 2, 3, 7):
        net, optimizer = trained(name, n, dtype=dtype, steps=3)
        with vg.threads(n):
            net.fit(X, Y, 1, 32, optimizer, shuffle=False)
            net.fit(X, Y, 1, 32, optimizer, shuffle=False, inspect_every=2)
        state = net._states.find(optimizer)
        found.add((net.params.tobytes(), *(vector.tobytes() for vector in state.vectors), int(state.n_taken[0])))
    assert len(found) == 1
    assert found.pop()[-1] == 3 + 3 + 3


@each_rule
@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_apply_does_what_step_does(name, kind, dtype, isa):
    (one, of_one), (other, of_other) = (trained(name, 1, kind, dtype, 2) for _ in range(2))
    one.step(X, Y, of_one)
    other.apply(other.gradients(X, Y), of_other)
    np.testing.assert_array_equal(one.params, other.params)
    for mine, its in zip(one._states.find(of_one).vectors, other._states.find(of_other).vectors, strict=True):
        np.testing.assert_array_equal(mine, its)


@each_rule
def test_a_step_is_inspected_as_it_is_taken(name, dtype):
    """The records of a step and of one that is not taken, and what it does to the weights."""
    net, optimizer = trained(name, 1, dtype=dtype)
    records = net.inspect(X, Y, optimizer, try_remedies=False).records
    before = [w.astype(np.float64) for w in net.weights]
    history = net.fit(X, Y, 1, len(X), optimizer, shuffle=False, inspect_every=1)
    np.testing.assert_array_equal(history.gradients[0]["frozen"], records["frozen"])
    for quantity in ("update_ratio", "grad_norm"):  # a step that is not taken sums its squares in another order
        np.testing.assert_allclose(history.gradients[0][quantity], records[quantity], rtol=1e-5)
    steps = [np.linalg.norm(w - old) / np.linalg.norm(old) for w, old in zip(net.weights, before, strict=True)]
    rounding = np.finfo(dtype).eps / records["update_ratio"]
    assert (np.abs(records["update_ratio"] / steps - 1) <= 1e-4 + rounding).all()


@each_rule
def test_chunks_take_the_same_steps(name):
    """A large batch of few weights, whose gradient is summed in memory."""
    x, y = np.tile(X[:, :3], (23, 1)), np.tile(Y, 23)
    net, other = vg.MLP([3, 5, 4], rng=0), reference.MLP([3, 5, 4], rng=0)
    for one in (net, other):
        optimizer = ALL[name]()
        for _ in range(3):
            one.step(x, y, optimizer)
    np.testing.assert_allclose(net.params, other.params, rtol=0, atol=2e-4)


# ---- what is kept --------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("again", [lambda both: pickle.loads(pickle.dumps(both)), copy.deepcopy])
def test_copies_go_on_alike_and_reset_begins_anew(name, again):
    net, optimizer = trained(name, 1)
    other, others = again((net, optimizer))
    for one, of in ((net, optimizer), (other, others)):
        one.fit(X, Y, 2, 16, of)
    np.testing.assert_array_equal(net.params, other.params)
    others.reset()
    fresh, new = net.copy(), ALL[name]()
    for one, of in ((other, others), (fresh, new)):
        one.step(X, Y, of)
    np.testing.assert_array_equal(other.params, fresh.params)


def test_a_rule_that_changes_keeps_what_it_can():
    net, optimizer = trained("rmsprop", 1)
    v = net._states.find(optimizer).vectors[0]
    optimizer.momentum = 0.9
    net.step(X, Y, optimizer)
    assert net._states.find(optimizer).vectors[0] is v
    u = net._states.find(optimizer).vectors[1]
    assert u.any()
    optimizer.momentum = 0
    net.step(X, Y, optimizer)
    assert net._states.find(optimizer).vectors[1] is u
    assert int(net._states.find(optimizer).n_taken[0]) == 9


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop with momentum", "adagrad from 0.1"])
def test_checkpoint_comes_to_the_bits_of_the_unbroken_run(name, tmp_path):
    def run(epochs, keep=()):
        net, optimizer = vg.MLP(SIZES, rng=0), ALL[name]()
        history = net.fit(X, Y, epochs, 16, optimizer, callbacks=keep)
        return net.params.tobytes(), history.loss.tobytes(), repr(optimizer)

    keep = [vg.Checkpoint(tmp_path / "run.npz")]
    run(3, keep)
    assert run(8, keep) == run(8)
    with pytest.raises(ValueError, match="is a checkpoint of a training with optimizer"):
        vg.MLP(SIZES, rng=0).fit(X, Y, 8, 16, vg.SGD(), callbacks=keep)


# ---- what is huge, and what is refused -----------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_squares_of_huge_gradients_end_at_the_largest_number(name, kind):
    """Gradients of 1e25, whose squares float32 has not; and then ordinary ones."""
    net, optimizer = kind([30, 20], rng=0), ALL[name]()
    for scale in (1e25, 1, 1e-30, 1):
        net.apply((scale * RNG.normal(size=net.n_params)).astype(np.float32), optimizer)
        assert np.isfinite(net.params).all()
        assert all(np.isfinite(vector).all() for vector in net._states.find(optimizer).vectors)


@each_rule
@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_a_step_that_leaves_the_range_changes_nothing(name, kind):
    net, optimizer = trained(name, 1, kind)
    optimizer.lr = 3e38
    net.biases[0][...] = -3e38
    before, state = net.params.copy(), net._states.find(optimizer).copy()
    with pytest.raises(vg.DivergenceError, match="lower lr"):
        net.apply(1e3 * np.ones(net.n_params, np.float32), optimizer)
    assert net.params.tobytes() == before.tobytes()
    for vector, was in zip(net._states.find(optimizer).vectors, state.vectors, strict=True):
        assert vector.tobytes() == was.tobytes()
    assert net._states.find(optimizer).n_taken == state.n_taken


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_an_eps_that_lets_a_step_overflow_changes_nothing(kind):
    """m of 300 over an eps of 1e-37, where v has forgotten: nothing else is huge."""
    net, optimizer = kind([30, 20], rng=0), vg.Adam(0.01, (0.9, 0), 1e-37)
    net.apply(np.full(net.n_params, 3e3, np.float32), optimizer)
    before = net.params.copy()
    with pytest.raises(vg.DivergenceError, match="lower lr"):
        net.apply(np.zeros(net.n_params, np.float32), optimizer)
    assert net.params.tobytes() == before.tobytes()
    assert int(net._states.find(optimizer).n_taken[0]) == 1


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: vg.Adam(0), ValueError, "lr must be above 0"),
        (lambda: vg.Adam(betas=(1, 0.9)), ValueError, r"betas\[0\] must be at least 0 and below 1, got 1"),
        (lambda: vg.AdamW(betas=(0.9, -0.1)), ValueError, r"betas\[1\] must be at least 0 and below 1"),
        (lambda: vg.Adam(betas=0.9), TypeError, r"betas must be two numbers, got 0.9; for example betas=\(0.9"),
        (lambda: vg.Adam(betas=(0.9,)), TypeError, "betas must be two numbers"),
        (lambda: vg.Adam(eps=0), ValueError, "eps must be above 0"),
        (lambda: vg.Adam(eps=math.nan), ValueError, "eps must be above 0"),
        (lambda: vg.Adam(eps_hat=1), TypeError, "eps_hat must be True or False"),
        (lambda: vg.AdamW(weight_decay=-1), ValueError, "weight_decay must be at least 0"),
        (lambda: vg.RMSprop(alpha=1), ValueError, "alpha must be at least 0 and below 1"),
        (lambda: vg.RMSprop(momentum=1), ValueError, "momentum must be at least 0 and below 1"),
        (lambda: vg.RMSprop(eps_inside="yes"), TypeError, "eps_inside must be True or False"),
        (lambda: vg.Adagrad(initial_accumulator_value=-1), ValueError, "initial_accumulator_value must be at least 0"),
        (lambda: vg.Adagrad(clip_norm=0), ValueError, "clip_norm must be above 0"),
        (lambda: vg.MLP(SIZES).step(X, Y, vg.Adam(eps=1e-50)), ValueError, "eps must be from 1.4.* for a net"),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_numbers_that_became_bad_change_nothing():
    net, optimizer = trained("adam", 1)
    before = net.params.copy()
    optimizer.betas = (0.9, 2)
    with pytest.raises(ValueError, match=r"betas\[1\]"):
        net.fit(X, Y, 1, 16, optimizer)
    assert net.params.tobytes() == before.tobytes()
    assert int(net._states.find(optimizer).n_taken[0]) == 7


def test_every_rule_of_the_catalog_has_an_optimizer():
    made = {make().checked().rule for make in ALL.values()}
    made |= {vg.SGD(momentum=m, nesterov=n).checked().rule for m, n in ((0, False), (0.9, False), (0.9, True))}
    assert made == set(_core.RULES)
