"""Paragraphs and tables on a console of the package rich."""

from __future__ import annotations

from typing import Any

from vgfast.show.spelling import spelled
from vgfast.show.table import Table, lines


def print_lines(text: list[str], console: Any) -> None:
    """Each as it is."""
    for line in text:
        console.print(line, markup=False, highlight=False)


def print_paragraph(heading: str, text: str, console: Any) -> None:
    """A paragraph with its heading, filled to the width."""
    console.print(f"\n[bold]{heading}[/bold] {' '.join(text.split())}", highlight=False)


def print_table(table: Table, console: Any) -> None:
    """The first column to the left, the others to the right; below, the notes."""
    rows = [[spelled(cell, console.encoding) for cell in row] for row in table.rows]  # before columns are measured
    console.print()
    print_lines(lines(table._replace(rows=rows), gap=3, width=console.width), console)
    if table.notes:
        console.print(table.notes, highlight=False)
