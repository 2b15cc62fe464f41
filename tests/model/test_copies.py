"""Copies and pickles of a net: what is theirs, and what they share with it."""

import copy
import pickle

import numpy as np
import pytest
from small_nets import NETS, X, Y, pair

import vgfast as vg


@pytest.mark.parametrize("kind", NETS)
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


@pytest.mark.parametrize("kind", NETS)
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
