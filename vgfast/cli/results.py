"""What has been measured is given, whatever happens: not printed, not drawn or not finished, the rest is not lost."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vgfast.cli import streams


def need(command: str, modules: Sequence[str], extra: str) -> None:
    """Import the modules, or end with what to install."""
    from vgfast._check.packages import INSTALLED_AS

    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            packages = [INSTALLED_AS.get(name, name) for name in modules]
            listed = " and ".join(part for part in (", ".join(packages[:-1]), packages[-1]) if part)
            raise SystemExit(
                f"vgfast: the {command} needs {error.name or module}, which is not installed; install "
                f"{listed} with: pip install 'vgfast[{extra}]'"
            ) from None


def add_html(parser: argparse.ArgumentParser, page: str) -> None:
    """The flag for a page in place of the picture."""
    parser.add_argument(
        "--html", action="store_true", help=f"save {page}, in place of the picture; it opens in any browser, offline"
    )


def check_picture(folder: Path | None, command: str) -> None:
    """Before the work is done, that its picture can be."""
    if folder is not None:
        need(f"picture of {command}", ("matplotlib",), "demo")
        from vgfast.files import folders

        folders.check(folder)


def deliver(
    data: dict[str, Any],
    show: Callable[[], Any],
    arguments: argparse.Namespace,
    save: Callable[[], Path] | None = None,
    about: str = "The picture",
    saved: str = "picture",
) -> None:
    """Print the numbers, as ``show`` does or as JSON, and save the picture, whose path becomes ``data["picture"]``;
    or what else is ``saved``, by that name.

    Numbers that cannot be printed are written to a file, but not where nobody reads on; of what then is not as it was
    to be, OSError says so.
    """
    undrawn: BaseException | None = None
    unread: streams.Unprinted | None = None
    folder = getattr(arguments, "out", None) or Path()
    if arguments.json and save is not None:
        undrawn = _draw(data, saved, save)
    try:
        print(json.dumps(data, indent=2, allow_nan=False)) if arguments.json else show()
        sys.stdout.flush()
    except Exception as error:
        if not (isinstance(error, streams.Unprinted) and error.unread):
            where = _keep(data, arguments.command, folder)
            raise OSError(f"the numbers could not be printed ({_reason(error)}); {where}") from error
        unread = error
    if not arguments.json and save is not None:
        undrawn = _draw(data, saved, save)
        if undrawn is None:
            print(f"{about}: {data[saved]}")
    if isinstance(undrawn, Exception):
        raise OSError(f"the {saved} could not be saved ({_reason(undrawn)}); the numbers are complete without it")
    if undrawn is not None:
        raise undrawn
    if unread is not None:
        raise unread


def _draw(data: dict[str, Any], saved: str, save: Callable[[], Path]) -> BaseException | None:
    """What kept it from being done; an interruption, too, must wait until the numbers are given."""
    try:
        data[saved] = str(save())
    except BaseException as error:
        return error
    return None


def _keep(data: dict[str, Any], command: str, folder: Path) -> str:
    """Where the numbers are now, in words."""
    from vgfast.show.data import plain

    for place in (folder, Path(tempfile.gettempdir())):
        with suppress(OSError):
            handle, path = tempfile.mkstemp(".json", f"vgfast-{command}-", place.resolve())
            try:
                with open(handle, "w") as file:
                    json.dump(plain(data), file, indent=2)
            except OSError:
                os.unlink(path)
                raise
            return f"they are in {path}"
    return "nor could they be written to a file"


def _reason(error: BaseException) -> str:
    """In one line."""
    if isinstance(error, streams.Unprinted):
        return str(error.strerror)
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, OSError) and first else f"{type(error).__name__}: {first}".rstrip(": ")


@contextmanager
def given(so_far: dict[str, Any], give: Callable[[], None]) -> Iterator[None]:
    """What comes within fills ``so_far``, which is given at its end; and, where it fails or is interrupted after it has
    found something, before that error goes on."""
    try:
        yield
    except BaseException:
        if so_far:
            give()
        raise
    give()


def list_titles(titles: dict[str, str], arguments: argparse.Namespace) -> None:
    """A name and its title each, 80 columns wide."""
    if arguments.json:
        print(json.dumps(titles, indent=2))
        return
    from vgfast.show.table import WIDTH

    widest = max(map(len, titles)) + 2
    for name, title in titles.items():
        print(*textwrap.wrap(f"{name:<{widest}}{title}", WIDTH, subsequent_indent=" " * widest), sep="\n")
    print(f"\nRun one with: vgfast {arguments.command} NAME")
