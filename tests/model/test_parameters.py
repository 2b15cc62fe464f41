"""Parameters by name, and the table of what a net is made of; with both engines."""

import copy
import io
import pickle
import re

import numpy as np
import pytest

import vgfast as vg

NAN = float("nan")
NAMES = ["layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias"]
kinds = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])


def make(kind=vg.MLP, rng=0):
    return kind([4, 8, 3], "tanh", init=vg.init.normal(0.5, bias_std=1.0), rng=rng)


@kinds
def test_parameters_are_live_views(kind):
    net = make(kind)
    views = net.parameters()
    assert list(views) == NAMES
    for l in (1, 2):
        assert np.shares_memory(views[f"layer{l}.weight"], net.weights[l - 1])
        assert views[f"layer{l}.weight"].shape == net.weights[l - 1].shape
        assert np.shares_memory(views[f"layer{l}.bias"], net.biases[l - 1])
    views["layer2.bias"][...] = 7
    assert net.biases[1].tolist() == [7, 7, 7]
    with pytest.raises(TypeError):
        views["layer2.bias"] = np.zeros(3)  # which would not reach the net


@kinds
def test_a_state_is_a_copy_and_comes_back(kind):
    net, other = make(kind), make(kind, rng=1)
    state = net.state_dict()
    assert list(state) == NAMES
    before = net.params.copy()
    net.params = np.zeros(net.n_params)
    net.load_state_dict(state)
    assert net.params.tobytes() == before.tobytes()
    other.load_state_dict(net.parameters())
    assert other.params.tobytes() == before.tobytes()
    state["layer1.weight"][...] = 3
    assert net.params.tobytes() == before.tobytes()
    net.load_state_dict(dict(reversed(net.parameters().items())))
    assert net.params.tobytes() == before.tobytes()


def test_a_state_is_converted():
    net = make()
    net.load_state_dict({name: value.astype(np.float64).tolist() for name, value in make(rng=1).state_dict().items()})
    assert net.params.tobytes() == make(rng=1).params.tobytes()


# What is changed in a state, the error, and its words.
BAD = {
    "no dict": (lambda s: 3, TypeError, ["a dict of arrays by name", "got 3"]),
    "missing": (lambda s: {n: s[n] for n in NAMES[1:]}, ValueError, ["misses 'layer1.weight'", "layer2.bias"]),
    "unknown": (lambda s: s | {"x": s["layer1.bias"]}, ValueError, ["has 'x', which this net has not"]),
    "not a name": (lambda s: s | {5: s["layer1.bias"]}, ValueError, ["has 5, which this net has not"]),
    "misshapen": (lambda s: s | {"layer2.bias": [1, 2]}, ValueError, ["state['layer2.bias']", "(3,)", "got (2,)"]),
    "transposed": (lambda s: s | {"layer2.weight": s["layer2.weight"].T}, ValueError, ["got (3, 8)", "its transpose"]),
    "NaN": (lambda s: s | {"layer2.bias": [1, NAN, 2]}, ValueError, ["state['layer2.bias'] has NaN in row 1"]),
    "too large": (lambda s: s | {"layer2.bias": [1, 1e300, 2]}, ValueError, ["too large for float32"]),
    "texts": (lambda s: s | {"layer2.bias": ["a"] * 3}, TypeError, ["state['layer2.bias'] must hold real numbers"]),
    "ragged": (lambda s: s | {"layer2.weight": [[1], [2, 3]]}, ValueError, ["must be a rectangular array"]),
}


@kinds
@pytest.mark.parametrize("case", BAD)
def test_a_bad_state_is_refused_and_changes_nothing(kind, case):
    change, error, words = BAD[case]
    net = make(kind)
    before = net.params.copy()
    with pytest.raises(error) as caught:
        net.load_state_dict(change(make(kind, rng=1).state_dict()))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    assert net.params.tobytes() == before.tobytes()


def test_advice_on_a_state():
    """The names, and PyTorch's weights transposed."""
    net, other = make(), make(rng=1)
    of_torch = {"0.weight": other.weights[0].T, "0.bias": other.biases[0]}
    of_torch |= {"2.weight": other.weights[1].T, "2.bias": other.biases[1]}
    with pytest.raises(ValueError, match=r"misses 'layer1.weight' and has '0.weight'.*; give exactly these"):
        net.load_state_dict(of_torch)
    state = dict(zip(net.parameters(), of_torch.values(), strict=True))
    with pytest.raises(ValueError, match="give its transpose") as caught:
        net.load_state_dict(state)
    advised = re.search(r"np\.transpose\(state\['(.*)'\]\)", str(caught.value))
    assert advised.group(1) == "layer1.weight"
    net.load_state_dict({name: np.transpose(value) for name, value in state.items()})
    assert net.params.tobytes() == other.params.tobytes()


# ---- the table -------------------------------------------------------------------------------------


@kinds
def test_summary(kind):
    net = kind([784, 300, 10], ["sigmoid"], loss="mse", dtype="float64", init="lecun_normal", rng=0)
    text = net.summary()
    lines = text.split("\n")
    assert lines[0].split() == ["layer", "weights", "parameters", "activation", "init"]
    assert lines[2].split() == ["1", "(784,", "300)", "235,500", "sigmoid", "lecun_normal"]
    assert lines[3].split() == ["2", "(300,", "10)", "3,010", "identity", "lecun_normal"]
    assert lines[4] == "238,510 parameters of float64, 1.91M bytes; loss mse"
    assert len(lines) == 5
    assert repr(text) == str(text)
    assert "loss binary_cross_entropy, which has its sigmoid" in kind([3, 1], loss="binary_cross_entropy").summary()


@kinds
def test_copies_know_how_their_first_weights_were_drawn_and_files_do_not(kind):
    net, file = kind([4, 8, 3], init="he_uniform", rng=0), io.BytesIO()
    for copied in (net.copy(), copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert copied.summary() == net.summary()
    net.save(file)
    loaded = kind.load(io.BytesIO(file.getvalue())).summary()
    assert loaded.split("\n")[2].split()[-1] == "-"
