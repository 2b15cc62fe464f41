"""Trainings that take long: what they have reached is kept in a folder, from which the next run goes on.

After each epoch a file there is replaced, whole or not at all, so that a run which is killed loses an epoch at most.
The files are NumPy's npz, without pickles: arrays, and one text of JSON for the rest. A run that went on has the same
bits as one that was never stopped.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vgfast.files import npz
from vgfast.pretrain import PretrainHistory
from vgfast.show.numbers import duration


class Reached(NamedTuple):
    """What a long run tells: in words, the share of its work that is done, from 0 to 1, and the seconds that the rest
    may take, None before this can be said."""

    text: str
    share: float
    seconds_left: float | None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
        return f"{self.share:4.0%}  {self.text}{left}"


class OutOfTime(Exception):
    """The minutes that were given are over."""


class LongRun:
    """A run of so much ``work``, in any unit: what it keeps, what it tells, and when its time is over.

    key: what the run is; a folder that was kept by another is refused, as is a file. state: the folder, None to keep
    nothing.
    minutes: after which ``OutOfTime`` is raised, None for never. progress: gets a ``Reached`` after each epoch."""

    def __init__(
        self,
        key: str,
        work: float,
        state: str | os.PathLike[str] | None = None,
        minutes: float | None = None,
        progress: Callable[[Any], Any] | None = None,
    ) -> None:
        self._key, self._work, self._progress = key, work, progress
        self._folder = None if state is None else Path(state)
        self._start = time.perf_counter()
        self._end = None if minutes is None else self._start + 60 * minutes
        self._done = self._worked = 0.0
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise ValueError(
                    f"state must be a folder, and {self._folder} is or is in a file; name another"
                ) from None

    # ---- what is kept ---------------------------------------------------------------------------------------

    def load(self, name: str, *parts: str) -> dict[str, Any] | None:
        """What ``keep`` was given under this name, which must have these parts; None if there is nothing. ValueError
        for a file that is damaged or of another run."""
        path = None if self._folder is None else self._folder / f"{name}.npz"
        if path is None or not path.exists():
            return None
        try:
            kept = npz.read(str(path))
            key, found = kept["key"], kept["found"]
            missing = next((part for part in parts if part not in found), None)
            if missing is not None:
                raise ValueError(f"it has no {missing!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} must be what an earlier run has kept, and cannot be read ({error}); remove it to begin this "
                "part anew"
            ) from error
        if key != self._key:
            raise ValueError(
                f"{path} must be of a run with the same settings and images, got one of {key} for {self._key}; name "
                "another folder"
            )
        return found

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Replace what is kept under this name: plain data and arrays, as ``npz.write`` takes them."""
        if self._folder is not None:
            npz.write(str(self._folder / f"{name}.npz"), {"key": self._key, "found": found})

    # ---- what is told ---------------------------------------------------------------------------------------

    def skip(self, work: float) -> None:
        """So much was done by an earlier run."""
        self._done += work

    def end_epoch(self, text: str, work: float) -> None:
        """So much more is done. ``OutOfTime`` when the minutes are over."""
        self._done += work
        self._worked += work
        now = time.perf_counter()
        if self._progress is not None:
            share = min(self._done / self._work, 1.0)
            self._progress(Reached(text, share, (now - self._start) / self._worked * self._work * (1 - share)))
        if self._end is not None and now >= self._end:
            raise OutOfTime(text)

    # ---- trainings ------------------------------------------------------------------------------------------

    def pretrain(
        self, name: str, layer: Any, learn: Callable[[], Any], epochs: int, work: float, notes: list[Any]
    ) -> None:
        """So many epochs of a layer, each of so much work: learn() trains it for one, and returns plain data, which is
        appended to ``notes``, after those of the epochs of an earlier run."""
        kept = self.load(name, "layer", "notes")
        if kept is not None:
            layer.__setstate__(unpacked(kept["layer"]))
            notes += kept["notes"]
            self.skip(work * len(notes))
        while len(notes) < epochs:
            notes.append(learn())
            self.keep(name, {"layer": packed(layer), "notes": notes})
            self.end_epoch(f"{name}, epoch {len(notes)} of {epochs}", work)


def packed(layer: Any) -> dict[str, Any]:
    """A layer's state, as far as ``npz`` takes it: of its history, the epochs."""
    state = layer.__getstate__().items()
    return {name: {"epochs": it.epochs} if isinstance(it, PretrainHistory) else it for name, it in state}


def unpacked(state: dict[str, Any]) -> dict[str, Any]:
    """What ``packed`` was given, for ``__setstate__``."""
    return {name: _history(it["epochs"]) if isinstance(it, dict) else it for name, it in state.items()}


def _history(epochs: list[Any]) -> PretrainHistory:
    history = PretrainHistory()
    history.epochs = epochs
    return history


def identify(name: str, settings: Any, *arrays: np.ndarray) -> str:
    """What a run is: its name, its settings, and a checksum of its data."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(array.tobytes(), checksum)
    return f"{name}, {settings!r}, images {checksum:08x}"
