"""Advice in an error about X or y that is no expression works when it is followed."""

import types

import numpy as np
import pytest
from advised import FRAME, P, X, Y, attempt, changed, evaluated, masked

import vgfast as vg
from vgfast import _check
from vgfast._check import arrays

pytestmark = pytest.mark.usefixtures("strict")


@pytest.mark.parametrize(
    ("given", "outputs", "advice", "mended"),
    [
        (X, 2, "or y 2 columns", X[:, :2]),
        (X[:, 0], 2, "or y 2 columns", X[:, :2]),
        (np.ones((20, 2, 2)), 3, "give y two dimensions", np.ones((20, 3))),
    ],
)
def test_columns_of_y_as_many_as_outputs(given, outputs, advice, mended):
    net = {"loss": "mse", "sizes": [3, outputs]}
    with pytest.raises(ValueError, match=rf"^y must have shape \(20, {outputs}\) .*{advice}$"):
        attempt(X, given, **net)
    attempt(X, mended, **net)


@pytest.mark.parametrize(
    ("method", "place"), [("fit", 0), ("fit", 1), ("predict", 0), ("gradients", 1), ("backward", 1)]
)
def test_more_elements_than_one_array_may_have(method, place):
    given = {"predict": [X], "backward": [X, P]}.get(method, [X, Y])
    huge = [*given]
    huge[place] = np.broadcast_to(given[place][0], (2**31, *given[place].shape[1:]))  # which takes no memory
    net = vg.MLP([3, 4, 3], rng=0)
    call = getattr(net, method)
    with pytest.raises(ValueError, match=r"elements, .* if that is not a mistake of broadcasting, give it in parts$"):
        call(*huge)
    huge[place] = huge[place][:20]
    call(*huge)


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
    rows[7][1] = [0.0]
    with pytest.raises(ValueError, match="row 7, column 1 has 1 entry; make the entries equally long"):
        attempt(rows, Y)
    rows[7][1] = 0.0
    attempt(rows, Y)
    images = X.reshape(20, 3, 1).tolist()
    images[7][1] = [[0.0]]
    with pytest.raises(ValueError, match="make what is within its entries equally long"):
        attempt(images, Y)
    images[7][1] = [0.0]
    attempt(np.reshape(images, (20, 3)), Y)


def test_rows_with_masked_values_can_be_dropped():
    x = masked(X)
    with pytest.raises(ValueError, match=r"X has masked values, .* or drop their rows"):
        attempt(x, Y)
    kept = ~x.mask.any(axis=1)
    attempt(x[kept], Y[kept])


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


def test_what_has_no_numbers():
    raw = np.zeros((20, 3), "V4")
    with pytest.raises(TypeError, match=r"replace what is of dtype \|V4 by numbers"):
        attempt(raw, Y)
    attempt(raw.view(np.float32), Y)


class Bfloat16Array(np.ndarray):
    """What NumPy shows of an array of JAX's bfloat16, where that is not installed."""

    dtype = property(lambda _: types.SimpleNamespace(kind="V", name="bfloat16", names=None))


def test_floats_that_numpy_does_not_have():
    given = X.view(Bfloat16Array)
    for name, x in (("X", given), ("np.asarray(X)", list(given))):
        with pytest.raises(TypeError, match=r"^X must hold real numbers, got dtype ") as caught:
            arrays.real_numbers("X", given, x)
        advice = str(caught.value).rpartition("use ")[2]
        assert advice == f"{name}.astype('float32')"
        attempt(evaluated(advice, X=x), Y)


def test_floats_of_jax():
    given = X.astype(pytest.importorskip("ml_dtypes").bfloat16)
    for x in (given, list(given)):
        with pytest.raises(TypeError, match=r"^X must hold real numbers, got dtype bfloat16; use ") as caught:
            attempt(x, Y)
        attempt(evaluated(str(caught.value).rpartition("use ")[2], X=x), Y)


class NotLoaded:
    """What a tensor does that has a shape and no numbers."""

    device, requires_grad = "meta", False

    def __array__(self, dtype=None, copy=None):
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    def load(self):
        return X


def test_tensors_without_numbers():
    with pytest.raises(TypeError, match="the device 'meta', which has none; load them first"):
        attempt(NotLoaded(), Y)
    attempt(NotLoaded().load(), Y)


def test_tensors_without_numbers_of_torch(torch):
    layer = torch.nn.Linear(3, 20, device="meta")
    for x in (layer.weight, list(layer.weight)):
        with pytest.raises(TypeError, match="the device 'meta', which has none; load them first"):
            attempt(x, Y)
    layer.load_state_dict({"weight": torch.tensor(X), "bias": torch.zeros(20)}, assign=True)
    attempt(layer.weight.detach(), Y)
