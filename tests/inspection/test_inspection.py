"""What inspection tells, against definitions: in long double with bounds on every rounding, sample by sample, and bit
by bit."""

import math

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference
from vgfast.model.activations import CATALOG

EXACT = np.longdouble
LAMBDA, LAMBDA_ALPHA = EXACT("1.0507009873554804934193"), EXACT("1.7580993408473768599402")
PI = EXACT("3.14159265358979323846264")
C = np.sqrt(8 / PI)
LARGEST = {name: of.largest_derivative for name, of in CATALOG.items()}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cdf(z):
    """That of N(0, 1), with the error of erfc in double."""
    return np.frompyfunc(math.erfc, 1, 1)((-z / np.sqrt(EXACT(2))).astype(np.float64)).astype(EXACT) / 2


def cubic(z):
    return C * (z + EXACT("0.044715") * z**3)


# Of each activation: phi, phi', and the largest |phi'| and |phi''|.
FORMULAS = {
    "identity": (lambda z: z, np.ones_like, 1, 0),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: 1 / ((1 + np.exp(-z)) * (1 + np.exp(z))), 0.25, 0.0963),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2, 1, 0.77),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(EXACT), 1, 0),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, EXACT(0.01) * z),
        lambda z: np.where(z > 0, EXACT(1), EXACT(0.01)),
        1,
        0,
    ),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2, 1, 2),
    "scaled_tanh": (
        lambda z: EXACT("1.7159") * np.tanh(2 * z / 3),
        lambda z: EXACT("1.7159") * 2 / 3 / np.cosh(2 * z / 3) ** 2,
        EXACT("1.7159") * 2 / 3,
        0.59,
    ),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1, np.exp(z)), 1, 1),
    "selu": (
        lambda z: np.where(z > 0, LAMBDA * z, LAMBDA_ALPHA * np.expm1(z)),
        lambda z: np.where(z > 0, LAMBDA, LAMBDA_ALPHA * np.exp(z)),
        LAMBDA_ALPHA,
        LAMBDA_ALPHA,
    ),
    "softplus": (lambda z: np.log1p(np.exp(z)), sigmoid, 1, 0.25),
    "gelu": (lambda z: z * cdf(z), lambda z: cdf(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * PI), LARGEST["gelu"], 0.8),
    "gelu_tanh": (
        lambda z: z * sigmoid(cubic(z)),
        lambda z: sigmoid(cubic(z)) * (1 + z * C * (1 + 3 * EXACT("0.044715") * z**2) * sigmoid(-cubic(z))),
        LARGEST["gelu_tanh"],
        0.8,
    ),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * sigmoid(-z)), LARGEST["silu"], 0.5),
    "mish": (
        lambda z: z * np.tanh(np.log1p(np.exp(z))),
        lambda z: np.tanh(np.log1p(np.exp(z))) + z * sigmoid(z) / np.cosh(np.log1p(np.exp(z))) ** 2,
        LARGEST["mish"],
        0.65,
    ),
    "hardtanh": (lambda z: np.clip(z, -1, 1), lambda z: (np.abs(z) < 1).astype(EXACT), 1, 0),
    "hardsigmoid": (lambda z: np.clip(z + 3, 0, 6) / 6, lambda z: (np.abs(z) < 3) / EXACT(6), 1 / EXACT(6), 0),
    "hardswish": (
        lambda z: z * np.clip(z + 3, 0, 6) / 6,
        lambda z: np.where(np.abs(z) < 3, (2 * z + 3) / EXACT(6), z > 0),
        1.5,
        1 / EXACT(3),
    ),
}


def norm(x):
    return float(np.sqrt((np.asarray(x, EXACT) ** 2).sum()))


def random_net(rng, dtype, activation=None, depth=None):
    depth = depth or int(rng.integers(1, 7))
    sizes = [int(n) for n in rng.integers(2, 40, depth + 1)]
    activation = activation or str(rng.choice(_core.ACTIVATIONS))
    init = vg.init.normal(float(rng.choice([0.03, 0.2, 0.6])), bias_std=0.3)
    net = vg.MLP(sizes, activation, init=init, dtype=dtype, rng=rng)
    rows = int(rng.integers(2, 40))
    return net, rng.normal(size=(rows, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], rows)


def times(a, err_a, b, err_b, eps):
    """a b, and a bound on the error of its computation in k fused multiply-adds from inexact a and b."""
    k = a.shape[1]
    err = err_a @ (np.abs(b) + err_b) + np.abs(a) @ err_b
    return a @ b, err + k * eps * ((np.abs(a) + err_a) @ (np.abs(b) + err_b))


class Bounded:
    """Forward and backward in long double; each value beside a bound on its error in the net's dtype."""

    def __init__(self, net, X, y):
        self.eps = eps = float(np.finfo(net.dtype).eps)
        kinds = [*net.activations, "identity"]
        weights = [w.astype(EXACT) for w in net.weights]
        a, err = X.astype(EXACT), np.zeros(X.shape, EXACT)
        self.inputs, self.slopes = [], []
        for w, b, kind in zip(weights, net.biases, kinds, strict=True):
            self.inputs.append((a, err))
            phi, slope, steepest, bend = FORMULAS[kind]
            z, err_z = times(a, err, w, np.zeros_like(w), eps)
            z, err_z = z + b, err_z + eps * (np.abs(z) + np.abs(b))
            a, err = phi(z), steepest * err_z
            err = err + 6 * eps * (np.abs(a) + err)
            err_slope = bend * err_z + 6 * eps * np.abs(slope(z))
            at_kink = sum(np.abs(z - kink) <= err_z for kink in CATALOG[kind].kinks)
            self.slopes.append((slope(z), np.where(at_kink, float(steepest), err_slope)))
        rows = len(X)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        delta = (p - np.eye(z.shape[1])[y]) / rows
        off = np.expm1(2 * err_z.max(axis=1, keepdims=True)) + 8 * eps
        err = (p * off + 2 * eps * np.abs(delta) * rows) / rows
        self.deltas, self.before = [(delta, err)], []
        for l in range(len(weights) - 1, 0, -1):
            back = times(*self.deltas[0], weights[l].T, np.zeros_like(weights[l].T), eps)
            slope, err_slope = self.slopes[l - 1]
            err = back[1] * (np.abs(slope) + err_slope) + np.abs(back[0]) * err_slope
            delta = back[0] * slope
            self.before.insert(0, back)
            self.deltas.insert(0, (delta, err + eps * (np.abs(delta) + err)))

    def gradient(self, l):
        a, err = self.inputs[l]
        return times(a.T, err.T, *self.deltas[l], self.eps)


def close(got, value, err, eps):
    """A norm of `value`, whose entries are wrong by at most err; its own sum adds roundings of at most 50 eps."""
    assert abs(got - norm(value)) <= norm(err) + 50 * eps * (norm(value) + norm(err))


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_all_scalars_within_derived_bounds(isa, dtype, activation, rng):
    """Entries so near a threshold that rounding can carry them over it may be counted on either side."""
    for _ in range(6):
        net, X, y = random_net(rng, dtype, activation)
        report, exact = net.inspect(X, y, vg.SGD(lr=0.1)), Bounded(net, X, y)
        eps, rows, last = exact.eps, len(X), len(net.weights) - 1
        for l, r in enumerate(report.layers):
            dw, err = exact.gradient(l)
            delta, err_delta = exact.deltas[l]
            close(r.grad_norm, dw, err, eps)
            close(r.delta_norm, delta, err_delta, eps)
            db, err_db = delta.sum(axis=0), err_delta.sum(axis=0) + rows * eps * np.abs(delta).sum(axis=0)
            close(r.bias_grad_norm, db, err_db, eps)
            assert r.speed == r.bias_grad_norm
            close(r.weight_norm, net.weights[l], np.zeros(1), eps)
            assert abs(r.max_abs - float(np.abs(dw).max())) <= float(err.max())
            close(r.update_ratio * norm(net.weights[l]), 0.1 * dw, 0.1 * (err + 4 * eps * np.abs(dw)), 3 * eps)

            slope, err_slope = exact.slopes[l]
            assert abs(r.mean_derivative - float(slope.mean())) <= float(err_slope.mean()) + rows * eps
            least, size = 0.01 * LARGEST[[*net.activations, "identity"][l]], np.abs(slope)
            unsure = (np.abs(size - least) <= err_slope + 2 * eps * least).mean()
            assert abs(r.saturated - (size < least).mean()) <= unsure + 1e-12
            unsure = ((slope == 0) | (size <= err_slope)).all(axis=0).mean() - (slope == 0).all(axis=0).mean()
            assert abs(r.dead - (slope == 0).all(axis=0).mean()) <= unsure + 1e-12
            if l < last:
                before, err_before = exact.before[l]
                after, err_after = exact.deltas[l + 1]
                relative = [
                    (norm(e) + 50 * eps * norm(v)) / norm(v) if norm(v) else np.inf
                    for v, e in ((delta, err_delta), (before, err_before), (after, err_after))
                ]
                if max(relative) < 0.1:
                    for got, top, bottom, which in (
                        (r.weight_gain, before, after, (1, 2)),
                        (r.activation_gain, delta, before, (0, 1)),
                        (r.gain, delta, after, (0, 2)),
                    ):
                        slack = 1.2 * sum(relative[i] for i in which)
                        assert got == pytest.approx(norm(top) / norm(bottom), rel=slack)


def test_the_ledger_is_exact_on_60_nets(rng):
    """To 4 ulp a layer: the quantities are ratios of the same norms."""
    ulp = np.finfo(np.float64).eps
    for n in range(60):
        net, X, y = random_net(rng, ["float32", "float64"][n % 2])
        r = net.inspect(X, y).layers
        if r.delta_norm.min() == 0:
            continue
        depth = len(r)
        np.testing.assert_allclose(r.weight_gain[:-1] * r.activation_gain[:-1], r.gain[:-1], rtol=4 * ulp)
        total = r.delta_norm[0] / r.delta_norm[-1]
        assert np.prod(r.weight_gain[:-1] * r.activation_gain[:-1]) == pytest.approx(total, rel=4 * ulp * depth)


def test_sample_norms_and_noise_against_each_sample(isa, dtype, rng):
    """The gradient of each sample alone, formed; float64 sums of them. The signal's relative error is that of the
    norms' squares times B ratio / (B ratio - 1), where ratio = |mean|^2 / mean of |.|^2."""
    for _ in range(20):
        net, X, y = random_net(rng, dtype)
        report, eps, rows, norms = net.inspect(X, y), float(np.finfo(dtype).eps), len(X), net.sample_norms(X, y)
        assert norms.shape == (rows, len(report.layers))
        each = [net.gradients(X[i : i + 1], y[i : i + 1]) for i in range(rows)]
        for l, r in enumerate(report.layers):
            g = np.array([np.append(one.weights[l].ravel(), one.biases[l]) for one in each], np.float64)
            np.testing.assert_allclose(norms[:, l], np.linalg.norm(g, axis=1), rtol=300 * eps, atol=1e-30)
            square, batch = (g**2).sum(axis=1).mean(), (g.mean(axis=0) ** 2).sum()
            assert r.sample_norm == pytest.approx(np.sqrt(square), rel=300 * eps, abs=1e-30)
            if square == 0:
                assert np.isnan(r.noise_scale)
                continue
            variance = ((g - g.mean(axis=0)) ** 2).sum() / (rows - 1)
            signal = batch - variance / rows
            slack = 600 * eps * (1 + batch / abs(signal) + square / variance)
            if slack < 0.1:
                assert r.noise_scale == pytest.approx(variance / signal if signal > 0 else np.inf, rel=slack)


def test_one_sample_has_no_noise(rng):
    net = vg.MLP([5, 8, 3], rng=0)
    report = net.inspect(rng.normal(size=(1, 5)), [1])
    assert np.isnan(report.records["noise_scale"]).all()
    np.testing.assert_allclose(report.records["sample_norm"], np.hypot(*(report.records[k] for k in NORMS)), rtol=1e-6)
    alike = net.inspect(np.ones((7, 5)), [1] * 7)
    assert (alike.records["noise_scale"] < 1e-5).all()


NORMS = ("grad_norm", "bias_grad_norm")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_frozen_weights_bit_by_bit(isa, dtype, momentum, rng):
    """At learning rates from one that moves every weight to one that moves none, after steps that gave a velocity."""
    X, y = rng.normal(size=(30, 40)), rng.integers(0, 7, 30)
    X[:, :9] = 0
    seen = set()
    for lr in 10.0 ** -np.arange(0, 19, 2):
        net, optimizer = vg.MLP([40, 33, 20, 7], dtype=dtype, rng=1), vg.SGD(lr=float(lr), momentum=momentum)
        net.step(X, y, optimizer)
        report, gradient = net.inspect(X, y, optimizer), net.gradients(X, y)
        old = [w.copy() for w in net.weights]
        net.step(X, y, optimizer)
        for r, before, after, dw in zip(report.layers, old, net.weights, gradient.weights, strict=True):
            same = before.view(f"u{before.itemsize}") == after.view(f"u{after.itemsize}")
            assert r.frozen == same.mean()
            assert r.stuck == (same & (dw != 0)).mean()
            seen.add(round(float(r.frozen), 1))
    assert {0.0, 1.0} <= seen
    assert len(seen) > 3


def exponents(dw):
    """The histogram by the definition, with frexp: 2^(e - 1) <= |x| < 2^e."""
    bits, bias = (8, 127) if dw.dtype == np.float32 else (11, 1023)
    counts = np.zeros(1 << bits, int)
    for x in dw.ravel():
        e = int(np.frexp(x)[1]) - 1
        counts[0 if x == 0 or e < 1 - bias else e + bias] += 1
    return counts


def test_counts_of_a_layer_larger_than_a_lane_can_count(isa):
    """In float32 without SIMD a lane counts to 2^24, and here are more entries; they are told of panel by panel."""
    net = vg.MLP([5120, 4096], init="zeros", rng=0)
    with vg.threads(1):
        told = net.fit(np.zeros((2, 5120)), [0, 1], epochs=1, batch_size=2, inspect_every=1).gradients[0, 0]
    assert (told["zero"], told["frozen"], told["stuck"], told["subnormal"]) == (1, 1, 0, 0)


@pytest.mark.parametrize("how", [{}, {"momentum": 0.9}, {"clip_norm": 0.01}], ids=["plain", "momentum", "clip"])
@pytest.mark.parametrize("threads", [1, 3])
def test_histograms_of_exponents(isa, dtype, how, threads, rng, forced_threads):
    """Of every gradient of a training, on the way through registers and through memory; zeros and subnormals in the
    first bin."""
    X, y = rng.normal(size=(50, 60)), rng.integers(0, 4, 50)
    X[:, 5] = 0
    X[:, 6] *= 1e-40 if dtype == "float32" else 1e-310
    net, other = (vg.MLP([60, 70, 33, 4], "tanh", dtype=dtype, rng=2) for _ in range(2))
    with vg.threads(threads):
        history = net.fit(X, y, 2, 25, vg.SGD(lr=0.1, **how), shuffle=False, inspect_every=3, inspect="histograms")
    assert history.exponents.shape == (2, 3, 256 if dtype == "float32" else 2048)
    assert history.exponents.dtype == np.uint32
    first = other.gradients(X[:25], y[:25])
    for counts, dw in zip(history.exponents[0], first.weights, strict=True):
        np.testing.assert_array_equal(counts, exponents(dw))
    assert history.exponents[0, 0, 0] == 2 * 70
    np.testing.assert_array_equal(history.exponents.sum(axis=2), [[60 * 70, 70 * 33, 33 * 4]] * 2)
    report = other.inspect(X[:25], y[:25], inspect="histograms")
    np.testing.assert_array_equal(report.exponents, history.exponents[0])
    assert other.inspect(X, y).exponents is None
    assert other.fit(X, y, 1, inspect_every=1).exponents is None


def test_the_textbook_counts_alike(dtype, rng):
    X, y = rng.normal(size=(30, 12)), rng.integers(0, 4, 30)
    nets = [kind([12, 20, 4], dtype=dtype, rng=2) for kind in (vg.MLP, reference.MLP)]
    a, b = (net.fit(X, y, 1, 10, inspect_every=1, inspect="histograms").exponents for net in nets)
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b.astype(int)).sum() <= 0.01 * a.sum()  # a power of two can be just missed


def test_what_to_inspect_is_checked(rng):
    with pytest.raises(ValueError, match="unknown inspect 'all'; there is scalars, histograms"):
        vg.MLP([3, 2]).inspect(np.eye(3), [0, 1, 0], inspect="all")
    with pytest.raises(ValueError, match="needs inspect_every above 0, got 0; for example inspect_every=10"):
        vg.MLP([3, 2]).fit(np.eye(3), [0, 1, 0], batch_size=3, inspect="histograms")
    with pytest.raises(ValueError, match="unknown inspect 'everything'"):
        vg.MLP([3, 2]).fit(np.eye(3), [0, 1, 0], batch_size=3, inspect="everything")
