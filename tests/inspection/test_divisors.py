"""What Adam and its like divide by, over eps: against their formulas, in the table, and in what the verdict says."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference
from vgfast.inspection.divisors import tell_below

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(0, 3, 40)
SIZES = [6, 9, 9, 3]
STEPS = 3


def rms(values):
    return float(np.sqrt(np.square(values).mean()))


def averages(squares, decay):
    v = 0.0
    for square in squares:
        v = decay * v + (1 - decay) * square
    return v


# An optimizer, and sqrt(v) / eps of the squares g² of all steps so far, one array each.
CASES = {
    "Adam": (vg.Adam(eps=1e-4), lambda s: np.sqrt(averages(s, 0.999) / (1 - 0.999 ** len(s))) / 1e-4),
    "Adam, eps_hat": (vg.Adam(betas=(0.5, 0.9), eps=1e-4, eps_hat=True), lambda s: np.sqrt(averages(s, 0.9)) / 1e-4),
    "AdamW": (vg.AdamW(betas=(0.9, 0.99)), lambda s: np.sqrt(averages(s, 0.99) / (1 - 0.99 ** len(s))) / 1e-8),
    "RMSprop": (vg.RMSprop(0.001, momentum=0.9), lambda s: np.sqrt(averages(s, 0.99)) / 1e-8),
    "RMSprop, inside": (
        vg.RMSprop(0.001, alpha=0.9, eps=1e-6, eps_inside=True),
        lambda s: np.sqrt(averages(s, 0.9) / 1e-6),
    ),
    "Adagrad": (vg.Adagrad(eps=1e-5), lambda s: np.sqrt(sum(s)) / 1e-5),
}


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
@pytest.mark.parametrize("name", CASES)
def test_against_the_formulas(kind, name):
    """Of the first step, and of the one behind some others."""
    optimizer, formula = CASES[name]
    optimizer.reset()
    net = kind(SIZES, "tanh", dtype="float64", rng=1)
    squares = [[] for _ in net.weights]
    for _ in range(STEPS):
        for of_layer, weights in zip(squares, net.gradients(X, Y).weights, strict=True):
            of_layer.append(np.square(weights))
        found = net.inspect(X, Y, optimizer, try_remedies=False).layers.over_eps
        np.testing.assert_allclose(found, [rms(formula(of_layer)) for of_layer in squares], rtol=1e-12)
        net.step(X, Y, optimizer)


def test_a_step_below_eps_is_as_much_shorter():
    """lr g / (g + eps) of the first step: rms at most lr times the ratio, and within 10 % of that far below 1."""
    net = vg.MLP([6, *[20] * 14, 3], "sigmoid", init="lecun_normal", dtype="float64", rng=0)
    layers = net.inspect(X, Y, vg.Adam(lr=0.01), try_remedies=False).layers
    moved = layers.update_ratio * layers.weight_norm / np.sqrt([w.size for w in net.weights])
    below = layers.over_eps < 0.03
    assert below[0]
    assert not below[-1]
    np.testing.assert_allclose(moved[below] / (0.01 * layers.over_eps[below]), 1, atol=0.1)
    assert (moved[layers.over_eps > 100] > 0.005).all()


def test_the_verdict_says_where():
    deep = vg.MLP([6, *[20] * 20, 3], "sigmoid", init="lecun_normal", rng=0)
    report = deep.inspect(X, Y, vg.Adam(), try_remedies=False)
    assert report.verdict == "vanishing"
    below = int((report.layers.over_eps < 1).sum())
    assert below > 2
    assert f"In layers 1 to {below} gradients are below the optimizer's eps" in report.explanation
    assert "optimizer's eps" not in deep.inspect(X, Y, vg.SGD(), try_remedies=False).explanation


def test_layers_are_named():
    named = {"layer 1 ": [0.5, 2], "layers 1 and 2 ": [0.5, 0.1, 2], "layers 1 and 2 and 4 ": [0, 0, 9, 0]}
    for which, ratios in named.items():
        assert f"In {which}gradients" in tell_below(np.array(ratios))
    assert tell_below(np.array([1.0, 2.0])) == ""


@pytest.mark.parametrize(
    ("options", "beside"),
    [({}, True), ({"normalization": "batch"}, False), ({"residual": True}, False)],
    ids=["plain", "normalization", "residual"],
)
def test_the_column(options, beside):
    """80 columns wide at most: in the place of the gradient's norm where there is another factor."""
    net = vg.MLP([6, *[9] * 14, 3], "sigmoid", init="lecun_normal", rng=0, **options)
    shown = str(net.inspect(X, Y, vg.Adam(), try_remedies=False)).splitlines()
    assert "rms/eps" in shown[0]
    assert ("|dW|" in shown[0]) == beside
    assert max(map(len, shown)) <= 80
    assert "rms/eps" in net.inspect(X, Y, vg.Adam(), try_remedies=False)._repr_html_()


def test_no_column_without_an_eps():
    net = vg.MLP(SIZES, rng=0)
    for optimizer in (vg.SGD(), vg.SGD(momentum=0.9)):
        report = net.inspect(X, Y, optimizer, try_remedies=False)
        assert np.isnan(report.layers.over_eps).all()
        assert "eps" not in str(report).splitlines()[0]
        assert report.to_dict()["layers"][0]["over_eps"] is None
