"""Where the command writes: few characters, a reader that left, a full disk; odd file names."""

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from hybrid_fast.cli import main; main()"]
PLAN = ["plan", "recipe.yaml", "--steps", "2"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*arguments, stdout=subprocess.PIPE, **environment):
    """Run the command; return how it ended."""
    return subprocess.run(
        [*COMMAND, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        check=False,
    )


def test_characters_that_the_terminal_lacks(project, rows):
    lines = (project / "items.jsonl").read_text("utf-8").replace("question", "вопрос")
    (project / "items.jsonl").write_text(lines, encoding="utf-8")
    ended = run(*PLAN, **ASCII)
    assert ended.returncode == 0, ended.stderr
    assert b" ?????? " in ended.stdout
    assert "вопрос" in run(*PLAN, LC_ALL="C.UTF-8").stdout.decode()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["report", "--help"]], ids=str)
def test_a_reader_that_has_gone(arguments):
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = run(*arguments, stdout=write_end)
    os.close(write_end)
    assert ended.returncode == 1
    assert ended.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk():
    with open("/dev/full", "wb") as full:
        ended = run("--help", stdout=full)
    assert ended.returncode == 2
    assert ended.stderr == b"hybrid-fast: error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", b"\xff.yaml", "--out", "o"],
        ["train", "recipe.yaml", "--out", b"\xff"],
        ["plan", b"\xff.yaml"],
        ["sweep", "recipe.yaml", "--out", b"\xff", "--alpha", "0,1"],
        ["demo", "--out", b"\xff"],
        ["report", b"\xff", "--out", "o"],
        ["evaluate-run", b"\xff", "items.jsonl"],
    ],
    ids=str,
)
def test_names_that_are_no_text(project, arguments):
    before = sorted(project.iterdir())
    ended = run(*arguments, LC_ALL="C.UTF-8")
    assert ended.returncode == 2
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("hybrid-fast: error: Invalid value for '")
    assert "\\udcff" in line
    assert "is no text in utf-8; give it another name; see" in line
    assert sorted(project.iterdir()) == before


def test_names_that_the_encoding_lacks(project):
    (project / "recipe.yaml").rename(project / "rezept-ö.yaml")
    ended = run("plan", "rezept-ö.yaml", **ASCII)
    assert ended.returncode == 2
    assert b"is no text in ascii; set LC_ALL=C.UTF-8; see" in ended.stderr
    assert run("plan", "rezept-ö.yaml", "--steps", "1", LC_ALL="C").returncode == 0
