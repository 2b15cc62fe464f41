"""The history that a net has of its training, however that ends and however long it was to be."""

import _thread

import numpy as np
import pytest
from small_nets import X, Y

import vgfast as vg


def test_the_history_outlives_an_interrupt(ctrl_c):
    net = vg.MLP([6, 10, 3], rng=0)
    assert net.history is None

    def interrupt(net, history):
        if len(history.epochs) == 3:
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, 10**6, 16, inspect_every=2, callbacks=[interrupt])
    history, twin = net.history, vg.MLP([6, 10, 3], rng=0)
    n = len(history.loss)
    assert n >= 3 * 7
    assert len(history.gradients) == len(history.steps) == -(-n // 2)
    expected = twin.fit(X, Y, -(-n // 7), 16, inspect_every=2)
    np.testing.assert_array_equal(history.loss, expected.loss[:n])
    assert history.gradients.tobytes() == expected.gradients[: len(history.gradients)].tobytes()
    assert twin.history is expected


def test_the_history_outlives_an_error_of_a_callback_and_of_progress():
    def fail(*_):
        raise ZeroDivisionError

    for arguments in ({"callbacks": [fail]}, {"progress": fail}):
        net = vg.MLP([6, 10, 3], rng=0)
        with pytest.raises(ZeroDivisionError):
            net.fit(X, Y, 2, 16, **arguments)
        assert len(net.history.loss) == 7


def test_a_callback_that_trains_leaves_the_history_of_the_outer_training():
    net = vg.MLP([6, 10, 3], rng=0)
    history = net.fit(X, Y, 2, 16, callbacks=[lambda net, _: net.fit(X, Y, 1, 50) is None])
    assert net.history is history
    assert len(history.loss) == 14


def test_a_divergence_in_validation_has_the_history():
    net = vg.MLP([6, 10, 1], loss="mse", dtype="float64", rng=0)
    y = np.zeros((100, 1))
    with pytest.raises(vg.DivergenceError) as caught:
        net.fit(X, y, 2, 16, validation_data=(X, np.full((100, 1), 1e200)))
    assert caught.value.history is net.history
    assert len(net.history.loss) == 7


def test_memory_for_a_long_training_is_taken_as_it_comes():
    """10^8 steps are asked for, of whose records 150 GB would be told; a callback ends it after a few."""
    import tracemalloc

    net = vg.MLP([6, 10, 3], rng=0)
    tracemalloc.start()
    try:
        history = net.fit(X, Y, 10**8 // 7, 16, inspect_every=1, callbacks=[lambda _, h: len(h.epochs) == 40])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
    twin = vg.MLP([6, 10, 3], rng=0).fit(X, Y, 40, 16, inspect_every=1)
    np.testing.assert_array_equal(history.loss, twin.loss)
    assert history.gradients.tobytes() == twin.gradients.tobytes()
