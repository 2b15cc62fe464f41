"""A net as a module of torch: the same parameters and the same outputs, and a net of that again."""

import copy
import io
import pickle

import numpy as np
import pytest
from exported_nets import PLAIN, ROWS, WAYS, apart, make, of_all, tolerance

import vgfast as vg
from vgfast import reference
from vgfast.model import files


def outputs(torch, module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def same_state(net, other):
    mine, yours = net.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(mine[name].tobytes() == yours[name].tobytes() for name in mine)


def tensors_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items() if "num_batches" not in name}


@pytest.mark.parametrize("part", range(4))
def test_both_ways_with_every_activation_loss_and_normalization(torch, part):
    """Parameters bit by bit, outputs but for roundings, and the same description."""
    for activation, loss, norm, way, dtype in of_all()[part::4]:
        net = make(activation, loss, norm, way, dtype)
        module, x = net.to_torch(), ROWS[:200].astype(dtype)
        assert apart(outputs(torch, module, x), net.forward(x)) <= tolerance(net), (net, activation)
        again = vg.from_torch(module)
        assert same_state(net, again), net
        if way is None or way.scale != "1/sqrt(L)":  # whose name torch does not tell
            assert repr(again) == repr(net)
        assert again.loss == loss
        assert np.array_equal(again.forward(x), net.forward(x))


def test_tensors_are_named_and_hold_the_bits_of_a_model_file(torch):
    for norm in [None, *PLAIN, vg.norm.batch(), vg.norm.layer("after")]:
        net = make("tanh", norm=norm)
        wanted, found = files.named(net._architecture, net._engine.vector), tensors_of(net.to_torch())
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], array) for name, array in wanted.items())


def test_it_shares_nothing_and_draws_nothing(torch):
    net, before = make(dropout=0.3), torch.get_rng_state()
    module = net.to_torch()
    assert torch.equal(before, torch.get_rng_state())
    params = net.params.copy()
    for parameter in module.parameters():
        parameter.data.add_(1)
    assert np.array_equal(net.params, params)
    assert not module.training


def test_whatever_context_it_is_made_in(torch):
    net, x = make(norm=vg.norm.batch(), way=WAYS[-1]), ROWS[:9].astype(np.float32)
    want = outputs(torch, net.to_torch(), x)
    for around in (torch.inference_mode(), torch.no_grad(), torch.device("meta")):
        with around:
            module = net.to_torch()
        assert all(p.requires_grad and not p.is_inference() for p in module.parameters())
        assert np.array_equal(outputs(torch, module, x), want)


@pytest.mark.parametrize("norm", [None, vg.norm.batch(momentum=0.4), vg.norm.layer("after")], ids=str)
def test_it_trains_as_the_net_does(torch, norm):
    """Three steps of SGD from the same start."""
    net = make("gelu", norm=norm, way=WAYS[-1], dtype="float64")
    module, loss = net.to_torch().train(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, y = ROWS[:60], np.arange(60) % 3
    for _ in range(3):
        net.step(x, y, vg.SGD(lr=0.1))
        optimizer.zero_grad()
        loss(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    again = vg.from_torch(module.eval())
    for name, array in net.state_dict().items():
        np.testing.assert_allclose(again.state_dict()[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_dropout_is_torchs(torch):
    net = make(dropout=[0.0, 0.25, vg.dropout.alpha(0.5)])
    module = net.to_torch()
    found = [(type(part).__name__, part.p) for part in module if "Dropout" in type(part).__name__]
    assert found == [("Dropout", 0.25), ("AlphaDropout", 0.5)]
    assert vg.from_torch(module.train()).dropout == net.dropout


def test_it_is_saved_by_torch(torch):
    net = make("scaled_tanh", way=WAYS[-1])
    module, file = net.to_torch(), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for again in (torch.load(file, weights_only=False), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert same_state(vg.from_torch(again), net)
        assert again.loss == "cross_entropy"
    assert "scale is learned" in repr(module)
    assert "scale=0.3" in repr(make(way=WAYS[2]).to_torch())


def test_a_report_on_it_is_that_on_the_net(torch):
    net, y = make("scaled_tanh", norm=vg.norm.layer()), np.arange(50) % 3
    x = ROWS[:50].astype(np.float32)
    found = vg.inspect_torch(net.to_torch(), x, y, net.loss)
    assert found.records.tobytes() == net.inspect(x, y).records.tobytes()


def test_the_textbook_is_exported_too(torch):
    net = reference.MLP([5, 8, 3], "mish", dtype="float64", rng=0)
    assert apart(outputs(torch, net.to_torch(), ROWS), net.forward(ROWS)) <= 1e-13
