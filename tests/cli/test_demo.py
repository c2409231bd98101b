"""The demo compares three kinds from one first model, and keeps what it has trained."""

import json
import re

import pytest

from hybrid_fast.cli import demo, main
from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.models import BiEncoder


@pytest.fixture
def small_demo(project, monkeypatch):
    """The demo on forty items instead of the built-in corpus."""
    recipe = Recipe(
        model_options={"dim": 16, "vocab_size": 300},
        train=[{"path": str(project / "items.jsonl")}],
        task="xquad-r",
        task_data=str(project / "task"),
    )
    monkeypatch.setattr(demo, "RECIPE", recipe)
    small = {"max_steps": 20, "batch_size": 8, "logging_steps": 5, "use_cpu": True}
    monkeypatch.setattr(demo, "TRAINING", {**demo.TRAINING, **small})
    return project


def test_the_real_demo_is_of_the_built_in_corpus():
    assert (demo.RECIPE.train, demo.RECIPE.task) == ("builtin", "builtin")
    assert demo.KINDS == ("mono", "cross", "hybrid")


def test_demo_writes_report_results_and_models(small_demo, capsys):
    main(["demo", "--out", "new/demo", "--seed", "5"])
    captured = capsys.readouterr()
    folder = small_demo / "new/demo"
    assert [path.name for path in (small_demo / "new").iterdir()] == ["demo"]
    runs = json.loads((folder / "results.json").read_text())["runs"]
    assert [(run["kind"], run["seed"]) for run in runs] == [(kind, 5) for kind in demo.KINDS]
    page = (folder / "report.html").read_text()
    assert all(kind in page for kind in demo.KINDS)
    assert "random exchanges" in page
    vectors = []
    for kind in demo.KINDS:
        files = sorted(p.name for p in (folder / kind).iterdir())
        assert files == ["model", "per_query.npz", "results.json"]
        vectors.append(BiEncoder.from_pretrained(folder / kind / "model").encode_queries(["de 1"]))
    assert not (vectors[0] == vectors[1]).all()
    assert captured.out.endswith("report: new/demo/report.html\n")
    assert "{'loss'" not in captured.out
    lines = captured.err.splitlines()
    starts = [line.removeprefix("hybrid-fast: ").split()[0] for line in lines]
    assert sorted(starts) == [
        *["Each"] * 3,
        *["The"] * 3,
        "warning:",
    ]  # query is contrasted; table has


@pytest.fixture
def fail():
    def raise_error(*arguments, **options):
        raise ValueError("no such luck")

    return raise_error


@pytest.mark.parametrize("stage", ["load_parts", "run_parts"])
def test_a_failure_before_a_model_is_trained_leaves_nothing(
    small_demo, monkeypatch, capsys, stage, fail
):
    monkeypatch.setattr(demo, stage, fail)
    before = sorted(small_demo.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--out", "new/demo"])
    assert ended.value.code == 2
    assert "hybrid-fast: error: no such luck\n" in capsys.readouterr().err
    assert sorted(small_demo.rglob("*")) == before


@pytest.mark.parametrize(("stage", "num_models"), [("run_parts", 2), ("write_report", 3)])
def test_a_later_failure_keeps_the_models_and_says_where(
    small_demo, monkeypatch, capsys, stage, num_models, fail
):
    monkeypatch.setitem(demo.TRAINING, "max_steps", 2)
    run_parts, calls = demo.run_parts, []

    def fail_at_last(*arguments):
        calls.append(arguments)
        return fail() if len(calls) > 2 else run_parts(*arguments)

    monkeypatch.setattr(demo, stage, fail_at_last if stage == "run_parts" else fail)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--out", "new/demo"])
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert re.search(r"error: the .*models .*are in new/demo, .*: no such luck$", lines[-1])
    for kind in demo.KINDS[:num_models]:
        assert BiEncoder.from_pretrained(f"new/demo/{kind}/model").embedding_dim == 16
    assert len(list((small_demo / "new/demo").iterdir())) == num_models
