"""The team of threads: who is in it, who may use it, and that it gives way."""

import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core
from vgfast.training import fit

pytestmark = pytest.mark.any_isa


def digest(net):
    return hashlib.sha256(net.params.tobytes()).hexdigest()


def tasks():
    """The blocked signals of each thread of this process, as a mask."""
    masks = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # those of others may end
            masks[task.name] = int(re.search(r"SigBlk:\s*(\w+)", (task / "status").read_text())[1], 16)
    return masks


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_the_team_is_there_and_takes_no_signals(rng, forced_threads):
    X, y = rng.normal(size=(64, 150)), rng.integers(0, 10, 64)
    with vg.threads(9):
        net = vg.MLP([150, 400, 300, 10], rng=0)
        assert net._engine.core.threads_for(64, 9) == 9
        net.step(X, y)
    workers = {t for t, mask in tasks().items() if mask >> (signal.SIGINT - 1) & 1}
    assert len(workers) >= 8


def test_two_nets_in_two_threads(rng, forced_threads):
    """The team serves one, the other goes on alone: the same bits as one after the other."""
    X, y = rng.normal(size=(640, 150)), rng.integers(0, 10, 640)

    def train(out, i):
        net = vg.MLP([150, 170, 99, 10], rng=i)
        net.fit(X, y, epochs=10, batch_size=64)
        out[i] = digest(net)

    with vg.threads(2):
        alone, together = {}, {}
        for i in range(4):
            train(alone, i)
        workers = [threading.Thread(target=train, args=(together, i)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert alone == together


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_trains_on_one_thread(rng, forced_threads):
    X, y = rng.normal(size=(640, 150)), rng.integers(0, 10, 640)
    with vg.threads(2):
        net = vg.MLP([150, 170, 99, 10], rng=0)
        net.fit(X, y, epochs=1, batch_size=64)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                net.fit(X, y, epochs=1, batch_size=64, shuffle=False)
                os.write(write, digest(net).encode())
            finally:
                os._exit(0)
        os.close(write)
        net.fit(X, y, epochs=1, batch_size=64, shuffle=False)
        assert os.read(read, 64).decode() == digest(net)
        os.waitpid(child, 0)
        os.close(read)


def test_the_gil_is_free_during_steps(rng):
    """Another thread runs while steps are in C. It cannot run before or after: nobody is asked to give the GIL up."""
    X, y = rng.random((1024, 64), dtype=np.float32), rng.integers(0, 10, 1024)
    net, gate, ran = vg.MLP([64, 128, 10], rng=0), threading.Lock(), threading.Event()
    loop = fit.Loop(net._learner(), *net._batch(X, y), 1, 64, vg.SGD(0.01))
    loop.use_optimizer()
    loop.make_room(1)
    other = threading.Thread(target=lambda: (gate.acquire(), ran.set()))
    before = sys.getswitchinterval()
    gate.acquire()
    other.start()
    sys.setswitchinterval(1e6)
    try:
        gate.release()
        for _ in range(10_000):  # steps, until the system lets the other one run
            loop.run.set_results(loop.losses, loop.correct, 0)
            loop.run.begin_epoch(None)
            loop.run.go()
            if ran.is_set():
                break
        assert ran.is_set()
    finally:
        sys.setswitchinterval(before)
        other.join()


SMALL = [64, 128, 64, 10]


def shares(chosen):
    """Of the time, by number of threads."""
    share = {}
    for (start, n), (end, _) in itertools.pairwise(chosen):
        share[n] = share.get(n, 0) + (end - start) / chosen[-1][0]
    return share


@pytest.mark.parametrize(
    ("quickest", "seconds"),
    [
        (1, {1: 20e-6, 2: 21e-6}),
        (1, {1: 20e-6, 2: 19e-6}),  # less than a tenth
        (2, {1: 20e-6, 2: 16e-6}),
        (4, {1: 90e-6, 2: 50e-6, 4: 30e-6, 5: 60e-6}),
        (5, {1: 9e-3, 2: 5e-3, 4: 3e-3, 5: 2e-3}),  # a step is longer than a turn
    ],
)
def test_a_run_finds_how_many_threads_pay(quickest, seconds):
    most = max(seconds)
    workspace = _core.Workspace(vg.MLP(SMALL, rng=0)._engine.core, 64, most)
    chosen = _core.tuner(workspace, seconds.get, 10.0)
    assert chosen[0] == (0, workspace.net.threads_for(64, most))
    share = shares(chosen)
    assert set(share) == set(seconds)
    assert share[quickest] > 0.9


def test_trials_become_rare_soon():
    """The rests are 20 ms twice, as the first answer is another, then 80 and 320: four trials in a second."""
    workspace = _core.Workspace(vg.MLP(SMALL, rng=0)._engine.core, 64, 2)
    chosen = _core.tuner(workspace, {1: 20e-6, 2: 40e-6}.get, 1.0)
    assert [n for _, n in chosen].count(2) == 1 + 4 * 4  # before the first, and two turns of two halves in each


def test_a_run_notices_when_other_threads_pay():
    workspace, steps = _core.Workspace(vg.MLP(SMALL, rng=0)._engine.core, 64, 2), []

    def seconds(n):
        steps.append(n)
        return 100e-6 if n == 1 else 60e-6 if len(steps) < 50_000 else 200e-6

    chosen = _core.tuner(workspace, seconds, 10.0)
    early, late = [c for c in chosen if 0.1 < c[0] < 2.5], [c for c in chosen if c[0] > 5]
    assert shares([(start - early[0][0], n) for start, n in early])[2] > 0.9
    assert shares([(start - late[0][0], n) for start, n in late])[1] > 0.9


def test_large_steps_are_not_tried_out():
    wide = vg.MLP([784, 2048, 2048, 10], rng=0)._engine.core
    assert _core.tuner(_core.Workspace(wide, 512, 2), lambda n: 1.0, 1.0) is None
    assert _core.tuner(_core.Workspace(vg.MLP(SMALL, rng=0)._engine.core, 64, 1), lambda n: 1.0, 1.0) is None


def test_same_bits_while_a_run_tries_numbers_of_threads(rng):
    X, y = rng.random((1792, 64), dtype=np.float32), rng.integers(0, 10, 1792)
    digests = set()
    for threads in (1, 2):
        net = vg.MLP(SMALL, rng=0)
        with vg.threads(threads):
            net.fit(X, y, epochs=60, batch_size=64)  # 0.1 s: several trials
        digests.add(digest(net))
    assert len(digests) == 1


ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np, vgfast as vg
from vgfast import _core
from vgfast.training.fit import Loop

rng = np.random.default_rng(0)
X, y = rng.random((512, 128), dtype=np.float32), rng.integers(0, 10, 512)
net = vg.MLP([128, 256, 128, 10], rng=0)
with vg.threads(2):
    loop = Loop(net._learner(), *net._batch(X, y), 1, 512, vg.SGD(0.01))
loop.use_optimizer()
loop.make_room(1)
# Steps so large are not tried out.
assert _core.tuner(_core.Workspace(net._engine.core, 512, 2), lambda n: 1.0, 1.0) is None
for turn in range(300):
    spent = np.zeros((2, len(net.sizes), len(_core.PHASES)))
    loop.run.set_times(spent)
    loop.run.set_results(loop.losses, loop.correct, 0)
    loop.run.begin_epoch(None)
    loop.run.go()
    print(np.count_nonzero(spent.any(axis=(1, 2))))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_two_threads_give_way_where_they_have_one_processor():
    """Two begin; and as they do no more than one, sooner or later one goes on alone."""
    done = subprocess.run([sys.executable, "-c", ONE_PROCESSOR], capture_output=True, text=True, check=True)
    turns = done.stdout.split()
    assert turns[0] == "2"
    assert "1" in turns


def test_threadpoolctl_reaches_the_team():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    [ours] = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "vgfast"]
    assert ours["filepath"] == os.path.realpath(_core.crossing.__file__)
    with vg.threads(3):
        with threadpoolctl.threadpool_limits(1):
            assert vg.get_num_threads() == 1
        assert vg.get_num_threads() == 3
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert vg.get_num_threads() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_no_time_is_booked_for_threads_that_did_not_run(rng):
    """After a fork there is one thread, whatever the run asks for."""
    X, y = rng.random((1792, 64), dtype=np.float32), rng.integers(0, 10, 1792)
    with vg.threads(2):
        net = vg.MLP(SMALL, rng=0)
        net.fit(X, y, epochs=1)
        net.step(rng.normal(size=(512, 64)), y[:512])  # with a team, or the child would be free to make one
        child = os.fork()
        if child == 0:
            try:
                loop = fit.Loop(net._learner(), X, y.astype(np.int32), 3000, 64, vg.SGD())
                for epoch in range(3000):
                    loop.train(1)
                    one, two = loop.run.tried[:2]
                    if one > 0 and epoch > 200:
                        break
                os._exit(7 if one > 0 and two == 0 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_calls_of_step_heed_a_limit_that_has_changed(rng):
    """Also those that take a short way as nothing else has changed."""
    X, y = rng.normal(size=(256, 300)).astype(np.float32), rng.integers(0, 10, 256)
    net, optimizer = vg.MLP([300, 400, 10], rng=0), vg.SGD()
    used = []
    for limit in (1, 2, 1):
        with vg.threads(limit):
            for _ in range(3):
                net.step(X, y, optimizer)
            used.append(net._stepper.workspace.n_threads)
    assert used == [1, 2, 1]
