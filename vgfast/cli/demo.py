"""``vgfast demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vgfast.cli.results import add_html, deliver, need
from vgfast.cli.streams import console

PICTURE, PAGE = "vanishing-gradient.png", "vanishing-gradient.html"


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "demo",
        help="train a shallow, a deep and a cured net on digits and show their gradients",
        description="Train three nets on scikit-learn's handwritten digits: one hidden layer of sigmoids, eight, "
        "and eight of ReLUs with He's first weights. Shows accuracy, gradients by layer and a verdict, and "
        "saves a picture. Takes a few seconds. Needs the extra vgfast[demo]. The same with more words: "
        "vgfast lesson demo.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the picture goes (default: here)"
    )
    add_html(parser, "a page with all inspected steps of the three, layer by layer")
    parser.add_argument(
        "--mpi",
        action="store_true",
        help="train one net by all processes of: mpiexec -n 2 vgfast demo --mpi; and compare it with one process's, "
        "without a picture; needs vgfast[mpi]",
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    if arguments.mpi:
        if arguments.html:
            raise ValueError("--mpi compares trainings of which no page is made; leave out --html, or --mpi")
        from vgfast.cli import demo_mpi

        demo_mpi.run(arguments)
        return
    need("demo", ("sklearn", "rich", "matplotlib"), "demo")
    from vgfast import lessons
    from vgfast.files import folders

    saved, name = ("page", PAGE) if arguments.html else ("picture", PICTURE)
    folders.check(arguments.out, saved)
    result = lessons.run("demo")

    def save() -> Path:
        path = (arguments.out / name).resolve()
        if arguments.html:
            lessons.save_page(result, path, brief=True)
        else:
            lessons.save(result, path)
        return path

    data = {**_data(result["found"]), saved: None}
    deliver(data, lambda: _show(result), arguments, save, "Gradient norm, layer x step", saved)


def _data(found: dict[str, Any]) -> dict[str, Any]:
    """For programs: without the norms of every inspected step, which are for the picture."""
    left_out = ("inspected", "norms")
    nets = [{name: of for name, of in net.items() if name not in left_out} for net in found["nets"]]
    return {**found, "nets": nets}


def _show(result: dict[str, Any]) -> None:
    """The table, and each net's verdict."""
    from vgfast.show.console import print_table
    from vgfast.show.table import Table

    out = console()
    print_table(Table(**result["table"]), out)
    out.print()
    for net in result["found"]["nets"]:
        out.print(f"{net['name']}, {net['verdict']}: {net['explanation']}", highlight=False)
