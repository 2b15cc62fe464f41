"""Where the command's words go: streams that take little or nothing, and results that nothing takes away."""

import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import vgfast as vg
from vgfast import cli, lessons
from vgfast.bench import figures as bench_figures
from vgfast.bench import ladder
from vgfast.cli import results
from vgfast.cost import figures as cost_figures
from vgfast.show.figures import Picture
from vgfast.show.spelling import spelled

pytestmark = pytest.mark.usefixtures("quick")

COMMANDS = ("demo", "info", "bench", "cost", "ladder", "lesson", "reproduce")


BENCH = ("bench", "--quick", "--rounds", "1", "--workloads", "tiny", "--competitors", "vgfast")
DRAWN = {
    "demo": ("demo",),
    "bench": BENCH,
    "cost": ("cost", "8", "8", "3", "--static", "--out", "."),
    "ladder": ("ladder", "--sizes", "3", "2", "--batch", "4", "--out", "."),
    "lesson": ("lesson", "chain"),
}
MEASURED = {
    **DRAWN,
    "inspection": ("bench", "--quick", "--rounds", "1", "--inspection"),
    "info": ("info",),
    "reproduce": ("reproduce", "d2l", "--quick"),
}


def stream(encoding="ascii"):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def run(monkeypatch, *arguments, encoding="ascii"):
    """Exit status, stdout and stderr."""
    out, err = stream(encoding), stream(encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = end.code
    return (status, *(s.buffer.getvalue().decode(encoding) for s in (out, err)))


@pytest.fixture
def blank(monkeypatch):
    """Pictures are laid out but not painted, which says nothing on any stream, and takes longest of what is quick."""
    monkeypatch.setattr(Picture, "savefig", lambda self, path, **more: Path(path).touch())


# ---- characters --------------------------------------------------------------------------------------

SHOWN = [*MEASURED.values(), ("lesson",), ("reproduce",), ("cost", "8", "8", "3"), ("--help",)]
SHOWN += [(command, "--help") for command in COMMANDS]


@pytest.mark.parametrize("arguments", SHOWN, ids=" ".join)
def test_every_command_prints_where_only_ascii_does(monkeypatch, tmp_path, arguments, blank):
    status, out, err = run(monkeypatch, *arguments)
    assert (status, err) == (0, "")
    assert out.isascii()
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "koi8-r", "utf-8"])
def test_what_a_stream_can_take_stays(monkeypatch, encoding, blank):
    status, out, _ = run(monkeypatch, "reproduce", "d2l", "--quick", encoding=encoding)
    assert status == 0
    assert "10^24" in out
    status, out, _ = run(monkeypatch, "lesson", "chain", encoding=encoding)
    assert status == 0
    assert ("─" in out) == (encoding in ("utf-8", "koi8-r"))
    assert spelled("3 µs ± x²‖→Ł", encoding).startswith("3 us +- x" if encoding == "koi8-r" else "3 µs ± x²")


@pytest.mark.once
def test_in_a_locale_without_any_other_character():
    """There, Python cannot read the file that tells it of a checkout whose path has other characters; so it is told."""
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    plain["PYTHONPATH"] = str(Path(vg.__file__).parent.parent)
    command = [sys.executable, "-m", "vgfast", "cost", "8", "3", "--static", "--out", "d\xe9\xdf"]
    done = subprocess.run(command, env={**os.environ, **plain}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(Path("d\xe9\xdf").resolve()).encode() in done.stdout  # a path goes out as it came


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["n\u00e9\u0142"], 2), (["cost", "n\u00e9\u0142"], 2), (["cost", "3", "2", "--dtype", "n\u00e9\u0142"], 1)],
)
def test_errors_that_quote_what_a_stream_cannot_take(monkeypatch, arguments, status):
    got, out, err = run(monkeypatch, *arguments)
    assert (got, out) == (status, "")
    assert r"n\xe9\u0142" in err


def test_a_path_that_is_no_text(monkeypatch):
    status, out, _ = run(monkeypatch, "cost", "3", "2", "--static", "--out", "a\udcffb", encoding="latin-1")
    assert status == 0
    assert "a\xffb" in out
    status, out, _ = run(monkeypatch, "cost", "3", "2", "--static", "--json", "--out", "a\udcffb")
    assert json.loads(out)["picture"].endswith("a\udcffb/cost.png")


def test_the_streams_are_afterwards_as_they_were(monkeypatch):
    out, err = stream(), stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    cli.main(["lesson"])
    assert (sys.stdout, sys.stderr, out.errors, err.errors) == (out, err, "strict", "strict")


def test_what_a_script_prints_is_ascii(trained, small_problem, capsys):
    """Nothing of ours stands between print and the stream there."""
    X, y = small_problem
    net = vg.MLP([5, 8, 6, 3], "sigmoid", rng=0)
    report, cost = net.inspect(X, y), net.cost(8)
    vg.show_config()
    texts = [
        capsys.readouterr().out,
        *map(str, (trained, report, cost, cost.beside(report), net.trace(1, 0, 0, X[0], y[0]))),
    ]
    texts += map(repr, (trained, net, report))
    huge = vg.MLP([2, 2], rng=0).cost(10**6, measure=False)
    assert all(text.isascii() for text in [*texts, str(huge)])


# ---- streams that take nothing -----------------------------------------------------------------------


def shell(line, **variables):
    command = line.replace("vgfast", f"{shlex.quote(sys.executable)} -m vgfast")
    return subprocess.run(
        ["bash", "-c", command], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("how", ["", " --json"])
def test_numbers_that_cannot_be_printed_are_in_a_file(how, unbuffered):
    done = shell(f"vgfast cost 8 8 3 --static{how} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    found = re.fullmatch(
        r"vgfast: the numbers could not be printed \(No space left on device\); they are in (.*)\n", done.stderr
    )
    assert json.loads(Path(found[1]).read_text())["sizes"] == [8, 8, 3]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["lesson", "--help", "lesson chain"])
def test_a_full_disk_is_told_in_a_sentence(arguments, unbuffered):
    done = shell(f"vgfast {arguments} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    told = "vgfast: standard output does not take what is printed (No space left on device); send it elsewhere\n"
    assert done.stderr == told
    assert not list(Path().iterdir())
    if not unbuffered:  # as it says
        assert shell(f"vgfast {arguments} > file").returncode == 0
        assert Path("file").read_text()


def test_a_closed_stdout_is_told_before_anything_is_done():
    done = shell("vgfast cost 8 8 3 >&-")
    assert done.returncode == 1
    assert done.stderr.startswith("vgfast: standard output is closed, ")
    assert done.stderr.count("\n") == 1
    # As it says.
    assert "8 -> 8, relu" in shell("vgfast cost 8 8 3 --static").stdout
    assert shell("vgfast cost 8 8 3 --static > file").returncode == 0
    assert "8 -> 8, relu" in Path("file").read_text()


def test_whoever_reads_may_stop():
    done = shell("vgfast lesson | true; exit ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.returncode in (0, 1)  # it may have read first


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["cost 8 8 3 --static", "cost 8 8 3 --static --json", "lesson chain", "--help"])
def test_whoever_stops_reading_gets_no_file_instead(arguments, unbuffered):
    there, gone = os.pipe()
    os.close(there)
    with open(gone, "wb") as out:
        command = [sys.executable, "-m", "vgfast", *arguments.split()]
        variables = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, env=variables, stdout=out, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("how", ["2> /dev/full", "2>&-"])
def test_nothing_needs_stderr(how):
    done = shell(f"vgfast cost 8 8 3 --static {how}")
    assert done.returncode == 0
    assert "8 -> 8, relu" in done.stdout
    done = shell(f"vgfast cost 0 8 {how}")
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode != 0


class Full(io.StringIO):
    """A stream that takes so many characters."""

    def __init__(self, room, error=errno.ENOSPC):
        super().__init__()
        self.room, self.error = room, error

    def write(self, text):
        self.room -= len(text)
        if self.room < 0:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(text)


def room_before_numbers(monkeypatch, name, how):
    """In a stream that is to be full at the first of the numbers."""
    if how is not None or name not in ("lesson", "reproduce", "ladder"):
        return 0
    _, out, _ = run(monkeypatch, *MEASURED[name])
    last = {"lesson": "\nWhat you did see.", "reproduce": "published", "ladder": "\nplain C"}[name]
    return out.rindex(last)


@pytest.mark.parametrize("how", ["--json", None])
@pytest.mark.parametrize("name", MEASURED)
def test_nothing_is_written_or_said_where_nobody_reads_on(monkeypatch, capsys, tmp_path, name, how, blank):
    room = room_before_numbers(monkeypatch, name, how)
    before = set(tmp_path.glob("*.json"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(room, errno.EPIPE))
        assert cli.main([*MEASURED[name], *([how] if how else [])]) == 1
    assert capsys.readouterr().err == ""
    assert set(tmp_path.glob("*.json")) == before


def test_a_picture_that_was_asked_for_is_drawn_where_nobody_reads_on(monkeypatch):
    for how in ([], ["--json"]):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Full(0, errno.EPIPE))
            assert cli.main([*DRAWN["cost"], *how]) == 1
        Path("cost.png").unlink()
    assert not list(Path().iterdir())


def test_a_picture_that_fails_is_told_of_where_nobody_reads_on(monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(cost_figures, "draw_roofline", fails)
    for how in ([], ["--json"]):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Full(0, errno.EPIPE))
            assert cli.main([*DRAWN["cost"], *how]) == 1
        assert "vgfast: the picture could not be saved (RuntimeError: no font); " in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("how", ["--json", None])
@pytest.mark.parametrize("name", MEASURED)
def test_what_took_time_is_not_lost_with_the_stream(monkeypatch, capsys, name, how, blank):
    """It is full from the first character on, or, where something is said before the work, from then on."""
    room = room_before_numbers(monkeypatch, name, how)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(room))
        assert cli.main([*MEASURED[name], *([how] if how else [])]) == 1
    told = capsys.readouterr().err
    found = re.search(
        r"vgfast: the numbers could not be printed \(No space left on device\); they are in (\S+)\n", told
    )
    data = json.loads(Path(found[1]).read_text())
    key = {"demo": "nets", "bench": "workloads", "cost": "rows", "ladder": "rungs", "lesson": "found"}
    key |= {"inspection": "vgfast", "info": "limits", "reproduce": "rows"}
    assert data[key[name]]


def test_where_no_file_can_be_written_either(monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results.tempfile, "mkstemp", full)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(0))
        assert cli.main(["cost", "3", "2", "--static"]) == 1
    assert capsys.readouterr().err.endswith("; nor could they be written to a file\n")


# ---- pictures that cannot be -------------------------------------------------------------------------


FAILURES = (RuntimeError("no font"), OSError(28, "No space left on device"), MemoryError(), ImportError("matplotlib"))


@pytest.mark.parametrize(
    ("name", "error"), [(name, FAILURES[0]) for name in DRAWN] + [("cost", e) for e in FAILURES[1:]]
)
def test_a_picture_that_fails_takes_no_number_with_it(monkeypatch, name, error):
    def fails(*_):
        raise error

    drawing = {
        "demo": (lessons, "save"),
        "bench": (bench_figures, "draw_step_times"),
        "cost": (cost_figures, "draw_roofline"),
        "ladder": (bench_figures, "draw_ladder"),
        "lesson": (lessons, "save"),
    }
    monkeypatch.setattr(*drawing[name], fails)
    status, out, err = run(monkeypatch, *DRAWN[name], "--json")
    assert status == 1
    assert re.fullmatch(r"vgfast: the picture could not be saved \(.+\); the numbers are complete without it\n", err)
    assert json.loads(out)["picture"] is None
    status, out, again = run(monkeypatch, *DRAWN[name])
    assert (status, again) == (1, err)
    last = {
        "demo": "frozen: ",
        "bench": "A call from",
        "cost": "Limits:",
        "ladder": "From the first",
        "lesson": "In ",
    }
    assert any(line.startswith(last[name]) for line in out.splitlines())


def test_a_folder_that_is_gone_when_the_picture_is_done(monkeypatch):
    drawn = cost_figures.draw_roofline

    def roofline(cost):
        Path("here").rmdir()
        return drawn(cost)

    monkeypatch.setattr(cost_figures, "draw_roofline", roofline)
    status, out, err = run(monkeypatch, "cost", "3", "2", "--static", "--out", "here")
    assert status == 1
    assert "3 -> 2, identity" in out
    assert "the picture could not be saved ([Errno 2] No such file" in err


def test_an_interruption_while_drawing_waits_for_the_numbers(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cost_figures, "draw_roofline", interrupted)
    for how in ([], ["--json"]):
        status, out, err = run(monkeypatch, "cost", "3", "2", "--static", "--out", ".", *how)
        assert (status, err) == (130, "vgfast: interrupted\n")
        assert '"rows"' in out or "identity" in out


def test_a_ladder_that_is_interrupted(monkeypatch):
    """What was climbed is told; and drawn."""
    whole = ladder._entry

    def entry(rung, *rest):
        if rung.name == "plain C":
            raise KeyboardInterrupt
        return whole(rung, *rest)

    monkeypatch.setattr(ladder, "_entry", entry)
    status, out, err = run(monkeypatch, *DRAWN["ladder"])
    assert (status, err) == (130, "vgfast: interrupted\n")
    assert "NumPy, a batch at a time" in out
    assert "Ended before its end. Left out: plain C." in " ".join(out.split())
    status, out, _ = run(monkeypatch, *DRAWN["ladder"], "--json")
    data = json.loads(out)
    assert (status, data["partial"], data["left_out"], len(data["rungs"])) == (130, True, ["plain C"], 1)
    assert Path(data["picture"]).exists()
