"""The denoising autoencoder of tied weights, against its formulas in NumPy with the same masks."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core
from vgfast.model.philox import uniforms
from vgfast.pretrain import Autoencoder, StackedAutoencoder

M, N, ROWS = 13, 5, 47
X = np.random.default_rng(8).random((ROWS, M))
LOSSES = ["binary_cross_entropy", "mse"]


def flat(coder):
    return np.concatenate([coder.weights.ravel(), coder.intercept_hidden_, coder.intercept_visible_])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loss_of(parameters, x, seen, loss):
    """The mean over the rows of the loss of x, where the autoencoder has seen this."""
    m, n = x.shape[1], (len(parameters) - x.shape[1]) // (x.shape[1] + 1)
    W, c, b = parameters[: m * n].reshape(m, n), parameters[m * n : m * n + n], parameters[m * n + n :]
    z = sigmoid(seen @ W + c) @ W.T + b
    each = (z - x) ** 2 / 2 if loss == "mse" else np.logaddexp(0, z) - x * z
    return each.sum(axis=1).mean()


def step(parameters, x, loss, keep, seed):
    """(gradient, loss) of one step in C at rate 1."""
    after = _core.aligned(len(parameters), "float64")
    after[:] = parameters
    m = x.shape[1]
    n = (len(parameters) - m) // (m + 1)
    run = _core.PretrainRun(after, m, n, len(x), 1, 1, seed, _core.TrainingLock())
    scale = m / 2 if loss == "mse" else m
    run.set_autoencoder(loss, scale, keep)
    run.set_optimizer("sgd", 1.0, 0, 0, None)
    losses = np.zeros(1)
    run.set_epoch(x, None, len(x), losses, 0)
    assert run.go() == _core.DONE
    return parameters - after, losses[0] * scale


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("keep", [1, 0.7])
@pytest.mark.parametrize(("m", "n", "rows"), [(M, N, 7), (1, 1, 1), (33, 17, 50), (5, 40, 3)])
def test_gradients_against_central_differences(isa, loss, keep, m, n, rows, rng):
    """Of every parameter, to 1e-7 of the largest: the differences are off by h² f''' / 6 and eps f / h, 1e-10 here."""
    x = rng.random((rows, m))
    parameters = np.concatenate([rng.normal(0, 0.4, m * n), rng.normal(0, 0.2, n + m)])
    seen = np.where(uniforms(5, 0, 0, rows, m) < keep, x, 0)
    gradient, of_step = step(parameters, x, loss, keep, 5)
    h = 1e-5
    numeric = np.array(
        [
            (loss_of(parameters + e, x, seen, loss) - loss_of(parameters - e, x, seen, loss)) / (2 * h)
            for e in h * np.eye(len(parameters))
        ]
    )
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-7 * max(1, np.abs(numeric).max()))
    assert of_step == pytest.approx(loss_of(parameters, x, seen, loss), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_whole_trainings_against_a_textbook(isa, loss):
    """Mini-batches, of which the last is a short one; shuffled; momentum and decay."""
    rate, batch, epochs, decay, momentum = 0.05, 10, 3, 0.01, 0.5
    settings = {"loss": loss, "learning_rate": rate, "batch_size": batch, "masking": 0.3, "dtype": "float64"}
    coder = Autoencoder(N, n_iter=epochs, momentum=momentum, weight_decay=decay, rng=4, **settings).fit(X)
    rng = np.random.default_rng(4)
    most = 4 * np.sqrt(6 / (M + N))
    W, c, b = rng.uniform(-most, most, (M, N)), np.zeros(N), np.zeros(M)
    seed, number = int(rng.integers(1 << 63)), 0
    velocity, losses = [np.zeros_like(each) for each in (W, c, b)], []
    for _ in range(epochs):
        order = rng.permutation(ROWS)
        for start in range(0, ROWS, batch):
            x = X[order[start : start + batch]]
            seen = np.where(uniforms(seed, number, 0, *x.shape) < 0.7, x, 0)
            h = sigmoid(seen @ W + c)
            z = h @ W.T + b
            losses.append((loss_of(np.concatenate([W.ravel(), c, b]), x, seen, loss), len(x)))
            dz = ((z if loss == "mse" else sigmoid(z)) - x) / len(x)
            dh = dz @ W * h * (1 - h)
            gradients = seen.T @ dh + dz.T @ h + decay * W, dh.sum(axis=0), dz.sum(axis=0)
            for parameter, v, gradient in zip((W, c, b), velocity, gradients, strict=True):
                v *= momentum
                v += gradient
                parameter -= rate * v
            number += 1
    expected = np.concatenate([W.ravel(), c, b])
    # Each step adds the rounding of sums of at most m, n or 2 B terms of about 1, and momentum twice that.
    bound = 2 * rate * number * 2 * (M + N + 2 * batch) * np.finfo(float).eps * max(1, np.abs(expected).max())
    np.testing.assert_allclose(flat(coder), expected, rtol=0, atol=bound)
    last = losses[-len(losses) // epochs :]
    mean = sum(each * rows for each, rows in last) / ROWS
    assert coder.history_.epochs[-1]["loss"] == pytest.approx(mean, rel=1e-11)


@pytest.mark.parametrize("loss", LOSSES)
def test_same_bits_for_any_number_of_threads(dtype, loss, forced_threads):
    seen = set()
    for threads in (1, 2, 3, 7):
        for held_out in (None, X[:9]):
            with vg.threads(threads):
                coder = Autoencoder(N, loss=loss, n_iter=2, dtype=dtype, rng=4).fit(X, validation_data=held_out)
            seen.add((flat(coder).tobytes(), coder.history_.epochs[-1]["loss"]))
    assert len(seen) == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_what_it_makes_of_rows(loss):
    """Nothing of which is masked."""
    coder = Autoencoder(N, loss=loss, n_iter=2, dtype="float64", rng=4).fit(X, validation_data=X)
    h = sigmoid(X @ coder.weights + coder.intercept_hidden_)
    z = h @ coder.weights.T + coder.intercept_visible_
    np.testing.assert_allclose(coder.transform(X), h, rtol=1e-13)
    np.testing.assert_allclose(coder.reconstruct(X), z if loss == "mse" else sigmoid(z), rtol=1e-13, atol=1e-14)
    assert coder.history_.epochs[-1]["val_loss"] == pytest.approx(loss_of(flat(coder), X, X, loss))
    assert "val. loss" in str(coder.history_)


def test_partial_fit_goes_on(dtype):
    settings = {"momentum": (0.5, 0.9), "dtype": dtype, "rng": 4}
    whole, parts = Autoencoder(N, n_iter=7, **settings).fit(X), Autoencoder(N, **settings)
    for _ in range(7):
        parts.partial_fit(X)
    np.testing.assert_array_equal(flat(parts), flat(whole))


def refused(kind, call):
    """The message, which is one sentence."""
    with pytest.raises(kind) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert ". " not in message
    return message


def test_bad_input():
    for settings, says in (
        ({"masking": 1}, "masking must be at least 0 and below 1"),
        ({"masking": -0.1}, "masking must be at least 0 and below 1"),
        ({"loss": "mae"}, "vgfast has no loss 'mae'; there is binary_cross_entropy, mse"),
        ({"n_components": 0}, "n_components must be from 1"),
        ({"learning_rate": 1e30}, "learning_rate must be above 0 and below 1.04858e+06"),
    ):
        assert says in refused(ValueError, lambda settings=settings: Autoencoder(**settings))
    outside = 2 * X
    message = refused(ValueError, lambda: Autoencoder(2).fit(outside))
    assert "X must be from 0 to 1 for loss='binary_cross_entropy'" in message
    assert message.endswith("scale it, or use loss='mse'")
    Autoencoder(2, loss="mse", n_iter=1).fit(outside)
    Autoencoder(2, n_iter=1).fit(outside / 2)
    with pytest.raises(ValueError, match=f"{M}"):
        StackedAutoencoder([M, 4], n_iter=1).fit(X[:, 1:])


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("loss", LOSSES)
def test_divergence(loss):
    """Of the squared error. A cross-entropy's gradient is bounded: it takes a decay that overshoots."""
    settings = {"learning_rate": 100.0} if loss == "mse" else {"learning_rate": 100.0, "weight_decay": 100.0}
    coder = Autoencoder(N, loss=loss, n_iter=50, rng=0, **settings)
    with pytest.raises(vg.DivergenceError, match=r"lower learning_rate \(it is 100\)") as error:
        coder.fit(X)
    assert np.isfinite(flat(coder)).all()
    assert error.value.layer == 1
    assert error.value.step > 0
    coder.learning_rate, coder.weight_decay = 0.01, 0
    assert len(coder.fit(X).history_.epochs) == 50
