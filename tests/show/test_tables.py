"""How tables are laid out: in the width that there is, whatever is in their cells."""

import pytest

from vgfast.show.table import WIDTH, Layout, Table, as_html, fit, lines

WIDE = Table(
    ("what was measured\nhere", "time of a training step", "and of a prediction"),
    [("a net of middle size, of " + "many " * n + "layers", "1.23", "45.6") for n in range(1, 9)],
)


@pytest.mark.parametrize("width", [50, 60, WIDTH, 200])
def test_wide_cells_are_wrapped(width):
    text = lines(WIDE, width=width)
    assert max(map(len, text)) <= width
    assert " ".join(" ".join(text).split()).count("many") == sum(range(1, 9))
    first = next(line for line in text if "1.23" in line)
    assert first.startswith("a net of")
    assert [line.rindex("45.6") for line in text if "45.6" in line] == [first.rindex("45.6")] * 8


def test_no_word_is_cut_where_there_is_no_room():
    text = lines(Table(("", "x" * 30), [("y" * 30, "z")]), width=40)
    assert any("y" * 30 in line for line in text)


def test_headings_stand_on_the_rule():
    heading, below, rule, row = lines(Table(("net", "a step\nus"), [("tiny", "3.45")]))
    assert (heading, below, row) == ("      a step", "net       us", "tiny    3.45")
    assert rule == "─" * 12


def test_a_row_of_one_cell_takes_the_line():
    text = lines(Table(("a", "b"), [("1", "2"), ("",), ("of another library, as published",), ("3", "4")]))
    assert text[2:] == ["1  2", "", "of another library, as published", "3  4"]


def test_a_narrow_gap_where_there_is_no_room_for_the_other():
    assert fit([("a" * 40, "b" * 38)]).gap == 2
    assert fit([("a" * 40, "b" * 39)]).gap == 1


def test_a_cell_that_is_too_long_pushes_the_next():
    assert Layout((3, 3)).line(("abcdef", "1")) == "abcdef   1"


@pytest.mark.parametrize("n", [1, 2, 39, 40, 41, 500])
def test_html_shows_some_of_too_many_rows_with_both_ends(n):
    text = as_html(("layer",), [(f"<{i}>",) for i in range(n)], [("#000",)] * n, "rows")
    assert text.count("<tr>") == 1 + min(n, 40)
    assert "&lt;0&gt;" in text
    assert f"&lt;{n - 1}&gt;" in text
    assert ("rows are shown" in text) == (n > 40)
