"""Training: like the textbook, the same bits always, and never in a worse state than before."""

import hashlib
import itertools
import os
import signal
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference

EVERYTHING = {
    "lr": 0.05,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-3,
    "clip_norm": 0.5,
    "clip_value": 0.05,
}
OPTIMIZERS = [
    {"lr": 0.1},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "clip_value": 0.01},
    {"lr": 0.1, "clip_norm": 0.5},
    EVERYTHING,
]


def digest(net):
    return hashlib.sha256(net.params.tobytes()).hexdigest()


# Each activation by the plainest and by everything at once, and each part of an optimizer by two of them.
HUNDRED = [
    *itertools.product(_core.ACTIVATIONS, OPTIMIZERS[::5]),
    *itertools.product(["tanh", "relu"], OPTIMIZERS[1:5]),
]


@pytest.mark.parametrize(
    ("activation", "optimizer"), HUNDRED, ids=lambda of: of if isinstance(of, str) else "-".join(of)
)
def test_hundred_steps_like_the_textbook(activation, optimizer, dtype, digits):
    """1e-10 in float64 and 1e-4 in float32, relative, of every loss; parameters in float64 too. (Of twelve
    seeds, with 4 alone a ReLU in float32 falls to the other side of 0 than in float64: losses then differ by 5e-4.)"""
    X, y = digits
    fast, plain = (kind([64, 24, 18, 10], activation, dtype=dtype, rng=0) for kind in (vg.MLP, reference.MLP))
    a = fast.fit(X[:1000], y[:1000], epochs=5, batch_size=50, optimizer=vg.SGD(**optimizer))
    b = plain.fit(X[:1000], y[:1000], epochs=5, batch_size=50, optimizer=vg.SGD(**optimizer))
    assert len(a.loss) == 100
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-10 if dtype == "float64" else 1e-4)
    if dtype == "float64":
        np.testing.assert_allclose(fast.params, plain.params, rtol=0, atol=1e-10 * np.abs(plain.params).max())
    assert [e["accuracy"] for e in a.epochs] == pytest.approx([e["accuracy"] for e in b.epochs], abs=0.005)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mse", "cross_entropy"])
def test_other_losses_like_the_textbook(loss, digits):
    X, y = digits
    t = np.eye(10)[y] * 0.9 + 0.01
    fast, plain = (kind([64, 24, 10], "tanh", loss, dtype="float64", rng=4) for kind in (vg.MLP, reference.MLP))
    a, b = (net.fit(X, t, epochs=2, batch_size=60, optimizer=vg.SGD(**EVERYTHING)) for net in (fast, plain))
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-10)
    np.testing.assert_allclose(fast.forward(X), plain.forward(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("optimizer", [{"lr": 0.1}, EVERYTHING], ids=["plain", "everything"])
def test_same_bits_whatever_the_threads_and_the_inspection(isa, dtype, optimizer, rng, forced_threads):
    """A net that is large enough for seven threads to be used, 20 steps."""
    X, y = rng.normal(size=(640, 150)), rng.integers(0, 10, 640)
    sizes, batch = [150, 170, 99, 10], 64
    assert vg.MLP(sizes, rng=0)._engine.core.threads_for(batch, 7) == 7
    digests = set()
    for threads, inspect_every in ((1, 0), (2, 0), (3, 0), (4, 0), (7, 0), (1, 1), (2, 1), (7, 3)):
        net = vg.MLP(sizes, "tanh", dtype=dtype, rng=0)
        with vg.threads(threads):
            history = net.fit(
                X, y, epochs=2, batch_size=batch, optimizer=vg.SGD(**optimizer), inspect_every=inspect_every
            )
        assert len(history.loss) == 20
        digests.add((digest(net), history.loss.tobytes()))
    assert len(digests) == 1


def test_wide_nets_train_like_the_textbook_in_any_number_of_threads(dtype, rng, forced_threads):
    """Wide enough for every kind of packing, and for blocks to be packed one by one on inspected steps."""
    X, y = rng.normal(size=(96, 530)), rng.integers(0, 3, 96)
    sizes, settings = [530, 610, 520, 3], {"epochs": 2, "batch_size": 48}
    plain = reference.MLP(sizes, "tanh", dtype=dtype, rng=0)
    want = plain.fit(X, y, optimizer=vg.SGD(0.05, 0.9), **settings).loss
    digests = set()
    for threads, inspect_every in ((1, 0), (1, 1), (2, 0), (3, 1)):
        net = vg.MLP(sizes, "tanh", dtype=dtype, rng=0)
        with vg.threads(threads):
            got = net.fit(X, y, optimizer=vg.SGD(0.05, 0.9), inspect_every=inspect_every, **settings).loss
        np.testing.assert_allclose(got, want, rtol=1e-10 if dtype == "float64" else 1e-4)
        digests.add(digest(net))
    assert len(digests) == 1


def test_a_shorter_last_batch_has_room(rng, forced_threads):
    """Of fewer rows more columns are packed at a time: 512 need more scratch than 820."""
    X, y = rng.normal(size=(1332, 800)).astype(np.float32), rng.integers(0, 10, 1332)
    digests = set()
    for threads in (1, 2):
        with vg.threads(threads):
            net = vg.MLP([800, 800, 10], rng=0)
            net.fit(X, y, epochs=1, batch_size=820, optimizer=vg.SGD(lr=0.1))
            digests.add(digest(net))
    assert len(digests) == 1


@pytest.mark.parametrize("decades", [0, 12, 30])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_records_do_not_depend_on_threads(rng, decades, momentum, forced_threads):
    """Nor where a thread begins among gradients and weights of very different sizes."""
    X, y = rng.normal(size=(256, 450)), rng.integers(0, 10, 256)
    exponents = np.repeat(rng.uniform(-decades, 0, 75), 6)
    X *= 10**exponents
    found = set()
    for threads in (1, 2, 5):
        with vg.threads(threads):
            net = vg.MLP([450, 170, 99, 10], rng=0)
            net.weights[0][:] *= 10 ** exponents[:, None]
            optimizer = vg.SGD(lr=0.01, momentum=momentum)
            history = net.fit(X, y, epochs=2, batch_size=64, optimizer=optimizer, inspect_every=1)
        found.add(history.gradients.tobytes())
    assert len(found) == 1


def test_steps_are_a_fit(digits):
    """Step by step with the same optimizer, velocity included, gives the bits of fit without shuffling."""
    X, y = digits[0][:320], digits[1][:320]
    nets = [vg.MLP([64, 30, 10], rng=0) for _ in range(2)]
    nets[0].fit(X, y, epochs=1, batch_size=32, shuffle=False, optimizer=vg.SGD(0.1, 0.9))
    optimizer = vg.SGD(0.1, 0.9)
    for i in range(0, 320, 32):
        nets[1].step(X[i : i + 32], y[i : i + 32], optimizer)
    assert digest(nets[0]) == digest(nets[1])


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda o: "-".join(o))
def test_repeated_steps_are_first_steps(dtype, loss, settings, digits):
    """From the second call with the same size on, step takes a short way; a net that is copied before each call, and
    so never does, gives the same bits."""
    X = digits[0].astype(dtype)
    y = digits[1] if loss == "cross_entropy" else np.eye(10, dtype=dtype)[digits[1]]
    net = vg.MLP([64, 20, 10], loss=loss, dtype=dtype, rng=0)
    other, optimizer = net.copy(), vg.SGD(**settings)
    for i, rows in enumerate([32] * 5 + [7] * 4 + [32] * 3):
        part = slice(i * 32, i * 32 + rows)
        fresh, own = other.copy(), vg.SGD(**settings)
        for state in net._states.list_living():
            fresh._states.put(own, state.copy())
        assert net.step(X[part], y[part], optimizer) == fresh.step(X[part], y[part], own)
        other = fresh
        np.testing.assert_array_equal(net.params, other.params)


def test_the_short_way_sees_every_change(digits):
    """Whatever is not as the step before had it: another rate, a reset, more threads, other labels."""
    X, y = digits[0][:64], digits[1][:64]

    def warm():
        net, optimizer = vg.MLP([64, 30, 10], rng=0), vg.SGD(0.1, 0.9)
        for _ in range(3):
            net.step(X, y, optimizer)
        return net, optimizer

    net, optimizer = warm()
    reference_loss = net.step(X, y, optimizer)
    for change in (
        lambda net, optimizer: setattr(optimizer, "lr", 0.2),
        lambda net, optimizer: optimizer.reset(),
        lambda net, optimizer: setattr(optimizer, "momentum", 0.0),
        lambda net, optimizer: net.weights.__setitem__(0, net.weights[0] * 2),
    ):
        other, its = warm()
        change(other, its)
        other.step(X, y, its)
        assert not (other.params == net.params).all()
    for same in (X.copy(), np.asfortranarray(X), X.astype(np.float64), X.tolist(), np.ma.array(X)):
        for labels in (y.astype(np.int32), y.astype(np.uint8), y.tolist()):
            other, its = warm()
            assert other.step(same, labels, its) == reference_loss
            np.testing.assert_array_equal(other.params, net.params)
    own = vg.MLP([64, 64], loss="mse", rng=0)
    for _ in range(3):
        own.step(own.weights[0], own.weights[0].copy())
    plain = reference.MLP([64, 64], loss="mse", rng=0)
    for _ in range(3):
        plain.step(plain.weights[0].copy(), plain.weights[0].copy())
    np.testing.assert_allclose(own.params, plain.params, rtol=0, atol=1e-5)


def test_steps_hold_on_to_no_data(digits):
    X, y = digits[0][:64].copy(), digits[1][:64].copy()
    net = vg.MLP([64, 10], rng=0)
    for _ in range(3):
        net.step(X, y)
    X.resize((3, 3), refcheck=False)
    y.resize(2, refcheck=False)
    net.step(digits[0][:64], digits[1][:64])


def test_history_and_callbacks(digits):
    X, y = digits
    seen = []

    def callback(net, history):
        seen.append(len(history.loss))
        return len(seen) == 3

    shown = []
    net = vg.MLP([64, 30, 10], rng=0)
    history = net.fit(
        X,
        y,
        epochs=9,
        batch_size=100,
        validation_data=(X[:300], y[:300]),
        inspect_every=7,
        callbacks=[callback],
        progress=lambda done, total, h: shown.append((done, total, len(h.loss))),
    )
    assert seen == [18, 36, 54]
    assert history.loss.shape == (54,)
    assert len(history.epochs) == 3
    assert set(history.epochs[0]) == {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    assert history.epochs[-1]["val_loss"] == net.evaluate(X[:300], y[:300]).loss
    assert history.steps.tolist() == list(range(0, 54, 7))
    assert history.gradients.shape == (8, 2)
    assert all(done == n and total == 162 for done, total, n in shown)
    assert shown[-1][0] == 54
    weights = [100] * 17 + [97]
    assert history.epochs[0]["loss"] == pytest.approx(np.average(history.loss[:18], weights=weights))


def test_huge_values_take_the_careful_way(digits):
    """Inputs of 1e12 trip the guard in every step; the losses are those of plain arithmetic."""
    X, y = digits[0][:100] * np.float32(1e12), digits[1][:100]
    fast, plain = (kind([64, 10], rng=0, dtype="float32") for kind in (vg.MLP, reference.MLP))
    a, b = (net.fit(X, y, epochs=3, batch_size=20, optimizer=vg.SGD(lr=1e-26)) for net in (fast, plain))
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("settings", [{"lr": 1e9}, {"lr": 1e9, "momentum": 0.9, "weight_decay": 0.1}])
def test_divergence_leaves_the_last_good_step(threads, settings, dtype, rng, forced_threads):
    X, y = rng.normal(size=(256, 150)), rng.normal(size=(256, 3))
    sizes = [150, 170, 99, 3]
    net = vg.MLP(sizes, "relu", "mse", dtype=dtype, rng=0)
    used = vg.SGD(**settings)
    with vg.threads(threads), pytest.raises(vg.DivergenceError) as caught:
        net.fit(X, y, epochs=400, batch_size=64, shuffle=False, optimizer=used)
    error = caught.value
    assert f"step {error.step} " in str(error)
    assert f"layer {error.layer}" in str(error)
    assert "lower lr (it is 1e+09)" in str(error)
    assert np.isfinite(net.params).all()
    again = vg.MLP(sizes, "relu", "mse", dtype=dtype, rng=0)
    optimizer = vg.SGD(**settings)
    for step in range(error.step):
        rows = slice(step % 4 * 64, step % 4 * 64 + 64)
        again.step(X[rows], y[rows], optimizer)
    assert digest(again) == digest(net)
    if "momentum" in settings:
        np.testing.assert_array_equal(
            again._states.list_living()[0].vectors[0], net._states.list_living()[0].vectors[0]
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "more", [{}, {"momentum": 0.9}, {"weight_decay": 0.5}, {"clip_norm": 1.0}, {"clip_value": 1.0}]
)
@pytest.mark.parametrize("size", [1.0, 1e4, 1e8])
def test_no_rate_and_no_input_leaves_anything_that_is_not_finite(isa, dtype, more, size, rng):
    """Powers of ten of lr: a step either leaves finite parameters or raises and changes nothing."""
    X, y = rng.normal(size=(8, 3)) * size, rng.normal(size=(8, 2)) * size
    refused = 0
    for power in range(0, 39, 3) if dtype == "float32" else range(0, 309, 18):
        net, optimizer = vg.MLP([3, 4, 2], "relu", "mse", dtype=dtype, rng=0), vg.SGD(10.0**power, **more)
        for _ in range(3):
            before = net.params.copy()
            try:
                net.step(X, y, optimizer)
            except vg.DivergenceError:
                refused += 1
                np.testing.assert_array_equal(net.params, before)
                break
            assert np.isfinite(net.params).all(), (power, before)
    assert refused > 0


def test_rates_beyond_the_dtype_are_refused():
    net = vg.MLP([3, 2], rng=0)
    for kwargs in ({"lr": 1e39}, {"lr": 0.1, "weight_decay": 1e39}):
        with pytest.raises(
            ValueError, match=r"must be from 1.40\d+e-45 to 3.40\d+e\+38 for a net of float32, got 1e\+39"
        ):
            net.step(np.eye(3), [0, 1, 0], vg.SGD(**kwargs))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_told(bad):
    net = vg.MLP([3, 4, 2], rng=0)
    with pytest.raises(ValueError, match=r"weights\[0\] has (NaN|infinity)"):
        net.weights[0] = np.full((3, 4), bad)
    net.weights[0][:, 0] = bad
    for call in (net.step, lambda X, y: net.fit(X, y, batch_size=3)):
        with pytest.raises(vg.DivergenceError, match="parameters already hold NaN or infinity"):
            call(np.eye(3), [0, 1, 0])


def test_labels_that_change_during_training_are_not_read(digits):
    X, y = digits[0], digits[1].astype(np.int32)
    nets = [vg.MLP([64, 10], rng=0) for _ in range(2)]
    nets[0].fit(X, y, epochs=2)

    def spoil(*_):
        y[:] = 10**9

    nets[1].fit(X, y, epochs=2, callbacks=[spoil])
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: "-".join(o))
def test_the_careful_way_is_the_textbooks(optimizer, rng):
    """Float64 inputs of 1e40 trip the guard in every step; parameters and velocity are those of plain arithmetic."""
    X, y = rng.normal(size=(60, 5)) * 1e40, rng.normal(size=(60, 2))
    settings = {**optimizer, "lr": optimizer["lr"] * 1e-80}
    if "weight_decay" in settings:
        settings["weight_decay"] *= 1e80
    nets = [kind([5, 7, 2], "tanh", "mse", dtype="float64", rng=0) for kind in (vg.MLP, reference.MLP)]
    optimizers = [vg.SGD(**settings) for _ in nets]
    for net, sgd in zip(nets, optimizers, strict=True):
        net.weights[0][...] *= 1e-40
        net.fit(X, y, epochs=4, batch_size=20, optimizer=sgd)
    scale = np.abs(nets[1].params).max()
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-10, atol=1e-12 * scale)
    if "momentum" in optimizer:
        velocities = [net._states.list_living()[0].vectors[0] for net in nets]
        np.testing.assert_allclose(*velocities, rtol=1e-9, atol=1e-12 * np.abs(velocities[1]).max())


def test_huge_parameters_are_looked_at_before_the_first_step():
    """With inputs of 0 nothing but the decay itself shows that the update would overflow."""
    net = vg.MLP([3, 2], rng=0)
    net.weights[0] = np.full((3, 2), 1e38)
    before = net.params.copy()
    with pytest.raises(vg.DivergenceError, match="updated weights of layer 1"):
        net.step(np.zeros((4, 3)), [0, 1, 0, 1], vg.SGD(lr=1.0, weight_decay=1e3))
    np.testing.assert_array_equal(net.params, before)


def test_a_callback_may_change_the_optimizer(digits):
    X, y = digits
    losses = []
    for kind in (vg.MLP, reference.MLP):
        optimizer = vg.SGD(0.1)

        def callback(net, history, optimizer=optimizer):
            optimizer.lr *= 0.5
            optimizer.momentum = 0.9 if len(history.epochs) == 2 else optimizer.momentum

        losses.append(
            kind([64, 10], dtype="float64", rng=0).fit(X, y, 4, optimizer=optimizer, callbacks=[callback]).loss
        )
    np.testing.assert_allclose(*losses, rtol=1e-10)


def test_numpys_true_stops_too(digits):
    history = vg.MLP([64, 10], rng=0).fit(*digits, callbacks=[lambda net, h: h.loss[-1] < 1e9])
    assert len(history.epochs) == 1


def test_ctrl_c_is_answered_and_leaves_a_whole_step(digits, ctrl_c):
    """The parameters are those after the steps of which a callback was told, or one more; five times."""
    X, y = digits[0][:64], digits[1][:64]
    for _ in range(5):
        net, again = (vg.MLP([64, 128, 64, 10], rng=0) for _ in range(2))
        started, steps = threading.Event(), []

        def interrupt(started=started):
            started.wait()
            os.kill(os.getpid(), signal.SIGINT)

        def told(net, history, steps=steps, started=started):
            steps.append(len(history.loss))
            started.set()

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, y, epochs=10**6, batch_size=64, shuffle=False, callbacks=[told])
        thread.join()
        for _ in range(steps[-1]):
            again.step(X, y)
        if (again.params != net.params).any():
            again.step(X, y)
        np.testing.assert_array_equal(again.params, net.params)


def test_c_looks_up_within_an_epoch(rng, ctrl_c):
    """Which is when Ctrl-C is answered: not only when all steps of the epoch are done."""
    X, y = rng.random((50_000, 64), dtype=np.float32), rng.integers(0, 10, 50_000)
    told = []

    def interrupt(done, total, history):
        told.append((done, total))
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        vg.MLP([64, 128, 64, 10], rng=0).fit(X, y, batch_size=1, progress=interrupt)
    assert len(told) == 1
    assert told[0][0] < told[0][1]
