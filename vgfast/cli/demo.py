"""``vgfast demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vgfast.cli.results import deliver, need
from vgfast.cli.streams import console


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "demo",
        help="train a shallow, a deep and a cured net on digits and show their gradients",
        description="Train three nets on scikit-learn's handwritten digits: one hidden layer of sigmoids, eight, "
        "and eight of ReLUs with He's first weights. Shows accuracy, gradients by layer and a verdict, and "
        "saves a picture. Takes a few seconds. Needs the extra vgfast[demo].",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the picture goes (default: here)"
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    need("demo", ("sklearn", "rich", "matplotlib"), "demo")
    from vgfast.lessons import demo
    from vgfast.show import figures

    figures.check_folder(arguments.out)
    result = demo.run() if arguments.json else demo.watched_run(console(stderr=True))
    deliver(
        demo.as_json(result),
        lambda: demo.show(result, console()),
        arguments,
        lambda: demo.save_picture(result, arguments.out),
        "Gradient norm, layer x step",
    )
