"""Activations and their slopes against mpmath: 4 ULP from -104 to 104, wherever the result is a normal number."""

from functools import cache

import numpy as np
import pytest
from exact_activations import ALPHA, LAMBDA
from exact_activations import TAILED as EXACT
from mpmath import mp, mpf

from vgfast import _core

ULPS = 4
TAIL = 8  # of gelu, left of -1
# With a parameter of their own, which float32 has, too.
CASES = dict(EXACT)
for a in (mpf(0), mpf("0.25"), mpf("2.5")):
    CASES["leaky_relu", float(a)] = lambda z, a=a: z if z > 0 else a * z, lambda z, a=a: 1 if z > 0 else a
    CASES["elu", float(a)] = (
        lambda z, a=a: z if z > 0 else a * mp.expm1(z),
        lambda z, a=a: 1 if z > 0 else a * mp.exp(z),
    )
# Where phi' is 0.
ROOTS = {
    "gelu": -0.7517915246935645,
    "gelu_tanh": -0.7524614220710163,
    "silu": -1.2784645427610738,
    "mish": -1.1924312145154952,
}


@cache
def points(name, dtype):
    """(z, phi(z), phi'(z)): of every size, and beside the places where terms cancel; exact values in two doubles."""
    rng, n = np.random.default_rng(0), 60
    signs = rng.choice([-1, 1], n)
    z = [rng.uniform(-104, 104, 2 * n), rng.uniform(-12, 12, 2 * n), rng.uniform(-2, 2, 2 * n)]
    z += [signs * 10 ** rng.uniform(-30, 0, n), [0.0, 104, -104, 1, -1, 3, -3]]
    for at in (-3.0, -1.5, ROOTS.get(name, 0.0)):
        z += [at + signs * 10 ** rng.uniform(-7, 0, n)]
    z = np.unique(np.concatenate(z).astype(dtype))
    with mp.workdps(60):
        both = [[mpf(f(mpf(float(x)))) for x in z] for f in CASES[name]]
        parts = [(np.array([float(y) for y in of]), np.array([float(y - mpf(float(y))) for y in of])) for of in both]
    return z, *parts


def errors(got, exact):
    """In units of the last place, of those whose exact values are normal numbers or 0."""
    high, low = exact
    dtype = got.dtype
    counted = (np.abs(high) >= float(np.finfo(dtype).smallest_normal)) | (high == 0)
    unit = np.spacing(np.abs(high).astype(dtype)).astype(np.float64)
    return np.where(counted, np.abs((got.astype(np.float64) - high) - low) / unit, 0)


@pytest.mark.parametrize("name", CASES, ids=str)
def test_values_and_slopes_keep_their_digits(isa, dtype, name):
    z, value, slope = points(name, dtype)
    found, slopes = np.full_like(z, np.nan), np.full_like(z, np.nan)
    _core.activate(name, z, found, slopes)
    most = np.where((z < -1) & (name == "gelu"), TAIL, ULPS)
    for got, exact in ((found, value), (slopes, slope)):
        off = errors(got, exact)
        worst = (off / most).argmax()
        assert off[worst] <= most[worst], (z[worst], off[worst])


def test_no_activation_is_left_out():
    elsewhere = {"identity", "relu", "leaky_relu", "sigmoid", "tanh"}  # exact, or in test_math.py
    assert EXACT.keys() | elsewhere == set(_core.ACTIVATIONS)


@pytest.mark.parametrize("name", EXACT)
def test_far_out_they_are_at_their_limits(isa, dtype, name):
    far = np.array([3e4, 1e30, np.finfo(dtype).max / 2, np.inf], dtype)
    found, slopes = np.empty(8, dtype), np.empty(8, dtype)
    _core.activate(name, np.concatenate([far, -far]), found, slopes)
    high = {"softsign": 1, "scaled_tanh": 1.7159, "hardtanh": 1, "hardsigmoid": 1}.get(name)
    right = np.full(4, high, dtype) if high else far * np.asarray(float(LAMBDA) if name == "selu" else 1, dtype)
    low = {"softsign": -1, "scaled_tanh": -1.7159, "hardtanh": -1, "elu": -1, "selu": -float(LAMBDA * ALPHA)}.get(
        name, 0
    )
    if name != "softsign":  # which is slow, and infinity / infinity at its end
        np.testing.assert_allclose(found[:4], right, rtol=2 * np.finfo(dtype).eps)
        np.testing.assert_allclose(found[4:], low, rtol=2 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(slopes[4:], 0)
        steep = {"selu": dtype_of(dtype, LAMBDA)}.get(name, 0 if high else 1)
        np.testing.assert_array_equal(slopes[:4], np.asarray(steep, dtype))


def dtype_of(dtype, value):
    return np.dtype(dtype).type(float(value))


def test_gelu_where_other_formulas_have_nothing_left(isa):
    """z (1 + erf(z / sqrt 2)) / 2, as PyTorch has it, is 4 % off at -5 and 0 from -6 on, in float32."""
    z = np.array([-4, -5, -6, -8, -10, -13], np.float32)
    found = np.empty_like(z)
    _core.activate("gelu", z, found, None)
    exact = np.array([float(EXACT["gelu"][0](mpf(int(x)))) for x in z])
    np.testing.assert_allclose(found, exact, rtol=TAIL * float(np.finfo(np.float32).eps))
