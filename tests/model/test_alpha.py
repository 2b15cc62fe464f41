"""leaky_relu and elu with a parameter of their own: given in any way, in both engines, theory, files and refusals."""

import copy
import io
import json
import math
import pickle

import numpy as np
import pytest
from same_records import assert_records_agree

import vgfast as vg
from vgfast.cost.counts import count_step
from vgfast.files import safetensors
from vgfast.inspection import mean_field
from vgfast.model.activations import CATALOG
from vgfast.model.critical import critical_point_at, find_critical_point

leaky_relu, elu = vg.activations.leaky_relu, vg.activations.elu
SIZES = [5, 20, 17, 3]
GIVEN = [leaky_relu(0.2), leaky_relu(0), leaky_relu(2.5), elu(0.3), elu(2.5)]
NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])


def problem(rng, rows=40, n_in=SIZES[0]):
    return rng.normal(size=(rows, n_in)), rng.integers(0, 3, rows)


# ---- what is given ----------------------------------------------------------------------------------------


def test_objects():
    phi = leaky_relu(0.2)
    assert (phi.name, phi.kind, phi.alpha, repr(phi)) == (
        "leaky_relu(0.2)",
        "leaky_relu",
        0.2,
        "vg.activations.leaky_relu(0.2)",
    )
    assert eval(repr(elu(2)), {"vg": vg}) is elu(2.0) is CATALOG["elu(2)"] is CATALOG["elu(2.0)"]
    assert repr(CATALOG["tanh"]) == "vg.activations.CATALOG['tanh']"
    assert (leaky_relu(0.01), elu(1), leaky_relu(), elu()) == tuple(CATALOG[n] for n in ("leaky_relu", "elu") * 2)
    assert repr(elu()) == "vg.activations.elu(1)"
    for one in (phi, elu(1e-30), CATALOG["gelu"]):
        assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one)
        assert CATALOG[one.name] is one
    assert "leaky_relu(0.2)" not in list(CATALOG)
    with pytest.raises(KeyError):
        CATALOG["tanh(2)"]


@NETS
def test_however_it_is_given_it_is_the_same_net(kind, rng):
    X, y = problem(rng)
    given = [elu(0.5), "elu(0.5)", "elu( 0.50 )", [elu(0.5), "elu(.5)"], (CATALOG["elu(0.5)"], elu(np.float32(0.5)))]
    nets = [kind(SIZES, activation, rng=0) for activation in given]
    for net in nets:
        net.fit(X, y, epochs=2)
        assert net.activations == ("elu(0.5)", "elu(0.5)")
        np.testing.assert_array_equal(net.params, nets[0].params)
    mixed = kind(SIZES, [leaky_relu(0.2), "tanh"], rng=0)
    assert mixed.activations == ("leaky_relu(0.2)", "tanh")
    assert kind(SIZES, mixed.activations, rng=0).activations == mixed.activations
    assert kind(SIZES, CATALOG["tanh"]).activations == ("tanh", "tanh")
    assert "leaky_relu(0.2)" in str(mixed.summary())


@pytest.mark.parametrize(
    ("activation", "error", "says"),
    [
        (
            lambda: leaky_relu(-0.2),
            ValueError,
            "at least 0, as the way back .* of the output, got -0.2; use 0.2$",
        ),
        (lambda: elu(-1), ValueError, "at least 0, as below that it would fall .*, got -1; use 1$"),
        (lambda: elu(math.inf), ValueError, "at least 0 and below 3.40282e.38, got inf$"),
        (lambda: elu(math.nan), ValueError, "got nan$"),
        (lambda: leaky_relu(1e39), ValueError, "below 3.40282e.38, got 1e.39$"),
        (lambda: leaky_relu("0.2"), TypeError, "^alpha, the parameter of leaky_relu, must be a number, .*; use 0.2$"),
        (lambda: leaky_relu(True), TypeError, "must be a number"),
        (lambda: leaky_relu(np.zeros(3)), TypeError, "must be a number"),
        (lambda: "elu(-1)", ValueError, "got -1.0; use 1$"),
        (lambda: "elu(x)", ValueError, r"must be a number, got 'elu\(x\)'; use 'elu\(0.2\)'$"),
        (lambda: "elu()", ValueError, "must be a number"),
        (lambda: "tanh(2)", ValueError, r"^tanh has no parameter, got activation='tanh\(2\)'; use 'tanh'$"),
        (lambda: "tanhh(2)", ValueError, "^unknown activation"),
        (lambda: elu, TypeError, r"got the function vg.activations.elu; call it: vg.activations.elu\(1\)$"),
        (lambda: [elu, "tanh"], TypeError, "call it"),
        (lambda: [elu(0.5)], ValueError, "one for each of the 2 hidden layers; got 1$"),
    ],
)
def test_refusals(activation, error, says):
    with pytest.raises(error, match=says):
        vg.MLP(SIZES, activation())


# ---- forward and back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", GIVEN, ids=str)
@pytest.mark.parametrize("more", [{}, {"dropout": 0.3}, {"normalization": "layer"}, {"residual": True}], ids=str)
def test_the_engines_compute_the_same(phi, more, dtype, rng):
    """Outputs, gradients, records and trainings, inspected or not."""
    X, y = problem(rng)
    sizes = [5, 20, 20, 3]
    fast, plain = (kind(sizes, phi, dtype=dtype, rng=1, **more) for kind in (vg.MLP, vg.reference.MLP))
    rtol, atol = (1e-4, 2e-6) if dtype == "float32" else (1e-11, 1e-14)
    np.testing.assert_allclose(fast.forward(X), plain.forward(X), rtol, atol)
    np.testing.assert_allclose(fast.forward(X[:1]), plain.forward(X[:1]), rtol, atol)
    np.testing.assert_allclose(fast.gradients(X, y).flat, plain.gradients(X, y).flat, rtol, atol)
    assert_records_agree(fast, plain, X, y, rtol, atol)
    for net in (fast, plain):
        net.fit(X, y, epochs=3, batch_size=8, optimizer=vg.SGD(0.03), inspect_every=2)
    np.testing.assert_allclose(fast.params, plain.params, 10 * rtol, 10 * atol)
    alone = vg.MLP(sizes, phi, dtype=dtype, rng=1, **more)
    alone.fit(X, y, epochs=3, batch_size=8, optimizer=vg.SGD(0.03))
    np.testing.assert_array_equal(alone.params, fast.params)


@pytest.mark.parametrize("phi", GIVEN, ids=str)
def test_gradients_by_hand(phi, isa, rng):
    """Of one hidden layer, from the formulas."""
    X, y = problem(rng)
    net = vg.MLP([5, 33, 3], phi, "mse", dtype="float64", rng=1, init=vg.init.normal(0.5, bias_std=0.5))
    t = np.eye(3)[y]
    (w1, w2), (b1, b2) = net.weights, net.biases
    z = X @ w1 + b1
    left = phi.alpha * (z if phi.kind == "leaky_relu" else np.expm1(z))
    slope = np.where(z > 0, 1, phi.alpha * (np.exp(z) if phi.kind == "elu" else 1))
    a = np.where(z > 0, z, left)
    delta = 2 * (a @ w2 + b2 - t) / t.size
    dw1 = X.T @ (delta @ w2.T * slope)
    np.testing.assert_allclose(net.forward(X), a @ w2 + b2, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(net.gradients(X, t).weights[0], dw1, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("phi", [leaky_relu(0.2), elu(0.3)], ids=str)
@pytest.mark.parametrize(("rows", "batch"), [(300, 100), (2500, 1200)])
def test_any_number_of_threads(phi, rows, batch, rng, forced_threads):
    X, y = problem(rng, rows)
    found = []
    for n in (1, 2, 5):
        vg.set_num_threads(n)
        net = vg.MLP([5, 40, 8, 3], phi, rng=2)
        net.fit(X, y, epochs=2, batch_size=batch)
        found.append(net.params.copy())
    for params in found[1:]:
        np.testing.assert_array_equal(params, found[0])


@pytest.mark.parametrize("make", [leaky_relu, elu])
def test_a_slope_that_overflows_leaves_the_last_good_parameters(make, rng):
    X, y = problem(rng)
    net = vg.MLP(SIZES, make(1e37), init="he_normal", rng=0)
    with pytest.raises(vg.DivergenceError):
        net.fit(X, y, epochs=5)
    assert np.isfinite(net.params).all()


# ---- inspection and theory --------------------------------------------------------------------------------


@NETS
@pytest.mark.parametrize("phi", [leaky_relu(0.005), leaky_relu(0.02), leaky_relu(150), elu(3), elu(0)], ids=str)
def test_saturated_is_relative_to_the_largest_slope(kind, phi, rng):
    """1 % of it: of alpha, where that is above 1."""
    X, y = problem(rng)
    net = kind([5, 30, 3], phi, dtype="float64", rng=0, init=vg.init.normal(1.5))
    z = X @ net.weights[0] + net.biases[0]
    slope = phi.derivative(z)
    record = net.inspect(X, y, try_remedies=False).records[0]
    assert record["saturated"] == (slope < 0.01 * max(1, phi.alpha)).mean()
    assert record["dead"] == (slope == 0).all(axis=0).mean()
    assert record["mean_derivative"] == pytest.approx(slope.mean(), rel=1e-13)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 3.0])
def test_critical_points(alpha):
    """sw2 = 1 / E phi'², which has closed forms."""
    straight = critical_point_at(leaky_relu(alpha).name, 1.0)
    assert straight[:3] == (1.0, pytest.approx(2 / (1 + alpha**2), rel=1e-14), 0.0)
    assert straight.attracts
    square = 0.5 + alpha**2 * math.exp(2) * math.erfc(math.sqrt(2)) / 2  # E e^(2 z) left of 0
    curved = critical_point_at(elu(alpha).name, 1.0)
    assert curved.sw2 == pytest.approx(1 / square, rel=1e-12)
    assert mean_field.chi(leaky_relu(alpha), 1.5) == pytest.approx(0.75 * (1 + alpha**2), rel=1e-14)
    assert mean_field.chi(leaky_relu(alpha), 1.5) == mean_field.chi(leaky_relu(alpha).name, 1.5)


@pytest.mark.parametrize("phi", [leaky_relu(0.5), elu(0.5)], ids=str)
def test_auto_keeps_the_gradient(phi, rng):
    """Through forty layers: He's variance is 2 / (1 + alpha²), equation 15. That of relu makes it 1.25^20 longer."""
    net = vg.MLP([200] * 41, phi, "mse", dtype="float64", rng=0)
    X = rng.normal(size=(20, 200))
    layers = net.inspect(X, net.forward(X) + X, try_remedies=False).layers
    assert 0.1 < layers.delta_norm[0] / layers.delta_norm[-2] < 10
    plain = vg.MLP([200] * 41, "relu", dtype="float64", rng=0)
    wanted = 0.8 if phi.kind == "leaky_relu" else find_critical_point(phi.name).sw2 / 2
    assert net.weights[1].var() / plain.weights[1].var() == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("alpha", [0.4, 0.8])
def test_auto_is_pytorchs_kaiming_with_this_a_and_he_normal_that_without(alpha, torch):
    drawn = {}
    for rule in ("auto", "he_normal", "he_uniform"):
        weights = vg.MLP([300, 400, 10], leaky_relu(alpha), init=rule, dtype="float64", rng=0).weights[0]
        drawn[rule] = weights.std() * 300**0.5
    gain, plain = (torch.nn.init.calculate_gain("leaky_relu", a) for a in (alpha, 0.0))
    near = 5 / math.sqrt(2 * 300 * 400)  # standard errors
    assert drawn == {name: pytest.approx(plain if "he" in name else gain, rel=near) for name in drawn}
    assert plain / gain > 1 + 2 * near


def test_cost_counts_it_as_by_its_name():
    counted = [count_step(vg.MLP(SIZES, activation)._architecture, 8) for activation in ("elu", "elu(0.5)")]
    assert counted[0] == counted[1]


# ---- what a net remembers ---------------------------------------------------------------------------------


def test_files_hold_it(rng):
    X, y = problem(rng)
    net = vg.MLP(SIZES, [leaky_relu(0.1 + 0.2), elu(1e-30)], rng=0)
    net.fit(X, y, epochs=2)
    file = io.BytesIO()
    net.save(file)
    again = vg.MLP.load(io.BytesIO(file.getvalue()))
    assert again.activations == net.activations == ("leaky_relu(0.30000000000000004)", "elu(1e-30)")
    np.testing.assert_array_equal(again.forward(X), net.forward(X))
    other = vg.MLP.load(io.BytesIO(file.getvalue()), activation=[leaky_relu(0.1 + 0.2), elu(1e-30)])
    assert other.activations == net.activations
    with pytest.raises(ValueError, match=r"leave out activation$"):
        vg.MLP.load(io.BytesIO(file.getvalue()), activation="leaky_relu")


@pytest.mark.parametrize("names", [["elu(0.50)", "elu"], ["elu(1)", "elu"], ["elu(-1)", "elu"], ["elu()", "elu"]])
def test_other_spellings_in_a_file_are_not_understood(names):
    net, file = vg.MLP(SIZES, "elu", rng=0), io.BytesIO()
    net.save(file)
    length = int.from_bytes(file.getvalue()[:8], "little")
    header = json.loads(file.getvalue()[8 : 8 + length])
    text = json.loads(header["__metadata__"]["vgfast"])
    text[1] = names
    tensors = {name: np.ascontiguousarray(view) for name, view in zip("ab", net.weights, strict=False)}
    pieces = safetensors.pack(tensors, {"vgfast": json.dumps(text), "sha256": "0"})
    with pytest.raises(ValueError, match="its description of the net is not understood"):
        vg.MLP.load(io.BytesIO(b"".join(bytes(piece) for piece in pieces)))


@NETS
def test_copies_go_on_alike(kind, rng):
    X, y = problem(rng)
    net = kind(SIZES, [leaky_relu(0.2), elu(0.3)], rng=0)
    net.fit(X, y, epochs=2)
    for other in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert other.activations == net.activations
        losses = [one.copy().fit(X, y, epochs=2, shuffle=False).loss for one in (net, other)]
        np.testing.assert_array_equal(*losses)
    report = net.inspect(X, y, try_remedies=False)
    assert report.activations == net.activations


def test_checkpoints_hold_it(rng, tmp_path):
    X, y = problem(rng)
    keep = [vg.Checkpoint(tmp_path / "run.npz")]
    vg.MLP(SIZES, leaky_relu(0.2), rng=0).fit(X, y, epochs=2, callbacks=keep)
    with pytest.raises(ValueError, match="another"):
        vg.MLP(SIZES, leaky_relu(0.3), rng=0).fit(X, y, epochs=4, callbacks=keep)
    net, alone = vg.MLP(SIZES, leaky_relu(0.2), rng=0), vg.MLP(SIZES, leaky_relu(0.2), rng=0)
    losses = [net.fit(X, y, epochs=4, callbacks=keep).loss, alone.fit(X, y, epochs=4).loss]
    np.testing.assert_array_equal(*losses)
    np.testing.assert_array_equal(net.params, alone.params)
