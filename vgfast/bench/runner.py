"""The runner of ``vgfast bench``: whatever it measures ends when its minutes are over, with what there is by then."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any

from vgfast import _check, _core, config
from vgfast.bench.problems import WORKLOADS
from vgfast.cost.rounds import OutOfTime, until

SECONDS, QUICK_SECONDS = 0.2, 0.03  # of one turn, about
QUICK_ROUNDS = 3

# Called with whose turn it is, before each turn.
Begin = Callable[[str], Any]
Results = Generator[dict[str, Any], None, None]


def read_common_settings(
    threads: str | None, rounds: int | None, usual_rounds: int, quick: bool, minutes: float | None
) -> dict[str, Any]:
    """What all measurements take, from a command line: ``threads``, ``rounds``, ``seconds`` of one turn, about, and
    ``minutes``. ValueError for what they cannot take."""
    n_threads, *more = read_threads(threads)
    if more:
        raise ValueError(
            f"--threads {threads} are several numbers, which time plain training alone; give one of them, or leave out "
            "--inspection and --pretraining"
        )
    if rounds is None:
        rounds = QUICK_ROUNDS if quick else usual_rounds
    return {
        "threads": n_threads,
        "rounds": _check.integer("--rounds", rounds, 1),
        "seconds": QUICK_SECONDS if quick else SECONDS,
        "minutes": math.inf if minutes is None else _check.real("--minutes", minutes, 0, above=True),
    }


def read_threads(text: str | None) -> list[int]:
    """Without a text, as many as vgfast would use."""
    return [config.get_num_threads()] if text is None else read_numbers("--threads", text)


def read_numbers(option: str, text: str, most: int = _core.THREADS_MOST) -> list[int]:
    """The whole numbers, such as those of threads, that an option has, in a list with commas."""
    try:
        numbers = [int(part) for part in read_names(text)]
    except ValueError:
        raise ValueError(
            f"{option} must be a whole number, or several with commas, got {shlex.quote(text)}; for example 2 or 1,2,4"
        ) from None
    return [_check.integer(option, number, 1, most) for number in numbers]


def read_names(text: str) -> list[str]:
    """In a list with commas, as it is typed or as an error gives it; each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def read_workloads(text: str | None) -> list[str]:
    """All without a list."""
    names = list(WORKLOADS) if text is None else read_names(text)
    return [_check.choice("workload", name, tuple(WORKLOADS)) for name in names]


def refuse_choice(why: str, competitors: str | None, workloads: str | None, threads: str | None = None) -> None:
    """ValueError where a measurement, which has its own, was given some."""
    options = (("--competitors", competitors), ("--workloads", workloads), ("--threads", threads))
    given = [f"{option} {shlex.quote(value)}" for option, value in options if value is not None]
    if given:
        raise ValueError(f"{why}; leave out {' '.join(given)}")


def find_epochs(time: Callable[..., dict[str, float]], seconds: float) -> int:
    """How many last about so long, where ``time(epochs=...)["seconds"]`` is what so many take."""
    epochs = 1
    for _ in range(2):  # the first epoch is often slow
        took = time(epochs=epochs)["seconds"]
        if took > seconds:
            break
        epochs = round(epochs * seconds / took)
    return epochs


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
