"""``vgfast reproduce``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vgfast.cli.results import deliver, list_titles, need
from vgfast.cli.streams import console


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "reproduce",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="compare published numbers with those that come out here",
        description="""\
Compute again what others have published: their number, ours, over many seeds
where theirs had none, and whether it holds. Without a NAME: the list. Needs the
extra vgfast[lessons]; two need the files of MNIST, too.""",
        epilog="""\
example: vgfast reproduce nielsen-speed
  draws Nielsen's three nets anew 400 times, and shows for each layer his speed
  of learning and what 90 % of ours have.
with files: vgfast reproduce softmax-regression --mnist DIR""",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which result (default: list them)")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="where the IDX files of MNIST are, gzipped or not")
    parser.add_argument("--quick", action="store_true", help="fewer seeds and epochs, in some seconds")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast import published

    if arguments.name is None:
        return list_titles({name: published.module(name).TITLE for name in published.NAMES}, arguments)
    published.check(arguments.name, arguments.mnist)
    need("reproduction", ("rich",), "lessons")
    out = console()
    if not arguments.json:
        published.begin(arguments.name, out)

    def show(now: Any) -> None:
        if sys.stderr.isatty():
            print(f"\r{now.iterations:,} iterations, validation {now.valid:.2%} wrong", end="", file=sys.stderr)

    try:
        result = published.run(arguments.name, arguments.quick, arguments.mnist, show)
    except ImportError as error:  # of a package with data, where no files stand in for it
        raise SystemExit(f"vgfast: {error}") from None
    deliver(result, lambda: published.end(result, out), arguments)
    if not result["holds"]:
        raise ValueError(f"not all that was published for {arguments.name} came out here")
