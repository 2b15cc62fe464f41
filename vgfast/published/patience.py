"""Training that stops when it no longer pays, as the tutorials of deeplearning.net have it, on MNIST as they cut it.

A validation every epoch (or every patience / 2 iterations, if that is less) finds the error on rows that are not
trained on. Where it is the best so far, the test error is taken too; where it is less than ``threshold`` times the best
before, patience becomes ``increase`` times the iterations so far, if that is more. Training ends when the iterations
reach it.

All is in whole batches: what is left over at the end of the training, validation and test rows is never looked at.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast import _check
from vgfast.datasets.idx import read_images
from vgfast.published.rows import Row


class Settings(NamedTuple):
    """``l2`` times the sum of the squares of all weights is added to the cost; ``valid``: how many of the training
    images, the last, are kept for validation."""

    batch_size: int
    lr: float
    patience: int
    l2: float = 0.0
    increase: int = 2
    threshold: float = 0.995
    max_epochs: int = 1000
    valid: int = 10_000
    dtype: str = "float64"


class Images(NamedTuple):
    """Images (rows, pixels) and their digits (rows,)."""

    X: np.ndarray
    y: np.ndarray


class Split(NamedTuple):
    train: Images
    valid: Images
    test: Images


class Validation(NamedTuple):
    """After so many iterations, the errors, from 0 to 1; ``test`` only where the validation was the best so far."""

    iterations: int
    valid: float
    test: float | None

    def __str__(self) -> str:
        return f"{self.iterations:,} iterations, validation {self.valid:.2%} wrong"


class Course(NamedTuple):
    """How far ``train`` has come: iterations, patience by now, and the validations."""

    done: int
    patience: int
    validations: list[Validation]

    @property
    def best(self) -> Validation:
        """The last one to be tested; if there is none, one that any other is better than."""
        tested = [v for v in self.validations if v.test is not None]
        return tested[-1] if tested else Validation(0, math.inf, None)


def named(folder: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """The folder of MNIST's files; ValueError if none was given."""
    if folder is None:
        raise ValueError("folder must be the folder that has MNIST's files, got None; name it")
    return folder


def mnist(folder: str | os.PathLike[str] | None, settings: Settings) -> Split:
    """From MNIST's files. Errors: those of ``read_images``; ValueError if there are too few images, or no folder."""
    folder = named(folder)
    images, labels = read_images(folder, "train")
    tests, answers = read_images(folder, "test")
    if images.shape[1:] != tests.shape[1:]:
        raise ValueError(
            f"the images to train and to test in {folder} must be of one size, got {images.shape[1:]} and "
            f"{tests.shape[1:]}; take all four from one data set"
        )
    cut, last = max(len(images) - settings.valid, 0), len(images) - settings.batch_size
    # A batch is left for both.
    otherwise = f", or take valid from {settings.batch_size} to {last}" if last >= settings.batch_size else ""
    return Split(
        _rows("to train", images[:cut], labels[:cut], settings, otherwise),
        _rows("to validate", images[cut:], labels[cut:], settings, otherwise),
        _rows("to test", tests, answers, settings),
    )


def _rows(purpose: str, images: np.ndarray, labels: np.ndarray, settings: Settings, otherwise: str = "") -> Images:
    """Those in whole batches. Pixels are / 256, which is exact in both dtypes: so are they in the tutorials' copy of
    MNIST, where white is 255/256 (github.com/lisa-lab/pylearn2, issue 93)."""
    n = len(images) // settings.batch_size * settings.batch_size
    if n == 0:
        raise ValueError(
            f"there must be a batch of {settings.batch_size} images {purpose}, got {len(images)}; name a folder that "
            f"has MNIST's own files{otherwise}"
        )
    pixels = np.divide(images[:n].reshape(n, -1), 256, dtype=settings.dtype)
    return Images(pixels, labels[:n].astype(np.int64))


def error(net: Any, rows: Images, batch_size: int) -> float:
    """The mean over the batches of the share of wrong predictions: as published, a mean of means, where two errors that
    are equal by count may differ in the last bit, and the less one is the better."""
    wrong = net.predict(rows.X) != rows.y
    return float(np.mean(wrong.reshape(-1, batch_size).mean(axis=1)))


def train(
    net: Any,
    data: Split,
    settings: Settings,
    progress: Callable[[Validation], Any] | None = None,
    course: Course | None = None,
    keep: Callable[[Course], Any] | None = None,
) -> dict[str, Any]:
    """Train a ``vg.MLP`` (or ``vg.reference.MLP``) and return what came of it, as plain data. ``progress`` gets
    each validation, as a run may take hours; ``keep`` what a later run needs besides the net, as its ``course``, to go
    on from there."""
    size = settings.batch_size
    patience = _check.integer("patience", settings.patience, 2)  # iterations; half of it is from one validation on
    optimizer = vg.SGD(settings.lr, weight_decay=2 * settings.l2)  # the slope of l2 W² is 2 l2 W
    per_epoch = len(data.train.X) // size
    every, most = min(per_epoch, patience // 2), per_epoch * _check.integer("max_epochs", settings.max_epochs, 1)
    done, patience, validations = Course(0, patience, []) if course is None else course
    before, start = done, time.perf_counter()
    # The published loop counts iterations from 0, and ends after the first whose number is patience or more.
    while done < most and done <= patience:
        first = done % per_epoch
        steps = min(every - done % every, per_epoch - first, patience + 1 - done)
        rows = slice(first * size, (first + steps) * size)
        net.fit(data.train.X[rows], data.train.y[rows], 1, size, optimizer, shuffle=False)
        done += steps
        if done % every:
            continue
        best, now = Course(done, patience, validations).best.valid, Validation(done, error(net, data.valid, size), None)
        if now.valid < best:
            if now.valid < best * settings.threshold:
                patience = max(patience, (done - 1) * settings.increase)
            now = now._replace(test=error(net, data.test, size))
        validations.append(now)
        if keep is not None:
            keep(Course(done, patience, validations))
        if progress is not None:
            progress(now)
    seconds = (time.perf_counter() - start) * per_epoch / max(done - before, 1)
    return {**summary(Course(done, patience, validations), per_epoch), "seconds_per_epoch": seconds}


def summary(course: Course, per_epoch: int) -> dict[str, Any]:
    """What came of a training, ended or not, as plain data."""
    return {
        "best": course.best._asdict(),
        "iterations": course.done,
        "epochs": -(-course.done // per_epoch),
        "patience": course.patience,
        "out_of_patience": course.done > course.patience,
        "validations": [v._asdict() for v in course.validations],
    }


def measure(
    net: Callable[[int, str], Any],
    folder: str | os.PathLike[str] | None,
    settings: Settings,
    progress: Callable[[Validation], Any] | None = None,
) -> dict[str, Any]:
    """``train`` on MNIST's files, of the net for so many pixels and this dtype, which is in the result too."""
    data = mnist(folder, settings)
    found = train(net(data.train.X.shape[1], settings.dtype), data, settings, progress)
    return {**found, "dtype": settings.dtype}


def rows(best: dict[str, Any], published: tuple[float, float], images: int, within: int, note: str = "") -> list[Row]:
    """The published errors (validation, test) and ours: rounding moves single images from right to wrong, so many
    ``within`` this. With a ``note``, ours is not the published run, which then was not tried."""
    result = []
    for name, theirs in zip(("valid", "test"), published, strict=True):
        what = f"{'validation' if name == 'valid' else name}, ± {within} image{'s' * (within > 1)}"
        ours = f"{100 * best[name]:.6f} %{note and ', ' + note}"
        holds = None if note else round(abs(best[name] - theirs) * images) <= within
        result.append(Row(what, f"{100 * theirs:.6f} %", ours, holds))
    return result
