"""train-reader and evaluate-reader as a user runs them, and one line for every mistake."""

import json
import re

import pytest
from model_folders import bert_folder, texts  # noqa: F401

from hybrid_fast.cli import main
from hybrid_fast.models import BiEncoder

CONTEXTS = {
    "en": ("The river begins in the mountains and ends in the sea.", "Where does the river begin?"),
    "de": ("Der Fluss beginnt in den Bergen und endet im Meer.", "Wo beginnt der Fluss?"),
}
ANSWERS = {"en": "the mountains", "de": "Bergen"}


@pytest.fixture
def questions(project):
    """A folder questions/ with a file a language, fi without a gold answer."""
    (project / "questions").mkdir()
    for lang, (context, question) in {**CONTEXTS, "fi": ("Meri.", "Missä?")}.items():
        text = ANSWERS.get(lang, "")
        answer = {"text": text, "answer_start": context.find(text)}
        qa = {"id": f"{lang}-1", "question": question, "answers": [answer]}
        content = {"data": [{"paragraphs": [{"context": context, "qas": [qa]}]}]}
        path = project / "questions" / f"{lang}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    return project


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with status 2 and one line on stderr; return that line."""

    def run(command: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(command.split())
        captured = capsys.readouterr()
        assert ended.value.code == 2
        assert captured.out == ""
        lines = [line for line in captured.err.splitlines() if "hybrid-fast: Loaded" not in line]
        assert len(lines) == 1, captured.err
        return lines[0].removeprefix("hybrid-fast: error: ")

    return run


def test_train_and_evaluate(questions, bert_folder, capsys):  # noqa: F811
    BiEncoder.from_pretrained(bert_folder).save_pretrained("encoder")
    capsys.readouterr()
    main(
        "train-reader encoder questions --languages en --out reader --max-steps 60 "
        "--learning-rate 5e-3 --batch-size 2 --max-length 40".split()
    )
    captured = capsys.readouterr()
    assert captured.out == "trained reader: reader\n"
    assert re.fullmatch(r"hybrid-fast: step 50 of 60: loss \S+\n", captured.err)

    command = "evaluate-reader reader --data questions/{lang}.json --languages en,de --out results"
    main([*command.split(), "--retriever", "encoder", "--top-k", "1,2", "--rules", "mlqa"])
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("hybrid-fast: Loaded encoder: cosine similarity, mean pooling")
    assert "rules of MLQA" in captured.out
    assert captured.out.endswith("results: results/reading.json\n")
    results = json.loads((questions / "results" / "reading.json").read_text(encoding="utf-8"))
    assert list(results["figures"]) == ["gold", "retrieved@1", "retrieved@2"]
    assert results["figures"]["gold"]["exact_match"]["en"] == 100
    assert results["figures"]["retrieved@2"]["answer_recall"]["mean"] == 100
    assert (results["reader"], results["retriever"]) == ("reader", "encoder")
    assert results["settings"]["max_length"] == 40
    assert len((questions / "results" / "predictions.jsonl").read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train-reader", "Missing argument 'encoder'"),
        ("train-reader encoder", "Missing argument 'data'"),
        ("train-reader encoder questions", "Missing option '--out'"),
        ("train-reader encoder questions --out questions", "questions exists; choose another"),
        ("train-reader encoder questions --out o --epochs 0", "epochs is 0.0; a number above 0"),
        (
            "train-reader encoder nothing.json --lang en --out o",
            "no such file or folder: nothing.json",
        ),
        ("train-reader encoder questions/en.json --out o", "the language is unknown; give lang="),
        ("train-reader encoder questions --out o", "no question in fi has a gold answer"),
        (
            "train-reader encoder questions --languages sw --out o",
            "the data has no sw; the languages",
        ),
        ("train-reader no/such/encoder questions --languages en --out o", "there is no folder"),
        ("train-reader static questions --languages en --out o", "is a static encoder"),
        ("train-reader encoder questions --on-bad-answer no --out o", "on_bad_answer is 'no'; it"),
        ("evaluate-reader encoder", "Missing option '--data'"),
        (
            "evaluate-reader encoder --data questions --languages en,",
            "--languages is 'en,'; names separated by single commas are needed",
        ),
        (
            "evaluate-reader encoder --data questions --languages en",
            "is not a reader but a BertModel",
        ),
        (
            "evaluate-reader encoder --data questions --top-k 1,x",
            "--top-k is '1,x'; whole numbers from 1",
        ),
        ("evaluate-reader encoder --data questions --top-k 0", "--top-k is '0'; whole numbers"),
        (
            "evaluate-reader encoder --data questions --rules squad2",
            "rules is 'squad2'; it must be one of 'squad'",
        ),
        ("evaluate-reader encoder --data questions --out questions", "questions exists"),
        (
            "evaluate-reader encoder --data questions --pooling cls --no-normalize --device cpu",
            "--pooling, --normalize, --device is given without --retriever; add --retriever, or",
        ),
    ],
)
def test_mistakes(questions, bert_folder, fails, command, message):  # noqa: F811
    BiEncoder.from_pretrained(bert_folder).save_pretrained("encoder")
    BiEncoder.static(["the river begins"], 8, 50).save_pretrained("static")
    assert message.lower() in fails(command).lower()
    assert not (questions / "o").exists()


def test_more_passages_than_the_pool_has(questions, bert_folder, fails):  # noqa: F811
    main(f"train-reader {bert_folder} questions --languages en --out reader --max-steps 1".split())
    line = fails(
        f"evaluate-reader reader --data questions --languages en,de --retriever {bert_folder}"
    )
    assert line == "top_k is 1, 5, 10; whole numbers from 1 to 2, the size of the pool, are needed"
