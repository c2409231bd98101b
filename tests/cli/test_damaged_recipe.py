"""Whatever a recipe holds, reading it gives fields, or an error that names the file."""

import random

import pytest
from mutations import mutate, refusal

from hybrid_fast.cli.recipe import load_recipe

RECIPE = b"""model: static
model_options: {dim: 8, vocab_size: 100}
train:
  - path: rows.jsonl
    columns: {query: question, passage: answer}
    kinds: [mono, cross]
task: builtin
task_options: {languages: [de, en]}
kind: hybrid
alpha: 0.3
language_sampling: {de: 1, en: 2}
learning_rate: 1e-3
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    return tmp_path / "recipe.yaml"


def test_damaged_copies(recipe):
    recipe.write_bytes(RECIPE)
    assert load_recipe(recipe)[1]["alpha"] == 0.3
    chance = random.Random(0)
    for _ in range(300):
        content = mutate(RECIPE, chance)
        recipe.write_bytes(content)
        assert "recipe.yaml" in (refusal(load_recipe, recipe) or "recipe.yaml"), content


@pytest.mark.parametrize(
    "content",
    [
        "1: x",
        "null: x",
        "? [a]\n: x",
        "2020-01-01: x",
        "<<: {kind: mono}",
        "model_options: {1: 2}",
        "task_options: {null: 1}\ntask: builtin",
        "train:\n - {path: rows.jsonl, 1: 2}",
        "train:\n - {path: rows.jsonl, columns: {1: question}}",
        "train:\n - {path: rows.jsonl, root: 3}",
        "train:\n - {path: [1]}",
        "language_sampling: {1: 2}",
    ],
)
def test_keys_that_are_no_text_and_paths_that_are_none(recipe, content):
    recipe.write_text(content + "\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml.*"):
        load_recipe(recipe)


def test_a_source_of_several_files(recipe):
    recipe.write_text("train:\n - {path: [rows.jsonl, 'row*.jsonl']}\n")
    assert load_recipe(recipe)[0].train[0]["path"] == ["rows.jsonl", "row*.jsonl"]
