"""Opens a page in a browser of this machine."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from contextlib import suppress


def open_browser(address: str) -> threading.Thread | None:
    """Ask for it in a thread, as that can take as long as the browser is open; None where there is no display."""
    if sys.platform not in ("win32", "darwin") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    thread = threading.Thread(target=_ask, args=[address], name="vgfast-browser", daemon=True)
    thread.start()
    return thread


def _ask(address: str) -> None:
    with suppress(webbrowser.Error):
        webbrowser.open(address)
