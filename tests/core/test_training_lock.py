"""What other threads may do while one trains a net: read it as it is between two steps, but not change it."""

import copy
import io
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

pytestmark = pytest.mark.any_isa

N = 512
RNG = np.random.default_rng(5)
HALF = RNG.normal(size=(N // 2, N)).astype(np.float32)
WEIGHTS = np.stack([HALF, -HALF], 1).reshape(N, N)  # columns that sum to 0 exactly, so that biases stay 0
EYE, ZERO = np.eye(N, dtype=np.float32), np.zeros((N, N), np.float32)
X = RNG.normal(size=(8, N)).astype(np.float32)
Y = RNG.normal(size=(8, N)).astype(np.float32)


def new_net(sign=1):
    """On EYE and ZERO, whose loss is the mean of the squared weights, a step with ``flip`` makes W of -W, exactly: each
    number is W minus 2 W. So the parameters are those of two states, or else of the midst of a step."""
    net = vg.MLP([N, N], loss="mse", init="zeros", rng=3)
    net.weights[0] = sign * WEIGHTS
    return net


def flip():
    return vg.SGD(lr=float(N * N))


class Trainer:
    """Trains a net in a thread of its own until the block ends."""

    def __init__(self, train):
        self.net, self.optimizer, self.stop = new_net(), flip(), threading.Event()
        self.started, self.error = threading.Event(), None

        def run():
            try:
                train(self)
            except BaseException as error:
                self.error = error
            finally:
                self.started.set()

        self.thread = threading.Thread(target=run)

    def __enter__(self):
        self.thread.start()
        self.started.wait()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.error is None


def by_fit(trainer):
    """An epoch is a step."""

    def ended(net, history):
        trainer.started.set()
        return trainer.stop.is_set()

    trainer.net.fit(EYE, ZERO, 10**6, N, trainer.optimizer, shuffle=False, callbacks=[ended])


def by_step(trainer):
    while not trainer.stop.is_set():
        trainer.net.step(EYE, ZERO, trainer.optimizer)
        trainer.started.set()


def held(trainer):
    """In the midst of ``fit``, until told to go on."""
    trainer.net.fit(EYE, ZERO, 1, N, callbacks=[lambda *_: trainer.started.set() or trainer.stop.wait()])


def saved(net):
    file = io.BytesIO()
    net.save(file)
    return vg.MLP.load(io.BytesIO(file.getvalue()))


def report(net, **arguments):
    return net.inspect(X, Y, vg.SGD(0.01), try_remedies=False, **arguments)


def written(write):
    """What a method writes, byte by byte."""
    file = io.BytesIO()
    write(file)
    return np.frombuffer(file.getvalue(), np.uint8)


def as_onnx(net):
    pytest.importorskip("onnx")
    return written(net.to_onnx)


def as_module(net):
    pytest.importorskip("torch")
    return net.to_torch()[0].weight.detach().numpy()


# Each returns an array of numbers that follow from the parameters.
READS = {
    "copy": lambda net: net.copy().params,
    "copy.copy": lambda net: copy.copy(net).params,
    "deepcopy": lambda net: copy.deepcopy(net).params,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)).params,
    "save": lambda net: saved(net).params,
    "state_dict": lambda net: net.state_dict()["layer1.weight"],
    "to_c": lambda net: written(net.to_c),
    "to_onnx": as_onnx,
    "to_torch": as_module,
    "forward": lambda net: net.forward(X),
    "forward, many rows": lambda net: net.forward(np.tile(X, (64, 1))),
    "forward, float64": lambda net: net.forward(X.astype(float)),
    "predict": lambda net: net.predict(X),
    "evaluate": lambda net: np.array(net.evaluate(X, Y)[0]),
    "gradients": lambda net: net.gradients(X, Y).flat,
    "backward": lambda net: net.backward(X, Y).flat,
    "sample_norms": lambda net: net.sample_norms(X, Y),
    "inspect": lambda net: report(net).records.view(np.float64),
    "inspect, histograms": lambda net: report(net, inspect="histograms").exponents,
    "trace": lambda net: np.array(net.trace(1, 0, 0, X[0], Y[0]).gradient),
    "check_gradient": lambda net: np.array(net.check_gradient(1, 0, 0, X, Y).numeric),
}


@pytest.mark.parametrize("train", [by_fit, by_step])
@pytest.mark.parametrize("what", READS)
def test_what_is_read_meanwhile_is_of_a_whole_number_of_steps(what, train):
    read, times = READS[what], 2 if what in ("check_gradient", "to_c") else 12  # these take half a second
    with Trainer(train) as trainer:
        seen = {read(trainer.net).tobytes() for _ in range(times)}
    assert seen <= {read(new_net(sign)).tobytes() for sign in (1, -1)}


def test_probabilities_that_are_predicted_meanwhile():
    """As above, of a net of which a step can be too small to be seen: only that it is no error."""
    x, y = X[:, :6], np.arange(8) % 3
    net, stop = vg.MLP([6, 5, 3], rng=0), threading.Event()
    thread = threading.Thread(target=net.fit, args=(x, y, 10**6), kwargs={"callbacks": [lambda *_: stop.is_set()]})
    thread.start()
    try:
        for _ in range(100):
            assert net.predict_proba(x).sum(axis=1) == pytest.approx(np.ones(8), abs=1e-5)
    finally:
        stop.set()
        thread.join()


CHANGES = {
    "fit": (lambda net: net.fit(X, Y), "trained"),
    "step": (lambda net: net.step(X, Y), "trained"),
    "apply": (lambda net: net.apply(net.params), "trained"),
    "forward in training": (lambda net: net.forward(X, training=True), "trained"),
    "params": (lambda net: setattr(net, "params", net.params * 2), "changed"),
    "weights": (lambda net: net.weights.__setitem__(0, net.weights[0] * 2), "changed"),
    "biases": (lambda net: net.biases.__setitem__(0, net.biases[0] + 1), "changed"),
    "load_state_dict": (lambda net: net.load_state_dict(net.state_dict()), "changed"),
    "cost": (lambda net: net.cost(8), "timed"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_the_net_is_refused_meanwhile(what):
    call, purpose = CHANGES[what]
    with Trainer(held) as trainer:
        before = trainer.net.params.copy()
        words = rf"being trained in another thread, so it cannot be {purpose} now; .* net.copy\(\)"
        with pytest.raises(RuntimeError, match=words):
            call(trainer.net)
        np.testing.assert_array_equal(trainer.net.params, before)
        call(trainer.net.copy())  # the advice
    call(trainer.net)  # and so does this


def test_every_public_method_is_in_these_tables():
    """A new one must be put to the rule."""
    plain = {
        "sizes",
        "activations",
        "dropout",
        "normalization",
        "residual",
        "loss",
        "dtype",
        "n_params",
        "history",
        "load",
        "parameters",
        "summary",
    }
    named = {name.partition(",")[0] for name in (*READS, *CHANGES)} | {"predict_proba"}
    assert {name for name in dir(vg.MLP) if not name.startswith("_")} <= named | plain


def test_the_thread_that_trains_may_do_all_of_it():
    """In a callback, between two epochs."""
    seen = []

    def callback(net, history):
        for read in READS.values():
            read(net)
        net.params = net.params.copy()
        net.weights[0] = net.weights[0].copy()
        seen.append(net.step(X, Y))

    new_net().fit(X, Y, epochs=2, batch_size=8, callbacks=[callback])
    assert len(seen) == 2


def test_who_waits_for_a_step_is_not_left_waiting_by_ctrl_c(ctrl_c):
    """It comes at the first Python code after the steps in C, which is where those who wait are thought of."""
    net, x, y = vg.MLP([256, 1024, 1024, 10], rng=0), np.ones((512, 256), np.float32), np.zeros(512, np.int32)
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            seen.append(net.copy())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for _ in range(4):
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            net.fit(x, y, 10**6, 512)
        timer.join()
        before = len(seen)
        for _ in range(1000):
            if len(seen) > before + 1:
                break
            time.sleep(0.01)
        else:
            pytest.fail("the reader waits for steps that nobody takes")
    stop.set()
    reader.join()


def test_work_that_ctrl_c_ends_is_done_again_by_who_asked_for_it():
    def work():
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return "done"

    lock, results = _core.TrainingLock(), []
    readers = [threading.Thread(target=lambda: results.append(lock.between_steps(work)), daemon=True) for _ in range(3)]

    def change():
        for reader in readers:
            reader.start()
        time.sleep(0.2)  # in which they come to wait, as they do most often

    with pytest.raises(KeyboardInterrupt):
        lock.change(change)
    for reader in readers:
        reader.join(10)
    assert results == ["done"] * 3
    other = threading.Thread(target=lambda: results.append(lock.change(lambda: "changed")))
    other.start()
    other.join()
    assert results[3:] == ["changed"]


def test_ctrl_c_as_soon_as_a_net_is_owned_leaves_it_to_others():
    class Interrupted(_core.TrainingLock):
        def own(self, purpose):
            super().own(purpose)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt

    net = new_net()
    net._lock = Interrupted()
    for train in (net.fit, net.step):
        with pytest.raises(KeyboardInterrupt):
            train(X, Y)
        losses = []
        thread = threading.Thread(target=lambda losses=losses: losses.append(net.step(X, Y)))
        thread.start()
        thread.join()
        assert len(losses) == 1


def test_what_is_assigned_may_be_made_of_the_net_itself():
    """Only when it is asked for: as an array that another library computes late."""

    class Late:
        def __array__(self, dtype=None, copy=None):
            return net.copy().params * 2

    net = vg.MLP([2, 3, 2], rng=0)
    before = net.params.copy()
    net.params = Late()
    np.testing.assert_array_equal(net.params, 2 * before)


def test_an_error_of_who_reads_is_theirs():
    """Work that is handed to the thread that trains fails in the one that asked for it."""
    lock = _core.TrainingLock()

    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lock.between_steps(work)
    with Trainer(by_fit) as trainer:
        for _ in range(20):
            with pytest.raises(ZeroDivisionError):
                trainer.net._lock.between_steps(work)


def test_arrays_that_another_thread_writes_meanwhile():
    """Labels that go wild, X and the parameters: each call is right, or refused with a sentence; nothing crashes."""
    rows = 96
    x, y, stop, refusals = np.zeros((rows, 8), np.float32), np.zeros(rows, np.int32), threading.Event(), []
    net, optimizer = vg.MLP([8, 24, 16, 3], "tanh", rng=3), vg.SGD(1e-4)
    first = net.params.copy()

    def write():
        rng = np.random.default_rng(1)
        while not stop.is_set():
            y[rng.integers(rows)] = rng.choice([0, 1, 2, 2**30, -(2**31)])
            x[rng.integers(rows)] = rng.choice([0, 1, np.nan, 3e38])
            net.params[rng.integers(net.n_params)] = rng.normal()
            y[y > 2] = y[y < 0] = 0
            x[~(abs(x) < 2)] = 0

    calls = {
        "step": lambda: net.step(x, y, optimizer),
        "fit": lambda: net.fit(x, y, 1, 32, optimizer),
        "evaluate": lambda: net.evaluate(x, y),
        "gradients": lambda: net.gradients(x, y),
        "backward": lambda: net.backward(x, x[:, :1].repeat(net.sizes[-1], axis=1)),
        "apply": lambda: net.apply(net.params, optimizer),
        "inspect": lambda: net.inspect(x, y, try_remedies=False),
        "predict_proba": lambda: net.predict_proba(x),
    }
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(150):
            for call in calls.values():
                try:
                    call()
                except (ValueError, ArithmeticError) as error:
                    refusals.append(str(error))
    finally:
        stop.set()
        thread.join()
    assert not any("\n" in refusal for refusal in refusals)
    net.params = first
    assert np.isfinite(net.step(np.ones_like(x), np.zeros_like(y)))


def test_loss_and_probabilities_of_many_rows_leave_other_threads_their_turn():
    """The GIL is not held from the first row to the last."""
    z = np.zeros((1 << 19, 4), np.float32)
    for work in (
        lambda: _core.softmax(z, z),
        lambda: _core.activate("sigmoid", z, z),
        lambda: _core.loss("mse", z, z, np.empty(len(z)), np.empty(len(z)), np.empty_like(z)),
    ):
        turns, done = [], threading.Event()

        def count(turns=turns, done=done):
            while not done.is_set():
                turns.append(0)
                time.sleep(0)  # which lets go of the GIL

        thread = threading.Thread(target=count)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)  # nobody asks for the GIL: it changes hands where it is let go
        try:
            thread.start()
            while not turns:
                time.sleep(0)
            for _ in range(200):
                before = len(turns)
                work()
                if len(turns) > before:
                    break
            else:
                pytest.fail("no other thread had a turn")
        finally:
            done.set()
            sys.setswitchinterval(interval)
            thread.join()
