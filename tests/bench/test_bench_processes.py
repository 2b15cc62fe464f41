"""``vgfast bench`` that is interrupted or fails: no process stays behind, and what was measured is told."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from bench_command import QUICK, THREE, run_here

from vgfast.bench import comparison, runner, workers
from vgfast.cost import rounds

pytestmark = pytest.mark.once  # starts many processes


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


def running(process):
    """Whether any of its threads runs, or waits for a disk: on a busy machine, one that is kept waiting does too."""
    states = set()
    for path in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(OSError):
            states.add(path.read_text().rpartition(")")[2].split()[0])
    return bool(states & {"R", "D"})


def wait_until_gone(mark):
    """However long that takes; but not for processes that, look after look, do nothing."""
    idle = 0
    while there := with_mark(mark):
        idle = 0 if any(map(running, there)) else idle + 1
        assert idle < 100, f"{there} stay behind"
        time.sleep(0.05)


def at_work(mark):
    """Whether any of the processes is that of a competitor."""
    for n in with_mark(mark):
        with suppress(OSError):
            if b"workers.serve" in Path(f"/proc/{n}/cmdline").read_bytes():
                return True
    return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_process_stays_behind(number, status, tmp_path, ctrl_c):
    """Interrupted or killed, while the textbook is at work on big for some ten seconds."""
    mark = f"MARK={tmp_path}".encode()
    command = [sys.executable, "-m", "vgfast", "bench", "--workloads", "big", "--competitors", "numpy"]
    environment = {**os.environ, "MARK": str(tmp_path)}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--out", str(tmp_path)], env=environment, text=True, **pipes) as process:
        while not at_work(mark):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        errors = process.communicate()[1]
    assert process.returncode == status
    assert number == signal.SIGKILL or errors.endswith("vgfast: interrupted\n")
    wait_until_gone(mark)


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
    wait_until_gone(f"MARK={tmp_path}".encode())


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
