"""Modules of torch as nets of vgfast: what is read, what of the loss, and what is refused with which words."""

import numpy as np
import pytest
from torch_modules import check_sentence

import vgfast as vg

pytestmark = pytest.mark.usefixtures("seeded")

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def layers(nn):
    """4-5-5-3."""
    return [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)]


def outputs(torch, module, x=X):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(x)).numpy()


# ---- what is read ------------------------------------------------------------------------------------------------


def test_ways_to_write_the_same_net(torch, nn):
    a, b, c, d, e = made = layers(nn)
    plain = nn.Sequential(*made)
    for module in (
        plain,
        nn.Sequential(nn.Sequential(a, b), nn.Sequential(nn.Sequential(c), d, e)),
        nn.Sequential(nn.Flatten(), a, nn.Identity(), b, nn.Dropout(0.0), c, d, nn.AlphaDropout(0.0), e, nn.Identity()),
    ):
        net = vg.from_torch(module)
        assert (net.sizes, net.activations, net.dropout) == ((4, 5, 5, 3), ("tanh", "relu"), (0.0, 0.0))
        assert all(np.array_equal(W.T, part.weight.detach()) for W, part in zip(net.weights, (a, c, e), strict=True))
        assert all(np.array_equal(w, part.bias.detach()) for w, part in zip(net.biases, (a, c, e), strict=True))
        assert np.abs(net.forward(X) - outputs(torch, plain)).max() < 1e-6
    assert vg.from_torch(nn.Linear(4, 3)).sizes == (4, 3)


def test_it_can_be_trained_and_shares_nothing(nn):
    module = nn.Sequential(*layers(nn))
    before = module[0].weight.detach().clone()
    net, same = vg.from_torch(module, rng=3), vg.from_torch(module, rng=3)
    for one in (net, same):
        one.fit(X, np.arange(40) % 3, 2)
    assert np.array_equal(net.params, same.params)
    assert (module[0].weight == before).all()


def test_batch_norm_takes_the_bias_before_it_into_its_running_mean(torch, nn):
    for between in ([nn.BatchNorm1d(5), nn.ReLU()], [nn.ReLU(), nn.BatchNorm1d(5)]):
        module = nn.Sequential(nn.Linear(4, 5), *between, nn.Linear(5, 3)).double()
        module[0].bias.data.add_(1)
        module.train()(torch.from_numpy(3 * X.astype(float)))
        net = vg.from_torch(module)
        assert np.abs(net.forward(X) - outputs(torch, module, X.astype(float))).max() < 1e-12
        assert net.biases[0].size == (0 if isinstance(between[0], nn.BatchNorm1d) else 5)


def test_parts_that_are_missing_are_those_that_change_nothing(torch, nn):
    module = nn.Sequential(
        nn.Linear(4, 5, bias=False), nn.LayerNorm(5, bias=False), nn.ELU(0.5), nn.Linear(5, 3, bias=False)
    )
    net = vg.from_torch(module)
    assert np.abs(net.forward(X) - outputs(torch, module)).max() < 1e-6
    assert not net.biases[0].any()


def test_the_loss(torch, nn):
    plain, none = layers(nn), "cross_entropy"
    for more, given, loss in (
        ([], None, none),
        ([], "mse", "mse"),
        ([nn.Softmax(1)], None, none),
        ([nn.Softmax(-1)], none, none),
        ([nn.LogSoftmax(dim=1)], None, none),
        ([nn.Sigmoid()], None, "binary_cross_entropy"),
    ):
        module = nn.Sequential(*plain, *more)
        net = vg.from_torch(module, given)
        assert net.loss == loss
        if more and not isinstance(more[0], nn.LogSoftmax):
            assert np.abs(net.predict_proba(X) - outputs(torch, module)).max() < 1e-6
    noted = vg.MLP([4, 3], loss="mse", rng=0).to_torch()
    assert vg.from_torch(noted).loss == "mse"
    assert vg.from_torch(noted, "binary_cross_entropy").loss == "binary_cross_entropy"
    noted.loss = torch.nn.MSELoss()  # which is a module of the user's own
    with pytest.raises(ValueError, match="module's MSELoss at 'loss'"):
        vg.from_torch(noted)


# ---- what is refused ---------------------------------------------------------------------------------------------


def residual(nn, f, scale=1.0):
    from vgfast.export.torch_modules import Residual

    return Residual(nn.Sequential(*f), scale)


def block(nn, scale=1.0):
    return residual(nn, [nn.Linear(5, 5), nn.Tanh()], scale)


def nan(nn):
    made = layers(nn)
    made[2].bias.data[1] = np.nan
    return made


def own_forward(nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x):
            return self.a(x)

    return Net()


def replaced(nn):
    made = nn.Tanh()
    made.forward = lambda x: x
    return made


def shared(nn):
    twice = nn.Linear(4, 4)
    return [twice, nn.Tanh(), twice, nn.Linear(4, 3)]


# A module, or the layers of a Sequential; words.
REFUSED = {
    "unknown": (lambda nn: [*layers(nn)[:3], nn.CELU(), nn.Linear(5, 3)], ["CELU at '3'", "it knows Linear, Sigmoid"]),
    "nested": (lambda nn: [nn.Sequential(nn.Conv2d(1, 2, 3))], ["Conv2d at '0.0'"]),
    "own forward": (lambda nn: [own_forward(nn)], ["Net at '0' has a forward of its own", "torch.nn.Sequential"]),
    "its own": (own_forward, ["the Net has a forward of its own"]),
    "replaced": (lambda nn: [nn.Linear(4, 5), replaced(nn), nn.Linear(5, 3)], ["Tanh at '1'"]),
    "ModuleList": (lambda nn: nn.ModuleList(layers(nn)), ["ModuleList has a forward"]),
    "empty": (lambda nn: [], ["no Linear layer"]),
    "norm first": (lambda nn: [nn.BatchNorm1d(4), *layers(nn)], ["BatchNorm1d at '0' is called before any Linear"]),
    "two": (lambda nn: [*layers(nn)[:4], nn.Tanh(), nn.Linear(5, 3)], ["Tanh at '4'", "right after the ReLU at '3'"]),
    "hidden softmax": (
        lambda nn: [nn.Linear(4, 5), nn.Softmax(1), nn.Linear(5, 3)],
        ["Softmax at '1' before the last"],
    ),
    "end": (lambda nn: [*layers(nn), nn.Tanh()], ["ends in a Tanh at '5'", "module[:-1]"]),
    "dim": (lambda nn: [*layers(nn), nn.Softmax(0)], ["Softmax at '5' is over dimension 0", "dim=1"]),
    "last norm": (lambda nn: [*layers(nn), nn.LayerNorm(3)], ["LayerNorm at '5' comes after the last Linear"]),
    "inputs": (lambda nn: [nn.Dropout(0.2), *layers(nn)], ["Dropout at '0' drops inputs", "move or remove it"]),
    "outputs": (lambda nn: [*layers(nn), nn.Dropout(0.2)], ["Dropout at '5' comes after the last Linear"]),
    "early": (
        lambda nn: [nn.Linear(4, 5), nn.Dropout(0.2), nn.Tanh(), nn.Linear(5, 3)],
        ["Tanh at '2' comes after the Dropout at '1'", "right before the next Linear"],
    ),
    "twice": (
        lambda nn: [nn.Linear(4, 5), nn.Dropout(0.2), nn.Dropout(0.2), nn.Linear(5, 3)],
        ["Dropout at '2' comes after the Dropout at '1'"],
    ),
    "all": (lambda nn: [nn.Linear(4, 5), nn.Dropout(1.0), nn.Linear(5, 3)], ["drops all outputs", "below 1"]),
    "flatten": (lambda nn: [nn.Flatten(0), *layers(nn)], ["Flatten at '0' must join all dimensions"]),
    "slope": (lambda nn: [nn.Linear(4, 5), nn.LeakyReLU(-1), nn.Linear(5, 3)], ["'1'", "at least 0"]),
    "widths": (lambda nn: [nn.Linear(4, 5), nn.Linear(6, 3)], ["'1' takes 6 inputs", "at '0', has 5; make them equal"]),
    "norm width": (
        lambda nn: [nn.Linear(4, 5), nn.LayerNorm(6), nn.Linear(5, 3)],
        ["LayerNorm at '1' is of shape (6,)", "the 5 outputs of the Linear at '0'"],
    ),
    "NaN": (nan, ["bias of the Linear at '2' holds NaN"]),
    "half": (lambda nn: nn.Linear(4, 3).half(), ["torch.float16", "copy.deepcopy(module).float()"]),
    "mixed": (lambda nn: [nn.Linear(4, 3), nn.Linear(3, 3).double()], ["torch.float32 and torch.float64"]),
    "shared": (shared, ["the Linear at '2' is run twice"]),
    "lazy": (lambda nn: [nn.LazyLinear(3)], ["LazyLinear at '0' is lazy"]),
    "computed": (
        lambda nn: [nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))],
        ["Linear at '0'", "no weight of"],
    ),
    "no statistics": (
        lambda nn: [nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)],
        ["BatchNorm1d at '1' keeps no running statistics", "track_running_stats=True"],
    ),
    "momentum": (
        lambda nn: [nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 3)],
        ["momentum=None", "set its momentum to 0.1"],
    ),
    "momenta": (
        lambda nn: [
            nn.Linear(4, 5),
            nn.BatchNorm1d(5),
            nn.Linear(5, 5),
            nn.BatchNorm1d(5, momentum=0.3),
            nn.Linear(5, 3),
        ],
        ["BatchNorm1d at '3' has a momentum of 0.3", "make them equal"],
    ),
    "norms": (
        lambda nn: [nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 5), nn.RMSNorm(5), nn.Linear(5, 3)],
        ["RMSNorm at '3'", "LayerNorm at '1'"],
    ),
    "first way": (
        lambda nn: [residual(nn, [nn.Linear(4, 4), nn.Tanh()]), nn.Linear(4, 3)],
        ["Residual at '0' leads ar"],
    ),
    "last way": (
        lambda nn: [nn.Linear(4, 5), block(nn)],
        ["Residual at '1' leads around the Linear layers 2 to 2 of 2"],
    ),
    "gap": (
        lambda nn: [nn.Linear(4, 5), block(nn), nn.Linear(5, 5), nn.Linear(5, 3)],
        ["Residual at '1'", "all of these"],
    ),
    "scales": (
        lambda nn: [nn.Linear(4, 5), block(nn), block(nn, 0.5), nn.Linear(5, 3)],
        ["Residual at '2' has another scale than the Residual at '1'"],
    ),
    "begins": (
        lambda nn: [nn.Linear(4, 5), residual(nn, [nn.Tanh(), nn.Linear(5, 5)]), nn.Linear(5, 3)],
        ["Tanh at '1.f.0' is the first in the Residual at '1'"],
    ),
    "behind": (
        lambda nn: [nn.Linear(4, 5), block(nn), nn.ReLU(), nn.Linear(5, 3)],
        ["ReLU at '2' comes after the Residual at '1'"],
    ),
    "within": (
        lambda nn: [nn.Linear(4, 5), residual(nn, [nn.Linear(5, 5), block(nn)]), nn.Linear(5, 3)],
        ["Residual at '1.f.1' lies within the Residual at '1'"],
    ),
    "without": (
        lambda nn: [nn.Linear(4, 5), residual(nn, []), nn.Linear(5, 3)],
        ["Residual at '1' has no Linear layer"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_modules_that_are_refused(nn, case):
    make, words = REFUSED[case]
    made = make(nn)
    with pytest.raises(ValueError, match="the ") as caught:
        vg.from_torch(nn.Sequential(*made) if isinstance(made, list) else made)
    check_sentence(str(caught.value).partition(" it knows ")[0], words[:1])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_losses_that_are_refused(nn):
    module = nn.Sequential(*layers(nn), nn.Sigmoid())
    with pytest.raises(ValueError, match=r"ends in a Sigmoid at '5', .*='binary_cross_entropy', got loss='mse'; leave"):
        vg.from_torch(module, "mse")
    vg.from_torch(module)
    vg.from_torch(module[:-1], "mse")
    with pytest.raises(ValueError, match="did you mean 'cross_entropy'"):
        vg.from_torch(module[:-1], "crossentropy")
    with pytest.raises(ValueError, match="cross_entropy needs at least two outputs"):
        vg.from_torch(nn.Linear(4, 1))


def test_what_is_no_module(nn):
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Sequential, got list"):
        vg.from_torch(layers(nn))
    with pytest.raises(TypeError, match="on the device 'meta'"):
        vg.from_torch(nn.Linear(4, 3, device="meta"))
