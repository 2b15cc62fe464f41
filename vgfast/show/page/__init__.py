"""Pages of HTML: what was measured, as one file that needs no server and no network, or live from ``server``.

``data`` makes the parts of a page, plain data, of histories, reports and costs. ``page.js``, with uPlot for its lines,
shows them; what stands in the page before, and where scripts are off, are their tables. A page asks for nothing from
outside: its Content-Security-Policy allows the script and the style that are in it, by their hashes, and no more.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vgfast._version import __version__
from vgfast.files import foreign, replace
from vgfast.show.table import as_html

HERE = Path(__file__).parent


@cache
def script() -> str:
    """The one module of a page: uPlot, then ours, whose default export a notebook's widget takes."""
    return _joined("uplot/uPlot.iife.min.js", "page.js")


@cache
def style() -> str:
    """Its one style sheet."""
    return _joined("uplot/uPlot.min.css", "page.css")


def _joined(*names: str) -> str:
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def policy(live: bool = False) -> str:
    """The Content-Security-Policy of a page; live: whether it may ask the server that it came from."""
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script()),
        "style-src": _hash(style()),
        "style-src-attr": "'unsafe-inline'",  # the colours of cells
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    allowed |= {"connect-src": "'self'"} if live else {}
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def data_of(
    title: str, parts: Sequence[Mapping[str, Any]], about: Sequence[str] = (), live: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the script gets: plain data. ``parts`` are of ``data``, or of a kind that needs no making:

    - ``{"kind": "text", "heading", "paragraphs"}``
    - ``{"kind": "table", "heading", "headings", "rows", "notes"}``
    - ``{"kind": "picture", "src", "alt"}``, src being a data: address.

    about: sentences below the title. live: the addresses ``events`` and ``commands`` of a server.
    """
    own = [{name: of for name, of in part.items() if name != "static"} for part in parts]
    return {"vgfast": __version__, "title": title, "about": list(about), "live": live and dict(live), "parts": own}


def text(
    title: str, parts: Sequence[Mapping[str, Any]], about: Sequence[str] = (), live: Mapping[str, str] | None = None
) -> str:
    """The page. Arguments as of ``data_of``.

    >>> page = text("</title>", [{"kind": "text", "heading": "", "paragraphs": ["a < b"]}])
    >>> "<title>&lt;/title&gt;</title>" in page, "<p>a &lt; b</p>" in page, page.count("</script>")
    (True, True, 2)
    """
    data = json.dumps(data_of(title, parts, about, live), allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    static = "\n".join(f"<section>{_static(part)}</section>" for part in parts)
    drawn = any(part["kind"] not in ("text", "table", "picture") for part in parts)
    more = "<noscript><p>With JavaScript this page shows more than these tables.</p></noscript>" if drawn else ""
    page = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(live is not None)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="vgfast {__version__}">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{style()}</style>
</head>
<body>
<main id="vgfast-page">
<h1>{html.escape(title)}</h1>
{_paragraphs(about)}
{more}
{static}
</main>
<script type="application/json" id="vgfast-data">{data}</script>
<script type="module">{script()}</script>
</body>
</html>
"""
    return page.encode(errors="replace").decode()  # of a path that is no text, half a character


def checked_path(path: Any) -> str:
    """As text; TypeError or ValueError for what names no file."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"path must name the file of the page, got {type(path).__name__}; for example 'page.html'")
    return foreign.path_name(path)


def save(path: Any, title: str, parts: Sequence[Mapping[str, Any]], about: Sequence[str] = ()) -> None:
    """Write the page to this path, whole or not at all. OSError, TypeError or ValueError in one sentence."""
    replace.write(checked_path(path), [text(title, parts, about).encode()])


# ---- what is seen without the script ---------------------------------------------------------------------


def _static(part: Mapping[str, Any]) -> str:
    """The part as HTML."""
    heading = part.get("heading") or part.get("name") or ""
    above = f"<h2>{html.escape(heading)}</h2>" if heading else ""
    if part["kind"] == "text":
        return above + _paragraphs(part["paragraphs"])
    if part["kind"] == "table":
        return above + as_html(part["headings"], part["rows"]) + _paragraphs([part["notes"]])
    if part["kind"] == "picture":
        return f'<img src="{html.escape(part["src"])}" alt="{html.escape(part["alt"])}">'
    return above + part.get("static", "")


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences if sentence)
