"""Advice in an error about X or y works when it is followed: it is done word for word, and then the net trains."""

import re

import numpy as np
import pytest
from advised import FRAME, P, X, Y, attempt, changed, evaluated, masked, pd

import vgfast as vg

try:
    import torch
except ImportError:  # its cases are left out
    torch = None
pytestmark = pytest.mark.usefixtures("strict")

DATES = pd.date_range("2020", periods=20)
DAYS = np.stack([DATES.to_numpy()] * 3, axis=1)
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


class Sparse(list):
    def toarray(self):
        return np.array(self)


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
    "records in a list": (list(RECORDS), "np.array(np.asarray(X).tolist())", {}),
    "arrays in an array": (pd.Series(list(X)), "np.stack(X)", {}),
    "lists in an array": (pd.Series(X.tolist()).to_numpy(), "np.stack(X)", {}),
    "lists in a frame": (pd.DataFrame({"all": X.tolist()}), "np.stack(np.ravel(X)).reshape(len(X), -1)", {}),
    "dicts": (FRAME.to_dict("records"), "pd.DataFrame(list(X))", {}),
    "dicts in a series": (pd.Series(FRAME.to_dict("records")), "pd.DataFrame(list(X))", {}),
    "an iterator": (iter(X), "list(X)", {}),
    "values of a dict": (dict(enumerate(X)).values(), "list(X)", {}),
    "dates": (DAYS, "by (X - X.min()) / np.timedelta64(1, 'D')", {}),
    "dates in a list": (list(DAYS), "by (np.asarray(X) - np.asarray(X).min()) / np.timedelta64(1, 'D')", {}),
    "spans": (DAYS - DAYS[0], "by X / np.timedelta64(1, 'D')", {}),
    "spans in a list": (list(DAYS - DAYS[0]), "by np.asarray(X) / np.timedelta64(1, 'D')", {}),
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
        "list of which some require a gradient": (
            [*torch.tensor(X[:19]), torch.tensor(X[19], requires_grad=True)],
            "[row.detach().numpy() for row in X]",
            {},
        ),
        "float8": (torch.tensor(X).to(torch.float8_e4m3fn), "X.float().numpy()", {}),
        "sparse tensor": (torch.tensor(X).to_sparse(), "X.to_dense().numpy()", {}),
        "tensor on a GPU": (OnAnotherDevice(X), "X.cpu().numpy()", {}),
    }


@pytest.mark.parametrize("case", OF_X)
def test_advice_on_X(case):
    given, advice, more = OF_X[case]
    y = more.get("y", Y)
    sizes = {"sizes": [3, 4, 3]}
    with pytest.raises((TypeError, ValueError), match=r"^X ") as caught:
        attempt(given, y, **({"sizes": more["sizes"]} if "reshape" in advice and "sizes" in more else sizes))
    assert advice in str(caught.value), str(caught.value)
    mended = evaluated(advice.removeprefix("by "), X=given)
    if "column" in more:
        whole = given.copy() if isinstance(given, pd.DataFrame) else given.astype(object)
        whole[more["column"] if isinstance(whole, pd.DataFrame) else (slice(None), more["column"])] = mended
        mended = whole.astype(float) if whole is not given and case.startswith("a text in an array") else whole
    attempt(mended, y, sizes=more.get("sizes", [3, 4, 3]))


# The same of what else is an array.
def train(net, **how):
    net.fit(X, Y, 1, **how)


CALLS = {
    "dz": lambda net, dz: net.backward(X, dz),
    "validation_data[0]": lambda net, x: train(net, validation_data=(x, Y)),
    "validation_data[1]": lambda net, y: train(net, validation_data=(X, y)),
    "x": lambda net, x: net.trace(1, 0, 0, x, 1),
    "y": lambda net, y: net.trace(1, 0, 0, X[0], y),
    "params": lambda net, params: setattr(net, "params", params),
    "weights[1]": lambda net, w: net.weights.__setitem__(1, w),
    "biases[0]": lambda net, b: net.biases.__setitem__(0, b),
}
OF_OTHER_ARRAYS = [
    ("dz", P.T, "np.transpose(dz)"),
    ("dz", P[:, None].tolist(), "np.reshape(np.asarray(dz), (len(dz), -1))"),
    ("dz", masked(X), "dz.filled(0)"),
    ("dz", iter(P), "list(dz)"),
    ("validation_data[0]", X.T, "np.transpose(validation_data[0])"),
    ("validation_data[0]", Sparse(X.tolist()), "validation_data[0].toarray()"),
    ("validation_data[1]", Y + 1.0, "np.asarray(validation_data[1], dtype=int) - 1"),
    ("validation_data[1]", P * 20, "validation_data[1] / validation_data[1].sum(axis=1, keepdims=True)"),
    ("x", X[0].astype(str), "np.asarray(x, dtype=float)"),
    ("x", X[0] + 0j, "np.real(x)"),
    ("y", 1.0, "np.asarray(y, dtype=int)"),
    ("y", P[:1] * 20, "y / y.sum(axis=1, keepdims=True)"),
    ("params", np.arange(31.0).astype(str), "np.asarray(params, dtype=float)"),
    ("weights[1]", Sparse(np.ones((4, 3)).tolist()), "weights[1].toarray()"),
    ("biases[0]", np.ones(4) + 1j, "np.abs(biases[0])"),
]


@pytest.mark.parametrize(("name", "given", "advice"), OF_OTHER_ARRAYS, ids=[case[2] for case in OF_OTHER_ARRAYS])
def test_advice_on_other_arrays(name, given, advice):
    net = vg.MLP([3, 4, 3], rng=0)
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(name)} ") as caught:
        CALLS[name](net, given)
    assert advice in str(caught.value), str(caught.value)
    mended = evaluated(advice, **{name.partition("[")[0]: [given, given] if "[" in name else given})
    CALLS[name](net, mended)


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
    "texts among values": (
        changed(X[:, 0].astype("U9"), 5, "ten"),
        "np.unique(np.asarray(y).astype(str), return_inverse=True)[1]",
        VALUES,
        VALUES,
    ),
    "texts in a frame": (
        FRAME.assign(age=list("ab") * 10),
        "pd.get_dummies(y, columns=['age'])",
        {"loss": "mse"},
        {"loss": "mse", "sizes": [3, 4]},
    ),
    "lists in a series": (pd.Series(X.tolist()), "np.stack(y)", {"loss": "mse"}, {"loss": "mse"}),
    "dicts": (FRAME.to_dict("records"), "pd.DataFrame(list(y))", {"loss": "mse"}, {"loss": "mse"}),
    "dates": (
        pd.Series(DATES),
        "(np.asarray(y) - np.asarray(y).min()) / np.timedelta64(1, 'D')",
        VALUES,
        VALUES,
    ),
    "dates with a zone": (
        pd.Series(DATES.tz_localize("UTC")),
        "(y - y.min()) / np.timedelta64(1, 'D')",
        VALUES,
        VALUES,
    ),
    "dates of Python": (pd.Series(DATES.date), "(y - y.min()) / np.timedelta64(1, 'D')", VALUES, VALUES),
    "images": (np.ones((20, 2, 2)), "np.reshape(y, (len(y), -1))", *[{"loss": "mse", "sizes": [3, 4]}] * 2),
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
    assert sizes[0] == sizes[1] or "output" in text or "make the net for as many columns" in text, text
    if advice.startswith("classes, y = "):
        _, mended = evaluated(advice.removeprefix("classes, y = "), y=given)
    else:
        mended = given if re.match("give the net|one output|loss=", advice) else evaluated(advice, y=given)
    attempt(X, mended, **after)
