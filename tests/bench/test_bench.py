"""``vgfast bench``: that the competitors are right, and that one which is not there, wrong or broken is told of."""

import importlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from vgfast import cli
from vgfast.bench import about, comparison, inspection, problems, runner, tables, workers
from vgfast.bench.competitors import COMPETITORS, Textbook
from vgfast.bench.competitors import numpy as tuned
from vgfast.bench.competitors.sklearn import ScikitLearn
from vgfast.cost import rounds
from vgfast.cost.rounds import summary


def run(*arguments, path=None, **kwargs):
    environment = {**os.environ, "COLUMNS": "80"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "vgfast", "bench", "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environment, **kwargs)


def test_flops():
    mflop = [round(problems.WORKLOADS[name].flops / 1e6, 3) for name in ("tiny", "nielsen", "digits", "deep", "mnist")]
    assert mflop == [0.067, 0.959, 5.489, 23.454, 128.909]
    for problem in problems.WORKLOADS.values():
        assert problem.rows % problem.batch == 0


@pytest.mark.parametrize("activation", tuned._TUNED)
def test_the_tuned_numpy_trains_as_the_textbook(activation):
    problem = problems.Problem((5, 8, 7, 3), activation, 8, 64)
    fast, textbook = tuned.NumPy(problem), Textbook(problem)
    for competitor in (fast, textbook):
        competitor.rewind()
        competitor.train(2)
    # A step rounds each parameter once, by half a unit in its last place; the errors of the gradients count for LR
    # times as much, a hundredth.
    largest = np.abs(textbook.net.params).max()
    bound = 2 * problem.steps * np.finfo(np.float32).eps * largest
    assert np.abs(fast.net.params - textbook.net.params).max() <= bound
    assert np.abs(textbook.net.params - textbook.first.params).max() > 1000 * bound  # it went somewhere
    row = fast.calls()["predict_call"]()
    np.testing.assert_allclose(row, textbook.net.predict_proba(textbook.X[:1]), rtol=1e-5)


def test_scikit_learn_trains_as_the_textbook():
    pytest.importorskip("sklearn")
    problem = problems.Problem((5, 8, 7, 3), "tanh", 8, 64)
    assert ScikitLearn(problem).loss(2)["loss"] == pytest.approx(Textbook(problem).loss(2)["loss"], rel=1e-6)


def test_bench_for_programs(tmp_path):
    done = run("--workloads", "tiny,funnel", "--competitors", "numpy", "--json", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert Path(data["picture"]).read_bytes().startswith(b"\x89PNG")
    assert data["rounds"] == 3
    tiny, funnel = data["workloads"]["tiny"], data["workloads"]["funnel"]
    assert list(funnel["competitors"]) == ["vgfast"]
    assert tiny["fastest_other"] == "numpy"
    for found in tiny["competitors"].values():
        assert found["status"] == "ok"
        assert found["loss"] == pytest.approx(tiny["textbook_loss"], rel=1e-6)
        for name in ("step", "step_call", "predict_call"):
            low, high = found[name]["quartiles"]
            assert 0 < low <= found[name]["median"] <= high
            assert len(found[name]["rounds"]) == 3
    ours = tiny["competitors"]["vgfast"]
    assert ours["share_of_peak"]["median"] > 0
    assert len(ours["inspection"]["rounds"]) == len(ours["one_thread"]["rounds"]) == 3
    assert tiny["ratio"] == tiny["competitors"]["numpy"]["step"]["median"] / ours["step"]["median"]


def test_a_library_that_is_not_installed(tmp_path):
    """torch fails as if it were absent, jax as if it were damaged."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    (tmp_path / "jax.py").write_text("raise ImportError('libxla.so: not an ELF file\\nor so')")
    out = ("--out", str(tmp_path))
    done = run("--workloads", "tiny", "--competitors", "torch,torch-compile,jax-step,numpy", *out, path=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "torch: not installed: pip install torch" in lines
    assert "torch-compile: not installed: pip install torch" in lines
    assert "[1] tiny, jax-step: failed: ImportError: libxla.so: not an ELF file" in lines
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    heading = next(line for line in lines if "step, us" in line)
    assert "torch" not in heading
    assert str(tmp_path / comparison.PICTURE) in done.stdout


BROKEN = """
import os, signal, time
from vgfast.bench.competitors.numpy import NumPy

class Raises(NumPy):
    def train(self, epochs):
        raise RuntimeError("out of luck\\nand more")

class Dies(NumPy):
    def train(self, epochs):
        os.kill(os.getpid(), signal.SIGKILL)

class DiesLater(NumPy):
    def time(self, epochs):
        print("what a library says is no answer", flush=True)
        os._exit(3)

class Hangs(NumPy):
    def prepare(self):
        open(os.environ["HANGS"], "w").close()
        time.sleep(1000)

class Idle(NumPy):
    def train(self, epochs):
        pass

    def time(self, epochs):
        return {"seconds": 1e-9, "processors": 1.0}

class Infinite(NumPy):
    def train(self, epochs):
        self.net.params[...] = float("nan")
"""


@pytest.fixture(autouse=True)
def broken_is_new():
    """That of another test lay in another folder."""
    yield
    sys.modules.pop("broken", None)


@pytest.fixture
def patience(tmp_path, monkeypatch):
    """It ends where a competitor hangs, and not where it is only slow."""
    mark = tmp_path / "hangs"
    monkeypatch.setenv("HANGS", str(mark))

    def wait(reading, writing, failing, limit):
        while not mark.exists():
            ready = select.select(reading, writing, failing, 0.05)
            if ready[0]:
                return ready
        mark.unlink()
        return [], [], []

    monkeypatch.setattr(workers, "select", SimpleNamespace(select=wait))


def test_broken_competitors_do_not_spoil_the_rest(tmp_path, monkeypatch, patience):
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    names = ("Raises", "Dies", "DiesLater", "Hangs", "Idle", "Infinite")
    for name in names:
        monkeypatch.setitem(COMPETITORS, name.lower(), getattr(importlib.import_module("broken"), name))
    settings = comparison.read_settings(",".join(map(str.lower, names)) + ",numpy", "tiny", None, None, True)
    result = runner.run(comparison.measure, **settings)
    tiny = result["workloads"]["tiny"]
    reasons = {name: (found["status"], found.get("reason")) for name, found in tiny["competitors"].items()}
    assert reasons["raises"] == ("failed", "RuntimeError: out of luck")
    assert reasons["dies"] == ("failed", "killed by SIGKILL")
    assert reasons["dieslater"] == ("failed", "ended with status 3: what a library says is no answer")
    assert reasons["hangs"] == ("failed", "no answer within 300 seconds")
    assert reasons["idle"][0] == reasons["infinite"][0] == "disagrees"
    assert tiny["competitors"]["infinite"]["loss"] is None
    assert tiny["competitors"]["idle"]["step"]["median"] < tiny["competitors"]["numpy"]["step"]["median"]
    assert tiny["fastest_other"] == "numpy"
    json.dumps(result, allow_nan=False)

    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    said = " ".join(text.getvalue().split())
    assert "tiny, dies: failed: killed by SIGKILL" in said
    assert "tiny, idle: disagrees: its loss is " in said


def test_a_failed_competitor_starts_again(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    broken = importlib.import_module("broken")
    with workers.Workers(1) as there:
        processes = []
        for _ in range(2):
            there.ask(broken.Dies, problem=problems.WORKLOADS["tiny"])
            processes.append(there.alive[broken.Dies].process)
            with pytest.raises(workers.Failed, match="SIGKILL"):
                there.ask(broken.Dies, do="loss", epochs=1)
        there.ask(broken.Idle, problem=problems.WORKLOADS["tiny"])
        processes.append(there.alive[broken.Idle].process)
    assert len({process.pid for process in processes}) == 3
    assert all(process.returncode == -signal.SIGKILL for process in processes)


def test_the_tables_fit_into_80_columns(tmp_path):
    names = ("processors", "step", "one_thread", "inspection", "share_of_peak", "step_call", "predict_call")
    found = {"status": "ok", "off": 1e-5, **{name: summary([0.2345]) for name in names}}
    of = {"flops": 1e10, "fastest_other": "sklearn", "ratio": 12.34, "competitors": dict.fromkeys(COMPETITORS, found)}
    result = {
        "machine": about.describe_machine(16),
        "versions": about.versions(["vgfast", "numpy"]),
        "rounds": 7,
        "missing": {},
        "partial": True,
        "left_out": ["memory"],
        "workloads": dict.fromkeys(problems.WORKLOADS, of),
        "memory": {"bytes": 10**9, "needed": 10**9},
    }
    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert "…" not in text.getvalue()
    assert text.getvalue().count("234,500*") == 7
    assert text.getvalue().count("234,500-234,500") == 8


def test_what_inspection_costs(monkeypatch, capsys):
    """For programs and for readers, on a net that is quick."""
    monkeypatch.setitem(problems.WORKLOADS, "funnel", problems.Problem((8, 16, 12, 3), "relu", 8, 64))
    monkeypatch.setenv("COLUMNS", "80")
    asked = ["bench", "--inspection", "--quick", "--rounds", "2", "--threads", "1"]
    assert cli.main([*asked, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data["vgfast"]) == ["none", "scalars", "histograms"]
    for found in data["vgfast"].values():
        assert len(found["step"]["rounds"]) == len(found["ratio"]["rounds"]) == 2
        pairs = zip(found["step"]["rounds"], data["vgfast"]["none"]["step"]["rounds"], strict=True)
        assert found["ratio"]["rounds"] == [ours / plain for ours, plain in pairs]
    assert data["cockpit"]["published"]["NormTest"]["ratio"] == 12.7

    assert cli.main(asked) == 0
    wide = {"step": summary([5.4321]), "ratio": summary([99])}
    inspection.show({**data, "vgfast": {name: wide for name in data["vgfast"]}}, Console(width=80))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("Inspecting every step of 8-16-12-3, batch 8") == 2
    assert said.count("5,432-5,432") == 3
    assert "…" not in said


def test_inspection_is_timed_on_one_net_without_competitors(capsys):
    assert cli.main(["bench", "--inspection", "--competitors", "numpy"]) == 1
    said = capsys.readouterr().err
    assert said == "vgfast: --inspection times vgfast alone, on funnel; leave out --competitors numpy\n"


def with_mark(mark):
    """The processes that have it in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def wait_for(condition):
    end = time.monotonic() + 300  # of no matter to a test that passes
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_process_stays_behind(number, status, tmp_path, ctrl_c):
    """Interrupted or killed, while the textbook is at work on big for some ten seconds."""
    mark = f"MARK={tmp_path}".encode()
    command = [
        sys.executable,
        "-m",
        "vgfast",
        "bench",
        "--workloads",
        "big",
        "--competitors",
        "numpy",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "MARK": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def at_work():
        for n in with_mark(mark):
            with suppress(OSError):
                if b"workers.serve" in Path(f"/proc/{n}/cmdline").read_bytes():
                    return True
        return False

    wait_for(at_work)
    process.send_signal(number)
    assert process.wait(300) == status
    wait_for(lambda: not with_mark(mark))
    if number == signal.SIGINT:
        assert process.stderr.read().endswith("vgfast: interrupted\n")
    process.stderr.close()


def test_rows_are_there_as_soon_as_they_are_measured(tmp_path, ctrl_c):
    """One is read, and then the command is interrupted, while the textbook is at work on big for some ten seconds."""
    command = [sys.executable, "-m", "vgfast", "bench", "--quick", "--workloads", "tiny,big", "--competitors", "numpy"]
    environment = {**os.environ, "MARK": str(tmp_path), "COLUMNS": "80"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--out", str(tmp_path)], env=environment, text=True, **pipes) as process:
        assert any(line.startswith("tiny ") for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "vgfast: interrupted\n"
    assert "vgfast alone" in rest
    assert "Ended before its end; what is above is complete. Left out: big, memory." in " ".join(rest.split())
    assert (tmp_path / comparison.PICTURE).read_bytes().startswith(b"\x89PNG")
    wait_for(lambda: not with_mark(f"MARK={tmp_path}".encode()))


@pytest.fixture
def quick_nets(monkeypatch):
    """Workloads that are done at once."""
    for name in ("tiny", "digits", "mnist", "funnel"):
        monkeypatch.setitem(problems.WORKLOADS, name, problems.Problem((8, 16, 12, 3), "relu", 8, 64))


QUICK = ["bench", "--quick", "--rounds", "1", "--threads", "1"]
THREE = [*QUICK, "--workloads", "tiny,digits,mnist", "--competitors", "vgfast"]


def run_here(monkeypatch, capsys, tmp_path, *arguments):
    """Exit status, stdout and stderr of the command in this process."""
    monkeypatch.chdir(tmp_path)
    status = cli.main(arguments)
    return (status, *capsys.readouterr())


def stops(monkeypatch, error, workload="mnist"):
    """The round of a workload fails."""
    whole = comparison.Entrant.round

    def round(self):
        if self.workload == workload:
            raise error
        whole(self)

    monkeypatch.setattr(comparison.Entrant, "round", round)


def test_what_was_measured_before_an_interruption_is_told(quick_nets, monkeypatch, capsys, tmp_path):
    stops(monkeypatch, KeyboardInterrupt())
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *THREE)
    assert (status, err) == (130, "vgfast: interrupted\n")
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("tiny ", "digits "))] == 2 * [
        "tiny",
        "digits",
    ]
    assert "Left out: mnist." in " ".join(out.split())
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *THREE, "--json")
    data = json.loads(out)
    assert (status, err) == (130, "vgfast: interrupted\n")
    assert data["partial"] is True
    assert data["left_out"] == ["mnist"]
    assert list(data["workloads"]) == ["tiny", "digits"]
    assert Path(data["picture"]).exists()


def test_a_textbook_that_fails_takes_no_row_with_it(quick_nets, monkeypatch, capsys, tmp_path):
    whole = comparison._compare

    def compare(workers_, workload, *rest):
        if workload == "mnist":
            raise workers.Failed("killed by SIGKILL")
        return whole(workers_, workload, *rest)

    monkeypatch.setattr(comparison, "_compare", compare)
    with pytest.raises(SystemExit, match=r"the textbook, .*, failed: killed by SIGKILL"):
        run_here(monkeypatch, capsys, tmp_path, *THREE)
    assert "Left out: mnist." in " ".join(capsys.readouterr().out.split())


class Clock:
    """That of ``bench``, which jumps when it has been looked at so often."""

    def __init__(self, looks):
        self.looks = looks

    def __call__(self):
        self.looks -= 1
        return 0.0 if self.looks >= 0 else 1e9


@pytest.mark.parametrize(
    ("looks", "rows"), [(1 + 2, ["tiny"]), (1 + 3, ["tiny"]), (1 + 6, ["tiny", "digits", "mnist"])]
)
def test_minutes_that_are_over_end_it_with_what_there_is(quick_nets, monkeypatch, capsys, tmp_path, looks, rows):
    """On each net vgfast warms up and has one turn; before both, the clock is looked at."""
    monkeypatch.setattr(rounds, "monotonic", Clock(looks))
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *THREE, "--minutes", "2", "--json")
    data = json.loads(out)
    assert (status, err) == (0, "")
    assert list(data["workloads"]) == rows
    assert data["left_out"] == [name for name in ("tiny", "digits", "mnist") if name not in rows]
    assert data["partial"] == (len(rows) < 3)


@pytest.mark.parametrize("asked", [["--workloads", "tiny", "--competitors", "vgfast"], ["--inspection"]])
def test_too_few_minutes(quick_nets, monkeypatch, capsys, tmp_path, asked):
    """What is advised helps."""
    monkeypatch.setattr(rounds, "monotonic", Clock(2))
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *QUICK, *asked, "--minutes", "0.001")
    assert (status, out) == (1, "")
    assert err.startswith("vgfast: in 0.001 minutes nothing could be measured; give it more --minutes, or leave ")
    monkeypatch.setattr(rounds, "monotonic", Clock(99))
    assert run_here(monkeypatch, capsys, tmp_path, *QUICK, *asked, "--minutes", "5")[0] == 0


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_that_are_none(capsys, minutes):
    assert cli.main(["bench", "--minutes", minutes]) == 1
    assert "vgfast: --minutes must be " in capsys.readouterr().err


def test_inspection_ends_with_whole_rounds(quick_nets, monkeypatch, capsys, tmp_path):
    asked = [*QUICK[:2], "--rounds", "3", "--threads", "1", "--inspection"]
    monkeypatch.setattr(rounds, "monotonic", Clock(1 + 1 + 3 + 2))
    status, out, _ = run_here(monkeypatch, capsys, tmp_path, *asked, "--minutes", "1", "--json")
    data = json.loads(out)
    assert (status, data["partial"], data["rounds"], data["left_out"]) == (0, True, 1, 2)
    monkeypatch.setattr(rounds, "monotonic", Clock(1 + 1 + 3 + 2))
    status, out, _ = run_here(monkeypatch, capsys, tmp_path, *asked, "--minutes", "1")
    assert status == 0
    assert "Ended before its end: 1 of 3 rounds." in out


def test_inspection_that_is_interrupted(quick_nets, monkeypatch, capsys, tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    looks = [0.0] * (1 + 1 + 3 + 2)
    monkeypatch.setattr(rounds, "monotonic", lambda: looks.pop() if looks else interrupted())
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *QUICK[:2], "--rounds", "3", "--inspection", "--json")
    data = json.loads(out)
    assert (status, err) == (130, "vgfast: interrupted\n")
    assert (data["partial"], data["rounds"]) == (True, 1)


def test_an_error_while_a_result_is_shown_ends_the_measurement():
    """At once, though the error holds on to the frame that was running it: processes must not stay behind."""
    ended = []

    def measure(begin):
        try:
            yield {"rounds": 1}
        finally:
            ended.append(True)

    def show(found):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        runner.run(measure, each=show)
    assert ended
    del caught


def test_advice_to_leave_an_option_out_helps():
    with pytest.raises(ValueError, match="leave out --competitors numpy"):
        inspection.read_settings("numpy", None, 1, 1, True)
    assert inspection.read_settings(None, None, 1, 1, True)["rounds"] == 1


def test_unknown_names(capsys):
    assert cli.main(["bench", "--competitors", "numpy,nosuch"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("vgfast: unknown competitor 'nosuch'; there is vgfast, numpy, torch, ")
    assert "and installed is vgfast, numpy" in said
    assert cli.main(["bench", "--workloads", "dig"]) == 1
    assert "unknown workload 'dig'; did you mean 'digits'? there is tiny, " in capsys.readouterr().err
    for option in ("--rounds", "--threads"):
        assert cli.main(["bench", option, "0"]) == 1
        assert f"vgfast: {option} must be " in capsys.readouterr().err


def test_bench_without_its_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(SystemExit, match=r"the benchmark needs rich, .* rich and matplotlib with: .*vgfast\[bench\]"):
        cli.main(["bench"])


def test_threads_of_a_competitor_are_those_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("VGFAST_ISA", "scalar")
    environment = workers.environment(2)
    for name in ("VGFAST_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        assert environment[name] == "2"
    assert "OMP_WAIT_POLICY" not in environment
    assert environment["VGFAST_ISA"] == "scalar"
