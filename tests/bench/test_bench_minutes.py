"""``vgfast bench --minutes``: it ends with what there is by then."""

import json

import pytest
from bench_command import QUICK, THREE, Clock, run_here, too_few

from vgfast.cost import rounds

pytestmark = pytest.mark.once  # starts many processes


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
    """Both that is advised helps."""
    too_few(monkeypatch, capsys, tmp_path, *QUICK, *asked)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_that_are_none(quick_nets, monkeypatch, capsys, tmp_path, minutes):
    asked = [*QUICK, "--inspection", "--minutes"]
    status, _, err = run_here(monkeypatch, capsys, tmp_path, *asked, minutes)
    assert status == 1
    assert "vgfast: --minutes must be above 0 and finite, got " in err
    monkeypatch.setattr(rounds, "monotonic", Clock(99))
    assert run_here(monkeypatch, capsys, tmp_path, *asked, "0.001")[0] == 0


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
