"""``vgfast reproduce``: numbers that others have published, and ours.

One file a source. Each has

    TITLE    one line
    SOURCE   who published it, where
    ABOUT    the settings, and what we do
    FILES    of MNIST's files, which vgfast does not bring: True if it needs them, at ``folder``, None if it takes them
             where they are, and False if it has no use for them
    FASHION  the same of Fashion-MNIST's, at ``fashion``; False where it is not there. Where both are True, it needs
             one of the two
    RESUMES  True, where it is there, for what takes long and goes on where it was
    measure  (quick=False, folder=None) -> what was found, as plain data; where it takes Fashion-MNIST's files also
             fashion=; where it does, or needs MNIST's, progress=, which is called with each validation or epoch; and
             where it resumes, state=, the folder for what it has reached, and minutes=, after which it ends
    rows     (found) -> a ``Row`` for each published number

>>> from vgfast.published import selu
>>> all(row.holds for row in selu.rows(selu.measure(quick=True)))
True
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from vgfast import _check
from vgfast.datasets import idx
from vgfast.published.files import training_images
from vgfast.published.rows import Row, around, enclosed, near
from vgfast.show.console import print_paragraph, print_table
from vgfast.show.data import plain
from vgfast.show.table import Table

__all__ = [
    "NAMES",
    "Row",
    "around",
    "begin",
    "check",
    "enclosed",
    "end",
    "module",
    "near",
    "resumes",
    "run",
    "training_images",
]

NAMES = (
    "nielsen-speed",
    "nielsen-depth",
    "softmax-regression",
    "tanh-mlp",
    "selu",
    "tanh-critical",
    "isometry",
    "relu-width",
    "he-depth",
    "d2l",
    "glorot",
    "digits-pretraining",
    "rbm-features",
    "few-labels",
    "five-layers",
    "rezero",
    "batch-norm",
    "fashion-mlp",
    "pcd-rbm",
    "stacked-autoencoder",
    "deep-belief-net",
    "deep-autoencoder",
)

# Where people get what cannot be brought along.
WHERE = (
    "The four files of MNIST, train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz, 11 MB, are at https://ossci-datasets.s3.amazonaws.com/mnist/ and "
    "https://storage.googleapis.com/cvdf-datasets/mnist/; put them in a folder and name it with --mnist"
)
WHERE_FASHION = (
    "The four files of Fashion-MNIST, which have the names of MNIST's, 31 MB, are at "
    "https://github.com/zalandoresearch/fashion-mnist in data/fashion, and in Debian's package dataset-fashion-mnist; "
    "put them in a folder and name it with --fashion"
)


def module(name: str) -> ModuleType:
    """The file of a published result; ValueError for a name that there is not."""
    if name not in NAMES:
        raise ValueError(f"there is no published result {name!r}; there are {', '.join(NAMES)}")
    return importlib.import_module(f"vgfast.published.{name.replace('-', '_')}")


def check(
    name: str,
    folder: Path | None,
    state: Path | None = None,
    minutes: float | None = None,
    fashion: Path | None = None,
) -> None:
    """ValueError for a name that there is not, if it needs files and no folder was named, or if one was and it has no
    use for it, or none for state or minutes; the errors of ``idx.check_folder``."""
    given = [f"{option} {value}" for option, value in (("--state", state), ("--minutes", minutes)) if value is not None]
    if given and not resumes(name):
        takers = ", ".join(taker for taker in NAMES if resumes(taker))
        raise ValueError(f"{name} ends soon, got {' '.join(given)}; leave that out, which is for {takers}")
    if minutes is not None:
        _check.real("--minutes", minutes, 0, above=True)
    _check_use(name, "MNIST", "--mnist", folder, mnist_use)
    _check_use(name, "Fashion-MNIST", "--fashion", fashion, fashion_use)
    wanted = [("MNIST", WHERE, folder)] if mnist_use(name) else []
    wanted += [("Fashion-MNIST", WHERE_FASHION, fashion)] if fashion_use(name) else []
    if wanted and all(named is None for *_, named in wanted):
        whole, where = " or of ".join(data for data, *_ in wanted), ". ".join(where for _, where, _ in wanted)
        raise ValueError(f"{name} needs the whole of {whole}. {where}")
    if folder is not None and fashion is not None:
        raise ValueError(f"{name} takes one data set, got --mnist {folder} and --fashion {fashion}; leave one out")


def _check_use(name: str, data: str, option: str, folder: Path | None, use: Callable[[str], bool | None]) -> None:
    """Of a folder that was named for this data set."""
    if folder is None:
        return
    if use(name) is False:
        takers = ", ".join(taker for taker in NAMES if use(taker) is not False)
        raise ValueError(f"{name} has no use for {data}, got {folder}; leave out {option}, which is for {takers}")
    idx.check_folder(folder, data)


def mnist_use(name: str) -> bool | None:
    """Whether it needs the files of MNIST; None if it takes them where they are."""
    use: bool | None = module(name).FILES
    return use


def fashion_use(name: str) -> bool | None:
    """The same of Fashion-MNIST's."""
    return getattr(module(name), "FASHION", False)


def resumes(name: str) -> bool:
    """Whether it goes on where an earlier run was."""
    return getattr(module(name), "RESUMES", False)


def run(
    name: str,
    quick: bool = False,
    folder: Path | None = None,
    progress: Callable[[Any], Any] | None = None,
    state: Path | None = None,
    minutes: float | None = None,
    fashion: Path | None = None,
) -> dict[str, Any]:
    """Plain data; errors as of ``check``. ``progress`` is called with what takes long, as it goes."""
    check(name, folder, state, minutes, fashion)
    source = module(name)
    start = time.perf_counter()
    of_fashion = {"fashion": fashion} if fashion_use(name) is not False else {}
    told = {"progress": progress} if source.FILES or of_fashion else {}
    kept = {"state": state, "minutes": minutes} if resumes(name) else {}
    found = source.measure(quick=quick, folder=folder, **of_fashion, **told, **kept)
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
    print_paragraph("Published by", source.SOURCE, console)
    print_paragraph("Here.", source.ABOUT, console)


def end(result: dict[str, Any], console: Any) -> None:
    """What was published, and ours."""
    rows = [Row(**row) for row in result["rows"]]
    words = {True: "holds", False: "DOES NOT HOLD", None: "not tried"}
    cells = [(r.what, r.published + " *" * r.memory, r.ours, words[r.holds]) for r in rows]
    notes = "* quoted from memory: not checked against the source" if any(row.memory for row in rows) else ""
    print_table(Table(("", "published", "here", ""), cells, notes), console)
    held, untried = (sum(row.holds is what for row in rows) for what in (True, None))
    text = f"{held} of {len(rows)} hold" + f", {untried} were not tried" * (untried > 0)
    console.print(f"\n{text}, in {result['seconds']:.1f} s.", highlight=False)
