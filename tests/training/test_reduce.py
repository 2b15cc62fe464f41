"""fit(reduce=f): what is done with the gradient of a step between its two halves."""

import numpy as np
import pytest
import scipy.sparse
from training.ranks import make_data

import vgfast as vg
from vgfast import reference

SIZES = [9, 16, 12, 4]
OPTIMIZERS = {
    "sgd": lambda: vg.SGD(0.1),
    "momentum": lambda: vg.SGD(0.05, momentum=0.9, weight_decay=1e-3),
    "clip_norm": lambda: vg.SGD(0.1, clip_norm=0.05),
    "adam": lambda: vg.Adam(0.01, penalty=0.3),
    "rmsprop": lambda: vg.RMSprop(0.01, clip_value=1e-3),
    "schedule": lambda: vg.AdamW(vg.schedules.cosine(0.02, 20)),
}


def identity(flat, rows):
    pass


def train(reduce, kind=vg.MLP, optimizer=None, dtype="float64", rows=67, sparse=False, **how):
    """Net and history; what is not of fit goes to the net."""
    X, y = make_data(rows, dtype=dtype)
    net_how = {name: how.pop(name) for name in ("dropout", "normalization", "residual", "activation") if name in how}
    net = kind(how.pop("sizes", SIZES), dtype=dtype, rng=3, **net_how)
    how = {"epochs": 4, "batch_size": 16} | how
    X = scipy.sparse.csr_matrix(X) if sparse else X
    return net, net.fit(X, y, optimizer=optimizer, reduce=reduce, **how)


def assert_same(one, other):
    (net, history), (net_2, history_2) = one, other
    np.testing.assert_array_equal(net.params, net_2.params)
    np.testing.assert_array_equal(history.loss, history_2.loss)
    assert [(e["loss"], e["accuracy"]) for e in history.epochs] == [
        (e["loss"], e["accuracy"]) for e in history_2.epochs
    ]
    for name in history.gradients.dtype.names or ():
        both = history.gradients[name], history_2.gradients[name]  # norms are sums in another order
        np.testing.assert_allclose(*both, rtol=1e-12 if net.dtype == "float64" else 1e-5, err_msg=name)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP], ids=["core", "numpy"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_gradient_that_is_left_alone_gives_the_bits_of_a_run_without(kind, optimizer):
    how = {"kind": kind, "inspect_every": 3, "dropout": 0.2}
    assert_same(*(train(f, optimizer=OPTIMIZERS[optimizer](), **how) for f in (None, identity)))


@pytest.mark.parametrize(
    "how",
    [
        {"normalization": "layer", "dtype": "float32"},
        {"sizes": [9, 12, 12, 12, 4], "residual": True},
        {"sparse": True},
        {"sample_weight": np.arange(67) % 3},
        {"sample_weight": np.repeat([0.0, 1.0], [16, 51]), "shuffle": False},
        {"inspect_every": 2, "inspect": "histograms"},
        {"batch_size": 67},
        {"rows": 4096, "sizes": [9, 3, 4], "batch_size": 4096, "epochs": 2},  # in chunks
    ],
    ids=["norm", "residual", "sparse", "weights", "no weight", "histograms", "one batch", "chunks"],
)
def test_so_does_it_with_every_option(how):
    assert_same(train(None, **how), train(identity, **how))


class Blocks:
    def __init__(self, X, y):
        self.X, self.y, self.n_blocks = X, y, 4

    def __len__(self):
        return len(self.X)

    def blocks(self, order):
        for first in range(0, len(self.X), 20):
            yield self.X[first : first + 20], self.y[first : first + 20]


def test_so_does_it_with_blocks():
    X, y = make_data()
    nets = [vg.MLP(SIZES, dtype="float64", rng=3) for _ in range(2)]
    seen = []
    for net, f in zip(nets, (None, lambda flat, rows: seen.append(rows)), strict=True):
        net.fit(Blocks(X, y), epochs=2, batch_size=16, shuffle=False, reduce=f)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)
    assert seen == 2 * [16, 16, 16, 16, 3]


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP], ids=["core", "numpy"])
def test_the_update_is_by_what_it_leaves(kind):
    def double(flat, rows):
        flat *= 2

    (twice, _), (faster, _) = train(double, kind, vg.SGD(0.05)), train(None, kind, vg.SGD(0.1))
    np.testing.assert_allclose(twice.params, faster.params, rtol=1e-12, atol=1e-15)


def test_clipping_and_records_see_what_it_leaves():
    def grow(flat, rows):
        flat *= 1e3

    net, history = train(grow, optimizer=vg.SGD(0.1, clip_norm=0.5), epochs=1, batch_size=67, inspect_every=1)
    before = vg.MLP(SIZES, dtype="float64", rng=3)
    assert np.linalg.norm(net.params - before.params) == pytest.approx(0.05, rel=1e-9)
    plain = before.inspect(*make_data())
    grown = [layer.grad_norm for layer in plain.layers]
    np.testing.assert_allclose(history.gradients["grad_norm"][0], 1e3 * np.array(grown), rtol=1e-9)


def test_it_is_told_the_rows_or_their_weight():
    seen, weight = [], np.arange(67) / 7
    train(lambda flat, rows: seen.append(rows), epochs=1)
    assert seen == [16, 16, 16, 16, 3]
    seen.clear()
    train(lambda flat, rows: seen.append(rows), epochs=1, shuffle=False, sample_weight=weight)
    assert seen == pytest.approx(np.add.reduceat(weight, np.arange(0, 67, 16)))


def test_flat_is_laid_out_as_the_parameters():
    X, y = make_data()
    net, seen = vg.MLP(SIZES, dtype="float64", rng=3), []
    expected = net.gradients(X, y).flat
    net.fit(X, y, epochs=1, batch_size=67, shuffle=False, reduce=lambda flat, rows: seen.append(flat.copy()))
    np.testing.assert_array_equal(seen[0], expected)


def test_an_error_in_it_leaves_the_net_as_of_the_last_step():
    steps = []

    def fail(flat, rows):
        steps.append(rows)
        if len(steps) == 4:
            raise KeyError("no network")

    X, y = make_data()
    net, other = (vg.MLP(SIZES, dtype="float64", rng=3) for _ in range(2))
    with pytest.raises(KeyError, match="no network"):
        net.fit(X, y, batch_size=16, shuffle=False, reduce=fail)
    other.fit(X[:48], y[:48], epochs=1, batch_size=16, shuffle=False)
    np.testing.assert_array_equal(net.params, other.params)
    assert len(net.history.loss) == 3
    assert net.fit(X, y, epochs=1).loss.size > 0  # and it may be trained again


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP], ids=["core", "numpy"])
def test_a_gradient_that_it_makes_infinite_is_its_fault(kind):
    def spoil(flat, rows):
        flat[5] = np.inf

    with pytest.raises(vg.DivergenceError, match="reduce left a gradient of step 0 that is not finite"):
        train(spoil, kind)


def test_a_gradient_that_was_not_finite_is_not():
    with pytest.raises(vg.DivergenceError, match="lower lr"):
        train(identity, optimizer=vg.SGD(1e200), epochs=30)


@pytest.mark.parametrize(
    ("reduce", "error", "words"),
    [
        (3, TypeError, "function of"),
        (lambda flat, rows: flat[:3], ValueError, r"in its place and return nothing, got ndarray of shape \(3,\)"),
        (lambda flat, rows: 1.0, ValueError, "return nothing, got float"),
    ],
    ids=["no function", "another shape", "a number"],
)
def test_what_is_no_reduce_is_refused(reduce, error, words):
    before = vg.MLP(SIZES, dtype="float64", rng=3).params.copy()
    net = vg.MLP(SIZES, dtype="float64", rng=3)
    with pytest.raises(error, match=words):
        net.fit(*make_data(), reduce=reduce)
    np.testing.assert_array_equal(net.params, before)


def test_batch_norm_is_refused():
    with pytest.raises(ValueError, match="normalization='layer' or 'rms'"):
        train(identity, normalization="batch")


def test_progress_is_told():
    told = []
    train(identity, progress=lambda done, total, history: told.append((done, total)))
    assert told[-1] == (20, 20)


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP], ids=["core", "numpy"])
def test_an_update_that_is_not_finite_is_refused_whatever_the_gradient(kind):
    X, T = np.ones((8, 2)), np.zeros((8, 1))
    X[:, 0] = 0  # so that no loss shows the first weight
    net = kind([2, 1], loss="mse", rng=0)
    net.params[...] = 0
    net.params[0] = 3e38
    before = net.params.copy()
    with pytest.raises(vg.DivergenceError) as error:
        net.fit(X, T, epochs=1, batch_size=8, optimizer=vg.SGD(10.0, weight_decay=1.0), reduce=identity)
    assert error.value.step == 0
    np.testing.assert_array_equal(net.params, before)


def test_what_is_made_of_a_class_is_wanted():
    class Half(vg.Reducer):
        def add(self, numbers):
            pass

    with pytest.raises(TypeError, match="got the class Half"):
        train(Half)
    with pytest.raises(TypeError, match="got a Half without rank"):
        train(Half())
    half = Half()
    half.rank, half.size, half.check_every = 0, 1, -3
    with pytest.raises(ValueError, match="check_every of a Reducer must be"):
        train(half)
