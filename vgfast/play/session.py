"""A net that is trained in a thread, as commands say, and shown on a page."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from vgfast import _check
from vgfast.live.course import NOTHING
from vgfast.play import presets
from vgfast.play.lab import Lab, Look, Steps, Taken
from vgfast.play.sentences import sentences
from vgfast.play.settings import MOST_STEPS, as_controls, as_text, checked, defaults, from_text
from vgfast.show import PORT, page
from vgfast.show.page import data, server

# Seconds: of a slice of training, after which commands are heard; between two looks while it runs; until a command is
# answered whatever the training does.
_SLICE, _LOOK, _ANSWER = 0.03, 1.0, 5.0
_DO = ("start", "pause", "step", "rewind", "set")
_TITLE = "vgfast play"


class Session:
    """The page of ``vgfast play``, served until ``close``. The net trains while it has taken fewer steps than
    ``goal``."""

    def __init__(self, port: int = PORT) -> None:
        self._changed, self._setting = threading.Condition(), threading.Lock()
        self._put(Lab(defaults()), 0)
        self._busy, self._ended = False, False
        self._state_told: dict[str, Any] | None = None
        self._worker = threading.Thread(target=self._work, name="vgfast-play", daemon=True)
        self._worker.start()
        try:
            self._server = server.Server(self, port)
        except OSError:
            self._end()
            raise
        self.address, self.notice = self._server.address, self._server.notice

    def close(self) -> None:
        """Train no more, serve no more."""
        self._end()
        self._server.close()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._worker.join(_ANSWER)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # ---- commands, in threads of the server --------------------------------------------------------------

    def command(self, data: dict[str, Any]) -> dict[str, Any]:
        """start, pause, step, rewind, or set settings, or a state as text; TypeError or ValueError for what is none,
        and then nothing changes."""
        do = _check.choice("do", data.get("do"), _DO)
        allowed = ("do", "settings", "hash") if do == "set" else ("do",)
        for name in data:
            _check.choice("part of a command", name, allowed)
        if "hash" in data and "settings" in data:
            raise ValueError("set takes hash or settings, got both; hash has all of them")
        if do in ("set", "rewind"):
            with self._setting:  # one after the other: of two browsers, each keeps what the other has set
                self._set(data)
        with self._changed:
            lab = self._lab
            if do == "start" and not lab.error:
                self._goal = MOST_STEPS
            elif do == "pause":
                self._goal = 0
            elif do == "step" and not lab.error:
                self._goal = lab.n_steps + 1
            self._changed.notify_all()
            if do != "start":  # so that the answer is of the state that was asked for
                self._changed.wait_for(lambda: not self._busy and (do != "step" or self._is_idle()), _ANSWER)
            return {"ok": True, "settings": self._lab.settings, "hash": self._hash()}

    def _set(self, asked: dict[str, Any]) -> None:
        """Begin anew, with other settings if there are any."""
        if "hash" in asked:
            settings, goal = from_text(asked["hash"])
        else:
            settings, goal = checked(asked.get("settings", {}), self._lab.settings), 0
        lab = Lab(settings)
        with self._changed:
            self._put(lab, goal)
            self._changed.notify_all()

    def _put(self, lab: Lab, goal: int) -> None:
        self._lab, self._goal = lab, goal
        self._course, self._begun = Steps(lab), False
        self._look: Look | None = None
        self._look_at, self._told, self._fresh = 0.0, NOTHING, True
        self._sentences: list[str] = []
        counts = np.bincount(lab.task.y)
        self._guess = float(counts.max() / counts.sum())

    def _is_idle(self) -> bool:
        return self._lab.n_steps >= self._goal or bool(self._lab.error)

    def _hash(self) -> str:
        return as_text(self._lab.settings, self._course.n_steps)

    # ---- the worker --------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._ended or not self._is_idle() or self._is_unseen())
                if self._ended:
                    return
                lab, self._busy = self._lab, True
                steps = 0 if self._is_idle() or not self._begun else self._goal - lab.n_steps
                begins = not self._begun
                looks = not lab.error and self._is_unseen() and (steps == 0 or time.perf_counter() > self._look_at)
            first: tuple[float, np.ndarray] | None = None
            taken: list[Taken] = []
            look: Look | None = None
            try:
                first = lab.first() if begins else None
                taken = lab.train(steps, _SLICE) if steps else []
                look = lab.look() if looks and not lab.error else None
            except Exception as error:  # such as outputs that are not finite before the first step
                lab.fail(error)
            with self._changed:
                if lab is self._lab:
                    self._begun = True
                    self._take(first, taken, look)

    def _is_unseen(self) -> bool:
        """Whether there is something to look at."""
        return not self._begun or (not self._lab.error and (self._look is None or self._look.step != self._lab.n_steps))

    def _take(self, first: Any, taken: list[Taken], look: Look | None) -> None:
        """What the worker has found, of the net that still is the one."""
        if first is not None:
            self._course.begin(*first)
        for each in taken:
            self._course.take(each)
        if look is not None:
            self._look, self._look_at, self._fresh = look, time.perf_counter() + _LOOK, True
            self._sentences = sentences(look, self._guess, self._lab.settings)

    # ---- the page, in threads of the server --------------------------------------------------------------

    def document(self, live: dict[str, str]) -> tuple[str, str]:
        """The page, and its policy."""
        with self._changed:
            parts = self._parts(now=True)
        return page.text(_TITLE, parts, (), live), page.policy(live=True)

    def page(self, live: dict[str, str]) -> list[dict[str, Any]]:
        """The page and its state, as far as they were told."""
        with self._changed:
            parts, state = self._parts(now=False), self._state()
        return [{"type": "page", "page": page.data_of(_TITLE, parts, (), live)}, {"type": "state", **state}]

    def _parts(self, now: bool) -> list[dict[str, Any]]:
        lab, course = self._lab, self._course
        until = None if now or self._told.version != course.version else self._told
        points = None
        if lab.task.is_plane:
            x, y = lab.X.T
            points = {"x": data.packed(x), "y": data.packed(y), "label": data.packed(lab.task.y)}
        play = {
            "kind": "play",
            "name": "Settings",
            "controls": as_controls(lab.settings),
            "presets": presets.as_data(),
            "settings": lab.settings,
            "hash": self._hash(),
            "points": points,
            "static": "<p>What is to be changed here needs JavaScript.</p>",
        }
        report = None if self._look is None else self._look.report
        return [play, course.as_part(course.excerpt(until=until), report)]

    def news(self, wanted: bool) -> list[dict[str, Any]] | None:
        """New records and the report, and the state; None for another net, or where records were thinned."""
        with self._changed:
            place, told, fresh = self._course.place(), self._told, self._fresh
            self._told, self._fresh = place, False
            changed = told is NOTHING or place.version != told.version
            excerpt = self._course.excerpt(told) if wanted and not changed and (fresh or place != told) else None
            report = self._look.report if self._look is not None and fresh else None
            state = self._state()
        if changed:
            return None
        events: list[dict[str, Any]] = []
        if excerpt is not None:
            events.append({"type": "records", "part": 1, **excerpt.as_data()})
            if report is not None:
                events[0] |= {"report": data.verdict_of(report), "band": data.band_of(report)}
        before, self._state_told = self._state_told, state
        return [*events, {"type": "state", **state}] if state != before else events

    def _state(self) -> dict[str, Any]:
        lab, look = self._lab, self._look
        boundary = None
        if look is not None and look.surface is not None:
            boundary = {"packed": data.packed(look.surface), "low": lab.low, "high": lab.high}
        fitting = (name for name, of in presets.available().items() if {**defaults(), **of.settings} == lab.settings)
        return {
            "running": not self._is_idle(),
            "step": self._course.n_steps,
            "ms_per_step": round(lab.ms_per_step, 6),
            "error": lab.error or None,
            "sentences": self._sentences,
            "boundary": boundary,
            "hash": self._hash(),
            "preset": next(fitting, None),
        }
