"""Output folders that exist or cannot be created."""

import re

import pytest

from hybrid_fast.cli import main
from hybrid_fast.common.locks import sole_use


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


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "train recipe.yaml",
        "sweep recipe.yaml",
        "evaluate m --task xquad-r --data task",
        "report results.json",
    ],
)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "Invalid value for '--out': the path is empty; name a file or folder"),
        ("$NOT_SET_HERE/x", r"\$NOT_SET_HERE is not set"),
        ("~nobody-here/x", "there is no user '~nobody-here'"),
    ],
)
def test_an_output_folder_without_a_name(project, fails, command, out, message):
    before = sorted(project.iterdir())
    assert re.search(message, fails(*command.split(), "--out", out))
    assert sorted(project.iterdir()) == before


@pytest.mark.parametrize(
    "command", ["demo", "train recipe.yaml", "evaluate m --task xquad-r --data task"]
)
def test_a_folder_that_another_command_is_to_write(project, model, fails, command):
    with sole_use("o"):
        assert "o is in use by process" in fails(*command.split(), "--out", "o")
    assert not (project / "o").exists()
    assert not (project / ".o.lock").exists()


def test_paths_with_home_and_variables(project, write_recipe, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("TEXTS", "items")
    recipe = write_recipe("train: [{path: ~/$TEXTS.jsonl}]", "task_data: ~/task", "data_root: .")
    main(["train", str(recipe).replace(str(project), "~"), "--out", "~/$TEXTS-run"])
    assert (project / "items-run/results.json").is_file()
    main(["evaluate", "~/items-run/model", "--task=xquad-r", "--data=~/task", "--out=$HOME/e"])
    assert (project / "e/results.json").is_file()
