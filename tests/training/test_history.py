"""What a history shows and hands on: text, tables, pictures, files, loggers; and of nets whose records are odd."""

import html.parser
import json
import math
import re
import sys

import numpy as np
import pytest
from histories import ODD, made_up, spread

import vgfast as vg
from vgfast.inspection import tables as inspection_tables
from vgfast.model.quantities import RECORD
from vgfast.show import shades
from vgfast.show.table import WIDTH
from vgfast.training import log, tables
from vgfast.training.history import History
from vgfast.training.log import Log
from vgfast.training.records import exponents_over_time, medians, over_time

pytestmark = pytest.mark.any_isa

# ---- plain data ----------------------------------------------------------------------------------


def test_the_long_table(trained):
    pytest.importorskip("pandas")
    table = trained.to_pandas()
    assert list(table.columns) == ["step", "layer", "loss", *RECORD.names]
    assert len(table) == len(trained.steps) * 3
    row = table[(table.step == 6) & (table.layer == 2)].iloc[0]
    assert row.loss == trained.loss[6]
    for name in RECORD.names:
        assert row[name] == trained.gradients[name][2, 1]
    assert table[table.layer == 3].gain.isna().all()


def test_the_table_of_a_report(small_problem):
    pytest.importorskip("pandas")
    report = vg.MLP([5, 8, 3], rng=0).inspect(*small_problem)
    table = report.to_pandas()
    assert table.loc[1, "grad_norm"] == report.layers[0].grad_norm
    assert table.index.name == "layer"


@pytest.mark.parametrize("of", [*ODD, "trained", "nothing"])
def test_a_dict_is_json(of, trained):
    history = trained if of == "trained" else History(np.zeros(3)) if of == "nothing" else made_up(*of)
    found = json.loads(json.dumps(history.to_dict(), allow_nan=False))
    assert found["loss"] == history.loss.tolist()
    assert found["steps"] == history.steps.tolist()
    for name in RECORD.names:
        values = history.gradients[name]
        back = np.array(found["gradients"][name], float).reshape(values.shape)  # None becomes NaN
        np.testing.assert_array_equal(back, np.where(np.isfinite(values), values, np.nan))


@pytest.mark.parametrize("size", ODD)
def test_a_dict_has_the_histograms(size):
    history = made_up(*size)
    assert history.to_dict()["exponents"] is None
    found = json.loads(json.dumps(spread(history).to_dict(), allow_nan=False))["exponents"]
    np.testing.assert_array_equal(np.array(found, np.uint32), history.exponents)


def test_histograms_are_not_in_lines_and_logs(tmp_path):
    texts = []
    for history in (made_up(3, 4), spread(made_up(3, 4))):
        history.to_jsonl(tmp_path / "a.jsonl")
        texts.append((tmp_path / "a.jsonl").read_text())
    assert texts[0] == texts[1]


def test_json_lines(trained, tmp_path):
    trained.to_jsonl(tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 3, 6, 9]
    assert len({tuple(line) for line in lines}) == 1
    assert len(lines[0]) == 3 + 3 * len(RECORD.names)
    for i, line in enumerate(lines):
        record = trained.gradients[i]
        assert line["loss"] == trained.loss[line["step"]]
        assert line["gradients/layer1.weight"] == record["grad_norm"][0]
        assert line["gradients/layer3.bias"] == record["bias_grad_norm"][2]
        assert line["gain/layer2"] == record["gain"][1]
        assert line["gain/layer3"] is None
        assert line["frozen/layer1"] == record["frozen"][0]
        whole = math.sqrt((record["grad_norm"] ** 2).sum() + (record["bias_grad_norm"] ** 2).sum())
        assert line["gradients/total"] == pytest.approx(whole, rel=1e-14)


def test_the_total_is_the_norm_of_the_whole_gradient(small_problem):
    X, y = small_problem
    net = vg.MLP([5, 8, 3], dtype="float64", rng=0)
    whole = np.linalg.norm(net.gradients(X, y).flat)
    history = net.fit(X, y, epochs=1, batch_size=len(X), inspect_every=1)
    ((_, values),) = log.entries(history)
    assert values["gradients/total"] == pytest.approx(whole, rel=1e-12)


# ---- callbacks -----------------------------------------------------------------------------------


def sent_by(net, X, y, quantities=None, fits=1, **how):
    sent = []
    callback = Log(lambda values, step: sent.append((step, values)), quantities)
    histories = [net.fit(X, y, batch_size=10, callbacks=[callback], **how) for _ in range(fits)]
    return sent, histories


def test_log_sends_each_step_once(small_problem):
    X, y = small_problem
    sent, (history,) = sent_by(vg.MLP([5, 8, 3], rng=0), X, y, epochs=3, inspect_every=3, validation_data=(X, y))
    assert [step for step, _ in sent] == [0, 3, 4, 6, 8, 9, 12]
    steps = [(step, values) for step, values in sent if "loss" in values]
    for (step, values), record in zip(steps, history.gradients, strict=True):
        assert values["loss"] == history.loss[step]
        assert values["gradients/layer2.weight"] == record["grad_norm"][1]
        assert "gain/layer2" not in values
    epochs = [values for _, values in sent if "epoch/loss" in values]
    wanted = [{f"epoch/{k}": v for k, v in epoch.items()} for epoch in history.epochs]
    assert epochs == [{"epoch/number": n, **epoch} for n, epoch in enumerate(wanted, 1)]
    assert {"epoch/accuracy", "epoch/val_loss", "epoch/val_accuracy"} < set(epochs[0])
    for _, values in sent:
        assert all(type(value) is float and math.isfinite(value) for value in values.values())


def test_log_counts_through_several_fits(small_problem):
    net = vg.MLP([5, 8, 3], rng=0)
    sent, _ = sent_by(net, *small_problem, fits=3, epochs=2, inspect_every=4, quantities=["gain"])
    steps = [step for step, _ in sent]
    assert steps == [0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24]  # never backwards, which loggers refuse
    assert list(sent[0][1]) == ["loss", "gradients/total", "gain/layer1"]


def test_log_without_inspection_sends_epochs(small_problem):
    sent, _ = sent_by(vg.MLP([5, 8, 3], rng=0), *small_problem, epochs=2)
    assert [(step, values["epoch/number"]) for step, values in sent] == [(4, 1.0), (8, 2.0)]


def test_what_send_returns_does_not_stop_training(small_problem):
    net = vg.MLP([5, 8, 3], rng=0)
    history = net.fit(*small_problem, epochs=2, callbacks=[Log(lambda values, step: True)])
    assert len(history.epochs) == 2


def test_log_of_the_textbook(small_problem):
    sent, _ = sent_by(vg.reference.MLP([5, 8, 3], rng=0), *small_problem, epochs=2, inspect_every=5)
    assert [step for step, _ in sent] == [0, 4, 5, 8]


def test_log_refuses():
    with pytest.raises(TypeError, match=r"send must be a function of \(values, step\) such as wandb.log, got 3"):
        Log(3)
    with pytest.raises(ValueError, match="unknown quantity 'gian'; did you mean 'gain'"):
        Log(print, ["gian"])
    with pytest.raises(TypeError, match="quantities must be a list of names"):
        Log(print, "gain")


# ---- text and HTML -------------------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    """Checks that tags nest; collects names, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("size", [*ODD, (10_000, 31), (300, 200)])
def test_html_of_a_history_is_small_and_plain(size, strict):
    history = made_up(*size)
    text = history._repr_html_()
    assert len(text.encode()) < 20_000
    tags = Tags(text)
    assert set(tags.names) <= {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert set(tags.attributes) <= {"style"}
    mean = over_time(history.gradients)
    shown = min(size[1], 40)
    assert tags.names.count("tr") == 1 + shown
    for cell in tables.ledger_rows(mean)[-1]:
        assert cell in tags.text
    assert (size[1] > 40) == ("40 of the 200 layers are shown" in tags.text)


@pytest.mark.parametrize("n_layers", [1, 3, 31, 200])
def test_html_of_a_report_is_small_and_plain(n_layers, rng, strict, monkeypatch):
    net = vg.MLP([4, *[5] * (n_layers - 1), 3], "sigmoid", rng=0)
    report = net.inspect(rng.normal(size=(9, 4)), np.arange(9) % 3)
    text = report._repr_html_()
    assert len(text.encode()) < 20_000
    tags = Tags(text)
    assert set(tags.names) <= {"table", "thead", "tbody", "tr", "th", "td", "p", "b", "ul", "li"}
    assert report.explanation in tags.text
    report.verdict, report.explanation, report.remedies = "<i>", "<script>", ["<b> & <u>"]
    monkeypatch.setattr(inspection_tables, "_table", lambda report: [("<h1>",), *[("<h2>",)] * n_layers])
    tags = Tags(report._repr_html_())
    assert not {"i", "script", "u", "h1", "h2"} & set(tags.names)
    assert "<script>" in tags.text


def test_html_shows_the_course_as_colours():
    history = made_up(3, 1)
    history.gradients["grad_norm"][:, 0] = [1e-4, 1e-2, 1]
    low, middle, high = (shades.colour(place) for place in (0.0, 0.5, 1.0))
    assert f"linear-gradient(90deg,{low},{middle},{high})" in history._repr_html_()
    history.gradients["grad_norm"][1, 0] = 0
    assert f"linear-gradient(90deg,{low},{shades.colour(np.nan)},{high})" in history._repr_html_()
    assert "grey: exactly 0" in history._repr_html_()


@pytest.mark.parametrize("size", [*ODD, (500, 31)])
def test_text_of_a_history(size, strict):
    history = made_up(*size)
    text = str(history)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.isascii()
    assert f"{size[0]} step" in text
    assert "\n" not in repr(history)
    table = text.splitlines()[-size[1] :]
    assert [int(line.split()[0]) for line in table] == list(range(1, size[1] + 1))


def test_text_is_the_mean_over_time(trained):
    line = str(trained).splitlines()[-2].split()
    mean = trained.mean()[1]
    assert line[1] == f"{mean['grad_norm']:.1e}"
    assert [float(word) for word in (line[2], line[4], line[6])] == [
        pytest.approx(mean[name], rel=5e-3) for name in ("weight_gain", "activation_gain", "gain")
    ]


def test_the_map_in_the_text():
    history = made_up(4, 1)
    history.gradients["grad_norm"][:, 0] = [1, 0, 1e-4, 1e-8]
    assert str(history).splitlines()[-1].endswith("  @ +.")


@pytest.mark.parametrize("size", [*ODD, (3, 120)])
@pytest.mark.parametrize("bins", [256, 2048])
def test_text_with_histograms(size, bins, strict):
    before = str(made_up(*size))
    lines = str(spread(made_up(*size), bins)).splitlines()
    assert lines[: before.count("\n") + 1] == before.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert [l for l in range(1, size[1] + 1) if any(line.startswith(f"layer {l}: ") for line in lines)] == list(
        range(1, size[1] + 1)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exponents_in_words_against_the_gradient(dtype, rng):
    X, y = rng.normal(size=(20, 10)), rng.integers(0, 3, 20)
    X[:, :3] = 0
    net = vg.MLP([10, 8, 3], dtype=dtype, rng=0)
    dws = [np.abs(dw) for dw in net.gradients(X, y).weights]
    text = str(net.fit(X, y, 1, 20, shuffle=False, inspect_every=1, inspect="histograms")).splitlines()
    for l, (dw, line) in enumerate(zip(dws, text[-2:], strict=True), 1):
        of = np.sort(dw[dw > 0])
        low, high, middle = of[0], of[-1], of[(len(of) - 1) // 2]
        low, high, middle = (math.floor(math.log2(value)) for value in (low, 2 * high, middle))
        zero = "30.0%" if l == 1 else "0%"
        assert line == f"layer {l}: 2^{low} .. 2^{high}, median 2^{middle}, {zero} zero or subnormal"


def test_exponents_in_words_at_the_ends():
    lines = str(spread(made_up(2, 3))).splitlines()
    assert lines[-3] == "layer 1: 100% zero or subnormal"
    assert lines[-2].startswith("layer 2: 2^-126 .. 2^128, median 2^-22, <0.1% zero or subnormal")
    assert lines[-1].endswith("0% zero or subnormal, <0.1% not finite")
    history = spread(made_up(2, 3))
    history.exponents[:, 0] *= 400_000
    assert exponents_over_time(history.exponents)[0, 0] == 2 * 9000 * 400_000  # more than 32 bits hold


def test_medians_are_of_neighbours():
    values = np.arange(20.0).reshape(10, 2)
    starts, found = medians(values, 100)
    assert starts.tolist() == list(range(10))
    np.testing.assert_array_equal(found, values)
    starts, found = medians(values, 3)
    assert starts.tolist() == [0, 3, 6]
    np.testing.assert_array_equal(found, [[2, 3], [8, 9], [15, 16]])


# ---- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["plot", "to_pandas", "to_jsonl", "mean"])
def test_without_inspected_steps(method, small_problem, tmp_path):
    history = vg.MLP([5, 3], rng=0).fit(*small_problem, epochs=1)
    arguments = [tmp_path / "a.jsonl"] if method == "to_jsonl" else []
    words = f"history.{method} is about inspected steps, and none of the 2 .* ask for them with fit"
    with pytest.raises(ValueError, match=words):
        getattr(history, method)(*arguments)
    assert not list(tmp_path.iterdir())


def test_histograms_without_inspected_steps():
    history = History(np.zeros(2))
    history.exponents = np.zeros((0, 1, 256), np.uint32)
    words = r"none of the 2 steps .* fit\(\.\.\., inspect_every=10, inspect='histograms'\)$"
    with pytest.raises(ValueError, match=words) as caught:
        history.plot()
    assert "\n" not in str(caught.value)
    assert "No step was inspected" in str(history)
    assert history.to_dict()["exponents"] == []


def test_shown_without_inspected_steps(small_problem):
    history = vg.MLP([5, 3], rng=0).fit(*small_problem, epochs=1)
    for text in (str(history), history._repr_html_(), str(History(np.zeros(0))), History(np.zeros(0))._repr_html_()):
        assert "No step was inspected; fit(..., inspect_every=10) shows" in text


def test_a_file_that_cannot_be_written(trained, tmp_path):
    for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / "no" / "a.jsonl", FileNotFoundError)):
        with pytest.raises(kind, match=r"the history cannot be written to this file .* choose another path") as caught:
            trained.to_jsonl(path)
        assert caught.value.filename == str(path)
    with pytest.raises(TypeError, match="PathLike"):
        trained.to_jsonl(1)  # not the file that standard output is


@pytest.mark.parametrize(("method", "module"), [("plot", "matplotlib"), ("to_pandas", "pandas")])
def test_what_is_not_installed_is_told(method, module, trained, small_problem, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    report = vg.MLP([5, 3], rng=0).inspect(*small_problem)
    for name, shown in (("history", trained), ("report", report)):
        words = rf"{name}.{method} needs {module}, which is not installed; install it with: pip install "
        with pytest.raises(ImportError, match=re.escape(words)):
            getattr(shown, method)()
