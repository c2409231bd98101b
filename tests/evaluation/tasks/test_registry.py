"""Tasks are found by name, those of other packages too; near misses and broken ones are named."""

import inspect
import json
import sys
import tomllib
from pathlib import Path

import pytest

from hybrid_fast.cli import main
from hybrid_fast.evaluation import load_task, task_names
from hybrid_fast.evaluation.tasks import check_task, registry
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.stores import addresses

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("xquadr", "did you mean 'xquad-r'"), ("MLQA-R", "did you mean 'mlqa-r'"), ("squad", "")],
)
def test_unknown_name(name, hint):
    message = rf"there is no task '{name}'; the tasks are builtin, xquad-r, mlqa-r.*{hint}"
    with pytest.raises(ValueError, match=message):
        load_task(name, "data")


def test_data_is_needed_or_refused(tmp_path):
    with pytest.raises(ValueError, match="task 'xquad-r' needs data: a folder with"):
        load_task("xquad-r")
    with pytest.raises(ValueError, match="has no data: leave out data="):
        load_task("builtin", tmp_path)
    with pytest.raises(
        ValueError, match="leave out candidate_text='sentence'; its options are none"
    ):
        load_task("builtin", candidate_text="sentence")


def test_entry_points_are_declared():
    """pyproject.toml declares what the modules list, and each can be imported."""
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    assert declared.pop(registry.GROUP) == registry.OWN_TASKS
    assert declared == {addresses.GROUP: addresses.OWN_STORES}
    for kind in addresses.OWN_STORES:
        assert all(addresses.options_of(f"{kind}:place"))
    for name in registry.OWN_TASKS:
        parameters = inspect.signature(registry.find_loader(name)).parameters
        assert "languages" in parameters
        assert all(each.default is not each.empty for each in parameters.values())


TOY_MODULE = """
from hybrid_fast.evaluation import Candidate, Query, RetrievalTask

def load_toy(data=None, languages=None):
    lang = (languages or ["en"])[0]
    candidates = [Candidate("c", lang, "!", ("q",))]
    return RetrievalTask("toy", [Query("q", lang, data or "?")], candidates)

def load_member(name, **options):
    return RetrievalTask(f"{name} {options}", [Query("q", "en", "?")], [Candidate("c", "en", "!")])

NO_LOADER = 3
"""
TOY_ENTRIES = {
    "toy": "toy_tasks:load_toy",
    "family": "toy_tasks:load_member",
    "broken": "toy_missing.module:load",
    "renamed": "toy_tasks:load_gone",
    "number": "toy_tasks:NO_LOADER",
    "beir": "toy_missing.module:load",
}


def install(folder: Path, package: str, entries: dict[str, str]) -> None:
    """Write the metadata of an installed package that offers tasks."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{registry.GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def toys(tmp_path, monkeypatch):
    install(tmp_path, "toy-tasks", TOY_ENTRIES)
    (tmp_path / "toy_tasks.py").write_text(TOY_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_tasks", raising=False)
    yield
    sys.modules.pop("toy_tasks", None)


@pytest.mark.usefixtures("toys")
def test_task_of_another_package_is_found_and_imported_when_asked_for():
    assert task_names()[: len(registry.OWN_TASKS)] == tuple(registry.OWN_TASKS)
    assert set(task_names()) - set(registry.OWN_TASKS) == set(TOY_ENTRIES) - {"beir"}
    check_task("toy")
    assert "toy_tasks" not in sys.modules
    task = load_task("toy", "what?", languages=["de"])
    assert (task.name, task.languages, list(task.queries)) == ("toy", ("de",), ["what?"])


@pytest.mark.usefixtures("toys")
def test_family_of_tasks():
    assert load_task("family:SciFact").name == "SciFact {}"
    assert load_task("family:a:b", split="dev", languages=["de"]).name == (
        "a:b {'split': 'dev', 'languages': ['de']}"
    )
    with pytest.raises(ValueError, match=r"is a family of tasks; name one .* 'family:NAME'"):
        load_task("family")
    with pytest.raises(ValueError, match="'toy' is no family of tasks; give 'toy', not 'toy:x'"):
        load_task("toy:x")
    with pytest.raises(ValueError, match=r"there is no task 'famly:x'.*did you mean 'family'"):
        load_task("famly:x")


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "broken",
            r"task 'broken' of package toy-tasks cannot be imported from "
            r"'toy_missing\.module:load' \(ModuleNotFoundError: No module named 'toy_missing'\); "
            "update or uninstall toy-tasks",
        ),
        ("renamed", r"'renamed' of package toy-tasks cannot .*AttributeError.*load_gone"),
        (
            "number",
            r"'number' of package toy-tasks: 'toy_tasks:NO_LOADER' is of type int; it must be a",
        ),
    ],
)
def test_task_that_cannot_be_imported_names_its_package(name, message):
    check_task(name)
    with pytest.raises(ImportError, match=message):
        load_task(name)


@pytest.mark.usefixtures("toys")
def test_command_evaluates_the_task_of_another_package(tmp_path, capsys):
    model = tmp_path / "model"
    BiEncoder.static(["what?", "!"], dim=4, vocab_size=20).save_pretrained(model)
    main(["evaluate", str(model), "--task", "toy", "--data", "what?", "--out", f"{tmp_path}/out"])
    assert json.loads((tmp_path / "out" / "results.json").read_text())["task"] == "toy"
    with pytest.raises(SystemExit):
        main(["evaluate", str(model), "--task", "broken"])
    assert "error: task 'broken' of package toy-tasks cannot be imported" in capsys.readouterr().err


@pytest.mark.usefixtures("toys")
def test_options_that_another_package_lacks():
    message = r"task 'toy' has no split: leave out split='dev'; its options are data besides lang"
    with pytest.raises(ValueError, match=message):
        load_task("toy", split="dev")


@pytest.mark.usefixtures("toys")
def test_two_packages_with_one_name_and_ours(tmp_path, monkeypatch):
    """Ours cannot be replaced; of others, none is chosen silently."""
    with pytest.raises(ValueError, match="task 'beir' needs data"):
        load_task("beir")
    install(tmp_path / "other", "other-tasks", {"toy": "other_tasks:load"})
    monkeypatch.syspath_prepend(tmp_path / "other")
    with pytest.raises(ValueError, match=r"'toy' is offered by several packages .*other-tasks"):
        load_task("toy")
