"""What a step is said to do, beside a step whose every number says what is done with it."""

import math
from itertools import pairwise

import numpy as np
import pytest

import vgfast as vg
from vgfast.bench import loops
from vgfast.cost import counts
from vgfast.cost.counts import count_step
from vgfast.model.architecture import Architecture


class Counter:
    """What has been done so far in this phase."""

    def __init__(self, item):
        self.item = item
        self.rows = {}
        self.layer, self.phase, self.seen = 0, "", set()

    def begin(self, layer, phase, fused=False):
        self.layer, self.phase = layer, phase
        self.seen = self.seen if fused else set()
        self.of()

    def of(self):
        return self.rows.setdefault((self.layer, self.phase), [0, 0, 0, 0])

    def operation(self):
        self.of()[0] += 1

    def function(self):
        self.of()[1] += 1

    def touch(self, what, array, index, item):
        """A number that is read or written in this phase, for the first time."""
        if (what, id(array), index) not in self.seen:
            self.seen.add((what, id(array), index))
            self.of()[2 + (what == "written")] += item


class Number:
    """A float that tells of each operation."""

    counter: Counter

    def __init__(self, value):
        self.value = float(value)

    def __neg__(self):
        return Number(-self.value)

    def __abs__(self):
        return Number(abs(self.value))

    def __float__(self):
        return self.value


def _operation(name):
    def method(self, other):
        self.counter.operation()
        result = getattr(self.value, name)(float(other))
        return Number(result) if isinstance(result, float) else result

    return method


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv"):
    setattr(Number, f"__{_name}__", _operation(f"__{_name}__"))
for _name in ("gt", "lt"):
    setattr(Number, f"__{_name}__", _operation(f"__{_name}__"))


class Functions:
    """``math``, counted."""

    def __getattr__(self, name):
        def function(value):
            Number.counter.function()
            return Number(getattr(math, name)(float(value)))

        return function


ALIVE: list = []  # vectors, so that no two have the same id


class Vector:
    """Numbers in memory: each reading and writing is told of."""

    def __init__(self, values, item=None):
        self.values, self.item = list(values), item
        ALIVE.append(self)

    def __len__(self):
        return len(self.values)

    def _bytes(self):
        return Number.counter.item if self.item is None else self.item

    def __getitem__(self, i):
        value = self.values[i]  # an IndexError ends a loop
        Number.counter.touch("read", self, i, self._bytes())
        return value

    def __setitem__(self, i, value):
        Number.counter.touch("written", self, i, self._bytes())
        self.values[i] = value if isinstance(value, Number) else Number(value)  # as max(z, 0.0) is, of z below 0


def numbers(matrix):
    return [Vector(Number(value) for value in row) for row in matrix]


def in_memory(rows, written=True):
    """A matrix that a phase has made, whose numbers it writes once; or that is still on its way."""
    made = [row if isinstance(row, Vector) else Vector(row) for row in rows]
    for row in made:
        for i in range(len(row)):
            if written:
                Number.counter.touch("written", row, i, Number.counter.item)
    return made


def leaves(matrix):
    """What a product has left in registers: its activation does not read it, and writes it once, whatever it did."""
    for row in matrix:
        for i in range(len(row)):
            Number.counter.seen.add(("read", id(row), i))
            Number.counter.touch("written", row, i, Number.counter.item)


def counted_step(monkeypatch, weights, biases, activations, loss, X, y, order, item):
    """The rows {(layer, phase): [flops, functions, read, written]} of ``loops.step``."""
    counter = Number.counter = Counter(item)
    monkeypatch.setattr(loops, "math", Functions())
    real = {name: getattr(loops, name) for name in ("gather", "forward", "activate", "backward", "differentiate")}
    real_update, real_loss = loops.update, loops.LOSSES[loss]

    def gather(X, order):
        counter.begin(0, "gather")
        return in_memory(real["gather"](X, order))

    def forward(a, W, l):
        counter.begin(l, "forward")
        return in_memory(real["forward"](a, W, l), written=False)

    def activate(z, b, activation):
        counter.begin(counter.layer, "activation", fused=True)
        leaves(z)
        derivatives = real["activate"](z, b, activation)
        return in_memory(derivatives)

    def loss_of(z, t, losses):
        counter.begin(len(weights), "loss")
        return in_memory(real_loss(z, t, losses))

    def backward(delta, W, l):
        counter.begin(l, "dX")
        return in_memory(real["backward"](delta, W, l), written=False)

    def differentiate(d, a, derivatives, activation):
        counter.begin(counter.layer - 1, "activation", fused=True)
        leaves(d)
        real["differentiate"](d, a, derivatives, activation)

    def update(W, b, a, delta, l, lr):
        counter.begin(l, "dW + update")
        real_update(W, b, a, delta, l, lr)

    for function in (gather, forward, activate, backward, differentiate, update):
        monkeypatch.setattr(loops, function.__name__, function)
    monkeypatch.setitem(loops.LOSSES, loss, loss_of)
    losses = Vector([Number(0)] * len(order), item=8)
    monkeypatch.setattr(loops, "_no_losses", lambda n: losses)
    loops.step(weights, biases, activations, loss, X, y, order, 0.1)
    return counter.rows


NETS = [
    ([3, 4, 2], "relu", "cross_entropy", 5),
    ([3, 4, 2], "sigmoid", "cross_entropy", 1),
    ([2, 2], "relu", "cross_entropy", 3),
    ([5, 1, 3], "tanh", "mse", 4),
    ([4, 3, 2, 2], "leaky_relu", "mse", 2),
    ([4, 3, 2, 2], ["sigmoid", "identity"], "binary_cross_entropy", 3),
    ([1, 1, 1], "identity", "mse", 1),
    ([6, 2, 3, 4, 5], ["tanh", "relu", "leaky_relu"], "cross_entropy", 6),
    ([2, 7, 1], "tanh", "binary_cross_entropy", 8),
    ([3, 3, 3, 3], "sigmoid", "mse", 7),
]


@pytest.mark.parametrize(("sizes", "activation", "loss", "rows"), NETS)
def test_counts_are_those_of_a_step_in_python(monkeypatch, rng, sizes, activation, loss, rows, dtype):
    net = vg.reference.MLP(sizes, activation, loss, rng=0)
    described = Architecture.checked(sizes, activation, loss, dtype)
    item = described.dtype.itemsize
    X = rng.normal(size=(rows + 2, sizes[0]))
    order = Vector(rng.permutation(rows + 2)[:rows].tolist(), item=8)
    if loss == "cross_entropy":
        y = Vector(rng.integers(0, sizes[-1], rows).tolist(), item=4)
    else:
        y = numbers(rng.random((rows, sizes[-1])))
    weights, biases = [numbers(w) for w in net.weights], [Vector(map(Number, b)) for b in net.biases]
    kinds = (*net.activations, "identity")
    found = counted_step(monkeypatch, weights, biases, kinds, loss, numbers(X), y, order, item)
    said = {(r.layer, r.phase): [r.flops, r.functions, r.read, r.written] for r in count_step(described, rows)}
    assert said == found


@pytest.mark.parametrize(("sizes", "activation", "loss", "rows"), NETS)
def test_the_loops_take_the_step_of_the_textbook(rng, sizes, activation, loss, rows):
    net = vg.reference.MLP(sizes, activation, loss, dtype="float64", init="normal", rng=1)
    X = rng.normal(size=(rows, sizes[0]))
    y = rng.integers(0, sizes[-1], rows) if loss == "cross_entropy" else rng.random((rows, sizes[-1]))
    order = rng.permutation(rows)
    weights, biases = [w.tolist() for w in net.weights], [b.tolist() for b in net.biases]
    losses = loops.step(
        weights, biases, (*net.activations, "identity"), loss, X.tolist(), y[order].tolist(), order.tolist(), 0.3
    )
    mean = net.step(X[order], y[order], vg.SGD(lr=0.3))
    assert np.mean(losses) / (1 if loss == "cross_entropy" else sizes[-1]) == pytest.approx(mean, rel=1e-12)
    for ours, exact in zip([*weights, *biases], [*net.weights, *net.biases], strict=True):
        # each is a sum of some dozen rounded terms of size 1
        np.testing.assert_allclose(np.array(ours), exact, rtol=1e-12, atol=1e-14)


def test_the_large_counts_are_the_products(rng):
    """4 B m n for the first layer, 6 B m n for the others: what the benchmarks count."""
    sizes, B = [784, 2048, 2048, 10], 512
    net = Architecture.checked(sizes)
    rows = count_step(net, B)
    products = sum((4 if l == 0 else 6) * B * m * n for l, (m, n) in enumerate(pairwise(sizes)))
    assert products < sum(row.flops for row in rows) < 1.01 * products
    assert counts.working_set(net, B) > 4 * vg.MLP(sizes, rng=rng).n_params
