"""One front, two engines: what the nets of vgfast and of its reference have in common, and the engines' agreement."""

import io
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference
from vgfast.model.architecture import Architecture
from vgfast.model.engine_c import CEngine
from vgfast.model.engine_numpy import NumPyEngine, textbook

NETS = [vg.MLP, reference.MLP]
SIZES = [5, 8, 6, 3]


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_nets_differ_in_their_engine_alone():
    """And a step of the reference has no cost to report."""
    assert public(vg.MLP) - public(reference.MLP) == {"cost"}
    assert public(reference.MLP) <= public(vg.MLP)


@pytest.mark.parametrize("normalization", [None, "layer", "rms"])
@pytest.mark.parametrize("sizes", [[1, 2], [3, 2], SIZES, [17, 33, 1, 16, 5]])
def test_the_views_are_where_c_has_the_parameters(sizes, dtype, normalization):
    engine = CEngine(Architecture.checked(sizes, dtype=dtype, normalization=normalization))
    start, views = engine.params.ctypes.data, engine.architecture.named_views(engine.params).values()
    assert engine.core.places == tuple((view.ctypes.data - start) // engine.params.itemsize for view in views)
    assert engine.params.size == engine.architecture.n_params == engine.core.n_params


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
def test_the_engines_agree(rng, loss):
    net = vg.MLP(SIZES, "tanh", loss, dtype="float64", rng=1)
    x, t = net._batch(rng.normal(size=(9, 5)), rng.integers(0, 3, 9) if loss == "cross_entropy" else rng.random((9, 3)))
    fast, plain = net._engine, textbook(net._engine)
    for found, expected in [
        (fast.predict(x), plain.predict(x)),
        (fast.score(plain.predict(x), t)[0], plain.score(plain.predict(x), t)[0]),
        (fast.backward(x, t).gradient, plain.backward(x, t).gradient),
        (fast.backward_from(x, plain.predict(x)).gradient, plain.backward_from(x, plain.predict(x)).gradient),
    ]:
        # sums of a dozen numbers of size 1, in another order
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_an_engine_made_like_another_shares_nothing():
    for kind in (CEngine, NumPyEngine):
        engine = kind(Architecture.checked(SIZES))
        engine.params[...] = 1
        other = engine.copy()
        other.params[...] = 2
        assert (engine.params == 1).all()
        assert not engine.make_like(engine.architecture).params.any()


@pytest.mark.parametrize("kind", NETS)
def test_callbacks_validation_and_progress(small_problem, kind):
    X, y = small_problem
    seen = []
    net = kind(SIZES, rng=0)
    history = net.fit(
        X,
        y,
        epochs=5,
        batch_size=16,
        validation_data=(X, y),
        callbacks=[lambda net, history: len(history.epochs) == 2],
        progress=lambda done, total, history: seen.append((done, total, len(history.loss))),
        inspect_every=2,
        inspect="histograms",
    )
    assert len(history.loss) == 6
    assert set(history.epochs[-1]) == {"loss", "accuracy", "seconds", "val_loss", "val_accuracy"}
    assert history.exponents.shape[:2] == (3, 3)
    assert all(total == 15 and done == steps for done, total, steps in seen)
    assert net.history is history


@pytest.mark.parametrize(
    "call",
    [
        lambda net, X, y: net.fit(X, y, callbacks=3),
        lambda net, X, y: net.fit(X, y, inspect="histograms"),
        lambda net, X, y: net.fit(X, y, progress=1),
        lambda net, X, y: net.fit(X, y, validation_data=X),
        lambda net, X, y: net.inspect(X, y, steps=0),
        lambda net, X, y: net.forward(np.full((1, 5), 3e38, np.float32)),
        lambda net, X, y: net.evaluate(X[:, 1:], y),
        lambda net, X, y: net.weights.__setitem__(0, np.zeros((2, 2))),
        lambda net, X, y: net.gradients(1e38 * np.sign(X), y),
    ],
)
def test_errors_are_the_same_sentences(small_problem, call):
    X, y = small_problem
    errors = []
    for kind in NETS:
        net = kind(SIZES, "relu", rng=0)
        net.weights[0][...] *= 1e3
        with pytest.raises((TypeError, ValueError, ArithmeticError)) as caught:
            call(net, X, y)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("kind", NETS)
def test_a_divergence_has_its_history(kind):
    net = kind([2, 2, 1], "relu", "mse", rng=0)
    with pytest.raises(vg.DivergenceError, match="training diverged at step") as caught:
        net.fit(np.eye(2), [[1], [2]], 99, 2, vg.SGD(lr=1e6), inspect_every=1)
    error = caught.value
    assert error.step == len(error.history.loss) == len(error.history.gradients) > 0
    assert np.isfinite(net.params).all()


@pytest.mark.parametrize("kind", NETS)
def test_others_read_a_net_that_is_trained_and_may_not_change_it(small_problem, kind):
    X, y = small_problem
    net, errors, outputs = kind(SIZES, rng=0), [], []

    def other():
        outputs.append(net.forward(X))
        try:
            net.step(X, y)
        except RuntimeError as error:
            errors.append(str(error))

    def callback(net, history):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return True

    net.fit(X, y, callbacks=[callback])
    np.testing.assert_array_equal(outputs[0], net.forward(X))
    assert "this net is being trained in another thread" in errors[0]


def test_half_precision_is_of_the_reference_alone(small_problem):
    X, y = small_problem
    net = reference.MLP(SIZES, dtype="float16", rng=0)
    history = net.fit(X, y, epochs=2, inspect_every=1)
    assert net.params.dtype == np.float16
    assert np.isfinite(history.gradients["grad_norm"]).all()
    assert net.copy().predict_proba(X).dtype == np.float16
    with pytest.raises(ValueError, match="a model file holds a net of float32 or float64, got one of float16"):
        net.save(io.BytesIO())
    with pytest.raises(ValueError, match="vgfast has no dtype 'float16'"):
        vg.MLP(SIZES, dtype="float16")


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("row", [0, 1, 6, 12])
def test_the_row_whose_loss_is_too_large(kind, row):
    net = kind([2, 1], loss="mse", dtype="float64", rng=0)
    y = np.zeros((13, 1))
    y[row] = 1e200
    with pytest.raises(vg.DivergenceError, match=f"the loss of row {row} is too large"):
        net.evaluate(np.ones((13, 2)), y)
