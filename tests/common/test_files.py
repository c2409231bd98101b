"""Files and folders that appear complete or not at all, whoever else writes, whatever fails."""

import gzip
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hybrid_fast.common import files
from hybrid_fast.common.files import complete_file, complete_folder, new_folder, staged_file
from hybrid_fast.data.formats.lines import iter_lines

LIMIT_S = 60  # then a writer that is alone fails


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(folder, **contents):
    for name, content in contents.items():
        (folder / name).write_text(content)


def half_written_file(path):
    with complete_file(path) as file:
        file.write("half")
        raise RuntimeError


def half_written_folder(make, path):
    with make(path) as folder:
        write(folder, file="half")
        raise RuntimeError


@pytest.fixture
def flushed(monkeypatch):
    """The number of calls of fsync."""
    calls = []
    monkeypatch.setattr(os, "fsync", calls.append)
    return calls


@pytest.mark.parametrize("name", ["new.txt", "a/b/new.txt"])
def test_text_appears_at_the_end(tmp_path, name):
    with complete_file(tmp_path / name) as file:
        file.write("één\nzwei\n")
        assert not (tmp_path / name).exists()
    assert (tmp_path / name).read_bytes() == "één\nzwei\n".encode()
    assert names((tmp_path / name).parent) == ["new.txt"]


def test_binary(tmp_path):
    with complete_file(tmp_path / "array", "binary") as file:
        file.write(b"\x00\r\n")
    assert (tmp_path / "array").read_bytes() == b"\x00\r\n"


def test_gzip_by_suffix_is_equal_for_equal_content(tmp_path):
    for name in ("one.gz", "two.gz"):
        with complete_file(tmp_path / name) as file:
            file.write("text\n")
    with complete_file(tmp_path / "binary.gz", "binary") as file:
        file.write(b"text\n")
    content = (tmp_path / "one.gz").read_bytes()
    assert gzip.decompress(content) == b"text\n"
    assert content == (tmp_path / "two.gz").read_bytes()
    assert gzip.decompress((tmp_path / "binary.gz").read_bytes()) == b"text\n"


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".zst", ".GZ"])
def test_other_compressions_by_suffix(tmp_path, suffix):
    for name in ("one", "two"):
        with complete_file(tmp_path / f"{name}{suffix}") as file:
            file.write("zwei ä\n" * 1000)
    content = (tmp_path / f"one{suffix}").read_bytes()
    assert len(content) < 500
    assert content == (tmp_path / f"two{suffix}").read_bytes()
    assert [line for _, line in iter_lines(tmp_path / f"one{suffix}")] == ["zwei ä"] * 1000


@pytest.mark.parametrize("name", ["old.txt", "new.txt", "new.gz", "a/b/new.txt"])
def test_a_failure_leaves_nothing_and_changes_nothing(tmp_path, name):
    write(tmp_path, **{"old.txt": "old"})
    with pytest.raises(RuntimeError):
        half_written_file(tmp_path / name)
    assert names(tmp_path) == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"), complete_file(tmp_path / "new") as file:
        file.write("text")
    with pytest.raises(OSError, match="no space"), complete_folder(tmp_path / "run") as folder:
        write(folder, file="text")
    assert names(tmp_path) == []


def test_everything_is_flushed_before_it_is_renamed(tmp_path, flushed, monkeypatch):
    flushed_at_rename = []
    rename = files.Path.replace

    def replace(path, target):
        flushed_at_rename.append(len(flushed))
        return rename(path, target)

    monkeypatch.setattr(files.Path, "replace", replace)
    with complete_file(tmp_path / "file") as file:
        file.write("text")
    assert (flushed_at_rename, len(flushed)) == ([1], 2)  # the file, then its name in the folder
    with complete_folder(tmp_path) as folder:
        (folder / "inner").mkdir()
        write(folder, a="1")
        write(folder / "inner", b="2")
    assert flushed_at_rename[1:] == [6, 6]  # both files and both folders more
    assert len(flushed) == 7


def test_a_missing_folder_is_made_for_an_open_file_only(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        with staged_file(tmp_path / "nowhere" / "file"):
            pass


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask_of_the_process(tmp_path, mask, monkeypatch):
    before = os.umask(mask)
    try:
        monkeypatch.setattr(os, "umask", None)  # it is never asked for: that would change it
        with complete_file(tmp_path / "file") as file:
            file.write("text")
        with staged_file(tmp_path / "staged") as path:
            path.write_text("text")
        with complete_folder(tmp_path / "folder") as folder:
            write(folder, file="text")
        with new_folder(tmp_path / "new") as folder:
            write(folder, file="text")
    finally:
        monkeypatch.undo()
        os.umask(before)
    for name in ("file", "staged", "folder/file", "new/file"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask, name
    for name in ("folder", "new"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o777 & ~mask, name


def test_files_that_a_library_made_private_follow_the_umask_too(tmp_path):
    with complete_folder(tmp_path / "folder") as folder:
        write(folder, weights="1", script="2")
        (folder / "weights").chmod(0o600)
        (folder / "script").chmod(0o700)
    with staged_file(tmp_path / "file") as path:
        path.unlink()
        path.touch(mode=0o600)
    expected = 0o666 & ~current_umask()
    assert stat.S_IMODE((tmp_path / "folder" / "weights").stat().st_mode) == expected
    assert stat.S_IMODE((tmp_path / "folder" / "script").stat().st_mode) == expected | 0o100
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_two_writers_of_a_file_at_once(tmp_path):
    both_opened = threading.Barrier(2)

    def save(text):
        with complete_file(tmp_path / "file") as file:
            both_opened.wait(LIMIT_S)
            file.write(text)

    texts = ["a" * 100_000, "b" * 50_000]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(save, texts))
    assert (tmp_path / "file").read_text() in texts
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("exists", [False, True])
def test_two_writers_of_a_folder_at_once(tmp_path, exists):
    """Of many files none is of another writer than the rest."""
    folder = tmp_path / "run"
    if exists:
        folder.mkdir()
    all_written = threading.Barrier(4)

    def save(text):
        with complete_folder(folder) as staged:
            write(staged, **{f"file{number}": text for number in range(20)})
            all_written.wait(LIMIT_S)

    for _ in range(5):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(save, "abcd"))
        assert len({path.read_text() for path in folder.iterdir()}) == 1
        assert len(names(folder)) == 20
    assert names(tmp_path) == ["run"]


def test_a_new_folder_appears_at_once(tmp_path):
    with complete_folder(tmp_path / "a" / "run") as folder:
        write(folder, file="text")
        (folder / "inner").mkdir()
        write(folder / "inner", other="text")
        assert not (tmp_path / "a" / "run").exists()
    assert names(tmp_path / "a") == ["run"]
    assert names(tmp_path / "a" / "run") == ["file", "inner"]
    assert names(tmp_path / "a" / "run" / "inner") == ["other"]


def test_a_failing_folder_leaves_nothing(tmp_path):
    for name in ("run", "a/b/run"):
        for make in (new_folder, complete_folder):
            with pytest.raises(RuntimeError):
                half_written_folder(make, tmp_path / name)
    assert names(tmp_path) == []
    write(tmp_path, file="old")
    with pytest.raises(RuntimeError):
        half_written_folder(complete_folder, tmp_path)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_files_of_a_folder_are_replaced_and_others_stay(tmp_path):
    write(tmp_path, old="old", file="old")
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", old="old", file="old")
    with complete_folder(tmp_path) as folder:
        write(folder, file="new")
        (folder / "inner").mkdir()
        write(folder / "inner", file="new")
        (folder / "more").mkdir()
        write(folder / "more", file="new")
        assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file", "inner", "more", "old"]
    assert [path.read_text() for path in sorted(tmp_path.rglob("file"))] == ["new"] * 3
    assert (tmp_path / "old").read_text() == (tmp_path / "inner" / "old").read_text() == "old"


def test_files_move_in_the_order_that_is_stated_after_stale_ones_are_gone(tmp_path, monkeypatch):
    write(tmp_path, **{"first": "old", "last": "old", "part-1": "old", "part-2": "old"})
    seen = []
    rename = files.Path.replace

    def replace(path, target):
        seen.append((target.name, names(tmp_path)))
        return rename(path, target)

    monkeypatch.setattr(files.Path, "replace", replace)
    stale = ["part-*", "last"]
    with complete_folder(tmp_path, stale=stale, order=["first", "last", "none"]) as folder:
        write(folder, **{"first": "new", "last": "new", "part-1": "new", "a": "new", "z": "new"})
    assert [name for name, _ in seen] == ["a", "part-1", "z", "first", "last"]
    # Never without a part that is replaced at once; never with the last beside a new first.
    assert [name for name in seen[0][1] if not name.startswith(".")] == ["first", "part-1"]
    assert names(tmp_path) == ["a", "first", "last", "part-1", "z"]


def test_a_folder_that_is_a_file(tmp_path):
    write(tmp_path, file="text")
    with pytest.raises(NotADirectoryError, match="file is a file; name a folder"):
        with complete_folder(tmp_path / "file"):
            pass
    with pytest.raises(FileExistsError, match="file exists; remove it"):
        with new_folder(tmp_path / "file"):
            pass
    assert names(tmp_path) == ["file"]


def test_of_two_that_make_a_new_folder_the_later_fails(tmp_path):
    def overtaken():
        with new_folder(tmp_path / "table") as late:
            write(late, file="late")
            with new_folder(tmp_path / "table") as early:
                write(early, file="early")

    with pytest.raises(FileExistsError, match="another process"):
        overtaken()
    assert names(tmp_path) == ["table"]
    assert (tmp_path / "table" / "file").read_text() == "early"


def test_the_working_directory_and_long_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with complete_folder(".") as folder:
        write(folder, file="text")
    with complete_file("ü" * 127) as file:  # 254 bytes, of the 255 that a name may have
        file.write("text")
    assert names(tmp_path) == ["file", "ü" * 127]


def test_a_folder_that_cannot_be_locked_is_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with complete_folder(tmp_path) as folder:
        write(folder, file="text")
    assert names(tmp_path) == ["file"]
