"""``vgfast watch`` and ``vgfast play``."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from command import vgfast_here

HEAD = """
import numpy as np, sys, vgfast as vg
def train(lr):
    return vg.MLP([4, 8, 2], rng=0).fit(np.eye(4), [0, 1, 1, 0], 5, 2, vg.SGD(lr))
"""
RAISES = f"""{HEAD}
print(sys.argv[1:], len(train(0.1).steps))
raise ValueError("of the script's own")
"""


def whole(address):
    """The first page and state that it sends."""
    with urllib.request.urlopen(address.replace("/?", "/events?"), timeout=30) as events:
        found = []
        while len(found) < 2:
            line = events.readline()
            assert line
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
    return found[0]["page"], found[1]


def test_a_script_that_raises_is_shown_with_its_last_state_and_ends_as_by_python(tmp_path, ctrl_c):
    (tmp_path / "script.py").write_text(RAISES)
    command = ["watch", "--json", "--no-browser", "--port", "0", "--inspect-every", "2", "script.py", "--lr", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "vgfast", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        try:
            address = json.loads(process.stdout.readline())["address"]
            said = ""
            while "stays until Ctrl-C" not in said:
                said += (line := process.stderr.readline())
                assert line
            found, state = whole(address)
        finally:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
    plain = subprocess.run(
        [sys.executable, "script.py", "--lr", "1"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert out == "['--lr', '1'] 5\n"
    assert (state["error"], state["running"]) == ("ValueError: of the script's own", False)
    assert (found["title"], found["parts"][0]["n_steps"], found["parts"][0]["report"] is None) == (
        "script.py",
        10,
        False,
    )
    assert process.returncode == plain.returncode == 1
    assert said.split("the script has ended")[0] == plain.stderr


@pytest.mark.parametrize(
    ("last", "status", "error"),
    [
        ("", 0, None),
        ("sys.exit(3)", 3, "The script has ended with 3."),
        ("sys.exit('no luck')", 1, "The script has ended with 'no luck'."),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
    ],
)
def test_the_exit_status_is_the_scripts(tmp_path, monkeypatch, last, status, error):
    from vgfast.live import watch

    ended = []
    monkeypatch.setattr(watch.Watch, "end", lambda self, error="": ended.append(error or None))
    script = tmp_path / "script.py"
    script.write_text(f"{HEAD}\ntrain(0.1)\n{last}\n")
    done = vgfast_here("watch", "--no-browser", "--port", "0", "--close", str(script))
    assert (done.returncode, ended) == (status, [error])
    assert ("Traceback" in done.stderr) == (status == 130)
    assert ("no luck\n" in done.stderr) == ("no luck" in last)


FINDS = f"""{HEAD}
import os, pickle, threading
class Own:
    pass
def add(a: "a name that there is not"): pass
os.chdir("/")
print(sys.argv, __name__, __file__, sys.path[0], __spec__, add.__annotations__)
print(type(pickle.loads(pickle.dumps(Own()))) is sys.modules["__main__"].Own, flush=True)
if (child := os.fork()) == 0:
    train(0.1)
    print("a fork", flush=True)
else:
    assert os.waitpid(child, 0)[1] == 0
    threading.Timer(0.5, lambda: print("a thread", pickle.dumps(Own())[:2], flush=True)).start()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_script_finds_what_it_finds_by_python_and_its_forks_end(tmp_path):
    (tmp_path / "script.py").write_text(FINDS)
    watch = ["-m", "vgfast", "watch", "--no-browser", "--port", "0", "--close"]
    done, plain = (
        subprocess.run(
            [sys.executable, *how, "script.py", "-x"], capture_output=True, check=False, cwd=tmp_path, timeout=60
        )
        for how in (watch, [])
    )
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)
    assert b"a fork" in done.stdout
    assert b"a thread" in done.stdout
    assert done.stderr.count(b"\n") == 1  # where the page is


def test_a_script_that_there_is_not(tmp_path):
    done = vgfast_here("watch", str(tmp_path / "none.py"))
    assert done.returncode == 1
    assert done.stderr.startswith("vgfast: there is no script")
    assert vgfast_here("watch", "--port", "70000", __file__).returncode == 1
    assert vgfast_here("watch", "--inspect-every", "-1", __file__).returncode == 1


def test_a_syntax_error_has_no_frames_of_ours(tmp_path):
    (tmp_path / "script.py").write_text("1 +\n")
    done = vgfast_here("watch", "--no-browser", "--port", "0", "--close", str(tmp_path / "script.py"))
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert "runpy" not in done.stderr


def test_play_is_there_until_ctrl_c(ctrl_c):
    command = [sys.executable, "-m", "vgfast", "play", "--json", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            page, state = whole(json.loads(process.stdout.readline())["address"])
            assert process.stderr.readline() == "the net waits; the page stays until Ctrl-C\n"
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert [part["kind"] for part in page["parts"]] == ["play", "history"]
    assert not state["running"]
    assert (process.returncode, out, err) == (0, "", "\n")
