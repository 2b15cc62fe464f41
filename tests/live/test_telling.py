"""When a page is told of a training, and of which."""

from types import SimpleNamespace

import pytest
from watched import grow, history_of, whole

import vgfast as vg
from vgfast.live import watch as live
from vgfast.live.watch import Watch


def test_what_was_told_before_thinning_holds_no_more(page):
    net, history = vg.MLP([6, 8, 3], rng=0), history_of(900)
    page.on_train_begin(net, history)
    assert page.news(True) is None
    assert page.news(True) == []
    grow(history, 1100)
    page.on_progress(net, history)
    assert page.news(True) is None
    assert whole(page)[0]["parts"][0]["every"] == 2


@pytest.fixture
def clock(monkeypatch):
    """Of the page, which tells every 3 s, and of ends within 1 s."""
    monkeypatch.setattr(live, "_TELL", 3.0)
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(live, "time", clock)
    return clock


def test_when_records_are_told(page, clock):
    """Each time that it is looked at, there is more; looks are 1 s apart."""
    net, history, told = vg.MLP([6, 8, 3], rng=0), history_of(10), []
    page.on_train_begin(net, history)
    assert page.news(True) is None
    for steps in range(11, 21):
        clock.now += 1
        grow(history, steps)
        page.on_progress(net, history)
        if page.news(True):
            told.append(clock.now - 100)
    assert told == [3, 6, 9]
    page.on_train_end(net, history)
    assert page.news(True) == []
    clock.now += 1
    (records, state) = page.news(True)
    assert (records["n_steps"], state["running"]) == (20, False)


def test_an_error_is_told_at_once_and_trainings_in_a_row_are_not(page, clock):
    net, first, second = vg.MLP([6, 8, 3], rng=0), history_of(10), history_of(10)
    page.on_train_begin(net, first)
    assert page.news(True) is None
    clock.now += 0.5
    page.on_train_end(net, first)
    page.on_train_begin(net, second)
    assert page.news(True) == []
    clock.now += 0.5
    assert page.news(True) == []
    page.on_exception(net, second, ValueError())
    assert page.news(True) is None
    clock.now += 4
    page.on_train_begin(net, history_of(10))  # after a while
    assert page.news(True) is None


def test_who_loads_the_page_goes_on_from_there(page, clock):
    """And is not sent what was told before."""
    net, history = vg.MLP([6, 8, 3], rng=0), history_of(10)
    page.on_train_begin(net, history)
    page.news(True)
    clock.now += 1
    grow(history, 12)
    page.on_progress(net, history)
    page.document({"events": "/e", "commands": "/c"})
    assert page.news(True)[0]["n_steps"] == 12
    assert whole(page)[0]["parts"][0]["n_steps"] == 12


@pytest.mark.parametrize("how", ["close", "end"])
def test_what_was_not_told_yet_is_told_in_the_end(how, monkeypatch):
    monkeypatch.setattr(live, "_TELL", 3600.0)
    monkeypatch.setattr(live.server, "_LOOK", 60)
    page = Watch("a training", 0)
    net, history = vg.MLP([6, 8, 3], rng=0), history_of(10)
    page.on_train_begin(net, history)
    page.news(True)
    grow(history, 12)
    history.epochs = [{"loss": 1.0, "accuracy": 0.5}]
    getattr(page, how)()
    page.close()
    (shown,) = page._shown
    assert (shown.told.steps, shown.told.epochs, shown.course.running) == (12, 1, how == "close")


def test_epochs_are_told_while_a_training_goes_on(page):
    """By whichever look comes next."""
    net, history = vg.MLP([6, 8, 3], rng=0), history_of(10)
    page.on_train_begin(net, history)
    page.news(True)
    history.epochs, history.steps_per_epoch = [{"loss": 1.0, "accuracy": 0.5}], 10
    grow(history, 11)
    page.on_progress(net, history)
    assert page.news(True)[0]["epoch_steps"] == [10]


def test_the_state_is_that_of_a_training_that_goes_on(page):
    net, first, second = vg.MLP([6, 8, 3], rng=0), history_of(10), history_of(5)
    page.on_train_begin(net, first)
    page.on_train_begin(net, second)
    page.on_train_end(net, second)
    page.news(True)
    state = whole(page)[1]
    assert (state["running"], state["step"]) == (True, 10)
    page.on_train_end(net, first)
    page.news(True)
    state = whole(page)[1]
    assert (state["running"], state["step"]) == (False, 5)
