"""Nets so small that two at once, on a thread each, take less than one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import vgfast as vg


def telling(
    progress: Callable[[str], Any] | None, name: str, number: str, over: Callable[[], bool]
) -> Callable[[vg.MLP, vg.History], bool]:
    """A callback of ``fit``: it tells progress, under the net's name, this number of each epoch, and ends training when
    it is over."""

    def tell(net: vg.MLP, history: vg.History) -> bool:
        if progress is not None:
            progress(f"{name}, epoch {len(history.epochs)}: {number} {history.epochs[-1][number]:.4f}")
        return over()

    return tell


def train_each(train: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> list[Any]:
    """train(*job, over) of each job, in their order. Where one fails, or at Ctrl-C, ``over()`` becomes True for all the
    others, which should end then; what is returned by a callback of ``fit``, for one, ends it with its epoch."""
    ended = threading.Event()

    def alone(job: tuple[Any, ...]) -> Any:
        with vg.threads(1):
            return train(*job, ended.is_set)

    with ThreadPoolExecutor(vg.get_num_threads()) as pool:
        try:
            return list(pool.map(alone, jobs))
        except BaseException:
            ended.set()
            raise
