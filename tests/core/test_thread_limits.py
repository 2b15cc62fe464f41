"""How many threads there may be: what holds where, in contexts, threads and children."""

import concurrent.futures
import contextlib
import os
import threading

import pytest

import vgfast as vg
from vgfast import config


def test_a_pool_of_threads_leaves_the_limit_as_it_was():
    vg.set_num_threads(2)
    gate = threading.Barrier(4)

    def work(i):
        for _ in range(3):
            gate.wait()
            with vg.threads(1 + i):
                gate.wait()
                assert vg.get_num_threads() == 1 + i
                if i % 2:
                    gate.wait()
            if not i % 2:
                gate.wait()
        return vg.get_num_threads()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert vg.get_num_threads() == 2


def test_limits_of_contexts():
    vg.set_num_threads(2)
    seen = []

    def ask():
        seen.append(vg.get_num_threads())

    def in_another_thread(call):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    with vg.threads(3):
        in_another_thread(ask)  # which has none of its own
        with vg.threads(1):
            ask()
            in_another_thread(ask)
            vg.set_num_threads(5)
            ask()
        ask()
        in_another_thread(lambda: vg.set_num_threads(7))
        ask()
    ask()
    assert seen == [3, 1, 1, 5, 3, 3, 7]


def test_a_context_with_a_bad_number_changes_nothing():
    before = vg.get_num_threads()
    with pytest.raises(ValueError, match="number of threads must be from 1"), vg.threads(0):
        pass
    assert vg.get_num_threads() == before


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("own", [False, True], ids=["without", "with a context of its own"])
def test_the_child_of_a_fork_has_the_contexts_of_the_thread_that_forked(own):
    vg.set_num_threads(2)
    opened, done, anothers = threading.Event(), threading.Event(), vg.threads(5)

    def another():
        with anothers:
            opened.set()
            done.wait()

    def in_child():
        """What it finds, in the context and after it."""
        there, back = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(back, bytes([vg.get_num_threads()]))
            try:
                stack.close()
                anothers.__exit__(None, None, None)  # as when it is collected
                vg.set_num_threads(7 if own else vg.get_num_threads())
                os.write(back, bytes([vg.get_num_threads()]))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(back)
        with open(there, "rb") as file:
            return list(file.read())

    thread = threading.Thread(target=another)
    with contextlib.ExitStack() as stack:
        if own:
            stack.enter_context(vg.threads(3))
        thread.start()
        opened.wait()
        try:
            assert vg.get_num_threads() == (3 if own else 5)
            assert in_child() == ([3, 7] if own else [2, 2])
            assert vg.get_num_threads() == (3 if own else 5)
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize(("quotas", "usable"), [([], 4), ([8, 3], 3), ([1], 1)])
def test_processors_that_may_be_kept_busy(monkeypatch, quotas, usable):
    """Those that the process may run on, or fewer where a control group has a quota."""
    monkeypatch.setattr(config, "n_processors", lambda: 4)
    monkeypatch.setattr(config, "_cgroup_quotas", lambda: iter(quotas))
    monkeypatch.delenv("VGFAST_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert config.usable_processors() == config._default_threads() == usable
