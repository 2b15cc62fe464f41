"""Residual connections: forward, back, what is learned of them, and what inspection makes of them."""

import copy
import io
import pickle
import re

import numpy as np
import pytest
from differences import slopes
from same_records import assert_records_agree
from shared_columns import train_by_columns

import vgfast as vg

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
KINDS = [
    True,
    vg.residual(every=2),
    vg.residual(scale=0.5),
    vg.residual(every=4, scale="1/sqrt(L)"),
    vg.residual(scale="1/sqrt(L)"),
    vg.residual(scale="rezero"),
    vg.residual(every=2, scale="rezero"),
]
SIZES = [7, 19, 19, 19, 19, 19, 4]
# Blocks whose ends alone are equally wide.
BOTTLENECK = [7, 19, 5, 19, 33, 19, 4]


def problem(rng, rows=30):
    return rng.normal(size=(rows, 7)), rng.integers(0, 4, rows)


def make(kind=vg.MLP, residual=True, activation="tanh", dtype="float64", sizes=SIZES, **more):
    """With scales that are not 0, where they are learned."""
    net = kind(sizes, activation, dtype=dtype, rng=3, residual=residual, **more)
    for l, scale in enumerate(net._engine.scales.values(), 2):
        scale[...] = 0.3 * (-1) ** l
    return net


@pytest.mark.parametrize("residual", KINDS)
@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "identity"])
@pytest.mark.parametrize("dropout", [0.0, [0.5, 0, 0.3, 0, 0.2]])
def test_the_engines_agree(rng, dtype, residual, activation, dropout):
    """Predictions, gradients, records and trainings, inspected or not."""
    X, y = problem(rng)
    fast, plain = (make(kind, residual, activation, dtype, dropout=dropout) for kind in (vg.MLP, vg.reference.MLP))
    rtol, atol = (2e-4, 2e-6) if dtype == "float32" else (1e-10, 1e-13)
    np.testing.assert_allclose(fast.forward(X), plain.forward(X), rtol, atol)
    found, expected = (net.gradients(X, y) for net in (fast, plain))
    np.testing.assert_allclose(found.flat, expected.flat, rtol, atol)
    for a, b in zip(found.deltas, expected.deltas, strict=True):
        np.testing.assert_allclose(a, b, rtol, atol)
    np.testing.assert_allclose(fast.sample_norms(X, y), plain.sample_norms(X, y), rtol, 100 * atol)
    assert_records_agree(fast, plain, X, y, 10 * rtol, atol)
    histories = [net.fit(X, y, epochs=3, batch_size=8, inspect_every=2) for net in (fast, plain)]
    np.testing.assert_allclose(fast.params, plain.params, 10 * rtol, 10 * atol)
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, 10 * rtol, atol)
    alone = make(vg.MLP, residual, activation, dtype, dropout=dropout)
    alone.fit(X, y, epochs=3, batch_size=8)
    np.testing.assert_array_equal(alone.params, fast.params)


def test_blocks_may_be_narrower_inside(rng):
    X, y = problem(rng)
    nets = [make(kind, vg.residual(2, "rezero"), sizes=BOTTLENECK) for kind in (vg.MLP, vg.reference.MLP)]
    np.testing.assert_allclose(*(net.forward(X) for net in nets), 1e-12, 1e-14)
    np.testing.assert_allclose(*(net.gradients(X, y).flat for net in nets), 1e-10, 1e-14)


@NETS
@pytest.mark.parametrize("residual", KINDS)
def test_gradients_against_differences(kind, residual, rng):
    """Of all parameters, scales among them, with dropout."""
    X, y = problem(rng, 5)
    sizes = [7, 5, 5, 5, 5, 5, 4]
    net = make(kind, residual, sizes=sizes, dropout=[0, 0.4, 0, 0.2, 0])
    exact, wanted = slopes(net, net.gradients(X, y).flat, X, y)
    assert np.abs(wanted - exact).max() < 1e-7 * np.abs(exact).max()


def test_gradients_are_those_of_autograd(rng, torch):
    X, y = problem(rng)
    for residual in KINDS:
        net = make(residual=residual, activation="sigmoid")
        leaves = {name: torch.tensor(np.array(p), requires_grad=True) for name, p in net.parameters().items()}
        blocks = net._architecture.blocks
        a = around = torch.tensor(X)
        for l in range(1, 7):
            around = a if l in [first for first, _ in blocks] else around
            z = a @ leaves[f"layer{l}.weight"] + leaves[f"layer{l}.bias"]
            a = z if l == 6 else torch.sigmoid(z)
            if l in [last for _, last in blocks]:
                a = around + leaves.get(f"layer{l}.scale", net._architecture.scale) * a
        torch.nn.functional.cross_entropy(a, torch.tensor(y)).backward()
        expected = np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves.values()])
        assert np.abs(net.gradients(X, y).flat - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("width", "rows", "batch"), [(19, 300, 100), (12, 2500, 1200), (200, 500, 300)], ids=["rows", "chunks", "parts"]
)
@pytest.mark.parametrize("residual", [KINDS[0], KINDS[6]])
def test_any_number_of_threads(width, rows, batch, residual, rng, forced_threads):
    X, y = problem(rng, rows)
    sizes = [7, width, width, width, width, width, 4]
    found = []
    for n in (1, 2, 3, 7):
        with vg.threads(n):
            net = make(residual=residual, sizes=sizes, activation="relu", dropout=0.2)
            net.fit(X, y, epochs=2, batch_size=batch, optimizer=vg.SGD(0.01, momentum=0.9))
        found.append(net.params.copy())
    for params in found[1:]:
        np.testing.assert_array_equal(params, found[0])
    plain = make(vg.reference.MLP, residual, sizes=sizes, activation="relu", dropout=0.2)
    plain.fit(X, y, epochs=2, batch_size=batch, optimizer=vg.SGD(0.01, momentum=0.9))
    np.testing.assert_allclose(found[0], plain.params, 1e-8, 1e-11)


def test_threads_that_share_columns(rng, forced_threads):
    X, y = rng.normal(size=(40, 7)).astype(np.float32), rng.integers(0, 4, 40)
    assert (
        len(train_by_columns(lambda: make(residual=vg.residual(2, "rezero"), dtype="float32", dropout=0.1), X, y)) == 1
    )


# ---- ReZero -----------------------------------------------------------------------------------------------


@NETS
def test_rezero_starts_as_the_identity(kind, rng):
    """What the first layer makes is what the last one gets, and the gradient passes all blocks as it is; no layer is
    called dead or frozen that waits for its scale."""
    X, y = problem(rng)
    net = kind([7, *[19] * 30, 4], "sigmoid", rng=0, residual=vg.residual(scale="rezero"))
    shallow = kind([7, 19, 4], "sigmoid")
    for l, (first, last) in enumerate(zip(net.weights, net.biases, strict=True)):
        if l in (0, 30):
            shallow.weights[l and 1], shallow.biases[l and 1] = first, last
    np.testing.assert_array_equal(net.forward(X), shallow.forward(X))
    report = net.inspect(X, y, vg.SGD(0.1))
    assert (report.records["gain"][:29] == 1).all()
    assert report.verdict == "healthy"
    loss = net.fit(X, y, epochs=60, batch_size=10, optimizer=vg.SGD(0.1, momentum=0.9)).loss
    assert loss[-3:].mean() < loss[:3].mean()
    assert all(abs(float(net.parameters()[f"layer{l}.scale"][0])) > 0 for l in range(2, 31))


def test_plain_layers_beside_it(rng):
    """The same sizes without residual connections lose the signal: what they are for."""
    X, y = problem(rng)
    plain = vg.MLP([7, *[19] * 30, 4], "sigmoid", rng=0)
    assert plain.inspect(X, y, try_remedies=False).verdict == "vanishing"


@NETS
@pytest.mark.parametrize("residual", KINDS)
def test_the_ledger_adds_up(kind, residual, rng):
    """Gains are the products of their three factors, and the product of all is the ratio of the ends."""
    X, y = problem(rng)
    records = make(kind, residual).inspect(X, y, try_remedies=False).records
    factors = records["weight_gain"] * records["activation_gain"] * records["skip_gain"]
    np.testing.assert_allclose(factors[:-1], records["gain"][:-1], rtol=1e-12)
    ends = records["delta_norm"][0] / records["delta_norm"][-1]
    assert np.prod(records["gain"][:-1]) == pytest.approx(ends, rel=1e-12)
    plain = kind(SIZES, "tanh", dtype="float64").inspect(X, y, try_remedies=False).records
    assert (plain["skip_gain"][:-1] == 1).all()


# ---- what a net remembers, shows and refuses ----------------------------------------------------------------


@NETS
@pytest.mark.parametrize("copied", [vg.MLP.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_go_on_alike(kind, copied, rng):
    X, y = problem(rng)
    net = make(kind, vg.residual(2, "rezero"))
    net.fit(X, y, epochs=2, batch_size=8)
    other = copied(net)
    assert other.residual == net.residual
    losses = [one.fit(X, y, epochs=2, batch_size=8, shuffle=False).loss for one in (net, other)]
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("residual", KINDS)
def test_files(residual, rng):
    X, _ = problem(rng)
    net, file = make(residual=residual, dropout=0.2), io.BytesIO()
    net.save(file)
    again = vg.MLP.load(io.BytesIO(file.getvalue()))
    assert (again.residual, again.dropout) == (net.residual, net.dropout)
    np.testing.assert_array_equal(again.params, net.params)
    np.testing.assert_array_equal(again.forward(X), net.forward(X))


def test_scales_have_names(rng):
    net = make(residual=vg.residual(2, "rezero"))
    assert [name for name in net.parameters() if "scale" in name] == ["layer3.scale", "layer5.scale"]
    assert sum(p.size for p in net.parameters().values()) == net.n_params
    other = vg.MLP(SIZES, "tanh", dtype="float64", residual=vg.residual(2, "rezero"), rng=9)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.params, net.params)


def test_how_it_is_shown():
    assert repr(make()).endswith(", residual=True)")
    assert repr(make(residual=KINDS[6])).endswith(", residual=vg.residual(every=2, scale='rezero'))")
    assert repr(make(residual=None)) == repr(vg.MLP(SIZES, "tanh", dtype="float64"))
    assert make(residual=False).residual is None


SHOWN = {
    "every=1: x + f(x)": True,
    "every=2: x + f(x)": vg.residual(every=2),
    "every=1: x + 0.3 f(x)": vg.residual(scale=0.3),
    "every=2: x + 0.7071 f(x), scale='1/sqrt(L)' of L=2": vg.residual(2, "1/sqrt(L)"),
    "every=4: x + f(x), scale='1/sqrt(L)' of L=1": vg.residual(4, "1/sqrt(L)"),
    "every=1: x + scale f(x), scale='rezero', learned": vg.residual(scale="rezero"),
}


@NETS
@pytest.mark.parametrize("said", SHOWN)
@pytest.mark.parametrize("more", [{}, {"dropout": vg.dropout.alpha(0.1), "normalization": vg.norm.layer("after")}])
def test_the_summary_says_which_layers_have_one(kind, said, more):
    net = make(kind, SHOWN[said], vg.activations.leaky_relu(0.2), **more)
    lines = net.summary().splitlines()
    added = [re.search(r"[+] layer \d|$", line).group() for line in lines if line[0].isdigit() and "(" in line[:20]]
    every = net.residual.every
    expected = {l: f"+ layer {l - every}" for l in range(1 + every, 6, every)}
    assert added == [expected.get(l, "") for l in range(1, 7)]
    assert f"residual connections, {said}" in lines
    assert max(map(len, lines)) <= 80


def test_the_summary_of_a_net_without_one_has_no_word_of_it():
    assert "residual" not in make(residual=None).summary()


@NETS
@pytest.mark.parametrize(
    ("sizes", "residual", "error", "said"),
    [
        ([7, 9, 8, 4], True, ValueError, "layer 2 to what comes out, and that is 9 and 8 units wide"),
        ([7, 9, 9, 8, 4], vg.residual(2), ValueError, "layers 2 to 3 to what comes out, and that is 9 and 8"),
        ([7, 9, 4], True, ValueError, "got 1 hidden layers"),
        ([7, 9, 9, 9, 9, 4], vg.residual(2), ValueError, "a multiple of every=2; got 4 hidden layers"),
        (SIZES, "rezero", TypeError, "must be None, True or vg.residual"),
        (SIZES, 1, TypeError, "must be None, True or vg.residual"),
    ],
)
def test_refused(kind, sizes, residual, error, said):
    with pytest.raises(error, match=said) as caught:
        kind(sizes, residual=residual)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"every": 1.5}, TypeError, "every must be a whole number"),
        ({"scale": "zero"}, ValueError, "'rezero', got 'zero'"),
        ({"scale": -1}, ValueError, "scale, a number or"),
        ({"scale": float("nan")}, ValueError, "got nan"),
        ({"scale": None}, TypeError, "must be a number"),
    ],
)
def test_no_such_connection(how, error, said):
    with pytest.raises(error, match=said):
        vg.residual(**how)


def test_a_deep_net_looks_for_its_blocks_once(monkeypatch):
    """Not once a layer, which takes minutes of a net of 10,000."""
    from vgfast.model import residual
    from vgfast.model.architecture import Architecture

    net = Architecture.checked([4, *[5] * 21, 3], residual=vg.residual(scale="rezero"))
    looks, blocks = [], residual.blocks
    monkeypatch.setattr(residual, "blocks", lambda *of: looks.append(of) or blocks(*of))
    assert net.n_params == 5 * 5 + 20 * (5 * 6 + 1) + 3 * 6
    assert len(looks) == 1
