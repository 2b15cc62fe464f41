"""Pages: what they hold, that nothing in them comes from outside or gets out of its place, and how large they are."""

import base64
import hashlib
import json
import re
import stat

import numpy as np
import pytest
from pages import Tags, data_in, unpacked

import vgfast as vg
from vgfast.cost.report import report_cost
from vgfast.inspection.report import GradientReport
from vgfast.model.quantities import RECORD
from vgfast.pretrain import RBM
from vgfast.show import page
from vgfast.show.page import data
from vgfast.training.history import History

pytestmark = pytest.mark.any_isa

NASTY = "</script></title><!--<img src=x onerror=alert(1)>\"'&"


def history_of(n_records, n_layers, every=1, zeros=0.0):
    """Of random numbers, as few as can be compressed."""
    rng = np.random.default_rng(n_records)
    history = History(rng.uniform(0.1, 3, n_records * every))
    records = np.ones((n_records, n_layers), RECORD)
    for name in data.FIELDS:
        records[name] = rng.uniform(size=records.shape) * (rng.uniform(size=records.shape) >= zeros)
    records["gain"][:, -1] = np.nan
    history.gradients, history.steps = records, np.arange(n_records) * every
    history.lr = np.full(len(history.loss), 0.1)
    history.epochs = [{"loss": 1.0, "seconds": 0.1}]
    return history


# ---- packed arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("decades", [1, 30, 300])
def test_packed_numbers_come_back(rng, decades):
    values = rng.choice([-1, 1], (40, 7)) * 10 ** rng.uniform(-decades, decades, (40, 7))
    values[0] = [0.0, np.nan, np.inf, -np.inf, 1.0, 1 + 2**-16, 1 + 2**-16 + 2**-40]
    packed = data.packed(values)
    found, finite = unpacked(packed), np.isfinite(values)
    np.testing.assert_array_equal(found[~finite], values[~finite])
    assert found.shape == values.shape
    found, values = found[finite], values[finite]
    assert (np.abs(found - values) <= 2**-16 * np.abs(values)).all()
    assert ("d32" in packed) == (decades == 300)


@pytest.mark.parametrize(
    "edge", [2.0**-126, 1.2345e-39, 2.0**128 * (1 - 2**-24), 1e39, 2.0**-1022, 1.7976931348623157e308]
)
def test_the_ends_of_the_range(edge):
    found = unpacked(data.packed(np.array([edge, -edge])))
    np.testing.assert_allclose(found, [edge, -edge], rtol=2**-16, atol=0)


@pytest.mark.parametrize("values", [[], [0], [2**31 - 1, -(2**31)], [70_001, 2**16 + 1], [2**31], [2**53, 1]])
def test_whole_numbers_are_exact(values):
    whole = np.array(values, np.int64)
    np.testing.assert_array_equal(unpacked(json.loads(json.dumps(data.packed(whole)))), whole)


# ---- what a page holds -----------------------------------------------------------------------------------


def test_the_numbers_of_a_history(trained, tmp_path):
    trained.save_html(tmp_path / "a.html")
    (part,) = data_in((tmp_path / "a.html").read_text())["parts"]
    assert (part["kind"], part["layers"], part["every"], part["n_steps"]) == ("history", 3, 1, 12)
    np.testing.assert_array_equal(unpacked(part["steps"]), trained.steps)
    np.testing.assert_allclose(unpacked(part["loss"]), trained.loss, rtol=2**-16)
    assert unpacked(part["loss_steps"]).tolist() == list(range(12))
    assert part["epochs"] == trained.epochs
    assert part["epoch_steps"] == [4, 8, 12]
    assert tuple(part["fields"]) == data.FIELDS
    for name in data.FIELDS:
        np.testing.assert_allclose(unpacked(part["fields"][name]), trained.gradients[name], rtol=2**-16, atol=0)
    assert part["band"] is part["report"] is None
    assert "static" not in part


def test_epochs_end_where_they_did_though_more_steps_follow(small_problem):
    """As in a training that goes on: the second epoch is over, and not noted yet."""
    seen = []

    def look(done, total, history):
        seen.append((done, data.losses(history)["epoch_steps"]))

    vg.MLP([5, 8, 3], rng=0).fit(*small_problem, epochs=2, batch_size=10, progress=look, callbacks=[lambda *_: None])
    assert seen[-1] == (8, [4])


def test_factors_are_there_where_they_do_something(small_problem):
    for options in ({"normalization": "layer"}, {"residual": True}):
        net = vg.MLP([5, 8, 8, 8, 3], rng=0, **options)
        history = net.fit(*small_problem, epochs=1, batch_size=10, inspect_every=1)
        more = set(data.of_history(history)["fields"]) - set(data.FIELDS)
        assert more == {"normalization_gain" if "normalization" in options else "skip_gain"}


def test_theory_and_verdict_come_with_a_report(small_problem, tmp_path):
    net = vg.MLP([5, 8, 6, 3], "tanh", rng=0)
    report = net.inspect(*small_problem)
    net.fit(*small_problem, epochs=1, inspect_every=1).save_html(tmp_path / "a.html", report)
    text = (tmp_path / "a.html").read_text()
    (part,) = data_in(text)["parts"]
    for name, values in part["band"].items():
        np.testing.assert_array_equal(np.array(values, float), report.predicted[name])
    assert part["band"]["predicted_low"][-1] is None
    assert part["report"]["verdict"] == report.verdict
    assert part["report"]["remedies"] == report.remedies
    assert not {"layers", "static"} & part["report"].keys()
    assert report.explanation in Tags(text).shown()


def test_a_report_and_a_cost(small_problem, tmp_path):
    net = vg.MLP([5, 8, 3], rng=0)
    report, cost = net.inspect(*small_problem), net.cost(16, measure=False)
    report.save_html(tmp_path / "report.html")
    cost.save_html(tmp_path / "cost.html")
    (found,) = data_in((tmp_path / "report.html").read_text())["parts"]
    wanted = report.to_dict()
    names = ("verdict", "explanation", "fault", "layer", "remedies", "loss")
    assert {name: found[name] for name in names} == {name: wanted[name] for name in names}
    of_layer = [{name: unpacked(of)[0][l] for name, of in found["fields"].items()} for l in range(2)]
    for shown, layer in zip(of_layer, wanted["layers"], strict=True):
        expected = [np.nan if layer[name] is None else layer[name] for name in shown]
        np.testing.assert_allclose(list(shown.values()), expected, rtol=2**-16, atol=0)
    assert found["band"] == {name: [layer[name] for layer in wanted["layers"]] for name in data.PREDICTED}
    (found,) = data_in((tmp_path / "cost.html").read_text())["parts"]
    assert [row["phase"] for row in found["rows"]] == [row.phase for row in cost.rows]
    assert sum(row["of_step"] for row in found["rows"]) == pytest.approx(1)
    assert found["rows"][0]["measured"] is None
    assert found["about"] == [f"{cost.heading}.", *cost.notes]
    assert all(note in str(cost).replace("\n", " ") for note in cost.notes)


def test_of_many_layers_a_page_has_what_it_shows(tmp_path):
    sizes = (4,) * 1002
    records = np.ones(1001, RECORD)
    report = GradientReport(records, 1.0, sizes, ("tanh",) * 1000, 100, 32)
    report.save_html(tmp_path / "report.html")
    assert data_in((tmp_path / "report.html").read_text())["parts"][0]["band"] is None
    cost = report_cost(sizes, batch_size=8, measure=False)
    cost.save_html(tmp_path / "cost.html")
    (part,) = data_in((tmp_path / "cost.html").read_text())["parts"]
    layers = sorted({row["layer"] for row in part["rows"]})
    assert (layers[:2], layers[-1], len(layers), part["layers"]) == ([0, 1], 1001, data.MOST_LAYERS + 1, 1001)
    assert list(part["sizes"]) == [str(layer) for layer in layers[1:]]
    for layer in layers:
        assert len([row for row in part["rows"] if row["layer"] == layer]) == len(cost.by_layer[layer])
    before = len(page.text("", []))
    # The rows of all layers would be 1 MB, and a record of each as text 0.6 MB.
    assert (tmp_path / "cost.html").stat().st_size < before + 130_000
    assert (tmp_path / "report.html").stat().st_size < before + 30_000


# ---- what a page lets in ---------------------------------------------------------------------------------


def nasty_page(live=None):
    parts = [
        {"kind": "text", "heading": NASTY, "paragraphs": [NASTY]},
        {"kind": "table", "heading": NASTY, "headings": [NASTY], "rows": [[NASTY], [NASTY]], "notes": NASTY},
        data.picture(b"png", NASTY),
        data.of_history(history_of(3, 2), name=NASTY),
    ]
    return page.text(NASTY, parts, [NASTY], live)


def test_nothing_gets_out_of_its_place():
    tags = Tags(nasty_page())
    assert [tag[1] for tag in tags.of("img")] == [{"src": "data:image/png;base64,cG5n", "alt": NASTY}]
    assert [tag[1] for tag in tags.of("script")] == [
        {"type": "application/json", "id": "vgfast-data"},
        {"type": "module"},
    ]
    assert not any(name.startswith("on") for _, attributes, _ in tags.found for name in attributes)
    found = data_in(nasty_page())
    assert (found["title"], found["about"], found["parts"][3]["name"]) == (NASTY, [NASTY], NASTY)


def test_half_a_character_is_shown_as_one_that_is_missing(tmp_path):
    """Of a path that is no text, for example, Python keeps such halves."""
    page.save(tmp_path / "a.html", "a\ud800b", [data.of_history(history_of(3, 2), name="\udcff")])
    text = (tmp_path / "a.html").read_bytes().decode()
    assert "<title>a?b</title>" in text
    assert data_in(text)["title"] == "a\ud800b"


@pytest.mark.parametrize("live", [None, {"events": "/events?token=a", "commands": "/command?token=a"}])
def test_only_what_is_in_the_page_may_run(live):
    text = nasty_page(live)
    tags = Tags(text)
    (policy,) = [tag[1]["content"] for tag in tags.of("meta") if "http-equiv" in tag[1]]
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed.get("connect-src") == (None if live is None else "'self'")
    for rule, pattern in (
        ("script-src", r'<script type="module">(.*?)</script>'),
        ("style-src", "<style>(.*?)</style>"),
    ):
        (content,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[rule] == f"'sha256-{digest}'"
    assert not {"'unsafe-inline'", "'unsafe-eval'"} & set(allowed["script-src"].split())


def test_the_text_of_script_and_style_ends_where_they_do():
    assert not re.search(r"</?script|<!--", page.script(), re.IGNORECASE)
    assert "</style" not in page.style().lower()
    assert "\r" not in page.script() + page.style()


def test_a_page_names_no_address_to_get_anything_from():
    """Where it says who made uPlot, that is in a comment."""
    code = re.sub(r"/\*.*?\*/", "", nasty_page(), flags=re.DOTALL)
    allowed = {"http://www.w3.org/2000/svg"}  # a name, which nothing asks for
    assert set(re.findall(r"https?://[^\"'`\s)]*", code)) <= allowed
    assert not re.search(r"@import|url\((?!data:)|import\s*\(|\bimport\s+[\w{*\"']", code)


# ---- without a script ------------------------------------------------------------------------------------


def test_the_tables_are_there_without_scripts(trained, small_problem, tmp_path):
    report = vg.MLP([5, 8, 6, 3], "tanh", rng=0).inspect(*small_problem)
    trained.save_html(tmp_path / "a.html", report)
    text = (tmp_path / "a.html").read_text()
    before = text[: text.index("<script")]
    for table in (trained._repr_html_(), report._repr_html_()):
        assert table in before
    assert "10 steps" not in before
    assert "12 steps" in before
    assert "<noscript><p>With JavaScript" in before
    assert "<noscript>" not in page.text("a", [{"kind": "text", "heading": "", "paragraphs": ["b"]}])


# ---- sizes -----------------------------------------------------------------------------------------------


def test_a_thousand_steps_of_thirty_layers_go_by_mail(tmp_path):
    """Even of numbers that cannot be compressed."""
    history_of(1000, 30).save_html(tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size <= 600_000
    (part,) = data_in((tmp_path / "a.html").read_text())["parts"]
    n = -(-1000 // part["every"])
    assert part["about"] == [f"Shown are {n} of 1,000 inspected steps, one of every {part['every']}."]
    np.testing.assert_array_equal(unpacked(part["steps"]), np.arange(1000)[:: part["every"]])
    assert part["fields"]["gain"]["shape"] == [n, 30]


def test_a_thousand_steps_of_thirty_layers_are_all_shown_where_many_shares_are_none():
    part = data.of_history(history_of(1000, 30, zeros=0.75))
    assert (part["every"], part["about"]) == (1, [])


@pytest.mark.parametrize(("n_records", "n_layers", "every"), [(3, 10_000, 1), (2000, 2, 3), (100_000, 1, 2)])
def test_large_histories(n_records, n_layers, every):
    history = history_of(n_records, n_layers, every, zeros=0.9)
    part = data.of_history(history)
    (n, columns), every_shown = part["fields"]["frozen"]["shape"], part["every"]
    assert columns == n_layers
    assert 1 <= n <= data.MOST_RECORDS
    assert n * n_layers <= max(data.MOST_NUMBERS, n_layers)
    assert n == -(-n_records // every_shown)
    assert len(part["static"]) < 30_000
    points = unpacked(part["loss"])
    assert len(points) <= data.MOST_POINTS
    assert unpacked(part["loss_steps"])[-1] < len(history.loss)


def test_points_are_means_of_neighbours():
    history = history_of(10, 1, 500)
    part = data.of_history(history)
    np.testing.assert_allclose(
        unpacked(part["loss"])[:-1], history.loss[:4998].reshape(-1, 3).mean(axis=1), rtol=2**-15
    )
    assert unpacked(part["loss_steps"])[:2].tolist() == [1, 4]


def test_what_notebooks_keep_in_their_files_is_short(small_problem):
    X, y = small_problem
    net = vg.MLP([5, *[8] * 100, 3], "tanh", rng=0, residual=True, normalization="layer", dropout=0.1)
    history = net.fit(X, y, epochs=2, batch_size=1, inspect_every=1)
    report, cost = net.inspect(X, y, vg.Adam(), try_remedies=False), net.cost(16, measure=False)
    machine = RBM(4, n_iter=100, rng=0).fit(X > 0)
    for shown in (net, history, report, cost, machine, machine.history_):
        text = shown._repr_html_()
        assert "<table>" in text
        assert len(text) < 30_000
        assert not re.search("<script|<link|<img|https?:", text)
    assert text.count("<tr>") == 41
    assert "40 of the 100 epochs are shown." in text
    for untrained in (RBM(4), RBM(4).history_):
        assert "No epoch yet." in untrained._repr_html_()


def test_a_net_in_a_notebook_is_its_summary():
    net = vg.MLP([5, 8, 3], "tanh", rng=0)
    text = net._repr_html_()
    assert text.startswith("<p>MLP([5, 8, 3], &#x27;tanh&#x27;, ")
    assert "<tr><td>1</td><td>(5, 8)</td><td>48</td><td>tanh</td><td>glorot_uniform</td></tr>" in text
    assert "75 parameters of float32" in text


def test_a_net_of_thousands_of_layers_is_a_short_summary():
    """In which its sizes are not all named."""
    net = vg.MLP([2] * 10_000, rng=0, dropout=0.1)
    text = net._repr_html_()
    assert len(repr(net)) > 30_000
    assert len(text) < 10_000
    assert " ... " in text
    assert "dropout=0.1)</p>" in text


# ---- files -----------------------------------------------------------------------------------------------


def test_a_path_that_cannot_be_written(trained, tmp_path):
    (tmp_path / "file").write_text("")
    for path, error, words in [
        (tmp_path / "no" / "a.html", FileNotFoundError, "cannot be written: the folder .* does not exist; create it"),
        (tmp_path / "file" / "a.html", NotADirectoryError, "is no folder; choose another path"),
        (tmp_path, ValueError, "is not a regular file"),
        ("a\0b", ValueError, "NUL"),
        ("\ud800.html", ValueError, "which no file can be called; choose another"),
        (3, TypeError, "path must name the file of the page, got int; for example 'page.html'"),
    ]:
        with pytest.raises(error, match=words):
            trained.save_html(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_replaced_keeps_its_mode(trained, tmp_path):
    path = tmp_path / "a.html"
    path.write_text("old")
    path.chmod(0o600)
    trained.save_html(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("<!DOCTYPE html>")


def test_a_history_without_records_says_how_to_get_them(small_problem, tmp_path):
    history = vg.MLP([5, 8, 3], rng=0).fit(*small_problem, epochs=1)
    with pytest.raises(ValueError, match=r"history\.save_html is about inspected steps.*inspect_every=10"):
        history.save_html(tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_what_is_no_report_on_this_net(trained, small_problem, tmp_path):
    other = vg.MLP([5, 8, 3], rng=0).inspect(*small_problem)
    with pytest.raises(ValueError, match="a net of 3 layers, as this history is, got one of 2"):
        trained.save_html(tmp_path / "a.html", other)
    with pytest.raises(TypeError, match=r"report must be what net.inspect\(X, y\) returns"):
        trained.save_html(tmp_path / "a.html", "healthy")
    assert not list(tmp_path.iterdir())
