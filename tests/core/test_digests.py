"""The bits of trainings: parameters, losses and records of 40 nets after 50 steps, as they were when they were kept in
digests.json. They show a change of arithmetic that no tolerance would; one that is meant is kept anew by

    python tests/core/test_digests.py

Data, weights and rates come from raw random bits and exact arithmetic, so that they depend on no library's version.
"""

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

KEPT = Path(__file__).with_name("digests.json")
THREADS = 1, 2, 3, 7
STEPS = 50
# What was recorded of a layer when the digests were first kept.
QUANTITIES = [
    "grad_norm",
    "bias_grad_norm",
    "weight_norm",
    "delta_norm",
    "speed",
    "weight_gain",
    "activation_gain",
    "gain",
    "mean_derivative",
    "saturated",
    "dead",
    "update_ratio",
    "frozen",
    "stuck",
    "zero",
    "subnormal",
    "max_abs",
    "sample_norm",
    "noise_scale",
]


def uniform(seed, *shape):
    """float64 from -1 to 1."""
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1).reshape(shape)


ACTIVATIONS = "identity", "sigmoid", "tanh", "relu", "leaky_relu"
LOSSES = "cross_entropy", "binary_cross_entropy", "mse"
RATES = [
    {"lr": 0.125},
    {"lr": 0.03125, "momentum": 0.875},
    {"lr": 0.03125, "momentum": 0.875, "nesterov": True},
    {"lr": 0.125, "weight_decay": 0.0078125},
    {"lr": 0.125, "clip_norm": 0.0625},
    {"lr": 0.125, "clip_value": 0.00390625},
    {"lr": 0.0625, "momentum": 0.5, "weight_decay": 0.0078125, "clip_norm": 0.25},
]
PLAIN = RATES[0]


def nets():
    """{name: (sizes, activations, loss, batch, optimizer's settings, inspect_every, what is inspected)}"""
    found = {}
    for i, kind in enumerate(ACTIVATIONS):
        for j, loss in enumerate(LOSSES):
            n_out = 5 if loss == "cross_entropy" else 1 + j
            sizes = [7 + 6 * i, 19 + 13 * j, 13 + 5 * i, n_out]
            found[f"{kind}, {loss}"] = (sizes, kind, loss, 16 + i, RATES[(3 * i + j) % len(RATES)], 4, "scalars")
    shapes = {
        "one weight": ([1, 1], 4),
        "one unit": ([3, 1, 2], 8),
        "no hidden layer": ([100, 3], 32),
        "digits": ([64, 30, 10], 10),
        "tiny": ([20, 40, 40, 2], 16),
        "deep": ([16, *[30] * 12, 10], 32),
        "prime": ([257, 131, 67, 11], 61),
        "wide": ([5, 300, 4], 24),
        "narrow": ([40, 3, 40, 3], 50),
        "large": ([784, 256, 128, 10], 48),
        "one row": ([12, 18, 4], 1),
        "three rows": ([12, 18, 4], 3),
    }
    for i, (name, (sizes, batch)) in enumerate(shapes.items()):
        loss = "mse" if sizes[-1] == 1 else "cross_entropy"
        found[name] = (sizes, ACTIVATIONS[1 + i % 4], loss, batch, RATES[i % len(RATES)], 0 if i % 2 else 7, "scalars")
    for i, settings in enumerate(RATES):
        found[f"mixed, {i}"] = (
            [23, 17, 29, 16, 8, 6],
            list(ACTIVATIONS[1:]),
            "cross_entropy",
            33,
            settings,
            3,
            "scalars",
        )
    for i, kind in enumerate(ACTIVATIONS[1:]):
        found[f"histograms, {kind}"] = ([33, 21, 9, 4], kind, "cross_entropy", 20, RATES[i], 5, "histograms")
    found["probabilities"] = ([10, 20, 6], "tanh", "probabilities", 12, PLAIN, 5, "scalars")
    found["probabilities, many"] = ([10, 20, 67], "relu", "probabilities", 64, RATES[2], 0, "scalars")
    return found


NETS = nets()


def data(sizes, loss, rows):
    """X (rows, n_in) and y, of which each row's is another's."""
    X, y = uniform(1, rows, sizes[0]), uniform(2, rows, sizes[-1])
    if loss == "cross_entropy":
        return X, y.argmax(axis=1)
    if loss == "mse":
        return X, y
    y = np.round((y + 1) * 8) / 16  # multiples of 1/16, from 0 to 1
    if loss == "probabilities":
        y[:, 0] = 1
        y[:, 1:] = np.where(np.arange(1, y.shape[1]) == 1 + np.arange(rows)[:, None] % (y.shape[1] - 1), y[:, 1:], 0)
        y[:, 0] -= y[:, 1:].sum(axis=1)
    return X, y


def trained(name, dtype):
    """The digest of this net after its steps: all but two in ``fit``, whose last batch of an epoch is a smaller one."""
    sizes, kinds, loss, batch, settings, every, inspect = NETS[name]
    X, y = data(sizes, loss, 3 * batch + (batch + 1) // 2)
    net = vg.MLP(sizes, kinds, loss if loss != "probabilities" else "cross_entropy", "zeros", dtype)
    for l, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        w[...] = uniform(10 + l, *w.shape) * 2.0 ** -((len(w).bit_length() + 1) // 2)
        b[...] = uniform(100 + l, len(b)) / 8
    optimizer = vg.SGD(**settings)
    history = net.fit(X, y, (STEPS - 2) // 4, batch, optimizer, shuffle=False, inspect_every=every, inspect=inspect)
    losses = [net.step(X[:batch], y[:batch], optimizer) for _ in range(2)]
    digest = hashlib.sha256(net.params.tobytes() + history.loss.tobytes() + np.array(losses).tobytes())
    for quantity in QUANTITIES:
        digest.update(np.ascontiguousarray(history.gradients[quantity]).tobytes())
    if history.exponents is not None:
        digest.update(history.exponents.tobytes())
    return digest.hexdigest()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kept on x86-64")
@pytest.mark.parametrize("name", NETS)
def test_bits_are_as_they_were(name, dtype, isa, forced_threads):
    expected = json.loads(KEPT.read_text())[name][dtype][isa]
    for n in THREADS:
        with vg.threads(n):
            assert trained(name, dtype) == expected, f"{n} threads"


def keep():
    found = {}
    for name in NETS:
        found[name] = {dtype: {} for dtype in ("float32", "float64")}
        for isa in _core.isas():
            _core.use_isa(isa)
            for dtype, of in found[name].items():
                of[isa] = trained(name, dtype)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(of)}" for name, of in found.items())
    KEPT.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    keep()
