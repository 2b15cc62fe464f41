"""One gradient as a sum over paths, against all paths one by one."""

import itertools
import json
import math

import numpy as np
import pytest
from traced_nets import SIZES, X3, make

import vgfast as vg
from vgfast import _core, activations, reference
from vgfast.inspection import path_sums, paths, rounding

EPS = np.finfo(np.float64).eps


def sample(loss, seed=1, n_in=3, n_out=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_in)
    if loss == "cross_entropy":
        return x, int(rng.integers(n_out))
    return x, rng.uniform(size=n_out)


def every_path(net, layer, i, j, x, y):
    """{units from layer l-1 to L: contribution}, by the formula, one path at a time."""
    plain = paths.float64_copy(net._engine)
    zs, outputs = plain.forward(np.array([x], np.float64))
    delta = plain.backward(np.array([x]), net._batch([x], np.array([y]))[1]).deltas[-1][0]
    slopes = [activations.CATALOG[kind].derivative(z[0]) for kind, z in zip(net.activations, zs, strict=False)]
    found = {}
    for units in itertools.product(*[range(n) for n in net.sizes[layer + 1 :]]):
        way = (i, j, *units)
        value = outputs[layer - 1][0, i] * delta[way[-1]]
        for k, (u, v) in enumerate(itertools.pairwise(way[1:]), layer):
            value *= slopes[k - 1][u] * plain.weights[k][u, v]
        found[way] = float(value)
    return found


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_the_paths_against_all_paths(activation, loss):
    """Sums of up to 30 products of up to 8 factors: under 60 roundings of the absolute sum."""
    net = make(activation, loss)
    x, y = sample(loss)
    for layer in range(1, 5):
        i, j = net.sizes[layer - 1] - 1, net.sizes[layer] - 1
        paths = every_path(net, layer, i, j, x, y)
        absolute = math.fsum(map(abs, paths.values()))
        tolerance = 60 * EPS * absolute
        for k in (1, 3, 7, 100):
            found = net.trace(layer, i, j, x, y, k)
            assert found.n_paths == len(paths)
            assert abs(found.gradient - math.fsum(paths.values())) <= tolerance
            assert abs(found.gradient - net.gradients([x], np.array([y])).weights[layer - 1][i, j]) <= 4 * tolerance
            assert abs(found.absolute - absolute) <= tolerance
            best = sorted((abs(v) for v in paths.values() if v), reverse=True)[:k]
            assert len(found.paths) == len({path.units for path in found.paths}) == len(best)
            for path, size in zip(found.paths, best, strict=True):
                assert abs(path.contribution) == pytest.approx(size, rel=60 * EPS)
                assert path.contribution == pytest.approx(paths[path.units], rel=60 * EPS)
                assert path.share == pytest.approx(size / absolute, rel=200 * EPS)
                assert path.factors[-1].product == path.contribution
                assert math.prod(factor.value for factor in path.factors) == path.contribution
            if absolute:
                assert found.cancellation == pytest.approx(abs(found.gradient) / absolute, rel=200 * EPS)


@pytest.mark.parametrize("k", [1, 2, 5, 40])
def test_the_strongest_of_matrices_of_any_shape(k, rng):
    for _ in range(30):
        sizes = rng.integers(1, 6, rng.integers(2, 6))
        steps = [rng.normal(size=shape) * rng.integers(0, 3, shape) for shape in itertools.pairwise(sizes)]
        ends, start = rng.normal(size=sizes[-1]), int(rng.integers(sizes[0]))
        every = {}
        for way in itertools.product(*map(range, sizes[1:])):
            value = abs(ends[way[-1]])
            for step, (u, v) in zip(steps, itertools.pairwise((start, *way)), strict=True):
                value *= abs(step[u, v])
            every[way] = value
        found = path_sums.find_strongest(steps, start, ends, k)
        best = sorted((v for v in every.values() if v > 0), reverse=True)[:k]
        assert len(set(found)) == len(found)
        np.testing.assert_allclose([every[way] for way in found], best, rtol=1e-13)


def test_the_signal_layer_by_layer():
    net, (x, y) = make("tanh"), sample("cross_entropy")
    found = net.trace(1, 0, 2, x, y)
    zs, _ = paths.float64_copy(net._engine).forward(x[None])
    signed = sizes = np.eye(4)[2]
    norms = []
    for k, part in enumerate(found.partial, 1):
        norms.append(np.linalg.norm(signed))
        assert part.layer == k
        assert part.norm == pytest.approx(norms[-1], rel=1e-13)
        assert part.cancellation == pytest.approx(np.abs(signed).sum() / sizes.sum(), rel=1e-13)
        assert part.delta_norm == pytest.approx(np.linalg.norm(net.gradients(x[None], [y]).deltas[k - 1]), rel=1e-12)
        if k > 1:
            assert part.gain == pytest.approx(norms[-1] / norms[-2], rel=1e-13)
        if k < 4:
            step = (1 - np.tanh(zs[k - 1][0]) ** 2)[:, None] * net.weights[k]
            signed, sizes = signed @ step, sizes @ np.abs(step)
    assert math.isnan(found.partial[0].gain)


def chain(dtype, activation="sigmoid"):
    """Local factors 1/4, 1/3, 1/4 between z_1 and z_4, and 1 before and behind."""
    net = vg.MLP([1] * 5, activation, "mse", init="zeros", dtype=dtype)
    ws = (1, 1, 4 / 3, 1) if activation == "sigmoid" else (1, 1 / 4, 1 / 3, 1 / 4)
    before = (1, *[0.5] * 3) if activation == "sigmoid" else (1, 0, 0, 0)
    for l, (w, a) in enumerate(zip(ws, before, strict=True)):
        net.weights[l][...] = w
        net.biases[l][...] = -(net.weights[l][0] * net.dtype.type(a))
    return net


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
def test_a_quarter_a_third_and_a_quarter(dtype, activation):
    found = chain(dtype, activation).trace(1, 0, 0, [1], -0.5)
    products = [factor.product for factor in found.factors]
    if dtype == "float64":  # 1/3 and 4/3 are rounded, and times 1/4 they are the roundings of 1/12 and 1/48
        assert [part.norm for part in found.partial] == [1, 1 / 4, 1 / 12, 1 / 48]
        assert 1 / 12 in products
        assert products[-1] == found.gradient == found.paths[0].contribution == 1 / 48
    assert found.gradient == pytest.approx(1 / 48, rel=float(np.finfo(dtype).eps))
    names = "a_0[0] phi'(z_1[0]) W_2[0,0] phi'(z_2[0]) W_3[0,0] phi'(z_3[0]) W_4[0,0] dloss/dz_4[0]"
    assert [factor.formula for factor in found.factors] == names.split()
    text = str(found)
    for number in ("0.25 = 1/4", "0.0833333 = 1/12", "0.0208333 = 1/48"):
        assert number in text
    assert text.index("1/12\n") < text.index("W_4") < text.rindex("1/48\n")


def test_factors_only_where_there_is_one_path():
    net = make(sizes=[3, 4, 1, 1], activation=["tanh", "relu"], loss="mse")
    x = np.ones(3)
    assert len(net.trace(1, 0, 3, x, 1.0).factors) == 6
    assert net.trace(1, 0, 3, x, 1.0).n_paths == 1
    assert "phi of layer 1 is tanh, phi of layer 2 is relu" in str(net.trace(1, 0, 3, x, 1.0))
    assert [f.formula for f in net.trace(3, 0, 0, x, 1.0).factors] == ["a_2[0]", "dloss/dz_3[0]"]
    assert make().trace(2, 0, 0, *sample("cross_entropy")).factors == ()


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_the_gradient_is_the_nets_but_for_its_rounding(isa, dtype, activation, digits):
    """As far apart as random roundings of the net's type, operation by operation, take the textbook."""
    X, y = digits[0][:3], digits[1][:3]
    net = make(activation, dtype=dtype, sizes=[64, 30, 30, 10])
    plain = paths.float64_copy(net._engine)
    for row, (layer, i, j) in enumerate([(1, 20, 3), (2, 7, 29), (3, 11, 9)]):
        found = net.trace(layer, i, j, X[row], y[row])
        entry = net.gradients(X[[row]], y[[row]]).weights[layer - 1][i, j]
        data = X[[row]].astype(np.float64), y[[row]].astype(np.int32)
        allowed = rounding.entry_rounding(plain, *data, (layer, i, j), net.dtype)
        assert abs(found.gradient - entry) <= allowed
        assert allowed <= 1000 * np.finfo(dtype).eps * abs(entry)


def test_products_that_leave_the_range_of_float64():
    """800 layers: 2 · 10^799 paths, whose absolute sum overflows; and a signal that underflows on its way."""
    net = vg.MLP([2, *[10] * 800, 2], "identity", init=vg.init.normal(std=0.32), dtype="float64", rng=0)
    found = net.trace(1, 0, 0, [1.0, 1.0], 0)
    assert found.n_paths == 2 * 10**799
    assert found.absolute == math.inf
    assert found.to_dict()["absolute"] is None
    assert len(found.paths) == 5
    assert found.paths[0].contribution != 0
    assert 0 <= found.paths[0].share < 1e-300
    assert 0 <= found.cancellation < 1e-300
    assert "about 2e+799 paths. Of their absolute sum, over 1e308" in " ".join(str(found).split())
    steps = [np.full((3, 3), 1e-150)] * 5
    assert path_sums.find_strongest(steps, 0, np.ones(3), 2) == [(0, 0, 0, 0, 0), (0, 0, 0, 0, 1)]
    parts, total, exponent = path_sums.sum_forwards(1, 0, [[step] for step in steps], [np.ones(3)] * 6)
    assert parts[-1].norm == 0
    assert parts[-1].gain == pytest.approx(3e-150)
    assert parts[-1].cancellation == pytest.approx(1)
    assert math.log10(total) + exponent * math.log10(2) == pytest.approx(-750 + 5 * math.log10(3))


def test_what_lets_nothing_pass():
    net = make("relu", "mse")
    x = np.array([0.0, 1.0, 1.0])
    found = net.trace(1, 0, 0, x, [0.0, 0.0])
    assert found.gradient == 0
    assert found.paths == ()
    assert "All are 0, as a_0[0] is." in " ".join(str(found).split())
    net.biases[0] = [-100.0] * 4
    found = net.trace(1, 1, 0, x, [0.0, 0.0])
    assert math.isnan(found.cancellation)
    assert "none passes layer 1" in str(found)
    assert found.to_dict()["cancellation"] is None
    net.biases[0] = [100.0] * 4
    y = paths.float64_copy(net._engine).forward(x[None])[0][-1]
    assert "All are 0, as dloss/dz_4 is." in " ".join(str(net.trace(1, 1, 0, x, y)).split())


@pytest.mark.parametrize("sizes", [SIZES, [3, *[9] * 20, 2], [3, 1, 2], [3, 2], [3, *[1] * 20, 2]])
def test_it_is_read_on_80_columns_and_by_programs(sizes):
    for loss in _core.LOSSES:
        x, y = sample(loss)
        for layer in {1, len(sizes) - 1}:
            found = make("sigmoid", loss, sizes=sizes).trace(layer, 0, 0, x, y)
            assert max(map(len, str(found).splitlines())) <= 80
            plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
            assert plain["gradient"] == found.gradient
            assert [p["norm"] for p in plain["partial"]] == [p.norm for p in found.partial]
            assert plain["paths"][0]["factors"][0] == found.paths[0].factors[0]._asdict()


def test_ways_to_give_the_sample():
    x, _ = sample("cross_entropy")
    net = make()
    before = net.params.copy()
    want = net.trace(1, 1, 1, x, 1)
    for same_x, same_y in [(x[None], 1), (list(x), [1]), (x, np.int8(1)), (x, [0.0, 1.0]), (x, [[0, 1]])]:
        assert net.trace(1, 1, 1, same_x, same_y).gradient == want.gradient
    one = make(loss="mse", sizes=[3, 2, 1])
    assert len({one.trace(1, 1, 1, x, y).gradient for y in (0.5, [0.5], [[0.5]])}) == 1
    np.testing.assert_array_equal(net.params, before)
    plain = reference.MLP(SIZES, "tanh", dtype="float64", init="zeros")
    plain.params[...] = net.params
    assert paths.follow(plain._engine, 1, 1, 1, x, 1).gradient == want.gradient


NAN = float("nan")
# arguments of trace, error, words
BAD = {
    "layer 0": ((0, 0, 0, X3[0], 1), ValueError, ["layer, one of the net's 4", "from 1 to 4", "got 0"]),
    "layer 5": ((5, 0, 0, X3[0], 1), ValueError, ["from 1 to 4", "got 5"]),
    "layer float": ((1.0, 0, 0, X3[0], 1), TypeError, ["layer", "whole number", "1.0 (float)"]),
    "i": ((2, 4, 0, X3[0], 1), ValueError, ["4 inputs of layer 2", "counted from 0", "from 0 to 3", "got 4"]),
    "i negative": ((2, -1, 0, X3[0], 1), ValueError, ["from 0 to 3", "got -1"]),
    "j": ((2, 0, 3, X3[0], 1), ValueError, ["3 units of layer 2", "from 0 to 2", "got 3"]),
    "j bool": ((2, 0, True, X3[0], 1), TypeError, ["j, one", "whole number", "True"]),
    "paths": ((2, 0, 0, X3[0], 1, 0), ValueError, ["paths", "from 1 to 100", "got 0"]),
    "short x": (
        (1, 0, 0, X3[0, :2], 1),
        ValueError,
        ["x must hold 3 numbers", "got shape (2,)", "inputs", "whole row"],
    ),
    "short row": ((1, 0, 0, X3[:1, :2], 1), ValueError, ["3 columns", "got 2"]),
    "two rows": ((1, 0, 0, X3, [1, 0]), ValueError, ["one sample", "got 2 rows", "give x[0] and y[0]"]),
    "two labels": ((1, 0, 0, X3[0], [1, 0, 1]), ValueError, ["a label or a row of 2", "got shape (3,)", "give the y"]),
    "ragged": ((1, 0, 0, [[1], [2, 3]], 1), ValueError, ["x must be numbers in one row"]),
    "a number": ((1, 0, 0, 5.0, 1), ValueError, ["x must hold 3 numbers", "got shape ()"]),
    "x NaN": ((1, 0, 0, [1, NAN, 1], 1), ValueError, ["x has NaN in row 0"]),
    "label": ((1, 0, 0, X3[0], 2), ValueError, ["labels from 0 to 1", "got 2"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_traced(case):
    arguments, error, words = BAD[case]
    with pytest.raises(error) as caught:
        make().trace(*arguments)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(("value", "what"), [(NAN, "NaN"), (np.inf, "infinity")])
def test_parameters_that_are_not_finite(value, what):
    net = make()
    net.weights[1][0, 0] = value
    for call in (lambda: net.trace(1, 0, 0, X3[0], 1), lambda: net.check_gradient(1, 0, 0, X3, [0, 1])):
        with pytest.raises(vg.DivergenceError, match=f"layer 2's weights hold {what}, .* assign finite ones") as caught:
            call()
        assert caught.value.layer == 2


def test_outputs_that_overflow():
    net = make("identity")
    net.weights[0][...] = net.weights[1][...] = 1e200
    with pytest.raises(vg.DivergenceError, match="outputs of layer 2 are not finite; scale x"):
        net.trace(1, 0, 0, X3[0], 1)
