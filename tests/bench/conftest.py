"""Nets that are quick."""

import pytest

from vgfast.bench import problems


@pytest.fixture
def quick_nets(monkeypatch):
    """Workloads that are done at once."""
    for name in ("tiny", "digits", "mnist", "funnel"):
        monkeypatch.setitem(problems.WORKLOADS, name, problems.Problem((8, 16, 12, 3), "relu", 8, 64))
