"""``vgfast bench --simulate 16``: what it measures, assumes and shows, and what it refuses."""

import io
import json
import os
import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from bench_command import Clock, run_here, too_few
from rich.console import Console

from vgfast import cli, config
from vgfast.bench import runner, simulation, team
from vgfast.bench.competitors import VGFast
from vgfast.bench.problems import Problem
from vgfast.cost import limits, rounds
from vgfast.cost.rounds import Measured, summary
from vgfast.model.architecture import Architecture

ASKED = ["bench", "--quick", "--rounds", "2", "--simulate", "4"]
TWO = [*ASKED, "--workloads", "tiny,digits"]
NET = Problem((32, 64, 32, 3), "relu", 64, 256)  # of which each of 16 threads has enough to be tried


def bytes_a_second(two):
    return {n: Measured(two / 2 * n, two, two) for n in (1, 2)}


CACHE, RAM = (
    limits.Level(n, s, 2, *[bytes_a_second(1e9)] * 2, Measured(1, 1, 1)) for n, s in (("L1", 2**15), ("", None))
)
HERE = SimpleNamespace(levels=(CACHE, RAM), threads=2)


@pytest.fixture(autouse=True)
def here(quick_nets, monkeypatch):
    """A machine of two processors, without the seconds that it takes to measure its memory."""
    monkeypatch.setattr(limits, "limits", lambda: HERE)
    monkeypatch.setattr(config, "usable_processors", lambda: 2)
    monkeypatch.setitem(simulation.WORKLOADS, "digits", NET)
    monkeypatch.setenv("COLUMNS", "80")


def test_for_programs(monkeypatch, capsys, tmp_path):
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO, "--json")
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert (data["simulate"], data["own_threads"], data["partial"], data["left_out"]) == ([4], 2, False, [])
    assert list(data["workloads"]) == ["tiny", "digits"]
    for of in data["workloads"].values():
        one, two, four = points = of["simulation"]
        assert [point["threads"] for point in points] == [1, 2, 4]
        for point in points:
            assert 1 <= point["used"] <= point["threads"]
            assert (point["barriers"] == 0) == (point["used"] == 1) == (point["of_barriers"]["median"] == 0)
            assert len(point["step"]["rounds"]) == 2
            assert point["share_of_peak"]["median"] > 0
            steps = zip(one["step"]["rounds"], point["step"]["rounds"], strict=True)
            assert point["over_one"]["rounds"] == [first / step for first, step in steps]
        for point in (one, two):
            both = zip(point["step"]["rounds"], point["timed"]["rounds"], strict=True)
            assert point["off"]["rounds"] == [simulated / timed - 1 for simulated, timed in both]
        assert four["timed"] is four["off"] is None
    assert os.listdir(tmp_path) == []  # no picture


def test_for_readers(monkeypatch, capsys, tmp_path):
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO)
    assert (status, err) == (0, "")
    rows = [line[:17].split() for line in out.splitlines() if re.search(r" x +\d+%", line)]
    assert rows == [["tiny", "1"], ["2"], ["4"], ["digits", "1"], ["2"], ["4"]]
    said = " ".join(out.split())
    for rule in ("as long as its longest thread", "takes N / 2 times as long as one of 2", "Not in it are memory that"):
        assert rule in said
    assert "N threads get N / 2 times as many bytes a second from memory as 2 get here, 1 GB/s to read" in said
    assert "The 2 threads that were really timed had at least " in said


def test_with_one_processor(monkeypatch, capsys, tmp_path):
    """None of its own is timed beside it but one thread, and barriers cannot be."""
    monkeypatch.setattr(config, "usable_processors", lambda: 1)
    out = run_here(monkeypatch, capsys, tmp_path, *TWO)[1]
    assert "Barriers take no time, as there is one processor here" in " ".join(out.split())
    assert "really timed" not in out
    data = json.loads(run_here(monkeypatch, capsys, tmp_path, *TWO, "--json")[1])
    for of in data["workloads"].values():
        assert [(p["threads"], p["timed"] is None, p["of_barriers"]["median"]) for p in of["simulation"]] == [
            (1, False, 0),
            (4, True, 0),
        ]


def test_the_table_fits_into_80_columns():
    names = ("step", "over_one", "share_of_peak", "of_barriers", "timed")
    point = {"threads": 256, "used": 256, **{name: summary([0.9876543]) for name in names}}
    point |= {"barriers": 10240, "of_memory": 0.9876543, "off": summary([-0.129]), "together": summary([0.94])}
    result = {
        "machine": {"processor": "any", "processors": 256, "instruction set": "avx512", "python": "3.11.7"},
        "versions": {},
        "rounds": 7,
        "simulate": [256],
        "own_threads": 256,
        "memory": {"threads": 256, "read": 1234e9, "write": 1234e9},
        "partial": True,
        "left_out": ["big"],
        "workloads": {"deepwide": {"status": "ok", "simulation": [point]}},
    }
    text = io.StringIO()
    simulation.show(result, simulation.Rows(Console(file=text, width=80)))
    said = text.getvalue()
    assert max(map(len, said.splitlines())) <= 80
    row = next(line for line in said.splitlines() if line.startswith("deepwide"))
    cells = ["deepwide", "256", "256", "987,654*", "0.988", "x", "99%", "10240", "987,654", "987,654", "-13%"]
    assert row.split() == cells
    assert "had at least 94% of 256 times" in said


class RefusesFour(VGFast):
    def simulate(self, threads, seconds):
        if threads > 2:
            raise RuntimeError("no")
        return super().simulate(threads, seconds)


@pytest.mark.once
def test_a_net_that_fails_takes_no_row_with_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(simulation, "VGFast", RefusesFour)
    two = [*ASKED, "--workloads", "digits,mnist"]
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *two)
    assert (status, err) == (0, "")
    assert "digits    failed: RuntimeError: no\n" in out
    assert re.search(r"^mnist .* x ", out, re.M)
    data = json.loads(run_here(monkeypatch, capsys, tmp_path, *two, "--json")[1])
    assert [of["status"] for of in data["workloads"].values()] == ["failed", "ok"]
    assert data["workloads"]["digits"]["reason"] == "RuntimeError: no"


@pytest.mark.once
def test_what_was_measured_before_an_interruption_is_told(monkeypatch, capsys, tmp_path):
    whole = simulation._Team.take_turn

    def take_turn(self, way, threads):
        if self.problem is NET:
            raise KeyboardInterrupt
        return whole(self, way, threads)

    monkeypatch.setattr(simulation._Team, "take_turn", take_turn)
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO)
    assert (status, err) == (130, "vgfast: interrupted\n")
    assert re.search(r"^tiny ", out, re.M)
    assert "Ended before its end; what is above is complete. Left out: digits." in " ".join(out.split())
    data = json.loads(run_here(monkeypatch, capsys, tmp_path, *TWO, "--json")[1])
    assert (data["partial"], data["left_out"], list(data["workloads"])) == (True, ["digits"], ["tiny"])


def test_minutes_that_are_over_end_it_with_what_there_is(monkeypatch, capsys, tmp_path):
    """A net has five turns to warm up and ten to be timed; before each the clock is looked at."""
    monkeypatch.setattr(rounds, "monotonic", Clock(1 + 15 + 3))
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *TWO, "--minutes", "2", "--json")
    data = json.loads(out)
    assert (status, err) == (0, "")
    assert (data["partial"], data["left_out"], list(data["workloads"])) == (True, ["digits"], ["tiny"])


@pytest.mark.once
def test_too_few_minutes(monkeypatch, capsys, tmp_path):
    too_few(monkeypatch, capsys, tmp_path, *TWO)


def test_the_turns_are_counted():
    settings = simulation.read_settings("4,1", None, "tiny,digits", None, 2, quick=True)
    turns = []
    runner.run(simulation.measure, progress=turns.append, **settings)
    assert len(turns) == simulation.count_turns(settings) == 2 * 5 * 3


# ---- what a step takes ---------------------------------------------------------------------------------


def simulated_team(asked, net=NET, here=HERE):
    return simulation._Team(lambda do, **of: asked(do, **of), net, 0.1, 2, here)


def test_a_step_is_its_stages_and_barriers_or_else_its_bytes():
    answers = {"simulate": {"seconds": 1e-3, "barriers": 4}, "barrier": {"seconds": 1e-6}}
    found = simulated_team(lambda do, **of: answers[do])._simulate(16)
    assert found["of_barriers"] == pytest.approx(4 * 8e-6)
    assert found["step"] == pytest.approx(1e-3 + 4 * 8e-6)
    slow = SimpleNamespace(levels=(CACHE, RAM), threads=64)
    found = simulated_team(lambda do, **of: answers[do], here=slow)._simulate(2)
    assert found["step"] == found["of_memory"] > 1e-3


def test_bytes_from_memory():
    net = Architecture.checked(NET.sizes, NET.activation)
    two = simulation.memory_seconds(net, 64, 2, HERE)
    parameters = 4 * (33 * 64 + 65 * 32 + 33 * 3)
    assert two > 3 * parameters / 1e9
    assert simulation.memory_seconds(net, 64, 1, HERE) == pytest.approx(2 * two)
    assert simulation.memory_seconds(net, 64, 32, HERE) == 0  # they have sixteen caches


@pytest.mark.parametrize(
    ("times", "used"),
    [
        ({16: 1, 8: 2, 4: 0.5}, 16),
        ({16: 3, 8: 2, 4: 2.5}, 8),
        ({16: 5, 8: 4, 4: 3, 2: 2, 1: 1}, 1),
        ({16: 1, 8: 1, 4: 2}, 8),
    ],
)
def test_fewer_threads_are_used_where_that_is_faster(times, used):
    def ask(do, threads, **of):
        return {"seconds": 0} if do == "barrier" else {"seconds": times[threads], "barriers": 2}

    team = simulated_team(ask)
    team.warm_up("simulated", 16)
    assert team.used == {16: used}


def test_threads_that_are_too_many_for_a_net_are_not_tried():
    team = simulated_team(
        lambda do, threads, **of: {"seconds": 1 / threads, "barriers": 0}, Problem((4, 5, 3), "tanh", 1, 10)
    )
    team.warm_up("simulated", 16)
    assert team.used == {16: 1}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stage_takes_as_long_as_its_longest_thread(monkeypatch, threads):
    stages = np.array([[1.0, 4.0, 2.0], [5.0, 3.0, 1.0]])[: 2 if threads > 1 else 1, :threads]
    monkeypatch.setattr(team.SimulatedTeam, "time_stages", lambda self, seconds: stages)
    monkeypatch.setattr(VGFast, "_draw_seconds", lambda self: 0.5 * NET.steps)
    assert VGFast(NET).simulate(threads, 1.0) == (
        {"seconds": 9.5, "barriers": 2} if threads > 1 else {"seconds": 1.5, "barriers": 0}
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_stages_of_a_simulated_team(threads):
    """They train, on all rows in turn: more than one thread has barriers."""
    of = VGFast(NET)
    of.rewind()
    before = of.net.params.copy()
    simulated = team.SimulatedTeam(of.net, of.X, of.y, NET.batch, of.optimizer, threads, of.rng)
    times = simulated.take_steps(3)
    assert times.shape == ((1, 1, 1) if threads == 1 else (3, 2, threads))
    assert times.sum() > 0
    assert simulated.first == 3 * NET.batch
    simulated.take_steps(3)
    assert simulated.first == 3 * NET.batch  # there were not three batches left
    assert (of.net.params != before).any()
    assert simulated.time_stages(0.0).shape == times.shape[1:]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be placed here")
def test_threads_are_put_back_where_they_may_run():
    before, done = os.sched_getaffinity(0), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with team.on_one_processor():
            assert len(os.sched_getaffinity(0)) == len(os.sched_getaffinity(thread.native_id)) == 1
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread.native_id) == before
    finally:
        done.set()
        thread.join()


# ---- what it is asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "x", "16,x", "", "16,", "1.5", "257", "2,0", "-1"])
def test_threads_that_are_none(text, capsys):
    assert cli.main(["bench", f"--simulate={text}"]) == 1
    said = capsys.readouterr().err
    assert re.match(r"vgfast: --simulate must be .*, got .*\n$", said)
    assert said.count("\n") == 1


def test_advice_on_threads():
    with pytest.raises(ValueError, match=r"^--simulate must be .* got sixteen; for example 2 or 1,2,4$"):
        simulation.read_settings("sixteen", None, None, None, None, True)
    with pytest.raises(ValueError, match=r"^--simulate must be from 1 to 256, got 0$"):
        simulation.read_settings("0", None, None, None, None, True)
    for text, numbers in (("2", [2]), ("1,2,4", [1, 2, 4]), ("256", [256])):
        assert simulation.read_settings(text, None, None, None, None, True)["threads"] == numbers


def test_advice_on_competitors_and_threads(capsys):
    assert cli.main(["bench", "--simulate", "16", "--competitors", "numpy", "--threads", "1,2"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("the threads that it names; leave out --competitors numpy --threads 1,2\n")
    assert simulation.read_settings("16", None, "tiny", None, None, True)["workloads"] == ["tiny"]


@pytest.mark.parametrize("other", ["--inspection", "--pretraining"])
def test_it_is_one_measurement_of_several(other, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--simulate", "16", other])
    assert "not allowed with argument --simulate" in capsys.readouterr().err
