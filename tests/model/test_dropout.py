"""Dropout: which outputs are dropped, that gradients are those of the same masks, and what a net remembers of it."""

import copy
import io
import itertools
import pickle

import numpy as np
import pytest
from differences import slopes
from same_records import assert_records_agree
from shared_columns import train_by_columns

import vgfast as vg
from vgfast import _core
from vgfast.model.engine_numpy import textbook
from vgfast.model.philox import uniforms

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
ACTIVATIONS = pytest.mark.parametrize("activation", _core.ACTIVATIONS)
SIZES = [7, 37, 70, 4]  # of a block of 32 columns and some more, of two and some more
RATES = [0.3, 0.6]
SEED, STEP, LAYER, ROW = 0x9ABCDEF012345678, (5 << 32) + 77, 3, 10


def problem(rng, rows=30, loss="cross_entropy"):
    X = rng.normal(size=(rows, SIZES[0]))
    return X, rng.integers(0, SIZES[-1], rows) if loss == "cross_entropy" else rng.random((rows, SIZES[-1]))


def make(kind=vg.MLP, activation="tanh", dropout=RATES, dtype="float64", **more):
    return kind(SIZES, activation, dtype=dtype, rng=3, dropout=dropout, **more)


def masks_of(net, rows):
    return textbook(net._engine).draw_masks(rows)


# ---- the kernel -----------------------------------------------------------------------------------------


@ACTIVATIONS
def test_what_is_dropped_is_as_defined(isa, dtype, rng, activation):
    """The outputs and phi' times the mask, on rows that lie apart; what is dropped of phi' is -0, and nothing else."""
    keep, rows = 0.7, 7
    for columns in (1, 31, 32, 33, 67):
        z = rng.normal(size=(rows, columns)).astype(dtype)
        y, derivatives = np.empty_like(z), np.empty_like(z)
        _core.activate(activation, z, y, derivatives)
        kept = uniforms(SEED, STEP, LAYER, rows, columns, ROW) < keep
        scale = z.dtype.type(1 / keep)
        apart = np.full((2, rows, columns + 5), 9, dtype)
        found, slopes = apart[:, :, :columns]
        found[...], slopes[...] = y, derivatives
        assert np.isfinite(_core.dropout(activation, found, slopes, keep, SEED, STEP, LAYER, ROW))
        np.testing.assert_array_equal(found, np.where(kept, y * scale, 0))
        np.testing.assert_array_equal(slopes, np.where(kept, derivatives * scale, 0))
        np.testing.assert_array_equal((slopes == 0) & np.signbit(slopes), ~kept)
        assert (apart[:, :, columns:] == 9).all()


def test_what_grows_too_large_is_seen(isa, dtype):
    """Which was not before it was divided by a keep of 2^-20; and nothing is, of what is dropped."""
    large = 2.0**32 if dtype == "float32" else 2.0**128
    y, slopes = np.full((5, 64), large, dtype), np.ones((5, 64), dtype)
    keep = 2.0**-20
    kept = (uniforms(SEED, STEP, LAYER, 5, 64) < keep).any()
    assert np.isfinite(_core.dropout("tanh", y, slopes, keep, SEED, STEP, LAYER, 0)) != kept
    y[...] = large
    assert not np.isfinite(_core.dropout("tanh", y, slopes, 0.25, SEED, STEP, LAYER, 0))


def test_mean_and_variance():
    """Of an output of 1: the mean 1 and the variance (1 - keep) / keep, each within four of its own deviations."""
    shape = 1000, 320
    for keep in (0.9, 0.6, 0.2):
        y, slopes = np.ones(shape), np.ones(shape)
        _core.dropout("identity", y, slopes, keep, SEED, STEP, LAYER, 0)
        n, variance = y.size, (1 - keep) / keep
        assert abs(y.mean() - 1) < 4 * np.sqrt(variance / n)
        fourth = (1 - keep) * (1 + (1 - keep) ** 3 / keep**3)  # E (y - 1)^4
        assert abs(np.square(y - 1).mean() - variance) < 4 * np.sqrt((fourth - variance**2) / n)
        # no row, column or pair of neighbours is like another
        by_row, by_column = y.mean(axis=1), y.mean(axis=0)
        for means, of in ((by_row, shape[1]), (by_column, shape[0])):
            spread = means.var() / (variance / of)
            assert abs(spread - 1) < 4 * np.sqrt(2 / len(means))
        for a, b in ((y[1:], y[:-1]), (y[:, 1:], y[:, :-1])):
            assert abs(((a - 1) * (b - 1)).mean()) < 4 * variance / np.sqrt(a.size)


def test_layers_and_steps_have_other_masks(rng):
    net = vg.MLP([3, 64, 64, 2], dropout=0.5, rng=0)
    X, y = rng.normal(size=(400, 3)), rng.integers(0, 2, 400)
    before = masks_of(net, 400)
    net.step(X, y)
    drawn = [mask > 0 for mask in (*before, *masks_of(net, 400))]
    for a, b in itertools.combinations(drawn, 2):
        assert abs((a == b).mean() - 0.5) < 4 * 0.5 / np.sqrt(a.size)


# ---- the two engines, and differences ---------------------------------------------------------------------


@ACTIVATIONS
@pytest.mark.parametrize("rates", [0.4, [0.3, 0.6], [0.5, 0], [0, 0.5]])
def test_the_engines_drop_the_same(rng, dtype, activation, rates):
    """Gradients, records and trainings, inspected or not."""
    X, y = problem(rng)
    fast, plain = (make(kind, activation, rates, dtype) for kind in (vg.MLP, vg.reference.MLP))
    rtol, atol = (1e-4, 1e-6) if dtype == "float32" else (1e-11, 1e-14)
    found, expected = (net.gradients(X, y) for net in (fast, plain))
    np.testing.assert_allclose(found.flat, expected.flat, rtol, atol)
    for a, b in zip(found.deltas, expected.deltas, strict=True):
        np.testing.assert_allclose(a, b, rtol, atol)
        assert ((a == 0) == (b == 0)).all()
    assert_records_agree(fast, plain, X, y, rtol, atol)
    histories = [net.fit(X, y, epochs=3, batch_size=8, inspect_every=2) for net in (fast, plain)]
    np.testing.assert_allclose(fast.params, plain.params, rtol, atol)
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol, atol)
    alone = make(vg.MLP, activation, rates, dtype)
    alone.fit(X, y, epochs=3, batch_size=8)
    np.testing.assert_array_equal(alone.params, fast.params)


@NETS
@pytest.mark.parametrize("activation", ["identity", "sigmoid", "gelu"])  # all of them: test_combinations.py
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_gradients_are_those_of_the_masks(kind, activation, loss, rng):
    """By differences of the loss that ``gradients`` names, whose masks stay until a step is taken."""
    X, y = problem(rng, 6, loss)
    net = kind([7, 9, 8, 4], activation, loss, dtype="float64", rng=1, dropout=RATES)
    gradient = net.gradients(X, y).flat
    exact, wanted = slopes(net, gradient, X, y)
    assert np.abs(wanted - exact).max() < 1e-7 * np.abs(exact).max()
    assert (gradient == 0).any()  # something was dropped on all six rows


def test_gradients_are_those_of_autograd(rng, torch):
    """Of the same masks, to 1e-12 of the largest."""
    X, y = problem(rng)
    for name, function in (("relu", torch.relu), ("sigmoid", torch.sigmoid), ("identity", lambda z: z)):
        net = make(activation=name)
        leaves = [torch.tensor(np.array(p), requires_grad=True) for p in net.parameters().values()]
        a = torch.tensor(X)
        for l, mask in enumerate([*masks_of(net, len(X)), None]):
            z = a @ leaves[2 * l] + leaves[2 * l + 1]
            a = z if mask is None else function(z) * torch.tensor(mask)
        torch.nn.functional.cross_entropy(a, torch.tensor(y)).backward()
        expected = np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves])
        assert np.abs(net.gradients(X, y).flat - expected).max() < 1e-12 * np.abs(expected).max()


# ---- the same bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "rows", "batch"),
    [(SIZES, 300, 100), ([6, 16, 8, 3], 2500, 1200), ([5, 600, 70, 3], 700, 350)],
)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_any_number_of_threads(sizes, rows, batch, activation, rng, forced_threads):
    """By rows, by chunks of a large batch, by parts; and as the textbook has it, which knows none of them."""
    X, y = rng.normal(size=(rows, sizes[0])), rng.integers(0, 3, rows)
    found = []
    for n in (1, 2, 3, 7):
        vg.set_num_threads(n)
        net = vg.MLP(sizes, activation, dtype="float64", dropout=0.3, rng=2)
        net.fit(X, y, epochs=2, batch_size=batch, optimizer=vg.SGD(0.1, momentum=0.9))
        found.append(net.params.copy())
    for params in found[1:]:
        np.testing.assert_array_equal(params, found[0])
    plain = vg.reference.MLP(sizes, activation, dtype="float64", dropout=0.3, rng=2)
    plain.fit(X, y, epochs=2, batch_size=batch, optimizer=vg.SGD(0.1, momentum=0.9))
    np.testing.assert_allclose(found[0], plain.params, 1e-9, 1e-12)


def test_threads_that_share_columns(rng, forced_threads):
    X, y = rng.normal(size=(40, 7)).astype(np.float32), rng.integers(0, 4, 40)
    assert len(train_by_columns(lambda: make(dtype="float32"), X, y)) == 1


@NETS
def test_apply_does_what_step_does(kind, rng):
    """And what a step has drawn is not drawn again."""
    X, y = problem(rng)
    one, two = make(kind), make(kind)
    for _ in range(3):
        one.step(X, y, vg.SGD(0.1))
        two.apply(two.gradients(X, y), vg.SGD(0.1))
        np.testing.assert_array_equal(one.params, two.params)
    assert len({float(make(kind).step(X, y)), *(one.step(X, y, vg.SGD(1e-300)) for _ in range(3))}) == 4


@NETS
def test_reading_draws_nothing(kind, rng):
    """Predictions drop nothing; gradients and reports are of the masks of the next step, which stay."""
    X, y = problem(rng)
    net, plain = make(kind), make(kind, dropout=0.0)
    assert net.dropout == (0.3, 0.6)
    assert plain.dropout == (0.0, 0.0)
    np.testing.assert_array_equal(net.params, plain.params)
    np.testing.assert_array_equal(net.forward(X), plain.forward(X))
    np.testing.assert_array_equal(net.forward(X[:1]), plain.forward(X[:1]))
    assert net.evaluate(X, y) == plain.evaluate(X, y)
    assert net.gradients(X, y).loss == net.gradients(X, y).loss != plain.gradients(X, y).loss
    loss = net.gradients(X, y).loss
    net.inspect(X, y)
    assert net.step(X, y) == pytest.approx(loss, rel=1e-14)


@NETS
def test_traces_and_checks_drop_nothing(kind, rng):
    X, y = problem(rng)
    net, plain = make(kind), make(kind, dropout=0.0)
    assert net.trace(1, 0, 1, X[0], y[0]).gradient == plain.trace(1, 0, 1, X[0], y[0]).gradient
    assert net.check_gradient(2, 0, 1, X, y).agrees


# ---- what a net remembers ---------------------------------------------------------------------------------


@NETS
@pytest.mark.parametrize("copied", [vg.MLP.copy, copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_go_on_alike(kind, copied, rng):
    X, y = problem(rng)
    net = make(kind)
    net.fit(X, y, epochs=2, batch_size=8)
    other = copied(net)
    assert other.dropout == net.dropout
    losses = [one.fit(X, y, epochs=2, batch_size=8, shuffle=False).loss for one in (net, other)]
    np.testing.assert_array_equal(*losses)


def test_files_hold_the_rates(rng):
    X, _ = problem(rng)
    for rates in (0.25, [0.0, 0.5]):
        net, file = make(dropout=rates), io.BytesIO()
        net.save(file)
        again = vg.MLP.load(io.BytesIO(file.getvalue()), rng=5)
        assert again.dropout == net.dropout
        np.testing.assert_array_equal(again.forward(X), net.forward(X))
        assert again._engine.draws[0] != net._engine.draws[0]  # of its own rng, as the order of rows
    off, file = make(dropout=0), io.BytesIO()
    off.save(file)
    assert b"dropout" not in file.getvalue()


def test_off_is_as_it_was(rng):
    X, y = problem(rng)
    nets = vg.MLP(SIZES, rng=1), vg.MLP(SIZES, rng=1, dropout=0.0), vg.MLP(SIZES, rng=1, dropout=[0, 1e-17])
    for net in nets:
        net.fit(X, y, epochs=2, batch_size=7)
        assert net._engine.draws is None
        assert repr(net) == "MLP([7, 37, 70, 4], 'relu', loss='cross_entropy', dtype='float32')"
        np.testing.assert_array_equal(net.params, nets[0].params)


def test_how_it_is_shown():
    assert repr(make(dropout=0.25)).endswith(", dropout=0.25)")
    assert repr(make()).endswith(", dropout=[0.3, 0.6])")
    assert [row.split()[5] for row in str(make(dropout=[0, 0.6]).summary()).splitlines()[2:5]] == ["-", "0.6", "-"]


@NETS
@pytest.mark.parametrize(
    ("dropout", "error", "said"),
    [
        (1, ValueError, "at least 0 and below 1, got 1.0"),
        (1.5, ValueError, "below 1, got 1.5"),
        (-0.1, ValueError, "at least 0"),
        (float("nan"), ValueError, "got nan"),
        ([0.1, 1.0], ValueError, r"dropout\[1\] must be at least 0 and below 1"),
        ([0.1], ValueError, "one rate, or one for each of the 2 hidden layers; got 1"),
        ("0.5", TypeError, "use 0.5"),
        (True, TypeError, "must be a number"),
        (None, TypeError, "must be a number"),
        ([[0.1], [0.2]], TypeError, r"dropout\[0\] must be a number"),
    ],
)
def test_refused(kind, dropout, error, said):
    with pytest.raises(error, match=said) as caught:
        make(kind, dropout=dropout)
    assert "\n" not in str(caught.value)


# ---- what inspection says ---------------------------------------------------------------------------------


def test_the_predicted_gain_is_the_measured_one(rng):
    """Layers 400 wide: within 3 %. Both of E phi² and E phi'² are divided by what is kept."""
    X, y = rng.normal(size=(200, 400)), rng.integers(0, 10, 200)
    for activation, rate in (("relu", 0.5), ("tanh", 0.2)):
        net = vg.MLP([400] * 5 + [10], activation, dropout=rate, rng=1)
        layers = net.inspect(X, y, try_remedies=False).layers[:-1]
        np.testing.assert_allclose(layers.gain, layers.predicted_gain, rtol=0.03)
        assert ((layers.predicted_low < layers.gain) & (layers.gain < layers.predicted_high)).all()


def test_what_is_dropped_is_neither_dead_nor_saturated(rng):
    """On two rows, half of them dropped: a quarter of the units is dropped on both."""
    X, y = rng.normal(size=(2, 7)), [0, 1]
    for kind in (vg.MLP, vg.reference.MLP):
        net = make(kind, "identity", dropout=0.5)
        records = net.inspect(X, y, try_remedies=False).records
        assert (records["dead"] == 0).all()
        assert (records["saturated"] == 0).all()
        np.testing.assert_allclose(records["mean_derivative"], 1, rtol=1e-14)
        net = make(kind, "relu", dropout=0.5)
        net.biases[0] = np.full(37, -100)
        records = net.inspect(X, y, try_remedies=False).records
        kept = masks_of(net, 2)[0] > 0
        assert records["dead"][0] == kept.any(axis=0).mean()
        assert records["saturated"][0] == 1
