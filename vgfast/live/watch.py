"""``vg.watch``: a callback that shows trainings on a page in the browser while they run."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.inspection.inspect import take_moments
from vgfast.inspection.report import GradientReport
from vgfast.live.course import NOTHING, Course, Excerpt
from vgfast.show import PORT, page
from vgfast.show.page import data, server
from vgfast.training.history import History
from vgfast.training.records import over_time

# Trainings that are kept, at most; seconds from one look at a training to the next; from one telling of records to the
# next, as to draw them a browser takes 30 ms from the processors on which the training runs; and from a training's
# begin or end to when it is told, at most; records, and with them rows, that a verdict is on; characters of an error;
# rows that theory goes by, at most.
_TRAININGS, _LOOK, _TELL, _SOON, _JUDGED = 8, 0.2, 3.0, 1.0, 10
_ROWS, _MESSAGE, _SEEN = 16, 1000, 500


def watch(net: Any = None, port: int = PORT, browser: bool = True) -> Watch:
    """A callback for ``fit`` that shows the training live, on a page of this machine's browser.

    The page has the loss, the gradients of the inspected steps, layer by step, their ledger and a verdict, as
    ``history.save_html`` has them; and theory's band, by the weights before the first step, for nets without a
    normalization and residual connections. It is served on 127.0.0.1 alone, at an address with a token that is printed
    on stderr, until ``close()``, the end of a with statement or that of the process. What is new is shown every 3 s, as
    drawing takes processors from the training, and when it ends; how slow a browser is does not matter to it. Where an
    error or Ctrl-C ends a training, the page shows its last state and the error. One callback may be of several
    trainings, of which the last 8 are shown. Of long ones, every second record is dropped each time that there are
    1,000, or 40,000 numbers of a quantity, which the page says.

    net: whose name is the page's title; None is "Training". port: if it is in use, one of the next 19; 0: any that is
    free. browser: whether to open one, where there is a display.
    Errors: TypeError or ValueError for a port that is none; OSError where no port is free.

    >>> import numpy as np, vgfast as vg
    >>> net = vg.MLP([4, 8, 2], rng=0)
    >>> page = vg.watch(net, port=0, browser=False)  # doctest: +SKIP
    the page is at http://127.0.0.1:40715/?token=PfVZ...
    >>> net.fit(np.eye(4), [0, 1, 1, 0], epochs=9, inspect_every=1, callbacks=[page])  # doctest: +SKIP
    >>> page.close()  # doctest: +SKIP
    """
    if net is not None and not hasattr(net, "sizes"):
        raise TypeError(f"net must be a net such as vg.MLP makes, or None, got {_check.quote(net)}")
    port = _check.integer("port", port, 0, 65535)
    from vgfast.show.page.browser import open_browser

    wanted = _check.flag("browser", browser)
    watching = Watch("Training" if net is None else repr(net), port)
    if watching.notice:
        print(watching.notice, file=sys.stderr)
    print(f"the page is at {watching.address}", file=sys.stderr, flush=True)
    if wanted:
        open_browser(watching.address)
    return watching


def in_words(error: BaseException) -> str:
    """Its type and what it says, cut where that is long.

    >>> in_words(ValueError("no luck")), in_words(KeyboardInterrupt()), len(in_words(ValueError("a" * 5000)))
    ('ValueError: no luck', 'KeyboardInterrupt', 1000)
    """
    try:
        message = str(error)
    except Exception:  # of whoever wrote it
        message = "it does not say why"
    text = _written(f"{type(error).__name__}: {message}" if message else type(error).__name__)
    return text if len(text) <= _MESSAGE else text[: _MESSAGE - 3] + "..."


def _written(text: str) -> str:
    """As UTF-8 has it: names of files need not be text.

    >>> _written("caf\\udce9.py")
    'caf\\\\udce9.py'
    """
    return text.encode("utf-8", "backslashreplace").decode()


class _Shown:
    """A training that is on the page: what was told of it, and the verdict on its last records."""

    def __init__(self, number: int, net: Any) -> None:
        self.number, self.course = number, Course(f"Training {number}: {net!r}", len(net.sizes) - 1)
        self.sizes, self.activations = net.sizes, net.activations
        self.told = self.judged = NOTHING
        self.due = 0.0  # when it is looked at next
        self.report: GradientReport | None = None
        # What theory goes by, before the first step, and what it says of the gains.
        self.moments: tuple[list[float], list[float], list[float]] | None = None
        self.dropout = net.dropout
        self.expected: np.ndarray | None = None

    def judge(self, records: np.ndarray) -> None:
        """By the mean of these, which are some of the last."""
        about = self.sizes, self.activations, self.course.n_steps, _ROWS
        how: dict[str, Any] = {"moments": self.moments, "dropout": self.dropout, "expected": self.expected}
        with np.errstate(all="ignore"):  # of a training that diverged
            report = GradientReport(over_time(records), self.course.last_loss, *about, **how)
        self.expected = report.predicted if self.moments else None  # which does not change
        self.report = report

    def part(self, excerpt: Excerpt) -> dict[str, Any]:
        return self.course.as_part(excerpt, self.report)


class Watch:
    """What ``watch`` returns: the callback, and the page's ``address``."""

    def __init__(self, title: str, port: int) -> None:
        self.title, self.error = _written(title), ""
        self._lock, self._process = threading.Lock(), os.getpid()
        self._shown: list[_Shown] = []
        self._begun, self._changed, self._ended = 0, False, False
        self._speed, self._tell_at, self._looked_at = Speed(), 0.0, -np.inf
        self._state = self._find_state()
        self._server = server.Server(self, port)
        self.address, self.notice = self._server.address, self._server.notice
        atexit.register(self.close)  # before the server does, as the last is called first

    def close(self) -> None:
        """The page is served no more; what it shows stays."""
        atexit.unregister(self.close)
        if not self._is_elsewhere():
            with self._lock:
                self._look_once_more()
        self._server.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Watch(port={self._server.port})"  # without the token

    def __deepcopy__(self, memo: Any) -> Watch:
        """Itself: copies of an estimator that has it show their trainings, too."""
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            "a page is of the process that serves it, got a Watch to be pickled; leave it out of what other processes "
            "or files get"
        )

    # ---- called by fit, in the thread of the training ---------------------------------------------------

    def on_train_begin(self, net: Any, history: History) -> None:
        """A training more."""
        if self._is_elsewhere():
            return
        with self._lock:
            self._begun += 1
            now = time.perf_counter()
            self._hurry(0.0 if now - self._looked_at > _TELL else _SOON)  # one that follows another at once can wait
            self._looked_at = now
            shown = _Shown(self._begun, net)
            shown.course.follow(history)
            shown.course.add(history)
            shown.course.add_epochs(history)
            self._shown = [*self._shown, shown][-_TRAININGS:]
            self._changed = True

    def _see_rows(self, net: Any, history: History, rows: Any) -> None:
        """Some of them: the first weights and the inputs say what theory expects of the gains."""
        if self._is_elsewhere() or not isinstance(rows, np.ndarray) or not len(rows):
            return
        moments = take_moments(net._engine, rows[:: -(-len(rows) // _SEEN)])
        with self._lock:
            for shown in self._shown:
                if shown.course.history() is history:
                    shown.moments, shown.course.is_foretold = moments, moments is not None

    def on_progress(self, net: Any, history: History) -> None:
        """Copy what is new, if it is time."""
        self._look(history)

    def on_epoch_end(self, net: Any, history: History) -> None:
        """The same."""
        self._look(history)

    def on_train_end(self, net: Any, history: History) -> None:
        """The last look."""
        self._look(history, ended=True)

    def on_exception(self, net: Any, history: History, error: BaseException) -> None:
        """The last look, and what has ended it."""
        self._look(history, ended=True, ended_by=in_words(error))

    def _is_elsewhere(self) -> bool:
        """Whether this is a fork of the process that serves the page: it has none of its threads, nor who would let go
        of the lock, should one have held it."""
        return os.getpid() != self._process

    def _look(self, history: History, ended: bool = False, ended_by: str = "") -> None:
        if self._is_elsewhere():
            return
        now = time.perf_counter()
        with self._lock:
            shown = next((each for each in reversed(self._shown) if each.course.history() is history), None)
            if shown is None or (now < shown.due and not ended):
                return
            shown.due, self._looked_at = now + _LOOK, now
            shown.course.add(history)
            shown.course.add_epochs(history)
            shown.course.running, shown.course.ended_by = not ended, ended_by
            if ended:
                self._hurry(0.0 if ended_by else _SOON)
            self._changed = self._changed or bool(ended_by)

    def _hurry(self, seconds: float) -> None:
        """Tell what is new in so many seconds at most."""
        self._tell_at = min(self._tell_at, time.perf_counter() + seconds)

    def _look_once_more(self) -> None:
        """At those that are running, and tell it at once."""
        for course in (each.course for each in self._shown if each.course.running):
            history = course.history()
            if history is not None:
                course.add(history)
                course.add_epochs(history)
        self._hurry(0.0)

    def end(self, error: str = "") -> None:
        """There will be no more training; the page shows the last state of each, and the error."""
        with self._lock:
            self.error, self._ended, self._changed = error, True, True
            self._look_once_more()
            for each in self._shown:
                each.course.running = False

    # ---- called by the server, in its threads -----------------------------------------------------------

    def document(self, live: dict[str, str]) -> tuple[str, str]:
        """The page, and its policy."""
        with self._lock:
            self._hurry(0.0)  # so that what is told, when the browser asks for it, is not older than this
            excerpts = [(each, each.course.excerpt()) for each in self._shown]
        parts = [each.part(excerpt) for each, excerpt in excerpts]
        return page.text(self.title, parts, self._about(), live), page.policy(live=True)

    def page(self, live: dict[str, str]) -> list[dict[str, Any]]:
        """The page and its state, as far as they were told; where that does not hold any more, of now: the next
        ``news`` will say so."""
        with self._lock:
            shown = list(self._shown)
            excerpts = [
                each.course.excerpt(until=each.told if each.told.version == each.course.version else None)
                for each in shown
            ]
        parts = [each.part(excerpt) for each, excerpt in zip(shown, excerpts, strict=True)]
        whole = {"type": "page", "page": page.data_of(self.title, parts, self._about(), live)}
        return [whole, {"type": "state", **self._state}]

    def _about(self) -> list[str]:
        if not self._shown:
            ended = "The script has ended, and no training by net.fit was in it."
            return [ended if self._ended else "No training has begun yet: the page waits for net.fit."]
        more = self._begun - _TRAININGS
        return [f"Shown are the last {_TRAININGS} of {self._begun:,} trainings."] if more > 0 else []

    def command(self, asked: dict[str, Any]) -> dict[str, Any]:
        """There is none."""
        raise ValueError("this page only shows a training, and takes no commands; vgfast play does")

    def news(self, wanted: bool) -> list[dict[str, Any]] | None:
        """New records and verdicts, and the state, if it is time; None when a training has begun, or records were
        thinned."""
        with self._lock:
            now = time.perf_counter()
            if now < self._tell_at:
                return []
            self._tell_at = now + _TELL
        judged = self._judge()
        with self._lock:
            changed, self._changed = self._changed, False
            fresh = []
            for i, each in enumerate(self._shown):
                place = each.course.place()
                changed = changed or place.version != each.told.version
                if wanted and not changed and (place != each.told or each in judged):
                    fresh.append((i, each, each.course.excerpt(each.told)))
                each.told = place
            told, self._state = self._state, self._find_state()
        if changed:
            return None
        events = []
        for i, each, excerpt in fresh:
            more = {"report": data.verdict_of(each.report), "band": data.band_of(each.report)} if each in judged else {}
            events.append({"type": "records", "part": i, **excerpt.as_data(), **more})
        return events if self._state == told else [*events, {"type": "state", **self._state}]

    def _judge(self) -> list[_Shown]:
        """Those on which there is a new verdict."""
        with self._lock:
            due = [each for each in self._shown if each.course.n_records and each.judged != each.course.place()]
            for each in due:
                each.judged = each.course.place()
            records = [each.course.last(_JUDGED) for each in due]
        for each, of in zip(due, records, strict=True):
            each.judge(of)
        return due

    def _find_state(self) -> dict[str, Any]:
        """Of the last training that is running, or of the last."""
        running = [each for each in self._shown if each.course.running]
        last = next(reversed(running or self._shown), None)
        course = last and last.course
        step = course.n_steps if course else 0
        return {
            "running": bool(running),
            "step": step,
            "ms_per_step": self._speed.measure(last.number if last else 0, step),
            "error": self.error or (course and course.ended_by) or None,
            "sentences": [],
            "boundary": None,
        }


class Speed:
    """Of steps, over the last two times that it was told."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, float, int]] = deque(maxlen=3)
        self._last: float | None = None

    def measure(self, training: int, step: int) -> float | None:
        """Milliseconds of one, now that there are so many of this training; None if that is not known yet."""
        if not self._looks or self._looks[-1][0] != training:
            self._looks.clear()
        elif self._looks[-1][2] == step:  # ended, or between two looks: what was said before holds
            return self._last
        self._looks.append((training, time.perf_counter(), step))
        (_, then, before), (_, now, after) = self._looks[0], self._looks[-1]
        self._last = round(1e3 * (now - then) / (after - before), 6) if after > before else None
        return self._last
