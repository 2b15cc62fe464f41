"""What a live page costs the training that it shows. To be run where nothing else does.

pytest benchmarks/bench_page.py
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

import numpy as np
import pytest

import vgfast as vg
from vgfast.live.watch import Watch

RNG = np.random.default_rng(0)
# Reads what it is sent, as a browser does, on so many connections; says when each has the first of it.
READER = """
import selectors, socket, sys
port, path, n = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chosen = selectors.DefaultSelector()
for _ in range(n):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n".encode())
    connection.recv(65536)
    chosen.register(connection, selectors.EVENT_READ)
print("ready", flush=True)
while chosen.get_map():
    for key, _ in chosen.select():
        if not key.fileobj.recv(65536):
            chosen.unregister(key.fileobj)
"""


@contextlib.contextmanager
def readers(page, n, sent):
    """So many browsers on the page, of one process, which gets this signal."""
    address = urlsplit(page.address)
    path = f"/events?{address.query}"
    command = [sys.executable, "-c", READER, str(address.port), path, str(n)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        if sent is not None:
            process.send_signal(sent)
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def chromium(page):
    """One that draws the page, as far as it does so without a display."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium, Debian's package of that name")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", f"--user-data-dir={home}"]
        flags += ["--remote-debugging-port=0"]  # so that it stays
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([program, *flags, page.address], **silent) as process:
            while not page._server._clients:
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(3)  # it is busy while it starts
            try:
                yield
            finally:
                process.terminate()


PAGES = {
    "alone": (0, None),
    "nobody": (0, None),
    "one": (1, None),
    "stopped": (1, signal.SIGSTOP),
    "killed": (1, signal.SIGKILL),
    "twenty": (20, None),
    "chromium": (1, None),
}
# Epochs that are shown, and as many that are not, in turn.
TURN = 80


class InTurns:
    """The callback, heard in every other turn; how long each turn took."""

    def __init__(self, page, heard=True):
        self.page, self.heard, self.seconds = page, heard, []

    def on_train_begin(self, net, history):
        self.page.on_train_begin(net, history)

    def _hears(self):
        return self.heard and len(self.seconds) // TURN % 2 == 0

    def on_progress(self, net, history):
        if self._hears():
            self.page.on_progress(net, history)

    def on_epoch_end(self, net, history):
        if self._hears():
            self.page.on_epoch_end(net, history)
        self.seconds.append(time.perf_counter())

    def ratio(self):
        """Of turns that are shown over those that are not before and after, and its standard error, by the median."""
        turns = np.diff(self.seconds[TURN - 1 :: TURN])  # the first, which warms up, left out
        others, shown = turns[::2], turns[1::2]
        n = min(len(shown), len(others) - 1)
        ratios = shown[:n] / ((others[:n] + others[1 : n + 1]) / 2)
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        return middle, 0.93 * (high - low) / n**0.5


@pytest.mark.benchmark(group="a live page")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_over_inspection_alone(benchmark, record, name):
    """784-256-128-10, each tenth step inspected: 1.03 at most with Chromium or one that only reads, 1.05 with others;
    ``alone`` is what chance does. Within one training, as two of them differ by more than that."""
    rows, pairs = (20_000, 12) if benchmark.enabled else (500, 2)
    X, y = RNG.random((rows, 784), np.float32), RNG.integers(0, 10, rows)
    how = {"epochs": TURN * (2 * pairs + 2), "batch_size": 128, "inspect_every": 10, "optimizer": vg.SGD(1e-3)}
    n, sent = PAGES[name]

    def compare():
        page = Watch("a page", 0)
        turns = InTurns(page, name != "alone")
        try:
            with chromium(page) if name == "chromium" else readers(page, n, sent) if n else contextlib.nullcontext():
                vg.MLP([784, 256, 128, 10], rng=0).fit(X, y, callbacks=[turns], **how)
        finally:
            page.close()
        return turns.ratio()

    ratio, error = benchmark.pedantic(compare, rounds=1)
    record(ratio=ratio, error=error)


@pytest.mark.benchmark(group="a live page")
def test_a_look(benchmark):
    """What the training waits for, ten times a second: a copy of three records of four layers."""
    net = vg.MLP([784, 256, 128, 10], rng=0)
    X, y = RNG.random((500, 784), np.float32), RNG.integers(0, 10, 500)
    history = net.fit(X, y, epochs=8, batch_size=128, inspect_every=10)
    page = Watch("a page", 0)
    try:
        page.on_train_begin(net, history)
        (shown,) = page._shown
        records = shown.course.n_records

        def look():
            shown.due, shown.course.n_records = 0.0, records - 3
            page.on_progress(net, history)

        benchmark(look)
    finally:
        page.close()
