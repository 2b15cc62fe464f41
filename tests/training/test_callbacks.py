"""Callbacks that are objects, and early stopping; with both engines."""

import os
import signal

import numpy as np
import pytest

import vgfast as vg

pytestmark = pytest.mark.any_isa

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 5))
Y = RNG.integers(0, 3, 60)  # nothing to learn: a net that fits them gets worse on others
OTHERS = RNG.normal(size=(40, 5)), RNG.integers(0, 3, 40)
RATE = {"epochs": 60, "batch_size": 20, "optimizer": vg.SGD(0.5)}


class Note:
    def __init__(self, end_after=99):
        self.calls, self.end_after = [], end_after

    def on_train_begin(self, net, history):
        self.calls.append(("begin", len(history.epochs)))

    def on_epoch_end(self, net, history):
        self.calls.append(("epoch", len(history.epochs)))
        return len(history.epochs) == self.end_after

    def on_train_end(self, net, history):
        self.calls.append(("end", len(history.epochs)))


class Called(Note):
    """As the other, but for what is called after each epoch."""

    __call__ = Note.on_epoch_end
    on_epoch_end = property()  # there is none


@NETS
@pytest.mark.parametrize("note", [Note, Called])
def test_the_methods_of_an_object_are_called(kind, note):
    notes = note(), note(2)
    kind([5, 4, 3], rng=0).fit(X, Y, 5, callbacks=notes)
    assert notes[0].calls == notes[1].calls == [("begin", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]


def test_each_method_may_be_missing():
    class OnlyEnd:
        ended = False

        def on_train_end(self, net, history):
            self.ended = True

    one = OnlyEnd()
    vg.MLP([5, 4, 3], rng=0).fit(X, Y, 2, callbacks=[one])
    assert one.ended


def test_after_an_error_there_is_no_end(ctrl_c):
    note = Note()
    net = vg.MLP([5, 4, 3], rng=0)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, 10**6, callbacks=[note, lambda *_: os.kill(os.getpid(), signal.SIGINT)])
    assert note.calls[0] == ("begin", 0)
    assert note.calls[-1] == ("epoch", 1)
    assert len(net.history.epochs) == 1


@NETS
@pytest.mark.parametrize("last", [ValueError("of a callback"), KeyboardInterrupt(), None])
def test_an_error_is_told_before_it_goes_on(kind, last):
    """To all, with what there is by then; None: training itself fails."""
    told = []

    class Fail:
        def on_epoch_end(self, net, history):
            if last is not None:
                raise last

    class Hear:
        def on_exception(self, net, history, error):
            told.append((history is net.history, len(history.loss), error))

    lr = 0.1 if last is not None else 1e30
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        kind([5, 4, 3], rng=0).fit(X, Y, 9, 20, vg.SGD(lr), callbacks=[Hear(), Fail(), Hear()])
    assert told == 2 * [(True, 3 if last is not None else raised.value.step, raised.value)]
    assert last in (raised.value, None)
    kind([5, 4, 3], rng=0).fit(X, Y, 9, callbacks=[Hear()])
    assert len(told) == 2


# ---- early stopping ----------------------------------------------------------------------------------


def course(kind, callbacks=()):
    """(net, its history, the parameters after each epoch)"""
    params, net = [], kind([5, 30, 3], "tanh", dtype="float64", rng=1)
    history = net.fit(
        X, Y, validation_data=OTHERS, callbacks=[*callbacks, lambda n, _: params.append(n.params.copy())], **RATE
    )
    return net, history, params


@NETS
@pytest.mark.parametrize("monitor", ["loss", "val_loss", "accuracy", "val_accuracy"])
@pytest.mark.parametrize("patience", [1, 4])
def test_it_stops_as_its_definition_says(kind, monitor, patience):
    _, whole, params = course(kind)
    values = [epoch[monitor] if "loss" in monitor else -epoch[monitor] for epoch in whole.epochs]
    best, ends = 0, len(values)
    for i, value in enumerate(values):
        if value < values[best]:
            best = i
        if i - best == patience:
            ends = i + 1
            break
    stop = vg.EarlyStopping(patience, monitor)
    net, history, _ = course(kind, [stop])
    assert len(history.epochs) == ends
    assert (stop.best, stop.best_epoch) == (abs(values[best]), best + 1)
    assert net.params.tobytes() == params[best].tobytes()
    net, history, _ = course(kind, [vg.EarlyStopping(patience, monitor, restore_best=False)])
    assert net.params.tobytes() == params[ends - 1].tobytes()


def test_the_cases_that_it_is_tried_on_stop_early():
    assert len(course(vg.MLP, [vg.EarlyStopping(4)])[1].epochs) < 60


def test_the_best_comes_back_where_patience_is_not_over():
    """As Keras has it."""
    net, history, params = course(vg.MLP, [vg.EarlyStopping(1000)])
    best = min(range(60), key=lambda i: history.epochs[i]["val_loss"])
    assert best < 59
    assert net.params.tobytes() == params[best].tobytes()


def test_with_each_fit_it_begins_anew():
    stop = vg.EarlyStopping(2)
    first = course(vg.MLP, [stop])[1]
    stop.best, stop.best_epoch = 0.0, 1  # of an easier training
    second = course(vg.MLP, [stop])[1]
    assert len(first.epochs) == len(second.epochs) > 2


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0,), ValueError, "patience must be at least 1, got 0"),
        ((2.5,), TypeError, "patience must be a whole number"),
        ((2, "val_los"), ValueError, "did you mean 'val_loss'"),
        ((2, "loss", 3), TypeError, "restore_best must be True or False"),
    ],
)
def test_bad_settings(arguments, error, words):
    with pytest.raises(error, match=words):
        vg.EarlyStopping(*arguments)


def test_what_it_cannot_monitor_is_refused_before_anything_changes():
    net = vg.MLP([5, 4, 3], rng=0)
    net.fit(X, Y, 1)
    before, history = net.params.copy(), net.history
    with pytest.raises(
        ValueError, match="needs the val_accuracy of each epoch, and this training has only loss, accuracy"
    ):
        net.fit(X, Y, 5, callbacks=[vg.EarlyStopping(2, "val_accuracy")])
    assert net.params.tobytes() == before.tobytes()
    assert net.history is history


def test_it_shows_its_settings():
    assert repr(vg.EarlyStopping(3)) == "EarlyStopping(3, monitor='val_loss', restore_best=True)"


@NETS
def test_progress_is_told_within_epochs_and_at_their_ends(kind):
    class Told(Note):
        def on_progress(self, net, history):
            self.calls.append(("progress", len(history.loss)))

    told, other = Told(), []
    how = {"callbacks": [told], "progress": lambda done, total, history: other.append(done)}
    net = kind([5, 4, 3], rng=0)
    net.fit(X, Y, 2, 20, **how)
    ends = [call for call in told.calls if call not in [("progress", n) for n in (1, 2, 4, 5)]]
    assert ends == [("begin", 0), ("progress", 3), ("epoch", 1), ("progress", 6), ("epoch", 2), ("end", 2)]
    assert other == [n for what, n in told.calls if what == "progress"]


def test_watching_is_of_every_fit_and_no_checkpoint_knows(tmp_path, monkeypatch):
    from vgfast.training.callbacks import watching

    note = Note()
    note.state_dict = note.load_state_dict = None
    vg.MLP([5, 4, 3], rng=0).fit(X, Y, 1, callbacks=[vg.Checkpoint(tmp_path / "kept")])
    monkeypatch.setattr(watching, "callbacks", [note])
    net = vg.MLP([5, 4, 3], rng=0)
    net.fit(X, Y, 2, callbacks=[vg.Checkpoint(tmp_path / "kept")])
    assert note.calls == [("begin", 1), ("epoch", 2), ("end", 2)]
    monkeypatch.setattr(watching, "inspect_every", 3)
    assert vg.MLP([5, 4, 3], rng=0).fit(X, Y, 2, 10).steps.tolist() == [0, 3, 6, 9]
    assert vg.MLP([5, 4, 3], rng=0).fit(X, Y, 2, 10, inspect_every=5).steps.tolist() == [0, 5, 10]
    for compares in ({"callbacks": [vg.Checkpoint(tmp_path / "other")]}, {"reduce": lambda flat, rows: None}):
        assert len(vg.MLP([5, 4, 3], rng=0).fit(X, Y, 2, 10, **compares).steps) == 0
