"""Paths through normalizations and around layers: against differences, and against all paths one by one."""

import math

import numpy as np
import pytest

import vgfast as vg
from vgfast.inspection import paths

WAYS = [None, vg.residual(scale=0.5), vg.residual(2), vg.residual(2, "rezero")]
NORMS = [None, *(f(place) for f in (vg.norm.batch, vg.norm.layer, vg.norm.rms) for place in vg.norm.PLACES)]
SIZES = (3, 4, 4, 4, 2)
# Layer norm of two units would leave h = 1 and -1, whatever they are, and next to no gradient.
BOTTLENECK = (3, 4, 3, 4, 3, 4, 2)


def make(norm, way, activation="tanh", sizes=SIZES, seed=0, dtype="float64"):
    first = vg.init.normal(0.7, 0.5)
    net = vg.MLP(sizes, activation, init=first, dtype=dtype, rng=seed, normalization=norm, residual=way)
    rng = np.random.default_rng(seed)
    for name, part in net.parameters().items():
        if "norm" in name or "scale" in name:
            part[...] += 0.4 * rng.normal(size=part.shape)
    X = rng.normal(size=(30, sizes[0])) + 0.3
    if norm is not None and norm.kind == "batch":  # so that what runs is of no batch, nor as it begins
        state = net.state_dict()
        for name in state:
            if "running" in name:
                state[name] = rng.uniform(0.5, 2, state[name].shape)
        net.load_state_dict(state)
    return net, X[0], int(rng.integers(sizes[-1]))


def slope_by_differences(net, layer, i, j, x, y, h=1e-4):
    """Of the loss of a prediction."""
    at = {}
    value = net.weights[layer - 1][i, j]
    for k in (-2, -1, 1, 2):
        net.weights[layer - 1][i, j] = value + k * h
        at[k] = net.evaluate(x[None], [y]).loss
    net.weights[layer - 1][i, j] = value
    return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_the_paths_are_all_of_the_gradient(norm, way):
    """Their sum is the slope of the loss; and where there is no batch norm, the gradient to some roundings of the
    absolute sum. As many paths are found as are counted, if so many are asked for and none is 0."""
    for sizes in (SIZES, BOTTLENECK) if way is None or way.every == 2 else (SIZES,):
        net, x, y = make(norm, way, sizes=sizes)
        last = len(sizes) - 1
        for layer in range(1, last + 1):
            i, j = sizes[layer - 1] - 1, sizes[layer] - 1
            found = net.trace(layer, i, j, x, y, 100)
            assert found.gradient == pytest.approx(slope_by_differences(net, layer, i, j, x, y), rel=1e-7, abs=1e-10)
            if norm is None or norm.kind != "batch":
                exact = net.gradients(x[None], [y])
                allowed = 1e-13 * found.absolute + 1e-15 * abs(found.delta)  # the latter for an activation near 0
                assert abs(found.gradient - exact.weights[layer - 1][i, j]) <= allowed
                for part in found.partial:
                    assert part.delta_norm == pytest.approx(np.linalg.norm(exact.deltas[part.layer - 1]), rel=1e-11)
            assert len({path.units for path in found.paths}) == len(found.paths)
            if found.n_paths <= 100:
                assert len(found.paths) == found.n_paths
                contributions = [path.contribution for path in found.paths]
                assert abs(math.fsum(contributions) - found.gradient) <= 1e-13 * found.absolute
                assert math.fsum(map(abs, contributions)) == pytest.approx(found.absolute, rel=1e-12)
            for path in found.paths:
                assert math.prod(factor.value for factor in path.factors) == pytest.approx(path.contribution, rel=1e-12)
            assert max(map(len, str(found).splitlines())) <= 80


def test_each_way_is_counted_and_named():
    """One block of a layer: through its four units, or around it; from each unit of layer 1 to two outputs."""
    net, x, y = make(None, vg.residual(scale=0.5), sizes=(3, 4, 4, 2))
    found = net.trace(1, 0, 1, x, y, 100)
    assert found.n_paths == 4 * 2 + 2
    around = [path for path in found.paths if path.units[2] is None]
    assert {path.units for path in around} == {(0, 1, None, 0), (0, 1, None, 1)}
    for path in around:
        out = path.units[-1]
        assert [factor.formula for factor in path.factors] == [
            "a_0[0]", "phi'(z_1[1])", f"W_3[1,{out}]", f"dloss/dz_3[{out}]",
        ]  # fmt: skip
    through = next(path for path in found.paths if path.units[2] == 3)
    names = [factor.formula for factor in through.factors]
    assert names[:5] == ["a_0[0]", "phi'(z_1[1])", "W_2[1,3]", "phi'(z_2[3])", "s_2"]
    assert through.factors[4].value == 0.5
    assert " 0 > 1 > - > 1" in str(found)


@pytest.mark.parametrize("place", vg.norm.PLACES)
def test_factors_of_normalizations_by_hand(place):
    """The Jacobian of layer norm, and what batch norm divides by."""
    net, x, y = make(vg.norm.layer(place, affine=False), None, "identity", sizes=(3, 4, 2))
    z = x @ net.weights[0] + net.biases[0]
    rate, h = 1 / np.sqrt(z.var() + 1e-5), (z - z.mean()) / np.sqrt(z.var() + 1e-5)
    found = net.trace(1, 0, 2, x, y, 100)
    assert found.n_paths == 4 * 2
    for path in found.paths:
        value = next(factor.value for factor in path.factors if factor.formula == f"N'_1[2,{path.units[2]}]")
        assert value == pytest.approx(rate * ((path.units[2] == 2) - 1 / 4 - h[2] * h[path.units[2]] / 4), rel=1e-12)
    net, x, y = make(vg.norm.batch(place), None, sizes=(3, 4, 1 + 1))
    variance = net.state_dict()["layer1.norm.running_var"][2]
    gain = net.parameters()["layer1.norm.weight"][2]
    for path in net.trace(1, 0, 2, x, y).paths:
        value = next(factor.value for factor in path.factors if factor.formula == "N'_1[2]")
        assert value == pytest.approx(gain / np.sqrt(variance + 1e-5), rel=1e-12)


def test_one_path_with_batch_norm_is_a_product():
    net = vg.MLP([1, 1, 1, 1], "tanh", "mse", dtype="float64", rng=0, normalization=vg.norm.batch("after"))
    text = str(net.trace(1, 0, 0, [1.0], [0.5]))
    assert "N'_1[0]" in text
    assert "a_0 is x, phi is tanh, N is batch norm." in text
    before = vg.MLP([1, 1, 1], "tanh", "mse", dtype="float64", rng=0, normalization="batch")
    names = [factor.formula for factor in before.trace(1, 0, 0, [1.0], [0.5]).factors]
    assert names == ["a_0[0]", "N'_1[0]", "phi'(N_1[0])", "W_2[0,0]", "dloss/dz_2[0]"]


def test_rezero_passes_every_signal_on():
    """At first nothing passes the blocks' own layers, and all goes around."""
    net = vg.MLP(SIZES, "tanh", dtype="float64", rng=0, residual=vg.residual(scale="rezero"), normalization="layer")
    found = net.trace(1, 0, 0, np.ones(3), 1, 100)
    assert all(path.units[3] is path.units[5] is None for path in found.paths)
    assert found.gradient == pytest.approx(net.gradients(np.ones((1, 3)), [1]).weights[0][0, 0], rel=1e-12)
    inside = net.trace(2, 0, 0, np.ones(3), 1)
    assert inside.gradient == 0
    assert inside.paths == ()
    assert "All are 0" in str(inside)


def test_where_parameters_are_not_finite():
    net, x, y = make(vg.norm.layer(), vg.residual(scale="rezero"))
    for name, what in (("layer2.norm.bias", "shifts"), ("layer3.norm.weight", "gains"), ("layer2.scale", "scales")):
        kept = net.parameters()[name].copy()
        net.parameters()[name][0] = np.nan
        with pytest.raises(vg.DivergenceError, match=f"layer {name[5]}'s {what} hold NaN"):
            net.trace(1, 0, 0, x, y)
        net.parameters()[name][...] = kept
    assert paths.float64_copy(net._engine).params.dtype == np.float64
