"""An L2 penalty that is part of the loss, divided by the rows of each batch: scikit-learn's alpha."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 11))
Y = RNG.integers(0, 4, 90)
WEIGHTS = RNG.uniform(0.2, 3, 90)
SIZES = [11, 53, 17, 4]
MAKERS = {
    "sgd": lambda **decay: vg.SGD(0.05, **decay),
    "momentum": lambda **decay: vg.SGD(0.05, momentum=0.9, nesterov=True, **decay),
    "adam": lambda **decay: vg.Adam(0.01, eps_hat=True, **decay),
    "clipped": lambda **decay: vg.Adam(0.01, clip_norm=0.1, clip_value=0.05, **decay),
}
each_maker = pytest.mark.parametrize("name", MAKERS)


@each_maker
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_each_batch_has_its_own_weight_decay_and_its_loss_the_penalty(name, weighted, kind, isa):
    """The last batch, of 26 rows, too."""
    net, other = (kind(SIZES, "tanh", dtype="float64", rng=0) for _ in range(2))
    optimizer, plain = MAKERS[name](penalty=0.7), MAKERS[name]()
    weights = WEIGHTS if weighted else None
    history = net.fit(X, Y, 2, 32, optimizer, shuffle=False, sample_weight=weights)
    losses = []
    for _ in range(2):
        for rows in (slice(0, 32), slice(32, 64), slice(64, 90)):
            total = WEIGHTS[rows].sum() if weighted else len(X[rows])
            penalty = 0.7 / 2 / total * sum(float((w**2).sum()) for w in other.weights)
            plain.weight_decay = 0.7 / total
            weight = None if weights is None else weights[rows]
            losses.append(other.step(X[rows], Y[rows], plain, sample_weight=weight) + penalty)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-13)
    np.testing.assert_allclose(net.params, other.params, rtol=1e-11, atol=1e-13)
    mean = [np.average(history.loss[i : i + 3], weights=[32, 32, 26]) for i in (0, 3)]
    if not weighted:
        np.testing.assert_allclose([epoch["loss"] for epoch in history.epochs], mean, rtol=1e-13)


@each_maker
def test_bits_do_not_depend_on_threads_or_inspection(name, dtype, isa, forced_threads):
    found = set()
    for n in (1, 2, 5):
        for every in (0, 2):
            net = vg.MLP(SIZES, "tanh", dtype=dtype, rng=0)
            with vg.threads(n):
                history = net.fit(X, Y, 2, 32, MAKERS[name](penalty=0.7), shuffle=False, inspect_every=every)
            found.add((net.params.tobytes(), history.loss.tobytes()))
    assert len(found) == 1


def test_large_batches_in_chunks_and_in_parts_have_it_too(dtype):
    x, y = np.tile(X[:, :3], (30, 1)).astype(dtype), np.tile(Y, 30)
    net, other = vg.MLP([3, 5, 4], dtype=dtype, rng=0), reference.MLP([3, 5, 4], dtype=dtype, rng=0)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for _ in range(3):
        losses = [one.step(x, y, vg.SGD(0.1, penalty=100)) for one in (net, other)]
        np.testing.assert_allclose(*losses, rtol=tolerance)
    np.testing.assert_allclose(net.params, other.params, rtol=0, atol=tolerance)


def test_inspection_takes_it_for_the_weight_decay_that_it_is():
    net, x = vg.MLP(SIZES, "tanh", dtype="float64", rng=0), X[:30]
    by_penalty, by_decay = vg.SGD(0.1, penalty=60), vg.SGD(0.1, weight_decay=2)
    ratios = [net.inspect(x, Y[:30], one, try_remedies=False).records["update_ratio"] for one in (by_penalty, by_decay)]
    np.testing.assert_array_equal(*ratios)
    assert (ratios[0] > 0.15).all()  # 0.2 of W by the decay alone
    history = net.fit(x, Y[:30], 1, 30, by_penalty, inspect_every=1, shuffle=False)
    np.testing.assert_allclose(history.gradients[0]["update_ratio"], ratios[0], rtol=1e-9)


def test_gradients_without_rows_are_refused_and_change_nothing():
    net = vg.MLP(SIZES, rng=0)
    before, gradients = net.params.copy(), net.gradients(X, Y)
    with pytest.raises(ValueError, match=r"n by which penalty=0.5 would be divided; give the optimizer weight_decay="):
        net.apply(gradients, vg.SGD(0.1, penalty=0.5))
    np.testing.assert_array_equal(net.params, before)
    net.apply(gradients, vg.SGD(0.1, weight_decay=0.5 / len(X)))


def test_bad_penalties_are_refused():
    with pytest.raises(ValueError, match="penalty must be at least 0 and finite, got -1"):
        vg.Adam(penalty=-1)
    with pytest.raises(ValueError, match=r"penalty must be from .* for a net of float32, got 1e\+200"):
        vg.MLP(SIZES, rng=0).step(X, Y, vg.SGD(0.1, penalty=1e200))


def test_a_penalty_too_large_for_its_rows_stops_training_and_changes_nothing():
    net = vg.MLP([2, 3, 2], rng=0)
    before = net.params.copy()
    with pytest.raises(vg.DivergenceError):
        net.step(np.eye(2), [0, 1], vg.SGD(1.0, penalty=1e38), sample_weight=[1e-29, 1e-29])
    np.testing.assert_array_equal(net.params, before)
