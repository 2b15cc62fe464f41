"""The lessons: that each runs as a user would run it, that its claim comes out, and that where the input is another and
it does not, the sentences say so."""

import copy
import importlib.util
import json
import os

import numpy as np
import pytest
from command import vgfast, vgfast_here

import vgfast as vg
from vgfast import _core, cli, lessons, published
from vgfast.lessons import chain, cost, demo, frozen, vanishing
from vgfast.show.data import plain

needs_data = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mlxtend", "skimage", "sklearn", "rich")),
    reason="needs the extra lessons",
)


def before(folder):
    """The modules that are there come first."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


# ---- as a user runs them -----------------------------------------------------------------------------------


@needs_data
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", lessons.NAMES)
def test_each_lesson_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    status = cli.main(["lesson", name, "--quick", "--out", str(tmp_path)])
    told = capsys.readouterr()
    if name == "cost" and "NOT" in told.out:  # times, of a machine that may have other work
        assert "did not come out here" in told.err
        assert status == 1
    else:
        assert status == 0, told.out + told.err
    picture = tmp_path / f"lesson-{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines = [line for line in told.out.splitlines() if str(picture) not in line]
    assert max(map(len, lines)) <= 80
    for heading in ("What is claimed.", "What we do.", "What you should see.", "What you did see."):
        assert sum(line.startswith(heading) for line in lines) == 1
    assert str(picture) in told.out


@needs_data
def test_for_programs(tmp_path):
    done = vgfast("lesson", "chain", "--json", "--out", str(tmp_path))
    data = json.loads(done.stdout)
    assert done.returncode == 0
    assert done.stderr == ""
    assert (data["lesson"], data["holds"]) == ("chain", True)
    assert data["found"]["links"][2]["gradient"] == 1 / 48
    assert data["picture"] == str(tmp_path / "lesson-chain.png")
    done = vgfast_here("reproduce", "selu", "--json", "--quick")
    data = json.loads(done.stdout)
    assert data["holds"]
    assert all(row["published"] and row["ours"] for row in data["rows"])


@pytest.mark.parametrize(("command", "room"), [("lesson", lessons), ("reproduce", published)])
def test_the_list(command, room):
    done = vgfast_here(command)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line[:1].strip()][:-1] == list(room.NAMES)
    assert max(map(len, lines)) <= 80
    assert list(json.loads(vgfast_here(command, "--json").stdout)) == list(room.NAMES)


@pytest.mark.parametrize("command", ["lesson", "reproduce"])
def test_a_name_that_there_is_not(command):
    done = vgfast_here(command, "nothing")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("vgfast: there is no ")
    assert "there are " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_lesson_that_has_no_deeper_nets():
    done = vgfast_here("lesson", "chain", "--deep")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("vgfast: lesson chain has no --deep, ")
    assert done.stderr.endswith("take isometry\n")
    assert vgfast_here("lesson", "isometry", "--deep", "--quick").returncode == 2


@pytest.mark.parametrize("name", [name for name in published.NAMES if published.module(name).FILES])
def test_without_files_it_says_where_they_are(name, tmp_path):
    done = vgfast_here("reproduce", name)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "train-images-idx3-ubyte.gz" in done.stderr
    assert "--mnist" in done.stderr
    done = vgfast_here("reproduce", name, "--mnist", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("vgfast: ")
    assert str(tmp_path) in done.stderr
    assert done.stderr.count("\n") == 1


@needs_data
@pytest.mark.slow
def test_a_missing_extra_is_named(tmp_path):
    (tmp_path / "mlxtend.py").write_text("raise ImportError('No module named mlxtend', name='mlxtend')\n")
    done = vgfast(
        "lesson", "frozen", "--quick", "--out", str(tmp_path), env={**os.environ, "PYTHONPATH": before(tmp_path)}
    )
    assert done.returncode == 1
    assert done.stdout == ""  # before anything is said
    assert done.stderr.startswith("vgfast: the lesson needs mlxtend, which is not installed; install ")
    assert "pip install 'vgfast[lessons]'" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_data
def test_a_claim_that_does_not_come_out_is_told_by_the_exit_status(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(chain.measure, "__defaults__", (False, (0.25, 0.5, 0.25)))
    assert cli.main(["lesson", "chain", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "which are NOT 1/4, 1/12 and 1/48" in " ".join(told.out.split())
    assert "did not come out here" in told.err


def test_the_files_are_short_and_say_what_they_are():
    for name in lessons.NAMES:
        lesson = lessons.module(name)
        with open(lesson.__file__) as file:
            assert len(file.readlines()) <= 200, name
        for text in (lesson.TITLE, lesson.CLAIM, lesson.PLAN, lesson.EXPECT):
            assert text.strip()
        with open(lesson.__file__) as file:
            assert "._" not in file.read(), f"{name} uses something private"


# ---- that the sentences follow the numbers -----------------------------------------------------------------


def told(seen):
    return " ".join(seen.sentences)


def test_the_chain():
    found = chain.measure()
    seen = chain.conclude(found)
    assert seen.holds
    assert "1/4, 1/12, 1/48, which are 1/4, 1/12 and 1/48 exactly" in told(seen)
    assert "Up to |w| = 4.000 no input" in told(seen)
    assert "0.4477 at |w| = 6.894, as Nielsen has it" in told(seen)
    assert found["width"] == pytest.approx(0.447743, abs=5e-7)  # the digits that are known
    assert found["widest_at"] == pytest.approx(6.89414, abs=1e-5)


def test_another_chain():
    seen = chain.conclude(chain.measure(factors=(1 / 4, 2.0, 1 / 4)))
    assert not seen.holds
    assert "which are NOT 1/4, 1/12 and 1/48" in told(seen)
    assert "did NOT shrink" in told(seen)


@pytest.mark.parametrize("what", ["widest_at", "width", "none_up_to"])
def test_another_interval(what):
    found = chain.measure()
    found[what] += 0.01
    seen = chain.conclude(found)
    assert not seen.holds
    assert "NOT as Nielsen has it" in told(seen)


def test_negative_factors_shrink_it_too():
    assert "The signal shrank" in told(chain.conclude(chain.measure(factors=(-1 / 4, 1 / 3, 1 / 4))))


@pytest.mark.parametrize("w", [3.9, 4.5, 6.894, 15.0])
def test_the_interval_is_that_in_which_the_slope_is_large_enough(w):
    a = np.linspace(-3, 3, 2_000_001)  # with b = 0
    s = 1 / (1 + np.exp(-w * a))
    inside = w * s * (1 - s) >= 1
    assert np.count_nonzero(inside) * 6 / 2e6 == pytest.approx(float(chain.widths(np.array(w))), abs=1e-5)


@needs_data
def test_demo():
    found = demo.measure(quick=True)
    assert [report.verdict for *_, report in found.pop("histories")] == ["healthy", "vanishing", "healthy"]
    seen = demo.conclude(found)
    assert seen.holds
    assert "The verdicts: shallow healthy, deep vanishing, cured healthy." in told(seen)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert sum(row[2:3] == ("the signal starts here",) for row in demo.table(found).rows) == 3


@needs_data
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda shallow, deep, cured: cured.update(test_accuracy=0.5), "NOT both learned"),
        (lambda shallow, deep, cured: deep.update(test_accuracy=0.5), "does NOT guess"),
        (lambda shallow, deep, cured: deep.update(verdict="healthy"), "Its gradient does NOT vanish"),
        (
            lambda shallow, deep, cured: deep["layers"][0].update(frozen=0.2),
            "20% of its first layer's weights are frozen, NOT more than half",
        ),
    ],
)
def test_a_demo_that_comes_out_otherwise(monkeypatch, change, sentence):
    monkeypatch.setattr(demo, "QUICK_EPOCHS", 1)
    found = demo.measure(quick=True)
    shallow, deep, cured = found["nets"]
    for net in (shallow, cured):
        net.update(test_accuracy=0.95)
    assert demo.conclude(found).holds
    change(shallow, deep, cured)
    seen = demo.conclude(found)
    assert not seen.holds
    assert sentence in told(seen)


@needs_data
@pytest.mark.slow
def test_vanishing():
    seen = vanishing.conclude(vanishing.measure(quick=True))
    assert seen.holds
    assert "It vanishes." in told(seen)
    assert "it falls exponentially. The verdicts on the deepest are all vanishing: 5 vanishing." in told(seen)


@needs_data
@pytest.mark.slow
def test_a_net_that_does_not_vanish():
    seen = vanishing.conclude(vanishing.measure(quick=True, activation="relu", init="he_normal"))
    assert not seen.holds
    assert "It does NOT vanish." in told(seen)
    assert "The verdicts on the deepest are NOT all vanishing: 5 healthy." in told(seen)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("init", [vg.init.normal(1.0), "zeros"])
@pytest.mark.filterwarnings("error")
def test_a_signal_that_rises_or_is_nothing_does_not_fall_exponentially(init):
    found = vanishing.measure(quick=True, activation="identity", init=init)
    seen = vanishing.conclude(found)
    assert not seen.holds
    assert "it does NOT fall exponentially" in told(seen)
    assert "nan" not in told(seen)


@needs_data
@pytest.mark.slow
def test_a_verdict_that_is_another_counts():
    found = vanishing.measure(quick=True)
    found["nets"][-1]["verdicts"][3] = "healthy"
    seen = vanishing.conclude(found)
    assert not seen.holds
    assert "are NOT all vanishing: 1 healthy, 4 vanishing" in told(seen)


@needs_data
@pytest.mark.slow
def test_gains_that_theory_does_not_predict():
    found = vanishing.measure(quick=True)
    for net in found["nets"]:
        net["inside"] = 0.5
    seen = vanishing.conclude(found)
    assert not seen.holds
    assert "50% have a gain within the band of 95 % that theory predicts, which is TOO FEW" in told(seen)


@pytest.mark.once
@needs_data
@pytest.mark.slow
def test_frozen():
    """Where float16, float32 and float64 stop, of live pixels, as the mean of several seeds."""
    found = frozen.measure(quick=True)
    halves = [of["half"] for of in found["formats"].values()]
    assert halves == pytest.approx([3, 8, 21], abs=1)
    seen = frozen.conclude(found)
    assert seen.holds
    assert "where 29 bits predict 12.7" in told(seen)
    bits = [(b - a) / n for a, b, n in zip(halves, halves[1:], (13, 29), strict=False)]
    assert f"A bit bought {bits[0]:.2f} and {bits[1]:.2f} layers, near the 0.437 of theory" in told(seen)


@pytest.mark.once
@needs_data
@pytest.mark.slow
def test_a_net_that_does_not_freeze():
    seen = frozen.conclude(frozen.measure(quick=True, activation="relu", init="he_normal"))
    assert not seen.holds
    assert "float32 at NONE up to 12" in told(seen)
    assert "NOT near the 0.437" in told(seen)


def test_frozen_from_the_first_on_and_between():
    assert frozen.crossing([3, 4], [0.6, 1.0]) == -np.inf
    assert frozen.crossing([3, 4], [0.4, 0.4]) == np.inf
    assert frozen.crossing([3, 4], [0.2, 0.8]) == 3.5
    formats = {
        name: {"half": half, "depths": [1, 2]}
        for name, half in (("float16", -np.inf), ("float32", 8.0), ("float64", 22.0))
    }
    seen = frozen.conclude({"activation": "sigmoid", "formats": formats, "a_bit": 0.437})
    assert not seen.holds
    assert "float16 before 1, float32 at 8.0" in told(seen)


@pytest.mark.parametrize(("halves", "holds"), [((3.0, 8.5, 21.0), True), ((3.0, 7.6, 21.5), False)])
def test_layers_a_bit_are_those_measured(halves, holds):
    formats = {name: {"half": half, "depths": [1, 2]} for name, half in zip(frozen.FORMATS, halves, strict=True)}
    seen = frozen.conclude({"activation": "sigmoid", "formats": formats, "a_bit": 0.437})
    assert seen.holds == holds
    assert ("NOT near the 0.437" in told(seen)) != holds


@pytest.fixture(scope="module")
def costs():
    """What a machine without other work finds, about."""
    rungs = [(30e-3, "loops"), (1e-3, "one by one"), (1e-4, "batches"), (5e-6, "the whole run")]
    of = {"forward": (1e5, 1e-6), "dX": (5e4, 5e-7), "dW + update": (1e5, 1e-6), "loss": (1e3, 5e-7)}
    return {
        "sizes": [64, 64, 10],
        "batch": 16,
        "rungs": [{"name": name, "seconds_per_step": seconds, "agrees": True} for seconds, name in rungs],
        "phases": {name: {"flops": n, "seconds": took, "limit": took / 2} for name, (n, took) in of.items()},
        "flops": 251e3,
        "first": 0.8,
        "isa": "avx2",
    }


def test_cost(costs):
    seen = cost.conclude(costs)
    assert seen.holds, told(seen)
    assert "6,000 times as fast as the first: thousands, with the same weights on every rung" in told(seen)
    without = cost.conclude({**costs, "isa": "scalar"})
    assert without.holds
    assert "6,000 times as fast as the first: hundreds, with" in told(without)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f["rungs"][-1].update(seconds_per_step=f["rungs"][0]["seconds_per_step"]), ": NOT thousands"),
        (lambda f: f["rungs"][2].update(agrees=False), "but the weights do NOT agree"),
        (lambda f: f.update(flops=2 * f["flops"]), "NOT nearly all"),
        (lambda f: f.update(first=0.1), "10% of them, NOT most"),
        (lambda f: [of.update(limit=0.01 * of["limit"]) for of in f["phases"].values()], "NOT less than five times"),
        (lambda f: f["phases"]["forward"].update(seconds=1.0), "NOT more than its share"),
    ],
)
def test_costs_that_are_others(costs, change, sentence):
    found = copy.deepcopy(costs)
    change(found)
    seen = cost.conclude(found)
    assert not seen.holds
    assert sentence in told(seen)


@pytest.mark.once
@pytest.mark.slow
def test_costs_are_those_of_the_net(costs):
    """Of the sizes that are asked for; how long it takes is another matter."""
    found = cost.measure(quick=True, sizes=(6, 5, 4), batch=3)
    assert found.keys() == costs.keys()
    assert (found["sizes"], found["batch"]) == ([6, 5, 4], 3)
    static = vg.MLP([6, 5, 4], rng=0).cost(3, measure=False)
    assert (found["flops"], found["isa"]) == (static.flops, _core.isa())
    assert found["first"] == sum(row.flops for row in static.rows if row.layer == 1) / static.flops
    assert all(rung["agrees"] for rung in found["rungs"])
    assert {"forward", "dX", "dW + update", "loss"} <= found["phases"].keys()
    assert len(cost.conclude(found).sentences) == 4


@needs_data
def test_a_lesson_as_a_page(tmp_path):
    done = vgfast_here("lesson", "chain", "--html", "--out", str(tmp_path))
    assert done.returncode == 0
    path = tmp_path / "lesson-chain.html"
    assert f"The page: {path}" in done.stdout
    text = path.read_text()
    before = text[: text.index("<script")]
    for words in (chain.TITLE, "What is claimed", "What we do", "What you should see", "What you did see"):
        assert words in before
    assert 'src="data:image/png;base64,' in before
    assert 'alt="What the table says, drawn. ' in before
    assert "<td>" in before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    data = json.loads(vgfast_here("lesson", "chain", "--html", "--json", "--out", str(tmp_path)).stdout)
    assert data["page"] == str(path)
    assert "picture" not in data


@needs_data
def test_what_was_seen_comes_before_a_picture_that_cannot_be_saved(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lessons, "save", full)
    assert cli.main(["lesson", "chain", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "What you did see." in told.out
    assert "No space left" in told.err


def test_plain_data():
    data = plain({"a": np.float32(0.5), 3: [np.nan, np.array([1.0, np.inf])], "b": np.bool_(True), "c": None})
    assert json.loads(json.dumps(data, allow_nan=False)) == {"a": 0.5, "3": [None, [1.0, None]], "b": True, "c": None}
