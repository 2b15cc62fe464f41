"""Pages as a browser shows them: their numbers, keys and clicks, that nothing comes from outside, and who can read
them."""

from dataclasses import replace

import numpy as np
import pytest

import vgfast as vg
from vgfast.cost.report import report_cost
from vgfast.model.quantities import RECORD
from vgfast.show import page, shades
from vgfast.show.page import data
from vgfast.training.history import History

pytestmark = pytest.mark.any_isa

DRAWN = "document.querySelector('[data-drawn]')"
# What has the data comes back with an error of at most this, relative to the number.
ROUNDED = 2.0**-16
NASTY = "</script><img src=x onerror=console.error(1)>"


class Trained:
    """A net whose gradient vanishes, its training, a report on it, and a page of all."""

    def __init__(self, folder):
        rng = np.random.default_rng(3)
        X, y = rng.normal(size=(96, 6)), rng.integers(0, 3, 96)
        net = vg.MLP([6, *[8] * 6, 3], "sigmoid", dtype="float32", rng=0)
        self.report = net.inspect(X, y, try_remedies=False)
        self.report.remedies.append(f"as if it had been tried: {NASTY}")
        self.history = net.fit(X, y, 5, batch_size=8, inspect_every=2, validation_data=(X, y))
        self.cost = net.cost(16, measure=False)
        parts = [
            data.of_history(self.history, self.report, NASTY),
            data.of_report(self.report, "One batch"),
            data.of_cost(self.cost, "What a step costs"),
            {"kind": "text", "heading": NASTY, "paragraphs": [NASTY]},
            {"kind": "table", "heading": "A table", "headings": ["what", NASTY], "rows": [["a", "1"]], "notes": NASTY},
        ]
        self.path = folder / "page.html"
        page.save(self.path, NASTY, parts, [NASTY])
        self.address = self.path.as_uri()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("page"))


@pytest.fixture
def shown(browser, trained):
    """The page, as it is at first, 1,280 pixels wide."""
    browser.look(1280)
    browser.open(trained.address, DRAWN)
    return browser


def numbers(browser, within):
    """By field, the numbers of the rows of a table, as they are in its cells; NaN for none."""
    cells = browser.run(
        f"[...document.querySelectorAll('{within} td[data-field]')].map(td => [td.dataset.field, td.dataset.value])"
    )
    found = {}
    for field, value in cells:
        found.setdefault(field, []).append(float(value or "nan"))
    return {field: np.array(values) for field, values in found.items()}


def move_slider(browser, position):
    browser.run(f"slider.value = {position}; slider.dispatchEvent(new Event('input'))")


def pressed(browser):
    return browser.run("document.querySelector('[data-part=\"0\"] [aria-pressed=true]').dataset.quantity")


def centre(browser, selector):
    """Of an element, in the window, once it has been scrolled there: left, top, width, height."""
    box = f"document.querySelector('{selector}')"
    browser.run(f"{box}.scrollIntoView({{block: 'center'}})")
    return browser.run(f"(({{left, top, width, height}}) => [left, top, width, height])({box}.getBoundingClientRect())")


# ---- what it shows ---------------------------------------------------------------------------------------


def test_ten_places_of_the_slider_show_the_history(shown, trained):
    found = trained.history.to_dict()
    last = len(found["steps"]) - 1
    assert shown.run("[slider.min, slider.max, slider.value].map(Number)") == [0, last, last]
    for k in np.linspace(0, last, 10).astype(int).tolist():
        move_slider(shown, k)
        assert shown.run("document.querySelector('.ledger').dataset.step") == str(found["steps"][k])
        fields = numbers(shown, '[data-part="0"] .ledger')
        assert fields.keys() >= {"grad_norm", "weight_gain", "activation_gain", "gain", "update_ratio", "frozen"}
        for field, values in fields.items():
            of = np.array(found["gradients"][field][k], dtype=float)
            np.testing.assert_allclose(values, of, rtol=ROUNDED, atol=0, err_msg=f"{field} of record {k}")


def test_cells_read_as_their_numbers(shown):
    """In the words of the terminal's tables."""
    cells = shown.run(
        "[...document.querySelectorAll('[data-part=\"0\"] td[data-field]')]"
        ".map(td => [td.dataset.field, td.dataset.value, td.textContent])"
    )
    forms = {"grad_norm": "{:.1e}", "update_ratio": "{:.1e}", "gain": "{:#.3g}", "saturated": "{:.1%}"}
    seen = 0
    for field, value, text in cells:
        if field in forms and value:
            assert text == forms[field].format(float(value))
            seen += 1
    assert seen == 4 * 7 - 1


@pytest.mark.parametrize("field", ["grad_norm", "saturated"])
def test_the_map_has_the_colour_of_each_number(shown, trained, field):
    shown.run(f"document.querySelector('[data-quantity={field}]').click()")
    values = trained.history.gradients[field].astype(float)
    most = next(share for share in (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) if values.max() <= share or share == 1)
    places = shades.places(values)[0] if field == "grad_norm" else values / most
    steps, n = trained.history.steps, len(trained.history.loss)
    for k, l in [(1, 0), (3, 2), (len(steps) - 1, 6), (10, 5)]:
        pixel = shown.run(
            "(({width, height}, canvas, over) => { const s = canvas.width / canvas.clientWidth;"
            f"const x = over.offsetLeft + width * {steps[k] / n}, y = over.offsetTop + height * {(l + 0.5) / 7};"
            "return [...canvas.getContext('2d').getImageData(Math.floor(x * s), Math.floor(y * s), 1, 1).data] })"
            "(document.querySelector('.map .u-over').getBoundingClientRect(), document.querySelector('.map canvas'),"
            "document.querySelector('.map .u-over'))"
        )
        expected = shades.colour(places[k, l]) if places[k, l] > 0 else "#bbbbbb"
        assert pixel[3] == 255
        # 256 colours: half of a step from one to the next, of which the steepest stop has 5 levels.
        assert np.abs(np.subtract(pixel[:3], [int(expected[i : i + 2], 16) for i in (1, 3, 5)])).max() <= 3, (k, l)


def show(browser, path, *parts):
    """A page of these parts."""
    page.save(path / "a.html", "a", parts)
    browser.look(1280)
    browser.open((path / "a.html").as_uri(), DRAWN)


def test_a_map_of_nothing_says_so(browser, tmp_path):
    """In words, too; and colours are of finite numbers."""
    history = History(np.ones(2))
    history.gradients, history.steps = np.zeros((2, 2), RECORD), np.arange(2)
    history.gradients["update_ratio"] = [[1.0, 0.01], [np.inf, np.nan]]
    history.gradients["frozen"] = [[0.0, 0.25], [0.5, 0.0]]
    show(browser, tmp_path, data.of_history(history))
    ramps = []
    for key, words in [("1", "none above 0."), ("2", "from 1.0e-02 to 1.0e+00."), ("3", "up to 50.0%."), ("5", "none")]:
        browser.press(key)
        assert words in browser.run("document.querySelector('.map canvas').getAttribute('aria-label')")
        ramps.append(browser.run("document.querySelector('.shade') !== null"))
    assert ramps == [False, True, True, False]
    browser.press("2")
    assert "exactly 0, or not finite" in browser.run("document.querySelector('.colours').textContent")
    grey = browser.run(
        "(canvas => [...canvas.getContext('2d').getImageData(canvas.width - 200, canvas.height / 4, 1, 1).data])"
        "(document.querySelector('.map canvas'))"
    )
    assert grey == [0xBB, 0xBB, 0xBB, 0xFF]


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_the_key_names_what_theory_draws(browser, tmp_path, normalization):
    """With a normalization it predicts no band."""
    net = vg.MLP([6, 8, 8, 3], "tanh", normalization=normalization, rng=0)
    X = np.random.default_rng(0).normal(size=(32, 6))
    report = net.inspect(X, np.arange(32) % 3, try_remedies=False)
    show(browser, tmp_path, data.of_report(report))
    key = browser.run("document.querySelector('.key').textContent")
    # Not a gradient with gaps, which PDFs are without.
    dashes = "getComputedStyle(document.querySelector('.dashes'))"
    assert browser.run(f"[{dashes}.borderTopStyle, {dashes}.backgroundImage]") == ["dashed", "none"]
    assert "predicted by theory" in key
    assert ("95% band" in key) == (browser.run("document.querySelector('.band') !== null")) == (normalization is None)
    for field, values in numbers(browser, ".ledger").items():
        wanted = [np.nan if layer[field] is None else layer[field] for layer in report.to_dict()["layers"]]
        np.testing.assert_allclose(values, wanted, rtol=ROUNDED, atol=0, err_msg=field)


def test_no_mark_of_the_roofline_is_cut_off(browser, trained, tmp_path):
    """Even where the machine's peak was measured too low."""
    show(browser, tmp_path, data.of_cost(replace(trained.cost, peak=trained.cost.peak / 30)))
    inside = browser.run(
        "(box => [...document.querySelectorAll('.phase')].map(mark => mark.getBoundingClientRect())"
        ".map(({top, bottom}) => top >= box.top && bottom <= box.bottom))"
        "(document.querySelector('.roofline').getBoundingClientRect())"
    )
    assert len(inside) > 5
    assert all(inside)


def test_the_cost_of_many_layers(browser, tmp_path):
    """Of which none takes a thousandth of the step."""
    show(browser, tmp_path, data.of_cost(report_cost((4,) * 1502, batch_size=8, measure=False)))
    assert browser.run("document.querySelectorAll('.phase').length") > 50
    assert "60 of 1,501 layers are shown" in browser.run("document.querySelector('main').textContent")
    first = browser.run("document.querySelector('.cost tbody:nth-of-type(2) th').textContent")
    assert first == "1 4 → 4"


def test_verdict_and_remedies(shown, trained):
    text = shown.run("verdict.textContent")
    assert text.startswith(f"{trained.report.verdict}: {trained.report.explanation}")
    assert trained.report.remedies[0] in text


def test_the_cost(shown, trained):
    found = trained.cost.to_dict()["rows"]
    order = sorted(found, key=lambda row: row["layer"])
    for field, values in numbers(shown, ".cost").items():
        if field in ("flops", "predicted", "intensity"):
            of = [np.nan if not row["bytes"] and field != "predicted" else row[field] for row in order]
            np.testing.assert_allclose(values, np.array(of, dtype=float), rtol=1e-12, err_msg=field)
    on_it = {row["phase"] for row in found if row["flops"]}
    assert shown.run("document.querySelectorAll('.roofline .phase').length") >= len(on_it) - 1


def test_nothing_of_the_data_is_html(shown):
    assert shown.run("document.querySelectorAll('img').length") == 0
    assert shown.run("document.querySelector('h1').textContent") == NASTY
    assert shown.run("document.querySelector('[data-part=\"3\"] p').textContent") == NASTY
    assert shown.problems == []


# ---- keys and clicks -------------------------------------------------------------------------------------


def test_keys_and_buttons_choose_what_the_map_shows(shown):
    names = ["grad_norm", "update_ratio", "frozen", "saturated", "dead"]
    words = set()
    for key, name in enumerate(names, 1):
        shown.press(str(key))
        assert pressed(shown) == name
        words.add(shown.run("document.querySelector('.map canvas').getAttribute('aria-label')"))
    assert len(words) == len(names)
    shown.run("document.querySelector('[data-quantity=frozen]').click()")
    assert pressed(shown) == "frozen"


def test_arrows_move_the_slider(shown):
    last = int(shown.run("slider.max"))
    shown.press("ArrowLeft")
    assert shown.run("slider.value") == str(last - 1)
    shown.run("slider.focus()")
    shown.press("ArrowLeft")
    assert shown.run("slider.value") == str(last - 2)
    step = shown.run("document.querySelector('.ledger').dataset.step")
    assert shown.run("document.querySelector('.now').textContent").startswith(f"Step {step} of ")
    assert shown.run("slider.getAttribute('aria-valuetext')").startswith(f"step {step} of ")


def test_a_click_on_the_map_sets_the_slider_and_shows_the_number(shown, trained):
    left, top, width, height = centre(shown, ".map .u-over")
    k, n = 4, len(trained.history.loss)
    at = left + width * trained.history.steps[k] / n, top + height * 2.5 / 7
    shown.point(*at, "mouseMoved", "mousePressed", "mouseReleased")
    assert shown.run("slider.value") == str(k)
    value = trained.history.gradients["grad_norm"][k, 2]
    tip = shown.run("document.querySelector('.tip').textContent")
    assert tip == f"step {trained.history.steps[k]}, layer 3: |dW| {value:.1e}"


# ---- what a page must hold to ----------------------------------------------------------------------------


def test_a_page_asks_for_nothing_and_complains_of_nothing(shown, trained):
    for key in "12345":
        shown.press(key)
    move_slider(shown, 0)
    assert shown.problems == []
    assert [address for address in shown.requests if not address.startswith("data:")] == [trained.address]


def test_without_scripts_the_tables_are_there(browser, trained):
    browser.scripts(False)
    try:
        browser.open(trained.address)
        text = browser.run("document.querySelector('main').textContent")
    finally:
        browser.scripts(True)
    assert f"{trained.history.mean()['grad_norm'][0]:.1e}" in text
    assert trained.report.explanation in text


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_a_page_goes_down_only(browser, trained, width):
    """Tables that are too wide move in a box of their own."""
    browser.look(width)
    browser.open(trained.address, DRAWN)
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_people_can_read_it(browser, trained, axe, width, dark):
    browser.look(width, dark=dark)
    browser.open(trained.address, DRAWN)
    browser.run(f"{axe}; undefined")
    faults = browser.run("axe.run().then(found => found.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
    assert [fault for fault in faults if fault[0] in ("serious", "critical")] == []


def test_small_numbers_and_late_steps(browser, tmp_path):
    """Gradients that float32 does not hold, and steps beyond 2^31."""
    history = History(np.ones(3))
    history.gradients = np.ones((3, 2), RECORD)
    history.gradients["grad_norm"] = [[1e-300, 1e-200], [0.0, np.nan], [3e-310, 1.5]]
    history.steps = np.array([0, 1, 2])
    part = data.of_history(history)
    part["steps"] = data.packed(np.array([5, 2**31, 2**40]))
    page.save(tmp_path / "a.html", "a", [part])
    browser.open((tmp_path / "a.html").as_uri(), DRAWN)
    for k, step in enumerate([5, 2**31, 2**40]):
        move_slider(browser, k)
        assert browser.run("document.querySelector('.ledger').dataset.step") == str(step)
        values = numbers(browser, ".ledger")["grad_norm"]
        # 3e-310 has fewer bits than the others: what is below 2^-1042 is lost with the lower half of a float64.
        np.testing.assert_allclose(values, history.gradients["grad_norm"][k], rtol=ROUNDED, atol=2.0**-1042)
    assert browser.problems == []


def test_ten_thousand_layers(browser, tmp_path):
    history = History(np.ones(4))
    history.gradients, history.steps = np.ones((4, 10_000), RECORD), np.arange(4)
    history.gradients["grad_norm"] = np.logspace(-9, 0, 10_000)
    history.save_html(tmp_path / "a.html")
    browser.open((tmp_path / "a.html").as_uri(), DRAWN)
    layers = browser.run("[...document.querySelectorAll('tr[data-layer]')].map(tr => +tr.dataset.layer)")
    assert (layers[0], layers[-1], len(layers)) == (1, 10_000, 62)
    assert "62 of 10,000 layers are shown" in browser.run("document.querySelector('main').textContent")
    assert browser.problems == []


def test_sizes():
    """Of what is ours, and of all that is in each page before its data."""
    ours = sum(len((page.HERE / name).read_bytes()) for name in ("page.js", "page.css"))
    assert ours < 60_000
    assert len(page.script().encode()) + len(page.style().encode()) < 120_000
