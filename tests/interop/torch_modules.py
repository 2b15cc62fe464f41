"""Modules for ``inspect_torch``, its sentences, and what autograd has for their weights."""

import numpy as np
import pytest

import vgfast as vg

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3
# How a sentence on a weight without a gradient begins.
NONE = "has no gradient for the weight of the Linear at "


def plain(nn):
    """4-5-5-3."""
    return [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)]


def forms(nn):
    """(the same net, written in other ways; a module with a forward of its own, around layers)."""

    class Tutorial(nn.Module):
        def __init__(self, layers, after=lambda z: z):
            super().__init__()
            self.flatten, self.stack, self.after = nn.Flatten(), nn.Sequential(*layers), after

        def forward(self, x):
            return self.after(self.stack(self.flatten(x)))

    a, b, c, d, e = layers = plain(nn)
    others = {
        "plain": nn.Sequential(*layers),
        "nested": nn.Sequential(nn.Sequential(a, b), nn.Sequential(nn.Sequential(c), d, e)),
        "idle": nn.Sequential(nn.Flatten(), a, nn.Dropout(0.0), nn.Identity(), b, c, d, nn.Dropout().eval(), e),
        "log-softmax": nn.Sequential(*layers, nn.LogSoftmax(dim=1)),
        "tutorial": Tutorial(layers),
        "tutorial with log-softmax": Tutorial([*layers, nn.LogSoftmax(-1)]),
    }
    return others, Tutorial


def net_class(torch):
    """4-6-3, with a forward that can be given."""

    class Net(torch.nn.Module):
        def __init__(self, run=lambda net, x: net.b(net.act(net.a(x))), n_out=3):
            super().__init__()
            self.a, self.act, self.b = torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, n_out)
            self.run = run

        def forward(self, x):
            return self.run(self, x)

    return Net


def check_sentence(text, words):
    assert all(word in text for word in words), text
    assert "\n" not in text
    assert len(text) < 300
    assert not text.endswith(".")


def refused(words, error=ValueError, **arguments):
    """The sentence with which inspect_torch refuses."""
    arguments = {"X": X, "y": Y, **arguments}
    with pytest.raises(error) as caught:
        vg.inspect_torch(**arguments)
    text = str(caught.value)
    check_sentence(text, words)
    return text


def norms(torch, module, loss=None, X=X, y=Y):
    """Of the gradients that autograd has for the weights, in the order that they were assigned in."""
    parameters = [p for name, p in module.named_parameters() if name.endswith("weight")]
    for p in parameters:
        p.requires_grad_(True)
    made = module(torch.from_numpy(X))
    found = torch.autograd.grad((loss or torch.nn.CrossEntropyLoss())(made, torch.from_numpy(y)), parameters)
    return [float(g.double().norm()) for g in found]
