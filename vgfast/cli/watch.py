"""``vgfast watch``."""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from vgfast.cli import streams


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "watch",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="run a script, and show its trainings in the browser meanwhile",
        description="""\
Run a Python script, as python would, and show every fit in it on a page in
the browser, live: loss, gradients layer by layer, ledger and verdict. Gradients
need inspected steps: fit(..., inspect_every=10), or --inspect-every. The page is
on 127.0.0.1 alone, at an address with a token; where there is no display, open
the address that is printed. A browser that is slow or gone does not slow the
training. When the script has ended, the page stays until Ctrl-C. If it raises,
the page shows its last state and the error; traceback and exit status are
Python's own.""",
        epilog="example: vgfast watch --inspect-every 10 train.py --epochs 20",
    )
    add_page(parser)
    parser.add_argument(
        "--inspect-every",
        type=int,
        default=0,
        metavar="N",
        help="inspect every N-th step of trainings that inspect none, but for those with a Checkpoint or with reduce, "
        "which compare that number; changes no bit of their nets",
    )
    parser.add_argument("--close", action="store_true", help="close the page when the script has ended")
    parser.add_argument("script", type=Path, metavar="SCRIPT", help="the file to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    parser.set_defaults(run=run)
    return parser


def add_page(parser: argparse.ArgumentParser) -> None:
    """What commands with a page have in common."""
    parser.add_argument("--port", type=int, default=8765, metavar="N", help="where to listen, or on the next free port")
    parser.add_argument("--no-browser", action="store_true", help="open no browser, only print the address")


def run(arguments: argparse.Namespace) -> None:
    from vgfast import _check
    from vgfast.live.watch import Watch
    from vgfast.training.callbacks import watching

    every = _check.integer("--inspect-every", arguments.inspect_every, 0, _check.MOST_ELEMENTS)
    if not arguments.script.is_file():
        raise OSError(f"there is no script {str(arguments.script)!r} to run; name a file of Python")
    watch = Watch(f"{arguments.script.name}", _check.integer("--port", arguments.port, 0, 65535))
    show(watch, arguments)
    watching.callbacks.append(watch)
    watching.inspect_every, before = every, watching.inspect_every
    try:
        status = _run_script(arguments.script, arguments.arguments, watch)
    finally:
        watching.callbacks.remove(watch)
        watching.inspect_every = before
    if not arguments.close:
        stay("the script has ended")
    watch.close()
    if status is not None:
        raise SystemExit(status)


def show(page: Any, arguments: argparse.Namespace) -> None:
    """Open it, and print where it is: for programs on stdout."""
    from vgfast.show.page import server

    if page.notice:
        streams.complain(page.notice)
    if not arguments.no_browser:
        server.open_browser(page.address)
    if arguments.json:
        print(json.dumps({"address": page.address}), flush=True)
    else:
        print(f"the page is at {page.address}", file=sys.stderr, flush=True)


def stay(why: str) -> None:
    """Until Ctrl-C."""
    print(f"{why}; the page stays until Ctrl-C", file=sys.stderr, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(file=sys.stderr)


def _run_script(script: Path, arguments: list[str], watch: Any) -> Any:
    """The status to exit with, None where the script has ended by itself; what it raises is told as Python does."""
    argv, path = sys.argv, sys.path[:]
    sys.argv, sys.path[0:0] = [str(script), *arguments], [str(script.resolve().parent)]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as error:
        watch.end("" if error.code in (None, 0) else f"The script has ended with {error.code!r}.")
        return error.code
    except BaseException as error:
        watch.end(f"{type(error).__name__}: {error}")
        sys.excepthook(type(error), error.with_traceback(_of_script(error, script)), error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            watch.close()
            raise SystemExit(130) from None
        return 1
    else:
        watch.end()
        return None
    finally:
        sys.argv, sys.path[:] = argv, path


def _of_script(error: BaseException, script: Path) -> TracebackType | None:
    """The traceback from the script on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(script):
        trace = trace.tb_next
    return trace
