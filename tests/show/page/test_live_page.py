"""A live page in a browser: new records, a new verdict, states and errors; and the controls of a training."""

import numpy as np
import pytest

from vgfast.model.quantities import RECORD
from vgfast.show import page
from vgfast.show.page import data
from vgfast.show.page import server as served
from vgfast.show.page.server import Server
from vgfast.training.history import History

pytestmark = pytest.mark.any_isa

LIVE = "document.querySelector('.state')?.textContent.includes('step')"
STEP = "document.querySelector('.ledger')?.dataset.step"
CONTROLS = [
    {"name": "depth", "label": "hidden layers", "type": "range", "min": 1, "max": 50, "step": 1, "value": 3},
    {"name": "init", "label": "first weights", "options": ["lecun_normal", "he_normal"], "value": ""},
    {"name": "batch", "label": "rows of a batch", "options": [16, 64], "value": 16, "help": "few"},
]
SETTINGS = {"depth": 3, "init": "lecun_normal", "batch": 16}
REPORT = {"verdict": "healthy", "explanation": "so far", "remedies": []}


def records(first, n, n_layers=4):
    """A history of n records from step first on, whose gradient norms are step + layer / 10."""
    history = History(np.linspace(2, 1, first + n))
    history.gradients, history.steps = np.ones((n, n_layers), RECORD), np.arange(first, first + n)
    history.gradients["grad_norm"] = history.steps[:, None] + 1 + np.arange(n_layers) / 10
    return history


def event_of(first, n, n_layers=4):
    """What a server tells of them."""
    part = data.of_history(records(first, n, n_layers))
    loss = data.packed(np.ones(n)), data.packed(np.arange(first, first + n))
    told = {name: part[name] for name in ("steps", "fields")} | {"loss": loss[0], "loss_steps": loss[1]}
    return {"type": "records", "part": 0, "n_steps": first + n, "epochs": [], "epoch_steps": [], **told}


class Source:
    """Tells what it is given, and keeps what it is asked for."""

    def __init__(self, parts):
        self.parts, self.waiting, self.commands = parts, [], []
        self.state = {"type": "state", "running": True, "step": 7, "ms_per_step": 0.25, "error": None, "sentences": []}

    def document(self, live):
        return page.text("Live", self.parts, [], live), page.policy(live=True)

    def page(self, live):
        return [{"type": "page", "page": page.data_of("Live", self.parts, [], live)}, self.state]

    def news(self, wanted):
        told, self.waiting = self.waiting, []
        return told

    def tell(self, event):
        self.waiting.append(event)

    def command(self, asked):
        if asked.get("settings", {}).get("depth") == 50:
            raise ValueError("depth must be at most 49 here")
        self.commands.append(asked)
        preset = "vanishing" if asked.get("settings", {}).get("depth") == 20 else None
        self.tell(self.state | {"preset": preset, "hash": f"seed={len(self.commands)}"})
        now = {"settings": SETTINGS | asked.get("settings", {}), "hash": f"seed={len(self.commands)}"}
        self.parts = [part | now if part["kind"] == "play" else part for part in self.parts]
        return {"ok": True, **now}


@pytest.fixture
def serve(browser, monkeypatch):
    """A function that serves these parts, and opens the page; its source comes back."""
    monkeypatch.setattr(served, "_LOOK", 0.02)
    servers = []

    def serve(*parts, hash=""):
        source = Source(list(parts))
        servers.append(Server(source, 0))
        browser.look(1280)
        browser.open(servers[0].address + hash, LIVE)
        return source

    yield serve
    browser.open("about:blank")
    for server in servers:
        server.close()


def play_part(**more):
    presets = [{"name": "vanishing", "label": "Vanishing", "claim": "It dies.", "settings": {"depth": 20}}]
    part = {"kind": "play", "controls": CONTROLS, "presets": presets, "settings": SETTINGS, "hash": "seed=0"}
    return part | {"points": None, "static": ""} | more


def test_new_records_come_in_and_the_slider_follows(serve, browser):
    source = serve(data.of_history(records(0, 5)))
    assert browser.run(STEP) == "4"
    band = {name: [0.9, 0.9, 0.9, None] for name in ("predicted_gain", "predicted_low", "predicted_high")}
    source.tell(event_of(5, 3) | {"report": REPORT, "band": band})
    browser.wait(f"{STEP} === '7'")
    assert browser.run("[slider.max, slider.value]") == ["7", "7"]
    cells = "[...document.querySelectorAll('td[data-field=grad_norm]')].map(td => +td.dataset.value)"
    np.testing.assert_allclose(browser.run(cells), [8.0, 8.1, 8.2, 8.3], rtol=2**-16)
    assert browser.run("verdict.textContent") == "healthy: so far"
    assert browser.run("document.querySelectorAll('.band').length") == 3
    # Who looks at the past stays there.
    browser.run("slider.value = 2; slider.dispatchEvent(new Event('input'))")
    source.tell(event_of(8, 2))
    browser.wait("slider.max === '9'")
    assert browser.run(f"[{STEP}, slider.value]") == ["2", "2"]
    assert browser.problems == []


def test_of_a_page_only_what_is_new_is_drawn(serve, browser):
    first, second = data.of_history(records(0, 5)), data.of_history(records(0, 3))
    source = serve(first, second)
    ledgers = "[...document.querySelectorAll('.ledger')]"

    def told(*parts):
        source.parts = list(parts)
        source.tell({"type": "page", "page": page.data_of("Live", source.parts)})
        source.tell(source.state | {"step": len(said)})
        browser.wait(f"document.querySelector('.state').textContent.includes('step {len(said)},')")
        said.append(browser.run(f"{ledgers}.map(ledger => [ledger.isOld, ledger.dataset.step])"))
        return said[-1]

    said = [None]
    browser.run(f"{ledgers}.forEach(ledger => {{ ledger.isOld = true }})")
    assert told(first, data.of_history(records(0, 4))) == [[True, "4"], [None, "3"]]
    source.tell(event_of(5, 3))
    browser.wait(f"{STEP} === '7'")
    assert told(first, second) == [[None, "4"], [None, "2"]]  # as after a rewind
    assert browser.problems == []


def test_a_training_without_records_yet(serve, browser):
    empty = data.of_history(records(0, 1)) | {"steps": data.packed(np.zeros(0, int))}
    empty["fields"] = {name: data.packed(np.zeros((0, 4))) for name in empty["fields"]}
    source = serve(empty)
    assert browser.run(f"{STEP} ?? null") is None
    source.tell(event_of(1, 2))
    browser.wait(f"{STEP} === '2'")
    assert browser.problems == []


def test_a_page_before_any_training(serve, browser):
    """As it is opened by ``vgfast watch``, before the script has begun one."""
    source = serve()
    assert browser.run("document.querySelectorAll('section').length") == 0
    source.parts = [data.of_history(records(0, 5))]
    source.tell({"type": "page", "page": page.data_of("Live", source.parts)})
    browser.wait(f"{STEP} === '4'")
    assert browser.problems == []


def test_state_and_error(serve, browser):
    source = serve(data.of_history(records(0, 5)))
    assert browser.run("document.querySelector('.state').textContent") == "Running, step 7, 0.250 ms a step"
    ended = {"running": False, "ms_per_step": None, "error": "ValueError: <b>", "sentences": ["It has ended."]}
    source.tell(source.state | ended)
    browser.wait("document.querySelector('[role=alert]').textContent === 'ValueError: <b>'")
    assert browser.run("document.querySelector('.state').textContent") == "Not running, step 7It has ended."


def test_a_server_that_ends_is_noticed(serve, browser):
    part = data.of_history(records(0, 5))
    source = Source([part])
    server = Server(source, 0)
    browser.open(server.address, LIVE)
    status = "document.querySelector('.state')"
    keep = f"said.push({status}.textContent)"
    browser.run(f"said = []; new MutationObserver(() => {keep}).observe({status}, {{childList: true}}); 0")
    source.waiting = [event_of(5, 3), source.state | {"step": 8}]
    server.close()
    # After all that was sent, however long that takes to be unpacked.
    browser.wait(
        f"{STEP} === '7' && ['has ended', 'step 8'].every((words) => said.some((text) => text.includes(words)))"
    )
    assert [text.split(",")[0] for text in browser.run("said")[:2]] == ["Running", "The program has ended"]


def test_controls_ask_for_what_they_say(serve, browser):
    source = serve(play_part(), data.of_history(records(0, 3)))
    browser.run("document.querySelector('[data-preset=vanishing]').click()")
    browser.wait("location.hash === '#seed=1'")
    assert source.commands == [{"do": "set", "settings": {"depth": 20}}]
    assert browser.run("document.querySelector('[data-control=depth]').value") == "20"
    browser.wait("document.querySelector('.claim').textContent === 'It dies.'")
    assert browser.run("document.querySelector('[data-preset]').getAttribute('aria-pressed')") == "true"
    changes = [
        ("init", "selectedIndex = 1", "he_normal"),
        ("batch", "selectedIndex = 1", 64),
        ("depth", "value = 5", 5),
    ]
    for n, (name, change, value) in enumerate(changes, 2):
        control = f"document.querySelector('[data-control={name}]')"
        browser.run(f"{control}.{change}; {control}.dispatchEvent(new Event('change')); 0")
        browser.wait(f"location.hash === '#seed={n}'")
        assert source.commands[-1] == {"do": "set", "settings": {name: value}}
    for n, order in enumerate(("pause", "step", "rewind"), len(source.commands) + 1):
        browser.run(f"document.querySelector('[data-do={order}]').click()")
        browser.wait(f"location.hash === '#seed={n}'")
        assert source.commands[-1] == {"do": order}
    assert browser.run("document.querySelector('[data-do=start]').disabled") is True
    assert browser.problems == []


def test_what_is_refused_says_why(serve, browser):
    source = serve(play_part())
    control = "document.querySelector('[data-control=depth]')"
    browser.run(f"{control}.value = 50; {control}.dispatchEvent(new Event('change')); 0")
    alert = "document.querySelector('[role=alert]').textContent"
    browser.wait(f"{alert} === 'depth must be at most 49 here'")
    assert source.commands == []
    browser.wait(f"{control}.value === '3'")  # as it still is
    # It stays until the next command, whatever the state is; what is wrong with that, until there is another.
    source.tell(source.state | {"step": 8, "error": "It diverged."})
    browser.wait(f"{alert} === 'It diverged. depth must be at most 49 here'")
    browser.run(f"{control}.value = 4; {control}.dispatchEvent(new Event('change')); 0")
    browser.wait(f"{alert} === 'It diverged.' || {alert} === ''")
    source.tell(source.state | {"step": 9})
    browser.wait(f"{alert} === ''")


def test_of_many_epochs_those_that_are_shown_keep_their_numbers(serve, browser):
    epochs = [{"loss": 1.0, "accuracy": share} for share in (0.25, 0.5, 0.75)]
    serve(data.of_history(records(0, 20)) | {"epochs": epochs, "epoch_steps": [2, 10, 18]})
    read = "document.querySelector('.now').textContent"
    assert browser.run(read).endswith("accuracy 75.0% after epoch 9")
    browser.run("slider.value = 12; slider.dispatchEvent(new Event('input'))")
    assert browser.run(read).endswith("accuracy 50.0% after epoch 5")


def test_an_address_restores_its_state(serve, browser):
    source = serve(play_part(), hash="#seed=5&depth=9")
    browser.wait("location.hash === '#seed=1'")
    assert source.commands == [{"do": "set", "hash": "seed=5&depth=9"}]


def test_points_and_what_the_net_makes_of_the_plane(serve, browser, axe):
    points = {"x": data.packed([-0.5, 0.5]), "y": data.packed([-0.5, 0.5]), "label": data.packed([0, 1])}
    source = serve(play_part(points=points))
    values = np.tile([0.0, 0.0, 1.0, 1.0], (4, 1))  # the second class at the right
    source.tell(source.state | {"boundary": {"packed": data.packed(values), "low": [-1.0, -1.0], "high": [1.0, 1.0]}})
    pixel = "[...document.querySelector('.play canvas').getContext('2d').getImageData({}, {}, 1, 1).data]"
    browser.wait(pixel.format(20, 150) + "[3] > 0")
    left, right = browser.run(pixel.format(20, 150)), browser.run(pixel.format(280, 150))
    assert left[2] > left[0]  # blue
    assert right[0] > right[2]  # orange
    # Points are drawn over them: y grows upwards.
    assert browser.run(pixel.format(75, 225))[3] == browser.run(pixel.format(225, 75))[3] == 255
    browser.run(f"{axe}; undefined")
    faults = browser.run("axe.run().then(found => found.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
    assert [fault for fault in faults if fault[0] in ("serious", "critical")] == []
    assert browser.problems == []
