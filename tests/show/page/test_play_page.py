"""``vgfast play`` in a browser: clicking and reading."""

import numpy as np
import pytest

from vgfast.play.session import Session
from vgfast.show.page import server

pytestmark = pytest.mark.any_isa

PAUSED = "document.querySelector('.state')?.textContent.startsWith('Not running, step {}')"
NORMS = "[...document.querySelectorAll('td[data-field=grad_norm]')].map(td => +td.dataset.value)"
MOONS = "#data=two+moons&depth=3&width=8&activation=tanh&init=critical&lr=0.1&steps=40"


@pytest.fixture
def session(browser, monkeypatch):
    monkeypatch.setattr(server, "_LOOK", 0.02)
    browser.look(1280)
    with Session(0) as session:
        yield session
        browser.open("about:blank")


def choose(browser, name, option):
    """In a list of the page, and wait until the server has taken it."""
    control = f"document.querySelector('[data-control={name}]')"
    browser.run(f"{control}.value = '{option}'; {control}.dispatchEvent(new Event('change')); 0")
    browser.wait(f"new URLSearchParams(location.hash.slice(1)).get('{name}') === '{option}'")


def first_norm(browser, steps):
    """|dW| of layer 1 at the first step, once so many have been taken."""
    for n in range(1, steps + 1):
        browser.run("document.querySelector('[data-do=step]').click()")
        browser.wait(f"new URLSearchParams(location.hash.slice(1)).get('steps') === '{n}'")
    browser.wait(f"document.querySelector('.ledger')?.dataset.step === '{steps - 1}'")
    return browser.run(NORMS)[0]


def test_another_activation_and_first_weights_bring_the_gradient_back(session, browser):
    pytest.importorskip("sklearn", reason="digits are scikit-learn's")
    browser.open(session.address, PAUSED.format(0))
    before = first_norm(browser, 2)
    choose(browser, "activation", "relu")
    choose(browser, "init", "he_normal")
    assert first_norm(browser, 2) > 1000 * before
    assert browser.problems == []


@pytest.mark.parametrize(
    ("preset", "verdicts"),
    [("vanishing", ["vanishing", "frozen"]), ("relu", ["healthy"]), ("exploding", ["exploding"])],
)
def test_a_preset_shows_what_it_claims(session, browser, preset, verdicts):
    pytest.importorskip("sklearn", reason="digits are scikit-learn's")
    browser.open(session.address, PAUSED.format(0))
    browser.run(f"document.querySelector('[data-preset={preset}]').click()")
    browser.wait(f"document.querySelector('[data-preset={preset}]').getAttribute('aria-pressed') === 'true'")
    browser.wait(f"{verdicts}.includes(document.querySelector('.verdict')?.dataset.verdict)")
    assert len(browser.run("document.querySelector('.claim').textContent")) > 20


def test_an_address_brings_the_same_bits(session, browser):
    browser.open(session.address + MOONS, PAUSED.format(40))
    first, address = session._lab.net.params.copy(), browser.run("location.hash")
    assert "steps=40" in address
    browser.wait("!document.querySelector('.play canvas').hidden")
    browser.run("document.querySelector('[data-do=step]').click()")
    browser.wait(PAUSED.format(41))
    assert (session._lab.net.params != first).any()
    browser.run(f"location.hash = {address!r}")
    browser.wait(PAUSED.format(40))
    np.testing.assert_array_equal(session._lab.net.params, first)
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_people_can_play(session, browser, axe, dark):
    browser.look(360, dark=dark)
    browser.open(session.address + MOONS, PAUSED.format(40))
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    browser.run(f"{axe}; undefined")
    faults = browser.run("axe.run().then(found => found.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
    assert [fault for fault in faults if fault[0] in ("serious", "critical")] == []
