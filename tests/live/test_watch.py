"""A training on a page while it runs: what is kept of it, what is told, and that it changes nothing."""

import base64
import copy
import gc
import html
import json
import os
import pickle
import signal
import zlib

import numpy as np
import pytest
from watched import history_of, whole

import vgfast as vg
from vgfast.data import blocks
from vgfast.live import watch as live
from vgfast.live.course import MOST_EPOCHS, NOTHING, Course
from vgfast.live.watch import Watch
from vgfast.show.page import data
from vgfast.training.history import History

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(96, 6)), RNG.integers(0, 3, 96)
HOW = {"epochs": 3, "batch_size": 8, "inspect_every": 2}
# As a page's script reads them: dtype, how many of its bytes, and the place of the first.
CODES = {"f24": (">f4", 3), "d32": (">f8", 4), "i32": (">i4", 4)}


def unpacked(part):
    """What ``data.packed`` has packed."""
    if "list" in part:
        return np.array(part["list"]).reshape(part["shape"])
    (code,) = set(part) - {"shape"}
    dtype, n = CODES[code]
    planes = np.frombuffer(zlib.decompress(base64.b64decode(part[code])), np.uint8).reshape(n, -1)
    planes = planes[::-1] if code == "i32" else planes
    whole = np.zeros((planes.shape[1], np.dtype(dtype).itemsize), np.uint8)
    whole[:, :n] = planes.T
    return whole.view(dtype)[:, 0].reshape(part["shape"])


def test_the_page_has_what_history_has(page):
    history = vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page], **HOW)
    assert page.news(True) is None
    found, state = whole(page)
    (part,) = found["parts"]
    assert part["name"].startswith("Training 1: MLP([6, 8, 3]")
    assert (part["n_steps"], part["layers"], part["every"], part["epoch_steps"]) == (36, 2, 1, [12, 24, 36])
    assert unpacked(part["steps"]).tolist() == history.steps.tolist()
    np.testing.assert_allclose(unpacked(part["loss"]), history.loss, rtol=2**-15)
    for name, values in part["fields"].items():
        np.testing.assert_allclose(unpacked(values), history.gradients[name], rtol=2**-15)
    assert [epoch["loss"] for epoch in part["epochs"]] == [epoch["loss"] for epoch in history.epochs]
    assert part["report"]["verdict"] == "healthy"
    assert (state["running"], state["step"], state["error"]) == (False, 36, None)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_theory_is_that_of_a_report_before_the_first_step(page, dropout):
    net = vg.MLP([6, 12, 12, 3], "tanh", dropout=dropout, rng=0)
    expected = net.inspect(X, Y, try_remedies=False).predicted
    net.fit(X, Y, callbacks=[page], **HOW)
    page.news(True)
    (part,) = whole(page)[0]["parts"]
    for name in data.PREDICTED:
        np.testing.assert_array_equal(np.array(part["band"][name], float), expected[name])
    assert part["about"] == ["Theory's band is by the weights before the first step."]
    net.fit(X, Y, callbacks=[page], **HOW)  # from other weights on
    page.news(True)
    one, other = whole(page)[0]["parts"]
    assert (one["band"], other["band"]["predicted_gain"] != one["band"]["predicted_gain"]) == (part["band"], True)


def test_theory_has_no_band_for_what_it_does_not_see(page):
    """Normalizations; inputs that are sparse, or come block by block."""
    vg.MLP([6, 8, 3], normalization=vg.norm.layer(), rng=0).fit(X, Y, callbacks=[page], **HOW)
    vg.MLP([6, 8, 3], rng=0).fit(blocks.from_arrays(X, Y), callbacks=[page], **HOW)
    vg.MLP([6, 8, 3], rng=0).fit(pytest.importorskip("scipy.sparse").csr_array(X), Y, callbacks=[page], **HOW)
    page.news(True)
    for part in whole(page)[0]["parts"]:
        assert (part["band"], part["about"], part["report"]["verdict"]) == (None, [], "healthy")


def test_news_added_to_the_page_are_the_page(page):
    """Pages of any moment, and all events after it, come to the same in the end."""
    told = []

    class Look:
        def on_progress(self, net, history):
            events = page.news(True)
            told.append([json.dumps(whole(page)[0])] if events is None else events)

    history = vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page, Look()], **HOW)
    told.append(page.news(True))
    (part,) = json.loads(told[0][0])["parts"]
    records = [event for events in told[1:] for event in events if event["type"] == "records"]
    for name in ("steps", "loss", "loss_steps"):
        joined = np.concatenate([unpacked(each[name]) for each in (part, *records)])
        expected = {"steps": history.steps, "loss": history.loss, "loss_steps": np.arange(36)}[name]
        np.testing.assert_allclose(joined, expected, rtol=2**-15)
    norms = np.concatenate([unpacked(each["fields"]["grad_norm"]) for each in (part, *records)])
    np.testing.assert_allclose(norms, history.gradients["grad_norm"], rtol=2**-15)
    assert len(records) >= 3
    assert all(event["part"] == 0 and event["report"]["kind"] == "report" for event in records)
    assert all(len(event["band"]["predicted_gain"]) == 2 for event in records)
    assert records[-1]["epoch_steps"] == [12, 24, 36]
    assert told[-1][-1]["type"] == "state"
    assert page.news(True) == []


def test_a_watched_training_comes_to_the_same_bits(page):
    nets = [vg.MLP([6, 8, 3], rng=0) for _ in range(2)]
    histories = [net.fit(X, Y, callbacks=callbacks, **HOW) for net, callbacks in zip(nets, ([], [page]), strict=True)]
    assert nets[0].params.tobytes() == nets[1].params.tobytes()
    assert histories[0].gradients.tobytes() == histories[1].gradients.tobytes()


@pytest.mark.parametrize("at_once", [1, 700, 10**6])
def test_records_are_thinned(at_once):
    """A million steps: at most so many numbers are kept, the steps are those that they say, and about says so."""
    course, history = Course("", 60), history_of(10**6 if at_once > 1 else 3000, 60, every=1 if at_once == 1 else 100)
    for steps in [*range(at_once, len(history.loss), at_once), len(history.loss)]:
        part = History(history.loss[:steps])
        n = -(-steps // int(history.steps[1]))
        part.lr, part.steps, part.gradients = history.lr[:steps], history.steps[:n], history.gradients[:n]
        course.add(part)
        assert course.n_records * 60 <= data.MOST_NUMBERS
    excerpt = course.excerpt()
    assert excerpt.steps.tolist() == history.steps[:: course.every].tolist()
    assert (excerpt.records["grad_norm"] == excerpt.steps[:, None] + 1).all()
    assert data.MOST_NUMBERS // 60 / 2 <= len(excerpt.steps) <= data.MOST_NUMBERS // 60
    assert len(excerpt.loss) <= data.MOST_POINTS
    np.testing.assert_array_equal(excerpt.loss, history.loss[excerpt.loss_steps] + (course.loss_every > 1) / 8)
    assert excerpt.place.version > 0
    assert excerpt.about[0].startswith(f"Of the inspected steps one of every {course.every:,} is shown")


def test_copies_are_the_page_and_other_processes_have_none(page):
    assert copy.deepcopy([page])[0] is page
    with pytest.raises(TypeError, match=r"^a page is of the process that serves it, .* leave it out of what"):
        pickle.dumps(page)


def test_without_scripts_there_are_tables(page):
    """Of epochs, and of gradients before there is a verdict."""
    vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page], **HOW | {"inspect_every": 0})
    vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page], **HOW)
    one, other = (each.course.as_part(each.course.excerpt())["static"] for each in page._shown)
    assert "<th>step</th><th>loss</th><th>accuracy</th>" in one
    assert one.count("<tr>") == 4
    assert "36 steps" in one
    assert other.count("<tr>") == 4 + 3
    page.news(True)
    judged = page._shown[1]
    assert judged.part(judged.course.excerpt())["static"].count("<table") == 2  # of epochs, and the verdict's own


def test_what_skips_do_is_told_from_where_it_is_known(page):
    net, history = vg.MLP([6, 8, 3], rng=0), history_of(10, factors=2.0)
    page.on_train_begin(net, history)
    page.news(True)
    fields = whole(page)[0]["parts"][0]["fields"]
    assert unpacked(fields["skip_gain"]).tolist() == [[2.0, 2.0]] * 10
    assert "normalization_gain" not in fields


def test_many_epochs_and_many_trainings(page):
    for i in range(10):
        vg.MLP([6, 3], rng=0).fit(X[:8], Y[:8], epochs=500 if i == 9 else 1, batch_size=8, callbacks=[page])
    page.news(True)
    found, state = whole(page)
    assert [part["name"].split(":")[0] for part in found["parts"]] == [f"Training {i}" for i in range(3, 11)]
    assert found["about"] == ["Shown are the last 8 of 10 trainings."]
    part = found["parts"][-1]
    assert len(part["epochs"]) == len(part["epoch_steps"]) == 168  # one of three, and the last
    assert part["epoch_steps"][-2:] == [499, 500]
    assert part["about"][0] == "Of the 500 epochs 168 are shown."
    assert "inspect_every=10" in part["about"][1]
    assert state["step"] == 500


@pytest.mark.parametrize("n", [1, 199, 200, 201, 400, 100_000])
def test_epochs_are_bounded_and_the_last_is_among_them(n):
    course, history = Course("", 2), history_of(n)
    history.epochs, history.steps_per_epoch = [{"loss": float(i)} for i in range(n)], 1
    course.add_epochs(history)
    assert len(course.epochs) == len(course.epoch_steps) <= MOST_EPOCHS
    assert len(course.epochs) >= min(n, MOST_EPOCHS / 2)
    assert [epoch["loss"] + 1 for epoch in course.epochs] == course.epoch_steps
    assert course.epoch_steps[-1] == n


def test_a_history_is_not_kept_alive(page):
    history = vg.MLP([6, 3], rng=0).fit(X, Y, callbacks=[page])
    course = page._shown[0].course
    assert course.history() is history
    del history
    gc.collect()
    assert course.history() is None


def test_validation_is_shown_with_its_epoch(page):
    vg.MLP([6, 3], rng=0).fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=[page])
    assert "val_accuracy" in page._shown[0].course.epochs[-1]


def test_a_training_that_diverges_is_shown_to_its_end(page):
    with pytest.raises(vg.DivergenceError) as error:
        vg.MLP([6, 8, 3], rng=0).fit(X, Y, 500, 8, vg.SGD(1e5), inspect_every=1, callbacks=[page])
    page.end(str(error.value))
    page.news(True)
    found, state = whole(page)
    assert found["parts"][0]["n_steps"] == error.value.step
    assert (state["running"], state["error"]) == (False, str(error.value))


def test_a_training_that_failed_is_no_longer_running(page):
    """Whoever catches the error: it is told with the training, and above until there is another."""
    with pytest.raises(vg.DivergenceError) as error:
        vg.MLP([6, 8, 3], rng=0).fit(X, Y, 500, 8, vg.SGD(1e5), inspect_every=1, callbacks=[page])
    words = f"DivergenceError: {error.value}"
    assert page.news(True) is None
    found, state = whole(page)
    assert (state["running"], state["error"], state["step"]) == (False, words, error.value.step)
    assert found["parts"][0]["n_steps"] == error.value.step
    assert found["parts"][0]["about"][0] == f"This training was ended by {words}"
    assert html.escape(words) in page.document({"events": "/e", "commands": "/c"})[0].split("<script")[0]
    vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page], **HOW)
    page.news(True)
    found, state = whole(page)
    assert state["error"] is None
    assert [len(part["about"]) for part in found["parts"]] == [2, 1]


def test_the_last_verdict_is_not_waited_for(page, monkeypatch):
    monkeypatch.setattr(live, "_TELL", 3600)
    monkeypatch.setattr(live, "_SOON", 0)
    page.news(True)
    vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page], **HOW)
    page.news(True)
    assert whole(page)[0]["parts"][0]["report"]["verdict"] == "healthy"
    page.on_train_begin(vg.MLP([6, 8, 3]), history := history_of(10))
    page.news(True)
    page.end()
    page.news(True)
    assert len(history.loss) == 10
    assert whole(page)[0]["parts"][1]["report"] is not None


def test_an_error_within_an_epoch_leaves_the_ends_of_those_before(page):
    class Fail:
        def on_progress(self, net, history):
            if len(history.epochs) == 2 and len(history.loss) > 24:
                raise ValueError

    rows = np.repeat(X, 2000, axis=0), np.repeat(Y, 2000)
    with pytest.raises(ValueError):  # noqa: PT011
        vg.MLP([6, 8, 3], rng=0).fit(*rows, 5, 8, callbacks=[page, Fail()])
    page.news(True)
    part = whole(page)[0]["parts"][0]
    assert part["epoch_steps"] == [24_000, 48_000]
    assert part["n_steps"] > 48_000


def test_an_error_that_cannot_be_told():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    assert live.in_words(Odd()) == "Odd: it does not say why"


def test_names_of_files_need_not_be_text():
    with Watch("caf\udce9.py", 0) as page:
        assert "caf\\udce9.py" in page.document({"events": "/e", "commands": "/c"})[0].encode().decode()
    assert live.in_words(FileNotFoundError("\udce9")).encode() == b"FileNotFoundError: \\udce9"


def test_a_script_without_a_training(page):
    page.end()
    page.news(True)
    assert whole(page)[0]["about"] == ["The script has ended, and no training by net.fit was in it."]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_trains_without_the_page(page):
    """Whatever its lock was at: who would let go of it is not in the fork."""
    with page._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            vg.MLP([6, 3], rng=0).fit(X, Y, callbacks=[page])
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert page._shown == []


def test_it_takes_no_commands(page):
    with pytest.raises(ValueError, match="takes no commands; vgfast play does"):
        page.command({"do": "start"})


def test_the_document_has_tables_without_scripts(page):
    text, policy = page.document({"events": "/e", "commands": "/c"})
    assert "No training has begun yet" in text
    history = vg.MLP([6, 8, 3], rng=0).fit(X, Y, callbacks=[page], **HOW)
    page.news(True)
    text, policy = page.document({"events": "/e", "commands": "/c"})
    assert "connect-src 'self'" in policy
    assert "<table" in text.split("<script")[0]
    assert f"{len(history.loss)}" in text


def test_watch_says_where_the_page_is(capsys):
    net = vg.MLP([6, 3], rng=0)
    with vg.watch(net, 0, browser=False) as page:
        assert capsys.readouterr().err == f"the page is at {page.address}\n"
        assert page.title == repr(net)
        assert repr(page) == f"Watch(port={page._server.port})"


def test_watch_says_that_a_port_is_in_use(capsys):
    with Watch("", 0) as other, vg.watch(port=other._server.port, browser=False) as page:
        said = f"port {other._server.port} is in use; the page is on port {page._server.port}\n"
        assert capsys.readouterr().err == f"{said}the page is at {page.address}\n"


@pytest.mark.parametrize(
    ("wrong", "kind"), [({"net": "net"}, TypeError), ({"port": 70_000}, ValueError), ({"browser": 1}, TypeError)]
)
def test_what_watch_does_not_take(wrong, kind):
    with pytest.raises(kind):
        vg.watch(**wrong)


def test_nothing_told_is_nothing():
    course = Course("", 3)
    assert course.excerpt().place == NOTHING
    assert course.about() == []
