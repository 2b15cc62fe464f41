"""The server of live pages: who is refused, and that nobody waits for a browser."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import types

import pytest

from vgfast.show.page import server as served
from vgfast.show.page.server import Server


class Source:
    """Counts what it is asked."""

    def __init__(self):
        self.commands, self.events, self.n = [], [], 0
        self.told = threading.Event()

    def document(self, live):
        return f"<p>{live['events']}</p>", "default-src 'none'"

    def page(self, live):
        return [{"type": "page", "page": {"n": self.n, "live": live}}, {"type": "state"}]

    def news(self, wanted):
        events, self.events = self.events, []
        self.told.set()
        return events

    def command(self, data):
        if data.get("do") != "start":
            raise ValueError(f"do must be 'start', got {data.get('do')!r}")
        self.commands.append(data)
        return {"ok": True}


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def server(source, monkeypatch):
    monkeypatch.setattr(served, "_LOOK", 0.01)
    server = Server(source, 0)
    yield server
    server.close()


def ask(server, method="GET", path="/", token=None, body=None, **headers):
    """(status, headers, text)"""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"{path}?token={server.token if token is None else token}", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


def command(server, data, **headers):
    headers = {"Content_Type": "application/json", "X_Vgfast": "1"} | headers
    return ask(server, "POST", "/command", body=json.dumps(data), **{k: v for k, v in headers.items() if v is not None})


def events(server):
    """A connection and a function that gives the next event."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", f"/events?token={server.token}")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")

    def following():
        while True:
            line = answer.readline()
            assert line, "the events have ended"
            if line.startswith(b"data: ") and (event := json.loads(line[6:])) != {"type": "state"}:
                return event

    return connection, following


def test_the_page_with_its_headers(server):
    status, headers, text = ask(server)
    assert (status, text) == (200, f"<p>/events?token={server.token}</p>")
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Access-Control-Allow-Origin"] is None
    assert "Python" not in headers["Server"]


def test_it_listens_on_this_machine_alone(server):
    assert server._http.socket.getsockname()[0] == "127.0.0.1"
    assert len(server.token) >= 32
    assert server.address == f"http://127.0.0.1:{server.port}/?token={server.token}"


START = '{"do": "start"}'
REFUSED = {
    "no token": ({"token": ""}, 403, "token"),
    "a wrong token": ({"token": "a" * 32}, 403, "token"),
    "a token beyond ASCII": ({"token": "%C3%A9"}, 403, "token"),
    "two tokens": ({"token": "a&token=b"}, 403, "token"),
    "another host": ({"Host": "example.org"}, 403, "address"),
    "another port": ({"Host": "127.0.0.1:1"}, 403, "address"),
    "another site": ({"Origin": "http://example.org"}, 403, "Other sites"),
    "no site": ({"Origin": "null"}, 403, "Other sites"),
    "another port of this site": ({"Origin": "http://127.0.0.1:1"}, 403, "Other sites"),
    "a link elsewhere": ({"Sec_Fetch_Site": "cross-site"}, 403, "Other sites"),
    "another page of this machine": ({"Sec_Fetch_Site": "same-site"}, 403, "Other sites"),
    "two dots": ({"path": "/../etc/passwd"}, 400, "two dots"),
    "two dots in percent": ({"path": "/%2e%2e/etc/passwd"}, 400, "two dots"),
    "two dots as on Windows": ({"path": "/..%5cetc"}, 400, "two dots"),
    "an unknown path": ({"path": "/etc/passwd"}, 404, "nothing here"),
    "a command that is no POST": ({"path": "/command"}, 404, "nothing here"),
    "an unknown method": ({"method": "PUT"}, 501, "not answered"),
}


@pytest.mark.parametrize(("request_", "status", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(server, source, request_, status, sentence):
    found = ask(server, **request_)
    assert found[0] == status
    assert sentence in found[2]
    assert server.token not in found[2]
    assert found[1]["Content-Security-Policy"].startswith("default-src 'none'")
    assert ask(server)[0] == 200
    for path in ("/events", "/command"):  # and so everywhere
        if status == 403 and path not in request_.values():
            posted = {"method": "POST", "Content_Type": "application/json", "X_Vgfast": "1", "body": START}
            more = posted if path == "/command" else {}
            assert ask(server, **{"path": path, **more, **request_})[0] == 403
    assert source.commands == []


def test_a_command_is_obeyed_and_answered(server, source):
    status, headers, text = command(server, {"do": "start"}, Origin=f"http://127.0.0.1:{server.port}")
    assert (status, json.loads(text), headers["Content-Type"]) == (200, {"ok": True}, "application/json")
    assert source.commands == [{"do": "start"}]
    status, _, text = command(server, {"do": "exec"})
    assert (status, json.loads(text)) == (400, {"error": "do must be 'start', got 'exec'"})


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        ({"do": "start"}, {"X_Vgfast": None}, 403),
        ({"do": "start"}, {"Content_Type": "text/plain"}, 415),
        ({"do": "start"}, {"Content_Type": None}, 415),
        ([], {}, 400),
        ({"do": "start", "much": "a" * 20_000}, {}, 413),
        ({"do": "start"}, {"Content_Length": "-1"}, 411),
        ({"do": "start"}, {"Content_Length": "two"}, 411),
        ({"do": "start"}, {"Content_Length": "9" * 5000}, 413),
        ({"do": "start"}, {"Content_Length": "15, 15"}, 411),
    ],
)
def test_a_command_that_is_none(server, source, data, headers, status):
    found = command(server, data, **headers)
    assert found[0] == status
    assert json.loads(found[2])["error"].endswith(".")
    assert source.commands == []
    assert ask(server)[0] == 200


@pytest.mark.parametrize(("place", "status"), [("http://[", b"400"), ("http://example.org", b"403"), ("", b"200")])
def test_a_whole_address_is_not_taken_for_a_path(server, place, status):
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        head = f"GET {place}/?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.makefile("rb").read().split()[1] == status


def test_two_lengths_are_none(server, source):
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        head = f"POST /command?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Vgfast: 1\r\n"
        lengths = f"Content-Type: application/json\r\nContent-Length: {len(START)}\r\nContent-Length: 5\r\n\r\n"
        connection.sendall(f"{head}{lengths}{START}".encode())
        assert connection.makefile("rb").read().split()[1] == b"411"
    assert source.commands == []


def test_a_command_that_fails_says_how(server, source, monkeypatch):
    monkeypatch.setattr(source, "command", lambda data: 1 / 0)
    status, _, text = command(server, {"do": "start"})
    assert (status, json.loads(text)) == (500, {"error": "This failed by ZeroDivisionError: division by zero"})


@pytest.mark.parametrize("whole_head", [False, True], ids=["head", "body"])
def test_a_request_that_comes_byte_by_byte_is_not_waited_for(server, monkeypatch, whole_head):
    monkeypatch.setattr(served, "_PATIENCE", 0.2)
    connection, following = events(server)
    head = f"POST /command?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Vgfast: 1\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 16000\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 0.01) as slow:
        slow.sendall(f"{head}\r\n".encode() if whole_head else head.encode())
        for _ in range(3000):
            try:
                slow.sendall(b"A: b\r\n")
                assert slow.recv(1) == b""
                break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still waited for")
    following()
    server.source.events = [{"type": "state", "step": 1}]  # who has been heard stays
    assert following()["step"] == 1
    connection.close()


def test_a_gigabyte_is_refused_unread(server, source):
    """The answer comes before a byte of it is sent; in chunks, too."""
    for length in ("Content-Length: 1000000000", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            head = f"POST /command?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{length}\r\n"
            connection.sendall(f"{head}Content-Type: application/json\r\nX-Vgfast: 1\r\n\r\n".encode())
            answer = connection.makefile("rb").read()
        assert answer.split()[1] in (b"413", b"411")
    assert source.commands == []
    assert ask(server)[0] == 200


@pytest.mark.parametrize(
    "words", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"", b"GET /\r\n\r\n"]
)
def test_what_is_no_request_is_refused(server, words):
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        assert b"200" not in connection.makefile("rb").read()
    assert ask(server)[0] == 200


def test_a_late_joiner_gets_the_page_and_then_the_news(server, source):
    source.n = 5
    connection, following = events(server)
    assert following() == {"type": "page", "page": {"n": 5, "live": server.live}}
    source.events = [{"type": "state", "step": 6}, {"type": "state", "step": 7}]
    assert [following()["step"], following()["step"]] == [6, 7]
    connection.close()


def test_when_all_has_changed_everyone_gets_the_page(server, source, monkeypatch):
    connection, following = events(server)
    following()
    source.n = 6
    monkeypatch.setattr(source, "news", lambda wanted: None if source.n == 6 else [])
    assert following()["page"]["n"] == 6
    source.n = 7
    connection.close()


def test_a_browser_that_does_not_read_is_not_waited_for(server, source):
    """It loses what its queue cannot hold, and gets the page instead; who reads gets every event."""
    slow, following_slow = events(server)
    quick, following = events(server)
    following_slow()
    following()
    many, large = 100, "a" * 200_000
    for step in range(many):
        source.events = [{"type": "state", "step": step, "large": large}]
        assert following()["step"] == step
        assert all(len(client._waiting) <= served._QUEUE for client in server._clients)
    seen = [following_slow()]
    while seen[-1].get("step") != many - 1 and ("page" not in seen[-1] or len(seen) == 1):
        seen.append(following_slow())
    assert "page" in seen[-1]
    assert len(seen) < many
    slow.close()
    quick.close()


def test_a_queue_is_bounded_and_starts_again_with_the_page():
    client = served.Client()
    client.restart(b"page")
    for _ in range(3 * served._QUEUE):
        client.put(b"event")
        assert len(client._waiting) <= served._QUEUE
    assert client.behind
    client.restart(b"page again")
    assert not client.behind or client.get(0) == b"event"
    client.close()


def test_a_source_that_fails_ends_the_events(server, source, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda told: None)
    connection, following = events(server)
    following()
    monkeypatch.setattr(source, "news", lambda wanted: 1 / 0)
    with pytest.raises(AssertionError, match="the events have ended"):
        following()
    connection.close()
    assert server.join().get(0) is None  # nor does who comes later wait for any


def test_the_end_of_a_program_tells_the_last_news():
    """Without ``close``; and the end of a fork tells nothing, and waits for nobody."""
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_server import Server, Source, served
served._LOOK = 60
source = Source()
server = Server(source, 0)
if hasattr(os, "fork") and os.fork() == 0:
    sys.exit()
print(server.token, server.port, flush=True)
while not server._clients:
    source.told.wait(0.01)
source.n = 7
"""
    here = os.path.dirname(__file__)
    with subprocess.Popen([sys.executable, "-c", code, here], stdout=subprocess.PIPE, text=True) as process:
        token, port = process.stdout.readline().split()
        connection, following = events(types.SimpleNamespace(token=token, port=int(port)))
        assert following()["page"]["n"] == 7
        with pytest.raises(AssertionError, match="the events have ended"):
            following()
        connection.close()
        assert process.stdout.read() == ""  # not before the fork has ended, too
        assert process.wait(60) == 0


def test_a_port_in_use_is_left_for_the_next(server, source):
    other = Server(source, server.port)
    try:
        assert server.port < other.port < server.port + served._PORTS
        assert other.notice == f"port {server.port} is in use; the page is on port {other.port}"
        assert server.notice == ""
    finally:
        other.close()


def test_no_port_is_free(source, monkeypatch, server):
    monkeypatch.setattr(served, "_PORTS", 1)
    with pytest.raises(OSError, match=f"none of the ports {server.port} to {server.port} is free .* choose another"):
        Server(source, server.port)


def test_connections_are_bounded(server, monkeypatch):
    """One too many is closed; when one has ended, there is room again."""
    monkeypatch.setattr(server._http, "_room", threading.BoundedSemaphore(1))
    connection, following = events(server)
    following()
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(server)
    server.source.told.clear()
    client = next(iter(server._clients))
    client.close()
    connection.close()
    while server._clients:
        server.source.told.wait(1)
    for _ in range(100):
        try:
            assert ask(server)[0] == 200
            break
        except (http.client.HTTPException, OSError):
            server.source.told.clear()
            server.source.told.wait(1)
    else:
        pytest.fail("no room again")


def test_close_tells_the_last_news(source, monkeypatch):
    monkeypatch.setattr(served, "_LOOK", 60)
    server = Server(source, 0)
    connection, following = events(server)
    while not server._clients:
        source.told.wait(0.01)
    server._tell_once()
    following()
    source.events = [{"type": "state", "step": 1}]
    server.close()
    assert following()["step"] == 1
    connection.close()
