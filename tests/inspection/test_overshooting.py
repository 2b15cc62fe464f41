"""Steps that are too large: who is called overshooting and who is not, what is at fault, and that the remedies help."""

import json
import re

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference
from vgfast.inspection import overshooting, trials, verdict
from vgfast.inspection.case import Case, scale_to_unit
from vgfast.training.fit import Loop
from vgfast.training.records import over_time

SIZES = [10, 30, 30, 2]


@pytest.fixture
def classes():
    """X (400, 10) on unit scale, labels y (400,)."""
    X = np.random.default_rng(0).normal(size=(400, 10))
    return X, (X[:, 0] > 0).astype(int)


@pytest.fixture
def prices(classes):
    """X (400, 10) on unit scale, y (400, 1) of some 2e5."""
    X = classes[0]
    return X, (X @ np.random.default_rng(1).normal(size=(10, 1))) * 8e4 + 2.2e5


def diverges_or_learns_nothing(net, X, y, optimizer):
    """Of a training with this optimizer, whether it ends early, or no better than it began."""
    net = net.copy()
    before = net.evaluate(X, y).loss
    try:
        net.fit(X, y, epochs=20, optimizer=optimizer)
    except vg.DivergenceError:
        return True
    return not net.evaluate(X, y).loss < before


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
@pytest.mark.parametrize("lr", [30, 1e3, 1e6, 1e20])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_a_step_of_any_size_is_called(classes, kind, lr, activation):
    X, y = classes
    net = kind(SIZES, activation, rng=0)
    before, optimizer = net.params.copy(), vg.SGD(lr)
    report = net.inspect(X, y, optimizer)
    assert (report.verdict, report.fault) == ("overshooting", "learning rate"), str(report)
    assert report.layer == report.layers.update_ratio.argmax() + 1
    assert f"The learning rate, {lr:g}, is at fault" in report.explanation
    assert report.numbers["largest_update_ratio"] == report.layers.update_ratio.max()
    json.dumps(report.to_dict(), allow_nan=False)
    assert max(map(len, str(report).splitlines())) <= 80
    np.testing.assert_array_equal(net.params, before)
    assert repr(optimizer) == repr(vg.SGD(lr))
    assert (net.inspect(X, y, optimizer, try_remedies=False).judged, optimizer.lr) == (report.judged, lr)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("length", [0.01, 0.1, 0.5, 0.8, 1.1])
def test_a_velocity_that_carries_the_loss_up_for_a_while_is_no_fault(momentum, length):
    """On a parabola, at every step of an oscillation; in units of 1 + momentum, steps are too long from some 0.7 on."""
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 4)))[0] * 8
    y = X @ [[1], [2], [-1], [0.5]]
    net, optimizer = vg.MLP([4, 1], loss="mse", dtype="float64", rng=0), vg.SGD(length * (1 + momentum), momentum)
    losses, words = [], []
    for _ in range(60):
        losses.append(net.step(X, y, optimizer))
        words.append(net.inspect(X, y, optimizer, try_remedies=False).verdict)
    assert {word == "overshooting" for word in words} == {losses[-1] > losses[0]} == {length > 0.7}


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_velocity_that_one_wild_batch_has_left_is_no_excuse(seed):
    """Its energy is far above any loss of these data, which rises by a factor."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(64, 4)), rng.integers(0, 3, 64)
    net, optimizer = vg.MLP([4, 8, 3], rng=seed), vg.SGD(0.01, 0.9)
    net.step(300 * X, y, optimizer)
    x, t = net._batch(X, y)
    outcome = trials.try_steps(net._case(x, t, optimizer))
    assert outcome.after > 2 * outcome.before + 1
    assert net.inspect(X, y, optimizer, try_remedies=False).verdict == "overshooting"


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_rate_of_a_narrow_type_is_a_number(classes, strict, kind):
    X, y = classes
    net, optimizer = vg.MLP(SIZES, rng=0), vg.SGD(kind(0.5), momentum=0.9)
    net._states.get(optimizer, lambda: np.empty(net.n_params, np.float32)).vectors[0][...] = (
        1e4 if kind is np.float16 else 1e18
    )
    net.inspect(X, y, optimizer, try_remedies=False)


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_a_slow_training_with_a_velocity_is_healthy(momentum):
    X = np.random.default_rng(0).normal(size=(64, 4))
    y = X @ [[1], [2], [-1], [0.5]]
    net, optimizer = vg.MLP([4, 8, 1], "tanh", "mse", rng=0), vg.SGD(0.1 * (1 - momentum), momentum)
    for _ in range(100):
        net.fit(X, y, 3, len(X), optimizer)
        assert net.inspect(X, y, optimizer, try_remedies=False).verdict == "healthy"


def test_data_and_a_rate_that_are_both_too_large_have_a_remedy_for_both(prices):
    X, y = prices
    report = vg.MLP([10, 30, 1], loss="mse", rng=0).inspect(X, y, vg.SGD(100))
    assert (report.verdict, report.fault) == ("overshooting", "learning rate")
    found = re.match(r"y scaled to mean 0 and variance 1, with lr=(\S+): 20 steps", report.remedies[0])
    net, scaled = vg.MLP([10, 30, 1], loss="mse", rng=0), (y - y.mean()) / y.std()
    net.fit(X, scaled, epochs=50, optimizer=vg.SGD(float(found[1])))
    assert net.evaluate(X, scaled).loss < 0.1


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_the_word_is_right(classes, activation):
    """Over the rates: called where training with it fails, and not where it succeeds."""
    X, y = classes
    for seed in range(3):
        net = vg.MLP(SIZES, activation, rng=seed)
        for lr, bad in ((0.01, False), (0.1, False), (0.3, False), (100.0, True), (1e4, True)):
            optimizer = vg.SGD(lr)
            found = net.inspect(X, y, optimizer, try_remedies=False).verdict
            slow = (activation, lr) == ("sigmoid", 0.01)  # a thousand steps come to 0.9 of the loss at base rates
            assert found == ("overshooting" if bad else "stalled" if slow else "healthy"), (seed, lr)
            assert diverges_or_learns_nothing(net, X, y, optimizer) == bad, (seed, lr)


def test_harmless_steps_are_not_called(classes):
    """Weights of 0 and tiny ones, whose first step is long beside them; large steps of a loss that is flat."""
    X, y = classes
    tiny = vg.init.normal(1e-9)
    small_ending = vg.MLP(SIZES, "tanh", rng=0)
    small_ending.weights[-1][...] *= 0.05
    for net, lr in (
        (vg.MLP([10, 2], init="zeros", rng=0), 1.0),
        (vg.MLP([10, 2], init=tiny, rng=0), 1.0),
        (small_ending, 0.3),
        (vg.MLP(SIZES, rng=0), 1.0),
    ):
        for optimizer in (vg.SGD(lr), vg.SGD(lr / 10, momentum=0.9), vg.SGD(lr, clip_norm=0.5)):
            report = net.inspect(X, y, optimizer)
            assert report.verdict == "healthy", str(report)
            assert not diverges_or_learns_nothing(net, X, y, optimizer)
    assert np.isinf(vg.MLP([10, 2], init="zeros", rng=0).inspect(X, y).layers.update_ratio[0])


def test_a_single_row_does_not_acquit(classes):
    """One row is learned by a step of any size, other rows are not."""
    X, y = classes
    report = vg.MLP(SIZES, rng=0).inspect(X[:1], y[:1], vg.SGD(1e6))
    assert (report.verdict, report.fault) == ("overshooting", "learning rate")
    assert not [one for one in report.remedies if "clip_norm" in one]  # a step of length 1e6 all the same


def test_a_net_that_knows_its_batch_may_overshoot(classes):
    X, y = classes
    net = vg.MLP(SIZES, rng=0)
    net.fit(X, y, epochs=200, optimizer=vg.SGD(0.3))
    assert net.inspect(X, y, vg.SGD(0.1)).verdict == "healthy"
    assert "little left to learn" in net.inspect(X, y, vg.SGD(0.1)).explanation
    assert net.inspect(X, y, vg.SGD(1e20)).verdict == "overshooting"
    assert net.inspect(X, y, vg.SGD(1.0, weight_decay=5.0)).fault == "weight decay"


@pytest.mark.parametrize(
    ("settings", "limit"),
    [({}, 2.0), ({"momentum": 0.5}, 3.0), ({"momentum": 0.5, "nesterov": True}, 1.5), ({"clip_norm": 1e-3}, 2.0)],
)
def test_decay_that_makes_weights_grow(settings, limit):
    """The limit is where weights that nothing else moves begin to grow; and there it is called, not below."""
    X, y = np.zeros((4, 3)), [[0.0]] * 4
    for factor in (0.99, 1.01):
        net = vg.MLP([3, 1], loss="mse", dtype="float64", rng=0)
        net.weights[0][...] = [[1.0], [2.0], [-3.0]]
        optimizer = vg.SGD(0.1, weight_decay=10 * limit * factor, **settings)
        report = net.inspect(X, y, optimizer)
        grows = factor > 1
        assert report.verdict == ("overshooting" if grows else "healthy"), str(report)
        assert report.fault == ("weight decay" if grows else "")
        net.fit(X, y, 400, 4, optimizer)
        assert (np.abs(net.weights[0]).max() > 10) == grows


def test_decay_is_named_and_the_remedy_helps(classes):
    X, y = classes
    net = vg.MLP(SIZES, rng=0)
    report = net.inspect(X, y, vg.SGD(1.0, weight_decay=5.0))
    assert (report.verdict, report.fault) == ("overshooting", "weight decay")
    assert "lr x weight_decay, which is 5, has to be below 2" in report.explanation
    [said] = report.remedies
    assert said.startswith("weight_decay=0.0005: ")
    assert follow(net, X, y, vg.SGD(1.0, weight_decay=5.0), said) > 0.9


def follow(net, X, y, optimizer, said):
    """The accuracy that comes of a training by this remedy."""
    name, _, value = said.partition(":")[0].partition("=")
    setattr(optimizer, name, float(value))
    net = net.copy()
    net.fit(X, y, epochs=30, optimizer=optimizer)
    return net.evaluate(X, y).accuracy


def test_the_remedies_of_a_rate_help(classes):
    X, y = classes
    told = set()
    for activation in ("relu", "tanh", "sigmoid"):
        for lr in (3.0, 10.0, 30.0, 1e3, 1e6):
            net = vg.MLP(SIZES, activation, rng=0)
            report = net.inspect(X, y, vg.SGD(lr))
            for said in report.remedies:
                told.add(said.partition("=")[0])
                assert follow(net, X, y, vg.SGD(lr), said) > 0.9, (activation, lr, said)
    assert told == {"lr"}


def test_clipping_is_told_where_it_helps(classes):
    X, y = classes
    net = vg.MLP([10, *[30] * 6, 2], init=vg.init.normal(0.7), rng=0)
    report = net.inspect(X, y, vg.SGD(0.1))
    assert report.verdict == "overshooting"
    clips = [said for said in report.remedies if said.startswith("clip_norm=1.0: ")]
    assert clips, str(report)
    for said in report.remedies:  # of 0.5 by chance; how far such large weights come depends on the last bits
        assert follow(net, X, y, vg.SGD(0.1), said) > 0.75, said


def r_squared(net, X, y):
    return 1 - float(((net.predict(X) - y) ** 2).mean() / y.var())


def scaled(values):
    return (values - values.mean(axis=0)) / values.std(axis=0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "identity"])
def test_targets_are_named_and_scaling_them_helps(prices, activation):
    X, y = prices
    net = vg.MLP([10, 30, 1], activation, "mse", rng=0)
    report = net.inspect(X, y, vg.SGD(0.01))
    assert (report.verdict, report.fault) == ("overshooting", "targets"), str(report)
    assert "The targets are at fault" in report.explanation
    [said] = report.remedies
    assert said.startswith("y scaled to mean 0 and variance 1: ")
    assert net.inspect(X, scaled(y), vg.SGD(0.01)).verdict == "healthy"
    net.fit(X, scaled(y), epochs=100)
    assert r_squared(net, X, scaled(y)) > 0.9


@pytest.mark.parametrize("columns", [slice(None), slice(3, 4)])
def test_inputs_are_named_and_scaling_them_helps(classes, columns):
    X, y = classes[0].copy(), classes[1]
    X[:, columns] *= 1e4
    net = vg.MLP(SIZES, rng=0)
    report = net.inspect(X, y, vg.SGD(0.1))
    assert (report.verdict, report.fault) == ("overshooting", "inputs"), str(report)
    [said] = report.remedies
    assert said.startswith("inputs scaled to mean 0 and variance 1: ")
    assert net.inspect(scaled(X), y, vg.SGD(0.1)).verdict == "healthy"
    net.fit(scaled(X), y, epochs=30, optimizer=vg.SGD(0.1))
    assert net.evaluate(scaled(X), y).accuracy > 0.9


def test_inputs_and_targets_together(prices):
    X, y = 1e3 * prices[0], prices[1]
    net = vg.MLP([10, 30, 1], "relu", "mse", rng=0)
    report = net.inspect(X, y, vg.SGD(0.01))
    assert report.fault == "inputs and targets"
    assert report.remedies[0].startswith("X and y scaled to mean 0 and variance 1: ")
    net.fit(scaled(X), scaled(y), epochs=100)
    assert r_squared(net, scaled(X), scaled(y)) > 0.9


def test_a_rate_that_no_scale_mends_is_at_fault(prices):
    X, y = prices
    report = vg.MLP([10, 30, 1], "relu", "mse", rng=0).inspect(X, y, vg.SGD(1e3))
    assert (report.verdict, report.fault) == ("overshooting", "learning rate")


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_a_velocity_is_part_of_the_step_and_stays(classes, kind):
    """A velocity that throws the net far is called; and the next step is as if nothing had been looked at."""
    X, y = classes
    nets, optimizers = [kind(SIZES, rng=0) for _ in range(2)], [vg.SGD(0.1, momentum=0.9) for _ in range(2)]
    for net, optimizer in zip(nets, optimizers, strict=True):
        net.step(1e6 * X, y, optimizer)  # leaves a huge velocity
        net.params[...] = kind(SIZES, rng=1).params
    assert kind(SIZES, rng=1).inspect(X, y, vg.SGD(0.1, momentum=0.9)).verdict == "healthy"
    assert nets[0].inspect(X, y, optimizers[0]).verdict == "overshooting"
    for net, optimizer in zip(nets, optimizers, strict=True):
        net.step(X, y, optimizer)
    np.testing.assert_array_equal(*(net.params for net in nets))


def test_a_training_is_called_by_its_mean_steps(classes):
    """Where the net that made the steps is gone; weights that began at 0 prove nothing."""
    X, y = classes
    history = vg.MLP(SIZES, "tanh", rng=0).fit(X, y, 2, 40, vg.SGD(1e-2), inspect_every=1)
    mean = over_time(history.gradients)
    args = (tuple(SIZES), ("tanh", "tanh"), 20, 40)
    assert verdict.judge(mean, *args).word == "healthy"
    mean["update_ratio"][1] = 1.5
    judged = verdict.judge(mean, *args)
    assert (judged.word, judged.layer, judged.fault) == ("overshooting", 2, "learning rate")
    assert "1.5 times as long as layer 2's weights" in judged.explanation
    mean["update_ratio"][1] = np.inf
    assert verdict.judge(mean, *args).word == "healthy"


def test_trials_of_large_batches_take_some_rows(classes, monkeypatch):
    X, y = np.tile(classes[0], (20, 1)), np.tile(classes[1], 20)
    rows = []
    monkeypatch.setattr(
        trials, "Loop", lambda learner, x, *args, **more: rows.append(len(x)) or Loop(learner, x, *args, **more)
    )
    assert vg.MLP(SIZES, rng=0).inspect(X, y, vg.SGD(1e3)).verdict == "overshooting"
    assert rows
    assert max(rows) <= trials.ROWS < len(X)


def test_healthy_inspections_try_nothing(classes, monkeypatch):
    X, y = classes
    monkeypatch.setattr(trials, "try_steps", None)
    assert vg.MLP(SIZES, rng=0).inspect(X, y, vg.SGD(0.1)).verdict == "healthy"


def test_the_bounds_are_those_that_are_written_down():
    """In ``vgfast.inspection.verdict``; the trials go by them."""
    assert trials.polyak_steps(2.0, 10.0, 0.5) == 25
    assert trials.polyak_steps(2.0, 10.0, 0.5, 4.0) == 10
    assert trials.polyak_steps(2.0, 10.0, 0.5, 40.0) == 25
    assert overshooting._PARABOLA == 4
    column = np.tile([[1.0, -1.0, 3.0]], (20, 1))
    assert trials.find_far_column(column * [1, 10, 1]) is None
    assert trials.find_far_column(column * [1, 10.01, 1]) == 1


@pytest.mark.parametrize(("times", "left_out"), [(99, False), (101, True)])
def test_an_outlier_is_a_hundred_times_as_large_as_the_median_row(times, left_out):
    x = np.full((40, 2), 0.5, np.float32)
    x[7, 1] *= times
    case = Case(vg.MLP([2, 3], rng=0)._engine, x, np.zeros(40, np.int32), vg.SGD())
    cures = list(trials._leave_out_outliers("X", x, "inputs", case))
    assert [len(cure.case.x) for cure in cures] == ([39] if left_out else [])


@pytest.mark.parametrize("written", [np.inf, np.nan])
def test_inputs_that_another_thread_has_made_infinite_are_left_alone(written, strict):
    """As they were finite when they were checked, without a warning."""
    x = np.array([[1.0, written], [2.0, 3.0]], np.float32)
    assert scale_to_unit(x) is x


@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
@pytest.mark.parametrize("rule", [vg.Adam, vg.AdamW, vg.RMSprop, vg.Adagrad])
def test_rules_that_divide_by_the_size_of_the_gradient_are_judged_by_trials(classes, kind, rule):
    """Not by how much of the loss the gradient promises, which says nothing of their steps."""
    X, y = classes
    net = kind(SIZES, "tanh", rng=0)
    assert net.inspect(X, y, rule()).verdict == "healthy"
    assert net.inspect(1e-3 * X, y, rule(weight_decay=0.5)).verdict != "overshooting"
    report = net.inspect(X, y, rule(lr=30))
    assert (report.verdict, report.fault) == ("overshooting", "learning rate"), str(report)
    assert "its gradient promises" not in report.explanation
    lower = float(re.match(r"lr=([\d.e+-]+): ", report.remedies[0])[1])
    assert not diverges_or_learns_nothing(net, X, y, rule(lr=lower))


def test_a_decoupled_decay_that_makes_weights_grow_is_at_fault(classes):
    report = vg.MLP(SIZES, "tanh", rng=0).inspect(*classes, vg.AdamW(lr=1e-3, weight_decay=3000))
    assert (report.verdict, report.fault) == ("overshooting", "weight decay"), str(report)
    assert "has to be below 2," in report.explanation
