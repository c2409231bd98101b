"""Pages that stand alone: templates, embedded images, and files that appear together or not at all.

A page's content security policy forbids everything but its own style sheet and the script that
sorts its tables (both by hash), and embedded images. What can be downloaded, tables as CSV and
plots as SVG, is in the page too. All text from runs is escaped.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from matplotlib.figure import Figure

from hybrid_fast.common.files import complete_folder
from hybrid_fast.reporting import plots
from hybrid_fast.results import Results
from hybrid_fast.results.measures import Measure
from hybrid_fast.results.names import language_name, printable

DASH = "\N{EN DASH}"


class Cell(NamedTuple):
    """A score in a table: what it is sorted by, how it is shown, whether it is the best."""

    value: float | None
    text: str
    best: bool = False


def render_page(template: str, **values: Any) -> bytes:
    """Return a page in UTF-8.

    Args:
        template: name of a template that extends page.html.j2.
        **values: what it shows; `title`, `task`, `kicker` (a line above the title), `facts` (names
            and values) and `run_colours` (of the swatches) at least.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hybrid_fast.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        csp_hash=_csp_hash, csv_url=_csv_url, language_name=language_name, slug=_slug
    )
    return environment.get_template(template).render(dash=DASH, **values).encode()


def _csp_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def number_cell(measure: Measure, run: Results) -> Cell:
    """Return a score of a run for a table."""
    value = measure.read(run)
    return Cell(value, measure.show(value, DASH))


def data_url(figure: Figure) -> str:
    """Return a plot as the address of an embedded SVG image."""
    encoded = base64.b64encode(plots.to_svg(figure)).decode()
    return f"data:image/svg+xml;base64,{encoded}"


class _Cells(HTMLParser):
    """Rows of the values of a table's cells: `data-value`, or the text with single spaces."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._value: str | None = None
        self._text: list[str] | None = None
        self._span = 1
        self.feed(table)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and attributes.get("class") != "gap":
            self._value, self._text = attributes.get("data-value"), []
            self._span = int(attributes.get("colspan") or 1)

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._text is not None:
            text = " ".join("".join(self._text).split())
            self.rows[-1] += [text if self._value is None else self._value] * self._span
            self._text = None


def _csv_url(table: str) -> str:
    """Return the rows of a table as the address of an embedded CSV file."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(_Cells(table).rows)
    return f"data:text/csv;charset=utf-8,{quote(buffer.getvalue())}"


def _slug(text: str) -> str:
    """Return a lower-case file name of letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower().replace("@", "_at_")).strip("_")[:60] or "run"


def publish(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files to a folder, which get there once all are written, in their order."""
    with complete_folder(folder, order=list(files)) as staged:
        for name, content in files.items():
            (staged / name).write_bytes(content)
