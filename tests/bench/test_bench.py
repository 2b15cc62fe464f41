"""``vgfast bench``: that the competitors are right, and that one which is not there, wrong or broken is told of."""

import importlib
import importlib.metadata
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
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
    compared = [problem for name, problem in problems.WORKLOADS.items() if name != problems.INSPECTION]
    assert compared == sorted(compared, key=lambda problem: problem.flops)
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


LEARNING = {"adam": {"optimizer": "adam"}, "batch norm": {"batch_norm": True}}


@pytest.mark.parametrize("name", [name for name, kind in COMPETITORS.items() if kind.device == "cpu"])
@pytest.mark.parametrize("how", LEARNING)
def test_all_have_one_adam_and_one_batch_norm(name, how, monkeypatch):
    """As the textbook, on batches of 8, whose variance with bias is an eighth less than that without; scikit-learn and
    optax come to 1e-5 of it with Adam (``comparison.ADAM_TOLERANCE``). Nobody goes on from what he kept before."""
    problem, kind = problems.Problem((5, 8, 7, 3), "tanh", 8, 64, **LEARNING[how]), COMPETITORS[name]
    pytest.importorskip(kind.module)
    if kind.module == "jax" and how == "adam":
        pytest.importorskip("optax")
    if not kind.takes(problem):
        assert (name, how) == ("sklearn", "batch norm")
        return
    if kind.module == "torch":
        import torch

        whole = torch.compile
        monkeypatch.setattr(torch, "compile", lambda f, **_: whole(f, fullgraph=True, dynamic=False, backend="eager"))
        monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    competitor, exact = kind(problem), Textbook(problem).loss(2)["loss"]
    for _ in range(2):
        loss = competitor.loss(2)["loss"]
        assert loss == pytest.approx(exact, rel=1e-5 if how == "adam" and name in LOOSE else 1e-6)
    plain = Textbook(problem._replace(optimizer="sgd", batch_norm=False)).loss(2)["loss"]
    assert exact != pytest.approx(plain, rel=1e-3)


LOOSE = ("sklearn", "jax-step", "jax-epoch")


def test_who_has_no_batch_norm_has_no_row():
    names = list(COMPETITORS)
    assert set(names) - set(comparison.entrants_of("mnist-bn", names)) == {"sklearn", "torch-cuda"}
    assert set(names) - set(comparison.entrants_of("mnist-adam", names)) == {"torch-cuda"}
    assert comparison.entrants_of("mnist", names) == names


@pytest.mark.parametrize("sizes", [(5, 8, 7, 3), (5, 8, 7, 2)])
def test_scikit_learn_trains_as_the_textbook(sizes):
    """Where there are two classes, too, of which it would make one output."""
    pytest.importorskip("sklearn")
    problem = problems.Problem(sizes, "tanh", 8, 64)
    assert ScikitLearn(problem).loss(2)["loss"] == pytest.approx(Textbook(problem).loss(2)["loss"], rel=1e-6)


def test_as_many_nets_are_compiled_as_there_are(monkeypatch):
    """PyTorch keeps so many at most that were compiled of one function."""
    torch = pytest.importorskip("torch")
    settings = importlib.import_module("torch._dynamo").config
    whole, threads = torch.compile, torch.get_num_threads()
    monkeypatch.setattr(torch, "compile", lambda f, **_: whole(f, fullgraph=True, dynamic=False, backend="eager"))
    monkeypatch.setattr(settings, "recompile_limit", 1)
    try:
        for hidden in (8, 9, 10):
            problem = problems.Problem((5, hidden, 3), "tanh", 8, 64)
            exact = Textbook(problem).loss(1)["loss"]
            assert COMPETITORS["torch-compile"](problem).loss(1)["loss"] == pytest.approx(exact, rel=1e-6)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.once
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


@pytest.mark.parametrize(
    ("workloads", "missing", "packages"),
    [
        (["tiny", "funnel"], (), ["vgfast", "numpy", "jax"]),
        (["tiny", "tiny-adam"], (), ["vgfast", "numpy", "jax", "optax"]),
        (["tiny-adam"], ("jax-epoch", "jax-step"), ["vgfast", "numpy"]),
    ],
)
def test_the_versions_are_those_of_all_that_the_rows_take(workloads, missing, packages, monkeypatch):
    """From the first row on, with which they are shown."""
    pytest.importorskip("jax")
    pytest.importorskip("optax")

    def compare(*arguments):
        arguments[-1].update(dict.fromkeys(missing, "no GPU"))
        return {}

    monkeypatch.setattr(comparison, "_compare", compare)
    names = ["vgfast", "numpy", "jax-epoch", "jax-step"]
    found = next(comparison.measure(lambda what: None, names, workloads, 1, 1, 0.01))
    assert list(found["versions"]) == packages
    assert all(found["versions"][name] == importlib.metadata.version(name) for name in packages[1:])


def test_without_optax_there_is_no_version_of_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    assert COMPETITORS["jax-step"].packages(problems.WORKLOADS["tiny-adam"]) == ["jax"]


@pytest.mark.once
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

class DiesMidway(NumPy):
    def time(self, epochs):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked == 4 and self.problem.sizes[0] == 4:
            raise RuntimeError("no more of this, " + "and why " * 50)
        return super().time(epochs)

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


@pytest.mark.once
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


@pytest.mark.once
def test_a_competitor_that_fails_midway_loses_one_row(tmp_path, monkeypatch, quick_nets):
    """In its second or third round, as warming up takes one turn or two; on the next net it takes part again."""
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COMPETITORS, "midway", importlib.import_module("broken").DiesMidway)
    monkeypatch.setitem(problems.WORKLOADS, "tiny", problems.Problem((4, 8, 3), "relu", 8, 64))
    settings = comparison.read_settings("midway,numpy", "tiny,digits", "1", 3, True)
    result = runner.run(comparison.measure, **settings)
    tiny, digits = result["workloads"].values()
    assert {name: found["status"] for name, found in digits["competitors"].items()} == dict.fromkeys(
        ["vgfast", "midway", "numpy"], "ok"
    )
    assert tiny["competitors"]["numpy"]["status"] == "ok"
    assert len(tiny["competitors"]["numpy"]["step"]["rounds"]) == 3
    assert tiny["fastest_other"] == "numpy"
    failed = tiny["competitors"]["midway"]
    assert failed["status"] == "failed"
    assert re.fullmatch(r"RuntimeError: no more of this, (and why )+.{0,7}\.\.\.", failed["reason"])
    assert len(failed["reason"]) == workers.LONGEST_REASON
    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    row = next(line.split() for line in text.getvalue().splitlines() if line.startswith("tiny"))
    assert row[2] == "[1]"
    assert "[1] tiny, midway: failed: RuntimeError: no more of this" in text.getvalue()


def test_vgfast_that_fails_loses_one_row(monkeypatch, quick_nets, tmp_path):
    whole = comparison.Entrant.round

    def round(self):
        if (self.name, self.workload) == ("vgfast", "tiny"):
            raise workers.Failed("killed by SIGKILL")
        whole(self)

    monkeypatch.setattr(comparison.Entrant, "round", round)
    settings = comparison.read_settings("numpy", "tiny,digits", "1", 1, True)
    result = runner.run(comparison.measure, **settings)
    tiny, digits = result["workloads"].values()
    assert (tiny["fastest_other"], tiny["ratio"]) == ("numpy", None)
    assert digits["ratio"] > 0
    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    assert "[1] tiny, vgfast: failed: killed by SIGKILL" in text.getvalue()
    assert comparison.save_picture(result, tmp_path).read_bytes().startswith(b"\x89PNG")


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
    assert text.getvalue().count("234,500*") == len(problems.WORKLOADS) - 1
    assert text.getvalue().count("234,500-234,500") == len(problems.WORKLOADS)


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


def test_threads_of_a_competitor_are_those_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("VGFAST_ISA", "scalar")
    environment = workers.environment(2)
    for name in ("VGFAST_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        assert environment[name] == "2"
    assert "OMP_WAIT_POLICY" not in environment
    assert environment["VGFAST_ISA"] == "scalar"
