"""``vgfast reproduce``: numbers that others have published, beside ours.

One file a source. Each has

    TITLE    one line
    SOURCE   who published it, where
    ABOUT    the settings, and what we do
    FILES    whether it needs files that vgfast does not bring: MNIST's, at ``folder``
    measure  (quick=False, folder=None) -> what was found, as plain data; with FILES also tell=, which hears of each
             validation
    rows     (found) -> a ``Row`` for each published number

>>> from vgfast.published import selu
>>> all(row.holds for row in selu.rows(selu.measure()))
True
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vgfast.telling import Table, plain, show_table, show_text

NAMES = (
    "nielsen-speed",
    "nielsen-depth",
    "softmax-regression",
    "tanh-mlp",
    "selu",
    "tanh-critical",
    "relu-width",
    "he-depth",
    "d2l",
    "glorot",
)

# Where people get what cannot be brought along.
WHERE = (
    "The four files of MNIST, train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz, 11 MB, are at https://ossci-datasets.s3.amazonaws.com/mnist/ and "
    "https://storage.googleapis.com/cvdf-datasets/mnist/; put them in a folder and name it with --mnist"
)


class Row(NamedTuple):
    """``what``, as published and as found here, and whether they agree: None if that was not tried. ``memory``: the
    published number is quoted from memory and has not been checked against its source."""

    what: str
    published: str
    ours: str
    holds: bool | None
    memory: bool = False


def module(name: str) -> ModuleType:
    """The file of a published result; ValueError for a name that there is not."""
    if name not in NAMES:
        raise ValueError(f"there is no published result {name!r}; there are {', '.join(NAMES)}")
    return importlib.import_module(f"vgfast.published.{name.replace('-', '_')}")


def check(name: str, folder: Path | None) -> None:
    """ValueError for a name that there is not, or if it needs files and no folder was named."""
    if module(name).FILES and folder is None:
        raise ValueError(f"{name} needs the whole of MNIST. {WHERE}")


def run(
    name: str, quick: bool = False, folder: Path | None = None, tell: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """Plain data; ValueError as of ``check``. ``tell`` hears of what takes long, as it goes."""
    check(name, folder)
    source = module(name)
    start = time.perf_counter()
    found = source.measure(quick=quick, folder=folder, **({"tell": tell} if source.FILES else {}))
    rows = source.rows(found)
    return {
        "name": name,
        "quick": quick,
        "source": " ".join(source.SOURCE.split()),
        "holds": all(row.holds is not False for row in rows),
        "rows": [row._asdict() for row in rows],
        "found": plain(found),
        "seconds": time.perf_counter() - start,
    }


def begin(name: str, console: Any) -> None:
    """Whose number it is, and what we do."""
    source = module(name)
    console.print(f"[bold]{name}[/bold]: {source.TITLE}", highlight=False)
    show_text("Published by", source.SOURCE, console)
    show_text("Here.", source.ABOUT, console)


def end(result: dict[str, Any], console: Any) -> None:
    """Published beside ours."""
    rows = [Row(**row) for row in result["rows"]]
    words = {True: "holds", False: "DOES NOT HOLD", None: "not tried"}
    cells = [(r.what, r.published + " *" * r.memory, r.ours, words[r.holds]) for r in rows]
    notes = "* quoted from memory: not checked against the source" if any(row.memory for row in rows) else ""
    show_table(Table(("", "published", "here", ""), cells, notes), console)
    held, untried = (sum(row.holds is what for row in rows) for what in (True, None))
    text = f"{held} of {len(rows)} hold" + f", {untried} were not tried" * (untried > 0)
    console.print(f"\n{text}, in {result['seconds']:.1f} s.", highlight=False)
