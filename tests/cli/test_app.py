"""The command line itself: help, wrong usage, and how it exits."""

import re
import subprocess
import sys
from contextlib import nullcontext

import pytest

from hybrid_fast import __version__
from hybrid_fast.cli import app, main


def test_version_and_help(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"hybrid-fast {__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        main(arguments)
        out = capsys.readouterr().out
        assert all(command in out for command in ("demo", "train", "evaluate", "report"))
    main(["train", "--help"])
    assert "--resume" in capsys.readouterr().out


COMMANDS = "demo train sweep plan evaluate evaluate-run train-reader evaluate-reader report".split()
WRONG = (
    *(f"{command} --help" for command in COMMANDS),
    "--version",
    "evaluate m --task",
    "evaluate /none --task builtin",
    "evaluate owner/name --task xquad-r --data /none",
    "evaluate-run /none /none",
    "report /none --out o",
    "demo --out recipe.yaml",
    "train /none.yaml --out o",
    "train recipe.yaml --out recipe.yaml",
    "train recipe.yaml --out o --alhpa 1",
    "train recipe.yaml --out o --model ./none",
    "train recipe.yaml --out o --task_data none",
    "train recipe.yaml --out o --train [{path:none.jsonl}]".replace("path:", "path:\\ "),
    "train malformed.yaml --out o",
    "sweep /none.yaml --out o",
    "sweep recipe.yaml --out o --alhpa 1,2",
    "plan malformed.yaml",
    "train-reader /none /none --out o",
    "train-reader owner/name /none.json --out o",
    "evaluate-reader owner/name --data none/{lang}.json",
)


def test_help_wrong_usage_paths_and_fields_import_nothing_heavy(project):
    (project / "malformed.yaml").write_text("alpha: [")
    code = (
        "import shlex, sys; from hybrid_fast.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    try: main(shlex.split(line))\n"
        "    except SystemExit as ended: assert ended.code == 2, line\n"
        "    else: assert line.endswith(('--help', '--version')), line\n"
        "    heavy = {'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, (line, heavy)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, *WRONG], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    errors = ended.stderr.splitlines()
    assert len(errors) == sum(not line.endswith(("--help", "--version")) for line in WRONG)
    assert all(line.startswith("hybrid-fast: error: ") for line in errors)
    assert not (project / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'.*did you mean 'train'.*see hybrid-fast --help"),
        (["--verson"], "No such option: --verson.*see hybrid-fast --help"),
        (["train"], "Missing argument 'recipe'; see hybrid-fast train --help"),
        (["train", "recipe.yaml"], "Missing option '--out'; see hybrid-fast train --help"),
        (["train", "no.yaml", "--out", "o"], "there is no file no.yaml"),
        (["train", "--alpha", "0.3", "recipe.yaml", "--out", "o"], "fields come after the recipe"),
        (["train", "recipe.yaml", "--out", "o", "--alpha"], "--alpha has no value; write --alpha"),
        (["train", "recipe.yaml", "--out", "o", "--symmetric", "--alpha", "1"], "--symmetric has"),
        (["train", "recipe.yaml", "--out", "o", "stray"], "unexpected argument 'stray'"),
        (
            ["train", "recipe.yaml", "--out", "o", "--lerning-rate=1"],
            "did you mean 'learning_rate'",
        ),
        (["evaluate", "m"], "Missing option '--task'; see hybrid-fast evaluate --help"),
        (["evaluate", "m", "--task", "xquad-r", "--batch-size", "0"], "--batch-size"),
        (["demo", "--seed", "x"], "Invalid value for '--seed'"),
        (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
        (["report", "--out", "o"], "Missing argument"),
    ],
)
def test_wrong_usage(project, fails, arguments, message):
    assert re.search(message, fails(*arguments), re.IGNORECASE)
    assert not (project / "o").exists()


def test_debug_shows_the_traceback(project):
    with pytest.raises(FileNotFoundError, match=r"there is no file none\.yaml"):
        main(["train", "none.yaml", "--out", "o", "--debug"])


def test_an_interrupted_run_ends_with_status_130(project, monkeypatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hybrid_fast.training.HybridTrainer.training_step", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["train", "recipe.yaml", "--out", "o"])
    assert ended.value.code == 130
    assert not (project / "o").exists()


def test_commands_that_compute_keep_memory_and_calls_change_nothing(monkeypatch, capsys):
    kept = []
    monkeypatch.setattr(app, "keep_freed_memory", lambda: kept.append(True) or True)
    for arguments in (["evaluate", "--help"], ["encode", "--debug", "--help"], ["report", "-h"]):
        with pytest.raises(SystemExit) if "--debug" in arguments else nullcontext():
            main(arguments)  # from Python
    assert not kept
    for arguments in (["evaluate", "--help"], ["encode", "--debug", "--help"], ["report", "-h"]):
        monkeypatch.setattr(sys, "argv", ["hybrid-fast", *arguments])
        with pytest.raises(SystemExit) if "--debug" in arguments else nullcontext():
            main()
        said = "mallopt" in capsys.readouterr().err
        assert said == ("--debug" in arguments)
    assert len(kept) == 2
    for command in app.COMPUTING_COMMANDS:  # none is misspelt
        main([command, "--help"])
