"""Advice in an error about an argument works when it is followed: what fails, what it says, and what works then."""

import re
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast import config
from vgfast.inspection import mean_field, paths

pd = pytest.importorskip("pandas")

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3
NET = vg.MLP([3, 4, 3], rng=0)
MSE = vg.MLP([3, 3], loss="mse", rng=0)
DONE = vg.MLP([3, 3], rng=0).fit(X, Y, 2, inspect_every=1)
PLAIN = vg.MLP([3, 3], rng=0).fit(X, Y, 2)


def with_nan():
    net = vg.MLP([3, 4, 3], rng=0)
    net.weights[0][0, 0] = np.nan
    return net


def mended_of(net):
    net.weights[0] = np.ones((3, 4))
    return net


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
    "init uncalled": (
        lambda: vg.MLP([3, 2], init=vg.init.he_normal),
        "call it: vg.init.he_normal()",
        lambda: vg.MLP([3, 2], init=vg.init.he_normal()),
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
        "a pair (X, y)",
        lambda: NET.copy().fit(X, Y, validation_data=(X, Y)),
    ),
    "callbacks": (
        lambda: NET.copy().fit(X, Y, callbacks=print),
        "put it in a list, callbacks=[...]",
        lambda: NET.copy().fit(X, Y, callbacks=[lambda net, history: None]),
    ),
    "progress": (
        lambda: NET.copy().fit(X, Y, progress=True),
        "a function of (done, total, history)",
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
    from vgfast.show import figures

    with pytest.raises(OSError, match="choose another path"):
        DONE.to_jsonl(tmp_path / "none" / "log.jsonl")
    DONE.to_jsonl(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="is or is in a file; choose another"):
        figures.check_folder(tmp_path / "log.jsonl" / "pictures")
    figures.check_folder(tmp_path / "pictures")


@pytest.mark.parametrize("asked", ["many", "0", "2.0"])
def test_the_number_of_threads_in_the_environment(monkeypatch, asked):
    monkeypatch.setenv("VGFAST_NUM_THREADS", asked)
    with pytest.raises(ValueError, match=f"set it to a whole number from 1 to {config._core.THREADS_MOST}"):
        config._default_threads()
    for mended in ("1", str(config._core.THREADS_MOST)):
        monkeypatch.setenv("VGFAST_NUM_THREADS", mended)
        assert config._default_threads() == int(mended)


def test_the_instruction_set_in_the_environment(monkeypatch):
    before = vg.config._core.isa()
    monkeypatch.setenv("VGFAST_ISA", "avx9000")
    with pytest.raises(ImportError, match="set it to one of these or unset it") as caught:
        config._choose_isa()
    there = str(caught.value).split("there is ")[1].split(":")[0].split(", ")
    for isa in there:
        monkeypatch.setenv("VGFAST_ISA", isa)
        config._choose_isa()
        assert config._core.isa() == isa
    monkeypatch.delenv("VGFAST_ISA")
    config._choose_isa()
    config._core.use_isa(before)


def test_a_tensor_is_no_number():
    lr = pytest.importorskip("torch").tensor(0.5)
    with pytest.raises(TypeError, match=r"use 0.5$"):
        vg.SGD(lr)
