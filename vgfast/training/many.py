"""Many small nets at once, one a thread: where a net is too small for threads to share its steps, as in a sweep."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from vgfast import _check, config
from vgfast.model.errors import DivergenceError
from vgfast.training.fit import stopping
from vgfast.training.history import History

# Seconds, after which it is looked whether Ctrl-C has come: Python does not end a wait for one that comes as it begins.
_WAKE = 0.2


def fit_many(
    nets: Sequence[Any],
    X: Any,
    y: Any,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Any = None,
    shuffle: bool = True,
    validation_data: tuple[Any, ...] | None = None,
    inspect_every: int = 0,
    callbacks: Sequence[Sequence[Any]] = (),
    sample_weight: Any = None,
) -> list[History]:
    """Train each of these nets on X and y as ``net.fit`` does, some at a time; returns their histories, in order.

    A thread takes a net after the other, and makes all its steps alone: as many threads as ``vg.get_num_threads()``
    says. Each net comes to the bits to which it comes alone. X and y are checked once for all nets that are alike.
    optimizer: one for all nets, or a list, one a net, which callbacks may then change. callbacks: a list for each net,
    as one holds what it has seen, or nothing. All else is as for ``net.fit``.

    Ctrl-C ends them all, each after its current step. Errors: TypeError or ValueError, before any change, for what
    ``fit`` refuses, for a net that is there twice, and for nets that shuffle by one generator. Where a net diverges,
    the others are trained to their end; then ``DivergenceError`` tells of the first, and ``net.history`` has of each
    net what was recorded.

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(8), np.arange(8) % 2
    >>> nets = [vg.MLP([8, 4, 2], rng=seed) for seed in range(5)]
    >>> histories = vg.fit_many(nets, X, y, epochs=20, optimizer=[vg.SGD(lr) for lr in (0.01, 0.03, 0.1, 0.3, 1.0)])
    >>> alone = vg.MLP([8, 4, 2], rng=3).fit(X, y, epochs=20, optimizer=vg.SGD(0.3))
    >>> bool((histories[3].loss == alone.loss).all())
    True
    """
    nets = list(nets)
    _check_apart(nets, shuffle)
    shared: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle}
    shared |= {"validation_data": validation_data, "inspect_every": inspect_every}
    optimizers = _one_each("optimizer", optimizer, nets) if isinstance(optimizer, list | tuple) else None
    listeners = _one_each("callbacks", callbacks, nets) if len(callbacks) > 0 else None
    checked: dict[Any, tuple[Any, ...]] = {}
    trainings = []
    for i, net in enumerate(nets):
        like = net.dtype, net.sizes[0], net.sizes[-1], net.loss
        if like not in checked:
            checked[like] = net._weighted(X, y, sample_weight)
        x, t, weights = checked[like]
        own = optimizer if optimizers is None else optimizers[i], () if listeners is None else listeners[i]
        trainings.append({"X": x, "y": t, "sample_weight": weights, "optimizer": own[0], "callbacks": own[1]} | shared)
    return _train(nets, trainings)


def _check_apart(nets: list[Any], shuffle: bool) -> None:
    """ValueError for nets that could not be trained at once."""
    seen: dict[int, int] = {}
    for i, net in enumerate(nets):
        if not hasattr(net, "_weighted"):
            raise TypeError(f"nets must hold nets, such as vg.MLP makes, got {_check.quote(net)} at {i}")
        if seen.setdefault(id(net), i) != i:
            raise ValueError(f"nets must be different ones, got the same at {seen[id(net)]} and {i}; use net.copy()")
    if not shuffle:
        return
    for i, net in enumerate(nets):
        bits = id(net._rng.bit_generator)
        if seen.setdefault(bits, i) != i:
            raise ValueError(
                f"nets that are trained at once must shuffle by generators of their own, got one for {seen[bits]} and "
                f"{i}; make each net with a seed, as by rng={i}"
            )


def _one_each(name: str, values: Sequence[Any], nets: list[Any]) -> Sequence[Any]:
    if len(values) != len(nets):
        raise ValueError(f"{name} must hold one for each of the {len(nets)} nets, got {len(values)}")
    return values


def _train(nets: list[Any], trainings: list[dict[str, Any]]) -> list[History]:
    """One a thread. What one raises that is no divergence, Ctrl-C included, ends them all."""
    end, all_there = threading.Event(), threading.Event()

    def train(net: Any, how: dict[str, Any]) -> History:
        all_there.wait()  # the pool forgets a thread that Ctrl-C has it start in part, and would not wait for it
        if end.is_set():
            raise KeyboardInterrupt
        stopping.asked = end.is_set
        with config.threads(1):
            return net.fit(**how)

    if not nets:
        return []
    with ThreadPoolExecutor(min(config.get_num_threads(), len(nets)), "vgfast-net") as pool:
        try:
            futures = [pool.submit(train, net, how) for net, how in zip(nets, trainings, strict=True)]
            all_there.set()
            left = set(futures)
            while left:
                done, left = wait(left, _WAKE, FIRST_COMPLETED)
                for future in done:
                    if not isinstance(future.exception(), DivergenceError | None):
                        future.result()
        except BaseException:
            end.set()
            all_there.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in _told(futures)]


def _told(futures: list[Future[History]]) -> list[Future[History]]:
    """These; or ``DivergenceError`` of the first net that has diverged."""
    errors = {i: error for i, future in enumerate(futures) if (error := future.exception()) is not None}
    if not errors:
        return futures
    (i, error), others = next(iter(errors.items())), len(errors) - 1
    assert isinstance(error, DivergenceError)
    more = f", and {others} more net{'s' * (others > 1)} too" if others else ""
    raised = DivergenceError(f"net {i} of {len(futures)}: {error}{more}", error.step, error.layer)
    raised.history = error.history
    raise raised from error
