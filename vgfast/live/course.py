"""What a page shows of one training while it runs, in memory that does not grow with the number of its steps."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

from vgfast.model.quantities import RECORD
from vgfast.show import table
from vgfast.show.data import plain
from vgfast.show.page import data
from vgfast.training import tables
from vgfast.training.history import History

# Epochs that are shown, at most.
MOST_EPOCHS = 200


class Place(NamedTuple):
    """How much of a course has been told."""

    version: int
    records: int
    points: int
    steps: int
    epochs: int


NOTHING = Place(0, 0, 0, 0, 0)


class Excerpt(NamedTuple):
    """A copy of a course from some place on, to be packed in another thread."""

    place: Place
    every: int
    factors: tuple[str, ...]
    steps: np.ndarray
    records: np.ndarray
    loss: np.ndarray
    loss_steps: np.ndarray
    epochs: list[dict[str, Any]]
    epoch_steps: list[int]
    about: list[str]

    def as_data(self) -> dict[str, Any]:
        """What a page and its events have in common."""
        names = (*data.FIELDS, *self.factors)
        return {
            "n_steps": self.place.steps,
            "steps": data.packed(self.steps),
            "loss": data.packed(self.loss),
            "loss_steps": data.packed(self.loss_steps),
            "epochs": [plain(epoch) for epoch in self.epochs],
            "epoch_steps": self.epoch_steps,
            "fields": {name: data.packed(self.records[name]) for name in names},
            "about": self.about,
        }

    def as_html(self, ledger: bool) -> str:
        """The epochs in a table and, if asked for, the last record."""
        names = [name for name in (self.epochs[0] if self.epochs else ()) if name != "seconds"]
        ends = zip(self.epoch_steps, self.epochs, strict=True)
        rows = [(f"{step:,}", *(f"{epoch[name]:.4g}" for name in names)) for step, epoch in ends]
        text = f"<p>{self.place.steps:,} steps.</p>"
        text += table.as_html(("step", *names), rows, what="epochs") if rows else ""
        if ledger and len(self.records):
            last = self.records[-1]
            text += table.as_html(tables.headings(last), tables.ledger_rows(last), what="layers")
        return text


class Course:
    """Of a net with so many layers. It takes one record of every ``every``, at first each; when there are too many,
    each second one is dropped. Losses are means over ``loss_every`` steps, which doubles likewise. ``version`` is
    another whenever what was told before does not hold any more."""

    def __init__(self, name: str, n_layers: int) -> None:
        self.name, self.n_layers = name, n_layers
        self.version, self.n_steps, self.every, self.loss_every = 0, 0, 1, 1
        self.last_loss = np.nan
        self.n_records = self.n_points = self.n_epochs = 0
        most = max(2, min(data.MOST_RECORDS, data.MOST_NUMBERS // n_layers))
        self._records, self._steps = np.empty((most, n_layers), RECORD), np.empty(most, np.int64)
        self._loss = np.empty(data.MOST_POINTS)
        self.epochs: list[dict[str, Any]] = []
        self.epoch_steps: list[int] = []
        self._factors: tuple[str, ...] = ()
        self.running, self.due, self.ended_by = True, 0.0, ""
        self.is_foretold = False  # whether theory's band is shown, by the first weights
        self.history: Any = lambda: None  # a weak reference, as a history can be large

    def follow(self, history: History) -> None:
        """Be of this one."""
        self.history = weakref.ref(history)

    def add(self, history: History) -> None:
        """What the history has now, without its epochs."""
        self.n_steps = len(history.loss)
        self.last_loss = float(history.loss[-1]) if self.n_steps else np.nan
        with np.errstate(all="ignore"):  # of a training that diverged
            self._add_records(history)
            self._add_losses(history)

    def _add_records(self, history: History) -> None:
        most = len(self._records)
        while len(new := history.gradients[self.n_records * self.every :: self.every]):
            if self.n_records == most:
                self._halve_records()
                continue
            first, n = self.n_records, min(len(new), most - self.n_records)
            self._records[first : first + n] = new[:n]
            self._steps[first : first + n] = history.steps[first * self.every :: self.every][:n]
            self.n_records += n
            more = tuple(name for name in data.FACTORS if (new[name][:n, :-1] != 1).any() or name in self._factors)
            if more != self._factors:
                self._factors, self.version = more, self.version + 1

    def _add_losses(self, history: History) -> None:
        most = len(self._loss)
        while n := (len(history.loss) - self.n_points * self.loss_every) // self.loss_every:
            if self.n_points == most:
                self._halve_losses()
                continue
            first, n = self.n_points, min(n, most - self.n_points)
            losses = history.loss[first * self.loss_every : (first + n) * self.loss_every]
            self._loss[first : first + n] = losses.reshape(n, self.loss_every).mean(axis=1)
            self.n_points += n

    def _halve_records(self) -> None:
        kept = -(-self.n_records // 2)
        self._records[:kept] = self._records[: self.n_records : 2].copy()
        self._steps[:kept] = self._steps[: self.n_records : 2].copy()
        self.n_records, self.every, self.version = kept, 2 * self.every, self.version + 1

    def _halve_losses(self) -> None:
        kept = self.n_points // 2
        self._loss[:kept] = self._loss[: 2 * kept].reshape(kept, 2).mean(axis=1)
        self.n_points, self.loss_every, self.version = kept, 2 * self.loss_every, self.version + 1

    def _middles(self, first: int, end: int) -> np.ndarray:
        """The steps in the middle of these points."""
        return np.arange(first, end, dtype=np.int64) * self.loss_every + (self.loss_every - 1) // 2

    def add_epochs(self, history: History) -> None:
        """Those that have ended, after one: some of them, and the last."""
        self.n_epochs = n = len(history.epochs)
        every = max(1, -(-(n - 1) // (MOST_EPOCHS - 1)))
        shown = [*range(0, n - 1, every), n - 1] if n else []
        self.epochs = [dict(history.epochs[i]) for i in shown]
        self.epoch_steps = [history.steps_per_epoch * (i + 1) for i in shown]

    def place(self) -> Place:
        """How much there is."""
        return Place(self.version, self.n_records, self.n_points, self.n_steps, self.n_epochs)

    def excerpt(self, since: Place = NOTHING, until: Place | None = None) -> Excerpt:
        """What is there between these places, which hold still. until: None is now."""
        end = until or self.place()
        records, points = slice(since.records, end.records), slice(since.points, end.points)
        return Excerpt(
            end,
            self.every,
            self._factors,
            self._steps[records].copy(),
            self._records[records].copy(),
            self._loss[points].copy(),
            self._middles(points.start, points.stop),
            self.epochs,
            self.epoch_steps,
            self.about(),
        )

    def last(self, most: int) -> np.ndarray:
        """(records, L) the last of those that are kept, copied."""
        return self._records[max(0, self.n_records - most) : self.n_records].copy()

    def about(self) -> list[str]:
        """Sentences on how it ended, if by an error, and on what is left out."""
        sentences = [f"This training was ended by {self.ended_by}"] if self.ended_by else []
        if self.every > 1:
            sentences.append(
                f"Of the inspected steps one of every {self.every:,} is shown: each time that there were "
                f"{len(self._records):,}, every second one was dropped."
            )
        if self.loss_every > 1:
            sentences.append(f"Each point of the loss is a mean over {self.loss_every:,} steps.")
        if len(self.epochs) < self.n_epochs:
            sentences.append(f"Of the {self.n_epochs:,} epochs {len(self.epochs):,} are shown.")
        if self.n_records and self.is_foretold:
            sentences.append("Theory's band is by the weights before the first step.")
        if self.n_steps and not self.n_records:
            sentences.append(
                "No step of this training is inspected, so that there are no gradients to show; ask for them with "
                "fit(..., inspect_every=10), or vgfast watch --inspect-every 10."
            )
        return sentences

    def as_part(self, excerpt: Excerpt, report: Any = None) -> dict[str, Any]:
        """The part of a page. report: a ``GradientReport``, or None."""
        return {
            "kind": "history",
            "name": self.name,
            "layers": self.n_layers,
            "every": excerpt.every,
            "band": data.band_of(report),
            "report": None if report is None else data.verdict_of(report),
            "static": data.static_of(excerpt.about, report, excerpt.as_html(report is None)),
            **excerpt.as_data(),
        }
