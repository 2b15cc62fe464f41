"""A net at work: its state is its settings and the number of its steps, which give the same bits whenever taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast.inspection.report import GradientReport
from vgfast.live.course import MOST_EPOCHS, Course
from vgfast.live.watch import in_words
from vgfast.play import tasks
from vgfast.play.settings import MOST_STEPS
from vgfast.pretrain import DeepBeliefNet
from vgfast.show.page.data import FACTORS

# Rows of a report; points of the decision surface along each side, and how far beyond the data it goes.
_ROWS, _SIDE, _MARGIN = 500, 40, 0.3
# As in the lessons on pre-training.
_MACHINES: dict[str, Any] = {"learning_rate": 0.05, "batch_size": 20, "momentum": (0.5, 0.9), "weight_decay": 1e-4}
_OPTIMIZERS: dict[str, Any] = {
    "SGD": vg.SGD,
    "momentum": lambda lr, **how: vg.SGD(lr, momentum=0.9, **how),
    "Adam": vg.Adam,
    "RMSprop": vg.RMSprop,
    "Adagrad": vg.Adagrad,
}


class Taken(NamedTuple):
    """A step: its loss before the update, its record (L,), and of an epoch that has ended with it, the means."""

    loss: float
    record: np.ndarray
    epoch: dict[str, float] | None


class Look(NamedTuple):
    """What a net shows at some step. surface: (40, 40) the probability of class 1, the lowest row first, or None."""

    step: int
    report: GradientReport
    loss: float
    accuracy: float
    surface: np.ndarray | None


class Lab:
    """By checked settings; ValueError where they do not go together."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.task = tasks.make(settings["data"], settings["noise"], settings["seed"])
        self.net = make_net(settings, self.task)
        clip = {} if settings["clip"] == "none" else {"clip_norm": float(settings["clip"])}
        self.optimizer = _OPTIMIZERS[settings["optimizer"]](float(settings["lr"]), **clip)
        self.X = self.task.X.astype(self.net.dtype)
        self.batch_size = int(settings["batch_size"])
        self.n_steps, self.error, self.ms_per_step = 0, "", 0.0
        self._order = np.zeros(0, np.int64)
        self._sums: list[np.ndarray] = []
        low, high = self.X.min(axis=0), self.X.max(axis=0)
        self.low, self.high = (low - _MARGIN).tolist(), (high + _MARGIN).tolist()

    def _batch(self) -> tuple[np.ndarray, bool]:
        """The rows of the next step, and whether they are the last of their epoch."""
        per_epoch = -(-len(self.X) // self.batch_size)
        epoch, i = divmod(self.n_steps, per_epoch)
        if i == 0 or not len(self._order):
            self._order = np.random.default_rng([self.settings["seed"], epoch]).permutation(len(self.X))
        return self._order[i * self.batch_size : (i + 1) * self.batch_size], i == per_epoch - 1

    def train(self, steps: int, seconds: float) -> list[Taken]:
        """At most so many, and of as many seconds; ``error`` says why there can be no more."""
        taken: list[Taken] = []
        start = time.perf_counter()
        while len(taken) < steps and not self.error and (not taken or time.perf_counter() - start < seconds):
            rows, last = self._batch()
            try:
                X, y = self.X[rows], self.task.y[rows]
                history = self.net.fit(X, y, 1, len(rows), self.optimizer, shuffle=False, inspect_every=1)
            except vg.DivergenceError as error:
                self.fail(error)
                break
            self.n_steps += 1
            found = history.epochs[0]
            self._sums.append(np.array([1, found["loss"], found["accuracy"], found["seconds"]]) * len(rows))
            epoch = None
            if last:
                n, loss, accuracy, spent = np.sum(self._sums, axis=0).tolist()
                epoch = {"loss": loss / n, "accuracy": accuracy / n, "seconds": spent / n * len(self._sums)}
                self._sums = []
            taken.append(Taken(float(history.loss[0]), history.gradients[0], epoch))
            if self.n_steps >= MOST_STEPS:
                self.error = f"training ends after {MOST_STEPS:,} steps; rewind to begin anew"
        if taken:
            self.ms_per_step = 1e3 * (time.perf_counter() - start) / len(taken)
        return taken

    def fail(self, error: Exception) -> None:
        """There can be no more steps and looks."""
        told = str(error) if isinstance(error, vg.DivergenceError) else in_words(error)
        n = self.n_steps  # each step is a training of its own
        self.error = told.replace("step 0 (epoch 1)", f"step {n}").replace("after 0 steps", f"after {n} steps")

    def first(self) -> tuple[float, np.ndarray]:
        """The loss and the record of the first step, before it is taken."""
        rows, _ = self._batch()
        report = self.net.inspect(self.X[rows], self.task.y[rows], self.optimizer, try_remedies=False)
        return float(report.loss), report.records

    def look(self) -> Look:
        """With a report on some of the rows."""
        rows = slice(None, None, max(1, len(self.X) // _ROWS))
        report = self.net.inspect(self.X[rows], self.task.y[rows], self.optimizer, try_remedies=False)
        assert report.predicted is not None  # computed here, and not where it is shown
        scores = self.net.evaluate(self.X, self.task.y)
        assert scores.accuracy is not None
        return Look(self.n_steps, report, scores.loss, scores.accuracy, self._surface())

    def _surface(self) -> np.ndarray | None:
        if not self.task.is_plane:
            return None
        x, y = (np.linspace(low, high, _SIDE) for low, high in zip(self.low, self.high, strict=True))
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        return self.net.predict_proba(grid)[:, 1].reshape(_SIDE, _SIDE)


def make_net(settings: Mapping[str, Any], task: tasks.Task) -> vg.MLP:
    """The net before the first step."""
    sizes = [task.X.shape[1], *[settings["width"]] * settings["depth"]]
    seed, scale = settings["seed"], settings["residual"]
    if settings["pretraining"] == "RBMs":
        return _pretrained(settings, task, sizes)
    init = settings["init"]
    if init == "lsuv":
        init = vg.init.lsuv(task.X[:_ROWS])
    elif init.endswith("biases too"):
        init = vg.init.lecun_normal(bias_std=1.0)
    norm, _, after = settings["normalization"].partition(", ")
    net = vg.MLP(
        [*sizes, task.classes],
        settings["activation"],
        init=init,
        dtype=settings["dtype"],
        rng=seed,
        normalization=None if norm == "none" else getattr(vg.norm, norm)("after" if after else "before"),
        residual=None if scale == "none" else vg.residual(scale=1.0 if scale == "1" else scale),
        dropout=settings["dropout"],
    )
    if settings["scale"] != "1":
        for weights in net.weights:
            weights *= float(settings["scale"])
    return net


def _pretrained(settings: Mapping[str, Any], task: tasks.Task, sizes: list[int]) -> vg.MLP:
    """Each layer a Boltzmann machine on what the one below makes of the digits. ValueError for other settings."""
    needs = {"data": "digits", "activation": "sigmoid", "normalization": "none", "residual": "none", "dropout": 0.0}
    needs |= {"scale": "1", "dtype": "float32"}
    for name, value in needs.items():
        if settings[name] != value:
            raise ValueError(f"pretraining='RBMs' needs {name}={value!r}, got {settings[name]!r}; set one of the two")
    stack = DeepBeliefNet(sizes, n_iter=20, rng=settings["seed"], **_MACHINES)
    return stack.fit(task.X).to_mlp(task.classes)


class Steps(Course):
    """The course of a ``Lab``, step by step."""

    def __init__(self, lab: Lab) -> None:
        super().__init__("The net", len(lab.net.sizes) - 1)
        self._sum, self._each_epoch = 0.0, 1

    def begin(self, loss: float, record: np.ndarray) -> None:
        """What the first step will show."""
        self.last_loss = loss
        self._keep(0, record)

    def take(self, taken: Taken) -> None:
        """One more."""
        if self.n_steps and self.n_steps % self.every == 0:
            self._keep(self.n_steps, taken.record)
        self.n_steps, self.last_loss, self._sum = self.n_steps + 1, taken.loss, self._sum + taken.loss
        if self.n_steps % self.loss_every == 0:
            self._loss[self.n_points] = self._sum / self.loss_every
            self.n_points, self._sum = self.n_points + 1, 0.0
            if self.n_points == len(self._loss):
                self._halve_losses()
        if taken.epoch is not None:
            self.n_epochs += 1
            if self.n_epochs % self._each_epoch == 0:
                self._add_epoch(taken.epoch)

    def _keep(self, step: int, record: np.ndarray) -> None:
        if self.n_records == len(self._records):
            self._halve_records()
        if step % self.every == 0:
            self._records[self.n_records], self._steps[self.n_records] = record, step
            self.n_records += 1
            more = tuple(n for n in FACTORS if (record[n][:-1] != 1).any() or n in self._factors)
            if more != self._factors:
                self._factors, self.version = more, self.version + 1

    def _add_epoch(self, epoch: dict[str, float]) -> None:
        if len(self.epochs) == MOST_EPOCHS:
            self._each_epoch *= 2
            self.epochs, self.epoch_steps = self.epochs[1::2], self.epoch_steps[1::2]
            if self.n_epochs % self._each_epoch:
                return
        self.epochs, self.epoch_steps = [*self.epochs, epoch], [*self.epoch_steps, self.n_steps]
