"""What happens between the epochs of ``fit``, of which many go by before Python looks at what they have recorded."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from small_nets import X, Y

import vgfast as vg
from vgfast.training import fit

pytestmark = pytest.mark.any_isa

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])


def expected_scores(history, correct, rows, batch_size):
    """loss and accuracy of each epoch, one by one."""
    steps = -(-rows // batch_size)
    sizes = np.minimum(batch_size, rows - batch_size * np.arange(steps))
    losses = history.loss.reshape(-1, steps)
    for loss, right in zip(losses, correct, strict=True):
        yield {"loss": float((loss * sizes).sum() / rows), "accuracy": float(right.sum() / rows)}


@pytest.mark.parametrize(("rows", "batch_size"), [(7, 7), (20, 1), (90, 32), (1000, 1), (300, 7), (9000, 1)])
@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_scores_are_those_of_epochs_one_by_one(rows, batch_size, epochs, monkeypatch):
    """To the bit: whether they are added up for one epoch or for many at once. The right answers of a binary net are
    shares, whose sum depends on the order."""
    epochs = min(epochs, 1 + 20_000 // -(-rows // batch_size))
    rng, correct = np.random.default_rng(0), []
    x, y = rng.normal(size=(rows, 3)), rng.integers(0, 2, (rows, 3)).astype(float)
    note = fit.Loop.note_epochs

    def noting(loop):
        correct.extend(loop.correct[: len(loop.seconds) * loop.per_epoch].reshape(-1, loop.per_epoch).copy())
        note(loop)

    monkeypatch.setattr(fit.Loop, "note_epochs", noting)
    net = vg.MLP([3, 2, 3], "tanh", loss="binary_cross_entropy", rng=0)
    history = net.fit(x, y, epochs, batch_size, vg.SGD(1e-3))
    found = [{key: of[key] for key in ("loss", "accuracy")} for of in history.epochs]
    assert found == list(expected_scores(history, correct, rows, batch_size))
    assert len(found) == epochs
    assert all(set(of) == {"loss", "accuracy", "seconds"} and of["seconds"] >= 0 for of in history.epochs)


@NETS
@pytest.mark.parametrize("inspect_every", [0, 4])
@pytest.mark.parametrize("steps_at_once", [1, 20, 4096])
def test_epochs_at_once_or_one_by_one_are_the_same(kind, inspect_every, steps_at_once, monkeypatch):
    """With callbacks, and with progress, there is one at a time."""
    monkeypatch.setattr(fit, "_STEPS_AT_ONCE", steps_at_once)
    found = []
    for more in ({}, {"callbacks": [lambda net, history: None]}, {"progress": lambda *_: None}):
        net = kind([6, 10, 3], rng=2)
        h = net.fit(X, Y, 11, 16, vg.SGD(0.1, 0.9), inspect_every=inspect_every, **more)
        scores = [(of["loss"], of["accuracy"]) for of in h.epochs]
        found.append((net.params.tobytes(), h.loss.tobytes(), h.gradients.tobytes(), h.steps.tolist(), scores))
        found[-1] += (str(net._rng.bit_generator.state),)
    assert found[0] == found[1] == found[2]
    assert found[0][3] == (list(range(0, 77, 4)) if inspect_every else [])
    assert len(found[0][4]) == 11


def test_callbacks_and_progress_see_the_epochs_that_have_ended():
    seen, told = [], []

    def callback(net, history):
        seen.append((len(history.epochs), len(history.loss), len(history.gradients), history.steps[-1]))

    def progress(done, total, history):
        told.append((done, total, len(history.epochs), len(history.loss)))

    net = vg.MLP([6, 10, 3], rng=0)
    net.fit(X, Y, 3, 16, callbacks=[callback], inspect_every=1, progress=progress, validation_data=(X, Y))
    assert seen == [(1, 7, 7, 6), (2, 14, 14, 13), (3, 21, 21, 20)]
    assert [of for of in told if of[0] % 7 == 0] == [(7, 21, 0, 7), (14, 21, 1, 14), (21, 21, 2, 21)]
    assert all("val_loss" in of for of in net.history.epochs)


@NETS
def test_ctrl_c_leaves_the_history_of_all_whole_epochs(kind, ctrl_c):
    net, twin = (kind([6, 10, 3], rng=0) for _ in range(2))

    def interrupt():
        while net._lock.version < 500:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, 10**6, 32, inspect_every=3)
    thread.join()
    history = net.history
    steps = len(history.loss)
    whole = steps // 4
    assert whole - 1 <= len(history.epochs) <= whole
    assert len(history.gradients) == len(history.steps) == -(-steps // 3)
    expected = twin.fit(X, Y, -(-steps // 4), 32)
    assert history.loss.tobytes() == expected.loss[:steps].tobytes()
    scores = [(of["loss"], of["accuracy"]) for of in history.epochs]
    assert scores == [(of["loss"], of["accuracy"]) for of in expected.epochs[: len(scores)]]
    assert len(net.fit(X, Y, 2, 32).epochs) == 2


class Diverging(vg.MLP):
    """Tells what is handed over to be diagnosed."""

    def _diagnose(self, x, t, step, optimizer, what, batch_size, sample_weight):
        self.handed = x, t, step, what, batch_size
        return super()._diagnose(x, t, step, optimizer, what, batch_size, sample_weight)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [7, 10, 50])
def test_a_divergence_is_diagnosed_on_the_batches_that_led_to_it(shuffle, batch_size):
    """In the order of this epoch and of the one before, though many went by at once."""
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    t = x[:, :1].copy()
    net, rng = Diverging([4, 1], loss="mse", rng=1), vg.MLP([4, 1], loss="mse", rng=1)._rng
    with pytest.raises(vg.DivergenceError) as caught:
        net.fit(x, t, 10**4, batch_size, vg.SGD(lr=1.5), shuffle)
    rows, labels, step, what, size = net.handed
    per_epoch = -(-50 // batch_size)
    epoch, place = divmod(step, per_epoch)
    assert epoch > 2
    orders = [rng.permutation(50) if shuffle else np.arange(50) for _ in range(epoch + 1)]
    led = np.concatenate([orders[-2][: 50 // batch_size * batch_size], orders[-1][: (place + 1) * batch_size]])
    np.testing.assert_array_equal(rows, x[led])
    np.testing.assert_array_equal(labels, t[led])
    assert what == f"training diverged at step {step} (epoch {epoch + 1})"
    assert size == batch_size
    history = caught.value.history
    assert (len(history.epochs), len(history.loss)) == (epoch, step)
