"""Output folders that exist or cannot be created."""

import re

import pytest


@pytest.mark.parametrize("out", ["items.jsonl", "items.jsonl/a/b"])
@pytest.mark.parametrize(
    "command",
    ["train recipe.yaml", "demo", "evaluate m --task xquad-r --data task", "report results.json"],
)
def test_a_file_where_the_output_folder_should_be(project, fails, command, out):
    before = (project / "items.jsonl").read_bytes()
    assert re.search(
        r"(items.jsonl is a file|exists); choose", fails(*command.split(), "--out", out)
    )
    assert (project / "items.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "command", ["demo", "evaluate m --task xquad-r --data task", "report results.json"]
)
def test_an_output_folder_that_exists(project, fails, command):
    assert "task exists; choose another folder" in fails(*command.split(), "--out", "task")
    assert sorted(path.name for path in (project / "task").iterdir()) == ["de.json", "en.json"]


def test_a_failed_run_leaves_an_old_folder_as_it_was(project, fails):
    (project / "o").mkdir()
    (project / "o/notes.txt").write_text("mine")
    fails("train", "recipe.yaml", "--out", "o", "--learning_rate", ".inf")
    assert [path.name for path in (project / "o").iterdir()] == ["notes.txt"]
