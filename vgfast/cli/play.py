"""``vgfast play``."""

from __future__ import annotations

import argparse
from typing import Any

from vgfast.cli import watch


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "play",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="change a net on a page in the browser, and see its gradient die and come back",
        description="""\
Open a page with a net to be changed: data, depth, width, activation, first
weights, normalization, skips, dropout, optimizer, rate. Beside it are the
gradient of each layer now, the ledger, theory, frozen weights and the decision
surface. Presets are the claims of the lessons. The address in the browser holds
the whole state, to be shared: whoever opens it comes to the same bits. Digits
need scikit-learn, faces scikit-image. The page is on 127.0.0.1 alone, until
Ctrl-C.""",
        epilog="example: vgfast play",
    )
    watch.add_page(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast import _check
    from vgfast.play.session import Session

    with Session(_check.integer("--port", arguments.port, 0, 65535)) as session:
        watch.show(session, arguments)
        watch.stay("the net waits")
