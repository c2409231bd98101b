"""The command report: runs side by side."""

import json
import re

import pytest

from hybrid_fast.cli import main
from hybrid_fast.cli.comparison import read_runs


def test_report_compares_files_and_folders(project, model, capsys):
    main("evaluate m --task xquad-r --data task --out a".split())
    capsys.readouterr()
    main("report a a/results.json --out both --title Two".split())
    captured = capsys.readouterr()
    assert captured.out.endswith("report: both/report.html\n")
    assert captured.err == ""
    assert "<h1>Two</h1>" in (project / "both/report.html").read_text()
    assert len(json.loads((project / "both/results.json").read_text())["runs"]) == 2
    assert len(read_runs(project / "both")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file: r.json"),
        ("", "r.json:1: malformed JSON"),
        ('{"task":\n', "r.json:2: malformed JSON"),
        ("[1]", "r.json: "),
        ('{"runs": []}', "r.json: runs is empty"),
        ('{"runs": 5}', "r.json: "),
        ("{}", "r.json: run 1 .* has no 'task'"),
    ],
)
def test_what_cannot_be_reported(project, fails, content, message):
    if content is not None:
        (project / "r.json").write_text(content)
    assert re.search(message, fails("report", "r.json", "--out", "o"))
    assert not (project / "o").exists()


def test_results_of_two_tasks_are_refused_in_one_line(project, model, fails, capsys):
    main("evaluate m --task xquad-r --data task --out a".split())
    main("evaluate m --task builtin --languages de,en --out b".split())
    capsys.readouterr()
    assert "a report compares runs of one task" in fails("report", "a", "b", "--out", "o")


def test_runs_are_compared_query_by_query(project, model, capsys):
    for out in ("a", "b"):
        main(f"evaluate m --task xquad-r --data task --out {out}".split())
    capsys.readouterr()
    main("report a b --out both".split())
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "Differences, tested by paired randomisation" in captured.out
    comparison = json.loads((project / "both/results.json").read_text())["comparison"]
    assert {row["p_holm"] for row in comparison["differences"]} == {1.0}
    (project / "b/per_query.npz").unlink()
    main("report a b --out without".split())
    captured = capsys.readouterr()
    assert captured.err == (
        "hybrid-fast: warning: significance is not tested: b has no per_query.npz; evaluate again\n"
    )
    assert "Differences" not in captured.out
    main("report both a --out three".split())
    assert capsys.readouterr().err == (
        "hybrid-fast: warning: significance is not tested: runs of one results.json have no "
        "per_query.npz; give the folder of each\n"
    )
