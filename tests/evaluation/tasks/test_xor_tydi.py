"""R@2kt and R@5kt of XOR-TyDi against a plain reading of the rule; the official score beside."""

import builtins

import numpy as np
import pytest
from task_files import OneHot, lines, show, write

from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks import Candidate, Query, xor_tydi
from hybrid_fast.evaluation.tasks.xor_tydi import AnswerTask

nltk = pytest.importorskip("nltk")


@pytest.fixture
def sentence_data(tmp_path_factory, monkeypatch):
    """NLTK's data of sentence ends, with no abbreviations: every full stop may end a sentence."""
    folder = tmp_path_factory.mktemp("nltk")
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (folder / "tokenizers" / "punkt_tab" / "english").mkdir(parents=True, exist_ok=True)
        (folder / "tokenizers" / "punkt_tab" / "english" / name).write_text("")
    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    forget()
    yield folder
    forget()


def forget():
    xor_tydi._tokenizer.cache_clear()
    nltk.tokenize._get_punkt_tokenizer.cache_clear()


@pytest.fixture
def folder(tmp_path):
    """Question n is about passages n; 3 has yes and no alone, 4 an answer that nothing holds."""
    questions = [
        ("0", "ja", ["Paris", "yes"]),
        ("1", "ja", ["london"]),
        ("2", "ko", ["No. 10"]),
        ("3", "ko", ["yes"]),
        ("4", "te", ["Berlin"]),
    ]
    write(
        tmp_path / "xor_dev_retrieve_eng_span_v1_1.jsonl",
        lines(
            {"id": name, "question": f"question {name}", "lang": lang, "answers": answers}
            for name, lang, answers in questions
        ),
    )
    texts = ["It is Paris.", "It is London.", '"At No. 10 ""there"""', "Nothing.", "Nothing."]
    rows = "".join(f"{n + 1}\t{text}\tTitle {n}\n" for n, text in enumerate(texts))
    write(tmp_path / "enwiki_20190201_w100.tsv", "id\ttext\ttitle\n" + rows)
    return tmp_path


@pytest.mark.usefixtures("sentence_data")
def test_scores(folder, tmp_path):
    task = load_task("xor-tydi", folder)
    assert task.queries.ids == ["0", "1", "2", "4"]
    assert task.candidates[2] == 'Title 2 At No. 10 "there"'
    results = task.evaluate(OneHot())
    # "london" has another case, "No. 10" becomes "No . 10" when "No." ends a sentence: the rule.
    assert results.grid["r@2kt"] == {
        "ja": {"en": 0.5, "ja": None, "ko": None, "te": None, "all": 0.5},
        "ko": {"en": 0.0, "ja": None, "ko": None, "te": None, "all": 0.0},
        "te": {"en": 0.0, "ja": None, "ko": None, "te": None, "all": 0.0},
    }
    assert results.metrics["cross"]["r@2kt"] == pytest.approx(0.5 / 3)
    assert results.metrics["official"]["r@2kt"] == pytest.approx(0.5 / 3)
    assert results.metrics["cross"]["map"] is None
    assert results.counts.other["left_out"] == {"ja": 0, "ko": 1, "te": 0}
    assert results.counts.other["without_prediction"] == 0
    assert "xor-tydi" in show(results, tmp_path)


@pytest.mark.usefixtures("sentence_data")
@pytest.mark.parametrize("depth", [1, 2, 100])
def test_as_many_passages_as_the_tokens_need(folder, monkeypatch, depth):
    """Against joining the whole ranking; passages are short, so that few fill no budget."""
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["x", "y", "Paris"], 7, p=[0.5, 0.49, 0.01])) for _ in range(60)]
    rows = "".join(f"{n}\t{text}\tTitle\n" for n, text in enumerate(words))
    write(folder / "enwiki_20190201_w100.tsv", rows)
    monkeypatch.setattr(xor_tydi, "BUDGETS", {"r@2kt": 20, "r@5kt": 50})
    monkeypatch.setattr(xor_tydi, "FIRST_DEPTH", depth)
    task = load_task("xor-tydi", folder, languages=["ja"])
    queries = rng.integers(-9, 9, (2, 3)).astype(np.float32)
    candidates = rng.integers(-9, 9, (60, 3)).astype(np.float32)
    results = task.score(queries, candidates)
    order = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")
    for name, budget in (("r@2kt", 20), ("r@5kt", 50)):
        tokens = [" ".join(words[row] for row in ranking).split()[:budget] for ranking in order]
        expected = np.mean(["Paris" in tokens[0], "london" in tokens[1]])
        assert results.grid[name]["ja"]["en"] == expected


@pytest.mark.usefixtures("sentence_data")
def test_predictions_that_lack_questions(folder):
    """The official script leaves out what is not predicted; here it counts as not found."""
    task = load_task("xor-tydi", folder)
    results = task.score_passages({"0": ["Nothing.", "Paris"], "2": ["No. 10"]})
    assert results.metrics["cross"]["r@5kt"] == pytest.approx((0.5 + 0 + 0) / 3)
    assert results.metrics["official"]["r@5kt"] == pytest.approx((1 + 0) / 2)
    assert results.counts.other["without_prediction"] == 2
    with pytest.raises(ValueError, match="1 questions are none of the task's: '7'"):
        task.score_passages({"7": []})
    by_number = task.score_passages({0: ["Nothing.", "Paris"], 2: ["No. 10"]})
    assert by_number.metrics == results.metrics
    with pytest.raises(ValueError, match="ranked passages: question '0' is there twice, as text"):
        task.score_passages({0: ["Paris"], "0": []})


@pytest.mark.usefixtures("sentence_data")
def test_the_budget_cuts_within_a_passage():
    texts = ["a " * 1999 + "Rome", "Oslo " + "b " * 3000]
    assert xor_tydi._answered(texts, ["Rome"]) == ([True, True], 5001)
    assert xor_tydi._answered(texts, ["Oslo"]) == ([False, True], 5001)
    assert xor_tydi._answered(["a " * 2000 + "Rome"], ["Rome"]) == ([False, True], 2001)


@pytest.mark.usefixtures("sentence_data")
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "0", "question": "x", "lang": "ja", "answers": []}, "6: question '0' occurs"),
        ({"id": "9", "question": "x", "lang": "ja"}, "6, field 'answers': must be a list"),
        ({"id": "9", "lang": "ja", "answers": []}, "6: has no field 'question'"),
        (
            {"id": "9", "question": " ", "lang": "ja", "answers": []},
            "6: field 'question' is empty$",
        ),
        (
            {"id": "9", "question": "x", "lang": "jp", "answers": []},
            "6, field 'lang': 'jp' is none",
        ),
    ],
)
def test_bad_questions(folder, record, message):
    path = folder / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    path.write_text(path.read_text() + lines([record]))
    with pytest.raises(ValueError, match=f"v1_1.jsonl:{message}"):
        load_task("xor-tydi", folder)


@pytest.mark.usefixtures("sentence_data")
def test_missing_files_and_no_run(folder, tmp_path):
    with pytest.raises(ValueError, match="has answers but no judgements"):
        load_task("xor-tydi", folder).evaluate(OneHot(), run=tmp_path / "run")
    (folder / "enwiki_20190201_w100.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="the passages of xor-tydi, enwiki_20190201_w100"):
        load_task("xor-tydi", folder)


@pytest.mark.usefixtures("sentence_data")
def test_a_language_without_questions_and_a_passage_twice(folder):
    with pytest.raises(FileNotFoundError, match="no question in fi, ru in "):
        load_task("xor-tydi", folder, languages=["ja", "ru", "fi"])
    with (folder / "enwiki_20190201_w100.tsv").open("a") as file:
        file.write("1\tAgain.\tTitle\n")
    with pytest.raises(ValueError, match="a candidate id occurs more than once"):
        load_task("xor-tydi", folder)


def test_without_sentence_data(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    forget()
    with pytest.raises(ImportError, match=r"python -m nltk.downloader punkt_tab"):
        load_task("xor-tydi", folder)


def test_without_nltk(folder, monkeypatch):
    real = builtins.__import__

    def fail(name, *args, **options):
        if name.startswith("nltk"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **options)

    forget()
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ImportError, match=r"pip install 'hybrid_fast\[xor\]'"):
        load_task("xor-tydi", folder)


def test_questions_that_are_made_in_memory():
    """Ids of other types find their answers; what is missing is named before anything is read."""
    passages = ["the river", "the sea"]
    candidates = [Candidate(number, "eng", text) for number, text in enumerate(passages)]

    def make(question, passages=passages):
        return AnswerTask("t", [question], {7: ["sea"]}, candidates, passages)

    task = make(Query(7, "JA", "?"))
    assert task.answers == {"7": ["sea"]}
    assert task.left_out == {"ja": 0}
    assert task.languages == ("en", "ja")
    assert len(make(Query(7, "ja", "?"), ["", "the sea"]).passages) == 2  # beside a title
    with pytest.raises(ValueError, match="answers: question '7' is there twice, as text"):
        AnswerTask("t", [], {7: ["sea"], "7": ["river"]}, candidates, passages)
    with pytest.raises(ValueError, match="task 't': query '7' has a blank text"):
        make(Query(7, "ja", " "))
    with pytest.raises(ValueError, match="task 't': query '7' has no text"):
        make(Query(7, "ja", None))
    with pytest.raises(ValueError, match="task 't': passage '1' has no text: it is None"):
        make(Query(7, "ja", "?"), ["the river", None])


def test_languages_of_questions_that_are_merged_are_named(caplog):
    questions = [Query(code, code, "?") for code in ("zh-Hans", "zh-Hant")]
    answers = {"zh-Hans": ["sea"], "zh-Hant": ["sea"]}
    AnswerTask("t", questions, answers, [Candidate("d", "en", "the sea")], ["the sea"])
    (message,) = caplog.messages
    assert "task 't': different codes became one language: 'zh-Hans' (1 texts) and" in message
