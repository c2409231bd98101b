"""Items, files and fields that training refuses in one line."""

import json
import re

import pytest


def changed(rows: list[dict], position: int, **fields: object) -> str:
    rows[position] |= fields
    kept = [{name: value for name, value in row.items() if value != "drop"} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in kept)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query": "drop", "passage": None}, r"items\.jsonl:3: has neither a query nor a passage"),
        ({"lang": "drop"}, r"items\.jsonl:3: field 'lang' is missing"),
        ({"query": 5}, r"items\.jsonl:3: field 'query' must be text, got 5 \(int\)"),
        ({"passage": [5]}, r"items\.jsonl:3: field 'passage'.* must be"),
        ({"passage": " "}, r"items\.jsonl:3: field 'passage'"),
        ({"lang": "xx"}, r"items\.jsonl:3: field 'lang': unknown language 'xx'"),
        ({"lang": "germn"}, r"items\.jsonl:3: field 'lang': .*did you mean 'de'"),
    ],
)
def test_bad_items_are_named_with_file_line_and_field(project, rows, fails, fields, message):
    (project / "items.jsonl").write_text(changed(rows, 2, **fields))
    assert re.search(message, fails("train", "recipe.yaml", "--out", "o"))
    assert not (project / "o").exists()


@pytest.mark.parametrize(
    ("name", "content", "source", "message"),
    [
        ("a.jsonl", '{"lang": "en"}\n', "{path: a.jsonl}", "missing column 'query' or 'passage'"),
        ("a.jsonl", '{"query": "q"}\n', "{path: a.jsonl}", "language is unknown; give lang="),
        (
            "a.jsonl",
            '{"lang": "en", "query": "q"}\n{oh\n',
            "{path: a.jsonl}",
            "a.jsonl:2: malformed",
        ),
        ("a.jsonl", "", "{path: a.jsonl}", "a.jsonl: the file is empty"),
        ("a.csv", "lang,query\nen\n", "{path: a.csv}", r"a\.csv:2: has 1 fields"),
        ("a.csv", "lang,q\nen,x\n", "{path: a.csv, columns: {qury: q}}", "did you mean 'query'"),
        (
            "a.csv",
            "lang,q\nen,x\n",
            "{path: a.csv, columns: {query: y}, lang: en}",
            "field 'y' is mis",
        ),
        ("a.json", "{", "{path: a.json, lang: en}", "a.json:1: malformed JSON"),
        ("a.xyz", "x", "{path: a.xyz}", "cannot tell the format of 'a.xyz'"),
        (
            "a.txt",
            "x",
            "{path: b.txt, lang: en}",
            r"yaml:\d+: train, source 1: no such file.*: .*b\.txt",
        ),
        ("a.jsonl", "{}", "{path: a.jsonl, lnag: en}", "no option 'lnag'; .*did you mean 'lang'"),
        ("a.jsonl", "{}", "{lang: en}", "source 1: needs a 'path'"),
    ],
)
def test_bad_files_are_named(project, write_recipe, fails, name, content, source, message):
    (project / name).write_text(content)
    write_recipe(f"train: [{source}]")
    assert re.search(message, fails("train", "recipe.yaml", "--out", "o"))
    assert not (project / "o").exists()


@pytest.mark.parametrize("command", ["train recipe.yaml", "evaluate m --task xquad-r --data task"])
def test_an_answer_outside_its_text(project, model, fails, command):
    path = project / "task/en.json"
    content = json.loads(path.read_text())
    content["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"] = 999
    path.write_text(json.dumps(content))
    message = fails(*command.split(), "--out", "o")
    assert re.search(
        r"en\.json, paragraph 2, .*'answer_start': 999 lies outside the context", message
    )
    assert not (project / "o").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alpha: 2", r"recipe\.yaml:13: alpha is 2.0*; it must be a number from 0 to 1"),
        ("alpha: -0.5", r"recipe\.yaml:13: alpha is -0.5"),
        ("batch_size: 21", "the largest batch_size that works is 20"),
        ("batch_size: 0", r"recipe\.yaml:12: batch_size is 0"),
        ("kind: hybird", "kind is 'hybird'.*did you mean 'hybrid'"),
        ("language_sampling: {fr: 1}", "language_sampling names 'fr', .*it has de, en"),
        ("language_sampling: unifrm", "did you mean 'uniform'"),
        ("pair_weights: {de-fr: 1}", "pair_weights names 'de-fr'"),
        ("source_weights: {x: 1}", "source_weights names 'x'"),
        ("pairs: singel", r"recipe\.yaml:13: pairs is 'singel'"),
        ("temperature: 0", r"recipe\.yaml:13: temperature is 0"),
        ("negatives: hard_only", r"recipe\.yaml:13: negatives='hard_only' needs"),
        (
            "lr_scheduler_type: liner",
            r"recipe\.yaml:13: lr_scheduler_type is 'liner'; .*did you mean 'linear'",
        ),
        ("negatives: hard", r"recipe\.yaml:13: negatives is 'hard'; .*did you mean 'hard_only'"),
        ("eval_strategy: steps\ntask:", "eval_strategy is 'steps', but the recipe names no task"),
        ("load_best_model_at_end: true", "eval_strategy is 'no', but the best model is asked for"),
        (
            "metric_for_best_model: multi_mpa\nsave_strategy: best\neval_strategy: steps",
            "metric_for_best_model is 'multi_mpa'; .*did you mean 'multi_map'",
        ),
        ("task: xquadr", "there is no task 'xquadr'; .*did you mean 'xquad-r'"),
        ("task_data: nowhere", "data folder '.*nowhere' not found"),
        ("task_data: items.jsonl", "data folder '.*items.jsonl' not found"),
        ("train: items.jsonl", "train is 'items.jsonl'; it must be 'builtin' or a list of sources"),
        ("model_options: {dim: 0}", "dim is 0; it must be at least 1"),
        ("model: task\nmodel_options: {}", "task holds neither modules.json nor config.json"),
        ("model: items.jsonl\nmodel_options: {}", "items.jsonl is a file; give the folder"),
        (
            "learning_rate: .inf",
            r"training diverged at step 1 \(query rows .*lower learning_rate, which is inf",
        ),
        ("report_to: [wandb]", "wandb"),
    ],
)
def test_fields_that_cannot_be_served(project, write_recipe, fails, line, message):
    write_recipe(*line.split("\n"))
    assert re.search(message, fails("train", "recipe.yaml", "--out", "runs/o"))
    assert not (project / "runs").exists()


def test_a_batch_kind_that_no_language_pair_serves(project, rows, fails):
    english = "".join(json.dumps(row) + "\n" for row in rows if row["lang"] == "en")
    (project / "items.jsonl").write_text(english)
    message = "no cross batch can be made: all items are in one language, 'en'"
    assert message in fails("train", "recipe.yaml", "--out", "o")
    assert not (project / "o").exists()
