"""Modules of torch with normalization layers: read, judged by autograd, and refused."""

import copy

import numpy as np
import pytest
from torch_modules import check_sentence

import vgfast as vg

pytestmark = pytest.mark.usefixtures("seeded")

KINDS = ["BatchNorm1d", "LayerNorm", "RMSNorm"]
PLACES = ["before", "after"]


def data(dtype="float32", rows=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 6)).astype(dtype), rng.integers(0, 3, rows)


def block(nn, norm, place, n_in, n_out):
    """Nested, with a Dropout that drops nothing."""
    between = [norm, nn.Sigmoid()]
    return nn.Sequential(nn.Linear(n_in, n_out), *(between if place == "before" else between[::-1]), nn.Dropout(0.0))


def module_of(torch, kind, place, dtype="float32", **options):
    nn = torch.nn
    made = nn.Sequential(
        block(nn, getattr(nn, kind)(9, **options), place, 6, 9),
        block(nn, getattr(nn, kind)(7, **options), place, 9, 7),
        nn.Linear(7, 3),
    ).to(getattr(torch, dtype))
    for parameter in made.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made


def of_autograd(torch, module, X, y):
    """Norms of the gradients of the Linears' weights."""
    loss = torch.nn.CrossEntropyLoss()(module(torch.from_numpy(X)), torch.from_numpy(y))
    weights = [part.weight for part in module.modules() if isinstance(part, torch.nn.Linear)]
    return [float(found.double().norm()) for found in torch.autograd.grad(loss, weights)]


def refused(module, words, X=None):
    x, y = data()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=words[0]) as caught:
        vg.inspect_torch(module, x if X is None else X, y)
    check_sentence(str(caught.value), words)
    for name, value in before.items():
        np.testing.assert_array_equal(module.state_dict()[name].numpy(), value.numpy())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_of_autograds_gradients(torch, dtype, kind, place):
    """Relative to a net of three layers whose sums have 40 terms at most, and whose normalization divides by more than
    1 / 20 of what comes in."""
    module, (X, y) = module_of(torch, kind, place, dtype), data(dtype)
    state = copy.deepcopy(module.state_dict())
    report = vg.inspect_torch(module, X, y)
    assert all((module.state_dict()[name] == value).all() for name, value in state.items())  # running statistics too
    np.testing.assert_allclose(
        report.layers.grad_norm, of_autograd(torch, module, X, y), rtol=2000 * np.finfo(dtype).eps
    )
    ratio = report.layers.delta_norm[0] / report.layers.delta_norm[-1]
    np.testing.assert_allclose(np.prod(report.layers.gain[:-1]), ratio, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("BatchNorm1d", {"affine": False}),
        ("BatchNorm1d", {"eps": 0.1, "momentum": None}),
        ("BatchNorm1d", {"track_running_stats": False}),
        ("LayerNorm", {"bias": False}),
        ("LayerNorm", {"elementwise_affine": False}),
        ("RMSNorm", {"eps": 0.1}),
        ("RMSNorm", {"elementwise_affine": False}),
    ],
)
def test_what_a_layer_is_set_to_is_read(torch, kind, options):
    module, (X, y) = module_of(torch, kind, "before", "float64", **options), data("float64")
    report = vg.inspect_torch(module, X, y)
    np.testing.assert_allclose(report.layers.grad_norm, of_autograd(torch, module, X, y), rtol=1e-12)


def test_another_backward_is_seen(torch):
    """Of a normalization whose weight gets another gradient than it should."""
    module, (X, y) = module_of(torch, "LayerNorm", "before"), data()
    vg.inspect_torch(module, X, y)
    norm = module[0][1]
    norm.weight.register_hook(lambda gradient: 2 * gradient)
    refused(module, ["has another gradient for the weight of the LayerNorm at '0.1'"])
    module = module_of(torch, "LayerNorm", "after")
    module[1][2].register_forward_hook(lambda layer, args, made: 1.001 * made)
    refused(module, ["between the Dropout at '1.3' and the Linear at '2'"])


def test_what_vgfast_does_not_normalize_is_refused(torch):
    nn = torch.nn
    linear, last, norm = nn.Linear(6, 9), nn.Linear(9, 3), nn.LayerNorm(9)
    refused(module_of(torch, "BatchNorm1d", "before").eval(), ["BatchNorm1d at '0.1'", "module.train()"])
    refused(nn.Sequential(nn.LayerNorm(6), linear), ["LayerNorm at '0' is called before any Linear"])
    refused(nn.Sequential(linear, norm, nn.RMSNorm(9), last), ["RMSNorm at '2'", "right after the LayerNorm at '1'"])
    refused(nn.Sequential(linear, nn.Tanh(), last, nn.LayerNorm(3)), ["'3' comes after the last Linear"])
    refused(nn.Sequential(linear, norm, nn.Linear(9, 9), norm, last), ["is run twice", "no parameters"])
    refused(nn.Sequential(linear, norm, nn.Linear(9, 9), nn.Tanh(), last), ["hidden layer 2 has no normalization"])
    refused(nn.Sequential(linear, nn.Tanh(), nn.Linear(9, 9), norm, last), ["hidden layer 1 has no normalization"])
    refused(nn.Sequential(linear, norm, nn.Linear(9, 9), nn.RMSNorm(9), last), ["RMSNorm at '3'", "make them equal"])
    refused(nn.Sequential(linear, nn.LayerNorm(9, eps=0.0), last), ["has an eps of 0"])
    refused(nn.Sequential(linear, nn.RMSNorm(9, dtype=torch.float64), last), ["torch.float32 and torch.float64"])
    norm.weight.data[0] = np.nan
    refused(nn.Sequential(linear, norm, last), ["weight of the LayerNorm at '1' holds NaN"])
