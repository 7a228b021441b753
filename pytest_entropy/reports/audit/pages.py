"""The numbers on a page: its tables, its figures' numbers and captions, read back from the HTML that was written."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import Any

FIGURE = re.compile(
    r'<figure class="of-\d"><img src="data:image/svg\+xml;base64,(?P<svg>[^"]*)" alt="(?P<alt>[^"]*)">\s*'
    r"<figcaption><strong>(?P<title>.*?)\.</strong> (?P<reading>.*?)(?: <span.*?</span>)?</figcaption>",
    re.DOTALL,
)
# A check's row: each value it shows is an element with the value's name.
ROW = re.compile(r'<li class="check">(?P<row>.*?)</li>', re.DOTALL)
ROLLOUTS = re.compile(r'<details data-run="(?P<run>[^"]*)">(?P<body>.*?)</details>', re.DOTALL)
VALUE = re.compile(r'<(?P<tag>\w+)[^>]* data-of="(?P<name>\w+)"[^>]*>(?P<text>[^<]*)</(?P=tag)>')
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"


@dataclass
class PrintedTable:
    """A table: the texts of its head, and of each row's cells; ``heading`` is the page's heading above it."""

    heading: str
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class PrintedFigure:
    """A figure: its title, its caption, its alternative text, and the numbers that its axes hold."""

    title: str
    reading: str
    alternative: str
    panels: list[dict[str, Any]]


class _Tables(HTMLParser):
    """Collects the tables of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[PrintedTable] = []
        self._heading, self._text, self._cells, self._heads = "", "", [""], 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append(PrintedTable(self._heading))
        elif tag == "tr":
            self._cells, self._heads = [], 0
        if tag in ("td", "th", "h2"):
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "h2":
            self._heading = self._text.strip()
        elif tag in ("td", "th"):
            self._cells.append(self._text.strip())
            self._heads += tag == "th"
        elif tag == "tr" and self.tables:
            if self._cells and self._heads == len(self._cells):
                self.tables[-1].head = self._cells
            else:
                self.tables[-1].rows.append(self._cells)


def tables_of(html: str) -> list[PrintedTable]:
    """The tables of a page."""
    reader = _Tables()
    reader.feed(re.sub(r'"data:[^"]*"', '""', html))
    return reader.tables


def checks_of(html: str) -> list[dict[str, str]]:
    """The rows of checks on a page: the text of each value by its name."""
    return [
        {value["name"]: unescape(value["text"]).strip() for value in VALUE.finditer(found["row"])}
        for found in ROW.finditer(html)
    ]


def rollouts_of(html: str) -> tuple[str, list[str]]:
    """The label of the run whose rollouts a page shows, and the texts of their s_n; both empty without them."""
    found = ROLLOUTS.search(html)
    shown = VALUE.finditer(found["body"]) if found else ()
    return (unescape(found["run"]) if found else ""), [value["text"] for value in shown if value["name"] == "s_n"]


def figures_of(html: str) -> Iterator[PrintedFigure]:
    """The figures of a page, each with the numbers that its SVG's description holds.

    Raises:
        ValueError: a figure has no such description.
    """
    for found in FIGURE.finditer(html):
        # The description stands before the drawing, of which nothing is parsed.
        svg = base64.b64decode(found["svg"]).decode("utf-8")
        head = svg[svg.index("<metadata>") : svg.index("</metadata>") + len("</metadata>")]
        description = ET.fromstring(head).find(f".//{DESCRIPTION}")
        if description is None or not description.text:
            raise ValueError(f"the figure {unescape(found['title'])!r} does not hold its numbers")
        title, reading, alternative = (unescape(found[name]) for name in ("title", "reading", "alt"))
        yield PrintedFigure(title, reading, alternative, json.loads(description.text))
