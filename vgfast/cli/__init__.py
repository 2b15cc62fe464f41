"""The command ``vgfast``. Exit status: 0 done, 1 failed with a sentence, 2 wrong usage, 130 interrupted.

A file a command, with ``add``, its place on the command line, and ``run``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vgfast.cli import bench, cost, demo, info, ladder, lesson, play, reproduce, streams, watch

_COMMANDS = (demo, play, watch, info, bench, cost, ladder, lesson, reproduce)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vgfast",
        description="Dense networks that train fast on the CPU and tell where their gradient went.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for command in _COMMANDS:
        command.add(commands).add_argument("--json", action="store_true", help="print data for a program instead")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        with streams.any_text():
            return _status(arguments)
    except OSError as error:
        streams.complain(error)
        return 1


def _status(arguments: Sequence[str] | None) -> int:
    try:
        try:
            parsed = _parser().parse_args(arguments)
        except SystemExit:  # --help has been printed, if it could be
            sys.stdout.flush()
            raise
        _run(parsed)
        sys.stdout.flush()
    except streams.Unprinted as error:
        if not error.unread:
            streams.complain(error)
        return 1
    except (OSError, ValueError) as error:
        streams.complain(error)
        return 1
    except KeyboardInterrupt:
        streams.complain("interrupted")
        return 130
    return 0


def _run(parsed: argparse.Namespace) -> None:
    """The command, whose lack of memory is told in a sentence too: of what has a size, take less."""
    try:
        parsed.run(parsed)
    except MemoryError as error:
        what = f"there is not enough memory for this ({str(error) or 'MemoryError'})"
        raise ValueError(what + "; take smaller sizes or a smaller --batch" * hasattr(parsed, "batch")) from None
