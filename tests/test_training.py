"""Training: like the textbook, the same bits always, and never in a worse state than before."""

import hashlib
import os
import signal
import threading
import time

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


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_hundred_steps_like_the_textbook(activation, optimizer, dtype, digits):
    """1e-10 in float64 and 1e-4 in float32, relative, of every loss; parameters in float64 too."""
    X, y = digits
    fast, plain = (kind([64, 24, 18, 10], activation, dtype=dtype, rng=4) for kind in (vg.MLP, reference.MLP))
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
def test_same_bits_whatever_the_threads_and_the_inspection(isa, dtype, optimizer, rng):
    """A net that is large enough for seven threads to be used, 200 steps."""
    X, y = rng.normal(size=(640, 150)), rng.integers(0, 10, 640)
    sizes, batch = [150, 170, 99, 10], 64
    assert vg.MLP(sizes, rng=0)._core.threads_for(batch, 7) == 7
    digests = set()
    for threads, inspect_every in ((1, 0), (2, 0), (3, 0), (4, 0), (7, 0), (1, 1), (2, 1), (7, 3)):
        net = vg.MLP(sizes, "tanh", dtype=dtype, rng=0)
        with vg.threads(threads):
            history = net.fit(
                X, y, epochs=20, batch_size=batch, optimizer=vg.SGD(**optimizer), inspect_every=inspect_every
            )
        assert len(history.loss) == 200
        digests.add((digest(net), history.loss.tobytes()))
    assert len(digests) == 1


def test_records_do_not_depend_on_threads(rng):
    X, y = rng.normal(size=(256, 150)), rng.integers(0, 10, 256)
    found = set()
    for threads in (1, 2, 5):
        with vg.threads(threads):
            history = vg.MLP([150, 170, 99, 10], rng=0).fit(X, y, epochs=2, batch_size=64, inspect_every=1)
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
    weights = [100] * 17 + [97]
    assert history.epochs[0]["loss"] == pytest.approx(np.average(history.loss[:18], weights=weights))


def test_huge_values_take_the_careful_way_to_the_same_bits(monkeypatch, digits):
    """Inputs of 1e12 trip the guard in every step; the result is that of plain arithmetic."""
    X, y = digits[0][:100] * np.float32(1e12), digits[1][:100]
    fast, plain = (kind([64, 10], rng=0, dtype="float32") for kind in (vg.MLP, reference.MLP))
    a, b = (net.fit(X, y, epochs=3, batch_size=20, optimizer=vg.SGD(lr=1e-26)) for net in (fast, plain))
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", [{"lr": 1e9}, {"lr": 1e9, "momentum": 0.9, "weight_decay": 0.1}])
def test_divergence_leaves_the_last_good_step(threads, optimizer, dtype, rng):
    X, y = rng.normal(size=(256, 150)), rng.normal(size=(256, 3))
    sizes = [150, 170, 99, 3]
    net = vg.MLP(sizes, "relu", "mse", dtype=dtype, rng=0)
    with vg.threads(threads), pytest.raises(vg.DivergenceError) as caught:
        net.fit(X, y, epochs=400, batch_size=64, shuffle=False, optimizer=vg.SGD(**optimizer))
    error = caught.value
    assert f"step {error.step} " in str(error)
    assert f"layer {error.layer}" in str(error)
    assert "lower lr (it is 1e+09)" in str(error)
    assert np.isfinite(net.params).all()
    again = vg.MLP(sizes, "relu", "mse", dtype=dtype, rng=0)
    optimizer = vg.SGD(**optimizer)
    for step in range(error.step):
        rows = slice(step % 4 * 64, step % 4 * 64 + 64)
        again.step(X[rows], y[rows], optimizer)
    assert digest(again) == digest(net)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "more", [{}, {"momentum": 0.9}, {"weight_decay": 0.5}, {"clip_norm": 1.0}, {"clip_value": 1.0}]
)
@pytest.mark.parametrize("size", [1.0, 1e4, 1e8])
def test_no_rate_and_no_input_leaves_anything_that_is_not_finite(isa, dtype, more, size, rng):
    """Every power of ten of lr: a step either leaves finite parameters or raises and changes nothing."""
    X, y = rng.normal(size=(8, 3)) * size, rng.normal(size=(8, 2)) * size
    refused = 0
    for power in range(0, 39 if dtype == "float32" else 309, 3):
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
        with pytest.raises(ValueError, match=r"must be at most 3.4e\+38 for a net of float32, got 1e\+39"):
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


def test_ctrl_c_is_answered_and_leaves_a_whole_step(digits):
    X, y = digits
    net = vg.MLP([64, 128, 64, 10], rng=0)
    sent = []

    def interrupt():
        time.sleep(0.3)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y, epochs=10**6)
    late = time.perf_counter() - sent[0]
    thread.join()
    assert late < 0.5  # 0.05 on a quiet machine
    assert np.isfinite(net.params).all()
    net.fit(X, y, epochs=1)


def test_one_net_in_two_threads_is_refused(digits):
    X, y = digits
    net = vg.MLP([64, 128, 64, 10], rng=0)
    stop, errors = threading.Event(), []
    started = threading.Event()

    def train():
        net.fit(X, y, epochs=10**6, callbacks=[lambda *_: started.set() or stop.is_set()])

    thread = threading.Thread(target=train)
    thread.start()
    started.wait()
    for call in (lambda: net.fit(X, y), lambda: net.step(X, y)):
        with pytest.raises(RuntimeError, match=r"being trained in another thread.*copy"):
            call()
    assert net.predict(X).shape == (len(X),)  # looking on is allowed
    stop.set()
    thread.join()
    assert not errors
    net.step(X, y)


def test_two_nets_in_two_threads(rng):
    """The team serves one, the other goes on alone: the same bits as one after the other."""
    X, y = rng.normal(size=(640, 150)), rng.integers(0, 10, 640)

    def train(out, i):
        net = vg.MLP([150, 170, 99, 10], rng=i)
        net.fit(X, y, epochs=10, batch_size=64)
        out[i] = digest(net)

    with vg.threads(2):
        alone, together = {}, {}
        for i in range(4):
            train(alone, i)
        workers = [threading.Thread(target=train, args=(together, i)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert alone == together


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_trains_on_one_thread(rng):
    X, y = rng.normal(size=(640, 150)), rng.integers(0, 10, 640)
    with vg.threads(2):
        net = vg.MLP([150, 170, 99, 10], rng=0)
        net.fit(X, y, epochs=1, batch_size=64)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                net.fit(X, y, epochs=1, batch_size=64, shuffle=False)
                os.write(write, digest(net).encode())
            finally:
                os._exit(0)
        os.close(write)
        net.fit(X, y, epochs=1, batch_size=64, shuffle=False)
        assert os.read(read, 64).decode() == digest(net)
        os.waitpid(child, 0)
        os.close(read)


def test_the_gil_is_free_during_training(digits):
    X, y = digits
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    with vg.threads(1):
        thread.start()
        vg.MLP([64, 128, 64, 10], rng=0).fit(X, y, epochs=100)
        stop.set()
    thread.join()
    assert len(ticks) > 10
