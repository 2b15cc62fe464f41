"""Alpha dropout: what it makes of outputs, gradients of the same masks, theory, and what a net remembers of it."""

import io
import json
import math
import pickle

import numpy as np
import pytest
from differences import slopes
from same_records import assert_records_agree

import vgfast as vg
from vgfast import _core
from vgfast.cost.counts import count_step
from vgfast.model.dropout import dropped
from vgfast.model.engine_numpy import textbook
from vgfast.model.philox import uniforms

alpha = vg.dropout.alpha
THREE_TENTHS = alpha(0.3)
NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
SIZES = [7, 37, 37, 4]
SEED, STEP, LAYER, ROW = 0x9ABCDEF012345678, (5 << 32) + 77, 3, 10


def problem(rng, rows=30):
    return rng.normal(size=(rows, SIZES[0])), rng.integers(0, SIZES[-1], rows)


def make(kind=vg.MLP, activation="selu", dropout=THREE_TENTHS, dtype="float64", **more):
    return kind(SIZES, activation, dtype=dtype, rng=3, dropout=dropout, **more)


def by_torch(torch, a, kept, rate):
    """As ``torch.nn.functional.alpha_dropout`` is defined, with this mask."""
    end = -1.7580993408473766
    scale = 1 / math.sqrt((end**2 * rate + 1) * (1 - rate))
    mask = torch.tensor(kept).double()
    return a * mask * scale + (1 - mask) * end * scale - scale * end * rate


# ---- the kernel -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "scale", "shift"),
    [(0.05, 0.9548444760, 0.0839355722), (0.1, 0.9212845161, 0.1619709701), (0.2, 0.8789035834, 0.3090399621)],
)
def test_scale_and_shift(rate, scale, shift):
    """Of Keras's formula, and of torch's own function."""
    of = dropped(alpha(rate))
    assert (of.keep, of.scale, of.shift) == (1 - rate, pytest.approx(scale, abs=5e-11), pytest.approx(shift, abs=5e-11))
    assert of.dropped == pytest.approx(-1.7580993408473766 * scale + shift, abs=2e-10)


def test_torch_makes_the_same_two_numbers_of_one(torch):
    made = torch.nn.functional.alpha_dropout(torch.ones(1000, dtype=torch.float64), 0.2, training=True)
    of = dropped(alpha(0.2))
    np.testing.assert_allclose(np.unique(made.numpy()), [of.dropped, of.scale + of.shift], rtol=1e-12)


@pytest.mark.parametrize("activation", ["identity", "relu", "leaky_relu", "selu", "gelu"])  # one of each form of phi'
def test_what_is_dropped_is_as_defined(isa, dtype, rng, activation):
    """On rows that lie apart; what is dropped of phi' is -0, and nothing else."""
    rate, rows = 0.3, 7
    of, number = dropped(alpha(rate)), np.dtype(dtype).type
    for columns in (1, 31, 32, 33, 67):
        z = rng.normal(size=(rows, columns)).astype(dtype)
        y, derivatives = np.empty_like(z), np.empty_like(z)
        _core.activate(activation, z, y, derivatives)
        kept = uniforms(SEED, STEP, LAYER, rows, columns, ROW) < 1 - rate
        apart = np.full((2, rows, columns + 5), 9, dtype)
        found, found_slopes = apart[:, :, :columns]
        found[...], found_slopes[...] = y, derivatives
        assert np.isfinite(_core.dropout(activation, found, found_slopes, 1 - rate, SEED, STEP, LAYER, ROW, True))
        np.testing.assert_array_equal(
            found, np.where(kept, y * number(of.scale) + number(of.shift), number(of.dropped))
        )
        np.testing.assert_array_equal(found_slopes, np.where(kept, derivatives * number(of.scale), 0))
        np.testing.assert_array_equal((found_slopes == 0) & np.signbit(found_slopes), ~kept)
        assert (apart[:, :, columns:] == 9).all()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_a_mean_of_0_and_a_variance_of_1_are_kept(rate, rng):
    """Each within four of its own deviations."""
    y = rng.normal(size=(1000, 320))
    of = dropped(alpha(rate))
    _core.dropout("identity", y, np.ones_like(y), 1 - rate, SEED, STEP, LAYER, 0, True)
    s, t = of.scale, of.shift
    fourth = (1 - rate) * (3 * s**4 + 6 * s**2 * t**2 + t**4) + rate * of.dropped**4
    assert abs(y.mean()) < 4 / math.sqrt(y.size)
    assert abs(np.square(y).mean() - 1) < 4 * math.sqrt((fourth - 1) / y.size)


# ---- the two engines, differences, autograd ---------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"dropout": [0.2, alpha(0.4)]},
        {"activation": "relu"},
        {"activation": vg.activations.leaky_relu(0.2), "normalization": vg.norm.layer("after")},
        {"normalization": "batch"},
        {"residual": vg.residual(scale="rezero")},
    ],
    ids=str,
)
def test_the_engines_drop_the_same(rng, dtype, more):
    """Gradients, records and trainings, inspected or not."""
    X, y = problem(rng)
    fast, plain = (make(kind, dtype=dtype, **more) for kind in (vg.MLP, vg.reference.MLP))
    for net in (fast, plain):
        for name, part in net.parameters().items():
            part[...] += 0.5 * ("scale" in name)
    rtol, atol = (1e-4, 2e-6) if dtype == "float32" else (1e-11, 1e-14)
    np.testing.assert_allclose(fast.gradients(X, y).flat, plain.gradients(X, y).flat, rtol, atol)
    assert_records_agree(fast, plain, X, y, rtol, atol)
    for net in (fast, plain):
        net.fit(X, y, epochs=3, batch_size=8, inspect_every=2)
    np.testing.assert_allclose(fast.params, plain.params, 10 * rtol, 10 * atol)
    alone = make(dtype=dtype, **more)
    for name, part in alone.parameters().items():
        part[...] += 0.5 * ("scale" in name)
    alone.fit(X, y, epochs=3, batch_size=8)
    np.testing.assert_array_equal(alone.params, fast.params)


@NETS
@pytest.mark.parametrize("more", [{}, {"residual": vg.residual(scale="rezero")}, {"normalization": "layer"}], ids=str)
def test_gradients_are_those_of_the_masks(kind, more, rng):
    """By differences of the loss that ``gradients`` names, whose masks stay until a step is taken."""
    X, y = rng.normal(size=(6, 5)), rng.integers(0, 3, 6)
    net = kind([5, 8, 8, 3], "tanh", dtype="float64", rng=1, dropout=[alpha(0.3), alpha(0.5)], **more)
    for name, part in net.parameters().items():
        part[...] += 0.5 * ("scale" in name)
    exact, wanted = slopes(net, net.gradients(X, y).flat, X, y)
    assert np.abs(wanted - exact).max() < 1e-7 * np.abs(exact).max()


def test_gradients_are_those_of_autograd(rng, torch):
    """Of torch's formula with the same masks, to 1e-12 of the largest."""
    X, y = problem(rng)
    net = make(dropout=[alpha(0.2), alpha(0.4)])
    leaves = [torch.tensor(np.array(p), requires_grad=True) for p in net.parameters().values()]
    a = torch.tensor(X)
    for l, mask in enumerate([*textbook(net._engine).draw_masks(len(X)), None]):
        a = a @ leaves[2 * l] + leaves[2 * l + 1]
        if mask is not None:
            a = by_torch(torch, torch.nn.functional.selu(a), mask > 0, net.dropout[l].rate)
    loss = torch.nn.functional.cross_entropy(a, torch.tensor(y))
    loss.backward()
    expected = np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves])
    found = net.gradients(X, y)
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-13)
    assert np.abs(found.flat - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize(("rows", "batch"), [(300, 100), (2500, 1200)])
def test_any_number_of_threads(rows, batch, rng, forced_threads):
    X, y = rng.normal(size=(rows, 6)), rng.integers(0, 3, rows)
    found = []
    for n in (1, 2, 5):
        vg.set_num_threads(n)
        net = vg.MLP([6, 40, 8, 3], "selu", dropout=alpha(0.1), rng=2)
        net.fit(X, y, epochs=2, batch_size=batch)
        found.append(net.params.copy())
    for params in found[1:]:
        np.testing.assert_array_equal(params, found[0])


@NETS
def test_predictions_drop_nothing(kind, rng):
    X, y = problem(rng)
    net, without = make(kind), make(kind, dropout=0.0)
    np.testing.assert_array_equal(net.forward(X), without.forward(X))
    np.testing.assert_array_equal(net.forward(X[:1]), without.forward(X[:1]))
    assert net.evaluate(X, y) == without.evaluate(X, y)
    assert net.gradients(X, y).loss != without.gradients(X, y).loss
    assert net.check_gradient(2, 0, 1, X, y).agrees


# ---- what inspection says ---------------------------------------------------------------------------------


@NETS
def test_what_is_dropped_is_neither_dead_nor_saturated(kind, rng):
    X, y = problem(rng, 2)
    records = make(kind, "identity", alpha(0.5)).inspect(X, y, try_remedies=False).records
    assert (records["dead"] == 0).all()
    assert (records["saturated"] == 0).all()
    np.testing.assert_allclose(records["mean_derivative"], 1, rtol=1e-14)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"activation": "relu", "dropout": alpha(0.4)},
        {"activation": "relu", "dropout": alpha(0.4), "normalization": "batch"},
        {"activation": "sigmoid", "dropout": [alpha(0.4), 0.2] * 3, "normalization": "layer"},
        {"dropout": alpha(0.3), "residual": vg.residual(scale=0.5)},
        {"activation": "relu", "dropout": alpha(0.4), "normalization": vg.norm.rms("after")},
        {"activation": "relu", "dropout": alpha(0.4), "normalization": vg.norm.batch("after")},
    ],
    ids=str,
)
def test_the_predicted_gain_is_the_measured_one(how, rng):
    """The mean over six layers 400 wide: within 3 %."""
    X, y = rng.normal(size=(300, 400)), rng.integers(0, 10, 300)
    net = vg.MLP([400] * 7 + [10], **{"activation": "selu", "dropout": alpha(0.1)} | how, rng=1)
    layers = net.inspect(X, y, try_remedies=False).layers[:-1]
    ratios = np.log(layers.gain / layers.predicted_gain)[1:]
    assert abs(float(ratios.mean())) < 0.03
    assert np.abs(ratios).max() < 0.12


def test_signals_of_selu_stay(rng):
    """Through ten layers with LeCun's weights, which dropout of zeros does not leave: its variance grows by 1 / 0.9 a
    layer."""
    X = rng.normal(size=(300, 400))
    found = {}
    for name, rate in (("alpha", alpha(0.1)), ("zeros", 0.1)):
        plain = textbook(vg.MLP([400] * 11 + [10], "selu", dropout=rate, dtype="float64", rng=1)._engine)
        a = plain.forward_pass(X, plain.draw_masks(len(X))).activations[10]
        found[name] = a.mean(), a.var()
    assert abs(found["alpha"][0]) < 0.1
    assert 0.85 < found["alpha"][1] < 1.15
    assert found["zeros"][1] > 1.3


def test_cost_counts_the_shift():
    """An addition an output."""
    plain, moved = (sum(row.flops for row in count_step(make(dropout=of)._architecture, 8)) for of in (0.3, alpha(0.3)))
    assert moved - plain == 8 * 37 * 2


# ---- what a net remembers ---------------------------------------------------------------------------------


def test_files_copies_and_checkpoints_hold_it(rng, tmp_path):
    X, y = problem(rng)
    net, file = make(dropout=[alpha(0.25), 0.5]), io.BytesIO()
    net.save(file)
    again = vg.MLP.load(io.BytesIO(file.getvalue()), rng=5)
    assert again.dropout == net.dropout == (alpha(0.25), 0.5)
    np.testing.assert_array_equal(again.forward(X), net.forward(X))
    for other in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert other.dropout == net.dropout
        np.testing.assert_array_equal(*[one.copy().fit(X, y, shuffle=False).loss for one in (net, other)])
    keep = [vg.Checkpoint(tmp_path / "run.npz")]
    make().fit(X, y, epochs=2, callbacks=keep)
    with pytest.raises(ValueError, match="another"):
        make(dropout=0.3).fit(X, y, epochs=4, callbacks=keep)
    alone, resumed = make(), make()
    np.testing.assert_array_equal(
        *[
            resumed.fit(X, y, epochs=4, callbacks=keep).loss,
            alone.fit(X, y, epochs=4).loss,
        ]
    )


@pytest.mark.parametrize("damaged", [["alpha"], ["beta", 0.1], ["alpha", 1.5], ["alpha", 0.1, 2], []])
def test_what_a_file_should_not_hold_is_not_understood(damaged):
    net, file = make(), io.BytesIO()
    net.save(file)
    text = b'{\\"dropout\\": [[\\"alpha\\", 0.3], [\\"alpha\\", 0.3]]}'
    assert text in file.getvalue()
    other = json.dumps(json.dumps({"dropout": [damaged, 0.3]}))[1:-1].encode().ljust(len(text))
    with pytest.raises(ValueError, match="description of the net is not understood"):
        vg.MLP.load(io.BytesIO(file.getvalue().replace(text, other)))


def test_how_it_is_shown():
    net = make(dropout=[alpha(0.25), 0.5])
    assert repr(net).endswith(", dropout=[vg.dropout.alpha(0.25), 0.5])")
    assert repr(make()).endswith(", dropout=vg.dropout.alpha(0.3))")
    assert [" alpha 0.25 " in row for row in str(net.summary()).splitlines()[:4]] == [False, False, True, False]


def test_a_rate_of_0_is_none(rng):
    X, y = problem(rng)
    nets = make(dropout=alpha(0)), make(dropout=0.0), make(dropout=[alpha(0.0), 0])
    for net in nets:
        net.fit(X, y)
        assert net.dropout == (0.0, 0.0)
        np.testing.assert_array_equal(net.params, nets[0].params)


@pytest.mark.parametrize(
    ("dropout", "error", "said"),
    [
        (lambda: alpha(1), ValueError, "^rate, the share of outputs .*, must be at least 0 and below 1, got 1.0$"),
        (lambda: alpha("0.1"), TypeError, "must be a number, .*; use 0.1$"),
        (lambda: alpha, TypeError, r"got the function vg.dropout.alpha; call it with the rate, .*\(0.1\)$"),
        (lambda: [alpha(0.1)], ValueError, "one rate, or one for each of the 2 hidden layers; got 1$"),
        (lambda: [alpha(0.1), 1.0], ValueError, r"dropout\[1\] must be at least 0 and below 1"),
    ],
)
def test_refused(dropout, error, said):
    with pytest.raises(error, match=said):
        make(dropout=dropout())


# ---- torch's modules --------------------------------------------------------------------------------------


def test_modules_in_eval(torch, rng):
    X, y = problem(rng)
    nn = torch.nn
    module = nn.Sequential(nn.Linear(7, 9), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(9, 4)).double()
    plain = nn.Sequential(module[0], module[1], module[3])
    with pytest.raises(ValueError, match=r"AlphaDropout at '2' drops units at random .*; call module.eval\(\) first"):
        vg.inspect_torch(module, X, y)
    records, wanted = (vg.inspect_torch(one, X, y).records for one in (module.eval(), plain))
    for name in records.dtype.names:
        np.testing.assert_array_equal(records[name], wanted[name])
