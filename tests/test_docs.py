"""What the pages for contributors name exists, and examples of other pages run."""

import re
from pathlib import Path

import pytest
import typer

from hybrid_fast.cli.app import app

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


def test_the_example_of_searching_runs(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/retrieval.md").read_text("utf-8")
    section = re.search(r"^## Search$(.*?)^## ", page, re.DOTALL | re.MULTILINE)[1]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(block, names)
    assert "en fr-1: Paris is the capital of France." in capsys.readouterr().out
    assert list(names["run"]) == ["q1", "q2"]
    assert names["hits"][0].id == "fr-2"


def test_commands_of_the_page_of_retrieval_have_the_options_it_names():
    page = (ROOT / "docs/retrieval.md").read_text("utf-8")
    for command in ("encode", "index", "search", "delete", "mine"):
        lines = re.findall(rf"hybrid-fast {command} .*", page)
        parameters = typer.main.get_command(app).commands[command].params
        known = {option for each in parameters for option in each.opts}
        assert {option for line in lines for option in re.findall(r" (--[\w-]+)", line)} <= known
        assert lines
