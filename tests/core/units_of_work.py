"""A training by the core alone, in whichever units of work."""

import numpy as np

import vgfast as vg
from vgfast import _core
from vgfast.model.quantities import RECORD
from vgfast.training.settings import read_settings

OPTIMIZERS = {
    "sgd": vg.SGD(lr=0.3),
    "momentum": vg.SGD(lr=0.1, momentum=0.9, weight_decay=1e-3),
    "clip_norm": vg.SGD(lr=0.3, clip_norm=0.01),
    "clip_value": vg.SGD(lr=0.3, clip_value=1e-4),
    "huge": vg.SGD(lr=2.0**22),  # beyond what is proved to stay finite: tried first
}


def train(
    sizes,
    batch,
    dtype,
    optimizer,
    n_threads=1,
    part=None,
    columns=0,
    inspect_every=0,
    scale=1.0,
    loss="cross_entropy",
    weighted=False,
):
    """Two epochs of a whole batch and a part of one: parameters, velocity, losses, right answers, records as bytes.
    part: rows in memory, None: all. columns: threads that share the same rows. weighted: whether rows have weights."""
    rng, rows = np.random.default_rng(5), batch + batch * 11 // 15
    net = vg.MLP(sizes, "tanh", loss=loss, dtype=dtype, rng=1)
    engine, x = net._engine, (scale * rng.normal(size=(rows, sizes[0]))).astype(dtype)
    if loss == "cross_entropy":
        y = rng.integers(0, sizes[-1], rows).astype(np.int32)
    else:
        y = rng.normal(size=(rows, sizes[-1])).astype(dtype)
    run = _core.Run(
        _core.Workspace(engine.core, batch, n_threads, part), _core.TRAIN, engine.params, engine.make_vector()
    )
    velocities = tuple(engine.make_vector() for _ in optimizer.first_values())
    run.set_optimizer(*read_settings(optimizer, np.dtype(dtype)), velocities)
    run.set_data(x, y, batch, sample_weight=rng.random(rows) if weighted else None)
    run.share_columns(columns)
    records = np.zeros((4, len(sizes) - 1), RECORD)
    if inspect_every:
        run.set_records(records, inspect_every)
    found = []
    for epoch in range(2):
        losses, correct = np.zeros(2), np.zeros(2)
        totals = np.zeros(2)
        run.set_results(losses, correct, 2 * epoch, totals)
        run.begin_epoch(rng.permutation(rows))
        status = run.go()
        found += [losses.tobytes(), correct.tobytes(), totals.tobytes(), status]
    if inspect_every:
        found.append(records.tobytes())
    return [engine.params.tobytes(), *(velocity.tobytes() for velocity in velocities), *found]


def take_one_step(sizes, x, lr, n_threads, part):
    """The status of a step on x, and whether it changed a parameter."""
    engine = vg.MLP(sizes, "relu", rng=0)._engine
    before = engine.params.copy()
    workspace = _core.Workspace(engine.core, len(x), n_threads, part)
    run = _core.Run(workspace, _core.TRAIN, engine.params, engine.make_vector())
    run.set_optimizer(*read_settings(vg.SGD(lr=lr), np.dtype("float32")))
    run.set_data(x, np.zeros(len(x), np.int32), len(x))
    run.set_results(np.empty(1), np.empty(1), 0)
    run.begin_epoch(None)
    return run.go(), (engine.params != before).any()
