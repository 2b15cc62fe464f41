"""Predictions and losses that are not finite are told of, with advice that helps."""

import numpy as np
import pytest
from small_nets import X

import vgfast as vg


@pytest.mark.parametrize("rows", [2, 300])
def test_a_net_with_nan_predicts_nothing(rows):
    x, y = np.ones((rows, 6), np.float32), np.zeros(rows, int)
    net = vg.MLP([6, 10, 3], rng=0)
    net.biases[1][0] = np.nan
    for call in (net.forward, net.predict, net.predict_proba, lambda x: net.evaluate(x, y)):
        with pytest.raises(vg.DivergenceError, match=r"parameters hold NaN or infinity.*assign finite ones"):
            call(x)
    net.params = vg.MLP([6, 10, 3], rng=0).params  # the advice
    net.predict(x), net.evaluate(x, y)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_predictions_that_overflow_are_told(loss):
    x = np.ones((70, 6), np.float32)
    x[33] = 3e38
    net = vg.MLP([6, 10, 3], "identity", loss, rng=0)
    y = np.zeros(70, int) if loss == "cross_entropy" else np.zeros((70, 3))
    for rows in (slice(None), slice(30, 40)):
        where = 33 - (rows.start or 0)
        for call in (net.forward, net.predict, lambda x, rows=rows: net.evaluate(x, y[rows])):
            with pytest.raises(
                vg.DivergenceError, match=rf"row {where} of X, whose largest value is 3e\+38.*scale X down"
            ):
                call(x[rows])
    net.predict(x / 3e38), net.evaluate(x / 3e38, y)  # the advice


def test_a_loss_that_overflows_is_told():
    net, y = vg.MLP([6, 10, 3], loss="mse", dtype="float64", rng=0), np.zeros((100, 3))
    y[7, 1] = 1e200
    with pytest.raises(vg.DivergenceError, match=r"loss of row 7 is too large for float64.*y as 1e\+200; scale"):
        net.evaluate(X, y)
    assert np.isfinite(net.evaluate(X, y / 1e190).loss)  # the advice
    with pytest.raises(vg.DivergenceError, match=r"its outputs are as large as \S+e\+\d\d\d, .* scale X and y down"):
        net.evaluate(X.astype(float) * 1e200, y / 1e200)
    assert np.isfinite(net.evaluate(X, y / 1e200).loss)
