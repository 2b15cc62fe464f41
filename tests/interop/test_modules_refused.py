"""Modules, losses and data that ``inspect_torch`` refuses, and with which words."""

import sys

import numpy as np
import pytest
from torch_modules import X, Y, check_sentence, forms, plain

import vgfast as vg


def with_value(nn, value):
    layers = plain(nn)
    layers[2].weight.data[1, 2] = value
    return layers


def shared(nn):
    twice = nn.Linear(4, 4)
    return [twice, nn.Tanh(), twice, nn.Linear(4, 3)]


def around(nn, after):
    return forms(nn)[1](plain(nn), after)


# A module, or the layers of a Sequential; error; words.
BAD_MODULES = {
    "no module": (lambda nn: 5, TypeError, ["torch.nn.Module", "got int"]),
    "CELU": (lambda nn: [*plain(nn)[:3], nn.CELU()], ValueError, ["CELU at '3'", "knows Linear"]),
    "nested": (lambda nn: [nn.Sequential(nn.Conv2d(1, 2, 3))], ValueError, ["Conv2d at '0.0'"]),
    "norm": (lambda nn: [nn.BatchNorm1d(4), *plain(nn)], ValueError, ["BatchNorm1d at '0'"]),
    "no Linear": (lambda nn: [nn.Identity()], ValueError, ["no Linear layer"]),
    "empty": (lambda nn: [], ValueError, ["no Linear layer"]),
    "slope": (lambda nn: [nn.Linear(4, 3), nn.LeakyReLU(-1), nn.Linear(3, 3)], ValueError, ["'1'", "at least 0", "-1"]),
    "alpha": (lambda nn: [nn.Linear(4, 3), nn.ELU(-2.0), nn.Linear(3, 3)], ValueError, ["'1'", "at least 0", "-2.0"]),
    "beta": (
        lambda nn: [nn.Linear(4, 3), nn.Softplus(2), nn.Linear(3, 3)],
        ValueError,
        ["beta of 2", "softplus has 1"],
    ),
    "ends": (
        lambda nn: [nn.Linear(4, 3), nn.ReLU6(), nn.Linear(3, 3)],
        ValueError,
        ["min_val of 0", "hardtanh has -1"],
    ),
    "first": (lambda nn: [nn.ReLU(), *plain(nn)], ValueError, ["ReLU at '0' is called before any Linear"]),
    "two": (
        lambda nn: [*plain(nn)[:4], nn.Tanh(), nn.Linear(5, 3)],
        ValueError,
        ["right after the ReLU at '3'"],
    ),
    "softmax": (lambda nn: [nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 3)], ValueError, ["'1' before the last"]),
    "dropout": (lambda nn: [nn.Dropout(), *plain(nn)], ValueError, ["Dropout at '0'", "eval()"]),
    "flatten": (lambda nn: [nn.Flatten(0), *plain(nn)], ValueError, ["all dimensions but the first"]),
    "NaN": (lambda nn: with_value(nn, np.nan), ValueError, ["weight of the Linear at '2' holds NaN"]),
    "infinity": (lambda nn: with_value(nn, -np.inf), ValueError, ["holds infinity"]),
    "half": (lambda nn: nn.Linear(4, 3).half(), ValueError, ["got torch.float16", ".float()"]),
    "bfloat16": (lambda nn: nn.Linear(4, 3).bfloat16(), ValueError, ["got torch.bfloat16", ".float()"]),
    "mixed": (lambda nn: [nn.Linear(4, 3), nn.Linear(3, 3).double()], ValueError, ["torch.float32 and torch.float64"]),
    "shapes": (
        lambda nn: [nn.Linear(4, 5), nn.Linear(6, 3)],
        ValueError,
        ["'1' takes 6 inputs", "at '0', has 5"],
    ),
    "meta": (lambda nn: nn.Linear(4, 3, device="meta"), TypeError, ["'meta'", "load them"]),
    "shared": (shared, ValueError, ["the Linear at '2' is run twice"]),
    "lazy": (lambda nn: [nn.LazyLinear(3)], ValueError, ["LazyLinear at '0'", "lazy"]),
    "computed": (lambda nn: [nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))], ValueError, ["no weight of its"]),
    "width": (lambda nn: nn.Linear(5, 3), ValueError, ["X must have 5 columns", "got 4"]),
    "one class": (lambda nn: nn.Linear(4, 1), ValueError, ["at least two outputs", "binary_cross_entropy"]),
    "hidden softmax": (lambda nn: around(nn, lambda z: z.softmax(1)), ValueError, ["after the Linear at 'stack.4'"]),
    "hidden factor": (
        lambda nn: around(nn, lambda z: z * 1.01),
        ValueError,
        ["of Tutorial", "Sequential"],
    ),
    "two results": (lambda nn: around(nn, lambda z: (z, z)), ValueError, ["Tutorial returns a tuple"]),
}


@pytest.mark.parametrize("case", BAD_MODULES)
def test_modules_that_are_refused(nn, case):
    make, error, words = BAD_MODULES[case]
    made = make(nn)
    with pytest.raises(error) as caught:
        vg.inspect_torch(nn.Sequential(*made) if isinstance(made, list) else made, X, Y)
    check_sentence(str(caught.value), words)


# What stands after the last Linear; the loss, a name or made from torch.nn; error; words.
BAD_LOSSES = {
    "softmax": (
        "Softmax",
        lambda nn: nn.CrossEntropyLoss(),
        ValueError,
        ["Softmax at '1'", "[:-1]", "'cross_entropy'"],
    ),
    "sigmoid": ("Sigmoid", "binary_cross_entropy", ValueError, ["Sigmoid at '1'", "loss='binary_cross_entropy'"]),
    "log-softmax": ("LogSoftmax", "mse", ValueError, ["LogSoftmax", "loss='cross_entropy'"]),
    "tanh": ("Tanh", "mse", ValueError, ["Tanh at '1'", "ends in a Linear"]),
    "NLL": ("Identity", lambda nn: nn.NLLLoss(), ValueError, ["LogSoftmax has made"]),
    "BCE": ("Sigmoid", lambda nn: nn.BCELoss(), TypeError, ["got BCELoss", "remove the Sigmoid"]),
    "L1": ("Identity", lambda nn: nn.L1Loss(), TypeError, ["got L1Loss", "MSELoss"]),
    "class": ("Identity", lambda nn: nn.MSELoss, TypeError, ["got MSELoss"]),
    "function": ("Identity", lambda nn: nn.functional.mse_loss, TypeError, ["got mse_loss"]),
    "name": ("Identity", "crossentropy", ValueError, ["'crossentropy'", "did you mean 'cross_entropy'"]),
    "smoothing": ("Identity", lambda nn: nn.CrossEntropyLoss(label_smoothing=0.1), ValueError, ["label_smoothing=0.1"]),
    "ignore": ("Identity", lambda nn: nn.CrossEntropyLoss(ignore_index=0), ValueError, ["ignore_index=0"]),
    "sum": ("Identity", lambda nn: nn.MSELoss(reduction="sum"), ValueError, ["reduction=sum", "loss='mse'"]),
}


@pytest.mark.parametrize("case", BAD_LOSSES)
def test_losses_that_are_refused(nn, case):
    ending, loss, error, words = BAD_LOSSES[case]
    last = getattr(nn, ending)
    module = nn.Sequential(nn.Linear(4, 3), last(dim=1) if "Softmax" in ending else last())
    with pytest.raises(error) as caught:
        vg.inspect_torch(module, X, Y, loss=loss if isinstance(loss, str) else loss(nn))
    check_sentence(str(caught.value), words)


@pytest.mark.parametrize("kind", ["CrossEntropyLoss", "NLLLoss", "BCEWithLogitsLoss"])
def test_weighted_losses_are_refused(torch, kind):
    options = ["weight", "pos_weight"] if kind == "BCEWithLogitsLoss" else ["weight"]
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), *[torch.nn.LogSoftmax(1)] * (kind == "NLLLoss"))
    for option in options:
        loss = getattr(torch.nn, kind)(**{option: torch.ones(3)})
        with pytest.raises(ValueError, match=f"{kind} has {option}=\\.\\.\\., which"):
            vg.inspect_torch(module, X, Y, loss=loss)


def test_data_that_is_refused(torch):
    module, x = torch.nn.Linear(4, 3), torch.from_numpy(X)
    for bad, words in (
        (x.bfloat16(), ["bfloat16", "float()"]),
        (x.to_sparse(), ["dense tensor", "to_dense()"]),
        (x.to("meta"), ["'meta'"]),
    ):
        with pytest.raises(TypeError) as caught:
            vg.inspect_torch(module, bad, Y)
        check_sentence(str(caught.value), ["X must", *words])
    with pytest.raises(ValueError, match="X must be a matrix"):
        vg.inspect_torch(module, X.reshape(20, 2, 2), Y)
    with pytest.raises(TypeError, match=r"y must hold whole-number class labels.*use y\.long\(\)"):
        vg.inspect_torch(module, X, torch.from_numpy(Y).float())
    vg.inspect_torch(module, X, torch.from_numpy(Y).float().long())
    with pytest.raises(TypeError, match=r"vgfast's, got torch's Adam"):
        vg.inspect_torch(module, X, Y, optimizer=torch.optim.Adam(module.parameters()))
    module.weight.data.fill_(9)
    with pytest.raises(vg.DivergenceError, match="outputs of layer 1"):
        vg.inspect_torch(module, X * np.float32(1e38), Y)


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        vg.inspect_torch(None, X, Y)
