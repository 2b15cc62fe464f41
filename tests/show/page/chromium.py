"""A headless Chromium by its DevTools protocol, for the tests of pages: what it shows, what it asks for, what it
complains of. It has no way to the network but to this machine."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import websocket

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--disable-background-networking",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
# Seconds: for Chromium to start and for an answer, on a machine that is busy.
_PATIENCE = 60


def program() -> str | None:
    """Where Chromium is, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One Chromium, one tab. Since ``open``: ``problems``, errors of its console; ``requests``, what it asked for."""

    def __init__(self, where: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="vgfast-chromium-", ignore_cleanup_errors=True)
        command = [where, *_FLAGS, f"--user-data-dir={self._home.name}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        port = self._port()
        # Its list of tabs is an ordinary page of its own server; the websocket of a tab takes the commands.
        self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}{self._tab(port)}", timeout=_PATIENCE)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _port(self) -> int:
        """Which it has chosen, as it writes into its folder."""
        said = Path(self._home.name, "DevToolsActivePort")
        until = time.monotonic() + _PATIENCE
        while not (said.exists() and said.read_text().count("\n")):
            if time.monotonic() > until or self._process.poll() is not None:
                self.close()
                raise TimeoutError(f"Chromium did not start within {_PATIENCE} s")
            time.sleep(0.02)
        return int(said.read_text().split()[0])

    def _tab(self, port: int) -> str:
        from http.client import HTTPConnection

        connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        connection.request("GET", "/json/list")
        tabs = json.loads(connection.getresponse().read())
        connection.close()
        address: str = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        return "/" + address.split("/", 3)[3]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command; events that come before it are noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        """An event: what the console says, and what is asked for."""
        of = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            details = of["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif message["method"] == "Runtime.consoleAPICalled" and of["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in of["args"]))
        elif message["method"] == "Log.entryAdded" and of["entry"]["level"] == "error":
            self.problems.append(of["entry"]["text"])
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(of["request"]["url"])

    def open(self, address: str, until: str = "document.readyState === 'complete'") -> None:
        """Go to this address, and wait until this is true there."""
        self.problems.clear()
        self.requests.clear()
        self.call("Page.navigate", url=address)
        self.wait(until)

    def wait(self, condition: str, seconds: float = _PATIENCE) -> None:
        """Until this is true in the page; an AssertionError that says what it complains of, if it does not come."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < until, f"never true: {condition}; {self.problems}"
            time.sleep(0.02)

    def run(self, expression: str) -> Any:
        """What this JavaScript comes to, as plain data; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", expression))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, such as "3" or "ArrowRight"."""
        text = {"text": key} if len(key) == 1 else {}
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}
        code = codes.get(key, ord(key[0]))
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def point(self, x: float, y: float, *kinds: str) -> None:
        """The mouse at this place of the window: ``mouseMoved``, ``mousePressed``, ``mouseReleased``."""
        for kind in kinds:
            button = {"button": "left", "clickCount": 1, "buttons": 1} if kind != "mouseMoved" else {}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """The size of its window, and whether the reader's system is dark."""
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])

    def scripts(self, allowed: bool) -> None:
        """Whether pages that are opened from now on may run theirs."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)
        self._home.cleanup()
