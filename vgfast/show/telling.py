"""What lessons and reproductions print: text and tables of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vgfast.show.spelling import spelled


class Table(NamedTuple):
    """Headings and rows of text; ``notes``: what the headings mean, where they do not say it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""


class Row(NamedTuple):
    """``what``, as published and as found here, and whether they agree: None if that was not tried. ``memory``: the
    published number is quoted from memory and has not been checked against its source."""

    what: str
    published: str
    ours: str
    holds: bool | None
    memory: bool = False


def show_text(heading: str, text: str, console: Any) -> None:
    """A paragraph with its heading, filled to the width."""
    console.print(f"\n[bold]{heading}[/bold] {' '.join(text.split())}", highlight=False)


def show_table(table: Table, console: Any) -> None:
    """The first column to the left, the others to the right."""
    from rich import box
    from rich.table import Table as Rich

    rich = Rich(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    for number, heading in enumerate(table.headings):
        rich.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        rich.add_row(*(spelled(cell, console.encoding) for cell in row))  # before the columns are measured
    console.print()
    console.print(rich)
    if table.notes:
        console.print(table.notes, highlight=False)
