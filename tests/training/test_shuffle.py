"""The order of rows: that of NumPy's ``Generator.permutation``, whoever else uses the generator."""

import os
import signal
import threading

import numpy as np
import pytest
from small_nets import X, Y

import vgfast as vg
from vgfast import _core
from vgfast.training.shuffle import Shuffle

pytestmark = pytest.mark.any_isa

KINDS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]
SIZES = [*range(1, 70), 127, 128, 129, 1000, 1023, 1024, 1025, 4097, 10**5]


def state(rng):
    """Of what its bit generator will give, half of 64 bits that are left over included."""
    return str(rng.bit_generator.state)


@pytest.mark.parametrize("kind", KINDS)
def test_orders_and_the_generator_after_them_are_numpys(kind):
    """Among other numbers that it gives, which leave it halves of 64 bits."""
    ours, numpys = (np.random.Generator(kind(7)) for _ in range(2))
    for n in SIZES:
        np.testing.assert_array_equal(Shuffle(ours, n).draw(), numpys.permutation(n))
        assert ours.integers(1 << 20, dtype=np.uint32) == numpys.integers(1 << 20, dtype=np.uint32)
        assert state(ours) == state(numpys)


@pytest.mark.parametrize("kind", KINDS)
def test_places_beyond_32_bits(kind):
    """What a place is swapped with, alone: so many rows fit no memory. NumPy's old generator draws as its new one."""
    bits, old = _core.RandomBits(kind(3)), np.random.RandomState(kind(3))
    for most in (0, 1, 2, 1000, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**33 + 5, 2**40, 2**63, 2**64 - 2):
        for _ in range(50):
            assert bits.at_most(most) == old.randint(0, most + 1, dtype=np.uint64), most


def test_the_last_two_orders_stay():
    shuffle, rng = Shuffle(np.random.default_rng(1), 10), np.random.default_rng(1)
    before = np.empty(0)
    for _ in range(5):
        order = rng.permutation(10)
        np.testing.assert_array_equal(shuffle.draw(), order)
        np.testing.assert_array_equal(shuffle.order, order)
        np.testing.assert_array_equal(shuffle.before, before)
        before = order


def test_memory_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="need 40 bytes, got an array of 20"):
        _core.RandomBits(np.random.PCG64(0)).permute(np.empty(5, np.int32))


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
@pytest.mark.parametrize("inspect_every", [0, 3])
def test_fit_takes_the_rows_in_these_orders(kind, inspect_every):
    one, other = kind([6, 10, 3], rng=4), kind([6, 10, 3], rng=4)
    one.fit(X, Y, 5, 16, inspect_every=inspect_every)
    for _ in range(5):
        order = other._rng.permutation(len(X))
        other.fit(X[order], Y[order], 1, 16, shuffle=False)
    assert one.params.tobytes() == other.params.tobytes()
    assert state(one._rng) == state(other._rng)


class Backwards(np.random.Generator):
    def permutation(self, n):
        return np.arange(n)[::-1].copy()


class Swapping(np.random.Generator):
    def shuffle(self, order):
        order[...] = order[::-1].copy()


@pytest.mark.parametrize("kind", [Backwards, Swapping])
def test_a_generator_of_ones_own_is_asked(kind):
    rng = kind(np.random.PCG64(0))
    np.testing.assert_array_equal(Shuffle(rng, 4).draw(), [3, 2, 1, 0])
    nets = [vg.MLP([6, 10, 3], rng=0) for _ in range(2)]
    nets[0]._rng = rng
    nets[0].fit(X, Y, 3, 16)
    nets[1].fit(X[::-1], Y[::-1], 3, 16, shuffle=False)
    assert nets[0].params.tobytes() == nets[1].params.tobytes()


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
@pytest.mark.parametrize("given", ["np.arange(100) + 1", "np.arange(100) - 1", "np.arange(99)", "np.ones(100)", "None"])
def test_rows_that_are_not_there_and_the_advice(kind, given):
    class Odd(np.random.Generator):
        def permutation(self, n):
            return eval(given)

    net = kind([6, 10, 3], rng=Odd(np.random.PCG64(0)))
    before = net.params.copy()
    with pytest.raises(
        ValueError, match=r"^permutation\(100\) of the Odd that shuffles must give 100 rows from 0 to"
    ) as e:
        net.fit(X, Y, 1, 16)
    np.testing.assert_array_equal(net.params, before)
    given = str(e.value).partition("; return ")[2].removesuffix(" in another order") + "[::-1]"
    assert len(net.fit(X, Y, 1, 16).epochs) == 1


def test_a_bit_generator_of_ones_own_is_drawn_from_under_its_lock():
    class Counted:
        def __init__(self):
            self.from_numpy, self.lock, self.times = np.random.PCG64(9), self, 0
            self.capsule = self.from_numpy.capsule

        def __enter__(self):
            self.times += 1

        def __exit__(self, *error):
            pass

    own, numpys = Counted(), np.random.default_rng(9)
    shuffle = Shuffle(np.random.Generator(own), 1000)
    for times in (1, 2, 3):
        np.testing.assert_array_equal(shuffle.draw(), numpys.permutation(1000))
        assert own.times == times


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
def test_an_error_of_the_generator_ends_training_between_two_epochs(kind):
    class Failing(np.random.Generator):
        left = 3

        def permutation(self, n):
            self.left -= 1
            if self.left < 0:
                raise ZeroDivisionError
            return super().permutation(n)

    net, twin = (kind([6, 10, 3], rng=rng) for rng in (Failing(np.random.PCG64(0)), np.random.default_rng(0)))
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, 10, 16)
    twin.fit(X, Y, 3, 16)
    assert net.params.tobytes() == twin.params.tobytes()
    assert net.history.loss.tobytes() == twin.history.loss.tobytes()
    assert len(net.history.epochs) == 3
    net._rng.left = 1
    assert len(net.fit(X, Y, 1, 16).epochs) == 1


def test_a_generator_of_ones_own_sees_the_epochs_before():
    seen = []

    class Looking(np.random.Generator):
        def permutation(self, n):
            seen.append(len(net.history.epochs))
            return super().permutation(n)

    net = vg.MLP([6, 10, 3], rng=Looking(np.random.PCG64(0)))
    net.fit(X, Y, 4, 16)
    assert seen == [0, 1, 2, 3]


def test_threads_that_share_a_generator_share_its_orders():
    """Each of the orders that it gives goes to one of them."""
    rng, found = np.random.default_rng(2), []

    def draw():
        shuffle = Shuffle(rng, 50)
        for _ in range(40):
            found.append(shuffle.draw().tolist())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = np.random.default_rng(2)
    assert sorted(found) == sorted(again.permutation(50).tolist() for _ in range(160))
    assert state(rng) == state(again)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_a_fork_shuffles_by_a_generator_that_another_thread_draws_from():
    rng, stop = np.random.default_rng(0), threading.Event()

    def draw():
        shuffle = Shuffle(rng, 10**5)
        while not stop.is_set():
            shuffle.draw()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(60)  # it would wait for ever
                try:
                    Shuffle(rng, 10).draw()
                    os._exit(7)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        stop.set()
        thread.join()
