"""What other threads may do while one trains a net: read it as it is between two steps, but not change it."""

import copy
import io
import os
import pickle
import sys
import threading
import time

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

SIZES = [8, 24, 16, 3]
RNG = np.random.default_rng(5)
X = RNG.normal(size=(96, 8)).astype(np.float32)
Y = RNG.integers(0, 3, 96).astype(np.int32)
LR = 0.05


def new_net():
    return vg.MLP(SIZES, "tanh", rng=3)


@pytest.fixture(scope="module")
def states():
    """The bits of the parameters after each number of steps on all rows."""
    net, optimizer = new_net(), vg.SGD(LR, momentum=0.9)
    found = {net.params.tobytes(): 0}
    for step in range(1, 3001):
        net.step(X, Y, optimizer)
        found[net.params.tobytes()] = step
    return found


class Trainer:
    """Trains a net in a thread of its own until the block ends, or for 3000 steps."""

    def __init__(self, train):
        self.net, self.optimizer, self.stop = new_net(), vg.SGD(LR, momentum=0.9), threading.Event()
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
    """Epochs of one step."""

    def ended(net, history):
        trainer.started.set()
        return trainer.stop.is_set()

    trainer.net.fit(X, Y, 3000, len(X), trainer.optimizer, shuffle=False, callbacks=[ended])
    trainer.stop.wait()


def by_step(trainer):
    for _ in range(3000):
        trainer.net.step(X, Y, trainer.optimizer)
        trainer.started.set()
        if trainer.stop.is_set():
            return
    trainer.stop.wait()


def held(trainer):
    """In the midst of ``fit``, until told to go on."""
    trainer.net.fit(X, Y, 1, 32, callbacks=[lambda *_: trainer.started.set() or trainer.stop.wait()])


def state_of(net, optimizer=None):
    return net.params.tobytes()


def saved(net, optimizer):
    file = io.BytesIO()
    net.save(file)
    return state_of(vg.MLP.load(io.BytesIO(file.getvalue())))


# Each returns the parameters that it saw.
COPIES = {
    "copy": lambda net, optimizer: state_of(net.copy()),
    "copy.copy": lambda net, optimizer: state_of(copy.copy(net)),
    "deepcopy": lambda net, optimizer: state_of(copy.deepcopy(net)),
    "pickle": lambda net, optimizer: state_of(pickle.loads(pickle.dumps(net))),
    "save": saved,
}

# Each returns numbers that follow from the parameters.
READS = {
    "forward": lambda net, optimizer: net.forward(X),
    "forward, few rows": lambda net, optimizer: net.forward(X[:3]),
    "forward, float64": lambda net, optimizer: net.forward(X.astype(float)),
    "predict": lambda net, optimizer: net.predict(X),
    "predict_proba": lambda net, optimizer: net.predict_proba(X),
    "evaluate": lambda net, optimizer: np.array(net.evaluate(X, Y)),
    "gradients": lambda net, optimizer: net.gradients(X, Y).flat,
    "sample_norms": lambda net, optimizer: net.sample_norms(X, Y),
    "inspect": lambda net, optimizer: as_numbers(net.inspect(X, Y, vg.SGD(LR), try_remedies=False).records),
    "inspect, histograms": lambda net, optimizer: net.inspect(X, Y, inspect="histograms").exponents,
    "trace": lambda net, optimizer: np.array(net.trace(1, 0, 0, X[0], Y[0]).gradient),
    "check_gradient": lambda net, optimizer: np.array(net.check_gradient(1, 0, 0, X, Y).analytic),
}


def as_numbers(records):
    return records.view(np.float64)


@pytest.mark.parametrize("train", [by_fit, by_step])
@pytest.mark.parametrize("what", COPIES)
def test_copies_made_meanwhile_are_of_a_whole_number_of_steps(what, train, states):
    with Trainer(train) as trainer:
        seen = [COPIES[what](trainer.net, trainer.optimizer) for _ in range(8)]
    steps = [states[bits] for bits in seen]  # KeyError: not the parameters after any number of steps
    assert steps == sorted(steps)


@pytest.mark.parametrize("train", [by_fit, by_step])
@pytest.mark.parametrize("what", READS)
def test_what_is_read_meanwhile_follows_from_a_whole_number_of_steps(what, train):
    with Trainer(train) as trainer:
        seen = [READS[what](trainer.net, trainer.optimizer) for _ in range(4)]
    net, optimizer, left = new_net(), vg.SGD(LR, momentum=0.9), list(seen)
    for _ in range(3001):
        left = [one for one in left if not np.array_equal(one, READS[what](net, optimizer), equal_nan=True)]
        if not left:
            break
        net.step(X, Y, optimizer)
    assert not left


def test_velocity_and_parameters_that_are_pickled_meanwhile_fit_together(states):
    with Trainer(by_fit) as trainer:
        net, optimizer = pickle.loads(pickle.dumps((trainer.net, trainer.optimizer)))
    step = states[net.params.tobytes()]
    net.step(X, Y, optimizer)
    assert states[net.params.tobytes()] == step + 1


CHANGES = {
    "fit": (lambda net: net.fit(X, Y), "trained"),
    "step": (lambda net: net.step(X, Y), "trained"),
    "params": (lambda net: setattr(net, "params", net.params * 2), "changed"),
    "weights": (lambda net: net.weights.__setitem__(0, net.weights[0] * 2), "changed"),
    "biases": (lambda net: net.biases.__setitem__(1, net.biases[1] + 1), "changed"),
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
    plain = {"sizes", "activations", "loss", "dtype", "n_params", "history", "load"}
    named = {name.partition(",")[0] for name in (*READS, *COPIES, *CHANGES)}
    assert {name for name in dir(vg.MLP) if not name.startswith("_")} <= named | plain


def test_the_thread_that_trains_may_do_all_of_it():
    """In a callback, between two epochs."""
    seen = []

    def callback(net, history):
        for read in (*READS.values(), *COPIES.values()):
            read(net, None)
        net.params = net.params.copy()
        net.weights[0] = net.weights[0].copy()
        seen.append(net.step(X, Y))

    new_net().fit(X, Y, epochs=2, batch_size=32, callbacks=[callback])
    assert len(seen) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_a_fork_is_not_held_up_by_a_thread_that_it_does_not_have():
    with Trainer(held) as trainer:
        child = os.fork()
        if child == 0:
            try:
                trainer.net.step(X, Y)
                trainer.net.inspect(X, Y)
                trainer.net.copy()
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


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
    x, y, stop, refusals = X.copy(), Y.copy(), threading.Event(), []
    net, optimizer = new_net(), vg.SGD(1e-4)

    def write():
        rng = np.random.default_rng(1)
        while not stop.is_set():
            y[rng.integers(96)] = rng.choice([0, 1, 2, 2**30, -(2**31)])
            x[rng.integers(96)] = rng.choice([0, 1, np.nan, 3e38])
            net.params[rng.integers(net.n_params)] = rng.normal()
            y[y > 2] = y[y < 0] = 0
            x[~(abs(x) < 2)] = 0

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(150):
            for call in (
                lambda: net.step(x, y, optimizer),
                lambda: net.fit(x, y, 1, 32, optimizer),
                lambda: net.evaluate(x, y),
                lambda: net.gradients(x, y),
                lambda: net.inspect(x, y, try_remedies=False),
                lambda: net.predict_proba(x),
            ):
                try:
                    call()
                except (ValueError, ArithmeticError) as error:
                    refusals.append(str(error))
    finally:
        stop.set()
        thread.join()
    assert not any("\n" in refusal for refusal in refusals)
    net.params = new_net().params
    assert np.isfinite(net.step(X, Y))


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
