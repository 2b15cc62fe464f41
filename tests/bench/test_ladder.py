"""The ladder: rungs that agree, and one that would not; what it prints and what it refuses."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from command import vgfast_here

import vgfast as vg
from vgfast import _core, cli
from vgfast.bench import ladder, ladder_text, rungs
from vgfast.bench.problems import LR, Problem

SMALL = ["ladder", "--sizes", "12", "16", "8", "4", "--batch", "16"]


@pytest.fixture(scope="module", autouse=True)
def short_rounds():
    """A hundredth of a second is enough for what is told of times here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder.measure, "__defaults__", (*ladder.measure.__defaults__[:-1], 0.01))
        yield


@pytest.fixture(scope="module")
def climbed(tmp_path_factory, short_rounds):
    """What the command tells a program, and the folder of its picture."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("ladder") / "not yet there"
    with redirect_stdout(io.StringIO()) as told:
        assert cli.main([*SMALL, "--json", "--out", str(folder)]) == 0
    return json.loads(told.getvalue()), folder


def test_every_rung_that_there_is_agrees(climbed):
    data, folder = climbed
    names = [rung["name"] for rung in data["rungs"]]
    assert names == [rung.name for rung in ladder.RUNGS]
    for rung, entry in zip(ladder.RUNGS, data["rungs"], strict=True):
        lacks_isa = rung.isa is not None and rung.isa not in _core.isas()[: _core.isas().index(_core.isa()) + 1]
        lacks_threads = rung.threads and vg.get_num_threads() == 1
        assert entry["available"] == (not lacks_isa and not lacks_threads)
        if entry["available"]:
            assert entry["agrees"]
            assert entry["off"] <= 1e-4
            assert entry["seconds_per_step"] > 0
            assert entry["flops_per_second"] == pytest.approx(data["flops"] / entry["seconds_per_step"])
            assert entry["share_of_peak"] == pytest.approx(entry["flops_per_second"] / data["peak"])
        else:
            assert entry["reason"].startswith("not here: ")
            assert entry["seconds_per_step"] is None
    assert (folder / ladder.PICTURE).read_bytes().startswith(b"\x89PNG")
    assert data["picture"] == str(folder / ladder.PICTURE)


def test_each_rung_is_beside_the_last_and_the_first(climbed):
    seconds = []
    for rung in climbed[0]["rungs"]:
        if not rung["available"]:
            continue
        for name, over in (("over_last", seconds[-1:]), ("over_first", seconds[:1])):
            assert rung[name] == (over[0] / rung["seconds_per_step"] if over else None)
        seconds.append(rung["seconds_per_step"])
    assert len(seconds) >= 5


@pytest.mark.once
def test_for_people(capsys):
    with vg.threads(1):
        assert cli.main(SMALL) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert max(map(len, lines)) <= 80
    for rung in ladder.RUNGS:
        assert any(line.startswith(rung.name) for line in lines)
        assert f"[{rung.file}]" in " ".join(told.split())
    assert "not here: one thread is all that there is" in told
    assert "the weights of all rungs agree" in " ".join(told.split())


def test_files_that_are_named_are_there():
    from pathlib import Path

    root = Path(__file__).parents[2]
    for rung in ladder.RUNGS:
        assert (root / rung.file).is_file()


@pytest.mark.parametrize("fault", ["rate", "order", "none", "nan", "biases"])
def test_a_rung_that_is_wrong_is_noticed(fault, rng):
    """A learning rate that is 3 % off; other rows; no steps at all; NaN for weights; biases that are lost."""
    problem = Problem((30, 20, 5), "relu", 16, 64)

    class Wrong(rungs.NumPyBatches):
        def train(self, epochs):
            if fault == "rate":
                self.optimizer = vg.SGD(lr=1.03 * LR)
            if fault != "none":
                super().train(epochs)
            if fault == "nan":
                self.net.params[...] = np.nan
            if fault == "biases":
                self.net.biases[0][...] = 0

        def batches(self):
            return (rows[::-1][: len(rows) - (fault == "order")] for rows in super().batches())

    told = Wrong(problem).agrees()
    entry = ladder._assessed({**told, "rounds": [1.0]}, problem, 1e9, [])
    assert not entry["agrees"]
    json.dumps(entry, allow_nan=False)
    shown = {"name": "Wrong", "what": "x", "file": "y", "available": True, **entry}
    assert "ITS WEIGHTS DISAGREE" in "\n".join(ladder_text.rung_lines(shown))
    result = {"rungs": [{**shown, "reason": ""}], "steps": 4, "peak": 1e9, "threads": 1, "partial": False}
    with pytest.raises(ValueError, match="of the rungs, Wrong failed or disagreed"):
        ladder.check(result)
    assert "NOT all rungs agree" in " ".join(ladder_text.summary(result))


@pytest.mark.parametrize("kind", [rungs.Loops, rungs.NumPySamples, rungs.NumPyBatches, rungs.Blocked, rungs.WholeRun])
def test_rungs_agree_in_this_process_too(kind):
    told = kind(Problem((30, 20, 5), "relu", 16, 64)).agrees()
    assert told["off"] < 1e-6
    assert told["off_change"] < ladder.TOLERANCE_CHANGE / 10


def test_a_net_that_is_too_large_for_loops_leaves_them_out():
    problem = ladder.read_settings([784, 2048, 2048, 2048, 10], 512)
    assert problem.steps == 2
    assert ladder._why_not(ladder.RUNGS[0], problem, 2).startswith("left out: a step would take about")
    assert ladder._why_not(ladder.RUNGS[-1], problem, 2) == ""


def test_a_rung_that_fails_is_an_error():
    failed = {"name": "Broken", "available": False, "reason": "failed: MemoryError"}
    with pytest.raises(ValueError, match="of the rungs, Broken failed"):
        ladder.check({"rungs": [failed]})
    ladder.check({"rungs": [{"name": "AVX-512", "available": False, "reason": "not here: no avx512"}]})


def test_a_net_that_memory_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"the ladder cannot be climbed with this net: it would take .*; take smaller"):
        ladder.read_settings([10**6, 10**6, 10], 2)


@pytest.mark.skipif(len(_core.isas()) == 1, reason="there is nothing above plain C")
def test_a_cap_on_the_instruction_set_is_kept(isa):
    above = [rung for rung in ladder.RUNGS if rung.isa in _core.isas()[_core.isas().index(isa) + 1 :]]
    for rung in above:
        assert (
            ladder._why_not(rung, ladder.read_settings(None, None), 2) == f"not here: VGFAST_ISA allows {isa} at most"
        )
    assert len(above) < len(_core.isas())


def test_steps_are_few_for_large_nets_and_many_for_small():
    assert ladder.read_settings(None, None).steps == 2
    assert ladder.read_settings([3, 2], 1).steps == 64


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--sizes", "5"], 1, "sizes must hold at least two numbers"),
        (["--sizes", "5", "0"], 1, "a number of units, must be from 1"),
        (["--sizes", "5", "1"], 1, "cross_entropy needs at least two outputs"),
        (["--sizes", "5", "2.5"], 2, "invalid int value"),
        (["--batch", "0"], 1, "--batch must be from 1"),
        (["--out", "/proc/none/here"], 1, "/proc/none"),
    ],
)
def test_what_it_refuses(arguments, status, sentence):
    pytest.importorskip("matplotlib")
    done = vgfast_here("ladder", *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_numbers_of_any_size_fit():
    numbers = {"seconds_per_step": 12345.0, "over_last": 1e6, "over_first": 1e9, "flops_per_second": 1e15}
    rung = {"name": "x" * 26, "what": "why", "file": "f", "available": True, "agrees": True, "share_of_peak": 1e-9}
    assert max(map(len, ladder_text.rung_lines({**rung, **numbers}))) <= 80
