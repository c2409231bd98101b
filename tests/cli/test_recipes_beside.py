"""The recipes that stand beside a sample of data are planned and trained as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hybrid_fast.cli import main
from hybrid_fast.cli.recipe import load_recipe
from hybrid_fast.cli.runs import load_items

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("name", ["own_data", "own_topics"])
def test_a_recipe_beside_its_data_is_planned_and_trained(tmp_path, capsys, name):
    recipe = str(RECIPES / f"{name}.yaml")
    main(["plan", recipe, "--steps", "2"])
    assert "2 steps of 32: " in capsys.readouterr().out
    main(["train", recipe, "--out", str(tmp_path / "run"), "--max_steps", "2", "--use_cpu", "true"])
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_topics_are_no_negatives_of_texts_of_others(capsys):
    recipe, *_ = load_recipe(RECIPES / "own_topics.yaml")
    table = load_items(recipe)
    by_source = {
        source: set(table.in_batch[table.source_codes == code].tolist())
        for code, source in enumerate(table.sources)
    }
    assert by_source == {"own_data": {True}, "own_topics": {False}}
    (code,) = np.flatnonzero(np.array(table.sources) == "own_topics")
    rows = np.flatnonzero(table.source_codes == code)
    # Nothing of the built-in test, as of that sample.
    assert set(table.queries(rows)) <= set(table.passages(np.flatnonzero(table.in_batch)))
    topics = {}
    for row in table.dataset:
        if row["source"] == "own_topics":
            topics.setdefault(row["lang"], set()).add((row["passage"], *sorted(row["negatives"])))
    assert topics.keys() == {"de", "en", "tr"}
    for of_language in topics.values():
        names = {topic for topic, *_ in of_language}
        assert len(names) == len(of_language) == 4
        assert all({topic, *others} == names for topic, *others in of_language)
    main(["plan", str(RECIPES / "own_topics.yaml"), "--steps", "1"])
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "with 31 in-batch negatives, but that of 48 of 165 rows (48 of 48 of 'own_topics')" in shown
    )
    assert "with its own hard negatives alone (in_batch: false); the first batch has " in shown
