"""First weights: what each rule promises of them, and what theory promises of nets that have them."""

import math

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference
from vgfast.inspection import mean_field
from vgfast.model import init
from vgfast.model.activations import CATALOG
from vgfast.model.critical import LENGTHS, critical_point_at, find_critical_point

pytestmark = pytest.mark.any_isa

X = np.random.default_rng(0).normal(size=(200, 30))


@pytest.mark.parametrize("name", [name for name in vg.init.__all__ if name not in ("critical", "fixup", "lsuv")])
def test_first_weights(name):
    rule = getattr(vg.init, name)(bias_std=0.5)
    net = vg.MLP([400, 300, 200], init=rule, dtype="float64", rng=0)
    for w, b in zip(net.weights, net.biases, strict=True):
        std = rule.std(*w.shape)
        # the standard error of a standard deviation is below std / sqrt(2 n), of one of b's 1 / sqrt(2 x 200); of n
        # numbers of which a share is 0, as of those that are not
        n = np.count_nonzero(w)
        assert abs(w.std() - std) <= 5 * std / np.sqrt(2 * max(n, 1))
        assert abs(w.mean()) <= 5 * std / np.sqrt(w.size)
        assert abs(b.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * b.size)
        if getattr(rule, "uniform", False):
            assert np.abs(w).max() <= np.sqrt(3) * std
    assert not vg.MLP([4, 3], init=name).biases[0].any()


def test_auto_init_follows_the_activation():
    assert init.choose("relu").name == "he_normal"
    assert init.choose("tanh").name == "glorot_uniform"
    assert [init.choose(name).name for name in ("selu", "gelu", "softplus")] == [
        "lecun_normal",
        "critical",
        "glorot_uniform",
    ]
    mixed, he = (vg.MLP([4, 5, 3], "relu", init=rule, rng=0) for rule in ("auto", "he_normal"))
    np.testing.assert_array_equal(mixed.weights[0], he.weights[0])
    assert not (mixed.weights[1] == he.weights[1]).any()


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu", "mish", "elu"])
def test_auto_keeps_signals_and_gradients_where_he_loses_them(activation):
    """Through forty layers, of the variances that theory calls critical, at a point that attracts."""
    net = vg.MLP([300] * 41, activation, "mse", dtype="float64", rng=0)
    point, X = find_critical_point(activation), np.random.default_rng(0).normal(size=(20, 300))
    assert net.weights[0].std() * 300**0.5 == pytest.approx((point.q - point.sb2) ** 0.5, rel=0.02)
    assert net.weights[1].std() * 300**0.5 == pytest.approx(point.sw2**0.5, rel=0.02)
    gains = {}
    for rule in ("auto", "he_normal"):
        net = vg.MLP([300] * 41, activation, "mse", init=rule, dtype="float64", rng=1)
        layers = net.inspect(X, net.forward(X) + X, try_remedies=False).layers
        gains[rule] = layers.delta_norm[0] / layers.delta_norm[-2]
    assert 0.1 < gains["auto"] < 10
    assert gains["he_normal"] < 1e-3 or activation in ("elu", "mish")  # whose gradients go on growing, or for long


@pytest.mark.parametrize("rule", [*init.NAMES, vg.init.lsuv(X), vg.init.critical(0.5, orthogonal=True)])
def test_the_same_seed_gives_both_engines_and_all_dtypes_the_same_weights(rule):
    sizes, way = [30, 20, 20, 20, 10], vg.residual(2) if rule == "fixup" else None
    wide = vg.MLP(sizes, "tanh", init=rule, dtype="float64", rng=3, residual=way)
    others = {
        kind: [kind(sizes, "tanh", init=rule, dtype=dtype, rng=3, residual=way) for dtype in dtypes]
        for kind, dtypes in ((vg.MLP, ["float32"]), (reference.MLP, ["float16", "float32", "float64"]))
    }
    for net in [net for nets in others.values() for net in nets]:
        if isinstance(rule, init.Lsuv):  # which measures on rows of the net's dtype
            np.testing.assert_allclose(net.params, wide.params, atol=4 * np.finfo(net.dtype).eps)
        else:
            np.testing.assert_array_equal(net.params, wide.params.astype(net.dtype))


def test_the_summary_names_the_rule_of_each_layer():
    for rule, want in [
        ("auto", ["he_normal", "glorot_uniform"]),
        ("critical", ["critical"] * 2),
        (vg.init.lsuv(X), ["lsuv"] * 2),
    ]:
        text = str(vg.MLP([30, 20, 10], "relu", init=rule, rng=0).summary())
        assert all(text.count(name) == want.count(name) for name in want), text


# ---- fixup ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [vg.MLP, reference.MLP])
@pytest.mark.parametrize("every", [1, 2, 4])
def test_fixup_of_all_its_formulas(engine, every):
    """Eight hidden layers in blocks: the last of each is 0, the others have L^(-1 / (2 m - 2)) of what ``auto`` has."""
    sizes, way = [30, *[20] * 9, 10], vg.residual(every)
    net, plain = (engine(sizes, "elu", init=rule, dtype="float64", rng=0, residual=way) for rule in ("fixup", "auto"))
    last = {l for l in range(2, 10) if (l - 1) % every == 0}
    factor = (8 / every) ** (-1 / (2 * every - 2)) if every > 1 else None
    for l, (w, b, drawn, biases) in enumerate(
        zip(net.weights, net.biases, plain.weights, plain.biases, strict=True), 1
    ):
        if l in last:
            assert not w.any()
            assert not b.any()
        else:
            np.testing.assert_allclose(w, drawn if l in (1, 10) else factor * drawn, rtol=1e-13)
            np.testing.assert_array_equal(b, biases)
    report = net.inspect(X, np.arange(200) % 10, vg.SGD(0.01))
    ends = report.layers.delta_norm[:-1:every]
    np.testing.assert_allclose(ends, ends[0], rtol=1e-13)
    assert report.verdict == "healthy"
    loss = net.fit(X, np.arange(200) % 10, 3, 20, vg.SGD(0.05)).loss
    assert loss[-5:].mean() < loss[:5].mean()
    assert all(w.any() for w in net.weights)


@pytest.mark.parametrize("norm", ["batch", "layer", vg.norm.rms("after"), vg.norm.batch("after")], ids=str)
def test_fixup_with_a_normalization_begins_with_gains_of_0(norm):
    sizes, how = [30, *[20] * 5, 10], {"residual": vg.residual(2, "rezero"), "normalization": norm}
    activation = "tanh" if norm in ("batch", "layer") else "relu"
    net, plain = (vg.MLP(sizes, activation, init=rule, rng=0, **how) for rule in ("fixup", "auto"))
    for name, part in net.parameters().items():
        wanted = plain.parameters()[name].copy()
        if name in ("layer3.norm.weight", "layer5.norm.weight"):
            wanted[...] = 0
        np.testing.assert_array_equal(part, 1 if "scale" in name else wanted, err_msg=name)
    y = np.arange(200) % 10
    report = net.inspect(X, y, vg.SGD(0.01))
    assert report.verdict == "healthy"
    np.testing.assert_array_equal(report.layers.delta_norm[[0, 2]], report.layers.delta_norm[[2, 4]])
    net.fit(X, y, 2, 20, vg.SGD(0.05))
    assert all(part.all() for name, part in net.parameters().items() if "norm.weight" in name)


def test_what_fixup_refuses_and_its_advice():
    with pytest.raises(ValueError, match="got residual=None; add residual=True"):
        vg.MLP([3, 4, 4, 2], init="fixup")
    with pytest.raises(ValueError, match=r"relu of layer 2 passes nothing back.*; use another activation"):
        vg.MLP([3, 4, 4, 2], init="fixup", residual=True)
    with pytest.raises(ValueError, match=r"affine=False.* has none; give it affine=True"):
        vg.MLP([3, 4, 4, 2], "tanh", init="fixup", residual=True, normalization=vg.norm.layer(affine=False))
    with pytest.raises(TypeError, match=r"call it: vg.init.fixup\(\)"):
        vg.MLP([3, 4, 4, 2], "tanh", init=vg.init.fixup, residual=True)
    net = vg.MLP([3, 4, 4, 2], "leaky_relu", init=vg.init.fixup(), residual=True)
    assert str(net.summary()).count("fixup") == 3


# ---- orthogonal -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 40), (40, 25), (25, 40), (1, 7), (7, 1)])
def test_orthogonal_weights_pass_on_each_length(shape):
    w = vg.MLP(shape, init=vg.init.orthogonal(1.5), loss="mse", dtype="float64", rng=0).weights[0]
    few = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(few, 1.5**2 * np.eye(min(shape)), atol=1e-14)
    delta = np.random.default_rng(1).normal(size=shape[1])
    if shape[0] >= shape[1]:
        assert np.linalg.norm(w @ delta) == pytest.approx(1.5 * np.linalg.norm(delta), rel=1e-13)


def test_orthogonal_matrices_are_all_equally_likely():
    """Of rotations in the plane and their mirror images, each quarter turn has a quarter, and each kind a half;
    LAPACK's signs alone would leave the first column's first entry negative in all."""
    rng = np.random.default_rng(0)
    drawn = np.array([vg.MLP([2, 2], init="orthogonal", dtype="float64", rng=rng).weights[0] for _ in range(2000)])
    quarters = np.histogram(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]), 4, (-np.pi, np.pi))[0] / len(drawn)
    assert np.abs(quarters - 0.25).max() < 5 * math.sqrt(0.25 * 0.75 / len(drawn))
    assert abs((np.linalg.det(drawn) > 0).mean() - 0.5) < 5 * math.sqrt(0.25 / len(drawn))


# ---- sparse -----------------------------------------------------------------------------------------------


def test_sparse_weights_are_as_many_in_each_unit_and_anywhere():
    net = vg.MLP([60, 500, 4], init=vg.init.sparse(inputs=6, std=2.0), rng=0)
    taken = net.weights[0] != 0
    assert (taken.sum(axis=0) == 6).all()
    assert abs(taken.mean(axis=1) - 0.1).max() < 5 * math.sqrt(0.1 * 0.9 / 500)
    assert net.weights[0][taken].std() == pytest.approx(2, rel=5 / math.sqrt(2 * taken.sum()))
    assert (vg.MLP([4, 9], init="sparse", rng=0).weights[0] != 0).all()  # fewer than 15


# ---- LSUV -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", CATALOG)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_lsuv_gives_each_layer_variance_1(activation, scale):
    x = scale * (X + 0.5)
    net = vg.MLP([30, 40, 25, 10, 5], activation, init=vg.init.lsuv(x), dtype="float64", rng=0)
    a = x
    for w, b in zip(net.weights, net.biases, strict=True):
        z = a @ w + b
        assert z.var() == pytest.approx(1, rel=1e-10)
        a = CATALOG[activation].value(z)
    w = net.weights[1]
    np.testing.assert_allclose(w.T @ w, np.eye(25) * (w[:, 0] @ w[:, 0]), atol=1e-12)


@pytest.mark.parametrize("residual", [True, 0.3, "1/sqrt(L)", "rezero"])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("norm", [None, "batch", vg.norm.layer("after")])
def test_lsuv_measures_what_enters_a_layer_of_the_net(residual, every, norm):
    """With residual connections and normalization: what the textbook's way forward in training passes on."""
    scale = 1.0 if residual is True else residual
    more = {"residual": vg.residual(every, scale), "normalization": norm, "dtype": "float64", "rng": 0}
    net = vg.reference.MLP([30, *[20] * 5, 4], "tanh", "mse", init=vg.init.lsuv(X), dropout=0.5, **more)
    entering = net._engine.forward(X)[1]
    for w, a in zip(net.weights, entering, strict=False):
        assert (a @ w).var() == pytest.approx(1, rel=1e-10)
    same = vg.MLP(net.sizes, "tanh", "mse", init=vg.init.lsuv(X), **more)
    np.testing.assert_array_equal(net.params, same.params)


@pytest.mark.parametrize(
    ("x", "error", "parts"),
    [
        (np.zeros((5, 30)), ValueError, ["got 5 on which it is the same number in all of layer 1"]),
        (np.full((5, 30), 1e308), ValueError, ["layer 1"]),
        (X[:, :20], ValueError, ["X must have 30 columns", "20"]),
        (np.full((5, 30), np.nan), ValueError, ["NaN"]),
        (None, TypeError, ["X"]),
    ],
)
def test_lsuv_refuses_rows_that_tell_nothing(x, error, parts):
    with pytest.raises(error) as caught:
        vg.MLP([30, 10], init=vg.init.lsuv(x), dtype="float64")
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_lsuv_leaves_the_rows_and_does_not_cure_a_sigmoid():
    x = X.copy()
    net = vg.MLP([30, *[150] * 6, 5], "sigmoid", init=vg.init.lsuv(x), rng=0)
    np.testing.assert_array_equal(x, X)
    gain = net.inspect(X, np.arange(200) % 5, try_remedies=False).layers.gain[1:-2]
    assert (gain**2).mean() == pytest.approx(0.1528, rel=0.05)  # E[phi'²] / E[phi²] at q = 1


# ---- critical ---------------------------------------------------------------------------------------------

# sw2 and sb2 of the critical point at q = 1, and the slope of the map of q.
AT_1 = {
    "tanh": (2.153303, 0.150965, 0.391),
    "softsign": (4.392296, 0.196148, 0.383),
    "relu": (2, 0, 1),
    "identity": (1, 0, 1),
    "scaled_tanh": (1.243798, 0.066616, 0.574),
    "elu": (1.496777, 0.034660, 0.860),
    "selu": (0.933206, 0.066794, 0.730),
    "gelu": (2.193700, 0.067192, 1.067),
    "silu": (2.635169, 0.062472, 1.099),
    "mish": (2.087318, 0.055818, 1.016),
    "hardtanh": (1.464795, 0.244080, 0.291),
    "hardswish": (2.789155, 0.075207, 1.132),
}
# Where that repels: q, sw2, sb2 and slope of the first that attracts.
ATTRACTING = {
    "gelu": (5, 1.966275, 0.214445, 0.990),
    "silu": (20, 1.975467, 0.678910, 0.993),
    "mish": (2, 1.994289, 0.112002, 0.995),
}
THERE = [name for name in CATALOG if name in AT_1]


@pytest.mark.parametrize("activation", THERE)
def test_critical_points(activation):
    point = critical_point_at(activation, 1.0)
    sw2, sb2, slope = AT_1[activation]
    assert (point.sw2, point.sb2) == (pytest.approx(sw2, abs=1e-6), pytest.approx(sb2, abs=1e-6))
    assert point.slope == pytest.approx(slope, abs=5e-4)
    if activation in ATTRACTING:
        q, sw2, sb2, slope = ATTRACTING[activation]
        found = find_critical_point(activation)
        assert found[:3] == (q, pytest.approx(sw2, abs=1e-6), pytest.approx(sb2, abs=1e-6))
        assert found.slope == pytest.approx(slope, abs=6e-4)
    elif slope <= 1:
        assert find_critical_point(activation) == point


@pytest.mark.parametrize("activation", CATALOG)
@pytest.mark.parametrize("q", [None, 0.01, 1.0, 50.0])
def test_a_critical_point_keeps_lengths_and_gradients(activation, q):
    point = find_critical_point(activation) if q is None else critical_point_at(activation, q)
    if point is None or point.sb2 < 0:
        return
    q = point.q
    assert mean_field.length_map(q, activation, point.sw2, point.sb2) == pytest.approx(q, rel=1e-12)
    if CATALOG[activation].slope_below is None and point.slope < 0.9:
        assert mean_field.fixed_point(activation, point.sw2, point.sb2) == pytest.approx(q, rel=1e-9)
        assert mean_field.chi(activation, point.sw2, point.sb2) == pytest.approx(1, rel=1e-9)
    rise = mean_field.length_map(1.001 * q, activation, point.sw2, point.sb2) / q - 1
    assert point.slope == pytest.approx(1000 * rise, abs=1e-3 * max(1.0, point.slope))


def test_tanh_near_0_by_its_series():
    """sw2 = 1 + 2 q - 3 q² and sb2 = 4 q³ / 3, to the next order."""
    for q in (1e-3, 1e-2):
        point = critical_point_at("tanh", q)
        assert point.sw2 == pytest.approx(1 + 2 * q - 3 * q**2, abs=12 * q**3)
        assert point.sb2 == pytest.approx(4 * q**3 / 3, rel=10 * q)
    assert critical_point_at("tanh", 0.01)[1:3] == pytest.approx((1.019710761, 1.257996e-6), abs=1e-9)


def test_sigmoid_is_critical_only_with_large_weights():
    assert critical_point_at("sigmoid", 1.0).sb2 < 0
    assert find_critical_point("sigmoid").q == LENGTHS[-1]
    assert mean_field.critical_variance("sigmoid") == pytest.approx(103.008, abs=5e-4)


@pytest.mark.parametrize(
    ("activation", "orthogonal"), [*((name, False) for name in CATALOG), ("tanh", True), ("relu", True)]
)
def test_nets_with_critical_weights_neither_lose_nor_raise_the_gradient(activation, orthogonal):
    """In nets 400 wide, over six layers and three draws; inputs of mean square 1."""
    point = find_critical_point(activation)
    if point is None:
        pytest.skip("it has none")
    rng = np.random.default_rng(0)
    rule, gains = vg.init.critical(orthogonal=orthogonal), []
    for _ in range(3):
        net = vg.MLP([400] * 8, activation, "mse", init=rule, dtype="float64", rng=rng)
        x = rng.normal(size=(20, 400))
        dz = rng.normal(size=(20, 400))  # it owes nothing to the weights
        layers = net.inspect(x, net.forward(x) - dz, try_remedies=False).layers
        gains.append((layers.gain[:-1] ** 2).mean())
    assert np.mean(gains) == pytest.approx(1, abs=0.06)  # of squares: 3 % of the gain
    if point.slope < 0.9:  # at 1 it wanders
        assert (net.forward(x) ** 2).mean() == pytest.approx(point.q, rel=0.25)


def test_a_layer_follows_the_activation_before_it():
    net = vg.MLP([300, 300, 300, 300], ["tanh", "relu"], "mse", init="critical", dtype="float64", rng=0)
    tanh = critical_point_at("tanh", 1.0)
    stds = [w.std() * 300**0.5 for w in net.weights]
    assert stds == pytest.approx([(1 - tanh.sb2) ** 0.5, tanh.sw2**0.5, 2**0.5], rel=0.02)
    assert [b.std() for b in net.biases] == pytest.approx([tanh.sb2**0.5] * 2 + [0], rel=0.25)
    linear = vg.MLP([300, 300], loss="mse", init="critical", rng=0)
    assert linear.weights[0].std() * 300**0.5 == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("sizes", [(400, 200, 100), (100, 200, 400)])
def test_orthogonal_critical_weights_have_the_variance_of_normal_ones(sizes):
    nets = [
        vg.MLP(sizes, "tanh", "mse", init=vg.init.critical(orthogonal=each), dtype="float64", rng=0)
        for each in (False, True)
    ]
    for normal, orthogonal in zip(*(net.weights for net in nets), strict=True):
        assert orthogonal.std() == pytest.approx(normal.std(), rel=0.03)
        singular = np.linalg.svd(orthogonal, compute_uv=False)
        assert singular.max() == pytest.approx(singular.min(), rel=1e-12)


def test_without_a_critical_point_it_says_so(monkeypatch):
    monkeypatch.setattr("vgfast.model.critical.find_critical_point", lambda activation: None)
    with pytest.raises(ValueError, match=r"tanh has none at variances of z from 1 to 50.*use init='lecun_normal'"):
        vg.MLP([3, 4, 3], "tanh", init="critical")
    vg.MLP([3, 4, 3], "tanh", init="lecun_normal")


@pytest.mark.parametrize(
    ("make", "error", "part"),
    [
        (lambda: vg.init.critical(0), ValueError, "q, the variance of z, must be above 0"),
        (lambda: vg.init.critical("1"), TypeError, "q, the variance of z, must be a number"),
        (lambda: vg.init.critical(orthogonal=1), TypeError, "orthogonal must be True or False"),
        (lambda: mean_field.critical_point("tanh", 0), ValueError, "q, a variance, must be above 0"),
        (lambda: vg.init.orthogonal(0), ValueError, "gain must be above 0"),
        (lambda: vg.init.orthogonal(bias_std=-1), ValueError, "bias_std must be at least 0"),
        (lambda: vg.init.sparse(0), ValueError, "inputs must be at least 1"),
        (lambda: vg.init.sparse(2.5), TypeError, "inputs must be a whole number"),
        (lambda: vg.init.sparse(std=math.inf), ValueError, "std must be above 0 and finite"),
    ],
)
def test_wrong_arguments(make, error, part):
    with pytest.raises(error, match=part):
        make()
