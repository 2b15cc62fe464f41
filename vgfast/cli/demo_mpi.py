"""``vgfast demo --mpi``: one training by several processes, beside the same by one."""

from __future__ import annotations

import argparse
import textwrap
import time
from typing import Any

from vgfast.cli.results import deliver, need

_SIZES, _EPOCHS, _BATCH, _LR = (64, 30, 10), 30, 64, 0.1


def run(arguments: argparse.Namespace) -> None:
    """In every rank; rank 0 alone prints."""
    need("demo", ("sklearn",), "demo")
    from vgfast import mpi

    try:
        reducer = mpi.Reducer()
    except ImportError as error:
        raise SystemExit(f"vgfast: {error}") from None
    found = _measure(reducer)
    if reducer.rank == 0:
        deliver(found, lambda: _show(found), arguments)


def _measure(reducer: Any) -> dict[str, Any]:
    """What rank 0 finds; the others help, and find nothing."""
    import numpy as np

    import vgfast as vg
    from vgfast import datasets, mpi

    digits = datasets.digits()
    test = np.arange(len(digits.X)) % 4 == 0
    how: dict[str, Any] = {"epochs": _EPOCHS, "batch_size": _BATCH}

    def train(fit: Any, **more: Any) -> tuple[Any, dict[str, float]]:
        net = vg.MLP(_SIZES, dtype="float64", rng=0)
        history = fit(net, digits.X[~test], digits.y[~test], optimizer=vg.SGD(_LR), **how, **more)
        seconds = sum(epoch["seconds"] for epoch in history.epochs) / len(history.loss)
        return net, {"accuracy": net.evaluate(digits.X[test], digits.y[test]).accuracy, "seconds_per_step": seconds}

    net, together = train(mpi.fit, comm=reducer.comm)
    all_params = reducer.comm.gather(net.params)
    if reducer.rank > 0:
        _sleep_until(reducer.comm.Ibarrier())
        return {}
    try:
        with vg.threads(1):
            other, alone = train(vg.MLP.fit)
    finally:
        reducer.comm.Ibarrier().Wait()
    ends = [_BATCH * rank // reducer.size for rank in range(reducer.size + 1)]
    return {
        "ranks": reducer.size,
        "sizes": list(_SIZES),
        "rows": int((~test).sum()),
        "batch_size": _BATCH,
        "rows_of_a_batch_by_rank": np.diff(ends).tolist(),
        "by_ranks": together,
        "by_one_process": alone,
        "equal_bits": all(params.tobytes() == net.params.tobytes() for params in all_params),
        "largest_difference": float(np.abs(net.params - other.params).max()),
    }


def _sleep_until(request: Any) -> None:
    """MPI itself would spin, and rank 0 may need the processor."""
    while not request.Test():
        time.sleep(0.005)


def _show(found: dict[str, Any]) -> None:
    from vgfast.show.numbers import count, duration, percent
    from vgfast.show.table import WIDTH, Table, lines

    ranks, rows = count(found["ranks"], "rank"), sorted(set(found["rows_of_a_batch_by_rank"]))
    if found["ranks"] == 1:
        print("Started without mpiexec, on one rank; for two: mpiexec -n 2 vgfast demo --mpi\n")
    net, each = "-".join(map(str, found["sizes"])), " or ".join(map(str, rows))
    print(f"{found['rows']:,} handwritten digits, a net {net} in float64, batches of {found['batch_size']} rows:")
    print(f"{ranks}, each of {each} rows a batch, and one process of one thread.\n")
    both = found["by_ranks"], found["by_one_process"]
    table = [
        ("accuracy on the test rows", *(percent(one["accuracy"]) for one in both)),
        ("time of a step", *(duration(one["seconds_per_step"]) for one in both)),
    ]
    print(*lines(Table(("", ranks, "one process"), table)), sep="\n")
    bits = "All ranks hold the same bits" if found["equal_bits"] else "The ranks do NOT hold the same bits"
    difference = f"{found['largest_difference']:.1e}"
    text = f"{bits}. Their largest difference to the parameters of the one process is {difference}."
    if found["ranks"] > 1:
        text += " On one machine, one process is faster; when machines pay, vgfast cost --workers tells."
    print("", *textwrap.wrap(text, WIDTH), sep="\n")
