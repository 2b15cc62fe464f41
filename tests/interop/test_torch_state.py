"""What meets ``inspect_torch`` beside layers: the loss, the state of the module, and what is around the call."""

import copy
from collections import Counter, deque

import numpy as np
import pytest
from torch_modules import NONE, X, Y, norms, refused

import vgfast as vg

pytestmark = pytest.mark.usefixtures("seeded")


# ---- losses ----------------------------------------------------------------------------------------------------


def test_losses_that_would_broadcast_are_refused(torch, Net):
    column, squeezed = Net(n_out=1), Net(lambda net, x: net.b(net.act(net.a(x)))[:, 0], n_out=1)
    y = np.random.default_rng(1).random(20).astype(np.float32)
    for kind, does in (("MSELoss", "broadcasts to (20, 20)"), ("BCEWithLogitsLoss", "refuses")):
        loss = getattr(torch.nn, kind)()
        for given, mended, made in (
            (y, y.reshape(-1, 1), "use y.reshape(-1, 1)"),
            (torch.from_numpy(y), torch.from_numpy(y).reshape(-1, 1), "use y.reshape(-1, 1)"),
            (y.tolist(), np.reshape(y.tolist(), (-1, 1)), "use np.reshape(y, (-1, 1))"),
        ):
            refused([kind, "shape (20, 1) and y of shape (20,)", does, made], module=column, y=given, loss=loss)
            report = vg.inspect_torch(column, X, mended, loss=loss)
            want = norms(torch, column, loss, y=y.reshape(-1, 1))
            np.testing.assert_allclose(report.layers.grad_norm, want, rtol=1e-4)
        refused([kind, "of shape (20,) and y of shape (20, 1)", does], module=squeezed, y=y[:, None], loss=loss)
        report = vg.inspect_torch(squeezed, X, y[:, None].reshape((-1,)), loss=loss)
        np.testing.assert_allclose(report.layers.grad_norm, norms(torch, squeezed, loss, y=y), rtol=1e-4)
    for module in (column, squeezed):  # by its name, a loss is vgfast's
        assert vg.inspect_torch(module, X, y, "mse").loss == vg.inspect_torch(module, X, y[:, None], "mse").loss
    with pytest.warns(UserWarning, match="target size"):  # torch's, of a batch of one, where it makes no difference
        one = vg.inspect_torch(column, X[:1], y[:1], torch.nn.MSELoss())
    assert one.loss == vg.inspect_torch(column, X[:1], y[:1], "mse").loss


def test_losses_that_torch_computes_otherwise_are_refused(torch, Net):
    nn = torch.nn
    probabilities = np.full((20, 3), 1 / 3, np.float32)
    with_ending = nn.Sequential(Net(), nn.LogSoftmax(1))
    words = ["NLLLoss fails on this batch", "loss='cross_entropy'"]
    refused(words, module=with_ending, y=probabilities, loss=nn.NLLLoss())
    vg.inspect_torch(with_ending, X, probabilities, loss="cross_entropy")
    loss = nn.CrossEntropyLoss()
    handle = loss.register_forward_hook(lambda m, x, value: 2 * value)
    refused(["the loss computes", "a hook on the loss"], module=Net(), loss=loss)
    handle.remove()
    vg.inspect_torch(Net(), X, Y, loss=loss)
    loss.register_forward_hook(lambda m, x, value: value.detach())
    refused([NONE + "'b'"], module=Net(), loss=loss)
    for labels in (torch.from_numpy(Y).int(), torch.from_numpy(Y).to(torch.uint8)):
        vg.inspect_torch(Net(), X, labels, loss=nn.CrossEntropyLoss())


# ---- the module, and what is around it -----------------------------------------------------------------------


def state(torch, module):
    """Everything that may change in a module, as it is now."""
    known = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            known[path, name] = list(value.items()) if isinstance(value, dict) else copy.copy(value)
    tensors = [*module.parameters(), *module.buffers()]
    values = [(t, t.data_ptr(), t.detach().clone(), t.requires_grad, t.grad) for t in tensors]
    gradients = [None if t.grad is None else t.grad.clone() for t in tensors]
    return known, values, gradients, torch.get_rng_state()


def check_same(torch, before, after):
    (known, values, gradients, random), (known_2, values_2, gradients_2, random_2) = before, after
    assert known.keys() == known_2.keys()
    for key, value in known.items():
        if not isinstance(value, torch.Tensor):
            assert repr(value) == repr(known_2[key]), key
    for old, new in zip(values, values_2, strict=True):
        assert old[0] is new[0]
        assert old[1] == new[1]
        assert torch.equal(old[2], new[2])
        assert old[3:] == new[3:]
    for old, new in zip(gradients, gradients_2, strict=True):
        assert old is new is None or torch.equal(old, new)
    assert torch.equal(random, random_2)


def changing(torch, net, x):
    """A forward that changes whatever it can reach."""
    net.counted += 1
    net.counter += 1
    net.seen.append(x)
    net.cache["last"] = x
    net.within["sums"].append(x.sum())
    net.within["sums"][0].add_(1)
    net.times["calls"] += 1
    net.last.append(x)
    net.array += 1
    net.new = net.attribute = x
    net.attribute_2.add_(1)
    net.kept = net.kept + 1
    net.a.weight.data.clamp_(-0.1, 0.1)
    net.train(not net.training)
    torch.rand(5) if net.draws else None
    net.register_forward_hook(lambda m, x, z: None)
    made = net.b(net.act(net.a(x)))
    made.sum().backward(retain_graph=True)  # into .grad
    return made[: 0 if net.fails else None]


@pytest.mark.parametrize("case", ["works", "draws", "fails"])
def test_nothing_changes_in_a_module_that_changes_itself(torch, Net, case):
    module = Net(lambda net, x: changing(torch, net, x))
    module.register_buffer("counted", torch.zeros((), dtype=torch.int64))
    module.register_buffer("kept", torch.ones(3))
    module.counter, module.seen, module.cache, module.attribute = 0, [], {}, None
    module.attribute_2 = torch.zeros(2)
    module.within, module.times, module.last = {"sums": [torch.zeros(1)]}, Counter(calls=3), deque(maxlen=2)
    module.array = np.zeros(2)
    module.draws, module.fails = case == "draws", case == "fails"
    module.b.bias.grad = torch.ones(3)
    module.b.weight.requires_grad_(False)
    before = state(torch, module)
    if case == "works":
        vg.inspect_torch(module, X, Y)
    else:
        refused(["draws random" if case == "draws" else "after the Linear at 'b'"], module=module)
    check_same(torch, before, state(torch, module))
    assert module.seen == []
    assert module.cache == {}
    assert module.attribute_2.sum() == 0
    assert module.within == {"sums": [0]}
    assert (module.times, module.last, module.array.tolist()) == (Counter(calls=3), deque(), [0, 0])


def test_nothing_changes_in_a_module_whose_weights_are_computed(torch):
    norm = torch.nn.utils.parametrizations.spectral_norm
    module = torch.nn.Sequential(norm(torch.nn.Linear(4, 3)))
    before = [b.clone() for b in module.buffers()]
    refused(["the ParametrizedLinear at '0' has no weight of its own"], module=module)
    assert all(map(torch.equal, before, module.buffers()))
    torch.nn.utils.parametrize.remove_parametrizations(module[0], "weight")
    vg.inspect_torch(module, X, Y)
    module[0].__dict__["weight"] = module[0].weight * 2  # which hides the parameter
    refused(["the Linear at '0' has no weight of its own"], module=module)


def test_a_backward_that_was_pending_still_works(torch, Net):
    module = Net()
    module.kept = module(torch.from_numpy(X))  # which has a graph, so that a deepcopy fails
    loss = module.kept.square().mean()
    report = vg.inspect_torch(module, X, Y)
    loss.backward()
    assert module.a.weight.grad is not None
    module.zero_grad()
    assert vg.inspect_torch(module, X, Y).records.tobytes() == report.records.tobytes()


def test_contexts_around_the_call_change_nothing(torch, Net):
    def run(net, x):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        return net.b(net.act(net.a(x)))

    module, x, y = Net(run), torch.from_numpy(X), torch.from_numpy(Y)
    want = vg.inspect_torch(module, X, Y).records
    for around in (
        torch.no_grad(),
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16),
        torch.device("meta"),
        torch.autograd.set_detect_anomaly(True),
    ):
        with around:
            got = vg.inspect_torch(module, x.clone().detach() if around.__class__ is not torch.device else x, y)
        assert got.records.tobytes() == want.tobytes(), around
    torch.set_default_dtype(torch.float64)
    try:
        assert vg.inspect_torch(module, x.requires_grad_(), y).records.tobytes() == want.tobytes()
    finally:
        torch.set_default_dtype(torch.float32)


def test_modules_that_do_not_run_layer_by_layer_are_refused(torch):
    """And what the sentence says to inspect can be inspected."""
    nn = torch.nn

    def plain():
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

    compiled = torch.compile(plain(), backend="eager")
    refused(["OptimizedModule is compiled", "inspect its ._orig_mod"], module=compiled)
    vg.inspect_torch(compiled._orig_mod, X, Y)
    in_place = plain()
    in_place[0].compile(backend="eager")
    refused(["Linear at '0' is compiled", "copy.deepcopy(module)"], module=in_place)
    vg.inspect_torch(copy.deepcopy(in_place), X, Y)
    parallel = nn.DataParallel(plain())
    refused(["DataParallel runs copies", "its .module"], module=parallel)
    vg.inspect_torch(parallel.module, X, Y)
    with torch.inference_mode():
        made = plain()
    refused(["the parameter '0.weight' was made in inference mode", "copy.deepcopy(module)"], module=made)
    vg.inspect_torch(copy.deepcopy(made), X, Y)
    lazy = nn.Sequential(nn.LazyLinear(3))
    refused(["LazyLinear at '0' is lazy", "module(X)"], module=lazy)
    lazy(torch.from_numpy(X))
    vg.inspect_torch(lazy, X, Y)
    refused(["float32", "complex64"], module=nn.Linear(4, 3, dtype=torch.complex64))
    refused(["ModuleList fails on X"], module=nn.ModuleList(plain()))
