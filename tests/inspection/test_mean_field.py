"""The theory of gains against published numbers, closed forms, other quadratures, dice, and nets themselves."""

import math

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference
from vgfast.inspection import finite_width
from vgfast.inspection import mean_field as theory
from vgfast.inspection.moments import GROUPS, moments
from vgfast.model import averages
from vgfast.model.activations import CATALOG

NAN = float("nan")
DATA = np.random.default_rng(0).normal(size=(64, 300))


# ---- averages -------------------------------------------------------------------------------------------


def corner_error(f, power, q, joint):
    """Twice what a sum in steps of sqrt(q) / 20000 on both sides of 0 loses where f^power has a corner there: h² / 24
    of the change of slope, times the density; and what it loses where f^power jumps, at most h / 2 of the jump."""
    h = math.sqrt(q) / 20_000
    left, middle, right = f(np.array([-h, 0.0, h])) ** power
    jumps = sum(abs(np.diff(f(np.array([z - 1e-9, z + 1e-9])) ** power)) for z in (-joint, joint))
    lost = h * abs(left + right - 2 * middle) / 12 + h * jumps.sum() * math.exp(-(joint**2) / (2 * q))
    corners = sum(
        np.diff(f(np.array([z - 2 * h, z - h, z + h, z + 2 * h])) ** power)[::2] @ [-1, 1] for z in (-joint, joint)
    )
    return float(lost + h * abs(corners) / 12) / math.sqrt(2 * math.pi * q)


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
@pytest.mark.parametrize("q", [1e-4, 0.3, 2.0, 1e3])
def test_averages_against_a_riemann_sum(activation, q):
    """Steps of 1/20000 of a deviation; the ReLUs' kink costs that sum 1e-5."""
    x = (np.arange(-180_000, 180_000) + 0.5) / 20_000
    weights = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) / 20_000
    both = (averages.of_value(activation, q), averages.of_derivative(activation, q))
    for f, found in zip((CATALOG[activation].value, CATALOG[activation].derivative), both, strict=True):
        square, h = f(math.sqrt(q) * x) ** 2, 1e-4
        mean = weights @ square
        above, below = (math.log(weights @ f(math.sqrt(q * math.exp(s)) * x) ** 2) for s in (h, -h))
        of = CATALOG[activation]
        by_corner, by_fourth = (corner_error(f, power, q, of.joint) if of.stored else 0 for power in (2, 4))
        assert found.mean == pytest.approx(mean, rel=1e-9, abs=by_corner)
        rel = 1e-9 + 2 * by_corner / mean + by_fourth / (weights @ square**2)
        assert found.spread == pytest.approx(weights @ square**2 / mean**2, rel=rel)
        lost = by_corner / mean / (h if of.joint else 1)  # both sums lose it, and differ by 2 h of them
        assert found.slope == pytest.approx((above - below) / (2 * h), abs=1e-7 + lost)


@pytest.mark.parametrize("q", [1e-4, 0.02, 0.3, 1.0, 7.0, 1e3, 1e9])
def test_averages_of_hardtanh_in_closed_form(q):
    """E phi'² = P = erf(x / sqrt 2), x = 1 / sqrt(q), and E phi² = q (P - 2 x n(x)) + 1 - P, n the density."""
    x = 1 / math.sqrt(q)
    inside, outside = math.erf(x / math.sqrt(2)), math.erfc(x / math.sqrt(2))
    edge = 2 * x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    slope, value = averages.of_derivative("hardtanh", q), averages.of_value("hardtanh", q)
    assert slope.mean == pytest.approx(inside, rel=1e-13)
    assert slope.spread == pytest.approx(1 / inside, rel=1e-13)
    assert slope.slope == pytest.approx(-edge / inside / 2, rel=1e-10, abs=1e-13)
    if q < 1e6:  # where the closed form keeps digits
        assert value.mean == pytest.approx(q * (inside - edge) + outside, rel=1e-10)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_averages_against_gauss_hermite(activation):
    """Where 200 nodes are enough; with their weights, q = 30 would be off by 8 % for tanh."""
    from numpy.polynomial.hermite_e import hermegauss

    x, weights = hermegauss(200)
    for q in (1e-12, 1e-3, 0.5, 1.0):
        phi = CATALOG[activation]
        for f, average in ((phi.value, averages.of_value), (phi.derivative, averages.of_derivative)):
            want = weights @ f(math.sqrt(q) * x) ** 2 / weights.sum()
            assert average(activation, q).mean == pytest.approx(want, rel=1e-11)


@pytest.mark.parametrize(("activation", "integral"), [("tanh", 4 / 3), ("sigmoid", 1 / 6)])
def test_averages_at_the_ends(activation, integral):
    """phi'² is narrow beside N(0, q) for large q, and constant for small q."""
    assert averages.of_derivative(activation, 1e12).mean == pytest.approx(
        integral / math.sqrt(2e12 * math.pi), rel=1e-11
    )
    at_0 = {"tanh": 1.0, "sigmoid": 1 / 16}[activation]
    assert averages.of_derivative(activation, 0.0).mean == pytest.approx(at_0, rel=1e-14)
    assert theory.length_map(0.0, activation, 1.0) == {"tanh": 0.0, "sigmoid": 0.25}[activation]
    assert averages.of_value(activation, 1e-200).spread == pytest.approx(
        {"tanh": 3, "sigmoid": 1}[activation], rel=1e-12
    )


# ---- infinite width -------------------------------------------------------------------------------------


def test_nielsens_sigmoid():
    """His first weights N(0, 1/n) and biases N(0, 1); then without biases; then weights four times as large."""
    assert theory.fixed_point("sigmoid", 1, 1) == pytest.approx(1.302134, abs=5e-7)
    assert theory.chi("sigmoid", 1, 1) == pytest.approx(0.041960, abs=5e-7)
    assert theory.gain("sigmoid", 1, 1) == pytest.approx(0.204841, abs=5e-7)
    assert 1 / theory.gain("sigmoid", 1, 1) == pytest.approx(4.88, abs=5e-3)
    assert theory.chi("sigmoid", 1) == pytest.approx(0.055721, abs=5e-7)
    assert 1 / theory.gain("sigmoid", 1) == pytest.approx(4.24, abs=5e-3)
    assert theory.chi("sigmoid", 16) == pytest.approx(0.3989, abs=5e-5)


@pytest.mark.parametrize(
    ("sb2", "sw2"),
    [(0, 1), (0.001, 1.189190), (0.01, 1.424205), (0.05, 1.760955), (0.1, 1.986073), (0.2, 2.285152), (0.3, 2.505127)],
)
def test_critical_line_of_tanh(sb2, sw2):
    assert theory.critical_variance("tanh", sb2) == pytest.approx(sw2, abs=5e-7)
    assert theory.chi("tanh", theory.critical_variance("tanh", sb2), sb2) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    ("sw2", "chi", "xi"),
    [
        (1.0, 0.7590, 3.63),
        (1.3, 0.8802, 7.83),
        (1.5, 0.9386, 15.79),
        (2.0, 1.0477, 21.5),
        (2.5, 1.1335, 7.98),
        (3.0, 1.2089, 5.27),
        (4.0, 1.3424, 3.40),
    ],
)
def test_depth_scale_of_tanh(sw2, chi, xi):
    assert theory.chi("tanh", sw2, 0.05) == pytest.approx(chi, abs=5e-5)
    assert theory.depth_scale("tanh", sw2, 0.05) == pytest.approx(xi, abs=0.05 if sw2 == 2 else 5e-3)


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_fixed_points_are_fixed_and_attract(activation):
    for sw2 in (0, 1e-9, 0.5, 1, 1 + 1e-9, 1.9, 3, 1e4):
        for sb2 in (0, 1e-12, 0.1, 1e4):
            q = theory.fixed_point(activation, sw2, sb2)
            if math.isfinite(q):
                assert theory.length_map(q, activation, sw2, sb2) == pytest.approx(q, rel=1e-13)
                assert theory.length_map(1.1 * q, activation, sw2, sb2) <= 1.1 * q
                assert theory.length_map(0.9 * q, activation, sw2, sb2) >= 0.9 * q


def test_closed_forms_of_straight_lines():
    assert theory.critical_variance("relu", 0.3) == 2
    assert theory.critical_variance("identity") == 1
    assert theory.critical_variance("leaky_relu") == pytest.approx(2 / (1 + 0.01**2), rel=1e-15)
    assert theory.fixed_point("relu", 1, 0.5) == 1
    assert theory.fixed_point("relu", 3) == math.inf
    assert theory.fixed_point("relu", 2, 0.1) == math.inf
    assert math.isnan(theory.fixed_point("relu", 2))
    assert theory.gain("relu", 8) == 2
    assert theory.depth_scale("relu", 2) == math.inf
    assert theory.depth_scale("tanh", 0) == 0


# ---- closed forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [[20] * 5, [10, 100, 10]])
def test_relu_moment_ratio_against_dice(widths):
    """‖D W u‖² of random ReLU layers is He's 2/n times a sum of n squares, each there by the toss of a coin."""
    rng = np.random.default_rng(1)
    square = np.ones(400_000)
    for n in widths:
        square *= 2 / n * rng.chisquare(np.maximum(alive := rng.binomial(n, 0.5, len(square)), 1)) * (alive > 0)
    assert square.mean() == pytest.approx(1, abs=0.02)
    assert (square**2).mean() == pytest.approx(theory.relu_moment_ratio(widths), rel=0.05)
    assert theory.relu_moment_ratio(widths) == pytest.approx(math.prod(1 + 5 / n for n in widths))


def test_selu_jacobian():
    """The published entry; and both by central differences of a Riemann sum over the two pieces."""
    found = theory.selu_jacobian()
    assert found[1, 1] == pytest.approx(0.782648, abs=5e-7)
    x = (np.arange(-90_000, 90_000) + 0.5) / 10_000
    weights = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) / 10_000

    def moments(variance):
        z = math.sqrt(variance) * x
        a = 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543778 * np.expm1(z))
        mean = weights @ a
        return np.array([mean, weights @ a**2 - mean**2])

    np.testing.assert_allclose(moments(1), [0, 1], atol=1e-8)
    np.testing.assert_allclose((moments(1 + 1e-4) - moments(1 - 1e-4)) / 2e-4, found[:, 1], rtol=1e-6)
    assert (found[:, 0] == 0).all()


# ---- one net --------------------------------------------------------------------------------------------


def measured(net, X, rng):
    """gain of layers 1..L-1 on random targets."""
    targets = rng.integers(0, 2, (len(X), 1)) if net.sizes[-1] == 1 else rng.integers(0, net.sizes[-1], len(X))
    return net.inspect(X, targets).records["gain"][:-1]


def within(prediction, found):
    return (prediction["predicted_low"][:-1] <= found) & (found <= prediction["predicted_high"][:-1])


def test_prediction_is_the_formula(rng):
    """By hand: a ReLU, then a tanh layer, after training's moments, of any kind of net."""
    for kind in (vg.MLP, reference.MLP):
        net = kind([4, 6, 5, 3], ["relu", "tanh"], init=vg.init.lecun_normal(bias_std=0.5), rng=1)
        X = np.tile(rng.normal(size=4), (7, 1))
        before = net.params.copy()
        got = theory.predict(net, X)
        np.testing.assert_array_equal(net.params, before)
        w, b = ([float(np.mean(np.square(p, dtype=float))) for p in ps] for ps in (net.weights, net.biases))
        q1 = 4 * w[0] * np.mean(np.square(X.astype(np.float32))) + b[0]
        q2 = 6 * w[1] * q1 / 2 + b[1]
        want = [math.sqrt(6 * w[1] / 2), math.sqrt(5 * w[2] * averages.of_derivative("tanh", q2).mean)]
        np.testing.assert_allclose(got["predicted_gain"][:-1], want, rtol=1e-6)
        assert np.isnan(got[-1].tolist()).all()
    assert np.isnan(theory.predict(vg.MLP([4, 3]), X)[0].tolist()).all()


@pytest.mark.parametrize(("n", "m"), [(4, 3), (10, 1), (30, 1)])
def test_band_is_of_the_distribution_that_it_says(n, m):
    """Dice: rows alike, normal weights of given square sum, tanh at q = 2; then the band holds 95 %."""
    rng = np.random.default_rng(n)
    w = rng.normal(size=(100_000, n, m))
    f = 1 / np.cosh(math.sqrt(2) * rng.normal(size=(100_000, n))) ** 2
    square = (f**2 * w[..., 0] ** 2).sum(axis=1) / (w**2).mean(axis=(1, 2)) / n
    _, low, high = theory.predict_from_moments([1, n, m], "tanh", [2, 1 / n], [0, 0], [1])[0]
    mean, spread, _ = averages.of_derivative("tanh", 2.0)
    assert square.mean() == pytest.approx(mean, rel=0.01)
    assert np.var(square) / mean**2 == pytest.approx((3 * spread - 1 - 2 / m) / (n + 2 / m), rel=0.03)
    inside = np.mean((low**2 <= square) & (square <= high**2))
    assert inside == pytest.approx(0.95, abs=0.005 if n == 30 else 0.02)  # few squares are only nearly gamma


def test_band_of_lengths_that_vary():
    """Dice: after two tanh layers of 50 units comes one so wide that only its q is left to chance."""
    rng, q = np.random.default_rng(0), np.full(20_000, 0.5)
    for _ in range(2):
        q = 1.5 * (np.tanh(np.sqrt(q)[:, None] * rng.normal(size=(len(q), 50))) ** 2).mean(axis=1) + 0.1
    gain = np.sqrt(1.5 * averages.of_derivative("tanh", q).mean)
    w = [0.5, 1.5 / 50, 1.5 / 50, 1.5 / 10**9]
    _, low, high = theory.predict_from_moments([1, 50, 50, 10**9, 1], "tanh", w, [0, 0.1, 0.1, 0], [1])[2]
    assert np.mean((low <= gain) & (gain <= high)) == pytest.approx(0.95, abs=0.01)
    assert np.log(high / low) == pytest.approx(2 * finite_width.BAND * np.std(np.log(gain)), rel=0.05)


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_random_nets_of_width_300_are_in_the_band(activation):
    """64 different rows, ten classes: less varied than the worst case, so more than 95 % must be inside."""
    inside = []
    for seed, init in enumerate([vg.init.lecun_normal(bias_std=1.0), "glorot_uniform", "he_normal"]):
        net = vg.MLP([300, *[300] * 7, 10], activation, init=init, rng=seed)
        inside.append(within(theory.predict(net, DATA), measured(net, DATA, np.random.default_rng(seed))))
    assert np.mean(inside) >= 0.95


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_the_worst_case_fills_the_band(activation):
    """Rows alike and one output: 95 % inside, no less and, as the band may not be idly wide, no more."""
    inside, deviations = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        net = vg.MLP([100, *[100] * 5, 1], activation, "binary_cross_entropy", "he_normal", rng=rng)
        X = np.tile(rng.normal(size=100), (2, 1))
        prediction, found = theory.predict(net, X), measured(net, X, rng)
        inside.append(within(prediction, found))
        half = np.log(prediction["predicted_high"] / prediction["predicted_low"])[:-1] / 2
        deviations.append(np.log(found / prediction["predicted_gain"][:-1]) / half)
    # of 200 layers, 190 ± 3 are expected inside, and a deviation of 0.51 ± 0.03
    assert 0.90 <= np.mean(inside) <= 0.99
    assert 0.42 <= np.std(deviations) <= 0.60


def test_rows_of_unequal_lengths():
    """A mean over all rows would be off by up to a factor of 2 in layer 1, where the short rows' signal passes."""
    rng = np.random.default_rng(2)
    X = DATA * np.exp(rng.normal(size=(64, 1)))
    net = vg.MLP([300, *[300] * 5, 10], "tanh", init="he_normal", rng=2)
    prediction, found = theory.predict(net, X), measured(net, X, rng)
    assert within(prediction, found).all()
    one = theory.predict_from_moments(
        net.sizes, "tanh", [np.mean(w**2) for w in net.weights], [0] * 6, [np.mean(np.square(X))]
    )
    assert found[0] > 1.3 * one["predicted_gain"][0]


def test_no_chance_is_left_but_rounding(rng):
    """One output: the mean square of its weights is what passes them, and identity changes nothing."""
    net = vg.MLP([300, 50, 1], "identity", "mse", rng=0)
    prediction, found = theory.predict(net, DATA)[0], measured(net, DATA, rng)
    assert prediction["predicted_high"] / prediction["predicted_low"] - 1 < 1e-5
    assert within(theory.predict(net, DATA), found).all()


def test_training_leaves_the_band(digits):
    """Trained weights are not independent draws: that it shows is the use of a prediction after training."""
    X, y = digits
    net = vg.MLP([64, *[30] * 3, 10], "sigmoid", rng=0)
    assert within(theory.predict(net, X), net.inspect(X, y).records["gain"][:-1]).all()
    net.fit(X, y, epochs=20, optimizer=vg.SGD(lr=0.5, momentum=0.9))
    assert not within(theory.predict(net, X), net.inspect(X, y).records["gain"][:-1]).all()


@pytest.mark.filterwarnings("error")
def test_extremes_stay_numbers():
    zeros = theory.predict(vg.MLP([300, 30, 30, 10], "tanh", init="zeros"), DATA)
    assert zeros[:-1].tolist() == [(0.0, 0.0, 0.0)] * 2
    for scale in (1e-300, 1e200):
        layers = theory.predict_from_moments([5, *[9] * 20, 2], "relu", [scale] * 21, [0] * 21, [1.0])[:-1]
        np.testing.assert_allclose(layers["predicted_gain"], math.sqrt(9 * scale / 2))
        assert (layers["predicted_low"] > 0).all()
        mixed = theory.predict_from_moments([5, 9, 9, 2], ["relu", "tanh"], [scale] * 3, [0] * 3, [1.0])[:-1]
        assert np.isfinite(mixed.tolist()).all()
    lonely = theory.predict_from_moments([1, 1, 1], "tanh", [1, 1], [0, 0], [0.0])[0]
    assert np.isfinite(lonely.tolist()).all()


# ---- errors ---------------------------------------------------------------------------------------------


def with_nan(value):
    net = vg.MLP([300, 5, 2], rng=0)
    net.params[-1] = value
    return net


MOMENTS = ([4, 3, 2], "relu")
BAD = {
    "negative sw2": (lambda: theory.chi("tanh", -1), ValueError, "sw2, .* at least 0 and finite, got -1"),
    "negative sb2": (lambda: theory.gain("tanh", 1, -0.1), ValueError, "sb2, .* at least 0 and finite, got -0.1"),
    "infinite": (lambda: theory.fixed_point("tanh", math.inf), ValueError, "sw2, .* finite, got inf"),
    "text": (lambda: theory.chi("tanh", "1"), TypeError, "sw2, .* must be a number, got '1'"),
    "negative q": (lambda: theory.length_map(-1, "relu", 1), ValueError, "q, a variance, must be at least 0"),
    "activation": (lambda: theory.chi("tahn", 1), ValueError, "unknown activation 'tahn'; did you mean 'tanh'"),
    "critical": (lambda: theory.critical_variance("tanh", NAN), ValueError, "sb2, .* got nan"),
    "width 0": (lambda: theory.relu_moment_ratio([3, 0]), ValueError, "a width must be at least 1, got 0"),
    "one width": (lambda: theory.relu_moment_ratio(3), TypeError, r"widths must be a list .* got 3; .* use \[3\]"),
    "weights": (lambda: theory.predict(with_nan(NAN), DATA), ValueError, r"biases\[1\] must have finite squares"),
    "X": (lambda: theory.predict(vg.MLP([4, 3]), DATA), ValueError, "X must have 4 columns"),
    "layers": (
        lambda: theory.predict_from_moments(*MOMENTS, [1], [0, 0], [1]),
        ValueError,
        "weight_squares must have 2 numbers, one a layer, got 1",
    ),
    "moment": (
        lambda: theory.predict_from_moments(*MOMENTS, [1, 1], [0, -1], [1]),
        ValueError,
        r"bias_squares\[1\], a mean square, must be at least 0 and finite, got -1",
    ),
    "no inputs": (
        lambda: theory.predict_from_moments(*MOMENTS, [1, 1], [0, 0], []),
        ValueError,
        "input_squares must have at least one number, got 0",
    ),
    "inputs' number": (
        lambda: theory.predict_from_moments(*MOMENTS, [1, 1], [0, 0], 1.0),
        TypeError,
        "input_squares must be a list of numbers, got 1.0",
    ),
}


@pytest.mark.parametrize(("call", "error", "words"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_in_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_moments_take_no_float64_copy_of_the_inputs():
    """Sums of some rows at a time, equal to those of all at once."""
    import tracemalloc

    X = np.random.default_rng(0).normal(size=(4000, 300)).astype(np.float32)
    net = vg.MLP([300, 5, 2], rng=0)
    moments(net, X[:10])
    tracemalloc.start()
    weights, _, inputs = moments(net, X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2
    rows = np.sort(np.square(X, dtype=np.float64).mean(axis=1))
    expected = [group.mean() for group in np.array_split(rows, GROUPS)]
    np.testing.assert_allclose(inputs, expected, rtol=1e-12)
    exact = [np.square(w, dtype=np.float64).mean() for w in net.weights]
    np.testing.assert_allclose(weights, exact, rtol=1e-12)
