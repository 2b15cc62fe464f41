"""Weights of samples: the loss is sum(w loss) / sum(w), with its gradient, wherever there is a loss."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference
from vgfast.inspection.case import Case
from vgfast.inspection.divergence import take_apart
from vgfast.training.optimizers import SGD

NETS = [vg.MLP, reference.MLP]
LOSSES = ["cross_entropy", "probabilities", "binary_cross_entropy", "mse"]
ROWS, TIMES = 9, np.array([1, 3, 0, 2, 1, 0, 5, 1, 2])
AGAIN = np.repeat(np.arange(ROWS), TIMES)


def make(loss, kind=vg.MLP, n_out=3, dtype="float64", rows=ROWS):
    """A net and a batch for it, with and without labels."""
    rng = np.random.default_rng(3)
    net = kind([5, 8, 6, n_out], "tanh", "cross_entropy" if loss == "probabilities" else loss, dtype=dtype, rng=1)
    y = {
        "cross_entropy": rng.integers(0, n_out, rows),
        "probabilities": rng.dirichlet(np.ones(n_out), rows),
        "binary_cross_entropy": rng.random((rows, n_out)),
        "mse": rng.normal(size=(rows, n_out)),
    }[loss]
    return net, rng.normal(size=(rows, 5)), y


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("n_out", [3, 16, 17, 40])
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_repeated_rows(isa, kind, n_out, loss):
    """Few classes are taken in blocks of rows, more of them row by row."""
    net, X, y = make(loss, kind, n_out)
    weighted, repeated = net.gradients(X, y, sample_weight=TIMES), net.gradients(X[AGAIN], y[AGAIN])
    np.testing.assert_allclose(weighted.flat, repeated.flat, rtol=1e-12, atol=1e-15)
    assert weighted.loss == pytest.approx(repeated.loss, rel=1e-12)
    ours, theirs = net.evaluate(X, y, sample_weight=TIMES), net.evaluate(X[AGAIN], y[AGAIN])
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-12)
    assert ours.accuracy is None if loss == "mse" else ours.accuracy == pytest.approx(theirs.accuracy, rel=1e-12)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("loss", LOSSES)
def test_training_with_weights_is_training_on_repeated_rows(kind, loss):
    (net, X, y), (other, _, _) = make(loss, kind), make(loss, kind)
    ours, theirs = SGD(lr=0.3, momentum=0.9), SGD(lr=0.3, momentum=0.9)
    weighted = net.fit(X, y, 5, ROWS, ours, sample_weight=TIMES, validation_data=(X, y, TIMES))
    repeated = other.fit(X[AGAIN], y[AGAIN], 5, len(AGAIN), theirs, validation_data=(X[AGAIN], y[AGAIN]))
    assert net.step(X, y, ours, sample_weight=TIMES) == pytest.approx(other.step(X[AGAIN], y[AGAIN], theirs), rel=1e-12)
    np.testing.assert_allclose(net.params, other.params, rtol=1e-11, atol=1e-13)  # of six steps
    np.testing.assert_allclose(weighted.loss, repeated.loss, rtol=1e-12)
    for a, b in zip(weighted.epochs, repeated.epochs, strict=True):
        assert {**a, "seconds": 0} == pytest.approx({**b, "seconds": 0}, rel=1e-12)


@pytest.mark.parametrize("kind", NETS)
def test_the_mean_over_an_epoch_is_weighted(kind):
    """Its batches have sums of weights of their own, the last has fewer rows, and one has no weight at all."""
    net, X, y = make("cross_entropy", kind, rows=11)
    weights = np.array([2.0, 0.5, 0, 0, 0, 0, 0, 0, 4, 1, 3])  # batches of 4: the second weighs nothing
    history = net.fit(X, y, 1, 4, SGD(lr=1e-300), shuffle=False, sample_weight=weights)
    assert history.loss[1] == 0
    expected = net.evaluate(X, y, sample_weight=weights)
    assert history.epochs[0]["loss"] == pytest.approx(expected.loss, rel=1e-12)
    assert history.epochs[0]["accuracy"] == pytest.approx(expected.accuracy, rel=1e-12)
    parts = [net.evaluate(X[part], y[part], sample_weight=weights[part]).loss for part in (slice(4), slice(8, 11))]
    np.testing.assert_allclose(history.loss[[0, 2]], parts, rtol=1e-12)


@pytest.mark.parametrize("kind", NETS)
def test_a_batch_without_weight_has_no_gradient(kind):
    net, X, y = make("cross_entropy", kind, rows=8)
    first, _, _ = make("cross_entropy", kind, rows=8)
    weights = np.repeat([1.0, 0.0], 4)
    history = net.fit(X, y, 1, 4, SGD(lr=0.5), shuffle=False, sample_weight=weights, inspect_every=1)
    first.step(X[:4], y[:4], SGD(lr=0.5))
    assert net.params.tobytes() == first.params.tobytes()
    assert (history.gradients["grad_norm"][1] == 0).all()
    assert np.isnan(history.gradients["noise_scale"][1]).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_out", [3, 17])
def test_equal_weights_of_a_power_of_two_change_no_bit(isa, dtype, loss, n_out):
    histories = []
    for weights in (None, np.ones(30), np.full(30, 0.25), np.full(30, 2.0**1000)):
        net, X, y = make(loss, n_out=n_out, dtype=dtype, rows=30)
        history = net.fit(X, y, 3, 7, SGD(lr=0.1, momentum=0.5), sample_weight=weights)
        histories.append((net.params.tobytes(), history.loss.tobytes(), [e["loss"] for e in history.epochs]))
    assert histories[1:] == histories[:1] * 3


@pytest.mark.parametrize("rows", [60, 1500])
def test_same_bits_for_any_threads_with_and_without_inspection(dtype, rows, forced_threads):
    """1,500 rows at once are taken in chunks."""
    found = set()
    weights = np.random.default_rng(0).random(rows + 7)
    for n_threads in (1, 2, 3, 7):
        for every in (0, 2):
            net, X, y = make("cross_entropy", dtype=dtype, rows=rows + 7)
            with vg.threads(n_threads):
                history = net.fit(X, y, 3, rows, SGD(lr=0.1), sample_weight=weights, inspect_every=every)
            found.add((net.params.tobytes(), history.loss.tobytes(), str([e["accuracy"] for e in history.epochs])))
    assert len(found) == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_the_engines_agree(loss):
    weights, of = np.array([2.0, 0.1, 0, 5, 1, 1, 0.3, 7, 2]), []
    for kind in NETS:
        net, X, y = make(loss, kind)
        history = net.fit(X, y, 4, 4, SGD(lr=0.2, momentum=0.9), sample_weight=weights, inspect_every=1)
        report = net.inspect(X, y, sample_weight=weights, try_remedies=False)
        of.append((history.loss, net.params, *(history.gradients[q] for q in history.gradients.dtype.names)))
        of[-1] += (report.loss, report.verdict == "healthy", np.array([e["loss"] for e in history.epochs]))
    for ours, textbook in zip(*of, strict=True):
        np.testing.assert_allclose(ours, textbook, rtol=1e-9, atol=1e-12)


def test_against_pytorch(torch):
    """The weighted mean of the losses that PyTorch gives without a mean."""
    rng = np.random.default_rng(0)
    weights = rng.random(ROWS)
    w = torch.tensor(weights)
    functional = torch.nn.functional
    for loss, theirs in [
        ("cross_entropy", lambda z, t: functional.cross_entropy(z, t, reduction="none")),
        (
            "binary_cross_entropy",
            lambda z, t: functional.binary_cross_entropy_with_logits(z, t, reduction="none").mean(1),
        ),
        ("mse", lambda z, t: functional.mse_loss(z, t, reduction="none").mean(1)),
    ]:
        net, X, y = make(loss)
        z = torch.tensor(net.forward(X), requires_grad=True)
        mean = (w * theirs(z, torch.tensor(y))).sum() / w.sum()
        mean.backward()
        found = net.gradients(X, y, sample_weight=weights)
        assert found.loss == pytest.approx(mean.item(), rel=1e-12)
        np.testing.assert_allclose(found.deltas[-1], z.grad.numpy(), rtol=1e-12, atol=1e-16)


def test_the_size_of_weights_does_not_matter():
    net, X, y = make("mse")
    weights = np.random.default_rng(0).random(ROWS)
    expected = net.gradients(X, y, sample_weight=weights)
    for scale in (1e-300, 1e306):
        found = net.gradients(X, y, sample_weight=weights * scale)
        np.testing.assert_allclose(found.flat, expected.flat, rtol=1e-12)
        assert net.evaluate(X, y, sample_weight=weights * scale).loss == pytest.approx(expected.loss, rel=1e-12)


@pytest.mark.parametrize("kind", NETS)
def test_rows_of_weight_zero_do_not_count_for_the_noise_scale(kind):
    net, X, y = make("mse", kind)
    kept = TIMES > 0
    with_them = net.inspect(X, y, sample_weight=kept.astype(float), try_remedies=False).records
    without = net.inspect(X[kept], y[kept], try_remedies=False).records
    for name in ("grad_norm", "bias_grad_norm", "delta_norm", "gain", "update_ratio", "sample_norm", "noise_scale"):
        np.testing.assert_allclose(with_them[name], without[name], rtol=1e-10, err_msg=name)
    one = np.eye(1, ROWS)[0]
    assert np.isnan(net.inspect(X, y, sample_weight=one, try_remedies=False).records["noise_scale"]).all()


def test_the_noise_scale_of_weighted_rows_is_unbiased():
    """tr(Sigma) / |G|² of data that are known: mse of a linear unit at 0 with x = 1, y ~ N(2, 3²): a row's gradient by
    W and b is -2 y each, so that its variance over the square of its mean is (3/2)². Weights do not bias the estimates
    of both that the noise scale divides."""
    rng, rows = np.random.default_rng(0), 40_000
    net = vg.MLP([1, 1], loss="mse", dtype="float64", rng=0)
    net.params = np.zeros(2)
    weights = rng.choice([0.1, 1.0, 7.0], rows)
    record = net.inspect(np.ones((rows, 1)), rng.normal(2, 3, (rows, 1)), sample_weight=weights).records[0]
    assert record["noise_scale"] == pytest.approx(9 / 4, rel=0.1)
    assert record["sample_norm"] == pytest.approx(np.sqrt(8 * (4 + 9)), rel=0.05)


class Diverging(vg.MLP):
    """Tells what is handed over to be diagnosed."""

    def _diagnose(self, x, t, step, optimizer, what, batch_size, sample_weight):
        self.handed = x, sample_weight
        return super()._diagnose(x, t, step, optimizer, what, batch_size, sample_weight)


def test_a_divergence_is_diagnosed_with_the_weights():
    _, X, y = make("mse", rows=20)
    X[:, 0] = np.arange(1, 21) / 32
    net = Diverging([5, 8, 6, 3], "relu", "mse", rng=1)
    with pytest.raises(vg.DivergenceError, match="lower lr"):
        net.fit(X, y, 200, 7, SGD(lr=1e3), sample_weight=X[:, 0])
    x, weights = net.handed
    np.testing.assert_array_equal(weights, x[:, 0])
    assert np.isfinite(net.params).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_where_a_step_fails_is_looked_for_with_the_weights(loss):
    net, X, y = make(loss)
    found = take_apart(Case(net._engine, X, y, SGD(), sample_weight=TIMES.astype(float)), updates=False)
    expected = net.gradients(X, y, sample_weight=TIMES)
    for (w, b, *_), of_w, of_b in zip(found.gradients, expected.weights, expected.biases, strict=True):
        np.testing.assert_allclose(w, of_w, rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(b, of_b, rtol=1e-10, atol=1e-15)


def test_steps_with_and_without_weights_follow_each_other():
    (net, X, y), (other, _, _) = make("cross_entropy"), make("cross_entropy")
    for weights in (None, None, None, TIMES, TIMES, None, TIMES, None, None):
        loss = net.step(X, y, sample_weight=weights)
        assert loss == other.gradients(X, y, sample_weight=weights).loss
        other.apply(other.gradients(X, y, sample_weight=weights))
        assert net.params.tobytes() == other.params.tobytes()


BAD = {
    "negative": (-np.eye(1, ROWS, 4)[0] + 1e-3, ValueError, "at least 0, got -0.999 in row 4; use 0 for such rows"),
    "all zero": (np.zeros(ROWS), ValueError, "some weight above 0, got 0 in all 9 rows; leave it out for equal ones"),
    "short": (np.ones(ROWS - 1), ValueError, r"must have shape \(9,\), .*, got \(8,\); give one number a row"),
    "column": (np.ones((ROWS, 1)), ValueError, r"got \(9, 1\); use np.ravel\(sample_weight\)"),
    "one number": (2.0, ValueError, r"got \(\); give one number a row"),
    "nan": (np.where(np.arange(ROWS) == 2, np.nan, 1), ValueError, "sample_weight has NaN in row 2"),
    "infinite": (np.where(np.arange(ROWS) == 3, np.inf, 1), ValueError, "sample_weight has infinity in row 3"),
    "text": (["a"] * ROWS, TypeError, "sample_weight must hold"),
}
CALLS = {
    "fit": lambda net, X, y, w: net.fit(X, y, sample_weight=w),
    "step": lambda net, X, y, w: net.step(X, y, sample_weight=w),
    "gradients": lambda net, X, y, w: net.gradients(X, y, sample_weight=w),
    "inspect": lambda net, X, y, w: net.inspect(X, y, sample_weight=w),
    "evaluate": lambda net, X, y, w: net.evaluate(X, y, sample_weight=w),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_weights_are_refused_and_change_nothing(call, bad):
    net, X, y = make("cross_entropy")
    weights, error, words = BAD[bad]
    before = net.params.tobytes()
    with pytest.raises(error, match=words) as caught:
        CALLS[call](net, X, y, weights)
    assert str(caught.value).startswith("sample_weight ")
    assert net.params.tobytes() == before
    assert net.history is None


def test_advice_on_weights_works():
    net, X, y = make("cross_entropy")
    negative = BAD["negative"][0]
    for weights in (np.where(negative < 0, 0, negative), None, np.ones(ROWS), np.ravel(np.ones((ROWS, 1)))):
        net.fit(X, y, 1, sample_weight=weights)


def test_bad_weights_of_validation_data():
    net, X, y = make("cross_entropy")
    with pytest.raises(ValueError, match=r"^validation_data\[2\] must have shape"):
        net.fit(X, y, validation_data=(X, y, [1]))
    for data, length in (((X,), 1), ((X, y, TIMES, 1), 4)):
        with pytest.raises(TypeError, match=rf"must be \(X, y\) or \(X, y, sample_weight\), got a tuple of {length}"):
            net.fit(X, y, validation_data=data)
