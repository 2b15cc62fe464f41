"""The short programs do what they say."""

import joblib
import numpy as np
import pytest

import vgfast as vg
from vgfast.examples import policy_gradient, sklearn_swap, sweep

pytestmark = pytest.mark.any_isa
GRID = {"learning_rate_init": [1e-3, 1e-2], "activation": ["tanh"]}


@pytest.fixture(autouse=True)
def as_by_default(monkeypatch):
    """With the threads that a process has unless somebody says otherwise."""
    for name in ("OMP_NUM_THREADS", "VGFAST_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_the_swap_of_an_import():
    lines = []
    found = sklearn_swap.run(lines.append)
    assert len(lines) == 2
    assert abs(found["vgfast"]["accuracy"] - found["scikit-learn"]["accuracy"]) < 0.03
    assert found["vgfast"]["accuracy"] > 0.9


def test_a_pole_is_balanced():
    found = policy_gradient.run(lambda line: None)
    assert found["first"] < 60
    assert found["last"] > 120


def test_a_parquet_file():
    pytest.importorskip("pyarrow")
    from vgfast.examples import parquet

    found = parquet.run(lambda line: None)
    assert found["from_file"] > 0.95
    assert abs(found["from_file"] - found["in_memory"]) < 0.01


def scores(search):
    return search.cv_results_["mean_test_score"].tolist()


@pytest.fixture(scope="module")
def alone():
    return scores(sweep.search_grid(n_jobs=1, grid=GRID))


def test_a_grid_comes_to_the_same_in_several_processes(alone):
    assert scores(sweep.search_grid(n_jobs=2, grid=GRID)) == alone


def test_processes_of_joblib_share_the_processors():
    """Each may use as many threads as there are for it: together, no more than there are."""
    with joblib.parallel_config("loky", inner_max_num_threads=None):
        allowed = joblib.Parallel(n_jobs=2)(joblib.delayed(vg.get_num_threads)() for _ in range(2))
    assert max(allowed) <= max(1, joblib.cpu_count() // 2)


def test_halving():
    search = sweep.search_halving(n_jobs=1)
    assert search.n_resources_[:2] == [180, 540]
    assert search.best_score_ > 0.8


@pytest.mark.slow
def test_workers_of_dask(alone):
    pytest.importorskip("distributed")
    assert scores(sweep.search_with_dask(grid=GRID)) == alone


def test_optuna():
    pytest.importorskip("optuna")
    study = sweep.search_with_optuna(6)
    assert len(study.trials) == 6
    assert study.best_value > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_comes_to_what_one_process_does(method):
    vg.MLP([64, 512, 10], rng=0).fit(sweep.X, sweep.y, 1, 512)  # on threads, which a fork leaves behind
    before = vg.get_num_threads()
    assert sweep.train_in_pool(method, (1e-3, 1e-2)) == [sweep.train_alone(1e-3), sweep.train_alone(1e-2)]
    vg.set_num_threads(before)


def test_threads_come_to_what_one_after_the_other_does():
    rates = (1e-3, 1e-2, 3e-2)
    before = vg.get_num_threads()
    assert sweep.train_many(rates) == [
        vg.MLP([64, 32, 10], rng=0).fit(sweep.X, sweep.y, 3, optimizer=vg.Adam(lr)).epochs[-1]["loss"] for lr in rates
    ]
    assert vg.get_num_threads() == before
    assert np.isfinite(sweep.train_many((1e-3,))).all()
