"""``vgfast info``."""

from __future__ import annotations

import argparse
from typing import Any

from vgfast.cli.results import deliver


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "info",
        help="show version, instruction set, threads, and what this machine can do at best",
        description="Show version, instruction set and number of threads, and what this machine can do at best: "
        "multiply-adds by instruction set, type and threads, the product of a layer, activations, bytes to and from "
        "each cache and memory, and what a barrier costs threads. Measured in about two seconds, with its spread, and "
        "kept until the machine starts again.",
    )
    parser.add_argument("--refresh", action="store_true", help="measure again")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast import config
    from vgfast.cost import machine
    from vgfast.cost.limits import limits

    here = limits(arguments.refresh)

    def show() -> None:
        config.show_config()
        print("", *machine.as_lines(here), sep="\n")

    deliver({**config.describe(), "limits": here.to_dict()}, show, arguments)
