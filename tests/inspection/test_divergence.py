"""What a DivergenceError says: the right place, the cause, and advice that helps when it is followed."""

import re

import numpy as np
import pytest

import vgfast as vg
from vgfast.inspection import divergence, trials

X = np.random.default_rng(0).normal(size=(400, 10))
LABELS = (X[:, 0] > 0).astype(int)
LINE = X @ np.random.default_rng(1).normal(size=(10, 1))
VALUES = (LINE - LINE.mean()) / LINE.std()
PRICES = LINE * 8e4 + 2.2e5


def regression(**more):
    return vg.MLP([10, 30, 1], "relu", "mse", rng=0, **more)


def tanh(seed):
    return vg.MLP([10, 30, 30, 1], "tanh", "mse", rng=seed)


def enlarged(net, factor):
    net.params *= factor
    return net


def scaled(values):
    """As by scikit-learn's StandardScaler: what is alike in all rows becomes 0."""
    deviation = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def error_of(call):
    with pytest.raises(vg.DivergenceError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def advice_of(text):
    return text.rpartition("; ")[2].split(" or ")


def learns(net, x, y, optimizer):
    """Training by the advice: the part of the variance, or of the rows, that the net then has right."""
    net.fit(x, y, epochs=100, optimizer=optimizer)
    if net.loss == "mse":
        return 1 - float(((net.predict(x) - y) ** 2).mean() / y.var())
    return net.evaluate(x, y).accuracy


def followed(advice, make, x, y, settings):
    """(net, X, y, optimizer) that one piece of advice leads to. Without being told to, it takes no new weights."""
    net, rest = make(), advice
    if found := re.match(r"leave out the rows of (\w) with values above (\S+) \(the largest is \S+\)", rest):
        keep = np.abs(x if found[1] == "X" else y).max(axis=1) <= float(found[2])
        x, y, rest = x[keep], y[keep], rest.removeprefix(found[0])
    if found := re.match(
        r"scale ([Xy]), whose largest[^,]*,( and y, whose largest[^,]*,)? to mean 0 and variance 1", rest
    ):
        x = scaled(x) if found[1] == "X" else x
        y = scaled(y) if found[1] == "y" or found[2] else y
        rest = rest.removeprefix(found[0])
    for step in filter(None, rest.split(" and ")):
        if step in ("start from smaller weights, such as those of init='auto'", "start from new weights"):
            net = vg.MLP(net.sizes, net.activations, net.loss, rng=1)
        elif step == "use dtype='float64'":
            net = make(dtype="float64")
        elif step == "set clip_norm=1.0":
            settings = {**settings, "clip_norm": 1.0}
        elif found := re.fullmatch(r"lower (\w+) \(it is [^)]*\) to (\S+)( with nesterov=False)?", step):
            settings = {**settings, found[1]: float(found[2])} | ({"nesterov": False} if found[3] else {})
        else:
            pytest.fail(f"advice that is not known here: {step!r}")
    return net, x, y, vg.SGD(**settings)


COLUMN, ROW, SPIKE = X.copy(), X.copy(), X.copy()
COLUMN[:, 3] *= 1e4
ROW[7] *= 1e5
SPIKE[7] *= 1e37
TARGET = VALUES.copy()
TARGET[7] = 1e7
CASES = {
    "prices": (regression, X, PRICES, {}, ["scale y, whose"]),
    "prices, faster": (regression, X, PRICES, {"lr": 0.05, "momentum": 0.9}, ["scale y, whose"]),
    "inputs": (regression, 1e4 * X, VALUES, {}, ["scale X, whose"]),
    "one column": (regression, COLUMN, VALUES, {}, [r"scale X, whose largest value is \S+ in column 3, to"]),
    "one row": (regression, ROW, VALUES, {}, ["leave out the rows of X with values above"]),
    "one target": (regression, X, TARGET, {}, ["leave out the rows of y with values above"]),
    "inputs and prices": (regression, 1e4 * X, PRICES, {}, ["scale X, .* and y, whose"]),
    "rate": (regression, X, VALUES, {"lr": 10.0}, [r"lower lr \(it is 10\)"]),
    "rate of classes": (lambda: vg.MLP([10, 30, 30, 2], rng=0), X, LABELS, {"lr": 1e3}, [r"lower lr \(it is 1000\)"]),
    "rate far off": (regression, X, VALUES, {"lr": 1e9, "momentum": 0.9}, [r"lower lr \(it is 1e\+09\)"]),
    "weights": (lambda: enlarged(regression(), 1e3), X, VALUES, {}, ["start from smaller weights"]),
    "decay": (regression, X, VALUES, {"weight_decay": 500.0}, [r"lower weight_decay \(it is 500\)"]),
    "decay, later": (regression, X, VALUES, {"weight_decay": 210.0}, [r"lower weight_decay \(it is 210\)"]),
    "prices and a rate": (regression, X, PRICES, {"lr": 30.0}, [r"scale y, .* 1 and lower lr \(it is 30\) to "]),
    "all data and a rate": (
        regression,
        1e4 * X,
        PRICES,
        {"lr": 1e3},
        [r"scale X, .* y, .* and lower lr \(it is 1000\) to "],
    ),
    "inputs and weights": (
        lambda: enlarged(regression(), 1e3),
        1e3 * X,
        VALUES,
        {},
        ["scale X, .* 1 and start from new weights"],
    ),
    "momentum": (
        regression,
        X,
        VALUES,
        {"lr": 0.05, "momentum": 0.99},
        [r"lower momentum \(it is 0.99\) to 0.9"],
    ),
    "Nesterov's momentum": (
        lambda: tanh(0),
        X,
        VALUES,
        {"lr": 0.2, "momentum": 0.9, "nesterov": True},
        [r"lower momentum \(it is 0.9\) to 0 with nesterov=False"],
    ),
    # Other weights bear these for a while, and are no cure.
    "a rate near its limit": (lambda: tanh(1), X, VALUES, {"lr": 0.5}, [r"lower lr \(it is 0.5\)"]),
    "rate, after long": (regression, X, VALUES, {"lr": 0.2, "momentum": 0.99}, [r"lower lr \(it is 0.2\)"]),
    "rate, after longer": (lambda: tanh(0), X, VALUES, {"lr": 0.5, "momentum": 0.99}, [r"lower lr \(it is 0.5\)"]),
    "momentum near its limit": (
        lambda: vg.MLP([10, 30, 1], "relu", "mse", rng=1),
        X,
        VALUES,
        {"lr": 0.05, "momentum": 0.99},
        [r"lower momentum \(it is 0.99\) to 0.9"],
    ),
}


@pytest.mark.parametrize(("make", "x", "y", "settings", "expected"), CASES.values(), ids=CASES)
def test_advice_names_the_cause_and_helps(make, x, y, settings, expected):
    """Each piece of it, followed to the letter: training does not diverge, and learns."""
    text = error_of(lambda: make().fit(x, y, epochs=100, optimizer=vg.SGD(**settings)))
    advice = advice_of(text)
    for one in expected:
        assert any(re.match(one, said) for said in advice), text
    for said in advice:
        assert learns(*followed(said, make, x, y, settings)) > 0.9, said
    if y is PRICES:
        assert "clip_norm" not in text


@pytest.mark.parametrize(
    ("factor", "lr", "advice"),
    [
        (1e5, 1e-5, "start from smaller weights, such as those of init='auto'"),
        (1e20, 1e-7, "start from smaller weights, such as those of init='auto'"),
        (1e20, 1e-42, "use dtype='float64'"),
    ],
)
def test_advice_where_training_is_slow(factor, lr, advice):
    """A rate too low to learn by is not at fault, and a lower one does not help."""
    make, settings = lambda **more: enlarged(regression(**more), factor), {"lr": lr}
    text = error_of(lambda: make().fit(X, VALUES, epochs=100, optimizer=vg.SGD(**settings)))
    assert advice_of(text) == [advice]
    net, x, y, optimizer = followed(advice, make, X, VALUES, settings)
    before = net.evaluate(x, y).loss
    net.fit(x, y, epochs=100, optimizer=optimizer)
    assert net.evaluate(x, y).loss < before


def test_what_training_leaves_is_as_before():
    """Looking for advice changes neither the net nor the optimizer."""
    nets, optimizers = [regression() for _ in range(2)], [vg.SGD(10.0, momentum=0.9) for _ in range(2)]
    caught = []
    for net, optimizer in zip(nets, optimizers, strict=True):
        with pytest.raises(vg.DivergenceError) as error:
            net.fit(X, VALUES, optimizer=optimizer, shuffle=False)
        caught.append(error.value)
    assert caught[0].step == len(caught[0].history.loss) > 0
    again = regression()
    for step in range(caught[0].step):
        again.step(X[32 * step : 32 * step + 32], VALUES[32 * step : 32 * step + 32], optimizers[1])
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [32, 30])  # the last batch of an epoch is a whole one or not
def test_a_row_of_the_epoch_before_is_found_at_fault(shuffle, batch_size):
    """What it did to the weights shows in the next epoch, among rows that are well."""
    seed = 4  # whose first shuffling puts the row into the last whole batch
    place = np.random.default_rng(seed)
    vg.MLP([4, 16, 1], "leaky_relu", "mse", rng=place)
    last = 320 // batch_size * batch_size - 5
    x = np.random.default_rng(0).normal(size=(320, 4))
    y = x[:, :1].copy()
    x[place.permutation(320)[last] if shuffle else last] *= 1e4
    net = vg.MLP([4, 16, 1], "leaky_relu", "mse", rng=seed)
    text = error_of(lambda: net.fit(x, y, 60, batch_size, shuffle=shuffle))
    assert "(epoch 2)" in text, text
    limit = float(re.search(r"; leave out the rows of X with values above (\S+) ", text)[1])
    keep = np.abs(x).max(axis=1) <= limit
    assert np.count_nonzero(keep) == 319
    net = vg.MLP([4, 16, 1], "leaky_relu", "mse", rng=seed)
    net.fit(x[keep], y[keep], 60, batch_size, shuffle=shuffle)
    assert net.evaluate(x[keep], y[keep]).loss < 0.1


def test_steps_of_a_ruined_net_get_the_advice_of_a_new_one():
    """A loop of steps has no memory of the first weights; what would tame the last ones is no advice."""
    net, optimizer = regression(), vg.SGD(10.0)

    def loop():
        for _ in range(50):
            net.step(X, VALUES, optimizer)

    for said in advice_of(error_of(loop)):
        assert learns(*followed(said, regression, X, VALUES, {"lr": 10.0})) > 0.9, said


def test_advice_on_a_gradient_makes_it_finite():
    """Without an optimizer there is no rate to lower."""
    cases = [
        (lambda: regression(), 3e37 * X, VALUES, "scale X, whose"),
        (lambda: vg.MLP([2, 1], loss="mse", rng=0), np.ones((2, 2)), np.full((2, 1), 3e38), "scale y, whose"),
        (lambda: regression(), SPIKE, VALUES, "leave out the rows of X with values above"),
        (lambda: regression(), 3e37 * X, 3e37 * VALUES, "scale X, whose"),
        (lambda: enlarged(regression(), 1e5), 3e37 * X, 3e37 * VALUES, "and y, whose"),
        (lambda **more: enlarged(regression(**more), 1e20), X, VALUES, "use dtype='float64'"),
        (lambda **more: enlarged(regression(**more), 1e20), X, VALUES, "start from smaller weights, such as those of"),
        (lambda: enlarged(regression(dtype="float64"), 1e160), X, VALUES, "start from smaller weights"),
    ]
    for make, x, y, advice in cases:
        text = error_of(lambda make=make, x=x, y=y: make().gradients(x, y))
        assert advice in text
        assert "lower lr" not in text
        assert "clip_norm" not in text
        for said in advice_of(text):
            net, *data, _ = followed(said, make, x, y, {})
            assert np.isfinite(net.gradients(*data).flat).all(), said


def test_inspection_gives_the_same_advice():
    text = error_of(lambda: enlarged(regression(), 1e20).inspect(X, VALUES))
    assert advice_of(text) == ["start from smaller weights, such as those of init='auto'"]
    assert regression().inspect(X, VALUES).verdict == "healthy"


def test_parameters_that_are_not_finite_can_be_assigned():
    net = regression()
    good = net.params.copy()
    net.weights[0][0, 0] = np.nan
    assert "already hold NaN or infinity; assign finite ones" in error_of(lambda: net.step(X, VALUES))
    net.params = good
    assert np.isfinite(net.step(X, VALUES))


def test_where_nothing_helps_that_is_said(monkeypatch):
    monkeypatch.setattr(trials, "try_steps", lambda *_: trials.Outcome(1.0, np.inf, ""))
    assert "none of what was tried helped" in error_of(lambda: regression().fit(X, VALUES, optimizer=vg.SGD(10.0)))


@pytest.mark.parametrize(
    ("change", "x", "y", "settings", "layer", "where"),
    [
        ({"w": (1, 1e38)}, 1e3, 0.0, {}, 2, "outputs of layer 2"),
        ({}, 1.0, 3e38, {}, 2, "gradient of layer 2"),
        ({"w": (1, 1e10)}, 1.0, 1e30, {}, 1, "gradient of layer 1"),
        ({"w": (0, 1e38)}, 0.0, 0.0, {"lr": 1.0, "weight_decay": 1e3}, 1, "updated weights of layer 1"),
        ({"w": (1, 1e38)}, 0.0, 0.0, {"lr": 1.0, "weight_decay": 1e3}, 2, "updated weights of layer 2"),
        ({}, 0.0, 1e20, {"lr": 1e20}, 2, "updated biases of layer 2"),
    ],
)
def test_the_place_is_the_right_one(change, x, y, settings, layer, where):
    net = vg.MLP([3, 4, 1], "relu", "mse", rng=0)
    for index, value in change.values():
        net.weights[index][...] = value
    X0, y0 = np.full((8, 3), x), np.full((8, 1), y)
    with pytest.raises(vg.DivergenceError, match=f"the {where} would not be finite") as caught:
        net.step(X0, y0, vg.SGD(**settings))
    assert caught.value.layer == layer


def test_a_loss_beyond_float64_is_the_loss():
    net = vg.MLP([2, 1], loss="mse", dtype="float64", rng=0)
    with pytest.raises(vg.DivergenceError, match="the loss after layer 1 would not be finite"):
        net.gradients(np.ones((2, 2)), np.full((2, 1), 1e200))


def test_late_divergence_is_tried_for_as_long(monkeypatch):
    """A trial shorter than the training was would call anything well."""
    steps = []
    outcome = trials.try_steps
    monkeypatch.setattr(trials, "try_steps", lambda case, n=trials.STEPS: steps.append(n) or outcome(case, n))
    with pytest.raises(vg.DivergenceError) as caught:
        regression().fit(0 * X, VALUES, epochs=2000, optimizer=vg.SGD(0.01, weight_decay=240))
    assert caught.value.step > divergence._STEPS
    assert min(steps) > min(caught.value.step, divergence._MOST - 1)
