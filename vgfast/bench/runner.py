"""The runner of ``vgfast bench``: whatever it measures ends when its minutes are over, with what there is by then."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any

from vgfast import _check, _core, config
from vgfast.cost.rounds import OutOfTime, until

SECONDS, QUICK_SECONDS = 0.2, 0.03  # of one turn, about
QUICK_ROUNDS = 3

# Called with whose turn it is, before each turn.
Begin = Callable[[str], Any]
Results = Generator[dict[str, Any], None, None]


def read_common_settings(
    threads: int | None, rounds: int | None, usual_rounds: int, quick: bool, minutes: float | None
) -> dict[str, Any]:
    """What all measurements take, from a command line: ``threads``, ``rounds``, ``seconds`` of one turn, about, and
    ``minutes``. ValueError for what they cannot take."""
    if threads is None:
        threads = config.get_num_threads()
    if rounds is None:
        rounds = QUICK_ROUNDS if quick else usual_rounds
    return {
        "threads": _check.integer("--threads", threads, 1, _core.THREADS_MOST),
        "rounds": _check.integer("--rounds", rounds, 1),
        "seconds": QUICK_SECONDS if quick else SECONDS,
        "minutes": math.inf if minutes is None else _check.real("--minutes", minutes, 0, above=True),
    }


def refuse_choice(why: str, competitors: str | None, workloads: str | None) -> None:
    """ValueError where a measurement, which has its own, was given some."""
    options = (("--competitors", competitors), ("--workloads", workloads))
    given = [f"{option} {shlex.quote(value)}" for option, value in options if value is not None]
    if given:
        raise ValueError(f"{why}; leave out {' '.join(given)}")


def run(
    measure: Callable[..., Results],
    minutes: float = math.inf,
    progress: Begin = lambda turn: None,
    each: Callable[[dict[str, Any]], Any] = lambda found: None,
    **settings: Any,
) -> dict[str, Any]:
    """The last result that ``measure(begin, **settings)`` yields, as plain data: it yields one after each part of its
    work, with all that there is by then. ``progress`` is called with whose turn it is, ``each`` with every result.

    After so many minutes it is the last result so far; ValueError if there is none.
    """
    found: dict[str, Any] = {}
    with suppress(OutOfTime), closing(measure(until(minutes, progress), **settings)) as results:
        for found in results:
            each(found)
    if not found:
        raise ValueError(
            f"in {minutes:g} minutes nothing could be measured; give it more --minutes, or leave the option out"
        )
    return found
