"""A child of a fork, which has one thread and all locks as they were, trains nets on."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import vgfast as vg
from vgfast.training import shuffle

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(8, 2)).astype(np.float32), RNG.normal(size=(8, 2)).astype(np.float32)


def test_a_child_of_a_fork_is_not_held_up_by_a_thread_that_it_does_not_have():
    """Which owned the net, in the midst of a training."""
    net, inside, go_on = vg.MLP([2, 2], loss="mse", rng=3), threading.Event(), threading.Event()
    thread = threading.Thread(
        target=net.fit, args=(X, Y, 1), kwargs={"callbacks": [lambda *_: inside.set() or go_on.wait()]}
    )
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        try:
            net.step(X, Y)
            net.inspect(X, Y)
            net.copy()
            os._exit(7)
        finally:
            os._exit(1)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
def test_a_child_of_a_fork_shuffles_though_another_thread_did(kind):
    """The generator's lock is copied as it is, and who would open it is not there. The net is small, as OpenBLAS can
    wait for ever in a fork while its threads multiply."""
    inside, parent = threading.Event(), os.getpid()

    class Slow(np.random.Generator):
        def permutation(self, n):
            with self.bit_generator.lock:
                inside.set()
                time.sleep(0.2 if os.getpid() == parent else 0)
            return super().permutation(n)

    net = kind([2, 2], loss="mse", rng=Slow(np.random.PCG64(0)))
    thread = threading.Thread(target=net.fit, args=(X, Y, 1))
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # it would wait for ever
        try:
            net.fit(X, Y, 1)
            os._exit(7)
        finally:
            os._exit(1)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_who_holds_a_generators_lock_can_fork(monkeypatch):
    """While a thread that waits for that lock to shuffle has the one that a fork waits for."""
    monkeypatch.setattr(shuffle, "_PATIENCE", 0.1)
    rng = np.random.default_rng(0)
    net = vg.MLP([2, 2], loss="mse", rng=rng)
    thread = threading.Thread(target=net.fit, args=(X, Y, 2))
    with rng.bit_generator.lock:
        thread.start()
        while shuffle._shuffling.acquire(blocking=False):
            shuffle._shuffling.release()
            time.sleep(0)
        child = os.fork()
        if child == 0:
            vg.MLP([2, 2], loss="mse", rng=1).fit(X, Y, 1)
            os._exit(7)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert net.fit(X, Y, 1)
