"""exp, tanh, sigmoid and softmax: at most 3 ULP over the whole range, subnormal results included."""

import numpy as np
import pytest

from vgfast import _core

ULPS = 3


def ulps(got, exact):
    """The error in units of the last place of the exact value (the spacing of the type there)."""
    dtype = got.dtype
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    same = (got == exact.astype(dtype)) | (np.isnan(got) & np.isnan(exact))
    return np.where(same, 0, np.abs(got.astype(np.longdouble) - exact) / unit)


def spread(dtype, low, high, rng, n=400_000):
    """Numbers of both signs of every magnitude, and evenly between low and high."""
    bits, whole = (np.uint32, 32) if dtype == "float32" else (np.uint64, 64)
    anything = rng.integers(0, 2**whole, n, dtype=bits).view(dtype)
    special = np.array([0.0, -0.0, np.inf, -np.inf, 1.0, -1.0], dtype)
    info = np.finfo(dtype)
    edges = np.array([info.max, -info.max, info.smallest_normal, info.smallest_subnormal], dtype)
    even = rng.uniform(low, high, n).astype(dtype)
    everything = np.concatenate([anything, special, edges, even])
    return everything[~np.isnan(everything)]


def run(kernel, x, *name):
    y = np.full_like(x, np.nan)
    kernel(*name, x, y)
    return y


@pytest.mark.filterwarnings("ignore:overflow", "ignore:underflow", "ignore:invalid")
def test_exp(isa, dtype, rng):
    low, high = (-104.5, 89.0) if dtype == "float32" else (-746.0, 710.0)
    x = spread(dtype, low, high, rng)
    exact = np.exp(x.astype(np.longdouble))
    got = run(_core.exponential, x)
    assert ulps(got, exact).max() <= ULPS
    assert ((got > 0) & (got < np.finfo(dtype).smallest_normal)).sum() > 1000  # subnormal results were seen


@pytest.mark.filterwarnings("ignore:overflow", "ignore:underflow", "ignore:invalid")
def test_tanh(isa, dtype, rng):
    x = spread(dtype, -22.0, 22.0, rng)
    got = run(_core.activate, x, "tanh")
    assert ulps(got, np.tanh(x.astype(np.longdouble))).max() <= ULPS
    assert (np.signbit(got) == np.signbit(x)).all()


@pytest.mark.filterwarnings("ignore:overflow", "ignore:underflow", "ignore:invalid", "ignore:divide")
def test_sigmoid(isa, dtype, rng):
    low, high = (-104.5, 40.0) if dtype == "float32" else (-746.0, 60.0)
    x = spread(dtype, low, high, rng)
    wide = np.exp(-np.abs(x.astype(np.longdouble)))
    exact = np.where(x > 0, 1, wide) / (1 + wide)
    assert ulps(run(_core.activate, x, "sigmoid"), exact).max() <= ULPS


@pytest.mark.filterwarnings("ignore:overflow", "ignore:underflow", "ignore:invalid", "ignore:divide")
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_derivatives(isa, dtype, name, rng):
    """phi'(z), relative to itself: also where phi(z) has been rounded to 1, and where phi'(z) is subnormal."""
    low, high = (-104.5, 104.5) if dtype == "float32" else (-746.0, 746.0)
    x = spread(dtype, low, high, rng)
    derivatives = np.full_like(x, np.nan)
    _core.activate(name, x, np.empty_like(x), derivatives)
    e = np.exp(-np.abs(x.astype(np.longdouble)) * (2 if name == "tanh" else 1))
    exact = (4 if name == "tanh" else 1) * e / (1 + e) ** 2
    assert ulps(derivatives, exact).max() <= 6  # one of exp, and about as many roundings after it
    assert ((derivatives > 0) & (derivatives < np.finfo(dtype).smallest_normal)).sum() > 1000


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_far_out_both_are_saturated(isa, dtype, name):
    far = np.array([40.0, 1e3, 1e30, np.inf], dtype)
    x = np.concatenate([far, -far])
    derivatives = np.empty_like(x)
    got = np.empty_like(x)
    _core.activate(name, x, got, derivatives)
    assert (got[:4] == 1).all()
    assert (got[5:] == (-1 if name == "tanh" else 0)).all()
    assert (derivatives[[1, 2, 3, 5, 6, 7]] == 0).all()


@pytest.mark.parametrize("name", ["exp", *_core.ACTIVATIONS])
def test_a_value_does_not_depend_on_its_neighbours(isa, dtype, name, rng):
    """Vectors go in groups, the rest one by one, and the last may be a part; all give the same bits."""
    x = rng.normal(scale=3, size=150).astype(dtype)
    derivatives = [np.full_like(x, np.nan) for _ in range(2)]
    alone = np.full_like(x, np.nan)

    def apply(part, y, of):
        if name == "exp":
            _core.exponential(part, y)
        else:
            _core.activate(name, part, y, of)

    for i in range(len(x)):
        apply(x[i : i + 1], alone[i : i + 1], derivatives[0][i : i + 1])
    for n in range(1, len(x) + 1):
        together, without = np.full_like(x, np.nan), np.full_like(x, np.nan)
        apply(x[:n], together[:n], derivatives[1][:n])
        apply(x[:n], without[:n], None)
        for got in together, without:
            np.testing.assert_array_equal(got[:n], alone[:n])
            assert np.isnan(got[n:]).all()
        np.testing.assert_array_equal(derivatives[1][:n], derivatives[0][:n])


def test_softsign_and_its_derivative(isa, dtype, rng):
    """To the range's ends: both are quotients of 1 + |z|, which cannot overflow where z is a number."""
    x = (rng.normal(size=20_000) * 10.0 ** rng.uniform(-30, 37, 20_000)).astype(dtype)
    wide = np.abs(x.astype(np.longdouble)) + 1
    derivatives = np.empty_like(x)
    got = np.empty_like(x)
    _core.activate("softsign", x, got, derivatives)
    assert ulps(got, x / wide).max() <= ULPS
    assert (
        ulps(derivatives, 1 / wide**2).max() <= 5
    )  # roundings of the sum and of the quotient, each twice, and of the square


@pytest.mark.parametrize("n", [1, 2, 3, 10, 16, 17, 33, 1000])
@pytest.mark.parametrize("width", [0.1, 3.0, 60.0, 500.0])
def test_softmax(isa, dtype, n, width, rng):
    z = rng.normal(rng.normal(0, width), width, size=(300, n)).astype(dtype)
    wide = z.astype(np.longdouble)
    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    exact = e / e.sum(axis=1, keepdims=True)
    got = np.full_like(z, np.nan)
    _core.softmax(z, got)
    assert ulps(got, exact).max() <= ULPS


def test_softmax_reaches_subnormal_results(isa, dtype):
    depth = {"float32": 95.0, "float64": 735.0}[dtype]
    z = np.array([[0.3, 0.1 - depth, 0.25]], dtype)
    got = np.empty_like(z)
    _core.softmax(z, got)
    wide = z.astype(np.longdouble)
    e = np.exp(wide - wide.max())
    assert 0 < got[0, 1] < np.finfo(dtype).smallest_normal
    assert ulps(got, e / e.sum()).max() <= ULPS


@pytest.mark.parametrize("name", ["exp", *_core.ACTIVATIONS])
def test_nan_passes_through(isa, dtype, name):
    x = np.full(19, np.nan, dtype)
    got = run(_core.exponential, x) if name == "exp" else run(_core.activate, x, name)
    assert np.isnan(got).all()


@pytest.mark.parametrize("scale", [1e5, 1e8, 1e11, 1e15, 1e37])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 17, 33])
def test_softmax_of_huge_logits(isa, dtype, scale, n, rng):
    """Far beyond where exp is 0, up to where differences of logits overflow."""
    z = (rng.normal(size=(200, n)) * scale).astype(dtype)
    z[0] = scale
    got = np.full_like(z, np.nan)
    _core.softmax(z, got)
    wide = z.astype(np.longdouble)
    with np.errstate(under="ignore"):
        e = np.exp(wide - wide.max(axis=1, keepdims=True))
    assert ulps(got, e / e.sum(axis=1, keepdims=True)).max() <= ULPS
    assert (got >= 0).all()
