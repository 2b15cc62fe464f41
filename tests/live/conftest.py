"""The page that its tests share."""

import pytest

from vgfast.live import watch as live


@pytest.fixture
def page(monkeypatch):
    """Fed at each call of ``fit``, and judged at each look; nobody else asks for news."""
    monkeypatch.setattr(live, "_LOOK", 0)
    monkeypatch.setattr(live, "_TELL", 0)
    monkeypatch.setattr(live.server, "_LOOK", 60)
    page = live.Watch("a training", 0)
    page.news(True)
    yield page
    page.close()
