"""``vgfast bench --threads 1,2,4``: what it measures and shows, and that a net which fails takes no row with it."""

import io
import json
import os
import re
import signal

import pytest
from bench_command import Clock, run_here, too_few
from rich.console import Console

from vgfast import config
from vgfast.bench import comparison, inspection, pretraining, runner, scaling
from vgfast.bench.competitors import VGFast
from vgfast.cost import rounds
from vgfast.cost.rounds import summary

ASKED = ["bench", "--quick", "--rounds", "2", "--threads", "1,2"]
TWO = [*ASKED, "--workloads", "tiny,digits"]


@pytest.fixture(autouse=True)
def here(quick_nets, monkeypatch):
    monkeypatch.setattr(config, "usable_processors", lambda: 1)
    monkeypatch.setenv("COLUMNS", "80")


def test_for_programs(monkeypatch, capsys, tmp_path):
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO, "--json")
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert (data["threads"], data["oversubscribed"], data["usable_processors"]) == ([1, 2], [2], 1)
    assert (data["partial"], data["left_out"]) == (False, [])
    assert list(data["workloads"]) == ["tiny", "digits"]
    for of in data["workloads"].values():
        assert [point["threads"] for point in of["scaling"]] == [1, 2]
        steps = [point["step"]["rounds"] for point in of["scaling"]]
        for point, own in zip(of["scaling"], steps, strict=True):
            assert point["over_first"]["rounds"] == [first / step for first, step in zip(steps[0], own, strict=True)]
            assert len(point["share_of_peak"]["rounds"]) == 2
            assert point["share_of_peak"]["median"] > 0
    assert os.listdir(tmp_path) == []  # no picture


def test_for_readers(monkeypatch, capsys, tmp_path):
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if re.search(r"\d x +\d+%$", line)]
    assert [row[:-5] for row in rows] == [["tiny", "1"], ["2*"], ["digits", "1"], ["2*"]]
    assert [row[-3:-1] for row in rows if "2*" not in row] == 2 * [["1.00", "x"]]
    assert "1, 2 threads in turn; Python " in out
    assert "* oversubscribed: more threads than the 1 processor that may be used" in out


def test_as_many_threads_as_processors_are_not_too_many(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(config, "usable_processors", lambda: 2)
    out = run_here(monkeypatch, capsys, tmp_path, *TWO)[1]
    assert "over" in out
    assert "*" not in out


def test_the_table_fits_into_80_columns():
    names = ("step", "over_first", "share_of_peak")
    point = {"threads": 256, **{name: summary([0.9876543]) for name in names}}
    result = {
        "machine": {"processor": "any", "processors": 128, "instruction set": "avx512", "python": "3.11.7"},
        "versions": {},
        "rounds": 7,
        "threads": [1, 2, 256],
        "oversubscribed": [256],
        "usable_processors": 128,
        "partial": True,
        "left_out": ["big"],
        "workloads": {"deepwide": {"status": "ok", "scaling": [point]}},
    }
    result["machine"]["threads"] = 256
    text = io.StringIO()
    scaling.show(result, scaling.Rows(Console(file=text, width=80)))
    said = text.getvalue()
    assert max(map(len, said.splitlines())) <= 80
    row = next(line for line in said.splitlines() if line.startswith("deepwide"))
    assert row.split() == ["deepwide", "256*", "987,654", "987,654-987,654", "0.99", "x", "99%"]


class DiesLater(VGFast):
    """In the second round, on the net that is called digits here: in its third turn."""

    def peak(self, threads):
        self.turns = getattr(self, "turns", 0) + 1
        if self.problem.sizes[0] == 9 and self.turns == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().peak(threads)


@pytest.mark.once
def test_a_net_that_fails_midway_takes_no_row_with_it(monkeypatch, capsys, tmp_path):
    digits = scaling.WORKLOADS["digits"]
    monkeypatch.setitem(scaling.WORKLOADS, "digits", digits._replace(sizes=(9, *digits.sizes[1:])))
    monkeypatch.setattr(scaling, "VGFast", DiesLater)
    three = [*ASKED, "--workloads", "tiny,digits,mnist"]
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *three)
    assert (status, err) == (0, "")
    assert "digits    failed: killed by SIGKILL\n" in out
    assert len(re.findall(r"^(tiny|mnist) ", out, re.M)) == 2
    data = json.loads(run_here(monkeypatch, capsys, tmp_path, *three, "--json")[1])
    assert [of["status"] for of in data["workloads"].values()] == ["ok", "failed", "ok"]
    assert data["workloads"]["digits"]["reason"] == "killed by SIGKILL"
    assert data["partial"] is False


def test_what_was_measured_before_an_interruption_is_told(monkeypatch, capsys, tmp_path):
    whole = scaling._Trained.take_turn

    def take_turn(self, threads):
        if self.problem.sizes[0] == 9:
            raise KeyboardInterrupt
        return whole(self, threads)

    digits = scaling.WORKLOADS["digits"]
    monkeypatch.setitem(scaling.WORKLOADS, "digits", digits._replace(sizes=(9, *digits.sizes[1:])))
    monkeypatch.setattr(scaling._Trained, "take_turn", take_turn)
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO)
    assert (status, err) == (130, "vgfast: interrupted\n")
    assert re.search(r"^tiny ", out, re.M)
    assert "Ended before its end; what is above is complete. Left out: digits." in out
    data = json.loads(run_here(monkeypatch, capsys, tmp_path, *TWO, "--json")[1])
    assert (data["partial"], data["left_out"], list(data["workloads"])) == (True, ["digits"], ["tiny"])


def test_minutes_that_are_over_end_it_with_what_there_is(monkeypatch, capsys, tmp_path):
    """A net has two turns to warm up and four to be timed; before each the clock is looked at."""
    monkeypatch.setattr(rounds, "monotonic", Clock(1 + 6 + 3))
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO, "--minutes", "2", "--json")
    data = json.loads(out)
    assert (status, err) == (0, "")
    assert (data["partial"], data["left_out"], list(data["workloads"])) == (True, ["digits"], ["tiny"])


def test_too_few_minutes(monkeypatch, capsys, tmp_path):
    too_few(monkeypatch, capsys, tmp_path, *TWO)


def test_the_turns_are_counted():
    asked = {"workloads": "tiny,digits", "threads": "1,2", "rounds": 3}
    settings = scaling.read_settings(None, *asked.values(), quick=True)
    turns = []
    runner.run(scaling.measure, progress=turns.append, **settings)
    assert len(turns) == scaling.count_turns(settings)


# ---- what it is asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x", "1,x", "", "1,", "1.5", "1;2", "2,0", "300", "1,300", "-1"])
def test_threads_that_are_none(text, capsys):
    assert config.get_num_threads() >= 1
    with pytest.raises(ValueError, match=r"^--threads must be .*, got ") as caught:
        runner.read_threads(text)
    assert "\n" not in str(caught.value)


def test_advice_on_threads():
    with pytest.raises(ValueError, match=r"for example 2 or 1,2,4$"):
        runner.read_threads("one")
    assert runner.read_threads("2") == [2]
    assert runner.read_threads("1,2,4") == runner.read_threads(" 1, 2 ,2,4") == [1, 2, 4]
    assert runner.read_threads(None) == [config.get_num_threads()]


@pytest.mark.parametrize("measurement", [inspection, pretraining])
def test_advice_on_several_threads_where_one_is_needed(measurement):
    def read(threads):
        return measurement.read_settings(None, None, threads, None, True)

    with pytest.raises(ValueError, match=r"^--threads 1,2 .*; give one of them, or leave out --inspection and --pre"):
        read("1,2")
    assert read("2")["threads"] == 2
    assert scaling.read_settings(None, None, "1,2", None, True)["threads"] == [1, 2]


def test_advice_on_competitors_of_several_threads(capsys):
    with pytest.raises(ValueError, match=r"time vgfast alone; leave out --competitors numpy$"):
        scaling.read_settings("numpy", None, "1,2", None, True)
    assert scaling.read_settings(None, "tiny", "1,2", None, True)["workloads"] == ["tiny"]
    assert comparison.read_settings("numpy", "tiny", "2", None, True)["threads"] == 2
