"""Sweeps: many trainings to choose from, by scikit-learn, dask, Optuna, pools of processes, or threads.

Each function is a recipe. None of them needs a setting for threads: the processes that joblib and dask start are told
by ``OMP_NUM_THREADS`` how many each may use, and vgfast goes by that; in a pool of one's own, ``vg.set_num_threads``
says it. ``search_with_dask`` needs dask[distributed], ``search_with_optuna`` optuna, and the others scikit-learn alone.
"""

import multiprocessing
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ParameterGrid

import vgfast as vg
from vgfast.sklearn import MLPClassifier

GRID = {"alpha": [1e-4, 1e-2], "learning_rate_init": [1e-3, 3e-3], "activation": ["relu", "tanh"]}
X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)


def classifier():
    """Whose training ends when it no longer pays."""
    return MLPClassifier((64, 32), batch_size=32, tol=1e-3, n_iter_no_change=3, random_state=0)


def search_grid(n_jobs=-1, grid=GRID):
    """A grid in as many processes as there are processors; they take some seconds to start, once."""
    return GridSearchCV(classifier(), grid, cv=3, n_jobs=n_jobs).fit(X, y)


def search_halving(n_jobs=-1):
    """Many settings on few rows, and the better third of them on three times as many, and so on."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    how = {"n_candidates": len(ParameterGrid(GRID)), "min_resources": 180, "random_state": 0}
    return HalvingRandomSearchCV(classifier(), GRID, cv=2, n_jobs=n_jobs, **how).fit(X, y)


def search_with_dask(workers=2, grid=GRID):
    """The same grid on the workers of a cluster: here of this machine."""
    import joblib
    from dask.distributed import Client, LocalCluster

    # A worker is told how many threads its libraries may use: one, unless one says otherwise.
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        return GridSearchCV(classifier(), grid, cv=3).fit(X, y)


def search_with_optuna(n_trials=10):
    """Settings that are drawn by what came of those before; a trial that is worse than most others ends early."""
    import optuna

    def train(trial):
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        width = trial.suggest_int("width", 8, 64, log=True)

        def report(net, history):
            trial.report(history.epochs[-1]["val_loss"], len(history.epochs))
            return trial.should_prune()

        net = vg.MLP([64, width, 10], rng=0)
        held_out = X[1200:], y[1200:]
        net.fit(X[:1200], y[:1200], 10, optimizer=vg.Adam(lr), validation_data=held_out, callbacks=[report])
        if trial.should_prune():
            raise optuna.TrialPruned
        return net.evaluate(*held_out).accuracy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler, pruner = optuna.samplers.TPESampler(seed=0), optuna.pruners.MedianPruner(n_startup_trials=3)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.optimize(train, n_trials)
    return study


def train_alone(lr):
    """What a process of a pool does: a loss."""
    vg.set_num_threads(1)  # there are as many processes as processors
    return vg.MLP([64, 32, 10], rng=0).fit(X, y, 3, optimizer=vg.Adam(lr)).epochs[-1]["loss"]


def train_in_pool(method="spawn", rates=(1e-4, 1e-3, 1e-2)):
    """Losses of these rates, each in a process; method: how processes are made, "spawn" or "fork"."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(train_alone, rates)


def train_many(rates=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)):
    """Losses of these rates, each on a thread of this process."""
    nets = [vg.MLP([64, 32, 10], rng=0) for _ in rates]
    histories = vg.fit_many(nets, X, y, 3, optimizer=[vg.Adam(rate) for rate in rates])
    return [history.epochs[-1]["loss"] for history in histories]


def run(out=print):
    """The grid, in one process and in as many as there are processors; and the threads."""
    seconds, scores = {}, {}
    for n_jobs in (1, -1):
        start = time.perf_counter()
        search = search_grid(n_jobs)
        seconds[n_jobs], scores[n_jobs] = time.perf_counter() - start, float(search.best_score_)
        out(f"24 fits with n_jobs={n_jobs}: {seconds[n_jobs]:.1f} s, the best has {scores[n_jobs]:.3f}")
    out(f"by {search.best_params_}")
    losses = train_many()
    out("on threads of this process, losses " + ", ".join(f"{loss:.2f}" for loss in losses))
    return {"seconds": seconds, "scores": scores, "losses": losses}


if __name__ == "__main__":
    run()
