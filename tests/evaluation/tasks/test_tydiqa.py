"""TyDi QA GoldP as passage retrieval: real files, the published form, the hub."""

import json

import pytest
from task_files import OneHot, write

from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks import tydiqa

pytestmark = pytest.mark.filterwarnings("ignore:this is not tydiqa:UserWarning")


def squad(rows):
    """One article a question, as published."""
    return json.dumps(
        {
            "data": [
                {
                    "paragraphs": [
                        {
                            "context": context,
                            "qas": [{"id": name, "question": question, "answers": []}],
                        }
                    ]
                }
                for name, question, context in rows
            ],
            "version": "TyDiQA-GoldP-1.1-for-SQuAD-1.1",
        }
    )


ROWS = [
    ("finnish-1", "kysymys 1", "teksti 1"),
    ("finnish-2", "toinen 1", "teksti 1"),
    ("swahili-3", "swali 2", "maandishi 2"),
    ("finnish-4", "kysymys 3", "teksti 3"),
]


def test_real_files(shared_data):
    with pytest.warns(UserWarning, match="ar is missing; en is missing; id is missing") as caught:
        task = load_task("tydiqa-goldp", shared_data / "tydiqa-goldp")
    assert ", not " not in str(caught[0].message)
    assert task.queries.counts == {"bn": 113, "fi": 782, "ko": 276, "sw": 499, "te": 669}
    assert set(task.relevants.counts) == {1}
    codes = task.candidates.language_codes[task.relevants.rows]
    assert (codes == task.queries.language_codes).all()
    assert len(set(task.candidates)) == len(task.candidates)


def test_training_questions_whose_ids_repeat(shared_data):
    task = load_task("tydiqa-goldp", shared_data / "tydiqa-goldp", split="train", languages=["ko"])
    assert task.queries.counts == {"ko": 1625}
    assert len(set(task.queries.ids)) == 1625


def test_published_file_of_all_languages(tmp_path):
    write(tmp_path / "tydiqa-goldp-v1.1-dev.json", squad(ROWS))
    task = load_task("tydiqa-goldp", tmp_path)
    assert task.queries.counts == {"fi": 3, "sw": 1}
    assert list(task.candidates) == ["teksti 1", "teksti 3", "maandishi 2"]
    assert task.relevants.rows.tolist() == [0, 0, 1, 2]
    results = task.evaluate(OneHot())
    assert results.metrics["mono"]["map"] == results.metrics["multi"]["map"] == 1.0
    assert results.metrics["cross"]["map"] is None


def test_from_the_hub(monkeypatch):
    def records(name, config, split):
        assert (name, config, split) == (tydiqa.HUB, "secondary_task", "validation")
        keys = ("id", "question", "context")
        return enumerate((dict(zip(keys, row, strict=True)) for row in ROWS), 1)

    monkeypatch.setattr(tydiqa, "read_hub_records", records)
    task = load_task("tydiqa-goldp", tydiqa.HUB)
    assert task.queries.counts == {"fi": 3, "sw": 1}


def test_hub_out_of_reach(monkeypatch):
    def records(name, config, split):
        raise FileNotFoundError("no network")

    monkeypatch.setattr(tydiqa, "read_hub_records", records)
    message = "could not be fetched .* give a folder with tydiqa-goldp-v1.1-dev.json"
    with pytest.raises(FileNotFoundError, match=message):
        load_task("tydiqa-goldp", tydiqa.HUB)


def test_bad_input(tmp_path):
    write(tmp_path / "tydiqa-goldp-v1.1-dev.json", squad([("greek-1", "x", "y")]))
    with pytest.raises(ValueError, match="'greek-1' does not start with a language of TyDi QA"):
        load_task("tydiqa-goldp", tmp_path)
    write(tmp_path / "tydiqa-goldp-v1.1-dev.json", squad(ROWS))
    with pytest.raises(FileNotFoundError, match="dev split of TyDi QA GoldP in te not found"):
        load_task("tydiqa-goldp", tmp_path, languages=["fi", "te"])
    with pytest.raises(FileNotFoundError, match="the train split"):
        load_task("tydiqa-goldp", tmp_path, split="train")
    with pytest.raises(ValueError, match="split must be one of 'dev', 'train'"):
        load_task("tydiqa-goldp", tmp_path, split="test")
