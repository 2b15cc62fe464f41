"""Memory: that it is shared, let go of, and may fail to be there at any allocation."""

import contextlib
import gc
import pickle
import weakref

import numpy as np
import pytest
from small_nets import X, Y

import vgfast as vg
from vgfast import _core


@pytest.mark.parametrize("loss", ["cross_entropy", "probabilities", "binary_cross_entropy", "mse"])
def test_steps_of_one_size_share_their_memory(loss, monkeypatch):
    """Also with a fresh optimizer each, and where y has to be checked anew."""
    made, workspace = [], _core.Workspace
    monkeypatch.setattr(_core, "Workspace", lambda *sizes: made.append(sizes) or workspace(*sizes))
    net = vg.MLP([6, 10, 3], loss="cross_entropy" if loss == "probabilities" else loss, rng=0)
    y = Y if loss == "cross_entropy" else np.eye(3, dtype=np.float32)[Y]
    for _ in range(6):
        net.step(X, y, vg.SGD(0.1, momentum=0.9))
    assert len(made) <= 2


CALLS = {
    "fit": lambda net: net.fit(X, Y, 1, 16, vg.SGD(0.1, momentum=0.9, clip_norm=1.0), inspect_every=2),
    "step": lambda net: net.step(X, Y, vg.SGD(0.1, momentum=0.9)),
    "forward": lambda net: net.forward(X),
    "evaluate": lambda net: net.evaluate(X, Y),
    "gradients": lambda net: net.gradients(X, Y),
    "inspect": lambda net: net.inspect(X, Y, vg.SGD(0.1, momentum=0.9), inspect="histograms"),
    "sample_norms": lambda net: net.sample_norms(X, Y),
    "copy": lambda net: net.copy(),
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("what", CALLS)
def test_each_allocation_that_fails_is_a_memory_error(what):
    """And the net is as it was."""
    net = vg.MLP([6, 10, 3], rng=0)
    before, call, failed = net.params.copy(), CALLS[what], 0
    while True:
        _core.fail_allocation(failed)
        try:
            call(net)
        except MemoryError:
            failed += 1
            np.testing.assert_array_equal(net.params, before)
        else:
            break
        finally:
            left = _core.fail_allocation(-1)
    assert left >= 0
    assert failed > 0


def test_rows_are_let_go_of_when_there_is_no_memory_for_their_predictions(monkeypatch):
    """Or else they would stay in memory for ever."""
    net, x = vg.MLP([6, 10, 3], rng=0), X[:4].copy()

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", fail)
        with contextlib.suppress(MemoryError):
            net.forward(x)
    lives = weakref.ref(x)
    del x
    gc.collect()
    assert lives() is None


def test_allocations_that_fail_while_a_net_is_made():
    failed = 0
    while True:
        _core.fail_allocation(failed)
        try:
            vg.MLP([6, 10, 3], rng=0)
        except MemoryError:
            failed += 1
        else:
            break
        finally:
            _core.fail_allocation(-1)
    assert failed == 5
