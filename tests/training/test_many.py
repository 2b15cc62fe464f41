"""Many nets at once: the bits of each alone; errors, and Ctrl-C, that leave all usable."""

import os
import threading
import time

import numpy as np
import pytest

import vgfast as vg
from vgfast.training import many

pytestmark = pytest.mark.any_isa

RNG = np.random.default_rng(8)
X = RNG.normal(size=(90, 5))
Y = RNG.integers(0, 3, len(X))
WEIGHTS = RNG.uniform(0, 2, len(X))


@pytest.fixture(autouse=True)
def several_threads(monkeypatch):
    monkeypatch.setattr(many.config, "get_num_threads", lambda: 3)


def nets(kind=vg.MLP, n=7):
    """Of several kinds."""
    return [kind([5, 4 + i, 3], "tanh", dtype=("float32", "float64")[i % 2], dropout=0.1, rng=i) for i in range(n)]


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
def test_each_comes_to_the_bits_to_which_it_comes_alone(kind):
    together, alone, threads = nets(kind), nets(kind), set()
    how = {
        "epochs": 4,
        "batch_size": 8,
        "inspect_every": 5,
        "validation_data": (X[:9], Y[:9]),
        "sample_weight": WEIGHTS,
    }
    stops = [[vg.EarlyStopping(2), lambda net, history: threads.add(threading.get_ident())] for _ in together]
    optimizers = [vg.Adam(0.003 * (i + 1)) for i in range(7)]
    histories = vg.fit_many(together, X, Y, optimizer=optimizers, callbacks=stops, **how)
    assert threading.get_ident() not in threads
    for i, (net, history) in enumerate(zip(alone, histories, strict=True)):
        same = net.fit(X, Y, optimizer=vg.Adam(0.003 * (i + 1)), callbacks=[vg.EarlyStopping(2)], **how)
        np.testing.assert_array_equal(together[i].params, net.params)
        np.testing.assert_array_equal(history.loss, same.loss)
        assert history.gradients.tobytes() == same.gradients.tobytes()
        assert history is together[i].history


def test_one_optimizer_keeps_a_state_for_each():
    together, alone, optimizer = nets(), nets(), vg.SGD(0.1, momentum=0.9)
    for _ in range(2):
        vg.fit_many(together, X, Y, 2, optimizer=optimizer)
    for net, same in zip(together, alone, strict=True):
        for _ in range(2):
            same.fit(X, Y, 2, optimizer=optimizer)
        np.testing.assert_array_equal(net.params, same.params)


def test_where_some_diverge_the_others_are_trained():
    together, alone = ([vg.MLP([5, 8, 3], rng=i) for i in range(7)] for _ in range(2))
    rates = [1e30 if i in (2, 5) else 0.1 for i in range(7)]
    with pytest.raises(
        vg.DivergenceError, match=r"net 2 of 7: training diverged at step .*, and 1 more net too"
    ) as caught:
        vg.fit_many(together, X, Y, 3, optimizer=[vg.SGD(rate) for rate in rates])
    assert caught.value.history is together[2].history
    assert len(together[5].history.epochs) < 3
    for i in (0, 1, 3, 4, 6):
        alone[i].fit(X, Y, 3, optimizer=vg.SGD(0.1))
        np.testing.assert_array_equal(together[i].params, alone[i].params)


SHARED = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("made", "how", "error", "words"),
    [
        (lambda: [*nets(n=2), "net"], {}, TypeError, "nets must hold nets.*'net' at 2"),
        (lambda: 2 * nets(n=1), {}, ValueError, r"the same at 0 and 1; use net.copy\(\)"),
        (
            lambda: [vg.MLP([5, 3], rng=SHARED) for _ in range(2)],
            {},
            ValueError,
            "one for 0 and 1; make each net with a",
        ),
        (lambda: [vg.MLP([5, 3], rng=0), vg.MLP([4, 3], rng=1)], {}, ValueError, "X must have 4 columns"),
        (lambda: nets(n=2), {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        (
            lambda: nets(n=2),
            {"optimizer": [vg.SGD()]},
            ValueError,
            "optimizer must hold one for each of the 2 nets, got 1",
        ),
        (lambda: nets(n=2), {"callbacks": [[]]}, ValueError, "callbacks must hold one for each of the 2"),
        (lambda: nets(n=2), {"callbacks": [print, print]}, TypeError, "callbacks must be a list"),
    ],
)
def test_what_is_refused_changes_nothing(made, how, error, words):
    given = made()
    before = [net.params.copy() for net in given if isinstance(net, vg.MLP)]
    with pytest.raises(error, match=words):
        vg.fit_many(given, X, Y, **how)
    for net, params in zip(given, before, strict=False):
        np.testing.assert_array_equal(net.params, params)


def test_nets_of_one_generator_do_not_have_to_shuffle():
    rng = np.random.default_rng(0)
    assert len(vg.fit_many([vg.MLP([5, 3], rng=rng) for _ in range(2)], X, Y, shuffle=False)) == 2
    assert vg.fit_many([], X, Y) == []


def test_an_error_of_a_callback_ends_all():
    given, begun = nets(), threading.Event()

    def fail(net, history):
        begun.wait(20)
        raise OSError("full")

    callbacks = [[fail], *([lambda net, history: begun.set()] for _ in range(6))]
    with pytest.raises(OSError, match="full"):
        vg.fit_many(given, X, Y, 10**6, callbacks=callbacks)
    assert all(np.isfinite(net.params).all() for net in given)
    given[1].fit(X, Y, 1)


@pytest.mark.parametrize("epochs", [10**6, 1])
def test_ctrl_c_ends_all_and_leaves_them_usable(epochs, ctrl_c):
    """Where epochs are short, and where one is long."""
    rows = 1 if epochs > 1 else 5000
    x, y = np.tile(X, (rows, 1)).astype(np.float32), np.tile(Y, rows)
    given = [vg.MLP([5, 8, 3], rng=i) for i in range(4)]

    def interrupt():
        while not any(net._lock.version for net in given):
            time.sleep(0.001)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        vg.fit_many(given, x, y, epochs, batch_size=1)
    thread.join()
    assert all(net.history is None or len(net.history.loss) < epochs * len(x) for net in given)
    for net in given:
        assert np.isfinite(net.params).all()
        net.fit(X, Y, 1)
