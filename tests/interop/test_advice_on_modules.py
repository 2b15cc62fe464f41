"""What ``inspect_torch`` says of a module, a loss or data is done word for word, and then there is a report."""

import copy
import re
import sys
from importlib import metadata

import numpy as np
import pytest
from torch_modules import X, Y, forms, norms, plain

import vgfast as vg

pytestmark = pytest.mark.usefixtures("seeded")

ONE_HOT = np.eye(3, dtype=np.float32)[Y]


def told(error, module, x=X, y=Y, **more):
    with pytest.raises(error) as caught:
        vg.inspect_torch(module, x, y, **more)
    return str(caught.value)


def without(layers, *places):
    return [layer for place, layer in enumerate(layers) if place not in places]


def wrapped(nn, after):
    return forms(nn)[1](plain(nn), after)


def shared(nn):
    twice = nn.Linear(4, 4)
    return [twice, nn.Tanh(), twice, nn.Linear(4, 3)]


def with_nan(nn):
    layers = plain(nn)
    layers[2].weight.data[1, 2] = np.nan
    return layers


def finite(module):
    module[2].weight.data.nan_to_num_()
    return module


def loaded(module):
    module = module.to_empty(device="cpu")
    module.reset_parameters()
    return module


def quiet(module):
    module[0].p = 0.0
    return module


def of_many_rows(nn):
    """A module whose forward needs 26."""

    def forward(z):
        z[25]
        return z

    return wrapped(nn, forward)


# A module, or the layers of a Sequential; what the error says to do, and the module of which that was done.
MODULES = {
    "no module": (lambda nn: 5, "such as torch.nn.Sequential,", lambda nn, m: nn.Sequential(*plain(nn))),
    "no Linear": (lambda nn: [nn.Identity()], "; give it one$", lambda nn, m: nn.Sequential(*m, nn.Linear(4, 3))),
    "empty": (lambda nn: [], "; give it one$", lambda nn, m: nn.Sequential(nn.Linear(4, 3))),
    "slope": (
        lambda nn: [nn.Linear(4, 3), nn.LeakyReLU(-0.2), nn.Linear(3, 3)],
        "negative_slope .* by the sign of the output, got -0.2; use 0.2$",
        lambda nn, m: nn.Sequential(m[0], nn.LeakyReLU(0.2), m[2]),
    ),
    "first": (
        lambda nn: [nn.ReLU(), *plain(nn)],
        "ReLU at '0' .*; join or remove it$",
        lambda nn, m: nn.Sequential(*without(m, 0)),
    ),
    "two": (
        lambda nn: [*plain(nn)[:4], nn.Tanh(), nn.Linear(5, 3)],
        "Tanh at '4' .*; join or remove it$",
        lambda nn, m: nn.Sequential(*without(m, 4)),
    ),
    "softmax": (
        lambda nn: [nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 3)],
        "Softmax at '1' before the last Linear; it knows Linear, Sigmoid, ",
        lambda nn, m: nn.Sequential(m[0], nn.Sigmoid(), m[2]),
    ),
    "dropout": (
        lambda nn: [nn.Dropout(), *plain(nn)],
        r"; call module.eval\(\) first, or set",
        lambda nn, m: m.eval(),
    ),
    "dropout of 0": (
        lambda nn: [nn.Dropout(), *plain(nn)],
        "or set its p to 0$",
        lambda nn, m: quiet(m),
    ),
    "flatten": (
        lambda nn: [nn.Flatten(0), *plain(nn)],
        r"as torch.nn.Flatten\(\) does$",
        lambda nn, m: nn.Sequential(nn.Flatten(), *without(m, 0)),
    ),
    "NaN": (with_nan, "; take the module before it diverges$", lambda nn, m: finite(m)),
    "half": (lambda nn: nn.Linear(4, 3).half(), r"; give (copy.*\.float\(\))$", None),
    "bfloat16": (lambda nn: nn.Linear(4, 3).bfloat16(), r"; give (copy.*\.float\(\))$", None),
    "mixed": (lambda nn: [nn.Linear(4, 3), nn.Linear(3, 3).double()], r"; give (copy.*\.float\(\))$", None),
    "shapes": (
        lambda nn: [nn.Linear(4, 5), nn.Linear(6, 3)],
        "takes 6 inputs, .* has 5; make them equal$",
        lambda nn, m: nn.Sequential(nn.Linear(4, 6), m[1]),
    ),
    "meta": (lambda nn: nn.Linear(4, 3, device="meta"), "no numbers; load them first$", lambda nn, m: loaded(m)),
    "shared": (
        shared,
        "; vgfast shares none: give it its own$|give each place its own$",
        lambda nn, m: nn.Sequential(m[0], m[1], nn.Linear(4, 4), m[3]),
    ),
    "computed": (
        lambda nn: [nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))],
        "; remove that$",
        lambda nn, m: nn.Sequential(nn.utils.parametrize.remove_parametrizations(m[0], "weight")),
    ),
    "hidden softmax": (
        lambda nn: wrapped(nn, lambda z: z.softmax(1)),
        "in an nn.Sequential, or remove it$",
        lambda nn, m: m.stack,
    ),
    "two results": (
        lambda nn: wrapped(nn, lambda z: (z, z)),
        "; inspect one that returns a tensor$",
        lambda nn, m: forms(nn)[1](list(m.stack)),
    ),
    "no call": (
        lambda nn: wrapped_calls(nn),
        "; write it as an nn.Sequential$",
        lambda nn, m: nn.Sequential(*m.stack),
    ),
}


def wrapped_calls(nn):
    module = forms(nn)[1](plain(nn))
    stack = list(module.stack)
    module.forward = lambda x: stack[4].forward(stack[3].forward(stack[0].forward(x)))
    return module


@pytest.mark.parametrize("case", MODULES)
def test_modules_are_mended_as_is_told(torch, case):
    make, advice, mend = MODULES[case]
    made = make(torch.nn)
    module = torch.nn.Sequential(*made) if isinstance(made, list) else made
    text = told((TypeError, ValueError), module)
    found = re.search(advice, text)
    assert found, text
    mended = eval(found[1], {"copy": copy, "module": module}) if mend is None else mend(torch.nn, module)
    report = vg.inspect_torch(mended, X, Y)
    np.testing.assert_allclose(report.layers.grad_norm, norms(torch, mended), rtol=1e-4)


@pytest.mark.parametrize("unknown", ["CELU", "LogSigmoid", "InstanceNorm1d"])
def test_what_is_known_is_read(torch, unknown):
    """Each layer of the list that the error gives."""
    nn = torch.nn
    part = getattr(nn, unknown)
    module = nn.Sequential(nn.Linear(4, 5), part(5) if "Norm" in unknown else part(), nn.Linear(5, 3))
    known = re.search("it knows (.*)$", told(ValueError, module))[1]
    for name in re.split(", and |, ", known):
        layer, _, where = re.match(r"(\w+(\([\d.]*\))?)(.*)", name).groups()
        if layer == "Linear":
            continue
        made = eval(f"nn.{layer}" + ("(5)" if "Norm" in layer else "()" * (not layer.endswith(")"))), {"nn": nn})
        layers = [nn.Linear(4, 5), made.eval() if "eval()" in where else made, nn.Linear(5, 3)]
        module = nn.Sequential(layers[0], layers[2], nn.LogSoftmax(1)) if "at the end" in where else None
        assert len(vg.inspect_torch(module or nn.Sequential(*layers), X, Y).sizes) == 3


@pytest.mark.filterwarnings("ignore:`?torch.jit.script:DeprecationWarning")
def test_a_script_is_inspected_as_what_it_was_made_from(torch):
    module = torch.nn.Sequential(*plain(torch.nn))
    script = torch.jit.script(module)
    assert told(ValueError, script).endswith("is a script, which vgfast cannot read; inspect what it was made from")
    vg.inspect_torch(module, X, Y)


def test_a_module_that_fails_is_inspected_where_it_works(torch):
    module = of_many_rows(torch.nn)
    assert told(ValueError, module).endswith("; inspect it on an X with which module(X) works")
    x, y = np.tile(X, (2, 1)), np.tile(Y, 2)
    module(torch.from_numpy(x))
    vg.inspect_torch(module, x, y)


def test_what_is_done_to_X_is_done_to_it_first(torch, Net):
    module = Net(lambda net, x: net.b(net.act(net.a(x / 2))))
    assert "; do that to X first, and inspect the module without it" in told(ValueError, module)
    expected = norms(torch, module)
    module.run = Net().run
    np.testing.assert_allclose(vg.inspect_torch(module, X / 2, Y).layers.grad_norm, expected, rtol=1e-4)


def test_a_backward_that_fails(torch, Net):
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("no way back")

    module = Net(lambda net, x: net.b(Failing.apply(net.act(net.a(x)))))
    text = told(ValueError, module)
    assert "torch's own backward fails: RuntimeError: no way back" in text
    assert text.endswith("; inspect a module that it trains")
    module.run = Net().run
    vg.inspect_torch(module, X, Y)


# ---- losses ---------------------------------------------------------------------------------------------------

# What stands after the last Linear, the loss, y, and what y is for the advice: what it says to call with.
ENDINGS = {
    "softmax": ("Softmax", lambda nn: nn.CrossEntropyLoss(), Y),
    "sigmoid": ("Sigmoid", lambda nn: "binary_cross_entropy", ONE_HOT),
    "log-softmax": ("LogSoftmax", lambda nn: "mse", Y),
    "tanh": ("Tanh", lambda nn: "mse", ONE_HOT),
}


def ending(nn, name):
    last = getattr(nn, name)
    return nn.Sequential(nn.Linear(4, 3), last(dim=1) if "Softmax" in name else last())


@pytest.mark.parametrize("case", ENDINGS)
def test_modules_without_their_last_layer(torch, case):
    name, loss, y = ENDINGS[case]
    module, given = ending(torch.nn, name), loss(torch.nn)
    text = told(ValueError, module, y=y, loss=given)
    shorter = eval(re.search(r"inspect (module\[:-1\]), without it", text)[1], {"module": module})
    instead = re.search(r"with loss=('.*')$", text)
    vg.inspect_torch(shorter, X, y, loss=eval(instead[1]) if instead else given)


def test_a_log_softmax_is_added_or_another_loss_named(torch):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 3))
    text = told(ValueError, module, loss=nn.NLLLoss())
    assert re.search("does not end in one; add it, or name loss='cross_entropy' if it is elsewhere$", text)
    added = vg.inspect_torch(nn.Sequential(*module, nn.LogSoftmax(1)), X, Y, loss=nn.NLLLoss())
    assert vg.inspect_torch(module, X, Y, loss="cross_entropy").loss == added.loss


def test_the_sigmoid_of_BCELoss_is_removed(torch):
    module = ending(torch.nn, "Sigmoid")
    text = told(TypeError, module, y=ONE_HOT, loss=torch.nn.BCELoss())
    name = re.search("; for BCELoss remove the Sigmoid and name ('.*')$", text)[1]
    vg.inspect_torch(module[:-1], X, ONE_HOT, loss=eval(name))


@pytest.mark.parametrize("wrong", ["L1Loss", "MSELoss", "functional"])
def test_each_loss_of_the_list_is_taken(torch, wrong):
    nn = torch.nn
    given = {"L1Loss": nn.L1Loss(), "MSELoss": nn.MSELoss, "functional": nn.functional.mse_loss}[wrong]
    text = told(TypeError, ending(nn, "Identity"), loss=given)
    names, kinds = re.search("loss must be (.*) or one of torch's (.*), got", text).groups()
    for name in names.split(", "):
        vg.inspect_torch(ending(nn, "Identity"), X, Y if name == "cross_entropy" else ONE_HOT, loss=name)
    for kind in kinds.split(", "):
        module = ending(nn, "LogSoftmax" if kind == "NLLLoss" else "Identity")
        y = torch.from_numpy(Y if kind in ("CrossEntropyLoss", "NLLLoss") else ONE_HOT)
        vg.inspect_torch(module, X, y, loss=getattr(nn, kind)())


OPTIONS = {
    "CrossEntropyLoss": {"label_smoothing": 0.1, "ignore_index": 0, "weight": [1.0, 1, 2], "reduction": "sum"},
    "NLLLoss": {"ignore_index": 1, "weight": [1.0, 1, 2]},
    "BCEWithLogitsLoss": {"weight": [1.0, 1, 2], "pos_weight": [1.0, 1, 2]},
    "MSELoss": {"reduction": "sum"},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_are_left_out_with_a_name(torch, kind):
    module = ending(torch.nn, "LogSoftmax" if kind == "NLLLoss" else "Identity")
    y = Y if kind in ("CrossEntropyLoss", "NLLLoss") else ONE_HOT
    for option, value in OPTIONS[kind].items():
        loss = getattr(torch.nn, kind)(**{option: torch.tensor(value) if isinstance(value, list) else value})
        text = told(ValueError, module, y=y, loss=loss)
        name = re.search(f"{option}=.*; inspect with loss=('.*'), which leaves it out$", text)[1]
        vg.inspect_torch(module, X, y, loss=eval(name))


def test_names_of_losses_and_of_one_output(torch):
    nn = torch.nn
    meant = re.search("did you mean ('.*')", told(ValueError, nn.Linear(4, 3), loss="crossentropy"))[1]
    vg.inspect_torch(nn.Linear(4, 3), X, Y, loss=eval(meant))
    name = re.search("for yes or no use loss=('.*')$", told(ValueError, nn.Linear(4, 1)))[1]
    vg.inspect_torch(nn.Linear(4, 1), X, (Y > 0).astype(float), loss=eval(name))


# ---- data, and the rest ------------------------------------------------------------------------------------------


def test_data_is_mended_as_is_told(torch):
    module, x = torch.nn.Linear(4, 3), torch.from_numpy(X)
    for bad in (x.bfloat16(), x.to_sparse()):
        call = re.search(r"; use (\w+)\(\)$", told(TypeError, module, bad))[1]
        vg.inspect_torch(module, getattr(bad, call)(), Y)
    assert told(TypeError, module, x.to("meta")).endswith("which has none; load them first")
    vg.inspect_torch(module, torch.empty_like(x.to("meta"), device="cpu").copy_(x), Y)
    call = re.search(
        r"; use (y\.long\(\)) if they are whole, or probabilities of shape \(rows, 3\)$",
        told(TypeError, module, y=torch.from_numpy(Y).float()),
    )[1]
    vg.inspect_torch(module, X, eval(call, {"y": torch.from_numpy(Y).float()}))
    vg.inspect_torch(module, X, torch.from_numpy(ONE_HOT))


def test_an_optimizer_of_ours(torch):
    module = torch.nn.Linear(4, 3)
    text = told(TypeError, module, optimizer=torch.optim.Adam(module.parameters()))
    given = eval(re.search(r"for example (.*)$", text)[1], {"vg": vg})
    assert vg.inspect_torch(module, X, Y, optimizer=given).sizes == (4, 3)


def test_torch_is_installed(torch, monkeypatch):
    """By its name there, as far as that can be done here."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(ImportError, match=r"; pip install torch$") as caught:
            vg.inspect_torch(torch.nn.Linear(4, 3), X, Y)
    assert metadata.version(str(caught.value).split()[-1])
    vg.inspect_torch(torch.nn.Linear(4, 3), X, Y)
