"""``vgfast play`` without a browser: its commands, its state, and what its presets show."""

import json
import threading
import urllib.error
import urllib.request
from functools import cache

import numpy as np
import pytest

from vgfast.model.quantities import RECORD
from vgfast.play import lab as labs
from vgfast.play import presets
from vgfast.play.lab import Lab, Steps
from vgfast.play.session import Session
from vgfast.play.settings import defaults
from vgfast.show.page import data, server

PLANE = {"data": "two moons", "depth": 2, "width": 8, "activation": "tanh", "lr": "0.1"}


@pytest.fixture
def session(monkeypatch):
    """Nobody asks it for news but the test."""
    monkeypatch.setattr(server, "_LOOK", 60)
    with Session(0) as session:
        yield session


def order(session, do, **more):
    return session.command({"do": do, **more})


def reach(session, steps):
    """Wait for so many steps, a look at them, and the end of work."""
    with session._changed:
        done = session._changed.wait_for(
            lambda: session._is_idle() and not session._busy and not session._is_unseen(), 60
        )
        assert done
        assert session._lab.n_steps == steps
        return session._lab.net.params.copy()


def post(session, text, **headers):
    """As the page sends it: the status, and the answer."""
    address = session.address.replace("/?", "/command?")
    headers = {"Content-Type": "application/json", "X-Vgfast": "1"} | headers
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, text.encode(), headers), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.loads(answer.read())


def test_a_command_by_the_server(session):
    status, answer = post(session, json.dumps({"do": "set", "settings": PLANE}))
    assert (status, answer["settings"]) == (200, defaults() | PLANE)
    assert answer["hash"].endswith("&seed=0&steps=0")
    status, answer = post(session, json.dumps({"do": "step"}))
    assert answer["hash"].endswith("&steps=1")
    assert post(session, '{"do": "set", "settings": {"depth": 99}}') == (
        400,
        {"error": "depth must be from 1 to 50, got 99"},
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"do": "quit"},
        {"do": ["start"]},
        {"do": "start", "code": "1"},
        {"do": "start", "hash": "depth=3"},
        {"do": "start", "settings": {"depth": 3}},
        {"do": "rewind", "settings": {"depth": 3}},
        {"do": "set", "settings": {"depth": 3}, "hash": "depth=3"},
        {"do": "set", "settings": {"depth": 99}},
        {"do": "set", "settings": "depth"},
        {"do": "set", "hash": "depth=99"},
        {"do": "set", "hash": 3},
        {"do": "set", "settings": {"activation": "gelu", "pretraining": "RBMs"}},
    ],
)
def test_a_command_that_is_none_changes_nothing(session, wrong):
    order(session, "set", settings=PLANE)
    order(session, "step")
    before = reach(session, 1)
    with pytest.raises((ValueError, TypeError)):
        session.command(wrong)
    assert reach(session, 1).tobytes() == before.tobytes()
    assert session._lab.settings == defaults() | PLANE


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalization": "batch", "optimizer": "Adam", "dtype": "float64"},
        {"dropout": 0.3, "optimizer": "momentum"},
    ],
)
def test_a_shared_state_comes_to_the_same_bits(session, changes):
    """However the steps were taken: in runs, one by one, or again, by the text."""
    order(session, "set", settings={**PLANE, **changes, "seed": 3})
    order(session, "step")
    order(session, "start")
    with session._changed:
        session._changed.wait_for(lambda: session._lab.n_steps > 20, 60)
    text = order(session, "pause")["hash"]
    steps = session._lab.n_steps
    assert text.endswith(f"&steps={steps}")
    bits = reach(session, steps).tobytes()
    order(session, "step")
    assert reach(session, steps + 1).tobytes() != bits
    order(session, "set", settings={"seed": 4})
    order(session, "set", hash=text)
    assert reach(session, steps).tobytes() == bits
    assert order(session, "pause")["hash"] == text
    assert order(session, "rewind")["hash"].endswith("&steps=0")
    assert reach(session, 0).tobytes() == Lab(session._lab.settings).net.params.tobytes()


def test_steps_are_those_of_fit():
    """A step is one of ``fit`` on the rows of its batch: all rows once an epoch."""
    lab = Lab(defaults() | PLANE | {"batch_size": "64"})
    rows = []
    for _ in range(7):
        rows.append(lab._batch()[0])
        lab.n_steps += 1
    assert [len(each) for each in rows] == [64] * 6 + [16]
    assert sorted(np.concatenate(rows).tolist()) == list(range(400))
    assert rows[0].tolist() != lab._batch()[0].tolist()


def test_the_page_and_its_news(session):
    order(session, "set", settings=PLANE)
    reach(session, 0)
    assert session.news(True) is None
    page, state = session.page(session._server.live)
    json.dumps([page, state], allow_nan=False)
    play, history = page["page"]["parts"]
    assert play["settings"] == defaults() | PLANE
    assert {of["name"]: of["value"] for of in play["controls"]} == play["settings"]
    assert play["points"]["x"]["shape"] == [400]
    assert (history["n_steps"], history["steps"]["shape"], history["report"]["kind"]) == (0, [1], "report")
    assert state["boundary"]["packed"]["shape"] == [40, 40]
    assert (state["step"], state["running"], state["preset"]) == (0, False, None)
    order(session, "step")
    reach(session, 1)
    records, state = session.news(True)
    assert (records["type"], records["part"], records["n_steps"], state["step"]) == ("records", 1, 1, 1)
    assert records["report"]["loss"] != history["report"]["loss"]
    assert records["band"]["predicted_gain"][0] > 0
    assert session.news(True) == []
    html, policy = session.document(session._server.live)
    assert "needs JavaScript" in html
    assert "connect-src 'self'" in policy


def test_the_surface_is_what_the_net_says():
    lab = Lab(defaults() | PLANE)
    found = lab.look()
    assert found.surface[0, 0] == pytest.approx(lab.net.predict_proba(np.array([lab.low]))[0, 1], abs=1e-6)
    right_below = np.array([[lab.high[0], lab.low[1]]])
    assert found.surface[0, -1] == pytest.approx(lab.net.predict_proba(right_below)[0, 1], abs=1e-6)


def test_divergence_is_told_with_its_step(session):
    order(session, "set", settings={**PLANE, "activation": "identity", "lr": "10", "scale": "10", "depth": 9})
    order(session, "start")
    with session._changed:
        assert session._changed.wait_for(lambda: session._lab.error, 60)
    n = session._lab.n_steps
    assert f"diverged at step {n}" in session._state()["error"]
    assert not session._state()["running"]
    order(session, "start")
    assert session._lab.n_steps == n
    order(session, "rewind")
    assert session._state()["error"] is None


def test_two_browsers_set_both_what_they_set(session, monkeypatch):
    """While the first one's net is made, which takes its time, the second asks for another."""
    order(session, "set", settings=PLANE)
    made, go_on = threading.Event(), threading.Event()

    def slow(settings):
        made.set()
        go_on.wait(30)
        return Lab(settings)

    monkeypatch.setattr("vgfast.play.session.Lab", slow)
    asked = [
        threading.Thread(target=order, args=(session, "set"), kwargs={"settings": {n: 5}}) for n in ("depth", "width")
    ]
    asked[0].start()
    assert made.wait(30)
    asked[1].start()
    asked[1].join(0.05)  # long enough for what would be lost to be read
    go_on.set()
    for thread in asked:
        thread.join(30)
    assert session._lab.settings == defaults() | PLANE | {"depth": 5, "width": 5}


BEYOND = {"activation": "identity", "depth": 50, "width": 64, "scale": "50", "init": "he_normal"}


def test_a_net_without_a_first_step_says_so_and_the_next_one_trains(session):
    """Its outputs are not finite before it is trained."""
    order(session, "set", settings={**PLANE, **BEYOND})
    with session._changed:
        assert session._changed.wait_for(lambda: session._lab.error, 60)
    order(session, "start")
    state = session._state()
    assert "finite" in state["error"]
    assert (state["running"], state["step"]) == (False, 0)
    json.dumps(session.page(session._server.live), allow_nan=False)
    order(session, "set", settings=defaults() | PLANE)
    order(session, "step")
    reach(session, 1)
    assert session._state()["error"] is None


def test_what_fails_within_a_look_is_told(session, monkeypatch):
    order(session, "set", settings=PLANE)
    reach(session, 0)
    monkeypatch.setattr(Lab, "look", lambda lab: 1 / 0)
    order(session, "step")
    with session._changed:
        assert session._changed.wait_for(lambda: session._lab.error, 60)
    assert session._state()["error"] == "ZeroDivisionError: division by zero"
    assert not session._state()["running"]


def test_a_course_is_bounded_and_right():
    """By losses that tell their step; of 50,000 steps, what is kept is what would be kept of them at once."""
    lab = Lab(defaults() | PLANE | {"depth": 50, "width": 2})
    course, record = Steps(lab), np.ones(51, RECORD)
    course.begin(0.0, record)
    for step in range(50_000):
        record["grad_norm"] = step
        course.take(labs.Taken(float(step), record, {"loss": 0.0} if step % 10 == 9 else None))
    excerpt = course.excerpt()
    assert excerpt.steps.tolist() == list(range(0, 50_000, course.every))
    assert excerpt.records["grad_norm"][1:, 0].tolist() == excerpt.steps[1:].tolist()
    assert excerpt.records.size <= data.MOST_NUMBERS
    assert len(excerpt.loss) <= data.MOST_POINTS
    np.testing.assert_array_equal(excerpt.loss, excerpt.loss_steps + 0.5)
    assert len(excerpt.epochs) == len(excerpt.epoch_steps) <= 200
    assert set(np.diff(excerpt.epoch_steps)) == {10 * course._each_epoch}


@cache
def shown(name, steps=300):
    """Of a preset: what it shows before training, and what comes of so many steps."""
    settings = {**defaults(), **presets.PRESETS[name].settings}
    lab = Lab(settings)
    first = lab.look()
    lab.train(steps, 60)
    return first, None if lab.error else lab.look(), lab


@pytest.fixture
def digits():
    pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_show_what_they_claim(digits, name):
    first, then, lab = shown(name)
    total, frozen = first.report.numbers["total_gain"], float(first.report.layers["frozen"][0])
    if name in ("vanishing", "lsuv"):
        assert first.report.verdict == "vanishing"
        assert total < 1e-3
        assert then.accuracy < 0.2
    elif name == "exploding":
        assert first.report.verdict == "exploding"
        assert total > 1e3
        assert lab.error.startswith("training diverged at step")
    elif name == "clipped":
        assert first.report.verdict == "exploding"
        assert then.loss < 0.1 * first.loss
    elif name == "frozen":
        assert frozen > 0.9
    elif name == "float64":
        assert frozen < 0.2
        assert total == pytest.approx(shown("frozen")[0].report.numbers["total_gain"], rel=1e-3)
    else:
        assert first.report.verdict == "healthy"
        assert 0.01 < total < 10
        assert then.accuracy > 0.5
        assert then.loss < shown("vanishing")[1].loss - 1


def test_faces_can_be_told_apart():
    """As by the lesson's net of ReLUs."""
    pytest.importorskip("skimage")
    lab = Lab(defaults() | {"data": "faces", "depth": 4, "width": 16, "activation": "relu", "init": "he_normal"})
    first = lab.look()
    lab.train(150, 60)
    assert first.accuracy < 0.7
    assert lab.look().accuracy > 0.9


def test_the_first_layer_comes_back_by_relu_and_he(digits):
    """From sigmoids with LeCun's weights, its gradient grows by more than 1,000."""
    before, after = (float(shown(name, 0)[0].report.layers["grad_norm"][0]) for name in ("vanishing", "relu"))
    assert after > 1000 * before


def test_claims_are_sentences_of_the_lessons():
    for of in presets.as_data():
        assert of["claim"].endswith(".")
        assert "  " not in of["claim"]


def test_sentences_follow_the_numbers(digits):
    from vgfast.play.sentences import sentences

    texts = {}
    for name in ("vanishing", "exploding", "frozen", "float64", "relu"):
        first, then, lab = shown(name)
        texts[name] = " ".join(sentences(then or first, 0.1, lab.settings))
    assert "vanishes" in texts["vanishing"]
    assert "it guesses" in texts["vanishing"]
    assert "explodes" in texts["exploding"]
    assert "layer 1 is frozen" in texts["frozen"]
    assert "layer 1 moves" in texts["float64"]
    assert "neither vanishes nor explodes" in texts["relu"]
    assert "it learns" in texts["relu"] or "it has learned" in texts["relu"]
