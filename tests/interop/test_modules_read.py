"""Modules that ``inspect_torch`` takes: ways to write one net, and that nothing changes in them."""

import copy

import numpy as np
import pytest
from torch_modules import X, Y, forms, plain

import vgfast as vg


def test_ways_to_write_the_same_net(nn):
    others = forms(nn)[0]
    want = vg.inspect_torch(others["plain"], X, Y).records
    for name, module in others.items():
        for x in (X, X.reshape(20, 2, 2)) if "Flatten" in str(module) else (X,):
            assert vg.inspect_torch(module, x, Y).records.tobytes() == want.tobytes(), name
    got = vg.inspect_torch(others["log-softmax"], X, Y, loss=nn.NLLLoss()).records
    assert got.tobytes() == want.tobytes()


def test_one_linear_is_a_net(torch):
    report = vg.inspect_torch(torch.nn.Linear(4, 3), torch.from_numpy(X), torch.from_numpy(Y))
    assert report.sizes == (4, 3)


def test_optimizer_and_steps_reach_the_report(nn):
    module = nn.Sequential(*plain(nn))
    optimizer = vg.SGD(lr=1e-9, momentum=0.9)
    assert vg.inspect_torch(module, X, Y, optimizer=optimizer).verdict == "frozen"
    assert vg.inspect_torch(module, X, Y, steps=7).steps == 7


@pytest.mark.parametrize("training", [True, False])
def test_nothing_changes_in_the_module(torch, training):
    module = forms(torch.nn)[0]["tutorial"].train(training)
    module(torch.from_numpy(X)).sum().backward()
    module.stack[0].weight.requires_grad_(False)
    module.stack[2].weight.grad = None
    before, x, y = copy.deepcopy(module), X.copy(), Y.copy()
    gradients = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    random = torch.get_rng_state()
    vg.inspect_torch(module, torch.from_numpy(x).requires_grad_(), torch.from_numpy(y), optimizer=vg.SGD(lr=0.1))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    assert torch.equal(random, torch.get_rng_state())
    for old, new in zip(before.modules(), module.modules(), strict=True):
        assert old.training == new.training
    for old, gradient, new in zip(before.parameters(), gradients, module.parameters(), strict=True):
        assert torch.equal(old, new)
        assert old.requires_grad == new.requires_grad
        assert (gradient is None) == (new.grad is None)
        assert gradient is None or torch.equal(gradient, new.grad)
