"""What may be handed over as X and y: what is taken, as what, and what is refused with its place."""

import array
import contextlib
import datetime
import decimal
import fractions

import numpy as np
import pytest

import vgfast as vg
from vgfast import _check, _core
from vgfast.inspection import mean_field

pd = pytest.importorskip("pandas")

F32, F64 = np.dtype("float32"), np.dtype("float64")
X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3


def trained(x, y, sizes=(3, 4, 3), **kwargs):
    net = vg.MLP(sizes, rng=0, **kwargs)
    net.fit(x, y, epochs=2, optimizer=vg.SGD(lr=0.1))
    return net.params


def refusal(x, y, sizes=(3, 4, 3), **kwargs):
    net = vg.MLP(sizes, rng=0, **kwargs)
    with pytest.raises((TypeError, ValueError)) as caught:
        net.fit(x, y)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what others write meanwhile ------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(3))
def test_the_labels_that_are_checked_are_those_that_c_gets(monkeypatch, moment):
    y, copied, calls = np.array([0, 1, 2, 0], np.int32), np.array, []

    def meanwhile(*args, **kwargs):
        if len(calls) == moment:
            y[2] = 10**6  # as another thread may do, just before a copy is made
        calls.append(args)
        return copied(*args, **kwargs)

    monkeypatch.setattr(np, "array", meanwhile)
    labels = None  # refused
    with contextlib.suppress(ValueError):
        labels = _check.targets("y", y, 4, 3, "cross_entropy", F32)
    assert labels is None or labels.tolist() == [0, 1, 2, 0]


def test_labels_too_large_for_int32_do_not_wrap_around():
    for label in (2**32, 2**63, -(2**32)):
        y = np.array([0, 1, label], np.uint64 if label > 0 else np.int64)
        with pytest.raises(ValueError, match="labels from 0 to 1"):
            _check.targets("y", y, 3, 2, "cross_entropy", F32)


@pytest.mark.parametrize("assign", ["params", "weights"])
def test_the_parameters_that_are_checked_are_those_that_are_assigned(monkeypatch, assign):
    net = vg.MLP([3, 4, 2], rng=0)
    given = np.ones_like(net.params if assign == "params" else net.weights[0])
    checked = np.isfinite

    def meanwhile(x, *args, **kwargs):
        answer = checked(x, *args, **kwargs)
        given[...] = np.nan
        return answer

    monkeypatch.setattr(np, "isfinite", meanwhile)
    if assign == "params":
        net.params = given
    else:
        net.weights[0] = given
    monkeypatch.undo()
    assert np.isfinite(net.params).all()
    assert (net.weights[0] == 1).all()


# ---- small data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
def test_a_batch_larger_than_the_data_is_all_of_it(kind):
    nets = [kind([2, 8, 2], rng=0) for _ in range(3)]
    x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    histories = [net.fit(x, y, 3, size) for net, size in zip(nets, (4, 32, 10**12), strict=True)]
    for net, history in zip(nets, histories, strict=True):
        assert len(history.loss) == 3
        np.testing.assert_array_equal(net.params, nets[0].params)
    assert len(kind([2, 8, 2], rng=0).fit(x, y, validation_data=(x[:1], y[:1])).epochs) == 10


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("rows", [1, 2])
def test_no_default_refuses_small_data(loss, rows):
    """One row, one feature, one unit: every method with its defaults."""
    net = vg.MLP([1, 1, 2 if loss == "cross_entropy" else 1], "tanh", loss, rng=0)
    x, y = np.linspace(0.5, 1, rows)[:, None], [0, 1][:rows]
    assert len(net.fit(x, y, inspect_every=1, inspect="histograms", validation_data=(x, y)).loss) == 10
    assert np.isfinite(net.step(x, y))
    assert np.isfinite(net.evaluate(x, y).loss)
    assert len(net.predict(x)) == len(net.sample_norms(x, y)) == rows
    assert net.gradients(x, y).loss >= 0
    assert str(net.inspect(x, y))
    assert str(net.trace(1, 0, 0, x[0], y[0]))
    assert net.check_gradient(1, 0, 0, x, y).agrees
    assert len(mean_field.predict(net, x)) == 2


# ---- probabilities ----------------------------------------------------------------------------------------


def scaled(x):
    """To [0, 1] as scikit-learn's MinMaxScaler does it, in the dtype of x."""
    scale = 1 / (x.max(axis=0) - x.min(axis=0))
    return x * scale - x.min(axis=0) * scale


@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_ulp_beyond_one_is_rounding(given, dtype):
    rng = np.random.default_rng(0)
    y = np.concatenate([scaled(rng.uniform(1, 8, (50, 4)).astype(given)) for _ in range(40)])
    eps = np.finfo(given).eps
    assert y.max() > 1
    assert y.min() >= 0 or y.min() > -16 * eps
    found = _check.targets("y", y, len(y), 4, "binary_cross_entropy", np.dtype(dtype))
    np.testing.assert_array_equal(found, np.clip(y, 0, 1).astype(dtype))
    assert vg.MLP([4, 4], loss="binary_cross_entropy", dtype=dtype, rng=0).fit(y, y, 1).loss.min() > 0


def test_probabilities_from_zero_to_one_are_taken_as_they_are():
    y = np.random.default_rng(0).random((10, 2))
    assert _check.targets("y", y, 10, 2, "binary_cross_entropy", F64) is y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_that_is_refused_is_told_with_all_its_digits(dtype):
    y = np.full((20, 1), 0.5, dtype)
    for bad in (1 + 40 * np.finfo(dtype).eps, -40 * np.finfo(dtype).eps):
        y[3] = bad
        text = refusal(X, y, (3, 1), loss="binary_cross_entropy", dtype=dtype)
        told = text.split("got ")[1].split(";")[0]
        assert not 0 <= float(told) <= 1
        assert np.dtype(dtype).type(told) == y[3, 0]


@pytest.mark.parametrize("n", [10, 64])
def test_sums_of_rounded_probabilities(n):
    rng = np.random.default_rng(0)
    y = rng.dirichlet(np.ones(n), 20)
    most = n * 2.0**-11
    for off, given in ((0.9 * most, "float16"), (0.0009, "float32"), (0.0009, "float64")):
        trained(X, (y * (1 + off)).astype(given), (3, 4, n))
    for off, given in ((1.2 * most, "float16"), (0.0011, "float32"), (0.0011, "float64")):
        assert "sum to 1" in refusal(X, (y * (1 + off)).astype(given), (3, 4, n))


# ---- tables, objects --------------------------------------------------------------------------------------

NULLABLE = ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"]


@pytest.mark.parametrize("kind", NULLABLE)
def test_nullable_numbers_are_numbers(kind):
    x = np.random.default_rng(0).integers(0, 100, (20, 3))
    expected = trained(x, Y)
    frame = pd.DataFrame(x, columns=list("abc"))
    np.testing.assert_array_equal(trained(frame.astype(kind), Y), expected)
    np.testing.assert_array_equal(trained(frame.astype({"a": kind}), Y), expected)
    if "Int" in kind:
        np.testing.assert_array_equal(trained(x, pd.Series(Y).astype(kind)), expected)


def test_bools_and_objects_beside_floats_are_numbers():
    x = np.where(np.arange(3) == 1, X > 0, X).astype(np.float32).astype(float)
    expected = trained(x, Y)
    frame = pd.DataFrame(x, columns=list("abc"))
    for column in ("bool", "boolean", "object"):
        np.testing.assert_array_equal(
            trained(frame.assign(b=(x[:, 1] > 0).astype(int)).astype({"b": column}), Y), expected
        )
    np.testing.assert_array_equal(trained(x.astype(object), Y.astype(object)), expected)
    dummies = pd.get_dummies(pd.DataFrame({"n": X[:, 0], "c": list("ab") * 10}))
    assert len(trained(dummies, Y)) == len(expected)


def test_labels_in_objects_are_whole_numbers():
    for y in (Y.astype(object), [int(label) for label in Y], list(Y), pd.Series(Y, dtype=object)):
        found = _check.targets("y", y, 20, 3, "cross_entropy", F32)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, Y)


@pytest.mark.parametrize("kind", [decimal.Decimal, fractions.Fraction, np.float32, np.float64, np.longdouble])
def test_objects_that_are_real_numbers(kind):
    x = np.array([[kind(int(v)) / kind(4) for v in row] for row in np.arange(60).reshape(20, 3)], object)
    np.testing.assert_array_equal(_check.inputs("X", x, 3, F64), np.arange(60).reshape(20, 3) / 4)
    assert trained(x.tolist(), Y).dtype == F32


@pytest.mark.parametrize(
    ("missing", "told"), [(None, "None"), (pd.NA, "pd.NA"), (pd.NaT, "pd.NaT"), (float("nan"), "NaN")]
)
def test_a_missing_value_is_named_with_its_place(missing, told):
    frame = pd.DataFrame(X, columns=["size", "age", "income"]).astype({"age": object})
    frame.iloc[3, 1] = missing
    assert told in (text := refusal(frame, Y))
    assert text.startswith("X has")
    assert "row 3, column 'age'" in text
    rows = X.astype(object)
    rows[3, 1] = missing
    assert f"{told}" in (text := refusal(rows, Y))
    assert "row 3, column 1" in text
    y = Y.astype(object)
    y[5] = missing
    for labels in (y, y.tolist(), pd.Series(y, index=range(100, 120))):
        assert told in (text := refusal(X, labels))
        assert text.startswith("y has")
        assert "in row 5" in text
        assert "column" not in text


LABELS = {
    "('a', 5)": pd.MultiIndex.from_tuples([("a", 4), ("a", 5), ("b", 6)]),
    "(2, 5.5)": pd.MultiIndex.from_arrays([[1, 2, 3], [4.5, 5.5, 6.5]]),
    "2": pd.Index([1, 2, 3]),
    "2.5": pd.Index([1.5, 2.5, 3.5]),
}


@pytest.mark.parametrize("shown", LABELS)
def test_columns_are_named_plainly_whatever_their_labels(shown):
    def frame(*values):
        columns = [X[:, 0], values * (20 // len(values)), X[:, 2]]
        return pd.concat([pd.Series(column) for column in columns], axis=1).set_axis(LABELS[shown], axis=1)

    assert f"NaN in row 1, column {shown}, " in refusal(frame(0.5, float("nan")), Y)
    nullable = frame(0.5, 1.5).convert_dtypes()
    nullable.iloc[1, 1] = pd.NA
    assert f"(pd.NA) in row 1, column {shown}; " in refusal(nullable, Y)
    for texts in (frame("u", "v"), frame("u", "v").astype(dict.fromkeys(LABELS[shown][1:2], "category"))):
        text = refusal(texts, Y)
        assert f" column {shown}; " in text
        mended = eval(text.partition("with ")[2].partition(", and make")[0], {"pd": pd, "X": texts})  # as was told
        assert trained(mended, Y, (4, 4, 3)).dtype == F32


@pytest.mark.parametrize("call", ["fit", "predict", "evaluate", "inspect", "gradients"])
@pytest.mark.parametrize(
    ("value", "what"), [(float("nan"), "NaN"), (float("inf"), "infinity"), (decimal.Decimal("sNaN"), "NaN")]
)
def test_what_no_net_can_use_is_told_alike_by_every_call(call, value, what):
    x, net = X.astype(object), vg.MLP([3, 4, 3], rng=0)
    x[3, 1] = value
    told = rf"^X has {what} in row 3, column 1, which no net can use; remove or replace such rows$"
    with pytest.raises(ValueError, match=told):
        getattr(net, call)(*(x,) if call == "predict" else (x, Y))


@pytest.mark.parametrize("call", ["fit", "predict", "evaluate", "inspect"])
def test_masked_values_are_told_alike_by_every_call(call):
    with pytest.raises(ValueError, match=r"^X has masked values, which no net can use; fill them, "):
        getattr(vg.MLP([3, 4, 3], rng=0), call)(*(np.ma.masked_less(X, 0), Y)[: 1 if call == "predict" else 2])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "binary_cross_entropy"])
def test_a_signaling_nan_among_targets_is_told_of(loss):
    y = [decimal.Decimal(int(label)) for label in Y % 2]
    y[5] = decimal.Decimal("sNaN")
    sizes = (3, 4, 3 if loss == "cross_entropy" else 1)
    told = "y has NaN in row 5, which no net can use; remove or replace such rows"
    assert refusal(X, y, sizes, loss=loss) == told
    assert refusal(X, pd.Series(y), sizes, loss=loss) == told


def test_a_value_too_large_behind_a_nan_is_told_of():
    y = [decimal.Decimal("NaN"), 10**400, *[0] * 18]
    assert "y has a value in row 1 that is too large for float64" in refusal(X, y, (3, 4, 1), loss="mse")


@pytest.mark.parametrize("kind", [*NULLABLE, "boolean"])
def test_a_missing_value_of_a_nullable_column_is_named(kind):
    frame = pd.DataFrame(np.arange(60).reshape(20, 3) % 2, columns=list("abc")).astype({"b": kind})
    frame.iloc[7, 1] = pd.NA
    assert "X has a missing value (pd.NA) in row 7, column 'b'" in refusal(frame, Y)
    assert "y has a missing value (pd.NA) in row 7;" in refusal(X, frame["b"])


def test_columns_that_are_no_numbers_are_named():
    frame = pd.DataFrame(X, columns=["size", "age", "income"])
    for column in (["a", "b"] * 10, pd.Categorical([0, 1] * 10), pd.date_range("2020", periods=20), [1 + 2j] * 20):
        assert "column 'age'" in refusal(frame.assign(age=column), Y)
    assert "column 1" in refusal(frame.assign(age="a").set_axis(range(3), axis=1), Y)
    assert "column 'age'" in refusal(frame.assign(age=[datetime.date(2020, 1, 1)] * 20), Y)
    mixed = [[1, 2, 3.0]] * 19 + [[1, "ten", 3.0]]
    assert "'ten' in row 19, column 1" in refusal(mixed, Y)
    assert "'a' in row 0, column 1" in refusal([[True, "a", 3.0]] * 20, Y)
    assert "'a'" in refusal(X, [0, "a", 1, 2] * 5)
    assert refusal(frame[[]], Y).endswith("got 0 (shape (20, 0))")


def test_what_is_not_as_long_as_the_rest_is_named():
    for rows, words in (
        ([[1, 2, 3]] * 19 + [[1]], "row 0 has 3 entries, and row 19 has 1 entry; make the rows equally long"),
        ([[1, 2, [3]]] * 20, "row 0, column 0 has one number, and row 0, column 2 has 1 entry; make the entries"),
        ([[1, 2, 3]] * 19 + [[1, [2], 3]], "and row 19, column 1 has 1 entry; make the entries equally long"),
        ([[[1], [2], [3]]] * 19 + [[[1], [[2]], [3]]], "make what is within its entries equally long"),
    ):
        assert words in refusal(rows, Y)


def test_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    x = X.astype(np.float32)
    expected = trained(x, Y)
    for given in (torch.tensor(x), list(torch.tensor(x))):
        np.testing.assert_array_equal(trained(given, Y), expected)
    np.testing.assert_array_equal(trained(x, torch.tensor(Y)), expected)


def test_buffers_and_lists_of_arrays_are_arrays():
    x = X.astype(np.float32)
    expected = trained(x, Y)
    for given in (memoryview(x), list(x), tuple(map(tuple, x))):
        np.testing.assert_array_equal(trained(given, Y), expected)
    for labels in (array.array("i", Y), memoryview(Y), range(20)):
        if not isinstance(labels, range):
            np.testing.assert_array_equal(trained(x, labels), expected)
    assert len(trained(x, range(20), (3, 4, 20)))
