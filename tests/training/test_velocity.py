"""What velocity a net and an optimizer have between them: whose it is, and what becomes of it in copies."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest
from small_nets import NETS, X, Y, pair

import vgfast as vg


@pytest.mark.parametrize("kind", NETS)
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


def test_states_stay_behind_in_a_copy_and_are_dropped_with_their_optimizer():
    net, optimizer = pair()
    assert net.copy()._states.list_living() == []
    assert len(net._states.list_living()) == 1
    del optimizer
    assert net._states.list_living() == []


class Scheduled(vg.SGD):
    """An optimizer with all that users hang on one: it can be neither pickled nor copied."""

    def __init__(self, net):
        super().__init__(lr=0.1, momentum=0.9)
        self.schedule, self.lock, self.net = lambda epoch: 0.1 / (epoch + 1), threading.Lock(), net


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("again", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy])
def test_a_copy_of_a_net_takes_no_optimizer_along(kind, again):
    net = kind([6, 10, 3], rng=0)
    optimizer = Scheduled(net)
    net.step(X, Y, optimizer)
    np.testing.assert_array_equal(again(net).params, net.params)
    assert again(net)._states.list_living() == []


@pytest.mark.parametrize("kind", NETS)
def test_an_optimizer_that_knows_its_net_is_copied_with_it(kind):
    net, optimizer = pair(kind)
    optimizer.net = net
    for again, other in (copy.deepcopy((net, optimizer)), pickle.loads(pickle.dumps((net, optimizer)))):
        assert other.net is again
        expected = net.copy()
        velocity = net._states.list_living()[0].vectors[0]
        np.testing.assert_array_equal(again._states.list_living()[0].vectors[0], velocity)
        before = again.params.copy()
        again.step(X, Y, other)
        gradient = expected.gradients(X, Y).flat
        np.testing.assert_allclose(again.params, before - 0.1 * (0.9 * velocity + gradient), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", NETS)
def test_copy_copy_of_an_optimizer_has_no_velocity_yet(kind):
    net, optimizer = pair(kind)
    fresh = net.copy()
    net.step(X, Y, copy.copy(optimizer))
    fresh.step(X, Y, vg.SGD(lr=0.1, momentum=0.9))
    np.testing.assert_array_equal(net.params, fresh.params)


def test_looking_at_a_net_leaves_it_without_a_velocity():
    net, optimizer = vg.MLP([6, 10, 3], rng=0), vg.SGD(lr=0.1, momentum=0.9)
    net.inspect(X, Y, optimizer)
    assert net._states.list_living() == []


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
            velocity = net._states.list_living()[-1].vectors[0]
            lost += velocity is not net._states.find(optimizer).vectors[0]
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        reader.join()
    assert lost == 0


@pytest.mark.parametrize("kind", NETS)
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
