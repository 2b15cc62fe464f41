"""The command ``vgfast``. Exit status: 0 done, 1 failed with a sentence, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def _demo(arguments: argparse.Namespace) -> None:
    try:
        import matplotlib  # noqa: F401
        import sklearn  # noqa: F401
        from rich.console import Console
    except ImportError as error:
        raise SystemExit(
            f"vgfast: the demo needs {error.name}, which is not installed; "
            f"install scikit-learn, rich and matplotlib with: pip install 'vgfast[demo]'"
        ) from None
    from vgfast import demo

    demo.check_folder(arguments.out)
    result = demo.run() if arguments.json else demo.watched_run(Console(stderr=True))
    picture = demo.save_picture(result, arguments.out)
    if arguments.json:
        print(json.dumps(demo.as_json(result, picture), indent=2, allow_nan=False))
    else:
        demo.show(result, picture, Console())


def _info(arguments: argparse.Namespace) -> None:
    from vgfast import config

    if arguments.json:
        print(json.dumps(config.describe(), indent=2))
    else:
        config.show_config()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vgfast",
        description="Dense networks that train fast on the CPU and tell where their gradient went.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a shallow, a deep and a cured net on digits and show their gradients",
        description="Train three nets on scikit-learn's handwritten digits: one hidden layer of sigmoids, eight, "
        "and eight of ReLUs with He's first weights. Shows accuracy, gradients by layer and a verdict, and "
        "saves a picture. Takes a few seconds. Needs the extra vgfast[demo].",
    )
    demo.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the picture goes (default: here)")
    demo.set_defaults(run=_demo)
    info = commands.add_parser("info", help="show version, instruction set and number of threads")
    info.set_defaults(run=_info)
    for command in (demo, info):
        command.add_argument("--json", action="store_true", help="print data for a program instead")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        print(f"vgfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vgfast: interrupted", file=sys.stderr)
        return 130
    return 0
