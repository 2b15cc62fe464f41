"""The browser that all tests of pages share, and axe-core, where they are installed."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; tests without one are skipped."""
    pytest.importorskip("websocket", reason="needs websocket-client, of the extra test")
    import chromium

    where = chromium.program()
    if where is None:
        pytest.skip("needs Chromium, Debian's package of that name")
    browser = chromium.Browser(where)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def axe():
    """The text of axe-core, which finds what keeps people from reading a page."""
    path = Path(os.environ.get("AXE_CORE") or ROOT / "node_modules/axe-core/axe.min.js")
    if not path.is_file():
        pytest.skip("needs axe-core: npm install --no-save axe-core, or AXE_CORE with the path of axe.min.js")
    return path.read_text(encoding="utf-8")
