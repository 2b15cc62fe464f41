"""Each kernel and NumPy on the same shapes, one thread each for the kernels, with speed and error.

OMP_NUM_THREADS=1 pytest benchmarks/bench_kernels.py
"""

import numpy as np
import pytest

from vgfast import _core
from vgfast.model.activations import sigmoid
from vgfast.model.losses import softmax

# batch, n_in, n_out
SHAPES = [(32, 30, 30), (128, 784, 256), (512, 2048, 2048)]
BY = ["vgfast", "numpy"]


def ulps(got, exact):
    """Largest error in units of eps times the largest value."""
    return float(np.abs(got - exact).max() / np.abs(exact).max() / np.finfo(got.dtype).eps)


def layer(shape, dtype="float32"):
    rng = np.random.default_rng(0)
    rows, n_in, n_out = shape
    x, w = rng.normal(size=(rows, n_in)).astype(dtype), rng.normal(size=(n_in, n_out)).astype(dtype)
    b, dy = rng.normal(size=n_out).astype(dtype), rng.normal(size=(rows, n_out)).astype(dtype)
    return x, w, b, dy, np.empty(_core.scratch_size(max(shape)), dtype)


def measure(benchmark, run, result, exact, shape):
    benchmark(run)
    benchmark.extra_info["flops"] = 2 * int(np.prod(shape))
    benchmark.extra_info["error, eps of the largest"] = ulps(result(), exact)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.benchmark(group="forward: phi(x W + b), sigmoid, float32")
def test_forward(benchmark, shape, by):
    x, w, b, _, scratch = layer(shape)
    y = np.empty((shape[0], shape[2]), np.float32)

    def plain():
        np.matmul(x, w, out=y)
        y.__iadd__(b)
        y[...] = sigmoid(y)

    run = plain if by == "numpy" else lambda: _core.dense_forward("sigmoid", x, w, b, y, scratch)
    measure(benchmark, run, lambda: y, sigmoid(x.astype(float) @ w + b), shape)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.benchmark(group="backward: (dy W^T) * phi'(x), sigmoid, float32")
def test_backward(benchmark, shape, by):
    x, w, _, dy, scratch = layer(shape)
    a = sigmoid(x)
    dx, derivatives = np.empty_like(x), a * (1 - a)

    def plain():
        np.matmul(dy, w.T, out=dx)
        dx.__imul__(derivatives)

    def ours():
        _core.dense_backward("sigmoid", dy, w, derivatives, dx, scratch, inspected=False)

    run = plain if by == "numpy" else ours
    measure(benchmark, run, lambda: dx, (dy.astype(float) @ w.T) * derivatives, shape)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.benchmark(group="update: W -= lr x^T dy, float32")
def test_update(benchmark, shape, by):
    x, w, _, dy, scratch = layer(shape)
    start, lr = w.copy(), np.float32(1e-12)
    dw = np.empty_like(w)

    def plain():
        np.matmul(x.T, dy, out=dw)
        dw.__imul__(lr)
        w.__isub__(dw)

    run = plain if by == "numpy" else lambda: _core.weight_update(x, dy, w, lr, scratch, 0, shape[1])

    def once_from_the_start():
        w[...] = start
        run()
        return w

    measure(benchmark, run, once_from_the_start, start - float(lr) * (x.astype(float).T @ dy), shape)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "softmax"])
@pytest.mark.benchmark(group="elementwise, 100 x 1000, float32")
def test_elementwise(benchmark, name, by):
    x = np.random.default_rng(0).normal(size=(100, 1000)).astype(np.float32)
    y = np.empty_like(x)
    ours = {
        "exp": lambda: _core.exponential(x, y),
        "tanh": lambda: _core.activate("tanh", x, y),
        "sigmoid": lambda: _core.activate("sigmoid", x, y),
        "softmax": lambda: _core.softmax(x, y),
    }
    plain = {
        "exp": lambda: np.exp(x, out=y),
        "tanh": lambda: np.tanh(x, out=y),
        "sigmoid": lambda: np.copyto(y, sigmoid(x)),
        "softmax": lambda: np.copyto(y, softmax(x)),
    }
    exact = {"exp": np.exp, "tanh": np.tanh, "sigmoid": sigmoid, "softmax": softmax}[name](x.astype(float))
    benchmark((plain if by == "numpy" else ours)[name])
    benchmark.extra_info["largest error, ULP"] = float(np.max(np.abs(y - exact) / np.spacing(exact.astype(np.float32))))
