"""``vgfast bench --pretraining``: that all teach the same machine; one that is not there or fails is told of."""

import io
import json

import numpy as np
import pytest
from bench_command import too_few
from rich.console import Console

from vgfast import cli
from vgfast.bench import pretraining
from vgfast.bench.competitors import machines
from vgfast.bench.problems import PRETRAINING, MachineProblem
from vgfast.bench.workers import Failed
from vgfast.cost.rounds import summary

pytest.importorskip("sklearn")

SMALL = MachineProblem(8, 20, 10, 3, 0.1, rows=500)


def installed(kind):
    pytest.importorskip(kind.module)
    return kind


def test_the_digits_are_scaled_and_divided_without_a_rest(digits):
    for problem in PRETRAINING:
        X, held_out = problem.data()
        assert X.shape == (problem.rows, problem.side**2)
        assert held_out.shape == (1797 - problem.rows, problem.side**2)
        assert X.dtype == held_out.dtype == np.float32
        assert problem.rows == problem.batch * problem.steps
    large, small = PRETRAINING[1].data()[0].reshape(-1, 28, 28), PRETRAINING[0].data()[0].reshape(-1, 8, 8)
    np.testing.assert_array_equal(large[:, ::4, ::4], small[:, :7, :7])


@pytest.mark.parametrize("name", ["sklearn", "torch"])
def test_all_learn_the_same(name):
    """As well as vgfast, and better than what takes each unit for itself."""
    theirs = installed(machines.MACHINES[name])(SMALL).score(10, seed=0)["score"]
    ours = machines.VGFastMachine(SMALL).score(10, seed=0)["score"]
    X, held_out = SMALL.data()
    p = X.mean(axis=0).clip(1e-3, 1 - 1e-3)
    alone = (held_out * np.log(p) + (1 - held_out) * np.log(1 - p)).sum(axis=1).mean()
    assert min(theirs, ours) > alone + 2
    assert theirs == pytest.approx(ours, abs=1)


@pytest.mark.parametrize("name", ["sklearn", "torch"])
def test_each_takes_the_steps_that_it_is_asked_for(name):
    """At a small rate the visible biases, which begin with 0, go towards the data's mean less 1/2, so far a step."""
    machine = installed(machines.MACHINES[name])(SMALL._replace(lr=1e-3))
    for epochs in (1, 3):
        machine.train(epochs, seed=0)
        W, b, _ = machine.parameters()
        assert W.shape == (64, 20)
        expected = 1e-3 * 50 * epochs * (machine.X.mean(axis=0) - 0.5)
        np.testing.assert_allclose(b, expected, atol=0.006 * epochs)
        assert abs(b).max() > 0.02 * epochs


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(pretraining, "PRETRAINING", (SMALL, SMALL._replace(hidden=10)))


ASKED = ["bench", "--pretraining", "--quick", "--rounds", "2", "--threads", "1"]


@pytest.fixture
def without_torch(monkeypatch):
    """As if it were not installed; others are asked in this process."""
    kinds = {}

    def ask(self, kind, problem=None, do=None, **how):
        if kind.module == "torch":
            raise Failed("ModuleNotFoundError: No module named 'torch'", "torch")
        if problem is not None:
            kinds[kind] = kind(problem)
            return {}
        return getattr(kinds[kind], do)(**how)

    monkeypatch.setattr(pretraining.Workers, "ask", ask)


def test_for_programs(small, without_torch, capsys):
    assert cli.main([*ASKED, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["partial"], data["left_out"], data["seeds"]) == (False, [], 2)
    assert data["missing"] == {"torch": "not installed: pip install torch"}
    assert list(data["machines"]) == ["64 x 20", "64 x 10"]
    assert "torch" not in data["versions"]
    for of in data["machines"].values():
        ours, theirs = of["competitors"]["vgfast"], of["competitors"]["sklearn"]
        assert list(of["competitors"]) == ["vgfast", "sklearn"]
        pairs = zip(theirs["step"]["rounds"], ours["step"]["rounds"], strict=True)
        assert theirs["over_vgfast"]["rounds"] == [a / b for a, b in pairs]
        assert ours["over_vgfast"]["rounds"] == [1, 1]
        scores = ours["pseudo_likelihood"]["seeds"]
        assert len(set(scores)) == 2
        assert ours["pseudo_likelihood"]["mean"] == pytest.approx(np.mean(scores))
        assert ours["pseudo_likelihood"]["deviation"] == pytest.approx(np.std(scores, ddof=1))


def test_the_time_of_a_step(small, without_torch, capsys, monkeypatch):
    """An epoch has 50 steps, and so many epochs fill a turn of 0.03 s."""
    asked = []

    def time(self, epochs):
        asked.append(epochs)
        return {"seconds": epochs * 50 * 1e-4, "processors": 1.0}

    for kind in machines.MACHINES.values():
        monkeypatch.setattr(kind, "time", time)
    assert cli.main([*ASKED, "--json"]) == 0
    for of in json.loads(capsys.readouterr().out)["machines"].values():
        assert of["competitors"]["sklearn"]["step"]["rounds"] == pytest.approx([1e-4, 1e-4])
    assert set(asked) == {1, 6}


def test_for_readers(small, without_torch, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(ASKED) == 0
    said = capsys.readouterr().out
    assert said.count("\n  vgfast ") == said.count("\n  sklearn ") == 2
    assert "64 x 20, batch 10, rate 0.1, 3 epochs of 500 rows to learn\n" in said
    assert "torch: not installed: pip install torch\n" in said


def test_processes_of_their_own(small, capsys, monkeypatch):
    """As users run it; without the time that PyTorch takes to start."""
    monkeypatch.setattr(pretraining, "PRETRAINING", (SMALL,))
    monkeypatch.setattr(pretraining, "MACHINES", {"vgfast": machines.VGFastMachine})
    assert cli.main([*ASKED, "--json"]) == 0
    (of,) = json.loads(capsys.readouterr().out)["machines"].values()
    assert (
        of["competitors"]["vgfast"]["pseudo_likelihood"]["seeds"][0]
        == machines.VGFastMachine(SMALL).score(3, 0)["score"]
    )


def test_one_that_fails_is_told_of(small, without_torch, capsys, monkeypatch):
    def broken(self, epochs, seed):
        raise Failed("killed by SIGKILL")

    monkeypatch.setattr(machines.ScikitLearnMachine, "score", broken)
    assert cli.main([*ASKED, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    for of in data["machines"].values():
        assert of["competitors"]["sklearn"] == {"status": "failed", "reason": "killed by SIGKILL"}
        assert of["competitors"]["vgfast"]["status"] == "ok"
    text = io.StringIO()
    pretraining.show(data, Console(file=text, width=80))
    assert text.getvalue().count("  sklearn: killed by SIGKILL\n") == 2
    monkeypatch.setattr(machines.VGFastMachine, "score", broken)
    with pytest.raises(SystemExit, match="training, which was to be timed, failed: killed by SIGKILL"):
        cli.main(ASKED)


def test_the_table_fits_into_80_columns():
    found = {
        "status": "ok",
        "step": summary([0.1234567]),
        "over_vgfast": summary([123.4]),
        "pseudo_likelihood": {"mean": -1234.56, "deviation": 12.34, "seeds": []},
    }
    of = {**PRETRAINING[2]._asdict(), "competitors": dict.fromkeys(machines.MACHINES, found)}
    result = {
        "machine": pretraining.describe_machine(16),
        "versions": pretraining.versions(["numpy"]),
        "rounds": 7,
        "seeds": 5,
        "missing": {},
        "partial": True,
        "left_out": ["784 x 100"],
        "machines": {"784 x 500": of},
    }
    text = io.StringIO()
    pretraining.show(result, Console(file=text, width=80))
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert text.getvalue().count("123,457-123,457") == 3
    assert "Left out: 784 x 100." in text.getvalue()


def test_too_few_minutes(small, without_torch, monkeypatch, capsys, tmp_path):
    too_few(monkeypatch, capsys, tmp_path, *ASKED)


def test_it_is_asked_for_alone():
    with pytest.raises(SystemExit):
        cli.main(["bench", "--pretraining", "--inspection"])


def test_turns_are_counted(small, without_torch):
    settings = pretraining.read_settings(None, None, "1", 1, True)
    minutes, turns = settings.pop("minutes"), []
    for _ in pretraining.measure(turns.append, **settings):
        pass
    assert minutes == float("inf")
    assert len(turns) == pretraining.count_turns(settings)
