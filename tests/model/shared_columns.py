"""One epoch in one batch by threads that share its rows by columns."""

import numpy as np

import vgfast as vg
from vgfast import _core


def train_by_columns(make_net, X, y):
    """The parameters as bytes, of one thread, and of four that share columns by two and by four: one set element if
    all are the same."""
    found = set()
    for n_threads, n_columns in ((1, 1), (4, 2), (4, 4)):
        net = make_net()
        with vg.threads(n_threads):
            workspace = _core.Workspace(net._engine.core, len(X), n_threads)
            run = net._engine.make_run(*net._batch(X, y), len(X), workspace, net._lock)
            run.share_columns(n_columns)
            run.set_optimizer("sgd", 0.1, 0, (), np.inf, np.inf)
            run.set_results(np.empty(1), np.empty(1), 0)
            run.begin_epoch(None)
            run.go()
        found.add(net.params.tobytes())
    return found
