"""Pages that stand alone: templates, embedded pictures, and files that appear all or none.

A page has no script, and its content security policy forbids everything but its own style sheet (by
hash) and embedded images. All text from runs is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from hybrid_fast.evaluation import figures
from hybrid_fast.evaluation.terminal import language_name, printable

DASH = "\N{EN DASH}"


def render_page(template: str, **values: Any) -> bytes:
    """Return a page in UTF-8.

    Args:
        template: name of a template that extends page.html.j2.
        **values: what it shows; `title`, `task`, `kicker` (a line above the title), `facts` (names
            and values) and `run_colours` (of the swatches) at least.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hybrid_fast.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(csp_hash=_csp_hash, language_name=language_name)
    return environment.get_template(template).render(dash=DASH, **values).encode()


def _csp_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def data_url(figure: Figure) -> str:
    """Return a figure as the address of an embedded SVG image."""
    encoded = base64.b64encode(figures.to_svg(figure)).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def check_folder(folder: Path) -> None:
    """Raise a NotADirectoryError if a file is where the folder of a report should be."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"folder {str(folder)!r} is a file; name a folder for the report")


def publish(files: Mapping[str, bytes], folder: Path) -> None:
    """Write all files to a temporary folder, then move them to their place, in their order."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder if folder.exists() else folder.parent
    with tempfile.TemporaryDirectory(prefix=".report-", dir=beside) as temporary:
        staged = Path(temporary) / "report"
        staged.mkdir()
        for name, content in files.items():
            (staged / name).write_bytes(content)
        if beside != folder:
            staged.rename(folder)
            return
        for name in files:
            (staged / name).replace(folder / name)
