"""Commands that are done at once."""

import pytest

from vgfast.bench import comparison, ladder, problems
from vgfast.cost.rounds import summary
from vgfast.lessons import demo


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """In a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(ladder, "RUNGS", ladder.RUNGS[2:4])
    monkeypatch.setattr(ladder, "_climb", lambda *_: {"off": 1e-7, "off_change": 1e-6, "rounds": [1e-3, 2e-3]})
    names = ("processors", "step", "one_thread", "inspection", "share_of_peak", "step_call", "predict_call")
    found = {"status": "ok", "off": 1e-5, **{name: summary([0.2345]) for name in names}}
    of = {"flops": 10**9, "fastest_other": "numpy", "ratio": 1.0, "competitors": {"vgfast": found, "numpy": found}}
    monkeypatch.setattr(comparison, "_compare", lambda *_: of)
    monkeypatch.setitem(problems.WORKLOADS, "funnel", problems.Problem((8, 16, 12, 3), "relu", 8, 64))
