"""``vgfast reproduce``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
extra vgfast[lessons]; six need the files of MNIST, too, and four of these go on
where they were stopped, with --state. Others need those of Fashion-MNIST.""",
        epilog="""\
example: vgfast reproduce nielsen-speed
  draws Nielsen's three nets anew 400 times, and shows for each layer his speed
  of learning and what 90 % of ours have.
with files: vgfast reproduce softmax-regression --mnist DIR
            vgfast reproduce batch-norm --fashion DIR
in parts: vgfast reproduce deep-belief-net --mnist DIR --state DIR --minutes 30""",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which result (default: list them)")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="where the IDX files of MNIST are, gzipped or not")
    parser.add_argument("--fashion", type=Path, metavar="DIR", help="the same of Fashion-MNIST")
    parser.add_argument("--quick", action="store_true", help="fewer seeds and epochs, in some seconds")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep what a long one has reached there, and go on")
    parser.add_argument("--minutes", type=float, metavar="M", help="end a long one after the epoch that reaches this")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast import published

    if arguments.name is None:
        return list_titles({name: published.module(name).TITLE for name in published.NAMES}, arguments)
    given = arguments.state, arguments.minutes, arguments.fashion
    published.check(arguments.name, arguments.mnist, *given)
    need("reproduction", ("rich",), "lessons")
    out = console()
    if not arguments.json:
        published.begin(arguments.name, out)
    try:
        with shown(published.resumes(arguments.name)) as show:
            result = published.run(arguments.name, arguments.quick, arguments.mnist, show, *given)
    except ImportError as error:  # of a package with data, where no files stand in for it
        raise SystemExit(f"vgfast: {error}") from None
    deliver(result, lambda: published.end(result, out), arguments)
    if not result["holds"]:
        raise ValueError(f"not all that was published for {arguments.name} came out here")


@contextmanager
def shown(long: bool) -> Iterator[Callable[[Any], None]]:
    """A function that shows how far it is, on stderr. Of a long run a bar, and where there is no terminal a line for
    each epoch; of another one a line that replaces itself, or nothing."""
    if not long:

        def replace(now: Any) -> None:
            if sys.stderr.isatty():
                print(f"\r{now}", end="", file=sys.stderr)

        yield replace
        return
    from vgfast.show.progress import Bar

    with Bar(console(stderr=True), 1) as bar:

        def reach(now: Any) -> None:
            if bar.shown:
                bar.reach(now.share, str(now))
            else:
                print(now, file=sys.stderr, flush=True)

        yield reach
