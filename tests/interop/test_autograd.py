"""A report of ``inspect_torch`` is of the gradients of the module's own backward, or there is none."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from torch_modules import NONE, X, Y, norms, refused

import vgfast as vg

pytestmark = pytest.mark.usefixtures("seeded")


# ---- another backward, another forward ------------------------------------------------------------------------


def reversal(torch, factor):
    class Reversal(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            return factor * gradient

    return Reversal.apply


def without_gradient(mode):
    def run(net, x):
        with mode():
            hidden = net.act(net.a(x))
        return net.b(hidden.clone())

    return run


def half_detached(torch):
    def run(net, x):
        hidden = net.act(net.a(x))
        return net.b(torch.cat([hidden[:, :3], hidden[:, 3:].detach()], 1))

    return run


def in_autocast(torch):
    def run(net, x):
        with torch.autocast("cpu", torch.bfloat16):
            return net.b(net.act(net.a(x))).float()

    return run


# Forwards, of torch; words.
OTHER = "has another gradient for the weight of the Linear at "
FORWARDS = {
    "detach": (lambda t: lambda net, x: net.b(net.act(net.a(x)).detach()), [NONE + "'a'", "detach()"]),
    "no_grad": (lambda t: without_gradient(t.no_grad), [NONE + "'a'", "no_grad()"]),
    "inference_mode": (lambda t: without_gradient(t.inference_mode), [NONE + "'a'"]),
    "all detached": (lambda t: lambda net, x: net.b(net.act(net.a(x))).detach(), [NONE + "'b'"]),
    "half detached": (half_detached, [OTHER + "'a'"]),
    "reversal": (lambda t: lambda net, x: net.b(reversal(t, -1)(net.act(net.a(x)))), [OTHER + "'a'"]),
    "small change": (lambda t: lambda net, x: net.b(reversal(t, 0.999)(net.act(net.a(x)))), [OTHER + "'a'"]),
    "none passed on": (lambda t: lambda net, x: net.b(reversal(t, 0)(net.act(net.a(x)))), [OTHER + "'a'", "norm 0,"]),
    "functional": (
        lambda t: lambda net, x: net.b(t.relu(net.a(x))),
        ["between the Linear at 'a' and the Linear at 'b'", "such as torch.relu", "nn.ReLU()"],
    ),
    "in place": (lambda t: lambda net, x: net.b(net.a(x).relu_()), ["between the Linear at 'a' and the Linear at 'b'"]),
    "skip": (
        lambda t: lambda net, x: net.b(net.act(net.a(x)) + x[:, :1]),
        ["between the Tanh at 'act' and the Linear at 'b', the forward of Net"],
    ),
    "softmax": (lambda t: lambda net, x: net.b(net.act(net.a(x))).softmax(1), ["after the Linear at 'b'"]),
    "parallel": (
        lambda t: lambda net, x: net.b(net.a(x)[:, :3].repeat(1, 2)),
        ["between the Linear at 'a' and the Linear at 'b'"],
    ),
    "before": (lambda t: lambda net, x: net.b(net.act(net.a(x / 2))), ["changes X before the Linear at 'a'"]),
    "overwritten": (lambda t: lambda net, x: net.b(net.act(net.a(x.mul_(2)))), ["changes X before the Linear at 'a'"]),
    "autocast": (in_autocast, ["what comes out of the Linear at 'a' is not x W + b", "autocast"]),
    "functional dropout": (
        lambda t: lambda net, x: net.b(t.dropout(net.act(net.a(x)), 0.5, net.training)),
        ["Net draws random numbers", "module.eval()"],
    ),
    "twice": (lambda t: lambda net, x: net.b(net.act(net.a(x) + net.a(x))), ["the Linear at 'a' is run twice"]),
    "no call": (lambda t: lambda net, x: net.b.forward(net.act(net.a.forward(x))), ["Net calls no Linear layer"]),
    "no tensor": (lambda t: lambda net, x: [net.b(net.act(net.a(x)))], ["Net returns a list"]),
    "failure": (lambda t: lambda net, x: net.b(net.act(net.a(x)))[99], ["Net fails on X: IndexError: index 99"]),
    "narrow": (
        lambda t: lambda net, x: net.b(net.act(net.a(x))[:, :5]),
        ["takes 6 inputs, but", "after the Tanh at 'act', has 5"],
    ),
}


@pytest.mark.parametrize("case", FORWARDS)
def test_forwards_that_are_not_their_layers_are_refused(torch, Net, case):
    """And when what the sentence names is taken out, the report is that of autograd."""
    make, words = FORWARDS[case]
    module = Net(make(torch))
    refused(words, module=module)
    if case == "functional dropout":
        module.eval()
    elif case == "functional":
        module = torch.nn.Sequential(module.a, torch.nn.ReLU(), module.b)
    else:
        module.run = Net().run
    np.testing.assert_allclose(vg.inspect_torch(module, X, Y).layers.grad_norm, norms(torch, module), rtol=1e-4)


# What is hooked, of a Net; words, or none if the gradients stay as they are.
HOOKS = {
    "outputs": (lambda m: m.register_forward_hook(lambda m, x, z: 2 * z), ["after the Linear at 'b'", "a hook"]),
    "detached": (lambda m: m.register_forward_hook(lambda m, x, z: z.detach()), [NONE + "'b'"]),
    "inputs": (lambda m: m.register_forward_pre_hook(lambda m, x: (2 * x[0],)), ["changes X before", "a hook"]),
    "of a Linear": (lambda m: m.a.register_forward_hook(lambda m, x, z: 2 * z), ["'a' is not x W + b: a hook"]),
    "none of a Linear": (lambda m: m.a.register_forward_hook(lambda m, x, z: (z,)), ["fails on X: TypeError: tanh()"]),
    "before a Linear": (
        lambda m: m.b.register_forward_pre_hook(lambda m, x: (x[0] + 1,)),
        ["between the Tanh at 'act' and the Linear at 'b'", "a hook"],
    ),
    "of an activation": (lambda m: m.act.register_forward_hook(lambda m, x, z: z.detach()), [NONE + "'a'"]),
    "backward": (lambda m: m.act.register_full_backward_hook(lambda m, dx, dz: (dx[0] / 2,)), [OTHER + "'a'"]),
    "backward of a Linear": (
        lambda m: m.b.register_full_backward_hook(lambda m, dx, dz: (dx[0].clamp(-1e-3, 1e-3),)),
        ["has another gradient for what comes into the Linear at 'b'"],
    ),
    "before backward": (lambda m: m.register_full_backward_pre_hook(lambda m, dz: (3 * dz[0],)), [OTHER + "'b'"]),
    "weight": (lambda m: m.a.weight.register_hook(lambda g: g.clamp(-1e-3, 1e-3)), [OTHER + "'a'"]),
    "bias": (lambda m: m.b.bias.register_hook(lambda g: 0 * g), ["another gradient for the bias of the Linear at 'b'"]),
    "accumulated": (lambda m: m.b.bias.register_post_accumulate_grad_hook(lambda p: None), ["'b.bias' has a hook"]),
    "reads outputs": (lambda m: m.act.register_forward_hook(lambda m, x, z: None), None),
    "reads gradients": (lambda m: m.act.register_full_backward_hook(lambda m, dx, dz: None), None),
    "clips what is small": (lambda m: m.a.weight.register_hook(lambda g: g.clamp(-1e9, 1e9)), None),
}


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("case", HOOKS)
@pytest.mark.parametrize("sequential", [False, True])
def test_hooks_that_change_values_or_gradients_are_refused(torch, Net, case, sequential):
    hook, words = HOOKS[case]
    module = Net()
    if sequential:
        module = torch.nn.Sequential()
        for name, part in Net().named_children():
            module.add_module(name, part)
    handle = hook(module)
    if words is not None:
        refused(words, module=module)
        if case in ("weight", "bias", "accumulated"):  # a copy has no hooks on parameters
            vg.inspect_torch(copy.deepcopy(module), X, Y)
        handle.remove()
    np.testing.assert_allclose(vg.inspect_torch(module, X, Y).layers.grad_norm, norms(torch, module), rtol=1e-4)


def test_parameters_beside_those_of_linear_layers_are_refused(torch, Net):
    """Also where they are 0, so that they do not show in what the module computes."""
    nn = torch.nn

    class LoRA(nn.Linear):
        def __init__(self, n_in, n_out):
            super().__init__(n_in, n_out)
            self.down = nn.Parameter(torch.randn(2, n_in))
            self.up = nn.Parameter(torch.zeros(n_out, 2))

        def forward(self, x):
            return super().forward(x) + x @ self.down.T @ self.up.T

    class Doubled(nn.Identity):
        def forward(self, x):
            return 2 * x

    refused(["vgfast does not know the module's LoRA at '0'"], module=nn.Sequential(LoRA(4, 3), nn.Linear(3, 3)))
    refused(["vgfast does not know the module's LoRA"], module=LoRA(4, 3))
    refused(["the module's Doubled at '1'"], module=nn.Sequential(nn.Linear(4, 3), Doubled(), nn.Linear(3, 3)))
    module = Net(lambda net, x: net.b(net.act(net.a(x))) + net.shift)
    module.shift = nn.Parameter(torch.zeros(3))
    refused(["the parameter 'shift' gets a gradient", "remove it"], module=module)
    module.run = Net().run
    vg.inspect_torch(module, X, Y)  # it is still there, and not used


def test_weights_in_the_same_memory_are_refused(torch):
    nn = torch.nn
    for name in ("weight", "bias"):
        module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
        setattr(module[2], name, nn.Parameter(getattr(module[0], name).data))
        refused([f"the Linear at '2' has the {name} of the Linear at '0'"], module=module)
        setattr(module[2], name, nn.Parameter(getattr(module[0], name).data.clone()))
        vg.inspect_torch(module, X, Y)


# ---- other ways to write the same ----------------------------------------------------------------------------


def forms(torch, Net):
    """(4-6-3 in other words, the plain Sequential of the same layers)."""
    nn = torch.nn

    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ModuleDict({"tanh": nn.Tanh()})
            self.unused, self.criterion, self.none = nn.BatchNorm1d(6), nn.CrossEntropyLoss(), nn.ModuleList()
            self.layers = nn.ModuleList([nn.Linear(6, 3), nn.Linear(9, 9), nn.Linear(4, 6)])

        def forward(self, x):
            return self.layers[0](self.act["tanh"](self.layers[2](x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.linear = nn.ReLU(inplace=True), nn.Linear(4, 6)

        def forward(self, x):
            return self.act(self.linear(x))

    def again(net, x):
        from torch.utils.checkpoint import checkpoint

        return net.b(checkpoint(lambda x: net.act(net.a(x)), x, use_reentrant=False))

    listed, block, shared = Listed(), nn.Sequential(Block(), nn.Linear(6, 3)), nn.Sigmoid()
    deep = [nn.Linear(4, 5), shared, nn.Linear(5, 5), shared, nn.Linear(5, 3)]
    forms = {
        "other order": (listed, [listed.layers[2], nn.Tanh(), listed.layers[0]]),
        "blocks": (block, [block[0].linear, nn.ReLU(), block[1]]),
        "shared activation": (nn.Sequential(*deep), [*deep[:3], nn.Sigmoid(), deep[4]]),
    }
    for name, run in (
        ("unused activation", lambda net, x: net.b(net.a(x))),
        ("keywords", lambda net, x: net.b(input=net.act(input=net.a(input=x)))),
        ("view", lambda net, x: net.b(net.act(net.a(x.view(-1, 4))))),
        ("checkpoint", again),
        ("times 1", lambda net, x: net.b(net.act(net.a(x)) * 1.0)),
    ):
        net = Net(run)
        forms[name] = (net, [net.a, *[net.act] * (name != "unused activation"), net.b])
    traced = Net()
    forms["traced"] = (torch.fx.symbolic_trace(traced), [traced.a, traced.act, traced.b])
    return {name: (module, nn.Sequential(*layers)) for name, (module, layers) in forms.items()}


def test_layers_are_read_in_the_order_in_which_they_are_run(torch, Net):
    for name, (module, plain) in forms(torch, Net).items():
        want = vg.inspect_torch(plain, X, Y).records
        for x in (X, X.reshape(20, 2, 2)) if name == "view" else (X,):
            assert vg.inspect_torch(module, x, Y).records.tobytes() == want.tobytes(), name
        np.testing.assert_allclose(want["grad_norm"], norms(torch, plain), rtol=1e-4)


def test_layers_that_do_not_require_a_gradient_are_in_the_report(torch, Net):
    module = Net()
    want = vg.inspect_torch(module, X, Y).records
    for frozen in (module.a, module):
        frozen.requires_grad_(False)
        assert vg.inspect_torch(module, X, Y).records.tobytes() == want.tobytes()
        assert not module.a.weight.requires_grad
        assert module.b.weight.requires_grad == (frozen is module.a)


def test_gradients_that_vanish_are_told_from_those_that_are_cut_off(torch, dtype):
    """Also where they leave the range of the dtype, and where torch takes subnormal numbers for 0."""
    nn = torch.nn
    layers = [nn.Linear(4, 8), nn.Sigmoid()]
    for _ in range(60):
        layers += [nn.Linear(8, 8), nn.Sigmoid()]
    module = nn.Sequential(*layers, nn.Linear(8, 3)).to(getattr(torch, np.dtype(dtype).name))
    for flush in (False, True):
        torch.set_flush_denormal(flush)
        try:
            report = vg.inspect_torch(module, X, Y)
        finally:
            torch.set_flush_denormal(False)
        assert report.layers.grad_norm[0] < 1e-40
    module[99].register_forward_hook(lambda m, x, z: z.detach())
    refused([NONE + "'98'"], module=module)


# ---- at random -----------------------------------------------------------------------------------------------


def drawn(torch, seed):
    """(a float64 module whose forward is drawn, whether its gradients are those of its layers)."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    nn = torch.nn
    depth = int(rng.integers(1, 6))
    sizes = [4, *(int(n) for n in rng.integers(2, 9, depth)), 3]
    acts = [[nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(), nn.Identity()][k] for k in rng.integers(0, 5, depth)]
    linears = [nn.Linear(n, m, bool(rng.random() < 0.8)) for n, m in pairwise(sizes)]
    place = int(rng.integers(depth))
    wrongs = {
        "none": None,
        "frozen": None,
        "detach": lambda a: a.detach(),
        "scaled": reversal(torch, float(rng.choice([-1, 0, 0.5, 0.999, 2]))),
        "functional": lambda a: torch.sin(a),
        "noise": lambda a: a + 1e-4,
        "weight hook": None,
        "backward hook": None,
    }
    wrong = str(rng.choice(list(wrongs), p=[0.25, 0.15, *[0.1] * 6]))

    class Drawn(nn.Module):
        def __init__(self):
            super().__init__()
            for i in rng.permutation(depth + 1):  # assigned in any order
                self.add_module(f"l{i}", linears[i])
            self.acts = nn.ModuleList(acts)

        def forward(self, x):
            for l in range(depth):
                x = self.acts[l](getattr(self, f"l{l}")(x))
                if l == place and wrongs[wrong]:
                    x = wrongs[wrong](x)
            return getattr(self, f"l{depth}")(x)

    sequential = wrongs[wrong] is None and rng.random() < 0.5
    pairs = [part for pair in zip(linears, acts, strict=False) for part in pair]
    module = (nn.Sequential(*pairs, linears[-1]) if sequential else Drawn()).double()
    if wrong == "frozen":
        linears[place].requires_grad_(False)
    if wrong == "weight hook":
        linears[place].weight.register_hook(lambda g: -g)
    if wrong == "backward hook":
        acts[place].register_full_backward_hook(lambda m, dx, dz: (dx[0] * 1.01,))
    return module, linears, wrong in ("none", "frozen")


@pytest.mark.parametrize("seed", range(60))
def test_random_modules_against_autograd(torch, seed):
    """Half of the digits: in float64, roundings cost far fewer, and whatever is drawn that is wrong costs more, or,
    where no signal reaches it, nothing."""
    module, linears, right = drawn(torch, seed)
    x = X.astype(np.float64)
    try:
        report = vg.inspect_torch(module, x, Y)
    except ValueError as error:
        report, told = None, str(error)
    if report is None:
        assert not right, told
        assert "Linear at" in told
        return
    module.requires_grad_(True)
    loss = torch.nn.CrossEntropyLoss()(module(torch.from_numpy(x)), torch.from_numpy(Y))
    want = [float(g.norm()) for g in torch.autograd.grad(loss, [linear.weight for linear in linears])]
    np.testing.assert_allclose(report.layers.grad_norm, want, rtol=1e-8, atol=1e-30)
    assert report.loss == pytest.approx(float(loss.detach()), rel=1e-8)
