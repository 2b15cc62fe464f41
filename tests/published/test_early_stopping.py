"""Early stopping as published, on files of images that the test draws: vgfast and its textbook against a loop that
takes one iteration after another, in plain NumPy.

MNIST itself is not here, so that no test can say whether the published errors come out; they can say that what is
trained, in which order, when it is validated, tested and stopped is what was published.
"""

import io
import json
import re

import numpy as np
import pytest
from idx_files import idx_file

import vgfast as vg
from vgfast import published
from vgfast.published import patience, softmax_regression, tanh_mlp
from vgfast.published.patience import Settings

pytestmark = pytest.mark.once  # trains nets, for some seconds in all

AS_PUBLISHED = Settings(batch_size=20, lr=0.01, patience=10_000, l2=1e-4, max_epochs=2, valid=210)
OFTEN = AS_PUBLISHED._replace(lr=0.3, l2=1e-3, max_epochs=60)

# Pixels a side, units, settings; and what those lead to, an epoch being 20 iterations: the epochs, whether it stops for
# want of patience, how many validations extend that at the least, and at the most.
COURSES = {
    "as published, two epochs": (28, 500, AS_PUBLISHED, 2, False, 0, 0),
    "out of patience": (8, 30, OFTEN._replace(patience=45, increase=1), 3, True, 0, 0),
    "validated within epochs": (8, 30, OFTEN._replace(patience=31, max_epochs=4), 4, False, 2, 4),
    "patience is extended": (8, 30, OFTEN._replace(patience=40), 12, True, 2, 9),
    "some improvements are enough": (8, 30, OFTEN._replace(patience=60, threshold=0.7), 6, True, 2, 2),
    "no improvement is enough": (8, 30, OFTEN._replace(patience=140, threshold=0.1), 8, True, 0, 0),
    "patience ends with the epochs": (8, 30, OFTEN._replace(patience=80, threshold=0.1, max_epochs=4), 4, False, 0, 0),
    "patience grows faster": (8, 30, OFTEN._replace(patience=26, increase=5, max_epochs=20), 20, False, 2, 9),
}


def write(folder, rng, n_train, n_test, side):
    """Noisy images of ten kinds; of some, the label is that of any kind, so that none can learn them all."""
    kinds = rng.uniform(0, 120, (10, side, side))
    for part, n in (("train", n_train), ("t10k", n_test)):
        y = rng.integers(0, 10, n)
        images = np.clip(kinds[y] + rng.normal(0, 5 * side, (n, side, side)), 0, 255)
        idx_file(folder / f"{part}-images-idx3-ubyte", images)
        idx_file(folder / f"{part}-labels-idx1-ubyte", np.where(rng.random(n) < 0.15, rng.integers(0, 10, n), y))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By pixels a side: 405 images to train, 210 to validate and 190 to test, which do not fill batches of 20."""
    made = {side: tmp_path_factory.mktemp("mnist") for side in (8, 28)}
    return {side: write(folder, np.random.default_rng(7), 615, 190, side) for side, folder in made.items()}


def raw(folder, part):
    """(X, y), of the bytes of the files."""
    y = np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8)[8:]
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8)[16:]
    return images.reshape(len(y), -1) / 256, y


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Plain:
    """Weights, one step, and predictions, from the formulas; without a hidden layer for hidden=0."""

    def __init__(self, n_in, hidden):
        if hidden:
            most = np.sqrt(6 / (n_in + hidden))
            self.W = [np.random.RandomState(1234).uniform(-most, most, (n_in, hidden)), np.zeros((hidden, 10))]
        else:
            self.W = [np.zeros((n_in, 10))]
        self.b = [np.zeros(w.shape[1]) for w in self.W]

    def outputs(self, X):
        a = [X]
        for w, b in zip(self.W[:-1], self.b[:-1], strict=True):
            a.append(np.tanh(a[-1] @ w + b))
        return a, softmax(a[-1] @ self.W[-1] + self.b[-1])

    def step(self, X, y, lr, l2):
        a, p = self.outputs(X)
        delta = (p - np.eye(10)[y]) / len(X)
        grads = [(a[-1].T @ delta, delta.sum(axis=0))]
        if len(self.W) == 2:
            delta = delta @ self.W[1].T * (1 - a[1] ** 2)
            grads.insert(0, (a[0].T @ delta, delta.sum(axis=0)))
        for l, (dw, db) in enumerate(grads):
            self.W[l] = self.W[l] - lr * (dw + 2 * l2 * self.W[l])
            self.b[l] = self.b[l] - lr * db

    def error(self, X, y, size):
        p = [self.outputs(X[i : i + size])[1] for i in range(0, len(X) - size + 1, size)]
        return np.mean([np.mean(q.argmax(axis=1) != y[i * size : (i + 1) * size]) for i, q in enumerate(p)])


def one_by_one(net, folder, s):
    """(what is found, how often patience was extended), by the published description, an iteration at a time. They are
    counted from 0, and told from 1."""
    X, y = raw(folder, "train")
    train, valid = (X[: len(X) - s.valid], y[: len(X) - s.valid]), (X[len(X) - s.valid :], y[len(X) - s.valid :])
    test = raw(folder, "t10k")
    n_batches, patience = len(train[0]) // s.batch_size, s.patience
    every = min(n_batches, patience // 2)
    best, told, extended = np.inf, [], 0
    for iteration in range(s.max_epochs * n_batches):
        batch = iteration % n_batches
        rows = slice(batch * s.batch_size, (batch + 1) * s.batch_size)
        net.step(train[0][rows], train[1][rows], s.lr, s.l2)
        if (iteration + 1) % every == 0:
            now, tested = net.error(*valid, s.batch_size), None
            if now < best:
                if now < best * s.threshold:
                    extended += iteration * s.increase > patience
                    patience = max(patience, iteration * s.increase)
                best, tested = now, net.error(*test, s.batch_size)
                best_is = {"iterations": iteration + 1, "valid": now, "test": tested}
            told.append({"iterations": iteration + 1, "valid": now, "test": tested})
        if patience <= iteration:
            break
    found = {"best": best_is, "validations": told, "iterations": iteration + 1, "patience": patience}
    return found | {"epochs": iteration // n_batches + 1, "out_of_patience": patience <= iteration}, extended


def far_from(net, plain):
    """The largest difference of a weight or bias."""
    pairs = zip([*net.weights, *net.biases], [*plain.W, *plain.b], strict=True)
    return max(np.abs(ours - theirs).max() for ours, theirs in pairs)


def bound(plain, steps, lr):
    """Each entry of a gradient is a sum of at most 784 + 500 + 20 products, of pixels, tanhs, and deltas that are all
    at most 1 in size, in float64; a step adds lr times its rounding. Ten times that, as what is off leads astray."""
    eps = np.finfo(np.float64).eps
    return 10 * steps * (lr * (sum(len(w) for w in plain.W) + 20) + np.abs(plain.W[0]).max()) * eps


@pytest.mark.parametrize("case", COURSES)
def test_the_net_of_tanhs_goes_the_published_way(case, folders):
    side, hidden, settings, epochs, stops, least, most = COURSES[case]
    data = patience.mnist(folders[side], settings)
    plain = Plain(side**2, hidden)
    wanted, extended = one_by_one(plain, folders[side], settings)
    fast = tanh_mlp.net(side**2, hidden=hidden)
    textbook = vg.reference.MLP(fast.sizes, "tanh", dtype="float64")
    textbook.params[...] = fast.params
    for net in (fast, textbook):
        found = patience.train(net, data, settings)
        assert found.pop("seconds_per_epoch") > 0
        assert found == wanted  # the same errors, to the bit: no image is so near the border of two classes
        assert far_from(net, plain) <= bound(plain, found["iterations"], settings.lr)
    # And that this is the course that it took.
    assert wanted["out_of_patience"] == stops
    assert wanted["epochs"] == epochs
    assert not stops or wanted["iterations"] % 20
    assert least <= extended <= most
    assert 0 < wanted["best"]["valid"] < 0.7
    within_epochs = any(v["iterations"] % 20 for v in wanted["validations"])
    assert within_epochs == (settings.patience < 40)


def test_softmax_regression_goes_the_published_way(folders):
    settings = Settings(batch_size=60, lr=0.13, patience=30, valid=210, max_epochs=60)
    told = []
    found = softmax_regression.measure(folder=folders[28], settings=settings, progress=told.append)
    wanted, extended = one_by_one(Plain(784, 0), folders[28], settings)
    assert {name: found[name] for name in wanted} == wanted
    assert [v._asdict() for v in told] == found["validations"]
    assert extended > 0
    assert found["out_of_patience"]
    assert found["best"]["valid"] < 0.5


def test_the_first_weights_are_those_of_the_seed():
    """The first numbers of RandomState(1234), which do not change."""
    drawn = np.array([0.1915194503788923, 0.6221087710398319])
    net = tanh_mlp.net(784)
    np.testing.assert_allclose(net.weights[0][0, :2], (2 * drawn - 1) * np.sqrt(6 / 1284), rtol=1e-14)
    assert (net.sizes, net.activations, net.dtype) == ((784, 500, 10), ("tanh",), np.float64)
    assert not any(part.any() for part in (net.weights[1], *net.biases))


def test_the_published_settings():
    assert Settings(20, 0.01, 10_000, 1e-4, 2, 0.995, 1000, 10_000, "float64") == tanh_mlp.SETTINGS
    assert Settings(600, 0.13, 5000, 0, 2, 0.995, 1000, 10_000, "float64") == softmax_regression.SETTINGS


def test_iterations_are_counted_from_0():
    """The 74 epochs of the published softmax regression say so: an epoch has 83 iterations, patience is twice the last
    one of an epoch, and training ends within epoch patience // 83 + 1. Counted from 83, as the loop once did, the first
    of epoch 1 being number 83, that would be epoch patience // 83: 74 for no epoch."""
    assert [e for e in range(31, 100) if 2 * (83 * e - 1) // 83 + 1 == 74] == [37]
    assert not [e for e in range(31, 100) if 2 * (83 * (e + 1) - 1) // 83 == 74]


def as_found(valid, test, **more):
    best = {"iterations": tanh_mlp.BEST, "valid": valid, "test": test}
    return {"best": best, "validations": [best], "epochs": 2, "cut_short": False, **more}


@pytest.mark.parametrize(("source", "n"), [(softmax_regression, 9600), (tanh_mlp, 10_000)])
def test_an_error_holds_to_so_many_images(source, n):
    text = {softmax_regression: ("7.500000 %", "7.489583 %"), tanh_mlp: ("1.690000 %", "1.650000 %")}[source]
    for off, holds in ((0, True), (source.WITHIN, True), (source.WITHIN + 1, False)):
        for sign in (1, -1):
            found = as_found(source.VALID + sign * off / n, source.TEST - sign * off / n)
            rows = source.rows(found)[:2]
            assert [row.holds for row in rows] == [holds, holds]
            assert [row.published for row in rows] == list(text)
            assert off or [row.ours for row in rows] == list(text)


@pytest.mark.parametrize(("epochs", "holds"), [(73, False), (74, True), (75, False)])
def test_softmax_regression_ends_in_the_published_epoch(epochs, holds):
    row = softmax_regression.rows(as_found(0.075, 719 / 9600, epochs=epochs))[2]
    assert row == ("epochs begun", "74", f"{epochs}", holds, False)


def test_epochs_are_counted_as_published(folders):
    """Those begun: patience ends the last one after its first iterations, one more than an epoch's end."""
    settings = OFTEN._replace(patience=45, increase=1)
    found = patience.measure(lambda n, dtype: tanh_mlp.net(n, dtype, 30), folders[8], settings)
    assert (found["iterations"], found["epochs"], found["dtype"]) == (46, 3, "float64")


@pytest.mark.parametrize(("epochs", "holds"), [(997, False), (998, True), (1000, True), (1008, False)])
def test_the_epochs_of_the_net_of_tanhs(epochs, holds):
    row = tanh_mlp.rows(as_found(tanh_mlp.VALID, tanh_mlp.TEST, epochs=epochs))[4]
    assert row == ("epochs", "about 1,000", f"{epochs:,}", holds, False)


def test_the_best_of_the_net_of_tanhs():
    """Another epoch may be the best, if that of the published run is about as good."""
    assert tanh_mlp.BEST == 828 * 2500
    best = {"iterations": 2_200_000, "valid": 0.0168, "test": 0.0165}
    for more, holds in ((0, True), (5, True), (6, False)):
        there = {"iterations": tanh_mlp.BEST, "valid": 0.0168 + more / 10_000, "test": None}
        rows = tanh_mlp.rows(as_found(0, 0, best=best, validations=[there, best]))
        assert rows[2][:4] == ("best at iteration", "2,070,000", "2,200,000", None)
        assert rows[3][1:4] == ("best", f"best + {more}", holds)
    rows = tanh_mlp.rows(as_found(0, 0, best=best, validations=[best]))
    assert rows[3][2:4] == ("not reached", False)


@pytest.mark.parametrize("source", [softmax_regression, tanh_mlp])
@pytest.mark.parametrize("short", [False, True])
def test_the_table_fits_80_columns(source, short):
    """No row is broken into two lines, not even where half of the images are wrong and it does not hold."""
    console = pytest.importorskip("rich.console").Console(width=80, file=io.StringIO())
    rows = [row._asdict() for row in source.rows(as_found(0.5, 0.5, cut_short=short))]
    published.end({"rows": [{**row, "holds": False} for row in rows], "seconds": 1.0}, console)
    lines = console.file.getvalue().splitlines()
    for row in rows:
        assert any(all(row[part] in line for part in ("what", "published", "ours")) for line in lines), row


def test_what_was_cut_short_was_not_tried(folders):
    """Even if its errors were the published ones."""
    rows = tanh_mlp.rows(as_found(tanh_mlp.VALID, tanh_mlp.TEST, cut_short=True))
    assert [(row.ours, row.holds) for row in rows] == [
        ("1.690000 %, 2 epochs", None),
        ("1.650000 %, 2 epochs", None),
        ("2,070,000", None),
        ("best + 0", None),
        ("2", None),
    ]
    settings = OFTEN._replace(max_epochs=3)
    quick, whole = (tanh_mlp.measure(quick=q, folder=folders[8], settings=settings) for q in (True, False))
    assert (quick["epochs"], quick["cut_short"]) == (2, True)
    assert (whole["epochs"], whole["cut_short"]) == (3, False)
    assert whole["validations"][:2] == quick["validations"]
    early = tanh_mlp.measure(quick=True, folder=folders[8], settings=settings._replace(patience=10, threshold=0.1))
    assert (early["cut_short"], early["out_of_patience"]) == (False, True)  # all of it was run


def test_run_on_other_images(tmp_path):
    """The whole of softmax regression, on images for which its numbers do not hold, and it says so."""
    write(tmp_path, np.random.default_rng(1), 11_300, 1_250, 4)
    for quick, dtype in ((True, "float32"), (False, "float64")):
        result = published.run("softmax-regression", quick=quick, folder=tmp_path)
        assert (result["found"]["dtype"], result["found"]["epochs"]) == (dtype, 1000)
        assert not result["holds"]
        assert [row["holds"] for row in result["rows"]] == [False, False, False]
        json.dumps(result, allow_nan=False)


# ---- what is refused, and what is advised ---------------------------------------------------------------


def refused(match, **given):
    """The error of the net of tanhs."""
    with pytest.raises(ValueError, match=match) as caught:
        tanh_mlp.measure(**given)
    return str(caught.value)


def test_a_folder_that_is_not_named(folders):
    with pytest.raises(ValueError, match="needs the whole of MNIST"):
        published.run("tanh-mlp")
    refused("folder must be the folder that has MNIST's files, got None; name it", settings=OFTEN)
    assert tanh_mlp.measure(True, folders[8], OFTEN)["epochs"] == 2


@pytest.mark.parametrize(("valid", "got"), [(10_000, "to train, got 0"), (19, "to validate, got 19")])
def test_a_part_that_has_no_batch(valid, got, folders):
    """Both ends of what is said to be possible for valid are; and nothing beyond them."""
    settings = OFTEN._replace(valid=valid)
    text = refused(
        rf"a batch of 20 images {got}; name a folder that has MNIST's own files, or take valid from ",
        **{"folder": folders[8], "settings": settings},
    )
    least, most = map(int, re.fullmatch(r".* valid from (\d+) to (\d+)", text).groups())
    for end in (least, most):
        assert tanh_mlp.measure(True, folders[8], settings._replace(valid=end))["epochs"] == 2
    for beyond in (least - 1, most + 1):
        refused("a batch of 20 images", folder=folders[8], settings=settings._replace(valid=beyond))


def test_too_few_images_for_any_valid(folders, tmp_path):
    """Then there is no way but other files."""
    for n_train, n_test, n, got in ((39, 40, 20, "to train, got 0"), (615, 19, 20, "to test, got 19")):
        write(tmp_path, np.random.default_rng(0), n_train, n_test, 8)
        refused(
            rf"a batch of {n} images {got}; name a folder that has MNIST's own files$", folder=tmp_path, settings=OFTEN
        )
    assert tanh_mlp.measure(True, folders[8], OFTEN)["epochs"] == 2


def test_images_of_two_sizes(tmp_path):
    write(tmp_path, np.random.default_rng(0), 40, 40, 4)
    idx_file(tmp_path / "t10k-images-idx3-ubyte", np.zeros((40, 5, 4)))
    settings = OFTEN._replace(valid=20)
    refused(
        r"must be of one size, got \(4, 4\) and \(5, 4\); take all four from one data set",
        folder=tmp_path,
        settings=settings,
    )
    write(tmp_path, np.random.default_rng(0), 40, 40, 4)
    assert tanh_mlp.measure(True, tmp_path, settings)["epochs"] == 2


@pytest.mark.parametrize(("name", "least"), [("patience", 2), ("max_epochs", 1)])
def test_numbers_that_are_too_small(name, least, folders):
    settings = OFTEN._replace(max_epochs=1)._replace(**{name: least - 1})
    refused(f"{name} must be at least {least}, got {least - 1}", folder=folders[8], settings=settings)
    assert tanh_mlp.measure(folder=folders[8], settings=settings._replace(**{name: least}))["iterations"] > 0
