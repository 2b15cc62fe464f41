"""The restricted Boltzmann machine: against a textbook with the same random numbers, and against what its chains must
show by enumeration."""

import copy
import os
import pickle
import signal
import threading

import numpy as np
import pytest
from enumerated import Enumerated, example, machine_of
from textbook import Textbook, flat, sigmoid

import vgfast as vg
from vgfast import _core
from vgfast.pretrain import RBM

M, N, ROWS = 21, 37, 52
X = np.random.default_rng(8).random((ROWS, M))
SPARSE = {"sparsity_target": 0.1, "sparsity_cost": 0.3}


# ---- the arithmetic ---------------------------------------------------------------------------------------

SETTINGS = {
    "CD-1": {},
    "CD-1 of states": {"sample_visible": True},
    "CD-3": {"k": 3},
    "PCD-1": {"persistent": True},
    "PCD-2 of probabilities": {"persistent": True, "k": 2, "sample_visible": False},
    "Gaussian": {"visible": "gaussian", "learning_rate": 0.01},
    "Gaussian, PCD-2": {"visible": "gaussian", "learning_rate": 0.01, "k": 2, "persistent": True},
    "momentum": {"momentum": 0.5},
    "momentum of two": {"momentum": (0.5, 0.9), "learning_rate": 0.02, "n_iter": 7},
    "decay": {"weight_decay": 0.1},
    "sparse": SPARSE,
    "all": {"momentum": (0.5, 0.9), "weight_decay": 1e-3, "persistent": True, **SPARSE},
    "in order": {"shuffle": False},
    "batch of all": {"batch_size": 1000},
    "batches of one": {"batch_size": 1, "n_iter": 1},
}


@pytest.mark.parametrize("what", SETTINGS)
def test_against_a_textbook(isa, what):
    """52 rows in batches of 10: the last is a short one. No number drawn lies within rounding of a probability."""
    settings = {"n_iter": 3, **SETTINGS[what]}
    ours = RBM(N, dtype="float64", rng=4, **settings).fit(X)
    theirs = Textbook(N, 4, **settings).fit(X)
    expected = np.concatenate([theirs.W.ravel(), theirs.c, theirs.b])
    # A step adds lr times a mean of products below 1, in which sums of at most m, n or 2 B terms are rounded (momentum
    # sums up to 10 of them); and carries on what the steps before have left, for probabilities change by a quarter
    # of what weights do.
    eps, largest = np.finfo(float).eps, max(1, np.abs(expected).max())
    bound = 10 * theirs.learning_rate * theirs.step * 2 * (M + N + 2 * min(theirs.batch_size, ROWS)) * eps * largest
    np.testing.assert_allclose(flat(ours), expected, rtol=0, atol=bound)
    assert np.abs(flat(ours) - flat(RBM(N, dtype="float64", rng=5, **settings).fit(X))).max() > 1e3 * bound


@pytest.mark.parametrize("persistent", [False, True])
def test_float32_goes_the_same_way(isa, persistent):
    """Few steps, before a number that is drawn falls between two roundings of a probability."""
    settings = {"n_iter": 1, "persistent": persistent, "rng": 4}
    single, double = (RBM(N, dtype=dtype, **settings).fit(X.astype("f4")) for dtype in ("float32", "float64"))
    bound = 10 * 0.1 * 6 * 2 * (M + N + 20) * np.finfo(np.float32).eps * max(1, np.abs(flat(double)).max())
    np.testing.assert_allclose(flat(single), flat(double), rtol=0, atol=bound)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_rows_up_and_down(isa, dtype, rows, forced_threads, rng):
    """Threads take 64 rows at a time. Sums of at most m or n terms, each rounded; s changes by a quarter of them."""
    rbm = RBM(N, n_iter=1, dtype=dtype, rng=4).fit(X)
    rbm.weights[...] = rng.normal(size=rbm.weights.shape)
    x, seen = rng.random((rows, M)).astype(dtype), set()
    for threads in (1, 2, 3, 7):
        with vg.threads(threads):
            h, v = rbm.transform(x), rbm.reconstruct(x)
        assert h.dtype == v.dtype == dtype
        seen.add((h.tobytes(), v.tobytes()))
    assert len(seen) == 1
    W, b, c = (each.astype(float) for each in (rbm.weights, rbm.intercept_visible_, rbm.intercept_hidden_))
    eps = np.finfo(dtype).eps
    close = {"rtol": 0, "atol": (M + N) * eps * np.abs(W).sum(axis=1).max()}
    np.testing.assert_allclose(h, sigmoid(x @ W + c), **close)
    np.testing.assert_allclose(v, sigmoid(h @ W.T + b), **close)


@pytest.mark.parametrize("what", ["CD-1", "CD-3", "PCD-1", "Gaussian", "all", "batches of one"])
def test_same_bits_for_any_number_of_threads(dtype, what, forced_threads):
    """And whether rows are held out or not."""
    settings = {"n_iter": 2, "dtype": dtype, **SETTINGS[what]}
    seen = set()
    for threads in (1, 2, 3, 7):
        for held_out in (None, X[:9]):
            with vg.threads(threads):
                rbm = RBM(N, rng=4, **settings).fit(X, validation_data=held_out)
            seen.add((flat(rbm).tobytes(), rbm.history_.epochs[-1]["update_ratio"]))
    assert len(seen) == 1


def test_partial_fit_goes_on(dtype):
    settings = {"dtype": dtype, **SETTINGS["all"]}
    whole = RBM(N, n_iter=7, rng=4, **settings).fit(X)
    parts = RBM(N, n_iter=1, rng=4, **settings)
    for i in range(7):
        parts = (pickle.loads(pickle.dumps(parts)) if i % 2 else copy.deepcopy(parts)).partial_fit(X)
    np.testing.assert_array_equal(flat(parts), flat(whole))
    assert len(parts.history_.epochs) == 7
    other = RBM(N, n_iter=7, rng=4, **settings).partial_fit(X).fit(X)
    assert len(other.history_.epochs) == 7


def test_copies_are_apart():
    one = RBM(N, n_iter=1, rng=4).fit(X)
    before = flat(one)
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        np.testing.assert_array_equal(flat(other), before)
        other.partial_fit(X)
        assert (flat(other) != before).any()
        np.testing.assert_array_equal(flat(one), before)
    new = pickle.loads(pickle.dumps(RBM(N, n_iter=1, rng=4)))
    np.testing.assert_array_equal(flat(new.fit(X)), before)


# ---- what chains show -------------------------------------------------------------------------------------


def changes(rbm, X):
    """Of W, c and b by an epoch more."""
    before = flat(rbm)
    return flat(rbm.partial_fit(X)) - before


def test_mean_update_is_the_expected_one_and_not_the_gradient():
    """One step of 100,000 rows that are alike is the mean of as many updates by CD-1."""
    updates, v0 = 100_000, np.array([1.0, 0, 1, 0])
    settings = {"sample_visible": True, "learning_rate": 1.0, "batch_size": updates, "shuffle": False}
    found = changes(machine_of(example(), **settings), np.tile(v0, (updates, 1)))
    of_states = Enumerated(example())
    expected, deviation = of_states.contrastive_divergence(v0)
    error = deviation / np.sqrt(updates)
    assert (np.abs(found - expected) <= 4 * error).all()
    assert (np.abs(found - of_states.gradient(v0)) > 10 * error).sum() >= 5


@pytest.mark.parametrize("k", [1, 3])
def test_moments_of_persistent_chains(k):
    """20,000 chains from h = 0, of which none knows of another, after 40 steps: with X = 0, one step more changes W, c
    and b by the means of -v P(h | v), P(h | 0) - P(h | v) and -v. The machine stays as it is, for the rate is so low.
    """
    chains, rate = 20_000, 2.0**-30
    settings = {"persistent": True, "k": k, "learning_rate": rate, "batch_size": chains, "shuffle": False}
    rbm, zeros, of_states = machine_of(example(), **settings), np.zeros((chains, 4)), Enumerated(example())
    for _ in range(40):
        rbm.partial_fit(zeros)
    found = -changes(rbm, zeros) / rate
    found[12:15] += rbm.transform(zeros[:1])[0]
    mean = of_states.p @ of_states.statistics
    np.testing.assert_allclose(mean[12:], [0.48279, 0.50922, 0.41414, 0.51746, 0.49028, 0.59327, 0.50532], atol=5e-6)
    deviation = np.sqrt(of_states.p @ (of_states.statistics - mean) ** 2)
    # A difference of parameters below 1 is rounded at eps; divided by the rate that is 2e-7.
    assert (np.abs(found - mean) <= 4 * deviation / np.sqrt(chains) + 1e-6).all()


def test_gibbs_leaves_the_distribution_as_it_is():
    """Rows drawn from the machine's own p(v), a step on."""
    of_states, n = Enumerated(example()), 50_000
    rng = np.random.default_rng(0)
    v = of_states.v[rng.choice(len(of_states.v), n, p=of_states.p)]
    after = machine_of(example()).gibbs(v)
    share = np.array([(after == state).all(axis=1).mean() for state in of_states.v])
    assert (np.abs(share - of_states.p) <= 4 * np.sqrt(of_states.p * (1 - of_states.p) / n)).all()
    assert (after != v).any()


def test_gibbs_of_gaussian_units():
    """From a fixed row: v has the mean b + P(h) Wᵀ and, without weights, the variance 1."""
    machine = example()._replace(gaussian=True)
    n = 50_000
    for scale in (0.0, 1.0):
        rbm = machine_of(machine._replace(W=machine.W * scale))
        v = rbm.gibbs(np.zeros((n, 4)))
        p = rbm.transform(np.zeros((1, 4)))[0]
        variance = 1 + rbm.weights**2 @ (p * (1 - p))
        assert (np.abs(v.mean(axis=0) - machine.b - rbm.weights @ p) <= 4 * np.sqrt(variance / n)).all()
        assert (np.abs(v.var(axis=0) / variance - 1) <= 4 * np.sqrt(2 / n)).all()


def test_what_is_recorded_of_an_epoch():
    rbm = RBM(N, n_iter=1, shuffle=False, batch_size=ROWS, dtype="float64", rng=4)
    rbm.fit(X, validation_data=X[:9])
    [epoch] = rbm.history_.epochs
    before = Textbook(N, 4, n_iter=1, shuffle=False, batch_size=ROWS, learning_rate=1e-300).fit(X).W
    assert epoch["weight_norm"] == pytest.approx(np.linalg.norm(before))
    assert epoch["update_ratio"] == pytest.approx(np.linalg.norm(rbm.weights - before) / np.linalg.norm(before))
    assert epoch["frozen"] == (rbm.weights == before).mean()
    assert epoch["pseudo_likelihood"] == pytest.approx(rbm.score_samples(X[:9]).mean())
    assert epoch["free_energy_gap"] == 0
    lines = str(rbm.history_).splitlines()
    assert len(lines) >= 2
    assert "pseudo-lik." in lines[0]


# ---- others, and failures ---------------------------------------------------------------------------------


def test_others_read_and_none_trains_meanwhile():
    rbm = RBM(N, n_iter=1, rng=4).fit(X)
    found, started, stop = [], threading.Event(), threading.Event()

    def wait(done, total, history):
        started.set()
        stop.wait()

    def train():
        rbm.n_iter = 2
        rbm.fit(X, progress=wait)

    thread = threading.Thread(target=train)
    thread.start()
    started.wait()
    try:
        for refused in (rbm.fit, rbm.partial_fit):
            with pytest.raises(RuntimeError, match="is being trained in another thread") as error:
                refused(X)
            assert "layer.copy()" in str(error.value)
        copied = rbm.copy()
        found = [rbm.transform(X), rbm.score_samples(X), rbm.gibbs(X), pickle.dumps(rbm), flat(copied.partial_fit(X))]
    finally:
        stop.set()
        thread.join()
    assert len(found) == 5
    rbm.partial_fit(X)


def test_who_reads_when_training_begins_reads_again():
    rbm, seen = RBM(N, n_iter=1, rng=4).fit(X), []
    before = flat(rbm)

    def work(parameters):
        if not seen:
            thread = threading.Thread(target=rbm.partial_fit, args=(X,))
            thread.start()
            thread.join()
        seen.append(parameters.flat.copy())
        return seen[-1]

    np.testing.assert_array_equal(rbm._read("reading", work), flat(rbm))
    assert len(seen) == 2
    assert (flat(rbm) != before).any()


def test_ctrl_c_leaves_whole_steps(ctrl_c):
    calls = []

    def interrupt(done, total, history):
        calls.append(done)
        if done > 200:
            os.kill(os.getpid(), signal.SIGINT)

    rbm = RBM(N, n_iter=10**6, rng=4)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(X, progress=interrupt)
    assert np.isfinite(flat(rbm)).all()
    epochs = len(rbm.history_.epochs)
    assert len(rbm.partial_fit(X).history_.epochs) == epochs + 1


@pytest.mark.parametrize("settings", ["CD-1", "all"])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_each_allocation_that_fails_before_a_step_leaves_the_machine_as_it_was(settings, call):
    """And those that fail later, as what is recorded of the epoch is computed, leave one that goes on."""
    X1 = 1 - X[:, :5]
    rbm = RBM(N, n_iter=1, rng=4, **SETTINGS[settings]).fit(X[:, :5])
    failed, before_steps = 0, 0
    while True:
        before, epochs = rbm.__getstate__(), list(rbm.history_.epochs)
        _core.fail_allocation(failed)
        try:
            getattr(rbm, call)(X1)
        except MemoryError:
            failed += 1
        else:
            break
        finally:
            left = _core.fail_allocation(-1)
        after = rbm.__getstate__()
        if before["_seed"] != after["_seed"] or before["_steps"] != after["_steps"]:
            assert np.isfinite(flat(rbm)).all()
            continue
        before_steps += 1
        assert failed == before_steps
        assert rbm.history_.epochs == epochs
        for name in ("_parameters", "_velocity", "_chains", "_activity", "_base", "_epochs"):
            pair = [state[name] if name == "_parameters" else (state[name],) for state in (before, after)]
            assert all(np.array_equal(*each) for each in zip(*pair, strict=True)), name
    assert left >= 0
    assert before_steps >= 3
