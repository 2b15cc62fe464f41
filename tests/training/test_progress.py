"""What ``progress=True`` shows, on a terminal and elsewhere."""

import os
import pty
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import vgfast as vg
from vgfast.training import progress

pytestmark = pytest.mark.any_isa

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 5))
Y = RNG.integers(0, 3, 60)


@pytest.fixture
def each_epoch(monkeypatch):
    """Whatever time it takes."""
    monkeypatch.setattr(progress, "_LINE", 0)
    monkeypatch.setattr(progress, "_LOOK", 0)


def trained(kind=vg.MLP, epochs=3, **how):
    net = kind([5, 8, 3], rng=0)
    return net, net.fit(X, Y, epochs, 16, **how)


@NETS
def test_a_line_an_epoch_where_there_is_no_terminal(kind, each_epoch, capsys):
    _, history = trained(kind, epochs=12, progress=True, validation_data=(X, Y))
    out, told = capsys.readouterr()
    assert out == ""
    lines = told.splitlines()
    for number, (line, epoch) in enumerate(zip(lines, history.epochs, strict=True), 1):
        numbers = "  ".join(f"{name} {epoch[name]:.4g}" for name in ("loss", "accuracy", "val_loss", "val_accuracy"))
        assert re.fullmatch(rf"epoch {number:2}/12  {re.escape(numbers)}  \d+\.\d s", line)


def test_quick_epochs_are_shown_now_and_then_and_the_last_one_always(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE", 1e9)
    monkeypatch.setattr(progress, "_LOOK", 1e9)
    _, history = trained(epochs=100, progress=True)
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in told] == [["epoch", "1/100"], ["epoch", "100/100"]]
    assert f"loss {history.epochs[-1]['loss']:.4g}" in told[1]


@NETS
@pytest.mark.parametrize("how", [{}, {"validation_data": (X, Y)}, {"inspect_every": 7}])
def test_it_changes_no_bits(kind, how, capsys):
    nets = [trained(kind, 40, progress=shown, **how) for shown in (False, True)]
    assert nets[0][0].params.tobytes() == nets[1][0].params.tobytes()
    assert nets[0][1].loss.tobytes() == nets[1][1].loss.tobytes()
    assert len(nets[0][1].epochs) == len(nets[1][1].epochs) == 40


def test_what_a_callback_ends_is_shown_to_there(each_epoch, capsys):
    trained(epochs=9, progress=True, callbacks=[lambda net, history: len(history.epochs) == 4])
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["1/9", "2/9", "3/9", "4/9"]


def test_without_rich_there_are_lines(each_epoch, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    trained(progress=True)
    assert len(capsys.readouterr().err.splitlines()) == 3


# ---- on a terminal -----------------------------------------------------------------------------------

SCRIPT = """
import numpy as np, vgfast as vg
rng = np.random.default_rng(0)
X, y = rng.normal(size=(500, 8)), rng.integers(0, 3, 500)
def tell(net, history):
    if len(history.epochs) == 1:
        print("printed meanwhile", flush=True)
try:
    vg.MLP([8, 8, 3], rng=0).fit(X, y, {epochs}, 10, progress=True, callbacks=[tell])
except KeyboardInterrupt:
    print("interrupted")
print("after it")
"""
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"  # the cursor


def on_a_terminal(epochs, interrupt=False):
    """All that the script sends to its terminal; interrupted when there is a bar."""
    pytest.importorskip("rich")
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-c", SCRIPT.format(epochs=epochs)]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    os.close(its)
    sent = b""
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:  # it has ended
            break
        if not got:
            break
        sent += got
        if interrupt and b"printed meanwhile" in sent and b"epoch" in sent.split(b"printed meanwhile")[1]:
            process.send_signal(signal.SIGINT)
            interrupt = False
    os.close(ours)
    assert process.wait() == 0, sent
    return sent


def test_a_bar_is_gone_in_the_end_and_leaves_a_line():
    sent = on_a_terminal(60)
    assert HIDE in sent
    assert sent.rindex(SHOW) > sent.rindex(HIDE)
    end = sent[sent.rindex(SHOW) :].decode()
    assert re.search(r"epoch 60/60  loss [\d.]+  accuracy [\d.]+  \d+\.\d s\r\n", end)
    assert "after it" in end
    assert re.search(r"(^|[\n\r]|\x1b\[2K)printed meanwhile\r?\n", sent.decode())


def test_ctrl_c_leaves_the_terminal_whole(ctrl_c):
    sent = on_a_terminal(10**7, interrupt=True)
    assert sent.rindex(SHOW) > sent.rindex(HIDE)
    end = sent[sent.rindex(SHOW) :].decode()
    assert re.search(r"epoch +\d+/10000000  loss .* s\r\n", end)
    assert end.index("epoch") < end.index("interrupted") < end.index("after it")
