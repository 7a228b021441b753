"""Conformance of a report section: whole markup of any experiment, escaped, the same each time, and by itself."""

from __future__ import annotations

import copy
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from pytest_entropy.registry import get
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.testing import stored_experiment as experiments

VOID = {"area", "br", "col", "hr", "img", "input", "source", "track", "wbr"}
# They run, fetch, or change what the page is; a report is read by mail and from disks.
REFUSED = {"script", "iframe", "frame", "object", "embed", "applet", "link", "meta", "base", "form"}
LEADS = {"href", "src", "srcset", "action", "formaction", "data", "poster", "background", "cite", "xlink:href"}
WHOLE = "something of everything"


def check_report_section(name: str, view: ExperimentView | None = None) -> None:
    """Check the report section of that name in the registry on an experiment with something of everything, before its
    first run, with all runs failed, with null for every number, and with markup in every text.

    It must give markup or None, whose tags are balanced, which runs nothing, leads nowhere outside the report's
    directory and holds no tag of the texts that it shows.  It must give the same each time, change nothing in the
    experiment, and use no network.

    Args:
        name: in the registry.
        view: an experiment in which it appears, as :func:`~pytest_entropy.reports.view.view_experiment` reads it:
            wanted where it shows what the experiment here does not have.

    Raises:
        AssertionError: says which of these does not hold, and for which experiment.
        NotRegistered: no section has this name.
    """
    section = get("report_sections", name, Section)
    assert isinstance(section.order, int), f"report section {name}: order is {section.order!r}, expected a whole number"
    assert section.tone in ("", "fail", "inconclusive"), f"report section {name}: there is no tone {section.tone!r}"
    with TemporaryDirectory() as directory:
        shown = [_require_page(name, section, *case) for case in _cases(Path(directory), view)]
    assert any(shown), f"report section {name} appears in no experiment here: give one in which it does"


def _cases(directory: Path, view: ExperimentView | None) -> Iterator[tuple[str, ExperimentView]]:
    """Experiments, and what each is."""
    whole = experiments.whole_experiment(directory)
    yield "before the first run", experiments.nothing_yet(whole)
    yield "all runs failed", experiments.all_failed(whole)
    for base, of in ((whole, ""), (view, " of the experiment given")):
        if base is not None:
            yield f"{WHOLE}{of}", base
            yield f"null numbers{of}", experiments.with_null_numbers(base)
            yield f"hostile text{of}", experiments.with_hostile_text(base)


def _require_page(name: str, section: Section, what: str, view: ExperimentView) -> bool:
    """Whether it appears in this experiment; if so, it is as it has to be."""
    before = copy.deepcopy(view)
    html, heading = _made(name, section, what, view)
    assert view == before, f"report section {name} changes the experiment that it shows ({what})"
    # Figures take their time; one experiment is as good as another.
    if what.startswith(WHOLE):
        again = _made(name, section, what, view)
        assert (html, heading) == again, f"report section {name} is another one the second time ({what})"
    for part in (html, escape(heading)):
        for complaint in _complaints(str(part or "")):
            raise AssertionError(f"report section {name} {complaint} ({what})")
    return html is not None


def _made(name: str, section: Section, what: str, view: ExperimentView) -> tuple[Markup | None, str]:
    try:
        with _no_network():
            html, heading = section.html(view), section.heading(view)
    except _Connected:
        raise AssertionError(f"report section {name} asks the network ({what})") from None
    except Exception as error:
        raise AssertionError(f"report section {name} raises {type(error).__name__}: {error} ({what})") from error
    assert html is None or isinstance(html, Markup), (
        f"report section {name} gives {type(html).__name__}, expected Markup or None: the page would escape it"
    )
    return html, heading


class _Connected(BaseException):
    """A section has tried to reach something; no handler of its own is to catch it."""


@contextmanager
def _no_network() -> Iterator[None]:
    def refused(*arguments: object, **options: object) -> None:
        raise _Connected

    with mock.patch.object(socket.socket, "connect", refused), mock.patch.object(socket, "getaddrinfo", refused):
        yield


def _complaints(html: str) -> Iterator[str]:
    """What is wrong with markup, in words that follow the section's name."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    yield from reader.complaints
    for tag in reversed(reader.open):
        yield f"leaves <{tag}> open"


class _Reader(HTMLParser):
    """Reads markup tag by tag and notes what a section must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.complaints: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._look(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # As in inline SVG.
        self._look(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.complaints.append(f"closes <{tag}>, which is not the one open")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self._look("style", [("style", data)])

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in REFUSED:
            self.complaints.append(f"has a <{tag}>: is what it shows escaped?")
        for name, value in attrs:
            if name.startswith("on"):
                self.complaints.append(f"has <{tag} {name}=...>: is what it shows escaped?")
            if name in LEADS and not _stays(name, value or ""):
                self.complaints.append(f"leads out of the report: <{tag} {name}={value!r}>")
            if name == "style" and "url(" in (value or "").replace(" ", "").replace("url(data:", ""):
                self.complaints.append(f"leads out of the report: <{tag} style={value!r}>")


def _stays(attribute: str, address: str) -> bool:
    """Whether an address is inside the report or beside it."""
    # As browsers do, which leave out white space and read a backslash as a slash.
    address = "".join(address.split()).replace("\\", "/")
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    picture = attribute == "src" and address.startswith("data:image/")
    return picture or (not parts.scheme and not parts.netloc and not address.startswith("/"))
