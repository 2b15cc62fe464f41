"""``vgfast watch``."""

from __future__ import annotations

import argparse
import builtins
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from vgfast.cli import streams
from vgfast.show import PORT


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
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help="where to listen, or on the next free port")
    parser.add_argument("--no-browser", action="store_true", help="open no browser, only print the address")


def run(arguments: argparse.Namespace) -> None:
    from vgfast import _check
    from vgfast.live.watch import Watch
    from vgfast.training.callbacks import watching

    every = _check.integer("--inspect-every", arguments.inspect_every, 0, _check.MOST_ELEMENTS)
    if not arguments.script.is_file():
        raise OSError(f"there is no script {str(arguments.script)!r} to run; name a file of Python")
    watch, process = Watch(arguments.script.name, _check.integer("--port", arguments.port, 0, 65535)), os.getpid()
    show(watch, arguments)
    watching.callbacks.append(watch)
    watching.inspect_every, before = every, watching.inspect_every
    try:
        with _as_main(arguments.script, arguments.arguments) as main:
            status = _run_script(main, watch)
            if os.getpid() == process:  # and not that of a fork, which ends where the script does
                if not arguments.close:
                    stay("the script has ended")
                watch.close()
    finally:
        watching.callbacks.remove(watch)
        watching.inspect_every = before
    if status:
        raise SystemExit(status)


def show(page: Any, arguments: argparse.Namespace) -> None:
    """Print where it is, for programs on stdout, and open it."""
    from vgfast.show.page.browser import open_browser

    if page.notice:
        streams.complain(page.notice)
    if arguments.json:
        print(json.dumps({"address": page.address}), flush=True)
    else:
        print(f"the page is at {page.address}", file=sys.stderr, flush=True)
    if not arguments.no_browser:
        open_browser(page.address)


def stay(why: str) -> None:
    """Until Ctrl-C."""
    print(f"{why}; the page stays until Ctrl-C", file=sys.stderr, flush=True)
    try:
        while True:
            time.sleep(1)  # and not all the time: Python does not end a wait for a Ctrl-C that comes as it begins
    except KeyboardInterrupt:
        print(file=sys.stderr)


@contextmanager
def _as_main(script: Path, arguments: list[str]) -> Iterator[ModuleType]:
    """The module that a script is, with what it finds in ``sys``: beyond its end, for threads that go on."""
    before, threads = (sys.argv, sys.path[:], sys.modules["__main__"]), _lasting_threads()
    sys.argv, sys.path[0:0] = [str(script), *arguments], [str(script.resolve().parent)]
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__dict__.update(__file__=os.path.abspath(script), __builtins__=builtins)
    try:
        yield main
    finally:
        if _lasting_threads() <= threads:  # else those of the script go on in it, until the process ends
            sys.argv, sys.path[:], sys.modules["__main__"] = before


def _lasting_threads() -> set[threading.Thread]:
    """For which a process waits before it ends."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _run_script(main: Any, watch: Any) -> int:
    """The status to exit with; what it raises is told as Python does."""
    try:
        exec(compile(Path(main.__file__).read_bytes(), main.__file__, "exec", dont_inherit=True), main.__dict__)
    except BaseException as error:
        return _told(error, main.__file__, watch)
    watch.end()
    return 0


def _told(error: BaseException, file: str, watch: Any) -> int:
    """The status to exit with, when the page and stderr have it."""
    from vgfast.live.watch import in_words

    if isinstance(error, SystemExit):
        code = error.code
        status = code if isinstance(code, int) else 0 if code is None else 1
        watch.end(f"The script has ended with {code!r}." if status else "")
        if status and not isinstance(code, int):
            print(code, file=sys.stderr, flush=True)
        return status
    watch.end(in_words(error))
    sys.excepthook(type(error), error.with_traceback(_of_script(error, file)), error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        watch.close()
        raise SystemExit(130)
    return 1


def _of_script(error: BaseException, file: str) -> TracebackType | None:
    """The traceback from the script on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return trace
