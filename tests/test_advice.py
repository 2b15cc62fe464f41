"""Advice in an error about X or y works when it is followed: it is done word for word, and then the net trains."""

import re

import numpy as np
import pytest

import vgfast as vg
from vgfast import _check

pd = pytest.importorskip("pandas")
try:
    import torch
except ImportError:  # its cases are left out
    torch = None
pytestmark = pytest.mark.usefixtures("strict")

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3
P = np.random.default_rng(0).dirichlet(np.ones(3), 20)
FRAME = pd.DataFrame(X, columns=["size", "age", "income"])
DATES = pd.date_range("2020", periods=20)
RECORDS = np.array(list(map(tuple, X)), [(name, float) for name in "abc"])


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
    "within another": (X[None], "X[0]", {}),
    "transposed": (X.T, "np.transpose(X)", {}),
    "transposed, frame": (FRAME.T, "np.transpose(X)", {}),
    "transposed lists": (X.T.tolist(), "np.transpose(X)", {}),
    "sparse": (Sparse(X.tolist()), "X.toarray()", {}),
    "masked": (masked(X), "X.filled(0)", {}),
    "complex": (X + 0j, "np.real(X)", {}),
    "complex, absolute": (X + 1j, "np.abs(X)", {}),
    "texts of numbers": (X.astype(str), "np.asarray(X, dtype=float)", {}),
    "texts of numbers beside numbers": ([[1, "2", True]] * 20, "np.asarray(X, dtype=float)", {}),
    "bytes of numbers": (X.astype("S"), "np.asarray(X, dtype=float)", {}),
    "texts of numbers in a frame": (FRAME.astype({"age": str}), "np.asarray(X, dtype=float)", {}),
    "records": (RECORDS, "np.array(X.tolist())", {}),
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
if torch is not None:
    BF16 = torch.tensor(X).to(torch.bfloat16)
    OF_X |= {
        "images, tensor": (torch.tensor(X).reshape(20, 3, 1, 1), "np.reshape(np.asarray(X), (len(X), -1))", {}),
        "tensor with a gradient": (torch.tensor(X, requires_grad=True), "X.detach().numpy()", {}),
        "list of them": (list(torch.tensor(X, requires_grad=True)), "[row.detach().numpy() for row in X]", {}),
        "bfloat16": (BF16, "X.float().numpy()", {}),
        "bfloat16 with a gradient": (BF16.clone().requires_grad_(), "X.detach().float().numpy()", {}),
        "list of bfloat16": (list(BF16), "[row.float().numpy() for row in X]", {}),
        "sparse tensor": (torch.tensor(X).to_sparse(), "X.to_dense().numpy()", {}),
        "tensor on a GPU": (OnAnotherDevice(X), "X.cpu().numpy()", {}),
    }


def evaluated(expression, **names):
    return eval(expression, {"np": np, "pd": pd, "vg": vg, **names})


@pytest.mark.parametrize("case", OF_X)
def test_advice_on_X(case):
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
    "texts and numbers in a list": (
        ["a", 1, 2, "b", 1] * 4,
        "classes, y = np.unique(np.asarray(y, dtype=str), return_inverse=True)",
        {},
        {"sizes": [3, 4]},
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
    "an iterator": (iter(Y), "list(y)", {}, {}),
    "records": (np.array([*map(tuple, P)], [(name, float) for name in "abc"]), "np.array(y.tolist())", {}, {}),
    "whole floats": (Y.astype(float), "np.asarray(y, dtype=int)", {}, {}),
    "whole floats in a list": (Y.astype(float).tolist(), "np.asarray(y, dtype=int)", {}, {}),
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
    "texts of values": (X.astype(str), "np.asarray(y, dtype=float)", {"loss": "mse"}, {"loss": "mse"}),
    "masked": (masked(X), "y.filled(0)", {"loss": "mse"}, {"loss": "mse"}),
}
if torch is not None:
    OF_Y |= {
        "a column, matrix": (torch.tensor(Y)[:, None], "np.ravel(y)", {}, {}),
        "whole floats in a tensor": (torch.tensor(Y.astype(float)), "np.asarray(y, dtype=int)", {}, {}),
        "bfloat16 probabilities": (torch.tensor(P * 0.99).to(torch.bfloat16).float(), OF_OTHERS, {}, {}),
        "tensor with a gradient": (torch.tensor(P, requires_grad=True), "y.detach().numpy()", {}, {}),
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


@pytest.mark.skipif(torch is None, reason="without torch")
def test_tensors_without_numbers():
    with pytest.raises(TypeError, match="the device 'meta', which has none; load them first"):
        attempt(torch.empty((20, 3), device="meta"), Y)
