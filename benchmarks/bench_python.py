"""What a user waits for: the import, an answer to Ctrl-C, the picture of a long history, the demo.

pytest benchmarks/bench_python.py
"""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import vgfast as vg
from vgfast.model.quantities import RECORD
from vgfast.training.history import History


@pytest.mark.benchmark(group="import vgfast, beyond NumPy")
def test_import(benchmark, record, tmp_path):
    """Below 10 ms. The least of several processes, as others slow them down; with bytecode cached as an installer
    leaves it."""
    code = (
        "import time; t = time.perf_counter(); import numpy; t = time.perf_counter()\n"
        "import vgfast; print(time.perf_counter() - t)"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    command, seconds = [sys.executable, "-c", code], []

    def run():
        seconds.append(float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout))

    benchmark.pedantic(run, rounds=9 if benchmark.enabled else 1, warmup_rounds=1)
    record(least_ms=1e3 * min(seconds))


@pytest.mark.benchmark(group="Ctrl-C during a fit")
def test_ctrl_c(benchmark, record):
    """Within the 50 ms that are promised, where the machine has nothing else to do."""
    rng = np.random.default_rng(0)
    X, y = rng.random((64, 64), dtype=np.float32), rng.integers(0, 10, 64)
    waits = []

    def interrupted():
        net, sent = vg.MLP([64, 128, 64, 10], rng=0), []

        def interrupt():
            time.sleep(0.03)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            net.fit(X, y, epochs=10**6, batch_size=64, shuffle=False)
        except KeyboardInterrupt:
            waits.append(time.perf_counter() - sent[0])
        thread.join()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a script's background job ignores it
    try:
        benchmark.pedantic(interrupted, rounds=5 if benchmark.enabled else 1)
    finally:
        signal.signal(signal.SIGINT, before)
    record(median_ms=1e3 * float(np.median(waits)))


@pytest.mark.benchmark(group="pictures")
def test_picture_of_a_long_history(benchmark):
    """About one second."""
    pytest.importorskip("matplotlib")
    history = History(np.ones(30_000))
    history.gradients = np.ones((10_000, 31), RECORD)
    history.steps = 3 * np.arange(10_000)

    benchmark.pedantic(lambda: history.plot().canvas.draw(), rounds=3 if benchmark.enabled else 1)


@pytest.mark.benchmark(group="vgfast demo")
def test_demo(benchmark, tmp_path):
    """Below 30 s."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "vgfast", "demo", "--json", "--out", str(tmp_path)]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=1)
