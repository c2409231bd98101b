"""What the pages for contributors name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "csrc" / "core"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_and_folders_that_a_page_names_exist(page):
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"`([\w./-]+(?:\.py|\.cc|\.h|/))`", text)
    assert len(named) > 5
    places = (ROOT, ROOT / "hybrid_fast", ROOT / "hybrid_fast/cli", CORE)
    for name in named:
        inner = [*ROOT.glob(f"hybrid_fast/*/{name}")]
        assert inner or any((place / name).exists() for place in places), name


def test_the_walks_are_in_the_navigation_of_the_pages():
    assert "architecture.md" in (ROOT / "mkdocs.yml").read_text("utf-8")
