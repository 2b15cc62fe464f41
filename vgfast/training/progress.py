"""What ``fit(progress=True)`` shows: a bar on a terminal, by rich if it is installed, or else lines; on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from vgfast.training.history import History

# Seconds from one line, or one look of the bar, to the next, at least; and as long may quick epochs go unseen.
_LINE, _LOOK = 0.1, 0.05


class Display:
    """The progress of one training of so many epochs. Epochs that are quicker than can be read are shown now and then:
    ``at_once``, how many may go by until the next look."""

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs, self.at_once = epochs, 1
        self._begun = self._looked = time.perf_counter()
        self._printed = float("-inf")  # when the last line was
        self._text, self._pending = "", False
        self._bar = _make_bar(steps)

    def __call__(self, done: int, total: int, history: History) -> None:
        """Within an epoch too."""
        if self._bar is not None:
            self._bar.reach(done, self._text)

    def end_epochs(self, history: History) -> None:
        """One, or some quick ones, have ended."""
        now = time.perf_counter()
        if now - self._looked < _LOOK:
            self.at_once *= 2
        elif now - self._looked > 2 * _LOOK:
            self.at_once = max(1, self.at_once // 2)
        self._looked = now
        if now - self._printed >= _LINE:
            self._show(history, now)
        else:
            self._pending = True

    def _show(self, history: History, now: float) -> None:
        numbers = (f"{name} {value:.4g}" for name, value in history.epochs[-1].items() if name != "seconds")
        width = len(str(self.epochs))
        self._text = "  ".join((f"epoch {len(history.epochs):{width}}/{self.epochs}", *numbers))
        self._printed, self._pending = now, False
        if self._bar is None:
            self._print(now)
        else:
            self._bar.reach(len(history.loss), self._text)

    def _print(self, now: float) -> None:
        print(f"{self._text}  {now - self._begun:.1f} s", file=sys.stderr, flush=True)

    def close(self, history: History) -> None:
        """At the end, however it came: the bar is gone, and a line says of the last epoch what it came to."""
        bar, now = self._bar, time.perf_counter()
        if bar is not None:
            bar.__exit__()
        if self._pending and history.epochs:
            self._bar = None
            self._show(history, now)
        elif bar is not None and self._text:
            self._print(now)


def _make_bar(steps: int) -> Any:
    """On stderr; None where that is no terminal, or without rich."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    from vgfast.show.progress import Bar

    bar = Bar(Console(stderr=True), steps, prints=True)
    return bar.__enter__() if bar.shown else None
