"""``vgfast lesson``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vgfast.cli.results import add_html, deliver, list_titles, need
from vgfast.cli.streams import console


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "lesson",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="see on real data what is said of vanishing and exploding gradients",
        description="""\
Run a lesson: what is claimed of vanishing and exploding gradients, or of the
ways out, what we do, what you should see, and then what you did see, in
sentences with their numbers, a table and a picture. Without a NAME: the list.
Each takes less than a minute, with --deep some minutes.
Needs the extra vgfast[lessons].""",
        epilog="""\
example: vgfast lesson vanishing --out pictures
  sends images back through nets of 1 to 12 hidden layers of sigmoids, and shows
  what is left of the gradient at each layer, and what theory says: 0.2 of it
  a layer. The picture is pictures/lesson-vanishing.png.""",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which lesson (default: list them)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="picture's folder (default: here)")
    add_html(parser, "a page with its words, table and picture")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="less of everything, in some seconds")
    size.add_argument("--deep", action="store_true", help="of isometry: ReZero with 10,000 layers, in some minutes")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast import lessons

    if arguments.name is None:
        return list_titles({name: lessons.module(name).TITLE for name in lessons.NAMES}, arguments)
    lessons.module(arguments.name)
    if arguments.deep:
        lessons.check_deep(arguments.name)
    need("lesson", ("rich", "matplotlib", *lessons.NEEDS[arguments.name]), "lessons")
    from vgfast.files import folders

    saved, kind = ("page", "html") if arguments.html else ("picture", "png")
    folders.check(arguments.out, saved)
    out, path = console(), lessons.path_of(arguments.name, arguments.out, kind)
    if not arguments.json:
        lessons.begin(arguments.name, out)
    result = lessons.run(arguments.name, arguments.quick, arguments.deep)

    def save() -> Path:
        (lessons.save_page if arguments.html else lessons.save)(result, path)
        return path

    data = {**lessons.plain_result(result), saved: None}
    deliver(data, lambda: lessons.end(result, out), arguments, save, f"The {saved}", saved)
    if not result["holds"]:
        raise ValueError(f"what lesson {arguments.name} claims did not come out here; the sentences above say what did")
