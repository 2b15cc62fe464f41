"""``vgfast play`` in a browser: presets that are clicked show what their lessons say, and an address its state."""

import pytest

from vgfast.play import presets
from vgfast.play.session import Session
from vgfast.show.page import server as served

pytestmark = pytest.mark.any_isa

# Of layer 1 at the record under the slider; the words about the numbers.
NORM = "+document.querySelector('tr[data-layer=\"1\"] td[data-field=grad_norm]')?.dataset.value"
FROZEN = "+document.querySelector('tr[data-layer=\"1\"] td[data-field=frozen]')?.dataset.value"
VERDICT = "document.querySelector('#verdict')?.textContent"
WORDS = "document.querySelector('.state')?.parentElement.textContent"
BARS = "[...document.querySelectorAll('.norms rect')].map(bar => 9 - bar.getAttribute('y'))"
VERDICTS = {"vanishing": "vanishing:", "exploding": "exploding:", "lsuv": "vanishing:", "clipped": "exploding:"}
SETTINGS = "depth=8&width=30&activation=sigmoid&init=lecun_normal&lr=0.05&data=two+moons"


@pytest.fixture
def session(browser, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(served, "_LOOK", 0.1)
    with Session(0) as session:
        browser.look(1280)
        browser.open(session.address, f"document.querySelector('#verdict') && {WORDS}?.includes('guess')")
        yield session
        browser.open("about:blank")


def choose(browser, name, value):
    """A control, as with the mouse."""
    control = f"document.querySelector('[data-control={name}]')"
    chosen = f"selectedIndex = [...{control}.options].findIndex(o => o.textContent.trim() === {value!r})"
    browser.run(f"{control}.{chosen}; {control}.dispatchEvent(new Event('change')); 0")
    browser.wait(f"new URLSearchParams(location.hash.slice(1)).get({name!r}) === {value!r}")


def test_presets_show_what_their_lessons_say(session, browser):
    """Before the first step; that they learn or do not is tested without a browser."""
    norms, frozen = {}, {}
    for name, of in presets.PRESETS.items():
        button = f"document.querySelector('[data-preset=\"{name}\"]')"
        before = session._lab
        browser.run(f"{button}.click()")
        with session._changed:  # the first preset is how the page begins, and its button pressed before
            assert session._changed.wait_for(lambda net=before: session._lab is not net and session._look, 60)
        browser.wait(f"{button}.getAttribute('aria-pressed') === 'true'")  # from here on the page is of this net
        assert browser.run("document.querySelector('.claim').textContent") == of.claim()
        verdict = VERDICTS.get(name, "vanishing:" if "biases too" in of.settings.get("init", "") else "healthy:")
        browser.wait(f"{VERDICT}?.startsWith({verdict!r})")
        shown = float(session._look.report.layers["grad_norm"][0])
        browser.wait(f"{NORM} > {shown / 3} && {NORM} < {3 * shown}")  # its record is of another batch
        norms[name], frozen[name] = browser.run(NORM), browser.run(FROZEN)
    assert norms["relu"] > 1000 * norms["vanishing"]
    assert norms["exploding"] > 1000 * norms["relu"]
    assert frozen["frozen"] > 0.9
    assert frozen["float64"] < 0.2
    assert browser.problems == []
    assert {address.split("/")[2] for address in browser.requests} == {f"127.0.0.1:{session._server.port}"}


def test_the_gradient_comes_back_by_relu_and_he(session, browser):
    assert browser.run(VERDICT).startswith("vanishing:")
    before, bars = browser.run(NORM), browser.run(BARS)
    assert len(bars) == 9
    assert bars == sorted(bars)  # each layer's is higher than that of the layer before it
    choose(browser, "activation", "relu")
    choose(browser, "init", "he_normal")
    browser.wait(f"{NORM} > {1000 * before}")
    browser.wait(f"{VERDICT}?.startsWith('healthy:')")
    assert browser.run(BARS)[0] > bars[0] + 3  # powers of ten
    assert browser.problems == []


def test_an_address_comes_to_the_same_bits(session, browser):
    browser.open(f"{session.address}#{SETTINGS}&seed=3&steps=40", f"{WORDS}?.includes('step 40')")
    bits = session._lab.net.params.tobytes()
    browser.run("document.querySelector('[data-do=step]').click()")
    browser.wait("location.hash.endsWith('&steps=41')")
    shared = browser.run("location.hash").replace("&steps=41", "&steps=40")
    browser.run("document.querySelector('[data-do=rewind]').click()")
    browser.wait("location.hash.endsWith('&steps=0')")
    assert session._lab.net.params.tobytes() != bits
    browser.open("about:blank")
    browser.open(session.address + shared, f"{WORDS}?.includes('step 40')")
    assert session._lab.net.params.tobytes() == bits
    browser.run("document.querySelector('[data-do=step]').click()")
    browser.wait(f"{WORDS}?.includes('step 41')")  # which comes after the address has it
    browser.run(f"location.hash = {shared!r}")  # into the address of a page that is open
    browser.wait(f"{WORDS}?.includes('step 40')")
    assert session._lab.net.params.tobytes() == bits
    assert browser.problems == []


def test_commands_are_obeyed_in_their_order(session, browser):
    preset = "document.querySelector('[data-preset=relu]')"
    browser.run(f"{preset}.click(); document.querySelector('[data-do=start]').click()")
    browser.wait(f"{preset}.getAttribute('aria-pressed') === 'true' && {WORDS}?.includes('Running')")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_people_can_play(session, browser, axe, dark):
    browser.look(360, dark=dark)
    browser.open(f"{session.address}#{SETTINGS}&steps=40", f"{WORDS}?.includes('step 40')")
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    browser.run(f"{axe}; undefined")
    faults = browser.run("axe.run().then(found => found.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
    assert [fault for fault in faults if fault[0] in ("serious", "critical")] == []


def test_a_net_that_trains_is_followed(session, browser):
    browser.open(f"{session.address}#data=two+moons&depth=2&activation=tanh&lr=0.3", f"{WORDS}?.includes('step 0')")
    browser.run("document.querySelector('[data-do=start]').click()")
    browser.wait(f"/it (learns|has learned)/.test({WORDS})")
    browser.run("document.querySelector('[data-do=pause]').click()")
    browser.wait(f"{WORDS}?.includes('Not running')")
    assert session._lab.n_steps > 10
    assert browser.problems == []
