"""A progress bar that steps aside for what is printed in between."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Bar:
    """So many turns, and whose it is, on the console's last line; nothing where that is no terminal, or if ``silent``.

    ``shown``: whether there is one. It is gone when it has ended, and no other stream is touched: rows that go to a
    file do not pass through it. prints: whether what is printed to a terminal meanwhile stands above it.
    """

    def __init__(self, console: Any, turns: int, silent: bool = False, prints: bool = False) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            redirect_stdout=prints and sys.stdout.isatty(),
            redirect_stderr=prints and sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=turns)
        self.shown = console.is_interactive and not silent

    def __enter__(self) -> Bar:
        if self.shown:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self._progress.stop()

    def turn(self, description: str) -> None:
        """One more has begun."""
        self._progress.update(self._task, advance=1, description=description)

    def reach(self, turns: float, description: str) -> None:
        """So many are over."""
        self._progress.update(self._task, completed=turns, description=description)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within this context, the line is free."""
        self.__exit__()
        yield
        self.__enter__()
