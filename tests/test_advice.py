"""Advice in an error works when it is followed: each sentence is provoked, what it says is done, and then it works."""

import re
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast import _check, config, theory, trace

pd = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("strict")

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3
P = np.random.default_rng(0).dirichlet(np.ones(3), 20)
FRAME = pd.DataFrame(X, columns=["size", "age", "income"])
DATES = pd.date_range("2020", periods=20)
RECORDS = np.array(list(map(tuple, X)), [(name, float) for name in "abc"])
BF16 = torch.tensor(X).to(torch.bfloat16)


class OnAnotherDevice:
    """What a tensor on a GPU does, where there is none."""

    def __init__(self, values):
        self.values, self.device, self.requires_grad = values, "cuda:0", False
        self.dtype, self.layout = torch.float64, torch.strided

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        return torch.tensor(self.values)


def changed(values, index, value):
    values = np.array(values)
    values[index] = value
    return values


def masked(values):
    return np.ma.masked_less(values, 0)


class Sparse(list):
    def toarray(self):
        return np.array(self)


def attempt(x, y, **kwargs):
    net = vg.MLP(**{"sizes": [3, 4, 3], "rng": 0, **kwargs})
    return net.fit(x, y, 1, optimizer=vg.SGD(lr=1e-3, clip_norm=1.0))


# What the error says literally, given X, evaluated as it stands.
OF_X = {
    "one sample": (X[0], "np.reshape(X, (1, -1))", {"y": Y[:1]}),
    "one feature": (X[:, 0], "np.reshape(X, (-1, 1))", {"sizes": [1, 3]}),
    "one feature, a column": (FRAME["age"], "np.reshape(np.asarray(X), (-1, 1))", {"sizes": [1, 3]}),
    "images": (X.reshape(20, 3, 1), "np.reshape(X, (len(X), -1))", {}),
    "images in lists": (X.reshape(20, 1, 3).tolist(), "np.reshape(np.asarray(X), (len(X), -1))", {}),
    "images, tensor": (torch.tensor(X).reshape(20, 3, 1, 1), "np.reshape(np.asarray(X), (len(X), -1))", {}),
    "within another": (X[None], "X[0]", {}),
    "transposed": (X.T, "np.transpose(X)", {}),
    "transposed, frame": (FRAME.T, "np.transpose(X)", {}),
    "transposed lists": (X.T.tolist(), "np.transpose(X)", {}),
    "sparse": (Sparse(X.tolist()), "X.toarray()", {}),
    "masked": (masked(X), "X.filled(0)", {}),
    "complex": (X + 0j, "np.real(X)", {}),
    "complex, absolute": (X + 1j, "np.abs(X)", {}),
    "texts of numbers": (X.astype(str), "np.asarray(X, dtype=float)", {}),
    "bytes of numbers": (X.astype("S"), "np.asarray(X, dtype=float)", {}),
    "texts of numbers in a frame": (FRAME.astype({"age": str}), "np.asarray(X, dtype=float)", {}),
    "records": (RECORDS, "np.lib.recfunctions.structured_to_unstructured(X)", {}),
    "arrays in an array": (pd.Series(list(X)), "np.stack(X)", {}),
    "lists in an array": (pd.Series(X.tolist()).to_numpy(), "np.stack(X)", {}),
    "dicts": (FRAME.to_dict("records"), "pd.DataFrame(X)", {}),
    "an iterator": (iter(X), "list(X)", {}),
    "values of a dict": (dict(enumerate(X)).values(), "list(X)", {}),
    "dates": (np.stack([DATES.to_numpy()] * 3, axis=1), "(X - X.min()) / np.timedelta64(1, 'D')", {}),
    "spans": (
        np.stack([(DATES - DATES[0]).to_numpy()] * 3, axis=1),
        "X / np.timedelta64(1, 'D')",
        {},
    ),
    "tensor with a gradient": (torch.tensor(X, requires_grad=True), "X.detach().numpy()", {}),
    "list of them": (list(torch.tensor(X, requires_grad=True)), "[row.detach().numpy() for row in X]", {}),
    "bfloat16": (BF16, "X.float().numpy()", {}),
    "bfloat16 with a gradient": (BF16.clone().requires_grad_(), "X.detach().float().numpy()", {}),
    "list of bfloat16": (list(BF16), "[row.float().numpy() for row in X]", {}),
    "sparse tensor": (torch.tensor(X).to_sparse(), "X.to_dense().numpy()", {}),
    "tensor on a GPU": (OnAnotherDevice(X), "X.cpu().numpy()", {}),
    "a text": (
        changed(X.astype(object), (5, 1), "ten"),
        "np.unique(np.asarray(X)[:, 1].astype(str), return_inverse=True)[1]",
        {"column": 1},
    ),
    "a text in an array of texts": (
        changed(X.astype("U9"), (5, 1), "ten"),
        "np.unique(np.asarray(X)[:, 1].astype(str), return_inverse=True)[1]",
        {"column": 1},
    ),
    "texts in a frame": (
        FRAME.assign(age=list("ab") * 10, size=list("cd") * 10),
        "pd.get_dummies(X, columns=['size', 'age'])",
        {"sizes": [5, 3]},
    ),
    "categories": (
        FRAME.assign(age=pd.Categorical([0, 1] * 10)),
        "pd.get_dummies(X, columns=['age'])",
        {"sizes": [4, 3]},
    ),
    "dates in a frame": (
        FRAME.assign(age=DATES),
        "(X['age'] - X['age'].min()) / np.timedelta64(1, 'D')",
        {"column": "age"},
    ),
    "dates with a zone": (
        FRAME.assign(age=DATES.tz_localize("UTC")),
        "(X['age'] - X['age'].min()) / np.timedelta64(1, 'D')",
        {"column": "age"},
    ),
}


def evaluated(expression, **names):
    return eval(expression, {"np": np, "pd": pd, "vg": vg, **names})


@pytest.mark.parametrize("case", OF_X)
def test_advice_on_X(case):
    import numpy.lib.recfunctions  # noqa: F401

    given, advice, more = OF_X[case]
    y = more.get("y", Y)
    sizes = {"sizes": [3, 4, 3]}
    with pytest.raises((TypeError, ValueError), match=r"^X ") as caught:
        attempt(given, y, **({"sizes": more["sizes"]} if "reshape" in advice and "sizes" in more else sizes))
    assert advice in str(caught.value), str(caught.value)
    mended = evaluated(advice, X=given)
    if "column" in more:
        whole = given.copy() if isinstance(given, pd.DataFrame) else given.astype(object)
        whole[more["column"] if isinstance(whole, pd.DataFrame) else (slice(None), more["column"])] = mended
        mended = whole.astype(float) if whole is not given and case.startswith("a text in an array") else whole
    attempt(mended, y, sizes=more.get("sizes", [3, 4, 3]))


# The same of y: the expression gives the new y.
BINARY, VALUES = {"loss": "binary_cross_entropy", "sizes": [3, 1]}, {"loss": "mse", "sizes": [3, 1]}
THREE = {"loss": "binary_cross_entropy"}
UNIQUE = "classes, y = np.unique(y, return_inverse=True)"
DIVIDED = "y / y.sum(axis=1, keepdims=True)"
OF_OTHERS = "np.asarray(y) / np.asarray(y).sum(axis=1, keepdims=True)"
OF_Y = {
    "texts": (np.array(list("abc"))[Y], UNIQUE, {}, {}),
    "texts in a list": ([*"abcab"] * 4, UNIQUE, {}, {}),
    "texts in a series": (pd.Series([*"abcab"] * 4), UNIQUE, {}, {}),
    "texts of numbers": (Y.astype(str), UNIQUE, {}, {}),
    "bytes": (np.array(list("abc")).astype("S")[Y], UNIQUE, {}, {}),
    "categories": (pd.Series([*"abcab"] * 4, dtype="category"), UNIQUE, {}, {}),
    "texts, a column": (
        pd.DataFrame({"y": [*"abcab"] * 4}),
        "classes, y = np.unique(np.ravel(y), return_inverse=True)",
        {},
        {},
    ),
    "texts and numbers": (
        pd.Series(["a", 1, 2, "b", 1] * 4),
        "classes, y = np.unique(np.asarray(y, dtype=str), return_inverse=True)",
        {},
        {"sizes": [3, 4]},
    ),
    "more texts than outputs": ([*"abcde"] * 4, UNIQUE, {}, {"sizes": [3, 5]}),
    "two texts": ([*"no"] * 10, UNIQUE, BINARY, BINARY),
    "three texts": ([*"abcab"] * 4, UNIQUE, BINARY, {"sizes": [3, 3]}),
    "a column": (Y[:, None], "np.ravel(y)", {}, {}),
    "a column of a frame": (pd.DataFrame({"y": Y}), "np.ravel(y)", {}, {}),
    "a column in lists": (Y[:, None].tolist(), "np.ravel(y)", {}, {}),
    "a column, matrix": (torch.tensor(Y)[:, None], "np.ravel(y)", {}, {}),
    "whole floats": (Y.astype(float), "np.asarray(y, dtype=int)", {}, {}),
    "whole floats in a list": (Y.astype(float).tolist(), "np.asarray(y, dtype=int)", {}, {}),
    "whole floats in a tensor": (torch.tensor(Y.astype(float)), "np.asarray(y, dtype=int)", {}, {}),
    "fractions": (X[:, 0], "one output and loss='mse'", {}, VALUES),
    "from 1": (Y + 1, "y - 1", {}, {}),
    "from 1 in a list": ((Y + 1).tolist(), "np.asarray(y) - 1", {}, {}),
    "from 1 in a series": (pd.Series(Y + 1), "np.asarray(y) - 1", {}, {}),
    "from 1, unsigned": ((Y + 1).astype(np.uint8), "y - 1", {}, {}),
    "-1 and 1": (np.sign(X[:, 0]).astype(int), "(y + 1) // 2", {}, {}),
    "-1 and 1, floats": (np.sign(X[:, 0]), "(np.asarray(y, dtype=int) + 1) // 2", {}, {}),
    "from 1, floats": (Y + 1.0, "np.asarray(y, dtype=int) - 1", {}, {}),
    "gaps, floats": (Y * 5.0, UNIQUE, {}, {}),
    "more classes than outputs, floats": (np.arange(20) % 5 + 0.0, UNIQUE, {}, {"sizes": [3, 5]}),
    "gaps": (Y * 5, UNIQUE, {}, {}),
    "more classes than outputs": (np.arange(20) % 5, "give the net 5 outputs", {}, {"sizes": [3, 5]}),
    "more classes with gaps": (np.arange(20) % 5 * 3, UNIQUE, {}, {"sizes": [3, 5]}),
    "transposed": (P.T, "np.transpose(y)", {}, {}),
    "transposed lists": (P.T.tolist(), "np.transpose(y)", {}, {}),
    "counts": (P * 20, DIVIDED, {}, {}),
    "three digits": (P * 0.985, DIVIDED, {}, {}),
    "three digits in a list": ((P * 0.985).tolist(), OF_OTHERS, {}, {}),
    "three digits in a frame": (pd.DataFrame(P * 0.985), OF_OTHERS, {}, {}),
    "bfloat16 probabilities": (torch.tensor(P * 0.99).to(torch.bfloat16).float(), OF_OTHERS, {}, {}),
    "several classes": (np.ones((20, 3)), "loss='binary_cross_entropy'", {}, THREE),
    "values": (X, "loss='mse'", {}, {"loss": "mse"}),
    "values of one": (X[:, 0], "loss='mse'", BINARY, VALUES),
    "-1 and 1 for yes and no": (np.sign(X[:, 0]), "(y + 1) / 2", BINARY, BINARY),
    "-1 and 1 in a list": (np.sign(X[:, 0]).tolist(), "(np.asarray(y) + 1) / 2", BINARY, BINARY),
    "1 and 2": (Y % 2 + 1, "y - 1", BINARY, BINARY),
    "labels for yes and no": (Y, UNIQUE, BINARY, {"sizes": [3, 3]}),
    "pixels": (np.arange(60).reshape(20, 3) * 4.25, "y / 250.75", THREE, THREE),
    "one-hot": (Y, "np.eye(3)[np.asarray(y, dtype=int)]", THREE, THREE),
    "one-hot, values": (Y.tolist(), "np.eye(3)[np.asarray(y, dtype=int)]", {"loss": "mse"}, {"loss": "mse"}),
    "one more dimension": (P[:, None], "np.reshape(y, (len(y), -1))", {}, {}),
    "more columns": (X, "give the net 3 outputs", {"loss": "mse", "sizes": [3, 2]}, {"loss": "mse"}),
    "one value": (X[:, 0], "give the net one output", {"loss": "mse"}, VALUES),
    "tensor with a gradient": (torch.tensor(P, requires_grad=True), "y.detach().numpy()", {}, {}),
    "texts of values": (X.astype(str), "np.asarray(y, dtype=float)", {"loss": "mse"}, {"loss": "mse"}),
    "masked": (masked(X), "y.filled(0)", {"loss": "mse"}, {"loss": "mse"}),
}


@pytest.mark.parametrize("case", OF_Y)
def test_advice_on_y(case):
    given, advice, before, after = OF_Y[case]
    with pytest.raises((TypeError, ValueError), match=r"^y ") as caught:
        attempt(X, given, **before)
    text = str(caught.value)
    assert advice in text, text
    sizes = [case.get("sizes", [3, 4, 3])[-1] for case in (before, after)]
    assert sizes[0] == sizes[1] or "output" in text, text
    if advice.startswith("classes, y = "):
        _, mended = evaluated(advice.removeprefix("classes, y = "), y=given)
    else:
        mended = given if re.match("give the net|one output|loss=", advice) else evaluated(advice, y=given)
    attempt(X, mended, **after)


def missing_dropped(x):
    kept = np.isfinite(np.asarray(x, dtype=float)).all(axis=1)
    return x[kept], Y[kept]


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_rows_with_missing_values_can_be_removed_or_filled_in(value):
    frame = FRAME.astype(object if value is None else float)
    frame.iloc[3, 1] = value
    with pytest.raises(ValueError, match=r"in row 3, column 'age'.*(remove such rows|remove or replace such rows)"):
        attempt(frame, Y)
    attempt(*missing_dropped(frame))
    frame.iloc[3, 1] = 0.0
    attempt(frame, Y)


def test_too_large_numbers():
    big = changed(X, (3, 1), 1e300)
    with pytest.raises(ValueError, match=r"row 3, column 1 .* scale X down or make the net with dtype='float64'"):
        attempt(big, Y)
    attempt(big / 1e300, Y)
    assert len(_check.inputs("X", big, 3, np.dtype("float64"))) == 20
    beyond = np.full((20, 3), 10**400, object)
    with pytest.raises(ValueError, match=r"too large for float64; scale X down$"):
        attempt(beyond, Y, dtype="float64")
    attempt(beyond // 10**400, Y)


def test_rows_of_unequal_length():
    rows = X.tolist()
    rows[7] = rows[7][:2]
    with pytest.raises(ValueError, match="row 0 has 3 entries, and row 7 has 2 entries; make the rows equally long"):
        attempt(rows, Y)
    rows[7].append(0.0)
    attempt(rows, Y)


def test_rows_without_a_class():
    y = changed(np.eye(3)[Y], (4, 1), 0)
    with pytest.raises(ValueError, match="remove rows without a class, as row 4, or give them one"):
        attempt(X, y)
    kept = y.any(axis=1)
    attempt(X[kept], y[kept])
    y[4, 0] = 1
    attempt(X, y)


def test_entries_of_other_types():
    x = changed(X.astype(object), (2, 1), 3 + 0j)
    with pytest.raises(TypeError, match=r"row 2, column 1; replace the entries of type complex by numbers"):
        attempt(x, Y)
    x[2, 1] = 3
    attempt(x, Y)


def test_tensors_without_numbers():
    with pytest.raises(TypeError, match="the device 'meta', which has none; load them first"):
        attempt(torch.empty((20, 3), device="meta"), Y)


# ---- arguments: what fails, what it says, and what works then ---------------------------------------------

NET = vg.MLP([3, 4, 3], rng=0)
MSE = vg.MLP([3, 3], loss="mse", rng=0)
DONE = vg.MLP([3, 3], rng=0).fit(X, Y, 2, inspect_every=1)
PLAIN = vg.MLP([3, 3], rng=0).fit(X, Y, 2)


def with_nan():
    net = vg.MLP([3, 4, 3], rng=0)
    net.weights[0][0, 0] = np.nan
    return net


def mended_of(net):
    net.weights[0] = np.ones((3, 4))
    return net


ARGUMENTS = {
    "epochs 10.0": (lambda: NET.copy().fit(X, Y, 10.0), "use 10", lambda: NET.copy().fit(X, Y, 10)),
    "epochs '3'": (lambda: NET.copy().fit(X, Y, "3"), "use 3", lambda: NET.copy().fit(X, Y, 3)),
    "epochs array": (lambda: NET.copy().fit(X, Y, np.array(3)), "use 3", lambda: NET.copy().fit(X, Y, 3)),
    "layer 1.0": (lambda: NET.trace(1.0, 0, 0, X[0], 1), "use 1", lambda: NET.trace(1, 0, 0, X[0], 1)),
    "lr '0.1'": (lambda: vg.SGD("0.1"), "use 0.1", lambda: vg.SGD(0.1)),
    "lr array": (lambda: vg.SGD(np.array(0.5)), "use 0.5", lambda: vg.SGD(0.5)),
    "lr tensor": (lambda: vg.SGD(torch.tensor(0.5)), "use 0.5", lambda: vg.SGD(0.5)),
    "nesterov": (
        lambda: vg.SGD(nesterov=True),
        "for example momentum=0.9",
        lambda: vg.SGD(nesterov=True, momentum=0.9),
    ),
    "optimizer": (
        lambda: NET.copy().step(X, Y, "sgd"),
        "vg.SGD(lr=0.1)",
        lambda: NET.copy().step(X, Y, vg.SGD(lr=0.1)),
    ),
    "lr for float32": (
        lambda: NET.copy().step(X, Y, vg.SGD(lr=1e-46)),
        "must be from 1.401298464324817e-45 to",
        lambda: NET.copy().step(X, Y, vg.SGD(lr=1.401298464324817e-45)),
    ),
    "sizes a set": (lambda: vg.MLP({3, 4}), "such as [64, 30, 10]", lambda: vg.MLP([64, 30, 10])),
    "sizes a number": (lambda: vg.MLP(3), "such as [64, 30, 10]", lambda: vg.MLP([64, 30, 10])),
    "sizes of one": (lambda: vg.MLP([3]), "such as [64, 30, 10]", lambda: vg.MLP([64, 30, 10])),
    "sizes of floats": (lambda: vg.MLP([3.0, 2]), "use 3", lambda: vg.MLP([3, 2])),
    "one output": (
        lambda: vg.MLP([3, 1]),
        "use loss='binary_cross_entropy'",
        lambda: vg.MLP([3, 1], loss="binary_cross_entropy"),
    ),
    "init uncalled": (
        lambda: vg.MLP([3, 2], init=vg.init.he_normal),
        "call it: vg.init.he_normal()",
        lambda: vg.MLP([3, 2], init=vg.init.he_normal()),
    ),
    "init a number": (
        lambda: vg.MLP([3, 2], init=0.05),
        "vg.init.normal(0.05)",
        lambda: vg.MLP([3, 2], init=vg.init.normal(0.05)),
    ),
    "rng": (
        lambda: vg.MLP([3, 2], rng=np.random.RandomState(1)),
        "np.random.default_rng(seed)",
        lambda: vg.MLP([3, 2], rng=np.random.default_rng(1)),
    ),
    "rng negative": (lambda: vg.MLP([3, 2], rng=-1), "a whole number, at least 0", lambda: vg.MLP([3, 2], rng=0)),
    "validation_data": (
        lambda: NET.copy().fit(X, Y, validation_data=X),
        "a pair (X, y)",
        lambda: NET.copy().fit(X, Y, validation_data=(X, Y)),
    ),
    "callbacks": (
        lambda: NET.copy().fit(X, Y, callbacks=print),
        "put it in a list, callbacks=[...]",
        lambda: NET.copy().fit(X, Y, callbacks=[lambda net, history: None]),
    ),
    "progress": (
        lambda: NET.copy().fit(X, Y, progress=True),
        "a function of (done, total, history)",
        lambda: NET.copy().fit(X, Y, progress=lambda done, total, history: None),
    ),
    "histograms": (
        lambda: NET.copy().fit(X, Y, inspect="histograms"),
        "for example inspect_every=10",
        lambda: NET.copy().fit(X, Y, inspect="histograms", inspect_every=10),
    ),
    "predict_proba": (lambda: MSE.predict_proba(X), "use predict", lambda: MSE.predict(X)),
    "several layers": (
        lambda: NET.copy().weights.__setitem__(slice(0, 1), [X]),
        "such as weights[0]",
        lambda: NET.copy().weights.__setitem__(0, np.ones((3, 4))),
    ),
    "another shape": (
        lambda: NET.copy().weights.__setitem__(0, X),
        "weights[0] has shape (3, 4), got (20, 3); give an array of that shape",
        lambda: NET.copy().weights.__setitem__(0, np.ones((3, 4))),
    ),
    "nothing inspected": (
        lambda: PLAIN.to_pandas(),
        "fit(..., inspect_every=10)",
        lambda: NET.copy().fit(X, Y, inspect_every=10).to_pandas(),
    ),
    "quantities": (
        lambda: vg.log.Log(print, "gain"),
        "such as ['grad_norm', 'gain']",
        lambda: vg.log.Log(print, ["grad_norm", "gain"]),
    ),
    "send": (lambda: vg.log.Log(3), "a function of (values, step)", lambda: vg.log.Log(lambda values, step: None)),
    "one width": (
        lambda: theory.relu_moment_ratio(30),
        "for one number use [30]",
        lambda: theory.relu_moment_ratio([30]),
    ),
    "moments": (
        lambda: theory.predict_from_moments([3, 3, 3], "relu", [0.1], [0, 0], [1]),
        "weight_squares must have 2 numbers, one a layer",
        lambda: theory.predict_from_moments([3, 3, 3], "relu", [0.1, 0.1], [0, 0], [1]),
    ),
    "theory of NaN": (
        lambda: theory.predict(with_nan(), X),
        "assign finite values",
        lambda: theory.predict(mended_of(with_nan()), X),
    ),
    "trace of NaN": (
        lambda: with_nan().trace(1, 0, 0, X[0], 1),
        "assign finite ones",
        lambda: mended_of(with_nan()).trace(1, 0, 0, X[0], 1),
    ),
    "check of NaN": (
        lambda: with_nan().check_gradient(1, 0, 0, X, Y),
        "assign finite ones",
        lambda: mended_of(with_nan()).check_gradient(1, 0, 0, X, Y),
    ),
    "trace of rows": (
        lambda: NET.trace(1, 0, 0, X, Y),
        "give x[0] and y[0]",
        lambda: NET.trace(1, 0, 0, X[0], Y[0]),
    ),
    "trace of a part": (
        lambda: NET.trace(1, 0, 0, X[0, :2], 1),
        "give one whole row of X",
        lambda: NET.trace(1, 0, 0, X[0], 1),
    ),
    "trace for all y": (
        lambda: NET.trace(1, 0, 0, X[0], Y),
        "give the y of that sample",
        lambda: NET.trace(1, 0, 0, X[0], Y[0]),
    ),
    "trace of no layer": (
        lambda: NET.trace(0, 0, 0, X[0], 1),
        "must be from 1 to 2",
        lambda: [NET.trace(layer, 0, 0, X[0], 1) for layer in (1, 2)],
    ),
    "paths": (
        lambda: NET.trace(1, 0, 0, X[0], 1, 10**6),
        f"paths must be from 1 to {trace.MOST_PATHS}",
        lambda: NET.trace(1, 0, 0, X[0], 1, trace.MOST_PATHS),
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_advice_on_arguments(case):
    wrong, advice, right = ARGUMENTS[case]
    with pytest.raises((TypeError, ValueError, vg.DivergenceError)) as caught:
        wrong()
    assert advice in str(caught.value), str(caught.value)
    right()


def test_a_sample_without_a_finite_gradient():
    net = vg.MLP([3, 4, 3], "relu", dtype="float64", rng=0)
    net.weights[0], net.weights[1] = np.full((3, 4), 1e10), np.full((4, 3), 1e10)
    with pytest.raises(vg.DivergenceError, match="scale x or start from smaller weights"):
        net.trace(1, 0, 0, np.full(3, 1e300), 1)
    assert net.trace(1, 0, 0, np.ones(3), 1).layer == 1
    net.weights[0], net.weights[1] = np.full((3, 4), 1e-300), np.ones((4, 3))
    assert net.trace(1, 0, 0, np.full(3, 1e300), 1).layer == 1


def test_a_frame_of_samples_to_trace():
    with pytest.raises(ValueError, match=re.escape("give x.iloc[0] and y[0]")):
        NET.trace(1, 0, 0, FRAME, Y)
    assert NET.trace(1, 0, 0, FRAME.iloc[0], Y[0]).layer == 1


def test_a_net_that_another_thread_trains():
    net, training, enough = vg.MLP([3, 4, 3], rng=0), threading.Event(), threading.Event()

    def wait(net, history):
        training.set()
        enough.wait(60)

    copied = net.copy()
    other = threading.Thread(target=net.fit, args=(X, Y, 1), kwargs={"callbacks": [wait]})
    other.start()
    assert training.wait(60)
    with pytest.raises(RuntimeError, match=r"wait for that, or give each thread a net.copy\(\) of its own beforehand"):
        net.fit(X, Y)
    copied.fit(X, Y)
    enough.set()
    other.join()
    net.fit(X, Y)


def test_files_that_cannot_be_written(tmp_path):
    from vgfast import plots

    with pytest.raises(OSError, match="choose another path"):
        DONE.to_jsonl(tmp_path / "none" / "log.jsonl")
    DONE.to_jsonl(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="is or is in a file; choose another"):
        plots.check_folder(tmp_path / "log.jsonl" / "pictures")
    plots.check_folder(tmp_path / "pictures")


@pytest.mark.parametrize("asked", ["many", "0", "2.0"])
def test_the_number_of_threads_in_the_environment(monkeypatch, asked):
    monkeypatch.setenv("VGFAST_NUM_THREADS", asked)
    with pytest.raises(ValueError, match=f"set it to a whole number from 1 to {config._core.THREADS_MOST}"):
        config._default_threads()
    for mended in ("1", str(config._core.THREADS_MOST)):
        monkeypatch.setenv("VGFAST_NUM_THREADS", mended)
        assert config._default_threads() == int(mended)


def test_the_instruction_set_in_the_environment(monkeypatch):
    before = vg.config._core.isa()
    monkeypatch.setenv("VGFAST_ISA", "avx9000")
    with pytest.raises(ImportError, match="set it to one of these or unset it") as caught:
        config._choose_isa()
    there = str(caught.value).split("there is ")[1].split(":")[0].split(", ")
    for isa in there:
        monkeypatch.setenv("VGFAST_ISA", isa)
        config._choose_isa()
        assert config._core.isa() == isa
    monkeypatch.delenv("VGFAST_ISA")
    config._choose_isa()
    config._core.use_isa(before)
