"""What a live page costs the training that it shows. To be run where nothing else does.

pytest benchmarks/bench_page.py
"""

import contextlib
import signal
import subprocess
import sys
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


PAGES = {
    "nobody": (0, None),
    "one": (1, None),
    "stopped": (1, signal.SIGSTOP),
    "killed": (1, signal.SIGKILL),
    "twenty": (20, None),
}


@pytest.mark.benchmark(group="a live page")
def test_a_page_over_inspection_alone(benchmark, record):
    """784-256-128-10, each tenth step inspected: with a page and readers over without; 1.03 at most with one that
    reads, 1.05 with others. Medians of rounds, in each of which all have a turn between two of the training alone."""
    rows, rounds = (20_000, 15) if benchmark.enabled else (500, 1)
    X, y = RNG.random((rows, 784), np.float32), RNG.integers(0, 10, rows)
    how = {"epochs": 4, "batch_size": 128, "inspect_every": 10, "optimizer": vg.SGD(0.01)}

    def train(callbacks=()):
        net = vg.MLP([784, 256, 128, 10], rng=0)
        start = time.perf_counter()
        net.fit(X, y, callbacks=callbacks, **how)
        return time.perf_counter() - start

    def train_before(n, sent):
        page = Watch("a page", 0)
        try:
            with readers(page, n, sent) if n else contextlib.nullcontext():
                return train([page])
        finally:
            page.close()

    def compare():
        ratios = []
        for _ in range(rounds):
            first, *others, last = train(), *(train_before(*page) for page in PAGES.values()), train()
            ratios.append([2 * seconds / (first + last) for seconds in (*others, last)])
        return dict(zip([*PAGES, "alone"], np.median(ratios, axis=0).tolist(), strict=True))

    record(**benchmark.pedantic(compare, rounds=1))


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
