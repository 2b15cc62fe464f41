"""Sixty nets built to be well or ill in a known way; what is told of where, of whose fault it is, and of remedies."""

import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference
from vgfast.inspection import remedies, verdict

STEPS = 1000


def data(rng, rows=64, n_in=20):
    return rng.normal(size=(rows, n_in)).astype(np.float32), rng.integers(0, 5, rows)


def built(word, seed):
    """(net, X, y, optimizer) of a net that is ill in this way; sizes, depth and activation vary with the seed."""
    rng = np.random.default_rng(seed)
    X, y = data(rng)
    width, depth = int(rng.integers(20, 80)), int(rng.integers(2, 9))
    optimizer = vg.SGD(lr=0.05)
    if word == "healthy":
        activation, init = [("relu", "he_normal"), ("tanh", "glorot_uniform"), ("leaky_relu", "auto")][seed % 3]
        return vg.MLP([20, *[width] * depth, 5], activation, init=init, rng=rng), X, y, optimizer
    if word == "vanishing":
        activation, init, hidden = [
            ("sigmoid", "lecun_normal", 6 + depth),
            ("relu", vg.init.normal(0.2 / width**0.5), 4 + depth),
            ("tanh", vg.init.normal(0.2 / width**0.5), 4 + depth),
        ][seed % 3]
        return vg.MLP([20, *[width] * hidden, 5], activation, init=init, rng=rng), X, y, optimizer
    if word == "exploding":
        activation, std = [("relu", 8.0), ("leaky_relu", 8.0), ("identity", 5.0)][seed % 3]
        init = vg.init.normal(std / width**0.5)
        return vg.MLP([20, *[width] * (5 + depth), 5], activation, init=init, rng=rng), X, y, optimizer
    if word == "saturated":
        net = vg.MLP([20, *[width] * depth, 5], ["tanh", "sigmoid"][seed % 2], init="glorot_uniform", rng=rng)
        layer = int(rng.integers(0, depth))
        net.weights[layer][...] *= 60
        return net, X, y, optimizer
    net = vg.MLP([20, *[width] * depth, 5], "relu", rng=rng)
    if word == "dead":
        layer = int(rng.integers(0, depth))
        some = rng.random(width) < 0.95
        some[0] = False
        net.biases[layer][some] = -100
        return net, X, y, optimizer
    return net, X, y, vg.SGD(lr=1e-9)


def test_sixty_nets():
    """57 right, as promised, and no healthy net accused."""
    words = ("healthy", "vanishing", "exploding", "saturated", "dead", "frozen")
    wrong = []
    for word in words:
        for seed in range(10):
            net, X, y, optimizer = built(word, seed)
            found = net.inspect(X, y, optimizer, STEPS, try_remedies=False).verdict
            if found != word:
                wrong.append((word, seed, found))
    assert len(wrong) <= 3, wrong
    assert not [one for one in wrong if one[0] == "healthy"]


@pytest.mark.parametrize("depth", [1, 3, 10, 30])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_no_good_start_is_accused(activation, depth):
    """First weights as they should be, of 40 to 200 units, batches of 1 to 200 rows. (Of 30 layers of ReLU with 8 to 30
    units, one in ten has by chance a layer that is dead.) With a fair step: of 30 layers, some that learn five rows
    diverge with 0.05, as they are told."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        X, y = data(rng, int(rng.choice([1, 5, 32, 200])))
        net = vg.MLP([20, *[int(rng.choice([40, 100, 200]))] * depth, 5], activation, rng=rng)
        lr, steps = (0.05, 1000) if depth < 30 else (0.005, 2000)
        report = net.inspect(X, y, vg.SGD(lr), steps, try_remedies=False)
        assert report.verdict == "healthy", (seed, str(report))
        if depth == 30 and activation != "tanh" and seed == 6:
            assert net.inspect(X, y, vg.SGD(lr=0.05), try_remedies=False).verdict == "overshooting"
            with pytest.raises(vg.DivergenceError):
                net.fit(X, y, 20, len(X), vg.SGD(lr=0.05))


def test_where_and_whose_fault(rng):
    X, y = data(rng)
    small = vg.MLP([20, *[30] * 8, 5], "tanh", init=vg.init.normal(0.2 / 30**0.5), rng=0).inspect(X, y)
    assert (small.verdict, small.fault) == ("vanishing", "weights")
    flat = vg.MLP([20, *[30] * 12, 5], "sigmoid", init=vg.init.normal(1.0 / 30**0.5), rng=0).inspect(X, y)
    assert (flat.verdict, flat.fault) == ("vanishing", "activations")
    for report in (small, flat):
        part = report.records["delta_norm"] / report.records["delta_norm"][-1]
        assert part[report.layer - 1] < 1 / 1000 <= part[report.layer]
        assert f"layer {report.layer}" in report.explanation
    net = vg.MLP([20, 30, 30, 30, 5], rng=0)
    net.biases[1][...] = -100
    dead = net.inspect(X, y)
    assert (dead.verdict, dead.layer, dead.fault) == ("dead", 2, "weights")
    assert "100% of layer 2's units" in dead.explanation


@pytest.mark.parametrize("word", ["vanishing", "exploding", "saturated", "dead", "frozen"])
@pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
def test_remedies_are_tried_and_the_first_is_a_cure(kind, word):
    """What is printed of it is what comes of it, and the net is as it was."""
    for seed in range(3):
        net, X, y, optimizer = built(word, seed)
        if kind is reference.MLP:
            plain = reference.MLP(net.sizes, net.activations, dtype=net.dtype, rng=0)
            plain.params[...] = net.params
            net = plain
        before = net.params.copy()
        report = net.inspect(X, y, optimizer)
        np.testing.assert_array_equal(net.params, before)
        assert optimizer.lr in (0.05, 1e-9)
        assert report.verdict == word
        assert report.remedies[0].endswith("(healthy)")
        assert max(map(len, str(report).splitlines())) <= 80


def test_what_does_not_help_is_not_recommended():
    net, X, y, optimizer = built("frozen", 0)
    report = net.inspect(X, y, optimizer)
    assert report.remedies
    assert not [text for text in report.remedies if "init=" in text]


def test_where_nothing_helps_that_is_told(monkeypatch):
    net, X, y, optimizer = built("vanishing", 0)
    monkeypatch.setattr(remedies, "propose", lambda *_: [("biases of 0", remedies._remove_biases)])
    assert net.inspect(X, y, optimizer).remedies == ["none helped of what was tried: biases of 0"]


def test_the_inputs_are_blamed_for_what_they_do(rng):
    """Zeros, and values far from unit scale; each remedy that is told first, followed, makes the net healthy."""
    X, y = data(rng)
    relu, tanh = (([20, 30, 30, 5], kind) for kind in ("relu", "tanh"))
    cases = {
        "zero rows of ReLU": ("dead", vg.MLP(*relu, rng=0), 0 * X, "every input of this batch is 0"),
        "a zero row": ("dead", vg.MLP([2, 8, 2], rng=0), np.zeros((1, 2)), "nothing but the biases"),
        "zero rows, biases below 0": ("dead", biased(vg.MLP(*relu, rng=0), -1), 0 * X, "nothing but the biases"),
        "zero rows of tanh": ("frozen", vg.MLP(*tanh, rng=0), 0 * X, "every input of this batch is 0"),
        "huge inputs": ("saturated", vg.MLP(relu[0], "sigmoid", rng=0), 1e4 * X, "it would be 0%"),
        "a huge row": ("saturated", vg.MLP(*tanh, rng=0), 1e4 * X[:1], "variance 1 it would be"),
        "huge inputs of the second layer": (
            "saturated",
            vg.MLP(relu[0], ["relu", "tanh"], rng=0),
            1e4 * X,
            "The inputs are at fault, whose largest value is 3",
        ),
        "tiny inputs": ("frozen", vg.MLP(*tanh, rng=0), 1e-12 * X, "the net would be healthy"),
    }
    for name, (word, net, x, why) in cases.items():
        report = net.inspect(x, y[: len(x)] % net.sizes[-1], vg.SGD(lr=0.05))
        assert (report.verdict, report.fault) == (word, "inputs"), (name, str(report))
        assert why in report.explanation, (name, report.explanation)
        assert "weights and biases keep" not in report.explanation
        if x.any() and len(x) > 1:
            assert any(one.startswith("inputs scaled to mean 0 and variance 1") for one in report.remedies), name
            well = net.inspect((x - x.mean(axis=0)) / x.std(axis=0), y, vg.SGD(lr=0.05), steps=3000)
            assert well.verdict == "healthy", (name, str(well))
        elif not x.any():
            [said] = report.remedies
            assert said.startswith("inputs that are not all 0"), name


def biased(net, value):
    for b in net.biases:
        b[...] = value
    return net


def test_the_weights_are_blamed_for_what_they_do(rng):
    X, y = data(rng)
    for x in (X, 3 * X, X[:1]):
        large = vg.MLP([20, 30, 30, 5], "tanh", rng=0)
        large.weights[0][...] *= 100
        off = vg.MLP([20, 30, 30, 5], rng=0)
        off.biases[0][...] = -1000
        for word, net in (("saturated", large), ("dead", off)):
            report = net.inspect(x, y[: len(x)])
            assert (report.verdict, report.fault) == (word, "weights"), str(report)


def test_a_remedy_says_what_it_does(rng):
    X, y = data(rng)
    net = vg.MLP([20, *[30] * 12, 5], "sigmoid", init="lecun_normal", rng=0)
    report = net.inspect(X, y)
    [cure] = [text for text in report.remedies if text.startswith("activation='relu'")]
    gain = vg.MLP(net.sizes, "relu", init="he_normal", rng=0).inspect(X, y).numbers["total_gain"]
    assert f"gain over all layers {gain:.2g} instead of {report.numbers['total_gain']:.2g}" in cure


def test_the_limit_for_dead_units():
    np.testing.assert_allclose(verdict.dead_limits((100, 4, 400), 64), [0.7, 1 - 1 / 8, 0.6])
    np.testing.assert_allclose(verdict.dead_limits((10_000,), 1), [1 - 0.5 / 10_000])


def test_a_net_that_knows_its_batch_is_healthy(digits):
    """Small gradients are what training is for; of another batch it may still have something to learn."""
    X, y = digits
    for activation in ("tanh", "sigmoid", "relu"):
        net = vg.MLP([64, 64, 10], activation, rng=0)
        net.fit(X[:200], y[:200], epochs=1200, batch_size=20, optimizer=vg.SGD(lr=0.5))
        report = net.inspect(X[:200], y[:200], vg.SGD(lr=1e-9))
        assert report.numbers["error"] < 0.01
        assert (report.verdict, report.remedies) == ("healthy", [])
        assert net.inspect(X[200:], y[200:], vg.SGD(lr=1e-9)).verdict == "frozen"


def test_short_trainings_are_not_judged_by_their_shortness(rng):
    X, y = data(rng)
    for seed in range(5):
        assert vg.MLP([20, 30, 30, 5], rng=seed).inspect(X, y, steps=1).verdict == "healthy"


def test_remedies_of_odd_nets(rng):
    """A subclass with arguments of its own; an optimizer with a velocity; values whose squares leave float64."""

    class Mine(vg.MLP):
        def __init__(self, depth):
            super().__init__([4, *[8] * depth, 2], "sigmoid", rng=0)

    assert Mine(12).inspect(np.eye(4), [0, 1, 0, 1]).remedies

    X, y = rng.normal(size=(64, 8)), rng.integers(0, 3, 64)
    net, optimizer = vg.MLP([8, 32, 3], "tanh", rng=0), vg.SGD(lr=1e-9, momentum=0.99)
    for _ in range(300):
        net.step(X, y, optimizer)
    [said] = [text for text in net.inspect(X, y, optimizer).remedies if text.startswith("lr=")]
    optimizer.lr = float(said[3:].partition(":")[0])
    share = verdict.stuck_shares(net.inspect(X, y, optimizer, try_remedies=False).records).max()
    assert f"{share:.0%} of a layer's weights stuck at most" in said

    huge = vg.MLP([5, 4, 2], "tanh", dtype="float64", rng=0).inspect(np.ones((3, 5)) * 1e160, [0, 1, 1])
    assert np.isnan(huge.layers.predicted_gain).all()
    assert str(huge)

    dark = vg.MLP([4, 8, 8, 2], "sigmoid", rng=0).inspect([[200.0, -300, 250, 100]], [1])
    assert "nan" not in " ".join(dark.remedies)
    assert "inputs scaled" not in " ".join(dark.remedies)


@pytest.mark.parametrize("word", ["exploding", "vanishing", "dead", "saturated"])
def test_a_sick_net_is_inspected_while_it_trains(word):
    """From another thread: remedies take nothing that belongs to the training."""
    net, X, y, _ = built(word, 0)
    found = []

    def watch(net, history):
        def look():
            try:
                found.append(net.inspect(X, y, vg.SGD(lr=1e-30)).remedies)
            except RuntimeError as error:
                found.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    net.fit(X, y, epochs=1, optimizer=vg.SGD(lr=1e-30), callbacks=[watch])
    [remedies] = found
    assert isinstance(remedies, list), remedies
    assert remedies


def test_more_cures_are_tried_and_the_best_are_told(digits):
    """Each does, on a net that is new, what is said of it."""
    X, y = digits
    sigmoids = vg.MLP([64, *[30] * 8, 10], "sigmoid", init="lecun_normal", rng=0)
    said = sigmoids.inspect(X, y, vg.SGD(0.05)).remedies
    assert len(said) <= remedies._SHOWN
    [tanh] = [one for one in said if one.startswith("activation='tanh' with init='critical'")]
    gain = vg.MLP(sigmoids.sizes, "tanh", init="critical", rng=0).inspect(X, y, vg.SGD(0.05)).numbers["total_gain"]
    assert f"gain over all layers {gain:.2g} instead of" in tanh
    [adam] = [one for one in said if one.startswith("optimizer=vg.Adam(lr=0.001)")]
    share = sigmoids.inspect(X, y, vg.Adam()).numbers["step_share"]
    assert f"steps of layer 1 are {share:.2g} times the last layer's (healthy)" in adam
    narrow = vg.MLP([64, *[30] * 8, 10], "tanh", init=vg.init.normal(0.2 / 30**0.5), rng=0)
    tried = [
        what for what, _ in remedies.propose(narrow._case(*narrow._batch(X, y), vg.SGD()), narrow.inspect(X, y).judged)
    ]
    for rule in ("'auto'", "'critical'", "'orthogonal'", "vg.init.lsuv(X)"):
        assert f"new first weights, init={rule}" in tried
    assert any("(healthy)" in one and "new first weights" in one for one in narrow.inspect(X, y).remedies)


def test_steps_of_adam_do_not_vanish_with_the_gradient(digits):
    """Until that comes down to eps: and what is told comes true."""
    X, y = digits
    for depth, word in ((8, "healthy"), (16, "vanishing")):
        net, adam = vg.MLP([64, *[30] * depth, 10], "sigmoid", init="lecun_normal", rng=0), vg.Adam(0.001)
        assert net.inspect(X, y, vg.SGD(0.05), try_remedies=False).verdict == "vanishing"
        report = net.inspect(X, y, adam, try_remedies=False)
        assert report.verdict == word, str(report)
        stepped = net.copy()
        stepped.step(X, y, vg.Adam(0.001))
        first, last = (np.sqrt(np.square(stepped.weights[l] - net.weights[l]).mean()) for l in (0, -1))
        assert report.numbers["step_share"] == pytest.approx(first / last, rel=1e-3)
        if word == "vanishing":
            assert "layer 1 is moved by a step" in report.explanation
            part = report.records["update_ratio"] * report.records["weight_norm"]
            part = part / np.sqrt([w.size for w in net.weights])
            assert part[report.layer - 1] < part[-1] / 1000 <= part[report.layer]
        net.fit(X, y, epochs=36, optimizer=adam)
        assert (net.evaluate(X, y).loss < 0.9 * np.log(10)) == (word == "healthy")
    zeros = vg.MLP([64, 30, 10], init="zeros", rng=0).inspect(X, y, vg.Adam(), try_remedies=False)
    assert "step_share" not in zeros.numbers
