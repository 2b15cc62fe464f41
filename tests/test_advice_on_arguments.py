"""Advice in an error about an argument works when it is followed: what fails, what it says, and what works then."""

import re
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast.files import folders
from vgfast.inspection import mean_field, paths

pd = pytest.importorskip("pandas")

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3
NET = vg.MLP([3, 4, 3], rng=0)
MSE = vg.MLP([3, 3], loss="mse", rng=0)
DONE = vg.MLP([3, 3], rng=0).fit(X, Y, 2, inspect_every=1)
PLAIN = vg.MLP([3, 3], rng=0).fit(X, Y, 2)
GRADIENTS = NET.gradients(X, Y)
OF_DOUBLE = vg.MLP([3, 4, 3], dtype="float64", rng=0).gradients(X, Y)
OTHERS = vg.MLP([3, 5, 3], rng=0).gradients(X, Y)
HUGE = vg.SGD(lr=1e38, weight_decay=1e38)


def with_nan():
    net = vg.MLP([3, 4, 3], rng=0)
    net.weights[0][0, 0] = np.nan
    return net


def mended_of(net):
    net.weights[0] = np.ones((3, 4))
    return net


def with_inf():
    gradients = NET.gradients(X, Y)
    gradients.weights[0][0, 0] = np.inf
    return gradients


ARGUMENTS = {
    "epochs 10.0": (lambda: NET.copy().fit(X, Y, 10.0), "use 10", lambda: NET.copy().fit(X, Y, 10)),
    "epochs '3'": (lambda: NET.copy().fit(X, Y, "3"), "use 3", lambda: NET.copy().fit(X, Y, 3)),
    "epochs array": (lambda: NET.copy().fit(X, Y, np.array(3)), "use 3", lambda: NET.copy().fit(X, Y, 3)),
    "layer 1.0": (lambda: NET.trace(1.0, 0, 0, X[0], 1), "use 1", lambda: NET.trace(1, 0, 0, X[0], 1)),
    "lr '0.1'": (lambda: vg.SGD("0.1"), "use 0.1", lambda: vg.SGD(0.1)),
    "lr array": (lambda: vg.SGD(np.array(0.5)), "use 0.5", lambda: vg.SGD(0.5)),
    "nesterov": (
        lambda: vg.SGD(nesterov=True),
        "for example momentum=0.9",
        lambda: vg.SGD(nesterov=True, momentum=0.9),
    ),
    "optimizer": (
        lambda: NET.copy().step(X, Y, "sgd"),
        "vg.SGD(lr=0.1)",
        lambda: NET.copy().step(X, Y, vg.SGD(lr=0.1)),
    ),
    "lr for float32": (
        lambda: NET.copy().step(X, Y, vg.SGD(lr=1e-46)),
        "must be from 1.401298464324817e-45 to",
        lambda: NET.copy().step(X, Y, vg.SGD(lr=1.401298464324817e-45)),
    ),
    "sizes a set": (lambda: vg.MLP({3, 4}), "such as [64, 30, 10]", lambda: vg.MLP([64, 30, 10])),
    "sizes a number": (lambda: vg.MLP(3), "such as [64, 30, 10]", lambda: vg.MLP([64, 30, 10])),
    "sizes of one": (lambda: vg.MLP([3]), "such as [64, 30, 10]", lambda: vg.MLP([64, 30, 10])),
    "sizes of floats": (lambda: vg.MLP([3.0, 2]), "use 3", lambda: vg.MLP([3, 2])),
    "one output": (
        lambda: vg.MLP([3, 1]),
        "use loss='binary_cross_entropy'",
        lambda: vg.MLP([3, 1], loss="binary_cross_entropy"),
    ),
    "one output, two needed": (lambda: vg.MLP([3, 1]), "needs at least two outputs", lambda: vg.MLP([3, 2])),
    "activation a number": (
        lambda: vg.MLP([3, 4, 2], activation=3),
        "a name or a list of names",
        lambda: [vg.MLP([3, 4, 2], activation=one) for one in ("tanh", ["tanh"])],
    ),
    "activations": (
        lambda: vg.MLP([3, 4, 4, 2], activation=["tanh"]),
        "one name, or one for each of the 2 hidden layers",
        lambda: [vg.MLP([3, 4, 4, 2], activation=one) for one in ("tanh", ["tanh", "relu"])],
    ),
    "init uncalled": (
        lambda: vg.MLP([3, 2], init=vg.init.he_normal),
        "call it: vg.init.he_normal()",
        lambda: vg.MLP([3, 2], init=vg.init.he_normal()),
    ),
    "lsuv uncalled": (
        lambda: vg.MLP([3, 2], init=vg.init.lsuv),
        "call it: vg.init.lsuv(X)",
        lambda: vg.MLP([3, 2], init=vg.init.lsuv(X)),
    ),
    "lsuv by name": (
        lambda: vg.MLP([3, 2], init="lsuv"),
        "use init=vg.init.lsuv(X)",
        lambda: vg.MLP([3, 2], init=vg.init.lsuv(X)),
    ),
    "lsuv of one number": (
        lambda: vg.MLP([3, 4, 3], init=vg.init.lsuv(np.zeros((20, 3)))),
        "pass several of the rows to train on, scaled to mean 0 and variance 1",
        lambda: vg.MLP([3, 4, 3], init=vg.init.lsuv((X - X.mean(axis=0)) / X.std(axis=0))),
    ),
    "no critical point at q": (
        lambda: vg.MLP([3, 4, 3], "sigmoid", init=vg.init.critical(q=1)),
        "use q=50",
        lambda: vg.MLP([3, 4, 3], "sigmoid", init=vg.init.critical(q=50)),
    ),
    "init a number": (
        lambda: vg.MLP([3, 2], init=0.05),
        "vg.init.normal(0.05)",
        lambda: vg.MLP([3, 2], init=vg.init.normal(0.05)),
    ),
    "rng": (
        lambda: vg.MLP([3, 2], rng=np.random.RandomState(1)),
        "np.random.default_rng(seed)",
        lambda: vg.MLP([3, 2], rng=np.random.default_rng(1)),
    ),
    "rng negative": (lambda: vg.MLP([3, 2], rng=-1), "a whole number, at least 0", lambda: vg.MLP([3, 2], rng=0)),
    "validation_data": (
        lambda: NET.copy().fit(X, Y, validation_data=X),
        "(X, y) or (X, y, sample_weight)",
        lambda: NET.copy().fit(X, Y, validation_data=(X, Y)),
    ),
    "callbacks": (
        lambda: NET.copy().fit(X, Y, callbacks=print),
        "put it in a list, callbacks=[...]",
        lambda: NET.copy().fit(X, Y, callbacks=[lambda net, history: None]),
    ),
    "callbacks, a class": (
        lambda: NET.copy().fit(X, Y, callbacks=[vg.EarlyStopping]),
        "make one, such as EarlyStopping(...)",
        lambda: NET.copy().fit(X, Y, validation_data=(X, Y), callbacks=[vg.EarlyStopping(3)]),
    ),
    "monitor": (
        lambda: NET.copy().fit(X, Y, callbacks=[vg.EarlyStopping(3)]),
        "give validation_data=(X, y)",
        lambda: NET.copy().fit(X, Y, validation_data=(X, Y), callbacks=[vg.EarlyStopping(3)]),
    ),
    "monitor of mse": (
        lambda: vg.MLP([3, 2], loss="mse", rng=0).fit(
            X, np.zeros((20, 2)), callbacks=[vg.EarlyStopping(3, "accuracy")]
        ),
        "monitor one of loss",
        lambda: vg.MLP([3, 2], loss="mse", rng=0).fit(X, np.zeros((20, 2)), callbacks=[vg.EarlyStopping(3, "loss")]),
    ),
    "progress": (
        lambda: NET.copy().fit(X, Y, progress=print()),
        "True, False, or a function of (done, total, history)",
        lambda: NET.copy().fit(X, Y, progress=lambda done, total, history: None),
    ),
    "histograms": (
        lambda: NET.copy().fit(X, Y, inspect="histograms"),
        "for example inspect_every=10",
        lambda: NET.copy().fit(X, Y, inspect="histograms", inspect_every=10),
    ),
    "predict_proba": (lambda: MSE.predict_proba(X), "use predict", lambda: MSE.predict(X)),
    "several layers": (
        lambda: NET.copy().weights.__setitem__(slice(0, 1), [X]),
        "such as weights[0]",
        lambda: NET.copy().weights.__setitem__(0, np.ones((3, 4))),
    ),
    "another shape": (
        lambda: NET.copy().weights.__setitem__(0, X),
        "weights[0] has shape (3, 4), got (20, 3); give an array of that shape",
        lambda: NET.copy().weights.__setitem__(0, np.ones((3, 4))),
    ),
    "too many parameters": (
        lambda: setattr(NET.copy(), "params", np.broadcast_to("a", 2**31)),
        "params has shape (31,), got (2147483648,); give an array of that shape",
        lambda: setattr(NET.copy(), "params", np.zeros(31)),
    ),
    "NaN assigned": (
        lambda: NET.copy().weights.__setitem__(0, np.where(np.eye(3, 4), np.nan, 0)),
        "weights[0] has NaN in row 0, column 0, which no net can use; assign finite numbers",
        lambda: NET.copy().weights.__setitem__(0, np.eye(3, 4)),
    ),
    "no gradients": (
        lambda: NET.copy().apply([1.0]),
        "what gradients or backward returned, or a vector like net.params",
        lambda: [NET.copy().apply(one) for one in (GRADIENTS, NET.backward(X, X), np.ones_like(NET.params))],
    ),
    "gradients of another dtype": (
        lambda: NET.copy().apply(OF_DOUBLE),
        "must be of float32, as the net is, got float64; compute them with a net of that dtype",
        lambda: NET.copy().apply(vg.MLP([3, 4, 3], dtype="float32").gradients(X, Y)),
    ),
    "gradients of another net": (
        lambda: NET.copy().apply(OTHERS),
        "a net with weights of [(3, 4), (4, 3)], 31 parameters in all, got weights of [(3, 5), (5, 3)]; compute",
        lambda: NET.copy().apply(vg.MLP([3, 4, 3]).gradients(X, Y)),
    ),
    "infinite gradients": (
        lambda: [NET.copy().apply(one) for one in (with_inf(), GRADIENTS)],
        "got inf in entry 0; leave that step out",
        lambda: [NET.copy().apply(one) for one in (GRADIENTS,)],
    ),
    "an update that overflows": (
        lambda: NET.copy().apply(GRADIENTS, HUGE),
        "lower lr (it is 1e+38) or weight_decay (it is 1e+38)",
        lambda: [NET.copy().apply(GRADIENTS, vg.SGD(*rates)) for rates in [(0.1, 0, False, 1), (1e38, 0, False, 0)]],
    ),
    "an update of NaN": (
        lambda: with_nan().apply(GRADIENTS),
        "assign finite ones",
        lambda: mended_of(with_nan()).apply(GRADIENTS),
    ),
    "dz that overflows": (
        lambda: NET.backward(100 * X, np.full((20, 3), 3e38)),
        "make it, or X, smaller",
        lambda: [NET.backward(*one) for one in [(100 * X, np.ones((20, 3))), (1e-3 * X, np.full((20, 3), 1e36))]],
    ),
    "nothing inspected": (
        lambda: PLAIN.to_pandas(),
        "fit(..., inspect_every=10)",
        lambda: NET.copy().fit(X, Y, inspect_every=10).to_pandas(),
    ),
    "quantities": (
        lambda: vg.Log(print, "gain"),
        "such as ['grad_norm', 'gain']",
        lambda: vg.Log(print, ["grad_norm", "gain"]),
    ),
    "send": (lambda: vg.Log(3), "a function of (values, step)", lambda: vg.Log(lambda values, step: None)),
    "one width": (
        lambda: mean_field.relu_moment_ratio(30),
        "for one number use [30]",
        lambda: mean_field.relu_moment_ratio([30]),
    ),
    "moments": (
        lambda: mean_field.predict_from_moments([3, 3, 3], "relu", [0.1], [0, 0], [1]),
        "weight_squares must have 2 numbers, one a layer",
        lambda: mean_field.predict_from_moments([3, 3, 3], "relu", [0.1, 0.1], [0, 0], [1]),
    ),
    "no moments": (
        lambda: mean_field.predict_from_moments([3, 3, 3], "relu", [0.1, 0.1], [0, 0], []),
        "input_squares must have at least one number",
        lambda: mean_field.predict_from_moments([3, 3, 3], "relu", [0.1, 0.1], [0, 0], [1]),
    ),
    "theory of NaN": (
        lambda: mean_field.predict(with_nan(), X),
        "assign finite values",
        lambda: mean_field.predict(mended_of(with_nan()), X),
    ),
    "trace of NaN": (
        lambda: with_nan().trace(1, 0, 0, X[0], 1),
        "assign finite ones",
        lambda: mended_of(with_nan()).trace(1, 0, 0, X[0], 1),
    ),
    "check of NaN": (
        lambda: with_nan().check_gradient(1, 0, 0, X, Y),
        "assign finite ones",
        lambda: mended_of(with_nan()).check_gradient(1, 0, 0, X, Y),
    ),
    "trace of rows": (
        lambda: NET.trace(1, 0, 0, X, Y),
        "give x[0] and y[0]",
        lambda: NET.trace(1, 0, 0, X[0], Y[0]),
    ),
    "trace of a part": (
        lambda: NET.trace(1, 0, 0, X[0, :2], 1),
        "give one whole row of X",
        lambda: NET.trace(1, 0, 0, X[0], 1),
    ),
    "trace for all y": (
        lambda: NET.trace(1, 0, 0, X[0], Y),
        "give the y of that sample",
        lambda: NET.trace(1, 0, 0, X[0], Y[0]),
    ),
    "trace of no layer": (
        lambda: NET.trace(0, 0, 0, X[0], 1),
        "must be from 1 to 2",
        lambda: [NET.trace(layer, 0, 0, X[0], 1) for layer in (1, 2)],
    ),
    "paths": (
        lambda: NET.trace(1, 0, 0, X[0], 1, 10**6),
        f"paths must be from 1 to {paths.MOST_PATHS}",
        lambda: NET.trace(1, 0, 0, X[0], 1, paths.MOST_PATHS),
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_advice_on_arguments(case):
    wrong, advice, right = ARGUMENTS[case]
    with pytest.raises((TypeError, ValueError, vg.DivergenceError)) as caught:
        wrong()
    assert advice in str(caught.value), str(caught.value)
    right()


def test_a_sample_without_a_finite_gradient():
    net = vg.MLP([3, 4, 3], "relu", dtype="float64", rng=0)
    net.weights[0], net.weights[1] = np.full((3, 4), 1e10), np.full((4, 3), 1e10)
    with pytest.raises(vg.DivergenceError, match="scale x or start from smaller weights"):
        net.trace(1, 0, 0, np.full(3, 1e300), 1)
    assert net.trace(1, 0, 0, np.ones(3), 1).layer == 1
    net.weights[0], net.weights[1] = np.full((3, 4), 1e-300), np.ones((4, 3))
    assert net.trace(1, 0, 0, np.full(3, 1e300), 1).layer == 1


def test_a_frame_of_samples_to_trace():
    with pytest.raises(ValueError, match=re.escape("give x.iloc[0] and y[0]")):
        NET.trace(1, 0, 0, pd.DataFrame(X), Y)
    assert NET.trace(1, 0, 0, pd.DataFrame(X).iloc[0], Y[0]).layer == 1


def test_a_net_that_another_thread_trains():
    net, training, enough = vg.MLP([3, 4, 3], rng=0), threading.Event(), threading.Event()

    def wait(net, history):
        training.set()
        enough.wait(60)

    other = threading.Thread(target=net.fit, args=(X, Y, 1), kwargs={"callbacks": [wait]})
    other.start()
    assert training.wait(60)
    with pytest.raises(RuntimeError, match=r"wait for that, or give each thread a net.copy\(\) of its own"):
        net.fit(X, Y)
    net.copy().fit(X, Y)
    enough.set()
    other.join()
    net.fit(X, Y)


def test_files_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="choose another path"):
        DONE.to_jsonl(tmp_path / "none" / "log.jsonl")
    DONE.to_jsonl(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="is or is in a file; choose another"):
        folders.check(tmp_path / "log.jsonl" / "pictures")
    folders.check(tmp_path / "pictures")


CHOICES = {
    "loss": lambda name: vg.MLP([3, 4, 3], loss=name),
    "activation": lambda name: vg.MLP([3, 4, 3], activation=name),
    "activation of a layer": lambda name: vg.MLP([3, 4, 3], activation=[name]),
    "init": lambda name: vg.MLP([3, 4, 3], init=name),
    "init of a residual net": lambda name: vg.MLP([3, 4, 4, 3], "tanh", init=name, residual=True),
    "dtype": lambda name: vg.MLP([3, 4, 3], dtype=name),
    "dtype of the textbook": lambda name: vg.reference.MLP([3, 4, 3], dtype=name),
    "inspect": lambda name: NET.inspect(X, Y, inspect=name),
    "inspect of a training": lambda name: NET.copy().fit(X, Y, 1, inspect=name, inspect_every=1),
    "quantity": lambda name: vg.Log(print, [name]),
    "activation of the theory": lambda name: mean_field.predict_from_moments([3, 3, 3], name, [1, 1], [0, 0], [1]),
}


@pytest.mark.parametrize("case", CHOICES)
@pytest.mark.parametrize("wrong", ["mae", "unheard of"])
def test_what_there_is_can_be_chosen(case, wrong):
    choose = CHOICES[case]
    with pytest.raises(ValueError, match=rf"{case.partition(' ')[0]} '{wrong}'; there is ") as caught:
        choose(wrong)
    there = str(caught.value).rpartition("there is ")[2].split(", ")
    assert len(there) > 1
    for name in there:
        choose(name)


@pytest.mark.parametrize("counted", [False, True])
def test_steps_are_inspected_as_the_error_says(counted):
    history = vg.MLP([3, 3], rng=0).fit(X, Y, 1)
    history.exponents = np.zeros((0, 1, 256), np.uint32) if counted else None
    with pytest.raises(ValueError, match=r"none of the 1 steps .* ask for them with fit\(\.\.\., .*\)$") as caught:
        history.mean()
    asked = eval(f"dict({str(caught.value).partition('fit(..., ')[2]}")
    history = vg.MLP([3, 3], rng=0).fit(X, Y, 1, **asked)
    assert len(history.mean()) == 1
    assert (history.exponents is not None) == counted


def test_a_tensor_is_no_number():
    lr = pytest.importorskip("torch").tensor(0.5)
    with pytest.raises(TypeError, match=r"use 0.5$"):
        vg.SGD(lr)
