"""Sweeps: every combination runs once, goes on where it stopped, and is never mixed with others."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from hybrid_fast.cli import main, runs, sweep
from hybrid_fast.cli.yaml_text import split_values
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.reporting.sweeps import Point, write_sweep
from hybrid_fast.results import load_runs


def run(*arguments: str) -> int:
    """Run a command and return its status."""
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def sweep_alpha(*more: str, out: str = "out", alpha: str = "0,0.5") -> int:
    return run("sweep", "recipe.yaml", "--alpha", alpha, "--out", out, *more)


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that `run_recipe` was called for, and whether they were resumed."""
    calls = []

    def spy(recipe, training, output, resume=False, model_name=None):
        calls.append((output.name, resume))
        return real(recipe, training, output, resume, model_name)

    real = sweep.run_recipe
    monkeypatch.setattr(sweep, "run_recipe", spy)
    return calls


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_combination_runs_once_and_is_summed_up(project, trained, capsys):
    assert sweep_alpha("--seeds", "2") == 0
    names = ["alpha=0,seed=0", "alpha=0,seed=1", "alpha=0.5,seed=0", "alpha=0.5,seed=1"]
    assert trained == [(name, False) for name in names]
    runs = [read_json(project / "out" / name / "results.json") for name in names]
    assert [(each["model"], each["seed"]) for each in runs] == [
        ("alpha=0", 0),
        ("alpha=0", 1),
        ("alpha=0.5", 0),
        ("alpha=0.5", 1),
    ]
    content = read_json(project / "out/sweep.json")
    assert [point["values"] for point in content["points"]] == [{"alpha": 0.0}, {"alpha": 0.5}]
    for point, pair in zip(content["points"], (runs[:2], runs[2:]), strict=True):
        assert point["seeds"] == [0, 1]
        first, second = (each["metrics"]["cross"]["map"] for each in pair)
        scores = point["figures"]["cross_map"]
        assert scores["by_seed"] == [first, second]
        assert scores["mean"] == pytest.approx((first + second) / 2, abs=1e-12)
        assert scores["deviation"] == pytest.approx(abs(first - second) / 2**0.5, abs=1e-12)
        assert point["figures"]["rank_distance"]["mean"] is not None
    assert content["failed"] == {}
    table = capsys.readouterr().out
    assert "mono mAP" in table
    assert table.count("±") == 1 + 2 * 4
    page = (project / "out/sweep.html").read_text(encoding="utf-8")
    assert "data:image/svg+xml" in page
    assert 'download="curves.svg"' in page


def test_complete_runs_are_skipped_and_new_values_join_them(project, trained, capsys):
    assert sweep_alpha() == 0
    stamps = {path: path.stat().st_mtime_ns for path in project.glob("out/*/*.json")}
    assert sweep_alpha(alpha="0,0.5,1") == 0
    assert [name for name, _ in trained] == [
        "alpha=0,seed=42",
        "alpha=0.5,seed=42",
        "alpha=1,seed=42",
    ]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert "run 1 of 3, alpha=0,seed=42: complete" in capsys.readouterr().err
    assert len(read_json(project / "out/sweep.json")["points"]) == 3


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(project, write_recipe, trained):
    write_recipe("save_strategy: steps", "save_steps: 4")
    assert sweep_alpha(out="whole", alpha="0.5,1") == 0
    assert sweep_alpha(alpha="0.5,1") == 0
    # As if killed after the checkpoint of step 8, while the model was saved.
    stopped = project / "out/alpha=1,seed=42"
    for name in ("results.json", "per_query.npz", "checkpoints/checkpoint-12/trainer_state.json"):
        (stopped / name).unlink()
    shutil.rmtree(stopped / "model")
    trained.clear()
    assert sweep_alpha(alpha="0.5,1") == 0
    assert trained == [("alpha=1,seed=42", True)]
    as_whole = read_json(project / "whole/alpha=1,seed=42/results.json")
    assert read_json(stopped / "results.json") == as_whole


def test_an_interrupted_run_without_checkpoint_begins_anew(project, write_recipe, trained):
    assert sweep_alpha() == 0
    stopped = project / "out/alpha=0,seed=42"
    before = read_json(stopped / "results.json")
    for name in ("results.json", "per_query.npz"):
        (stopped / name).unlink()
    shutil.rmtree(stopped / "model")
    (stopped / "checkpoints/checkpoint-4").mkdir(parents=True)  # not complete
    trained.clear()
    assert sweep_alpha() == 0
    assert trained == [("alpha=0,seed=42", False)]
    assert read_json(stopped / "results.json") == before
    assert not (stopped / "checkpoints").exists()


def test_a_run_whose_evaluation_failed_keeps_its_model_and_is_only_evaluated_again(
    project, trained, monkeypatch, capsys
):
    def fail(*arguments, **options):
        raise MemoryError("no memory for the scores")

    with monkeypatch.context() as patch:
        patch.setattr(RetrievalTask, "evaluate", fail)
        assert sweep_alpha(alpha="0") == 1
    model = project / "out/seed=42/model"
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"the trained model is in {model.relative_to(project)}" in message
    assert "MemoryError: no memory for the scores" in message
    before = (model / "model.safetensors").read_bytes()
    monkeypatch.setattr(runs, "run_parts", fail)  # nothing is trained again
    assert sweep_alpha(alpha="0") == 0
    assert (model / "model.safetensors").read_bytes() == before
    assert read_json(project / "out/seed=42/results.json")["seed"] == 42


def test_a_changed_recipe_is_refused_before_anything_runs(project, write_recipe, trained, capsys):
    assert sweep_alpha() == 0
    before = {path: path.read_bytes() for path in project.glob("out/**/*") if path.is_file()}
    trained.clear()
    write_recipe("learning_rate: 2e-2")
    assert sweep_alpha(alpha="1,0.5") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "alpha=0.5,seed=42 was made with learning_rate 0.01, and the recipe now says" in message
    assert trained == []
    assert {p: p.read_bytes() for p in project.glob("out/**/*") if p.is_file()} == before


def test_a_folder_of_something_else_is_refused(project, trained, capsys):
    (project / "out/alpha=0,seed=42").mkdir(parents=True)
    (project / "out/alpha=0,seed=42/notes.txt").write_text("mine")
    assert sweep_alpha() == 2
    assert "holds no run of a sweep" in capsys.readouterr().err
    assert trained == []
    assert (project / "out/alpha=0,seed=42/notes.txt").read_text() == "mine"


def test_a_run_that_fails_loses_no_other_and_is_named(project, trained, capsys):
    command = ("sweep", "recipe.yaml", "--batch-size", "8,64,16", "--out", "out")
    assert run(*command) == 1
    assert [name for name, _ in trained] == [f"batch_size={n},seed=42" for n in (8, 64, 16)]
    lines = capsys.readouterr().err.splitlines()
    assert re.match(r"hybrid-fast: failed: batch_size=64,seed=42: .*batch_size", lines[-1])
    content = read_json(project / "out/sweep.json")
    assert [point["values"] for point in content["points"]] == [
        {"batch_size": 8},
        {"batch_size": 16},
    ]
    assert list(content["failed"]) == ["batch_size=64,seed=42"]
    assert "batch_size=64,seed=42" in (project / "out/sweep.html").read_text(encoding="utf-8")
    trained.clear()
    assert run(*command) == 1
    assert [name for name, _ in trained] == ["batch_size=64,seed=42"]


def test_no_report_if_every_run_fails(project, capsys):
    assert run("sweep", "recipe.yaml", "--batch-size", "64", "--out", "out") == 1
    assert "failed: seed=42: " in capsys.readouterr().err
    assert not (project / "out/sweep.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alpha", "0,2"], "command line: alpha is 2.0; it must be a number from 0 to 1"),
        (["--alpha", "0,x"], "command line: alpha is 'x'; a number is needed"),
        (["--alpha", "0,,1"], "--alpha: not valid YAML"),
        (["--alpha", " "], "--alpha has no value"),
        (["--alpha", "0.5,0.50"], "alpha=0.50,seed=42 would be run twice"),
        (["--alpah", "0,1"], "unknown field 'alpah'; did you mean 'alpha'"),
        (["--kind", "mono,hybird"], "did you mean 'hybrid'"),
        (["--seeds", "2", "--seed", "1"], "--seeds and --seed are both given"),
        (["--seeds", "0"], "--seeds"),
        (["--task", "builtin,xquadr"], "there is no task 'xquadr'"),
        (["--task", "null"], "names no task to compare runs on; add one"),
        (["--eval_strategy", "no,steps", "--task", "null"], "names no task"),
    ],
)
def test_bad_values_end_before_anything_runs(project, trained, capsys, arguments, message):
    assert run("sweep", "recipe.yaml", *arguments, "--out", "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert trained == []
    assert not (project / "out").exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0,0.25,1", ["0", "0.25", "1"]),
        ("1e-3", ["1e-3"]),
        ("uniform, {de: 1, en: 2}, 0.5", ["uniform", "{de: 1, en: 2}", "0.5"]),
        ("[a, b],[c]", ["[a, b]", "[c]"]),
        ("'a,b', c", ["'a,b'", "c"]),
        ("null, -1", ["null", "-1"]),
    ],
)
def test_commas_separate_values_but_not_within_brackets(text, values):
    assert split_values(text, "--field") == values


class Texts(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_two_fields_are_curves_and_all_text_is_escaped(project, tmp_path, capsys):
    assert sweep_alpha("--kind", "hybrid,mono") == 0
    results = read_json(project / "out/alpha=0,kind=mono,seed=42/results.json")
    hostile = "<script>alert(1)</script>"
    points = [
        Point(
            {"model": value, hostile: alpha},
            load_runs([{**results, "seed": seed} for seed in (0, 1)]),
        )
        for value in (hostile, "$x_")
        for alpha in (0, 1)
    ]
    folder = tmp_path / "page"
    assert write_sweep(points, folder, hostile, {hostile: hostile}) == folder / "sweep.html"
    texts = Texts((folder / "sweep.html").read_text(encoding="utf-8"))
    assert texts.tags.count("script") == 1
    assert texts.text.count(hostile) >= 6
    assert "default-src 'none'" in (folder / "sweep.html").read_text(encoding="utf-8")
    assert read_json(folder / "sweep.json")["failed"] == {hostile: hostile}


def test_seeds_alone_need_no_curves(project, capsys):
    assert run("sweep", "recipe.yaml", "--seeds", "2", "--out", "out") == 0
    assert "data:image/svg+xml" not in (project / "out/sweep.html").read_text(encoding="utf-8")
    point = read_json(project / "out/sweep.json")["points"][0]
    assert (point["values"], point["seeds"]) == ({}, [0, 1])
