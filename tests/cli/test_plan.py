"""`hybrid-fast plan`: the first batches of a recipe, and what its weights leave out."""

import json

import pytest

from hybrid_fast.cli import main


def test_plan_shows_batches_counts_and_negatives(project, capsys):
    before = sorted(path.name for path in project.iterdir())
    main(["plan", "recipe.yaml", "--steps", "4"])
    shown = capsys.readouterr().out
    assert "mono" in shown
    assert "cross" in shown
    assert "question" in shown
    assert "40 rows: 40 different queries, 40 different passages" in shown
    assert "contrasted with 7 in-batch negatives" in shown.replace("\n", " ")
    assert "4 steps of 8: 2 mono, 2 cross" in shown
    assert sorted(path.name for path in project.iterdir()) == before


def test_plan_takes_fields_and_names_what_is_left_out(project, capsys):
    main(["plan", "recipe.yaml", "--steps", "2", "--kind", "cross", "--pair_weights", "{de-en: 1}"])
    shown = capsys.readouterr().out
    assert "2 steps of 8: 2 cross" in shown
    assert "de-en" in shown


def test_plan_counts_the_hard_negatives_of_the_row_that_gives_them(project, write_recipe, capsys):
    rows = [json.loads(line) for line in (project / "items.jsonl").read_text().splitlines()]
    with_some = [row | {"negatives": ["no"] * (row["lang"] == "de")} for row in rows]
    (project / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in with_some))
    recipe = str(write_recipe("pair_weights: {de-en: 1}", "kind: cross"))
    for negatives_from, count in (("query", 8), ("passage", 0)):
        main(["plan", recipe, "--steps", "1", "--negatives_from", negatives_from])
        shown = " ".join(capsys.readouterr().out.split())
        assert ("the first batch has 8 hard negatives" in shown) == (count == 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch_size", "21"], "largest batch_size that works is 20"),
        (["--alpa", "1"], "did you mean 'alpha'"),
        (["--steps", "0"], "greater than or equal to 1"),
        (
            ["--train", "[{path: items.jsonl, in_batch: no}]"],
            "in_batch is 'no'; true or false is needed",
        ),
    ],
)
def test_plan_refuses_bad_input(project, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "recipe.yaml", *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
