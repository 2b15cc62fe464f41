"""The two streams of the command: they take any text, and a sentence says what they do not take at all."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vgfast.show import spelling


class Unprinted(OSError):
    """What was printed does not go out."""

    @property
    def unread(self) -> bool:
        """Whether nobody reads it any more: who has read has seen enough, as head does."""
        return self.errno == errno.EPIPE

    def __str__(self) -> str:
        return f"standard output does not take what is printed ({self.strerror}); send it elsewhere"


class _Output:
    """stdout, which fails with ``Unprinted``, and then for good."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._failed: Unprinted | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        return self._attempt(self._stream.write, text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, do: Callable[..., Any], *arguments: str) -> Any:
        if self._failed is not None:
            raise self._failed
        try:
            return do(*arguments)
        except OSError as error:
            self._failed = Unprinted(error.errno, error.strerror)
            with suppress(OSError, ValueError):  # what is left goes nowhere, or Python would try again at its end
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, self._stream.fileno())
                os.close(devnull)
            raise self._failed from None


@contextmanager
def any_text() -> Iterator[None]:
    """Within this context, what stdout or stderr cannot take is spelled plainly, or raises ``Unprinted``.

    OSError if stdout is closed.
    """
    out, err = sys.stdout, sys.stderr
    if err is None:  # closed: what is said of errors must not go to a file that happens to be opened in its place
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    before = [(s, s.errors) for s in (out, err) if isinstance(s, io.TextIOWrapper)]
    for stream, _ in before:
        stream.reconfigure(errors=spelling.ERRORS)
    try:
        if out is None:
            raise OSError("standard output is closed, so that nothing can be told; leave it open, or send it to a file")
        sys.stdout = _Output(out)  # type: ignore[assignment]
        yield
    finally:
        sys.stdout = out
        for stream, errors in before:
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)
        if err is None:
            sys.stderr.close()
            sys.stderr = err


def complain(sentence: object) -> None:
    """On stderr; where that takes nothing, the exit status has to do."""
    with suppress(OSError):
        print(f"vgfast: {sentence}", file=sys.stderr, flush=True)


def console(stderr: bool = False) -> Any:
    """A rich Console that leaves a broken pipe to the caller, as it does with other errors, instead of exiting."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise

    return Plain(stderr=stderr)
