"""One way to lay out a table: as text, or as HTML, which needs no script and no picture file."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Collection, Sequence
from typing import NamedTuple

# Columns of a terminal.
WIDTH = 80
# A notebook keeps the page in its file: of more rows than these, so many are shown, evenly chosen.
MOST_ROWS = 40


class Table(NamedTuple):
    """Headings, which may have several lines, and rows of text; ``notes``: what the headings mean, where they do not
    say it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""


class Layout:
    """Columns of known width, so that a row can be printed before the next is known. Those of ``left`` are aligned to
    the left, the others to the right.

    >>> layout = Layout((6, 5), left=(0,))
    >>> print(*layout.heading(("", "time\\nus")), layout.line(("tanh", "1.23")), sep="\\n")
            time
              us
    tanh    1.23
    """

    def __init__(self, widths: Sequence[int], left: Collection[int] = (0,), gap: int = 1) -> None:
        self.widths, self.left, self.gap = tuple(widths), left, gap

    @property
    def width(self) -> int:
        """Of a whole line."""
        return sum(self.widths) + self.gap * (len(self.widths) - 1)

    def line(self, cells: Sequence[str]) -> str:
        """A row; of fewer cells than columns, the first ones."""
        pairs = enumerate(zip(cells, self.widths, strict=False))
        aligned = (cell.ljust(width) if i in self.left else cell.rjust(width) for i, (cell, width) in pairs)
        return (" " * self.gap).join(aligned).rstrip()

    def heading(self, headings: Sequence[str]) -> list[str]:
        """As many lines as the tallest heading has; the others stand below."""
        return [self.line(cells) for cells in _stacked([heading.split("\n") for heading in headings], below=True)]

    def rule(self) -> str:
        """A line that separates."""
        return "─" * self.width


def _stacked(cells: Sequence[Sequence[str]], below: bool = False) -> list[tuple[str, ...]]:
    """Cells of several lines, line by line; short ones at the top, or below."""
    height = max(map(len, cells))
    blank = [[""] * (height - len(lines)) for lines in cells]
    filled = [[*b, *lines] if below else [*lines, *b] for b, lines in zip(blank, cells, strict=True)]
    return list(zip(*filled, strict=True))


def fit(rows: Sequence[Sequence[str]], left: Collection[int] = (0,), gap: int = 2, width: int = WIDTH) -> Layout:
    """The layout that these rows need, headings among them; with a narrow gap where there is not room for the other."""
    longest = (max(len(line) for cell in cells for line in cell.split("\n")) for cells in zip(*rows, strict=True))
    layout = Layout(list(longest), left, gap)
    return layout if layout.width <= width else Layout(layout.widths, left, 1)


def lines(table: Table, gap: int = 2, width: int = WIDTH) -> list[str]:
    """Headings, a rule, and rows, whose widest cells are wrapped where all would be wider than ``width``; a row of
    one cell may take the whole line."""
    whole = [row for row in (table.headings, *table.rows) if len(row) > 1]
    layout = fit(whole, gap=gap, width=width)
    if layout.width > width:
        layout = _narrowed(layout, whole, width)
    text = [*layout.heading(_wrapped(table.headings, layout)), layout.rule()]
    for row in table.rows:
        cells = _wrapped(row, layout) if len(row) > 1 else row
        text += [layout.line(line) for line in _stacked([cell.split("\n") for cell in cells])]
    return text


def _narrowed(layout: Layout, rows: Sequence[Sequence[str]], width: int) -> Layout:
    """The widest columns as narrow as the width demands, and no narrower than their longest word."""
    least = [max(len(word) for cell in cells for word in (*cell.split(), "")) for cells in zip(*rows, strict=True)]
    widths = list(layout.widths)
    while sum(widths) + layout.gap * (len(widths) - 1) > width:
        wide = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not wide:
            break
        widths[max(wide, key=lambda i: widths[i])] -= 1
    return Layout(widths, layout.left, layout.gap)


def _wrapped(cells: Sequence[str], layout: Layout) -> list[str]:
    """Cells whose lines are no longer than their columns."""
    pairs = zip(cells, layout.widths, strict=True)
    return ["\n".join(part for line in c.split("\n") for part in _parts(line, width)) for c, width in pairs]


def _parts(line: str, width: int) -> list[str]:
    return [line] if len(line) <= width else textwrap.wrap(line, width)


def on_one_line(heading: str) -> str:
    """Without its line breaks, and the hyphens before them.

    >>> on_one_line("\\neffi-\\nciency"), on_one_line("rows a\\nworker"), on_one_line("FLOP\\n/byte")
    ('efficiency', 'rows a worker', 'FLOP/byte')
    """
    return heading.replace("-\n", "").replace("\n/", "/").replace("\n", " ").strip()


def as_html(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    colours: Sequence[Sequence[str]] | None = None,
    what: str = "rows",
) -> str:
    """A table; with colours, each row ends with a cell that goes through the row's from left to right. A row of one
    cell takes the whole width. Of too many rows, some, and then a line that says so and calls the rows ``what``."""
    n = min(len(rows), MOST_ROWS)
    chosen = [round(i * (len(rows) - 1) / max(n - 1, 1)) for i in range(n)]
    cells = "".join(f"<th>{html.escape(on_one_line(heading))}</th>" for heading in headings)
    body = "".join(
        "<tr>" + _cells(rows[i], len(headings)) + ("" if colours is None else _strip(colours[i])) + "</tr>"
        for i in chosen
    )
    note = "" if len(chosen) == len(rows) else f"<p>{len(chosen)} of the {len(rows)} {what} are shown.</p>"
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cells(row: Sequence[str], n: int) -> str:
    """Of a table of n columns."""
    if len(row) == 1 < n:
        return f'<td colspan="{n}">{html.escape(row[0])}</td>'
    return "".join(f"<td>{html.escape(cell)}</td>" for cell in row)


def _strip(colours: Sequence[str]) -> str:
    """A cell whose background these colours are."""
    background = colours[0] if len(set(colours)) == 1 else f"linear-gradient(90deg,{','.join(colours)})"
    return f'<td style="background:{background}"></td>'
