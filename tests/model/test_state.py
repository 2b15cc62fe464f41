"""What belongs to a net, to an optimizer and to the pair of them, through copies, files and interrupts."""

import _thread
import concurrent.futures
import contextlib
import copy
import gc
import os
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, reference

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 100)
MLPS = [vg.MLP, reference.MLP]


def pair(kind=vg.MLP):
    net, optimizer = kind([6, 10, 3], rng=0), vg.SGD(lr=0.1, momentum=0.9)
    net.fit(X, Y, 3, 16, optimizer)
    return net, optimizer


# ---- velocity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MLPS)
@pytest.mark.parametrize("again", [lambda both: pickle.loads(pickle.dumps(both)), copy.deepcopy])
@pytest.mark.parametrize("turned", [False, True], ids=["net first", "optimizer first"])
def test_net_and_optimizer_copied_together_go_on_alike(kind, again, turned):
    net, optimizer = pair(kind)
    both = again((net, optimizer)[:: -1 if turned else 1])
    other, others = both[:: -1 if turned else 1]
    for one, of in ((net, optimizer), (other, others)):
        one.fit(X, Y, 3, 16, of)
    np.testing.assert_array_equal(other.params, net.params)


def test_a_pickle_of_several_nets_and_optimizers():
    nets, optimizers = [pair()[0] for _ in range(2)], [vg.SGD(0.1, momentum=0.9), vg.SGD(0.05, momentum=0.5)]
    for net in nets:
        for optimizer in optimizers:
            net.step(X, Y, optimizer)
    again, others = pickle.loads(pickle.dumps((nets, optimizers)))
    for i in range(2):
        for j in range(2):
            assert nets[i].step(X, Y, optimizers[j]) == again[i].step(X, Y, others[j])
        np.testing.assert_array_equal(nets[i].params, again[i].params)


def test_a_reset_velocity_does_not_come_back():
    net, optimizer = pair()
    optimizer.reset()
    again, other = pickle.loads(pickle.dumps((net, optimizer)))
    plain = net.copy()
    for one, of in ((net, optimizer), (again, other), (plain, vg.SGD(lr=0.1, momentum=0.9))):
        one.step(X, Y, of)
    np.testing.assert_array_equal(net.params, again.params)
    np.testing.assert_array_equal(net.params, plain.params)


def test_velocities_stay_behind_in_a_copy_and_are_dropped_with_their_optimizer():
    net, optimizer = pair()
    assert net.copy()._velocities.list_living() == []
    assert len(net._velocities.list_living()) == 1
    del optimizer
    assert net._velocities.list_living() == []


class Scheduled(vg.SGD):
    """An optimizer with all that users hang on one: it can be neither pickled nor copied."""

    def __init__(self, net):
        super().__init__(lr=0.1, momentum=0.9)
        self.schedule, self.lock, self.net = lambda epoch: 0.1 / (epoch + 1), threading.Lock(), net


@pytest.mark.parametrize("kind", MLPS)
@pytest.mark.parametrize("again", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy])
def test_a_copy_of_a_net_takes_no_optimizer_along(kind, again):
    net = kind([6, 10, 3], rng=0)
    optimizer = Scheduled(net)
    net.step(X, Y, optimizer)
    np.testing.assert_array_equal(again(net).params, net.params)
    assert again(net)._velocities.list_living() == []


@pytest.mark.parametrize("kind", MLPS)
def test_an_optimizer_that_knows_its_net_is_copied_with_it(kind):
    net, optimizer = pair(kind)
    optimizer.net = net
    for again, other in (copy.deepcopy((net, optimizer)), pickle.loads(pickle.dumps((net, optimizer)))):
        assert other.net is again
        expected = net.copy()
        velocity = net._velocities.list_living()[0]
        np.testing.assert_array_equal(again._velocities.list_living()[0], velocity)
        before = again.params.copy()
        again.step(X, Y, other)
        gradient = expected.gradients(X, Y).flat
        np.testing.assert_allclose(again.params, before - 0.1 * (0.9 * velocity + gradient), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", MLPS)
def test_copy_copy_of_an_optimizer_has_no_velocity_yet(kind):
    net, optimizer = pair(kind)
    fresh = net.copy()
    net.step(X, Y, copy.copy(optimizer))
    fresh.step(X, Y, vg.SGD(lr=0.1, momentum=0.9))
    np.testing.assert_array_equal(net.params, fresh.params)


def test_looking_at_a_net_leaves_it_without_a_velocity():
    net, optimizer = vg.MLP([6, 10, 3], rng=0), vg.SGD(lr=0.1, momentum=0.9)
    net.inspect(X, Y, optimizer)
    assert net._velocities.list_living() == []


def test_a_velocity_is_not_lost_when_another_thread_copies_the_net_as_it_is_made():
    net, stop, interval, lost = vg.MLP([6, 10, 3], rng=0), threading.Event(), sys.getswitchinterval(), 0

    def read():
        while not stop.is_set():
            pickle.dumps(net)

    reader = threading.Thread(target=read)
    sys.setswitchinterval(1e-6)
    reader.start()
    try:
        for _ in range(2000):
            optimizer = vg.SGD(lr=0.1, momentum=0.9)
            net.step(X, Y, optimizer)
            velocity = net._velocities.list_living()[-1]
            lost += velocity is not net._velocities.find(optimizer)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        reader.join()
    assert lost == 0


@pytest.mark.parametrize("kind", MLPS)
@pytest.mark.parametrize("hashable", [True, False])
def test_nets_that_compare_equal_have_a_velocity_each(kind, hashable):
    class Equal(kind):
        def __eq__(self, other):
            return isinstance(other, Equal) and self.sizes == other.sizes

        __hash__ = (lambda self: hash(self.sizes)) if hashable else None

    nets, shared = [Equal([6, 10, 3], rng=seed) for seed in (0, 5)], vg.SGD(lr=0.1, momentum=0.9)
    alone = [(kind([6, 10, 3], rng=seed), vg.SGD(lr=0.1, momentum=0.9)) for seed in (0, 5)]
    for _ in range(5):
        for net in nets:
            net.step(X, Y, shared)
        for net, optimizer in alone:
            net.step(X, Y, optimizer)
    for net, (other, _) in zip(nets, alone, strict=True):
        np.testing.assert_array_equal(net.params, other.params)


def test_optimizers_that_compare_equal_have_a_velocity_each():
    class Equal(vg.SGD):
        def __eq__(self, other):
            return True

        __hash__ = None

    net, other = vg.MLP([6, 10, 3], rng=0), vg.MLP([6, 10, 3], rng=0)
    ours, theirs = ([kind(0.1, momentum=0.9) for _ in range(2)] for kind in (Equal, vg.SGD))
    for i in (0, 1, 0, 1):
        net.step(X, Y, ours[i])
        other.step(X, Y, theirs[i])
    np.testing.assert_array_equal(net.params, other.params)


# ---- copies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MLPS)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda net: net.copy(), lambda n: pickle.loads(pickle.dumps(n))]
)
def test_training_a_copy_leaves_the_course_of_the_original_alone(kind, copied):
    net, twin = kind([6, 10, 3], rng=0), kind([6, 10, 3], rng=0)
    other = copied(net)
    other.fit(X, Y, 2, 16)
    net.fit(X, Y, 2, 16)
    twin.fit(X, Y, 2, 16)
    np.testing.assert_array_equal(net.params, twin.params)
    np.testing.assert_array_equal(other.params, twin.params)


def test_a_shallow_copy_shares_what_a_subclass_added_and_a_copy_does_not():
    class Named(vg.MLP):
        pass

    net = Named([6, 3], rng=0)
    net.notes = ["first"]
    assert copy.copy(net).notes is net.notes
    assert net.copy().notes == net.notes
    assert net.copy().notes is not net.notes


@pytest.mark.parametrize("kind", MLPS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: net.copy(), lambda net: pickle.loads(pickle.dumps(net))])
def test_an_attribute_that_leads_back_to_the_net_leads_to_the_copy_in_a_copy(kind, copied):
    net, optimizer = pair(kind)
    net.me, net.listed, net.optimizer, optimizer.net = net, [net], optimizer, net
    other = copied(net)
    assert other is not net
    assert other.me is other
    assert other.listed[0] is other
    assert other.optimizer.net is other
    np.testing.assert_array_equal(other.params, net.params)


def test_a_net_that_knows_itself_goes_on_alike_with_the_optimizer_that_it_has():
    net, optimizer = pair()
    net.me, net.optimizer = net, optimizer
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        twin, twins = copy.deepcopy((net, optimizer))
        assert other.step(X, Y, other.optimizer) == twin.step(X, Y, twins)
        np.testing.assert_array_equal(other.params, twin.params)


def test_copy_copy_keeps_an_attribute_that_is_the_net():
    net = vg.MLP([6, 3], rng=0)
    net.me = net
    assert copy.copy(net).me is net


# ---- threads -------------------------------------------------------------------------------------------


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


# ---- history -------------------------------------------------------------------------------------------


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


# ---- what is not finite, and memory that there is not ---------------------------------------------------


@pytest.mark.parametrize("rows", [2, 300])
def test_a_net_with_nan_predicts_nothing(rows):
    x, y = np.ones((rows, 6), np.float32), np.zeros(rows, int)
    net = vg.MLP([6, 10, 3], rng=0)
    net.biases[1][0] = np.nan
    for call in (net.forward, net.predict, net.predict_proba, lambda x: net.evaluate(x, y)):
        with pytest.raises(vg.DivergenceError, match=r"parameters hold NaN or infinity.*assign finite ones"):
            call(x)
    net.params = vg.MLP([6, 10, 3], rng=0).params  # the advice
    net.predict(x), net.evaluate(x, y)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_predictions_that_overflow_are_told(loss):
    x = np.ones((70, 6), np.float32)
    x[33] = 3e38
    net = vg.MLP([6, 10, 3], "identity", loss, rng=0)
    y = np.zeros(70, int) if loss == "cross_entropy" else np.zeros((70, 3))
    for rows in (slice(None), slice(30, 40)):
        where = 33 - (rows.start or 0)
        for call in (net.forward, net.predict, lambda x, rows=rows: net.evaluate(x, y[rows])):
            with pytest.raises(
                vg.DivergenceError, match=rf"row {where} of X, whose largest value is 3e\+38.*scale X down"
            ):
                call(x[rows])
    net.predict(x / 3e38), net.evaluate(x / 3e38, y)  # the advice


def test_a_loss_that_overflows_is_told():
    net, y = vg.MLP([6, 10, 3], loss="mse", dtype="float64", rng=0), np.zeros((100, 3))
    y[7, 1] = 1e200
    with pytest.raises(vg.DivergenceError, match=r"loss of row 7 is too large for float64.*y as 1e\+200; scale"):
        net.evaluate(X, y)
    assert np.isfinite(net.evaluate(X, y / 1e190).loss)  # the advice


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
