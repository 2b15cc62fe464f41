"""What the command advises in its help and its errors can be done, and then works."""

import os
import re
import shlex
from pathlib import Path

import pytest

from vgfast import cli, lessons
from vgfast.bench import comparison, ladder
from vgfast.cost import limits, report

pytestmark = pytest.mark.usefixtures("quick")


def run(capsys, *arguments):
    """Exit status, and what is said on stderr."""
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().err


def test_the_examples_of_the_help_can_be_typed():
    parser = cli._parser()
    (commands,) = (action for action in parser._actions if action.dest == "command")
    seen = set()
    for subparser in commands.choices.values():
        for example in re.findall(r"^[^:\n]+: vgfast (.*)", subparser.epilog or "", re.MULTILINE):
            seen.add(parser.parse_args(shlex.split(example)).command)
    assert seen == {"bench", "cost", "ladder", "lesson", "play", "reproduce", "watch"}


@pytest.mark.parametrize(("command", "name"), [("lesson", "chain"), ("reproduce", "d2l")])
def test_a_list_says_how_to_go_on(command, name, capsys):
    assert cli.main([command]) == 0
    typed = re.search(r"^Run one with: vgfast (.*)$", capsys.readouterr().out, re.MULTILINE)[1]
    assert run(capsys, *typed.replace("NAME", name).split(), "--quick") == (0, "")


# ---- names and numbers -----------------------------------------------------------------------------------

# What is typed, what is wrong in it, and where the error says what to put there: each of that is put there.
INSTEAD = {
    "command": ("nosuch --help", "nosuch", r"choose from (.*)\)"),
    "activation that is meant": ("cost 3 4 2 --static --activation rellu", "rellu", r"did you mean '(.*)'"),
    "activations": ("cost 3 4 2 --static --activation nosuch", "nosuch", r"there is (.*)"),
    "dtypes": ("cost 3 2 --static --dtype float16", "float16", r"there is (.*)"),
    "network that is meant": ("cost 3 2 --static --workers 2 --network 10gbe", "10gbe", r"did you mean '(.*)'"),
    "networks": ("cost 3 2 --static --workers 2 --network nosuch", "nosuch", r"there is (.*)"),
    "workers": ("cost 3 2 --static --workers 0 --network 1GbE", "0", r"--workers must be from (\d+) to"),
    "most workers": ("cost 3 2 --static --workers 0 --network 1GbE", "0", r"--workers must be from \d+ to (\d+)"),
    "workload that is meant": ("bench --workloads dig", "dig", r"did you mean '(.*)'"),
    "workloads": ("bench --workloads nosuch", "nosuch", r"there is (.*)"),
    "competitors": ("bench --competitors nosuch --workloads tiny", "nosuch", r"there is (.*), and installed"),
    "competitors that are installed": ("bench --competitors nosuch --workloads tiny", "nosuch", r"installed is (.*)"),
    "units": ("cost 3 0 2 --static", "0", r"must be from (\d+) to"),
    "most units": ("cost 3 0 2 --static", "0", r"must be from \d+ to (\d+)"),
    "rows": ("cost 3 2 --static --batch 0", "0", r"--batch must be from (\d+) to"),
    "most rows": ("cost 3 2 --static --batch 0", "0", r"--batch must be from \d+ to (\d+)"),
    "threads": ("cost 3 2 --static --threads 0", "0", r"--threads must be from (\d+) to"),
    "most threads": ("cost 3 2 --static --threads 0", "0", r"--threads must be from \d+ to (\d+)"),
    "threads of each": ("bench --workloads tiny --threads 0", "0", r"--threads must be from (\d+) to"),
    "most threads of each": ("bench --workloads tiny --threads 0", "0", r"--threads must be from \d+ to (\d+)"),
    "rounds": ("bench --workloads tiny --rounds 0", "0", r"--rounds must be at least (\d+)"),
    "units of a ladder": ("ladder --sizes 3 0 2 --batch 4", "0", r"must be from (\d+) to"),
    "outputs of a ladder": ("ladder --sizes 3 1 --batch 4", "1", r"needs at least (two) outputs"),
    "rows of a ladder": ("ladder --sizes 3 2 --batch 0", "0", r"--batch must be from (\d+) to"),
}
SLOW = ("workloads", "most threads")  # each of them is run
CASES = [pytest.param(case, marks=pytest.mark.once) if case in SLOW else case for case in INSTEAD]


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_to_be_possible_is(case, capsys, monkeypatch):
    monkeypatch.setattr(limits, "ROUNDS", 1)
    typed, wrong, pattern = INSTEAD[case]
    status, text = run(capsys, *typed.split())
    assert status == (2 if case == "command" else 1)
    instead = re.findall(r"[\w-]+", re.search(pattern, text)[1].replace("two", "2"))
    assert instead
    for word in instead:
        assert run(capsys, *(word if part == wrong else part for part in typed.split())) == (0, "")


def test_competitors_that_are_said_to_be_installed_are():
    with pytest.raises(ValueError, match="unknown competitor") as said:
        comparison.read_settings("nosuch", None, "1", 1, True)
    names = str(said.value).partition("installed is ")[2]
    assert comparison.read_settings(names, None, "1", 1, True)["competitors"] == names.split(", ")
    assert {"vgfast", "numpy"} <= set(names.split(", "))


@pytest.mark.parametrize(("command", "sizes"), [("cost", []), ("ladder", ["--sizes"])])
def test_sizes_of_a_net(command, sizes, capsys):
    status, text = run(capsys, command, *sizes, "5", "--batch", "4")
    assert status == 1
    example = re.search(r"such as \[([^]]*)\]", text)[1].split(", ")
    assert run(capsys, command, *sizes, *example, "--batch", "4") == (0, "")


def test_a_lesson_that_there_is_not(capsys):
    status, text = run(capsys, "lesson", "vanish")
    assert status == 1
    names = re.search(r"there are (.*)\n", text)[1].split(", ")
    assert names == list(lessons.NAMES)
    assert all(lessons.module(name).TITLE for name in names)


# ---- memory ----------------------------------------------------------------------------------------------


def test_smaller_sizes_or_batches_are_climbed(monkeypatch):
    monkeypatch.setattr(ladder, "lack_of_memory", lambda n: "too much" if n > 4e6 else "")
    with pytest.raises(ValueError, match="too much; take smaller --sizes or a smaller --batch"):
        ladder.read_settings([100, 100, 10], 1000)
    assert ladder.read_settings([100, 100, 10], 10)
    with pytest.raises(ValueError, match="take smaller --sizes"):
        ladder.read_settings([1000, 1000, 10], 1)
    assert ladder.read_settings([100, 100, 10], 1)


def test_smaller_sizes_or_batches_are_measured(monkeypatch, capsys):
    whole = report.of_architecture

    def limited(net, batch, *rest):
        if net.n_params + batch > 10_000:
            raise MemoryError("Unable to allocate 1.61 GiB")
        return whole(net, batch, *rest)

    monkeypatch.setattr(report, "of_architecture", limited)
    wanted = "vgfast: there is not enough memory for this (Unable to allocate 1.61 GiB); take smaller sizes or a "
    assert run(capsys, "cost", "100", "100", "--batch", "32", "--static") == (1, wanted + "smaller --batch\n")
    assert run(capsys, "cost", "90", "90", "--batch", "32", "--static") == (0, "")
    assert run(capsys, "cost", "90", "90", "--batch", "9000", "--static") == (1, wanted + "smaller --batch\n")
    assert run(capsys, "cost", "90", "90", "--batch", "900", "--static") == (0, "")


def test_what_has_no_sizes_is_not_to_have_smaller_ones(monkeypatch, capsys):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(lessons, "run", full)
    assert run(capsys, "lesson", "chain", "--json") == (
        1,
        "vgfast: there is not enough memory for this (MemoryError)\n",
    )


# ---- folders ---------------------------------------------------------------------------------------------

DRAWING = [
    ["demo"],
    ["bench", "--workloads", "tiny"],
    ["cost", "3", "2", "--static"],
    ["ladder", "--sizes", "3", "2", "--batch", "4"],
    ["lesson", "chain"],
]


@pytest.mark.parametrize("arguments", DRAWING, ids=lambda given: given[0])
def test_another_folder_for_the_picture(arguments, capsys, monkeypatch):
    """Whoever runs the tests may write where the others may not."""
    pytest.importorskip("matplotlib")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and allowed(path, mode))
    Path("file").write_text("")
    for place in ("file", "file/folder", "locked"):
        status, text = run(capsys, *arguments, "--json", "--out", place)
        assert status == 1
        assert "; choose another" in text
        assert place in text
    assert run(capsys, *arguments, "--json", "--out", "another") == (0, "")
    (picture,) = Path("another").iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")
