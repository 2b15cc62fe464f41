"""Trainings that go on from a checkpoint: the bits of one that was never stopped, and refusals that change nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

import vgfast as vg

pytestmark = pytest.mark.any_isa

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
RNG = np.random.default_rng(4)
X = RNG.normal(size=(50, 5))
Y = RNG.integers(0, 3, 50)
WEIGHTS = RNG.uniform(0, 2, 50)
OTHERS = RNG.normal(size=(30, 5)), RNG.integers(0, 3, 30)


class Killed(BaseException):
    pass


def killed_after(n):
    """What is done in the epochs after this many is lost."""

    def callback(net, history):
        if len(history.epochs) == n:
            raise Killed

    return callback


def decay(optimizer):
    def callback(net, history):
        optimizer.lr *= 0.97

    return callback


def train(kind, path=None, epochs=12, kill=None, every=1, bits=np.random.PCG64, patience=None, **how):
    """(net, history, optimizer) of a training with everything that goes on from epoch to epoch."""
    net = kind([5, 9, 3], "tanh", rng=np.random.Generator(bits(1)))
    optimizer = vg.SGD(0.3, momentum=0.9, clip_norm=1.0)
    callbacks = [decay(optimizer)]
    callbacks += [] if path is None else [vg.Checkpoint(path, every)]
    callbacks += [] if patience is None else [vg.EarlyStopping(patience)]
    callbacks += [] if kill is None else [killed_after(kill)]
    how = {"batch_size": 8, "validation_data": OTHERS} | how
    return net, net.fit(X, Y, epochs, optimizer=optimizer, callbacks=callbacks, **how), optimizer


def bits_of(run):
    net, history, optimizer = run
    epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]
    arrays = [net.params, history.loss, history.gradients, history.steps]
    arrays += [] if history.exponents is None else [history.exponents]
    velocity = net._states.find(optimizer).vectors[0]
    more = [net._rng.bit_generator.state, optimizer.lr, epochs, net.history is history]
    return [array.tobytes() for array in (*arrays, velocity)], repr(more)


@NETS
def test_dropout_goes_on(kind, tmp_path):
    path, makes = tmp_path / "run", []
    for kill in (None, 3, None):
        net = kind([5, 9, 3], "tanh", dropout=0.4, rng=1)
        callbacks = [vg.Checkpoint(path)] if kill or makes else []
        callbacks += [killed_after(kill)] if kill else []
        with suppress(Killed):
            net.fit(X, Y, 6, batch_size=8, callbacks=callbacks)
        makes.append(net)
    assert (makes[0].params != makes[1].params).any()
    np.testing.assert_array_equal(makes[2].params, makes[0].params)
    np.testing.assert_array_equal(makes[2]._engine.draws, makes[0]._engine.draws)


INSPECTED = [
    {},
    {"inspect_every": 5},
    {"inspect_every": 3, "inspect": "histograms"},
    {"shuffle": False},
    {"sample_weight": WEIGHTS},
]


@NETS
@pytest.mark.parametrize("how", INSPECTED)
@pytest.mark.parametrize("every", [1, 5])
def test_killed_again_and_again_it_comes_to_the_same_bits(kind, how, every, tmp_path):
    whole = bits_of(train(kind, **how))
    path = tmp_path / "run.npz"
    for kill in (1, 3, 6, 7, 11):
        with pytest.raises(Killed):
            train(kind, path, kill=kill, every=every, **how)
    assert bits_of(train(kind, path, every=every, **how)) == whole
    assert bits_of(train(kind, path, kill=12, every=every, **how)) == whole  # no epoch is trained again
    assert bits_of(train(kind, path, every=every, epochs=15, **how)) == bits_of(train(kind, epochs=15, **how))
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_with_any_random_numbers(bits, tmp_path):
    whole = train(vg.MLP, bits=bits)
    with pytest.raises(Killed):
        train(vg.MLP, tmp_path / "run", kill=5, bits=bits)
    again = train(vg.MLP, tmp_path / "run", bits=bits)
    assert bits_of(again)[0] == bits_of(whole)[0]


@NETS
@pytest.mark.parametrize("kill", [2, 5])
def test_early_stopping_goes_on_with_its_patience_and_its_best(kind, kill, tmp_path):
    whole = train(kind, epochs=60, patience=4)
    assert kill < len(whole[1].epochs) < 60
    with pytest.raises(Killed):
        train(kind, tmp_path / "run", epochs=60, kill=kill, patience=4)
    for _ in range(2):  # what has ended by itself is not trained again
        assert bits_of(train(kind, tmp_path / "run", epochs=60, patience=4)) == bits_of(whole)


def logged(path, epochs, kill=None, log=None, every=1, inspect_every=5):
    """(step, name) of what a Log sends, a new one or this, of a training that is killed."""
    sent = []
    log = vg.Log(print) if log is None else log
    log.send = lambda values, step: sent.append((step, "epoch" if "epoch/loss" in values else "step"))
    callbacks = [log, *([] if path is None else [vg.Checkpoint(path, every)])]
    callbacks += [] if kill is None else [killed_after(kill)]
    net = vg.MLP([5, 9, 3], rng=1)
    with suppress(Killed):
        net.fit(X, Y, epochs, 8, inspect_every=inspect_every, callbacks=callbacks)
    return sent


def test_a_log_sends_each_line_once(tmp_path):
    """What was kept is not sent again, and steps go on: by a new Log, as in a new process, and by the same one."""
    whole, log = logged(None, 9), vg.Log(print)
    assert len(whole) == 9 + -(-9 * 7 // 5)
    parts = [logged(tmp_path / "new", epochs) for epochs in (2, 3, 3, 9)]
    assert parts[2] == []
    assert [line for part in parts for line in part] == whole
    assert [line for epochs in (2, 3, 3, 9) for line in logged(tmp_path / "same", epochs, log=log)] == whole
    again = logged(tmp_path / "after", 9, log=log)  # another training: steps are counted through
    assert again == [(step + 9 * 7, what) for step, what in whole]


def test_a_log_sends_again_what_is_trained_again(tmp_path):
    """Five epochs, of which the file has three: a new Log cannot know of the others, and the same one does."""
    whole = logged(None, 9)
    first, second = logged(tmp_path / "new", 9, kill=5, every=3), logged(tmp_path / "new", 9, every=3)
    assert second == whole[len([step for step, _ in whole if step <= 21]) :]
    assert first == whole[: len(first)]
    log = vg.Log(print)
    assert logged(tmp_path / "same", 9, 5, log, every=3) + logged(tmp_path / "same", 9, None, log, every=3) == whole


@NETS
def test_what_begins_sees_what_was_kept(kind, tmp_path):
    class Begin:
        def on_train_begin(self, net, history):
            self.seen = net.params.copy(), net.history is history, history.loss.copy(), len(history.epochs)

    path, begin = tmp_path / "run", Begin()
    before = kind([5, 9, 3], rng=1)
    history = before.fit(X, Y, 2, 8, callbacks=[vg.Checkpoint(path)])
    kind([5, 9, 3], rng=2).fit(X, Y, 3, 8, callbacks=[begin, vg.Checkpoint(path)])
    np.testing.assert_array_equal(begin.seen[0], before.params)
    np.testing.assert_array_equal(begin.seen[2], history.loss)
    assert begin.seen[1:4:2] == (True, 2)


def test_the_first_weights_are_kept_too(tmp_path):
    """Of a net without a seed."""
    path, first = tmp_path / "run", vg.MLP([5, 3])
    with pytest.raises(Killed):
        first.fit(X, Y, 20, callbacks=[vg.Checkpoint(path, every=10), killed_after(1)])
    again, seen = vg.MLP([5, 3]), []

    class Begin:
        def on_epoch_end(self, net, history):
            seen.append(len(history.epochs))

    again.fit(X, Y, 20, callbacks=[vg.Checkpoint(path, every=10), Begin()])
    assert seen == list(range(1, 21))
    assert again.history.loss[0] == first.history.loss[0]


def test_the_same_net_goes_on(tmp_path):
    """In one process, as in a notebook: with a net and an optimizer that are further than the file."""
    keep, runs = vg.Checkpoint(tmp_path / "run", every=3), []
    for calls in ([()], [(keep, killed_after(5)), (keep,)]):
        net, optimizer = vg.MLP([5, 9, 3], rng=1), vg.SGD(0.1, momentum=0.9)
        for callbacks in calls:
            with suppress(Killed):
                net.fit(X, Y, 12, 8, optimizer, callbacks=callbacks)
        runs.append(bits_of((net, net.history, optimizer)))
    assert runs[0] == runs[1]


# ---- refusals ----------------------------------------------------------------------------------------


def other(sizes=(5, 9, 3), kind="tanh", rate=0.3, momentum=0.9, rows=50, y=Y, epochs=12, **how):
    """A call of fit, and its net, that differs from ``train``'s."""
    path = how.pop("path")
    net = vg.MLP(sizes, kind, rng=0, **{name: how.pop(name) for name in ("dtype", "loss") if name in how})
    optimizer = vg.SGD(rate, momentum=momentum, clip_norm=1.0)
    callbacks = [decay(optimizer), vg.Checkpoint(path), *how.pop("callbacks", [])]
    how = {"batch_size": 8, "validation_data": OTHERS, "optimizer": optimizer, "callbacks": callbacks} | how
    return net, lambda: net.fit(X[:rows], y[:rows], epochs, **how)


REFUSED = {
    "sizes": ({"sizes": (5, 8, 3)}, "sizes (5, 9, 3), got (5, 8, 3)"),
    "activation": ({"kind": "relu"}, "activations ('tanh',), got ('relu',)"),
    "dtype": ({"dtype": "float64"}, "dtype float32, got float64"),
    "rate": ({"rate": 0.2}, "lr 0.3, got 0.2"),
    "momentum": ({"momentum": 0.8}, "momentum 0.9, got 0.8"),
    "rows": ({"rows": 49}, "rows 50, got 49"),
    "labels": ({"y": (Y + 1) % 3}, "X, y and weights of the checksum"),
    "weights": ({"sample_weight": np.ones(50)}, "X, y and weights of the checksum"),
    "batch_size": ({"batch_size": 9}, "batch_size 8, got 9"),
    "shuffle": ({"shuffle": False}, "shuffle True, got False"),
    "inspection": ({"inspect_every": 2}, "inspect_every 0, got 2"),
    "callbacks": ({"callbacks": [vg.EarlyStopping(30)]}, "callbacks with a state none, got EarlyStopping"),
    "epochs": ({"epochs": 4}, "has done 5 epochs, got epochs=4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_of_another_training_is_refused_and_nothing_changes(case, tmp_path):
    changes, words = REFUSED[case]
    path = tmp_path / "run"
    with pytest.raises(Killed):
        train(vg.MLP, path, kill=6)
    before = path.read_bytes()
    net, fit = other(path=path, **changes)
    params, state = net.params.tobytes(), repr(net._rng.bit_generator.state)
    with pytest.raises(ValueError, match=r"run is a checkpoint of a training .*; .* or name another path$") as caught:
        fit()
    assert words in str(caught.value)
    assert (net.params.tobytes(), repr(net._rng.bit_generator.state), net.history) == (params, state, None)
    assert path.read_bytes() == before


@pytest.mark.parametrize("case", REFUSED)
def test_advice_on_a_checkpoint_of_another_training(case, tmp_path):
    """The same, which is a training that goes on, or another path."""
    changes, _ = REFUSED[case]
    with pytest.raises(Killed):
        train(vg.MLP, tmp_path / "run", kill=6)
    _, fit = other(path=tmp_path / "another", **changes)
    assert len(fit().epochs) == changes.get("epochs", 12)
    assert len(train(vg.MLP, tmp_path / "run", epochs=5)[1].epochs) == 5


@pytest.mark.parametrize("what", ["empty", "text", "cut", "changed", "model", "npz"])
def test_advice_on_what_is_no_checkpoint(what, tmp_path):
    """It is refused, and left as it is; another path, or without it, training begins anew."""
    path = tmp_path / "run"
    train(vg.MLP, path, epochs=2)
    whole = path.read_bytes()
    middle = len(whole) // 2
    if what == "model":
        vg.MLP([5, 3], rng=0).save(path)
    elif what == "npz":
        np.savez(tmp_path / "x.npz", a=np.zeros(3))
        os.replace(tmp_path / "x.npz", path)
    else:
        altered = {"empty": b"", "text": b"a text", "cut": whole[:middle]}
        altered["changed"] = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes(altered[what])
    before = path.read_bytes()
    net, fit = other(path=path)
    with pytest.raises(ValueError, match=r"run must be a checkpoint.*name another path, or remove it to begin anew"):
        fit()
    assert path.read_bytes() == before
    assert net.history is None
    assert len(other(path=tmp_path / "another")[1]().epochs) == 12
    path.unlink()
    assert len(fit().epochs) == 12


def test_where_it_cannot_be_written_nothing_is_trained(tmp_path):
    net, fit = other(path=tmp_path / "no" / "run")
    before = net.params.tobytes()
    with pytest.raises(OSError, match="no does not exist; create it or choose another path"):
        fit()
    assert net.params.tobytes() == before
    (tmp_path / "no").mkdir()
    fit()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3,), TypeError, "path must name a file"),
        (("run", 0), ValueError, "every must be at least 1, got 0"),
        (("run", 1.5), TypeError, "every must be a whole number"),
        ((open(os.devnull, "wb"),), TypeError, "path must name a file, which is replaced"),  # noqa: SIM115
    ],
)
def test_bad_settings(arguments, error, words):
    with pytest.raises(error, match=words):
        vg.Checkpoint(*arguments)


def test_two_are_too_many(tmp_path):
    with pytest.raises(ValueError, match="one Checkpoint at most"):
        vg.MLP([5, 3]).fit(X, Y, callbacks=[vg.Checkpoint(tmp_path / name) for name in "ab"])
    assert not list(tmp_path.iterdir())


# ---- killed ------------------------------------------------------------------------------------------

SCRIPT = """
import sys, zlib, numpy as np, vgfast as vg
rng = np.random.default_rng(4)
X, y = rng.normal(size=(200, 8)), rng.integers(0, 4, 200)
net = vg.MLP([8, 40, 4], rng=1)
callbacks = [vg.Checkpoint(sys.argv[1])] if len(sys.argv) > 1 else []
print("begins", flush=True)
history = net.fit(X, y, 150, 16, vg.SGD(0.1, momentum=0.9), callbacks=callbacks)
print(zlib.crc32(net.params), zlib.crc32(history.loss), len(history.epochs), flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_comes_to_the_same_bits(tmp_path):
    def run(*arguments):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)

    with run() as process:
        whole = process.communicate()[0].split("\n")[1]
    path, moments = str(tmp_path / "run.npz"), random.Random(8)
    for _ in range(6):
        with run(path) as process:
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
    with run(path) as process:
        assert process.communicate()[0].split("\n")[1] == whole
    assert len(os.listdir(tmp_path)) == 1  # and part-files of the killed are gone
    with np.load(path, allow_pickle=False) as file:
        assert len(json.loads(str(file["text"]))["dict"]["loop"]["dict"]["epochs"]["list"]) == 150
