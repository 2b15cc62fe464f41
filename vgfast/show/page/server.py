"""Serves a live page to the browsers of this machine: the page, its events, and commands. It knows nothing of nets.

It listens on 127.0.0.1 alone, and answers who has the token of its address, which is drawn anew for each server. What
comes from another site, by another name of this machine or with a body that is too large is refused before it is read.

A source is asked by one thread, five times a second, what is new; each browser has a thread and a short queue of its
own. Who does not read loses the queue, and gets the whole page when there is room again: nobody waits for a browser.
"""

from __future__ import annotations

import atexit
import hmac
import json
import os
import secrets
import socket
import socketserver
import threading
import time
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from vgfast.show import PORT

HOST = "127.0.0.1"
# Ports that are tried from the wanted one on; connections at once; bytes of a command.
_PORTS, _CONNECTIONS, _BODY = 20, 64, 16384
# Seconds: between two looks for news; for a browser to send a request, or to take what is written; without news, until
# a comment is sent, by which browsers that are gone are found; between two looks whether to listen still; and for
# browsers to take the last news.
_LOOK, _PATIENCE, _SILENCE, _WAKE, _FAREWELL = 0.2, 20.0, 10.0, 0.1, 1.0
# Events that wait for one browser, at most, and the bytes that the system holds for it.
_QUEUE, _BUFFER = 16, 1 << 17
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PLAIN_POLICY = "default-src 'none'; frame-ancestors 'none'"


class Source(Protocol):
    """What is shown. Its methods are called from the server's threads."""

    def document(self, live: dict[str, str]) -> tuple[str, str]:
        """(HTML, its Content-Security-Policy) of now; live: the addresses of events and commands."""

    def page(self, live: dict[str, str]) -> list[dict[str, Any]]:
        """The events that tell everything, as of the last ``news``."""

    def news(self, wanted: bool) -> list[dict[str, Any]] | None:
        """The events since the last time, or None where everything has changed. wanted: whether anyone gets them."""

    def command(self, data: dict[str, Any]) -> dict[str, Any]:
        """Obey, and answer; ValueError or TypeError, with a sentence, for what is none."""


class Client:
    """The queue of one browser."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self.behind, self._closed = True, False

    def put(self, event: bytes) -> None:
        """Never waits: a queue that is full is emptied, and the browser behind."""
        with self._changed:
            if len(self._waiting) >= _QUEUE:
                self._waiting.clear()
                self.behind = True
            else:
                self._waiting.append(event)
            self._changed.notify()

    def restart(self, page: bytes) -> None:
        """The whole page, for one who is behind, when all that it was sent has been taken."""
        with self._changed:
            if not self._waiting:
                self._waiting.append(page)
                self.behind = False
                self._changed.notify()

    def get(self, seconds: float) -> bytes | None:
        """The next event; b"" where none comes in so many seconds; None at the end."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(seconds)
            if self._waiting:
                return self._waiting.popleft()
            return None if self._closed else b""

    def close(self) -> None:
        """There will be nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Server:
    """A page on ``address`` until ``close``. ``notice``: a sentence where another port than the wanted one was taken,
    or "". OSError where none of the ports from it on is free."""

    def __init__(self, source: Source, port: int = PORT) -> None:
        self.source, self.token = source, secrets.token_urlsafe(24)
        self._http = _listen(port)
        self._http.server = self
        self.port = int(self._http.server_address[1])
        self.hosts = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        self.address = f"http://{HOST}:{self.port}/?token={self.token}"
        self.live = {"events": f"/events?token={self.token}", "commands": f"/command?token={self.token}"}
        self.notice = ""
        if port not in (0, self.port):
            self.notice = f"port {port} is in use; the page is on port {self.port}"
        self._clients: set[Client] = set()
        self._lock, self._ended = threading.Condition(), threading.Event()
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(_WAKE,), name="vgfast-page", daemon=True),
            threading.Thread(target=self._tell, name="vgfast-page-news", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._process = os.getpid()
        atexit.register(self.close)  # so that the last news are told

    def join(self) -> Client:
        """One more browser, which gets the page first."""
        client = Client()
        with self._lock:
            self._clients.add(client)
            if self._ended.is_set():
                client.close()
        return client

    def leave(self, client: Client) -> None:
        with self._lock:
            self._clients.discard(client)
            self._lock.notify_all()

    def _tell(self) -> None:
        """What is new, and to those who are behind everything, until the end; the last news before it, too. Should the
        source fail, browsers hear no more, as at the end."""
        ended = False
        try:
            while not ended:
                ended = self._ended.wait(_LOOK)
                self._tell_once()
        finally:
            with self._lock:
                self._ended.set()
                for client in self._clients:
                    client.close()

    def _tell_once(self) -> None:
        with self._lock:
            clients = list(self._clients)
        current = [client for client in clients if not client.behind]
        events = self.source.news(bool(current))
        if events is None:
            page = self._page_event() if clients else b""
            for client in clients:
                client.put(page) if client in current else client.restart(page)
            return
        for data in events if current else []:
            event = _event(data)
            for client in current:
                client.put(event)
        behind = [client for client in clients if client not in current]
        page = self._page_event() if behind else b""
        for client in behind:
            client.restart(page)

    def _page_event(self) -> bytes:
        return b"".join(map(_event, self.source.page(self.live)))

    def close(self) -> None:
        """Tell the last news, and listen no more. In a fork, which has none of the threads, nothing."""
        atexit.unregister(self.close)
        if os.getpid() != self._process:
            return
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join(_PATIENCE)
        with self._lock:
            self._lock.wait_for(lambda: not self._clients, _FAREWELL)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, allow_nan=False, separators=(",", ":")).encode() + b"\n\n"


def _listen(port: int) -> _Http:
    """On that port or one of the next; OSError where none is free."""
    if port == 0:
        return _Http((HOST, 0), _Handler)
    last = min(port + _PORTS, 1 << 16)
    for each in range(port, last):
        try:
            return _Http((HOST, each), _Handler)
        except OSError as error:
            reason = error.strerror
    raise OSError(f"none of the ports {port} to {last - 1} is free for the page ({reason}); choose another --port")


class _Http(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread a connection, of which there are so many at most."""

    daemon_threads, block_on_close = True, False
    allow_reuse_address = os.name != "nt"  # where it would let two listen on one port
    request_queue_size = _CONNECTIONS
    server: Server

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        self._unheard: dict[Any, float] = {}  # until when the request of a connection must have been read
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            self._unheard[request] = time.monotonic() + _PATIENCE
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.heard(request)
            self._room.release()

    def heard(self, request: Any) -> None:
        self._unheard.pop(request, None)

    def service_actions(self) -> None:
        """End those that take too long over a request, byte by byte: each of them takes the place of a browser."""
        now = time.monotonic()
        for request, until in list(self._unheard.items()):
            with suppress(OSError):
                if now > until:
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that is gone, or too slow, is no error."""


class _Refusal(Exception):
    """With an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One request, after which the connection is closed."""

    timeout = _PATIENCE
    server_version, sys_version = "vgfast", ""
    server: _Http  # type: ignore[assignment]
    _places: ClassVar[dict[tuple[str, str], str]] = {
        ("GET", "/"): "_document",
        ("GET", "/events"): "_events",
        ("POST", "/command"): "_command",
    }

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.command == "GET":  # else when its body has been read
            self.server.heard(self.connection)
        try:
            getattr(self, self._places[self.command, self._checked_path()])()
        except _Refusal as refusal:
            self._refuse(refusal.status, str(refusal))

    def _checked_path(self) -> str:
        """The path of a request that may be answered; or ``_Refusal``."""
        owner = self.server.server
        try:
            address = urlsplit(self.path)
        except ValueError:
            raise _Refusal(400, "This is no address.") from None
        path = unquote(address.path)
        if self.headers.get_all("Host", []) not in [[host] for host in owner.hosts] or address.netloc:
            raise _Refusal(403, f"Ask by the address that was printed, http://{HOST}:{owner.port}/.")
        if ".." in path.replace("\\", "/").split("/"):
            raise _Refusal(400, "There are no files here, and no path with two dots.")
        origins = {f"http://{host}" for host in owner.hosts}
        if not set(self.headers.get_all("Origin", [])) <= origins:
            raise _Refusal(403, "Other sites may not ask here.")
        if not set(self.headers.get_all("Sec-Fetch-Site", [])) <= {"same-origin", "none"}:
            raise _Refusal(403, "Other sites may not ask here; copy the address into the browser.")
        given = parse_qs(address.query).get("token", [])
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), owner.token.encode()):
            raise _Refusal(403, "The token is missing or wrong; take the whole address that was printed.")
        if (self.command, path) not in self._places:
            raise _Refusal(404, "There is nothing here; the page is at /.")
        return path

    def _document(self) -> None:
        html, policy = self.server.server.source.document(self.server.server.live)
        self._send(200, "text/html; charset=utf-8", html.encode(), f"{policy}; frame-ancestors 'none'")

    def _events(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._begin(200, "text/event-stream; charset=utf-8", _PLAIN_POLICY)
        owner = self.server.server
        client = owner.join()
        try:
            while (event := client.get(_SILENCE)) is not None:
                self.wfile.write(event or b": nothing new\n\n")
        except OSError:  # gone, or stopped for too long
            self.close_connection = True
        finally:
            owner.leave(client)

    def _command(self) -> None:
        data = self._read_body()
        self.server.heard(self.connection)
        try:
            answer = self.server.server.source.command(data)
        except (ValueError, TypeError) as error:
            raise _Refusal(400, str(error)) from None
        except Exception as error:
            raise _Refusal(500, f"This failed by {type(error).__name__}: {error}") from None
        self._send_json(200, answer)

    def _read_body(self) -> dict[str, Any]:
        """A JSON object; nothing is read of a body that is refused."""
        if self.headers.get("X-Vgfast") != "1":
            raise _Refusal(403, "A command needs the header X-Vgfast: 1.")
        if self.headers.get_content_type() != "application/json":
            raise _Refusal(415, "A command is application/json.")
        length = ", ".join(self.headers.get_all("Content-Length", []))
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise _Refusal(411, "A command needs its Content-Length.")
        if len(length) > 9 or int(length) > _BODY:
            raise _Refusal(413, f"A command has {_BODY} bytes at most.")
        try:
            data = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise _Refusal(400, "A command is a JSON object.") from None
        if not isinstance(data, dict):
            raise _Refusal(400, "A command is a JSON object.")
        return data

    def _refuse(self, status: int, sentence: str) -> None:
        if self.command == "POST":
            self._send_json(status, {"error": sentence})
        else:
            self._send(status, "text/plain; charset=utf-8", f"{sentence}\n".encode())

    def _send_json(self, status: int, data: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(data, allow_nan=False).encode())

    def _send(self, status: int, kind: str, body: bytes, policy: str = _PLAIN_POLICY) -> None:
        self._begin(status, kind, policy, len(body))
        self.wfile.write(body)

    def _begin(self, status: int, kind: str, policy: str, length: int | None = None) -> None:
        self.close_connection = True
        self.send_response(status)
        headers = {"Content-Type": kind, "Connection": "close", "Content-Security-Policy": policy, **_HEADERS}
        headers |= {} if length is None else {"Content-Length": str(length)}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For what ``http.server`` refuses by itself."""
        self.command = getattr(self, "command", None) or "GET"
        self._refuse(int(code), f"{message or 'This request'} is not answered here.")

    def log_message(self, *_: Any) -> None:
        """Nothing: the token would be in it."""
