"""Bad input: one sentence that says what, got, why and how to mend it; and the net stays as it was."""

import json
import warnings

import numpy as np
import pytest

import vgfast as vg

NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(0).normal(size=(20, 4))
Y = np.arange(20) % 3


def changed(array, value, index=(3, 1)):
    array = np.array(array, np.float64)
    array[index] = value
    return array


HUGE = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (2**29, 4), (0, 4))
HUGE_Y = np.lib.stride_tricks.as_strided(np.zeros(1, np.int64), (2**31,), (0,))

# X, y, kwargs of fit, error, words
BAD_FIT = {
    "columns": (X[:, :3], Y, {}, ValueError, ["X must have 4 columns", "got 3"]),
    "one dimension": (X[0], Y[:1], {}, ValueError, ["matrix", "1 dimension", "np.reshape(X, (1, -1))"]),
    "three dimensions": (X[None], Y, {}, ValueError, ["3 dimension"]),
    "label too large": (X, Y + 1, {}, ValueError, ["labels from 0 to 2", "got 3", "3 outputs"]),
    "label negative": (X, Y - 1, {}, ValueError, ["got -1"]),
    "labels fractional": (X, Y + 0.5, {}, TypeError, ["whole-number", "got 0.5 in row 0", "loss='mse'"]),
    "labels too few": (X, Y[:-1], {}, ValueError, ["each of the 20 rows", "got 19"]),
    "labels a number": (X, 3, {}, ValueError, ["a single number"]),
    "labels a column": (X, Y[:, None], {}, ValueError, ["(20, 3)", "labels of shape (rows,)", "(20, 1)"]),
    "X has NaN": (changed(X, NAN), Y, {}, ValueError, ["X has NaN in row 3, column 1", "remove or replace"]),
    "X has inf": (changed(X, INF), Y, {}, ValueError, ["X has infinity in row 3, column 1"]),
    "X too large": (changed(X, 1e300), Y, {}, ValueError, ["row 3, column 1", "too large for float32", "float64"]),
    "X empty": (X[:0], Y[:0], {}, ValueError, ["at least one row", "(0, 4)"]),
    "X strings": (X.astype(str), Y, {}, TypeError, ["real numbers", "text", "row 0, column 0", "dtype=float"]),
    "X complex": (X + 1j, Y, {}, TypeError, ["complex128"]),
    "X ragged": ([[1, 2], [3]], Y, {}, ValueError, ["X must be a rectangular array"]),
    "X None": (None, Y, {}, TypeError, ["X must hold real numbers", "None"]),
    "X of 2^31": (HUGE, Y, {}, ValueError, ["2147483648 elements", "2**31", "broadcasting"]),
    "y of 2^31": (X, HUGE_Y, {}, ValueError, ["y has 2147483648 elements"]),
    "y strings": (X, Y.astype(str), {}, TypeError, ["y must hold numbers", "text '0'", "np.unique(y"]),
    "y NaN": (X, changed(np.eye(3)[Y], NAN), {}, ValueError, ["y has NaN in row 3"]),
    "y not probabilities": (X, np.eye(3)[Y] * 2, {}, ValueError, ["probabilities from 0 to 1", "got 2"]),
    "y not summing to 1": (X, np.eye(3)[Y] * 0.5, {}, ValueError, ["sum to 1", "0.5 in row 0"]),
    "batch_size 0": (X, Y, {"batch_size": 0}, ValueError, ["batch_size must be at least 1", "got 0"]),
    "batch_size float": (X, Y, {"batch_size": 2.5}, TypeError, ["whole number", "2.5"]),
    "batch_size bool": (X, Y, {"batch_size": True}, TypeError, ["whole number"]),
    "epochs 0": (X, Y, {"epochs": 0}, ValueError, ["epochs must be at least 1"]),
    "inspect_every": (X, Y, {"inspect_every": -1}, ValueError, ["inspect_every must be from 0"]),
    "optimizer": (X, Y, {"optimizer": "adam"}, TypeError, ["vg.SGD", "'adam'"]),
    "X masked": (np.ma.masked_less(X, 0), Y, {}, ValueError, ["X has masked values"]),
    "y masked": (X, np.ma.masked_equal(Y, 0), {}, ValueError, ["y has masked values"]),
    "epochs huge": (X, Y, {"epochs": 10**12}, ValueError, ["epochs x steps of an epoch", "got 4000000000000"]),
    "callbacks a function": (X, Y, {"callbacks": print}, TypeError, ["callbacks must be a list of callbacks"]),
    "callbacks not functions": (
        X,
        Y,
        {"callbacks": [5]},
        TypeError,
        ["must hold functions of (net, history)", "got 5"],
    ),
    "callbacks a class": (X, Y, {"callbacks": [vg.EarlyStopping]}, TypeError, ["make one, such as EarlyStopping(...)"]),
    "monitors nothing": (
        X,
        Y,
        {"callbacks": [vg.EarlyStopping(2)]},
        ValueError,
        ["val_loss", "validation_data=(X, y)"],
    ),
    "progress": (X, Y, {"progress": 5}, TypeError, ["progress must be True, False, or a function", "got 5"]),
    "validation": (X, Y, {"validation_data": X}, TypeError, ["(X, y) or (X, y, sample_weight)"]),
    "validation columns": (
        X,
        Y,
        {"validation_data": (X[:, :2], Y)},
        ValueError,
        ["validation_data[0] must have 4 columns", "got 2"],
    ),
}


@pytest.mark.parametrize("case", BAD_FIT)
def test_bad_data_is_refused_and_changes_nothing(case):
    bad_x, bad_y, kwargs, error, words = BAD_FIT[case]
    net = vg.MLP([4, 5, 3], rng=0)
    before = net.params.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error) as caught:
            net.fit(bad_x, bad_y, **{"batch_size": 5, **kwargs})
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    np.testing.assert_array_equal(net.params, before)
    if not kwargs:
        for call in (net.step, net.gradients, net.inspect, net.evaluate):
            with pytest.raises(error):
                call(bad_x, bad_y)
        if bad_y is Y and case != "X ragged":
            for call in (net.forward, net.predict, net.predict_proba):
                with pytest.raises(error):
                    call(bad_x)
    np.testing.assert_array_equal(net.params, before)
    net.fit(X, Y, batch_size=5)

    if not kwargs:  # the same after steps that were right
        good = X.astype(np.float32)
        for _ in range(3):
            net.step(good, Y)
        before = net.params.copy()
        spoiled = [bad_x, bad_y]
        if isinstance(bad_x, np.ndarray) and bad_x.dtype == float:
            with np.errstate(over="ignore"):
                spoiled[0] = bad_x.astype(np.float32)
        with pytest.raises(error):
            net.step(*spoiled)
        np.testing.assert_array_equal(net.params, before)
        for call in (net.forward, net.predict, net.predict_proba):
            if bad_y is Y and case != "X ragged":
                with pytest.raises(error):
                    call(spoiled[0][:5] if isinstance(spoiled[0], np.ndarray) and len(spoiled[0]) == 20 else bad_x)


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        ("mse", changed(np.zeros((20, 3)), NAN), ["y has NaN in row 3"]),
        ("mse", changed(np.zeros((20, 3)), INF), ["y has infinity"]),
        ("mse", np.zeros((20, 2)), ["(20, 3)", "(20, 2)"]),
        ("mse", np.zeros(20), ["(20, 3)", "(20,)"]),
        ("binary_cross_entropy", np.full((20, 3), -0.5), ["probabilities from 0 to 1", "-0.5"]),
    ],
)
def test_bad_targets(loss, y, words):
    net = vg.MLP([4, 5, 3], loss=loss, rng=0)
    before = net.params.copy()
    with pytest.raises(ValueError, match="y ") as caught:
        net.fit(X, y, batch_size=5)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    np.testing.assert_array_equal(net.params, before)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "words"),
    [
        (([4, 0, 3],), {}, ValueError, ["sizes[1]", "from 1", "got 0"]),
        (([4, -2, 3],), {}, ValueError, ["sizes[1]", "got -2"]),
        (([4],), {}, ValueError, ["at least two numbers", "[64, 30, 10]", "[4]"]),
        (([],), {}, ValueError, ["at least two numbers"]),
        ((5,), {}, TypeError, ["sizes must be a list", "5"]),
        (("ab",), {}, ValueError, ["sizes", "'ab'"]),
        (([4, 2.5, 3],), {}, TypeError, ["whole number", "2.5"]),
        (([4, True],), {}, TypeError, ["whole number", "True"]),
        (
            ([4, 3],),
            {"loss": "crossentropy"},
            ValueError,
            ["unknown loss 'crossentropy'", "did you mean 'cross_entropy'?", "mse"],
        ),
        (
            ([4, 5, 3],),
            {"activation": "sigmoi"},
            ValueError,
            ["unknown activation", "did you mean 'sigmoid'?"],
        ),
        (([4, 5, 3],), {"activation": "ReLU"}, ValueError, ["did you mean 'relu'?"]),
        (
            ([4, 5, 3],),
            {"activation": ["relu", "relu"]},
            ValueError,
            ["each of the 1 hidden layers", "got 2"],
        ),
        (([4, 5, 3],), {"activation": 3}, TypeError, ["name or a list"]),
        (([4, 5, 3],), {"init": "he_norma"}, ValueError, ["unknown init", "did you mean 'he_normal'?"]),
        (([4, 5, 3],), {"init": 3}, TypeError, ["vg.init.normal"]),
        (([4, 3],), {"dtype": "float16"}, ValueError, ["vgfast has no dtype 'float16'", "float32"]),
        (([2**31, 3],), {}, ValueError, ["sizes[0]"]),
        (({4, 8, 3},), {}, TypeError, ["in order", "set"]),
        (([4, 1],), {}, ValueError, ["cross_entropy needs at least two outputs", "binary_cross_entropy"]),
        (([4, 3],), {"dtype": None}, ValueError, ["unknown dtype 'None'"]),
        (([4, 3],), {"dtype": "f4,("}, ValueError, ["unknown dtype 'f4,('"]),
    ],
)
def test_bad_nets(args, kwargs, error, words):
    with pytest.raises(error) as caught:
        vg.MLP(*args, **kwargs)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_net_beyond_the_address_space():
    with pytest.raises(MemoryError):
        vg.MLP([2**30, 2**30, 2**30, 2**30])


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"lr": 0}, ValueError, ["lr must be above 0", "got 0"]),
        ({"lr": -1}, ValueError, ["lr must be above 0"]),
        ({"lr": NAN}, ValueError, ["lr must be above 0 and finite", "nan"]),
        ({"lr": INF}, ValueError, ["finite"]),
        ({"lr": 10**400}, ValueError, ["lr must be above 0 and finite"]),
        ({"lr": "0.1"}, TypeError, ["lr must be a number", "'0.1'"]),
        ({"lr": None}, TypeError, ["lr must be a number"]),
        ({"momentum": 1.0}, ValueError, ["momentum", "below 1", "got 1.0"]),
        ({"momentum": -0.1}, ValueError, ["at least 0"]),
        ({"weight_decay": -1}, ValueError, ["weight_decay must be at least 0"]),
        ({"clip_norm": 0}, ValueError, ["clip_norm must be above 0"]),
        ({"clip_value": NAN}, ValueError, ["clip_value"]),
        ({"nesterov": True}, ValueError, ["nesterov=True needs momentum", "momentum=0.9"]),
    ],
)
def test_bad_optimizers(kwargs, error, words):
    with pytest.raises(error) as caught:
        vg.SGD(**kwargs)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    optimizer, net = vg.SGD(), vg.MLP([4, 3], rng=0)
    before = net.params.copy()
    for name, value in kwargs.items():
        setattr(optimizer, name, value)
    with pytest.raises(error):
        net.step(X, Y, optimizer)
    np.testing.assert_array_equal(net.params, before)


def test_bad_assignments():
    net = vg.MLP([4, 5, 3], rng=0)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"weights\[0\] has shape \(4, 5\), got \(5, 4\)"):
        net.weights[0] = np.zeros((5, 4))
    with pytest.raises(ValueError, match=r"params has shape \(43,\)"):
        net.params = np.zeros(3)
    with pytest.raises(TypeError, match="real numbers"):
        net.biases[0] = ["a"] * 5
    with pytest.raises(TypeError, match="one layer at a time"):
        net.weights[0:1] = [np.zeros((4, 5))]
    with pytest.raises(AttributeError):
        net.sizes = (1, 2)
    np.testing.assert_array_equal(net.params, before)


def test_probabilities_of_a_regression():
    with pytest.raises(ValueError, match="use predict"):
        vg.MLP([4, 3], loss="mse").predict_proba(X)


@pytest.mark.parametrize("n", [0, -1, 10**6, 2.0, True, "2"])
def test_bad_numbers_of_threads(n):
    with pytest.raises((TypeError, ValueError), match="the number of threads"):
        vg.set_num_threads(n)


# ---- files --------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.safetensors"
    vg.MLP([4, 5, 3], rng=0).save(path)
    return path


def refused(path):
    with pytest.raises(ValueError, match="is not a whole model file: ") as caught:
        vg.MLP.load(path)
    text = str(caught.value)
    assert text.endswith("; get the file again or save the net again")
    assert "\n" not in text
    return text


def test_truncated_files(saved):
    data = saved.read_bytes()
    for n in range(len(data)):
        saved.write_bytes(data[:n])
        refused(saved)
    saved.write_bytes(data + b"\0")
    assert "after the last tensor" in refused(saved)


def test_altered_files(saved):
    """Every byte of the file, changed: refused, or (spaces of the header) the same net."""
    data, params = saved.read_bytes(), vg.MLP.load(saved).params
    for i in range(len(data)):
        saved.write_bytes(data[:i] + bytes([data[i] ^ 0x11]) + data[i + 1 :])
        try:
            net = vg.MLP.load(saved)
        except ValueError:
            continue
        np.testing.assert_array_equal(net.params, params)


def rewritten(saved, change):
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(change(header) or header).encode()
    saved.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return refused(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.pop("0.bias") and None, "gap"),
        (lambda h: h["0.bias"].update(shape=[2**62, 2**62]), "does not fit"),
        (lambda h: h["0.bias"].update(shape=[-5]), "whole numbers"),
        (lambda h: h["0.bias"].update(shape=[5.0]), "whole numbers"),
        (lambda h: h["0.bias"].update(shape="5"), "not understood"),
        (lambda h: h["0.bias"].update(dtype="I8"), "names, shapes and dtype"),
        (lambda h: h["0.bias"].update(dtype=8), "not understood"),
        (lambda h: h["0.bias"].update(shape=[1] * 33), "33 dimensions"),
        (lambda h: h["0.bias"].update(shape=[10**999]), "a number of 1000 digits"),
        (lambda h: h["0.bias"].update(shape=[float("nan")]), "JSON, which has no NaN"),
        (lambda h: h["0.bias"].update(data_offsets=[0, 20]), "overlap"),
        (lambda h: h["0.bias"].update(data_offsets=[5]), "not understood"),
        (lambda h: h["0.bias"].update(data_offsets=[10**12, 10**12 + 20]), "gap"),
        (lambda h: h.update({"0.bias": 7}), "not understood"),
        (lambda h: h.update(__metadata__=5), "metadata is not text"),
        (lambda h: h["__metadata__"].update(more=5), "metadata is not text"),
        (
            lambda h: h["__metadata__"].update(vgfast=h["__metadata__"]["vgfast"].replace("relu", "tanh")),
            "checksum",
        ),
        (lambda h: [h], "not a JSON object"),
        (lambda h: h["0.weight"].update(shape=h["0.weight"]["shape"][::-1]), "names, shapes and dtype"),
        (lambda h: h["0.weight"].update(shape=[20]), "names, shapes and dtype"),
        (lambda h: h.update({"1.weight": h.pop("0.weight")}), "names, shapes and dtype"),
        (lambda h: h["__metadata__"].update(vgfast="[" * 100_000), "description of the net is not understood"),
        (
            lambda h: h["__metadata__"].update(vgfast=h["__metadata__"]["vgfast"][:-1] + ", []]"),
            "description of the net is not understood",
        ),
        (
            lambda h: h["__metadata__"].update(vgfast='[[40000, 60000], [], "mse", "float32"]'),
            "fewer parameters than the net",
        ),
    ],
)
def test_files_with_a_false_header(saved, change, words):
    assert words in rewritten(saved, change)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    import os

    old = saved.read_bytes()

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        vg.MLP([4, 5, 3], rng=1).save(saved)
    assert saved.read_bytes() == old
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_saving_to_links_and_to_what_is_no_file(saved):
    link = saved.parent / "link"
    link.symlink_to(saved)
    vg.MLP([2, 2], rng=1).save(link)
    assert link.is_symlink()
    assert vg.MLP.load(saved).sizes == (2, 2)
    with pytest.raises(ValueError, match="is not a regular file"):
        vg.MLP([2, 2]).save("/dev/null")
    with pytest.raises(TypeError):
        vg.MLP.load(None)


def test_files_that_are_something_else(tmp_path):
    path = tmp_path / "x"
    for data in (
        b"",
        b"\xff" * 100,
        (50).to_bytes(8, "little") + b"{" * 50,
        (4).to_bytes(8, "little") + b"null",
        (20).to_bytes(8, "little") + b'{"a":1,"a":2}       ',
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
    ):
        path.write_bytes(data)
        refused(path)
    with pytest.raises(FileNotFoundError):
        vg.MLP.load(tmp_path / "none")
