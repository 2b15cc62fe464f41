"""Every kernel, of every instruction set and type, around the edges of its tiles."""

from itertools import pairwise, product

import numpy as np
import pytest

from vgfast import _core
from vgfast.model.activations import CATALOG
from vgfast.model.losses import LOSSES

# NaNs that nobody computes
GUARD = {"float32": np.uint32(0x7FF5A5A5), "float64": np.uint64(0x7FF5A5A5A5A5A5A5)}


class Fenced:
    """A matrix that starts off any alignment, in rows with a gap behind, filled with one NaN pattern."""

    def __init__(self, rows, cols, dtype, gap=3):
        self.shape, self.ld = (rows, cols), cols + gap
        self.clean = GUARD[dtype]
        self.bits = np.full(1 + rows * self.ld + 5, self.clean)
        assert np.isnan(self.bits.view(dtype)).all()
        whole = self.bits.view(dtype)[1 : 1 + rows * self.ld]
        self.matrix = np.lib.stride_tricks.as_strided(whole, (rows, cols), (self.ld * whole.itemsize, whole.itemsize))

    def check(self):
        """Everything within is written, nothing outside."""
        rows, cols = self.shape
        body = self.bits[1 : 1 + rows * self.ld].reshape(rows, self.ld)
        assert not (body[:, :cols] == self.clean).any()
        assert (body[:, cols:] == self.clean).all()
        assert self.bits[0] == self.clean
        assert (self.bits[1 + rows * self.ld :] == self.clean).all()


def unaligned(values, dtype):
    """A contiguous copy that starts one element past a cache line."""
    buffer = _core.aligned(values.size + 1, dtype)[1:].reshape(values.shape)
    buffer[...] = values
    return buffer


def edge(n, step):
    """Near a multiple of it, or the least."""
    return n == 1 or n % step in (0, 1, step - 1)


def sizes(dtype):
    """(m, n, k): each size of one, from 1 to one more than twice the tile's edge, with the edges of the two others; k
    has no tile, so twice the vector."""
    rows, cols, lanes = _core.tile(dtype)
    lanes = max(lanes, 4)
    every = product(*(range(1, 2 * most + 2) for most in (rows, cols, lanes)))
    return [(m, n, k) for m, n, k in every if edge(m, rows) + edge(n, min(lanes, cols)) + edge(k, lanes) >= 2]


class Product:
    """A (m, k) and B (k, n) with a longdouble product and its error bound, of which all smaller are parts."""

    def __init__(self, m, n, k, dtype, rng):
        self.a, self.b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        self.bias = rng.normal(size=n).astype(dtype)
        a, b = self.a.astype(np.longdouble), self.b.astype(np.longdouble)
        terms = a[:, :, None] * b[None]
        self.exact, self.size = terms.cumsum(axis=1), np.abs(terms).cumsum(axis=1)
        self.eps = np.finfo(dtype).eps

    def bound(self, m, n, k, extra=0.0):
        """A chain of k products and sums, each rounded (Higham, section 3.1): k eps |A| |B|; 2 k without FMA."""
        return 2 * (k + 1) * self.eps * (self.size[:m, k - 1, :n] + extra)


@pytest.mark.parametrize("kernel", ["forward", "backward", "gradient"])
def test_products_around_the_edges(isa, dtype, kernel, rng):
    todo = sizes(dtype)
    most_m, most_n, most_k = todo[-1]
    p = Product(most_m, most_n, most_k, dtype, rng)
    scratch = np.empty(_core.scratch_size(max(most_n, most_k)), dtype)
    for m, n, k in todo:
        bound, exact = p.bound(m, n, k), p.exact[:m, k - 1, :n]
        if kernel == "gradient":  # dW is contiguous
            out = Fenced(m, n, dtype, gap=0)
            x_t = unaligned(p.a[:, :k].T, dtype)
            _core.weight_gradient(x_t[:, :m], unaligned(p.b[:k, :n], dtype), out.matrix, scratch, 0, m)
        elif kernel == "forward":
            out = Fenced(m, n, dtype)
            x, b = unaligned(p.a[:m, :k], dtype), unaligned(p.b[:k, :n], dtype)
            _core.dense_forward("identity", x, b, p.bias[:n], out.matrix, scratch)
            exact, bound = exact + p.bias[:n], p.bound(m, n, k, np.abs(p.bias[:n]))
        else:
            out = Fenced(m, n, dtype)
            x, b_t = unaligned(p.a[:m, :k], dtype), unaligned(p.b[:k, :n].T, dtype)
            norms = _core.dense_backward("identity", x, b_t, np.ones((m, n), dtype), out.matrix, scratch)
            np.testing.assert_allclose(norms, np.linalg.norm(out.matrix, axis=1), rtol=4 * (n + 1) * p.eps)
        out.check()
        assert (np.abs(out.matrix - exact) <= bound).all(), (m, n, k)


@pytest.mark.parametrize("activation", ["identity", "relu", "leaky_relu", "tanh"])  # one of each form of phi'
def test_back_without_inspection_is_the_same(isa, dtype, activation, rng):
    """There phi' is multiplied to the sums in registers: the bits of the tiles in memory, whose norms are taken."""
    todo = sizes(dtype)
    most_m, most_n, most_k = todo[-1]
    dy, w = rng.normal(size=(most_m, most_k)).astype(dtype), rng.normal(size=(most_n, most_k)).astype(dtype)
    source = rng.normal(size=(most_m, most_n)).astype(dtype)
    scratch = np.empty(_core.scratch_size(max(most_n, most_k)), dtype)
    for m, n, k in todo:
        out, plain = Fenced(m, n, dtype), Fenced(m, n, dtype)
        arrays = unaligned(dy[:m, :k], dtype), unaligned(w[:n, :k], dtype), unaligned(source[:m, :n], dtype)
        _core.dense_backward(activation, *arrays, out.matrix, scratch)
        _core.dense_backward(activation, *arrays, plain.matrix, scratch, inspected=False)
        plain.check()
        np.testing.assert_array_equal(plain.matrix, out.matrix)


@pytest.mark.parametrize("n", [600, 1000])
def test_product_with_far_rows_is_the_same(isa, dtype, n, rng):
    """Rows of B half a page apart are copied first: the path for wide layers, and many rows."""
    m, k = 70, 37
    p = Product(m, n, k, dtype, rng)
    out = Fenced(m, n, dtype)
    scratch = np.empty(_core.scratch_size(n), dtype)
    _core.dense_forward("identity", p.a, p.b, p.bias, out.matrix, scratch)
    out.check()
    assert (np.abs(out.matrix - p.exact[:, -1] - p.bias) <= p.bound(m, n, k, np.abs(p.bias))).all()


@pytest.mark.parametrize(("n_in", "n_out"), [(1700, 101), (577, 600), (1000, 49)])
def test_gradient_of_wide_layers(isa, dtype, n_in, n_out, rng):
    """Columns of x whose rows lie half a page apart are packed first, 768 at a time, from any first on."""
    k = 13
    p = Product(n_in, n_out, k, dtype, rng)
    x = np.ascontiguousarray(p.a.T)
    scratch = np.empty(_core.scratch_size(n_in), dtype)
    for first, last in ((0, n_in), (48, n_in - 5)):
        out = Fenced(n_in, n_out, dtype, gap=0)
        rows = slice(first, last)
        _core.weight_gradient(x, p.b, out.matrix, scratch, first, last)
        assert (np.abs(out.matrix[rows] - p.exact[rows, -1]) <= p.bound(n_in, n_out, k)[rows]).all()
        outside = np.delete(out.matrix, np.r_[rows], axis=0)
        assert np.isnan(outside).all()


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_fused_epilogues(isa, dtype, activation, rng):
    """Forward and backward with each activation equal their parts done one after the other."""
    rows, n_in, n_out = 13, 21, 37
    x, w = rng.normal(size=(rows, n_in)).astype(dtype), rng.normal(size=(n_in, n_out)).astype(dtype)
    bias, dy = rng.normal(size=n_out).astype(dtype), rng.normal(size=(rows, n_out)).astype(dtype)
    scratch = np.empty(_core.scratch_size(64), dtype)
    z, y, derivatives, parts, part_derivatives = (np.empty((rows, n_out), dtype) for _ in range(5))
    _core.dense_forward("identity", x, w, bias, z, scratch)
    _core.dense_forward(activation, x, w, bias, y, scratch, derivatives)
    _core.activate(activation, z, parts, part_derivatives)
    np.testing.assert_array_equal(y, parts)
    kept = CATALOG[activation].stored
    if kept:
        np.testing.assert_array_equal(derivatives, part_derivatives)

    raw, dx, a, derivative = (np.empty((rows, n_in), dtype) for _ in range(4))
    _core.activate(activation, x, a, derivative)
    _core.dense_backward("identity", dy, w, a, raw, scratch)
    _core.dense_backward(activation, dy, w, derivative if kept else a, dx, scratch)
    np.testing.assert_array_equal(dx, raw * derivative)


def test_weight_update_is_gradient_then_subtraction(isa, dtype, rng):
    """Any split of the rows gives the same bits as the gradient in memory and one FMA (or mul and sub)."""
    rows, n_in, n_out, lr = 19, 101, 53, 0.37
    x, dy = rng.normal(size=(rows, n_in)).astype(dtype), rng.normal(size=(rows, n_out)).astype(dtype)
    w = rng.normal(size=(n_in, n_out)).astype(dtype)
    scratch = np.empty(_core.scratch_size(128), dtype)
    gradient, expected = np.empty_like(w), w.copy()
    _core.weight_gradient(x, dy, gradient, scratch, 0, n_in)
    _core.update("sgd", gradient, expected, (), lr, (), 0, np.inf, 1)
    for split in ([0, n_in], [0, 1, 47, 48, n_in], [*range(0, n_in, 7), n_in]):
        got = w.copy()
        for first, last in pairwise(split):
            _core.weight_update(x, dy, got, lr, scratch, first, last)
        np.testing.assert_array_equal(got, expected)


def test_weight_update_around_the_edges(isa, dtype, rng):
    """Of one row, of a few outputs and of any other size: the bits of the gradient in memory and one FMA."""
    lr = 0.37
    todo = sizes(dtype)
    most_m, most_n, most_k = todo[-1]
    x, dy = rng.normal(size=(most_k, most_m)).astype(dtype), rng.normal(size=(most_k, most_n)).astype(dtype)
    w = rng.normal(size=most_m * most_n).astype(dtype)
    x[0, 0], dy[0, 0], w[0] = 0, -1, -0.0  # a gradient of -1 x 0, which a sum from 0 on makes 0
    scratch = np.empty(_core.scratch_size(max(todo[-1])), dtype)
    for m, n, k in todo:
        out, gradient = Fenced(m, n, dtype, gap=0), np.empty((m, n), dtype)
        expected = w[: m * n].reshape(m, n).copy()
        out.matrix[...] = expected
        a, d = unaligned(x[:k, :m], dtype), unaligned(dy[:k, :n], dtype)
        _core.weight_gradient(a, d, gradient, scratch, 0, m)
        _core.update("sgd", gradient, expected, (), lr, (), 0, np.inf, 1)
        _core.weight_update(a, d, out.matrix, lr, scratch, 0, m)
        out.check()
        np.testing.assert_array_equal(out.matrix, expected)
        np.testing.assert_array_equal(np.signbit(out.matrix), np.signbit(expected))


def test_weight_update_of_a_few_outputs_and_many_rows(isa, dtype, rng):
    """Whose rows lie a cache line apart, as in training: from some 200 rows on they are copied first."""
    n_in, lr = 101, 0.37
    scratch = np.empty(_core.scratch_size(700), dtype)
    for rows, n_out in product((150, 350, 450, 700), range(1, 7)):
        x = rng.normal(size=(rows, n_in)).astype(dtype)
        dy = rng.normal(size=(rows, 16)).astype(dtype)[:, :n_out]
        got, gradient = rng.normal(size=(n_in, n_out)).astype(dtype), np.empty((n_in, n_out), dtype)
        expected = got.copy()
        _core.weight_gradient(x, dy, gradient, scratch, 0, n_in)
        _core.update("sgd", gradient, expected, (), lr, (), 0, np.inf, 1)
        _core.weight_update(x, dy, got, lr, scratch, 0, n_in)
        np.testing.assert_array_equal(got, expected, err_msg=f"{rows} rows, {n_out} outputs")


def test_updates_against_plain_arithmetic(isa, dtype, rng):
    for n in (1, 7, 16, 50, 333):
        g, w, v = (rng.normal(size=n).astype(dtype) for _ in range(3))
        lr, momentum, decay, clip, scale = 0.1, 0.9, 0.01, 0.8, 0.5
        for rule in ("momentum", "nesterov"):
            params, velocity = w.copy(), v.copy()
            _core.update(rule, g, params, (velocity,), lr, (momentum,), decay, clip, scale)
            exact = np.clip(g.astype(np.longdouble) * scale, -clip, clip) + decay * w
            v_exact = momentum * v + exact
            step = exact + momentum * v_exact if rule == "nesterov" else v_exact
            # at most six roundings of numbers below 8
            np.testing.assert_allclose(velocity, v_exact.astype(dtype), rtol=0, atol=48 * np.finfo(dtype).eps)
            np.testing.assert_allclose(params, (w - lr * step).astype(dtype), rtol=0, atol=48 * np.finfo(dtype).eps)


def test_adaptive_updates_against_plain_arithmetic(isa, dtype, rng):
    """At most eight roundings of steps, which are below 40 here, and one of what they change; and no lane beyond n."""
    for n in (1, 7, 16, 50, 333):
        g, w, u = (rng.normal(size=n).astype(dtype) for _ in range(3))
        v, lr, decay, clip, scale = np.abs(u) + 0.01, 0.1, 0.01, 0.8, 0.5
        clipped = np.clip(g.astype(np.longdouble) * scale, -clip, clip)
        for rule in ("adam", "adamw", "rmsprop", "rmsprop_momentum", "adagrad"):
            exact = clipped + (0 if rule == "adamw" else decay * w)
            if rule.startswith("adam"):
                hyper, kept = (0.9, 0.1, 0.75, 0.25, 2.0, 0.125), (u, v)
                then = 0.9 * u + 0.1 * exact, 0.75 * v + 0.25 * exact**2
                step = then[0] / (2 * np.sqrt(then[1]) + 0.125) + (decay * w if rule == "adamw" else 0)
            elif rule == "adagrad":
                hyper, kept, then = (0.25, 0.125), (v,), (v + exact**2,)
                step = exact / (np.sqrt(then[0] + 0.25) + 0.125)
            else:
                hyper, kept, then = (0.75, 0.25, 0.0625, 0.125, 0.5), (v, u), (0.75 * v + 0.25 * exact**2,)
                step = exact / (np.sqrt(then[0] + 0.0625) + 0.125)
                if rule == "rmsprop_momentum":
                    step = 0.5 * u + step
                    then = (*then, step)
            params, *states = (Fenced(1, n, dtype, gap=0) for _ in range(1 + len(then)))
            for fenced, array in zip((params, *states), (w, *kept), strict=False):
                fenced.matrix[...] = array
            vectors = tuple(state.matrix[0] for state in states)
            _core.update(rule, g, params.matrix[0], vectors, lr, hyper, decay, clip, scale)
            for fenced, expected in zip((params, *states), (w - lr * step, *then), strict=True):
                fenced.check()
                np.testing.assert_allclose(
                    fenced.matrix[0], expected.astype(dtype), rtol=0, atol=40 * np.finfo(dtype).eps
                )


def test_summary_counts(isa, dtype):
    """Zeros, subnormals, frozen weights and norms of a gradient made to hold known numbers of each."""
    tiny = np.finfo(dtype).smallest_subnormal
    g = np.zeros(101, dtype)
    g[3:10] = tiny * 5
    g[10:14] = -0.25
    w = np.ones(101, dtype)
    w[12] = 0
    got = _core.update("sgd", g, w, (), 1.0, (), 0, np.inf, 1)
    assert got["zero"] == 101 - 11
    assert got["subnormal"] == 7
    assert got["frozen"] == 101 - 4
    assert got["stuck"] == 7
    assert got["max_abs"] == 0.25
    assert got["gradient"] == 0.5
    assert got["weight"] == 10.0
    np.testing.assert_array_equal(w[10:14], [1.25, 1.25, 0.25, 1.25])


@pytest.mark.parametrize("scale", ["tiny", "small", "one", "huge"])
def test_norms_neither_vanish_nor_overflow(isa, dtype, scale):
    info = np.finfo(dtype)
    unit = {
        "tiny": info.smallest_subnormal,
        "small": info.smallest_normal,
        "one": 1.0,
        "huge": info.max / 32,
    }[scale]
    x = np.full(49, 3, dtype) * info.dtype.type(unit)
    np.testing.assert_allclose(_core.square_norm(x) / float(unit), 21.0, rtol=49 * info.eps)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_norms_show_what_is_not_finite(isa, dtype, bad):
    for at in (0, 5, 40):
        x = np.ones(41, dtype)
        x[at] = bad
        assert not np.isfinite(_core.square_norm(x))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_norms_of_zeros_and_one_value_that_is_not_finite(isa, dtype, bad):
    for at in (0, 20, 40, 5000):
        x = np.zeros(5001, dtype)
        x[at] = bad
        assert not np.isfinite(_core.square_norm(x))


def test_norms_of_long_vectors(isa, dtype):
    """One large entry among many small ones, whose squares must not be rounded away."""
    x = np.full(480_001, 1e-4, dtype)
    x[0] = 1
    exact = np.sqrt(np.square(x.astype(np.longdouble)).sum())
    # parts of 1024 terms, and 469 of them: each sum with at most so many roundings of half an ulp
    np.testing.assert_allclose(_core.square_norm(x), float(exact), rtol=1500 * np.finfo(dtype).eps / 2)


def test_mse_of_values_whose_squares_leave_float(isa):
    z, t = np.array([[2e19, 1.0]], np.float32), np.zeros((1, 2), np.float32)
    losses, correct, dz = np.empty(1), np.empty(1), np.empty_like(z)
    _core.loss("mse", z, t, losses, correct, dz)
    assert losses[0] == pytest.approx(2e38, rel=1e-6)
    np.testing.assert_array_equal(dz, z)


def test_column_sums(isa, dtype, rng):
    for rows, n in ((1, 1), (5, 17), (33, 50), (64, 7)):
        x = rng.normal(size=(rows, n)).astype(dtype)
        sums = Fenced(1, n, dtype)
        _core.column_sums(x, sums.matrix[0])
        sums.check()
        bound = rows * np.finfo(dtype).eps * np.abs(x).sum(axis=0)
        assert (np.abs(sums.matrix[0] - x.sum(axis=0, dtype=np.longdouble)) <= bound).all()


def test_sums_go_on(isa, dtype, rng):
    """Over rows that come in two parts they are one chain, whatever the tiles; nothing beyond is written."""
    for rows, n_in, n_out in ((2, 1, 1), (9, 7, 16), (30, 49, 50), (100, 13, 97)):
        x, dy = rng.normal(size=(rows, n_in)).astype(dtype), rng.normal(size=(rows, n_out)).astype(dtype)
        scratch, whole = np.empty(_core.scratch_size(128), dtype), np.empty((n_in, n_out), dtype)
        _core.weight_gradient(x, dy, whole, scratch, 0, n_in)
        sums = np.empty(n_out, dtype)
        _core.column_sums(dy, sums)
        for cut in {1, rows // 2, rows - 1}:
            part, of_columns = Fenced(n_in, n_out, dtype, gap=0), Fenced(1, n_out, dtype)
            _core.weight_gradient(x[:cut], dy[:cut], part.matrix, scratch, 0, n_in)
            _core.weight_gradient(x[cut:], dy[cut:], part.matrix, scratch, 0, n_in, part.matrix)
            _core.column_sums(dy[:cut], of_columns.matrix[0])
            _core.column_sums(dy[cut:], of_columns.matrix[0], True)
            part.check()
            of_columns.check()
            np.testing.assert_array_equal(part.matrix, whole)
            np.testing.assert_array_equal(of_columns.matrix[0], sums)


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 16, 17, 40])
def test_losses(isa, dtype, loss, n, rng):
    rows = 11
    z = rng.normal(0, 4, size=(rows, n)).astype(dtype)
    z[0] = 0
    if loss == "mse":
        t = rng.normal(size=(rows, n)).astype(dtype)
    elif loss == "binary_cross_entropy":
        t = rng.uniform(size=(rows, n)).round(1).astype(dtype)
    else:
        t = rng.dirichlet(np.ones(n), size=rows).astype(dtype)
    kinds = [t] if loss != "cross_entropy" else [t, rng.integers(0, n, rows).astype(np.int32)]
    for y in kinds:
        losses, correct, dz = np.full(rows, np.nan), np.full(rows, np.nan), Fenced(rows, n, dtype)
        padded = Fenced(rows, n, dtype)
        padded.matrix[...] = z
        _core.loss(loss, padded.matrix, y, losses, correct, dz.matrix)
        dz.check()
        exact, delta, right = LOSSES[loss].of(z.astype(np.longdouble), y if y.ndim == 1 else y.astype(np.longdouble))
        eps = np.finfo(dtype).eps
        size = max(1.0, float(np.abs(z).max()) ** 2)
        np.testing.assert_allclose(losses.mean(), exact, rtol=8 * eps, atol=8 * eps * size)
        # p and t are at most 1 and p has 3 ULP; z - t is rounded once
        np.testing.assert_allclose(dz.matrix, delta.astype(np.float64), rtol=8 * eps, atol=8 * eps / rows)
        np.testing.assert_allclose(correct, right, atol=n * 1e-15)
