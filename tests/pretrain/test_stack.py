"""Stacks of layers, and the nets that they become."""

import copy
import pickle

import numpy as np
import pytest

import vgfast as vg
from vgfast.pretrain import DeepBeliefNet, StackedAutoencoder

SIZES = [12, 9, 7, 5]
X = np.random.default_rng(8).random((60, 12))
KINDS = [DeepBeliefNet, StackedAutoencoder]


def fitted(kind, **settings):
    return kind(SIZES, **{"n_iter": 5, "learning_rate": 0.5, "dtype": "float64", "rng": 0, **settings}).fit(X)


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_learns_what_the_one_below_makes(kind):
    stack = fitted(kind)
    x, again = X, kind(SIZES, n_iter=5, learning_rate=0.5, dtype="float64", rng=0)
    for layer, one in zip(stack.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.fit(x).weights, layer.weights)
        x = one.transform(x)
    np.testing.assert_array_equal(stack.transform(X), x)
    np.testing.assert_array_equal(kind(SIZES, n_iter=5, learning_rate=0.5, dtype="float64", rng=0).fit_transform(X), x)


@pytest.mark.parametrize("kind", KINDS)
def test_sigmoid_and_tanh_compute_the_same(kind, rng):
    """By weights and biases of which none is small."""
    stack = fitted(kind)
    for layer in stack.layers:
        layer.weights[...] = rng.normal(0, 2, layer.weights.shape)
        layer.intercept_hidden_[...] = rng.normal(size=layer.intercept_hidden_.shape)
    nets = {activation: stack.to_mlp(3, activation, rng=1) for activation in ("sigmoid", "tanh")}
    assert all(set(net.activations) == {name} for name, net in nets.items())
    plain, of_tanh = nets.values()
    outputs = stack.transform(X) @ plain.weights[-1] + plain.biases[-1]
    assert np.ptp(outputs, axis=0).min() > 0.1
    np.testing.assert_allclose(plain.forward(X), outputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of_tanh.forward(X), outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_the_autoencoder_of_a_stack_reconstructs_as_its_machines_do(visible):
    x = X if visible == "binary" else (X - X.mean(axis=0)) / X.std(axis=0)
    stack = DeepBeliefNet(SIZES, visible=visible, n_iter=5, learning_rate=0.01, dtype="float64", rng=0).fit(x)
    net, expected = stack.to_autoencoder(), stack.transform(x)
    for layer in reversed(stack.layers):
        expected = expected @ layer.components_ + layer.intercept_visible_
        expected = expected if visible == "gaussian" and layer is stack.layers[0] else 1 / (1 + np.exp(-expected))
    z = net.forward(x)
    np.testing.assert_allclose(z if visible == "gaussian" else 1 / (1 + np.exp(-z)), expected, rtol=0, atol=1e-12)
    assert net.sizes == (12, 9, 7, 5, 7, 9, 12)
    before = net.evaluate(x, x).loss
    net.fit(x, x, 20, 20, vg.SGD(0.1))
    assert net.evaluate(x, x).loss < before


@pytest.mark.parametrize("kind", KINDS)
def test_the_net_is_its_own(kind):
    """Training it changes no layer, and the other way round."""
    stack = fitted(kind)
    before = [layer.weights.copy() for layer in stack.layers]
    net = stack.to_mlp(3)
    net.fit(X, np.arange(60) % 3, 2)
    for layer, weights in zip(stack.layers, before, strict=True):
        np.testing.assert_array_equal(layer.weights, weights)
    for other in (copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))):
        np.testing.assert_array_equal(other.transform(X), stack.transform(X))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input(kind):
    new, stack = kind(SIZES, rng=0), fitted(kind)
    for name, arguments in (("to_mlp", (3,)), ("transform", (X,))):
        with pytest.raises(RuntimeError, match=rf"^{name} needs trained layers, .* call fit first$"):
            getattr(new, name)(*arguments)
    with pytest.raises(ValueError, match="12"):
        new.fit(X[:, 1:])
    with pytest.raises(ValueError, match="12"):
        stack.transform(X[:, 1:])
    with pytest.raises(ValueError, match="n_out must be from 1"):
        stack.to_mlp(0)
    with pytest.raises(ValueError, match=r"there is sigmoid, tanh$"):
        stack.to_mlp(3, "relu")
    with pytest.raises(ValueError, match="sizes"):
        kind([12])
    with pytest.raises(ValueError, match="X must be from 0 to 1"):
        new.fit(X + 1)
    with pytest.raises(ValueError, match="learning_rate"):
        kind(SIZES, learning_rate=-1)


def test_to_autoencoder_before_fit():
    with pytest.raises(RuntimeError, match=r"^to_autoencoder needs trained layers, .* call fit first$"):
        DeepBeliefNet(SIZES).to_autoencoder()


def test_a_layer_that_diverges_is_named():
    """And the stack is not taken for trained."""
    stack = fitted(DeepBeliefNet)
    stack.layers[1].learning_rate = stack.layers[1].weight_decay = 1000.0
    with pytest.raises(vg.DivergenceError, match="values in layer 2 have left") as error:
        stack.fit(X)
    assert error.value.layer == 2
    with pytest.raises(RuntimeError, match="call fit first"):
        stack.to_mlp(3)


DEEP = [64] + [30] * 8
TRAINED = {
    DeepBeliefNet: {
        "learning_rate": 0.05,
        "batch_size": 20,
        "n_iter": 20,
        "momentum": (0.5, 0.9),
        "weight_decay": 1e-4,
    },
    # of more masking, the loss of fine-tuning at 0.3 has rare peaks, in which its last epoch may be
    StackedAutoencoder: {"masking": 0.1},
}


@pytest.fixture(scope="module")
def halves(digits):
    """Of five seeds: X and y to train by, X and y to test by."""
    from sklearn.model_selection import train_test_split

    return [train_test_split(*digits, test_size=0.3, random_state=seed, stratify=digits[1]) for seed in range(5)]


def accuracies(halves, make):
    """{learning rate: mean accuracy} after 100 epochs of fine-tuning; make(seed, X) returns nets without end."""
    found = {0.05: [], 0.3: []}
    for seed, (x, x_test, y, y_test) in enumerate(halves):
        for lr, net in zip(found, make(seed, x), strict=False):
            net.fit(x, y, 100, 32, vg.SGD(lr))
            found[lr].append(net.evaluate(x_test, y_test).accuracy)
    return {lr: np.mean(each) for lr, each in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pre_training_pays(halves, kind):
    """To a net of eight layers of sigmoids, which from random weights learns nothing."""

    def trained(seed, x):
        stack = kind(DEEP, rng=seed, **TRAINED[kind]).fit(x)
        while True:
            yield stack.to_mlp(10)

    found = accuracies(halves, trained)
    assert found[0.05] >= 0.92
    assert found[0.3] >= 0.955


@pytest.mark.slow
def test_without_pre_training_nothing_is_learned(halves):
    def random(seed, x):
        while True:
            yield vg.MLP([*DEEP, 10], "sigmoid", init=vg.init.lecun_normal(), rng=seed)

    assert max(accuracies(halves, random).values()) <= 0.15
