"""Paths that are nowhere are refused, and those that may be somewhere pass."""

import pytest

from hybrid_fast.cli.paths import check_data, check_file, check_source


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/[1].jsonl").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "data",
        "data/[1].jsonl",
        "data/{lang}.jsonl",
        "data/*.jsonl",
        "*/x.jsonl",
        "owner/name",
        "name",
        "hf://datasets/owner/name/x.jsonl",
    ],
)
def test_sources_that_may_be_there(path):
    check_source(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/x.jsonl", r"no such file or folder: data/x\.jsonl"),
        ("x.parquet", r"no such file or folder: x\.parquet"),
        ("x.TSV.GZ", "no such file or folder"),
        ("./name", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("none/{lang}.jsonl", "there is no folder none"),
        ("data/none/*.jsonl", "there is no folder data/none"),
    ],
)
def test_sources_that_are_nowhere(path, message):
    with pytest.raises(FileNotFoundError, match=message):
        check_source(path)


def test_relative_sources_start_at_the_root(folder):
    check_source("[1].jsonl", folder / "data")
    with pytest.raises(FileNotFoundError, match=r"data/data"):
        check_source("data/[1].jsonl", folder / "data")


def test_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    check_source("~/data")
    check_data("~/data")
    with pytest.raises(FileNotFoundError, match=f"{folder}/none"):
        check_source("~/none")


def test_data_of_a_task():
    check_data("data")
    for name in ("owner/name", "what?", "db://host/name"):  # a task may be from another package
        check_data(name)
    for path, root in (("/none", None), ("owner/name", "data"), ("./data/[1].jsonl", None)):
        with pytest.raises(FileNotFoundError, match="give a folder with the files of the task"):
            check_data(path, root)


def test_files(folder):
    check_file(folder / "data")
    with pytest.raises(
        FileNotFoundError, match=r"^no such file: .*none; a results\.json is needed"
    ):
        check_file(folder / "none", "a results.json")
