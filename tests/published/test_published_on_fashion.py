"""What is reproduced with the files of Fashion-MNIST, here on files that the test draws: it holds, and not with other
input; other files are refused."""

import io

import numpy as np
import pytest
from idx_files import idx_file, images_of_ten_kinds

import vgfast as vg
from vgfast import datasets, published
from vgfast.published import batch_norm, fashion_mlp, files, rezero

EACH = {"train": 60, "test": 20}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Files of 600 and 200 images are whole here."""
    monkeypatch.setattr(files, "EACH", EACH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return images_of_ten_kinds(tmp_path_factory.mktemp("fashion"), np.random.default_rng(5), EACH, flipped=0.35)


def fits(rows):
    """Whether a table of these, none of which holds, has no broken lines."""
    console = pytest.importorskip("rich.console").Console(width=80, file=io.StringIO())
    published.end({"rows": [row._asdict() | {"holds": False} for row in rows], "seconds": 1.0}, console)
    lines = [line for line in console.file.getvalue().splitlines() if "DOES NOT HOLD" in line]
    return all(any(row.what in line and row.ours in line for line in lines) for row in rows)


# ---- files ------------------------------------------------------------------------------------------------


def test_whole_files(folder):
    for read, name in ((files.fashion_mnist, "Fashion-MNIST"), (files.mnist, "MNIST")):
        train, test = read(folder)
        assert (train.X.shape, test.X.shape) == ((600, 784), (200, 784))
        assert (train.name, test.name) == (f"{name}, train", f"{name}, test")


@pytest.mark.parametrize("read", [files.fashion_mnist, files.mnist])
def test_files_of_other_sizes(read, tmp_path):
    folder = images_of_ten_kinds(tmp_path, np.random.default_rng(0), EACH | {"test": 21})
    with pytest.raises(
        ValueError, match=r"the test images in .* must be .*MNIST's 200 of 28 x 28, got 210 of 28 x 28, "
    ):
        read(folder)
    images_of_ten_kinds(folder, np.random.default_rng(0), EACH, side=8)
    with pytest.raises(
        ValueError, match=r"the training images .* must be .*MNIST's 600 of 28 x 28, got 600 of 8 x 8, "
    ):
        read(folder)


def test_mnists_files_are_not_fashion_mnists(tmp_path):
    """They have the same names and sizes, but not as many images of each class."""
    folder = images_of_ten_kinds(tmp_path, np.random.default_rng(0), EACH)
    labels = np.repeat(np.arange(10), 60)
    labels[0] = 1
    idx_file(folder / "train-labels-idx1-ubyte", labels)
    with pytest.raises(ValueError, match=r"the training labels in .*, 60 of each class, got 59 to 61; put Fashion-"):
        files.fashion_mnist(folder)
    assert len(files.mnist(folder).train.X) == 600


# ---- batch normalization ------------------------------------------------------------------------------------

SHORT = batch_norm.Settings(lr=0.3, epochs=30, std=0.3, hidden=(30, 30, 30))


@pytest.mark.parametrize(("normalization", "holds"), [("batch", True), ("layer", False)])
def test_batch_normalization_learns_faster(normalization, holds, folder):
    """And layer normalization before the sigmoid does not."""
    told = []
    found = batch_norm.measure(False, None, folder, told.append, SHORT, normalization)
    assert [row.holds for row in batch_norm.rows(found)] == [None, None, holds, True]
    assert len(told) == 60


def test_when_one_net_fails_the_others_end(folder):
    """Soon, as at Ctrl-C too, and not after the thousands of epochs that they were to have."""
    long = SHORT._replace(epochs=20_000)
    told = []

    def fail(text):
        told.append(text)
        if text.startswith("plain, epoch 3"):
            raise KeyboardInterrupt

    with vg.threads(2), pytest.raises(KeyboardInterrupt):
        batch_norm.measure(False, None, folder, fail, long)
    assert len(told) < 5000


def test_of_batch_norm_quick_is_another_experiment(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(batch_norm, "accuracies", lambda *given: seen.append(given) or [50.0])
    for quick in (False, True):
        published.run("batch-norm", quick, fashion=folder)
    plain, normalized, *_ = seen
    assert (plain[1], normalized[1]) == (None, "batch")
    assert set(np.unique(plain[2].train.X)) == {0, 1}
    assert [given[3].epochs * given[3].lr for given in seen] == [0.5] * 4
    assert [given[3].epochs for given in seen] == [50, 50, 5, 5]


@pytest.mark.parametrize(
    ("normalized", "holds", "ours"),
    [
        ([50, 70, 72, 71, 74], [False, True], "2,000 of 5,000"),
        ([70, 70, 72, 71, 69], [True, False], "1,000 of 5,000"),
        ([50, 60, 62, 61, 63], [False, False], "never"),
    ],
)
def test_the_first_time_that_the_plain_nets_last_is_reached(normalized, holds, ours):
    found = {"data": "MNIST", "steps": 1000, "lr": 0.01, "plain": [10, 20, 40, 80, 70], "batch norm": normalized}
    rows = batch_norm.rows(found)
    assert [row.holds for row in rows] == [None, None, *holds]
    assert rows[2].ours == ours
    assert not any("MNIST" in row.published for row in rows)
    rows = batch_norm.rows(found | {"data": "Fashion-MNIST", "steps": 10_000})
    assert all(row.published.endswith("on MNIST") for row in rows)
    assert fits(rows)


def test_pixels_become_binary():
    X = np.array([[0, 127, 128, 255]], np.float32) / np.float32(255)
    np.testing.assert_array_equal(batch_norm.binary(X), [[0, 0, 1, 1]])


# ---- ReZero -------------------------------------------------------------------------------------------------


def test_rezero_learns_at_once():
    """Of the digits, and not with a scale that is 1 from the start."""
    pytest.importorskip("sklearn")
    found = rezero.measure(quick=True)
    assert [row.holds for row in rezero.rows(found)] == [None] * 4 + [True]
    assert found["width"] == 64
    other = found | {"losses": found["losses"] | {"ReZero": rezero_of_scale(1.0)}}
    assert rezero.rows(other)[-1].holds is False


def rezero_of_scale(scale):
    data = datasets.digits()
    net = rezero.network("ReZero", 64, 64, scale, 0)
    return rezero.losses(net, 2 * data.X - 1, data.y, rezero.QUICK, lambda epoch, loss: None)


def test_rezeros_files(folder, monkeypatch):
    """Pixels are from -1 to 1, and with quick there are no more rows than were said."""
    seen, told = [], []
    monkeypatch.setattr(rezero, "QUICK", rezero.QUICK._replace(rows=300))
    monkeypatch.setattr(rezero, "DEPTH", 2)
    monkeypatch.setattr(
        rezero, "losses", lambda net, X, y, settings, tell: seen.append((X, y)) or tell(1, 2.0) or [2.0]
    )
    found = published.run("rezero", True, None, told.append, fashion=folder)["found"]
    assert {(X.shape, len(y), X.min(), X.max()) for X, y in seen} == {((300, 784), 300, -1, 1)}
    assert told == [f"{kind}, epoch 1: loss 2" for kind in rezero.LOSSES]
    assert found["data"] == "Fashion-MNIST, train"


def test_rezeros_four_nets():
    """Weights of the variances that were published, and each net what its name says."""
    nets = {kind: rezero.network(kind, 50, 200, "rezero", 3) for kind in rezero.LOSSES}
    for kind, net in nets.items():
        assert net.sizes == (50, *[200] * 65, 10)
        variances = [weights.var() * len(weights) for weights in net.weights]
        of_hidden = 0.25 if kind == "residual" else 2
        np.testing.assert_allclose(variances[1:-1], of_hidden, rtol=5 * np.sqrt(2 / 40_000))
        assert np.abs(net.weights[-1]).max() <= 1 / np.sqrt(200) < 1.01 * np.abs(net.weights[-1]).max()
        assert 0.9 / np.sqrt(50) < np.abs(net.biases[0]).max() <= 1 / np.sqrt(50)
    assert [str(net.residual.scale) if net.residual else "" for net in nets.values()] == ["", "1.0", "", "rezero"]
    assert [kind for kind, net in nets.items() if net.normalization] == ["layer norm"]


def test_rezeros_rows():
    """A net that diverged is none of the least; an epoch that was not reached is not tried."""
    short = {"plain": [5.0], "residual": [float("inf")], "layer norm": [2.1], "ReZero": [1.5]}
    rows = rezero.rows({"losses": short})
    assert [row.holds for row in rows] == [None] * 4 + [True]
    assert rows[-1][1:3] == ("1.33", "1.40")
    assert rezero.rows({"losses": short | {"ReZero": [1.6]}})[-1].holds is False
    long = {kind: each * 10 for kind, each in short.items()}
    rows = rezero.rows({"losses": long})
    assert [row.holds for row in rows] == [None] * 4 + [True] + [None] * 4 + [False]
    assert rows[-1].published == "3.60"
    assert fits(rows)


def test_a_net_that_diverges_has_infinite_losses():
    X, y = np.full((300, 4), 3e38, np.float32), np.arange(300) % 3
    net = vg.MLP([4, 8, 3], "relu", init="he_normal", rng=0)
    settings = rezero.Settings(8, 3)
    assert rezero.losses(net, X, y, settings, lambda *_: None) == [np.inf] * 3


# ---- Fashion-MNIST's own benchmark --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_step_is_scikit_learns():
    """Its gradient, penalty and Adam: three epochs of one batch each, in float64, from its own first weights."""
    sklearn = pytest.importorskip("sklearn.neural_network")
    X, y = np.random.default_rng(0).normal(size=(60, 12)), np.tile(np.arange(10), 6)
    common = {"hidden_layer_sizes": (20,), "alpha": 5.0, "batch_size": 60, "random_state": 0, "shuffle": False}
    first = sklearn.MLPClassifier(**common, max_iter=1, learning_rate_init=1e-30).fit(X, y)
    theirs = sklearn.MLPClassifier(**common, max_iter=3).fit(X, y)
    net = vg.MLP([12, 20, 10], "relu", dtype="float64", rng=0)
    for l in range(2):
        net.weights[l], net.biases[l] = first.coefs_[l], first.intercepts_[l]
    settings = fashion_mlp.SETTINGS._replace(alpha=5.0, batch_size=60)
    net.fit(X, y, 3, 60, fashion_mlp.optimizer(settings), shuffle=False)
    for l in range(2):
        np.testing.assert_allclose(net.weights[l], theirs.coefs_[l], atol=1e-9)
        np.testing.assert_allclose(net.biases[l], theirs.intercepts_[l], atol=1e-9)


class Told:
    """A history and a net that have this loss and these weights."""

    def __init__(self, loss, weights):
        self.epochs, self.weights = [{"loss": loss}], weights


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([3.0, 2.0, 1.99, 1.98, 1.97, 1.96], None),
        ([3.0, 2.0, 1.95, 1.95, 1.95, 1.85], None),  # three in a row would have been too many
        ([3.0, 2.0, 2.5, 2.0, 1.9999, 1.0], 5),
        ([3.0, 2.0, 1.995, 1.99, 1.985, 1.98], 5),
    ],
)
def test_when_scikit_learn_ends(losses, ends):
    """After more than patience epochs in a row of which none has a loss less by tol than the least one before."""
    settings = fashion_mlp.SETTINGS._replace(patience=2, tol=0.0099, alpha=0.0)
    stop = fashion_mlp.Stop(settings)
    ended = [epoch for epoch, loss in enumerate(losses, 1) if stop(Told(0, []), Told(loss, []))]
    assert ended[:1] == ([] if ends is None else [ends])


def test_the_loss_has_the_penalty():
    """So a net whose weights grow may be ended before its loss itself would do so."""
    settings = fashion_mlp.SETTINGS._replace(patience=0, tol=0.0, alpha=0.5, batch_size=10)
    stop = fashion_mlp.Stop(settings)
    stop(Told(0, [np.ones((3, 4))]), Told(2.0, []))
    assert stop.best == 2.0 + 0.5 / 2 * 12 / 10


def test_first_weights_are_scikit_learns():
    net = fashion_mlp.network(784, (100, 10), 0)
    assert net.sizes == (784, 100, 10, 10)
    for weights, bias in zip(net.weights, net.biases, strict=True):
        most = np.sqrt(6 / sum(weights.shape))
        assert 0.9 * most < np.abs(weights).max() <= most * (1 + 1e-6)
        assert 0.6 * most < np.abs(bias).max() <= most * (1 + 1e-6)


def test_pixels_are_standardized(folder):
    data = files.fashion_mnist(folder)
    train, test = fashion_mlp.standardized(data._replace(test=data.train))
    np.testing.assert_allclose(train.X.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(train.X.std(axis=0, dtype=np.float64), 1, atol=1e-5)
    np.testing.assert_array_equal(train.X, test.X)
    data.train.X[:, 3] = 0.5
    assert not fashion_mlp.standardized(data).train.X[:, 3].any()


def test_the_benchmark_runs(folder):
    told = []
    found = published.run("fashion-mlp", True, None, told.append, fashion=folder)["found"]
    assert len(told) == 2 * fashion_mlp.QUICK_EPOCHS
    assert [(net["hidden"], net["epochs"]) for net in found["nets"]] == [([100], [3]), ([100, 10], [3])]
    assert [row.holds for row in fashion_mlp.rows(found)] == [None] * 4
    settings = fashion_mlp.SETTINGS._replace(seeds=2, max_epochs=1)
    found = fashion_mlp.measure(False, None, folder, None, settings)
    assert [len(set(net["accuracies"])) for net in found["nets"]] == [2, 2]  # as many nets, and each another
    with pytest.raises(
        ValueError, match="fashion must be the folder that has Fashion-MNIST's files, got None; name it"
    ):
        fashion_mlp.measure()


@pytest.mark.parametrize(("accuracy", "holds"), [(0.8749, [True, False]), (0.8751, [True, True])])
def test_within_half_a_percent(accuracy, holds):
    nets = [
        {"hidden": list(hidden), "epochs": [90, 110], "accuracies": [accuracy - 0.01, accuracy + 0.01]}
        for hidden in fashion_mlp.HIDDEN
    ]
    rows = fashion_mlp.rows({"short": False, "nets": nets})
    assert fits(rows)
    assert [row.memory for row in rows] == [True, False, False, False]
    assert [row.holds for row in rows[:2]] == holds
    assert rows[0].ours == f"{accuracy:.4f}, 100 epochs"
