"""Accuracy both ways of line-aligned pairs, each pair by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_files import OneHot, show, write

from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks.bitext import TATOEBA, BitextTask

pytestmark = pytest.mark.filterwarnings("ignore:this is not tatoeba:UserWarning")


@pytest.fixture
def folder(tmp_path):
    for first, count in (("deu", 5), ("swh", 3)):
        for side in (first, "eng"):
            text = "".join(f"{side} of {first} {n}\n" for n in range(count))
            write(tmp_path / f"tatoeba.{first}-eng.{side}", text)
    write(tmp_path / "README.md", "not a side")
    return tmp_path


def test_a_pair(folder, tmp_path):
    task = load_task("tatoeba", folder, languages=["swh"])
    assert task.languages == ("en", "sw")
    assert list(task.queries)[:2] == ["eng of swh 0", "eng of swh 1"]
    results = task.evaluate(OneHot())
    for setting in ("cross", "from_first", "to_first"):
        assert results.metrics[setting]["recall@1"] == 1.0
    assert results.metrics["mono"]["recall@1"] is results.metrics["multi"]["recall@1"] is None
    assert "tatoeba" in show(results, tmp_path)
    assert results.counts.dropped["sw"] == {"en": 0, "sw": 3}


def test_scores_are_those_of_each_pair_by_itself(folder):
    """Against the definition, on random embeddings with ties."""
    task = load_task("tatoeba", folder)
    assert task.languages == ("de", "en-de", "en-sw", "sw")
    rng = np.random.default_rng(0)
    queries, candidates = rng.integers(0, 3, (2, 16, 2)).astype(np.float32)
    results = task.score(queries, candidates)
    starts = task.queries.language_starts
    cells = {}
    for source, target in (
        ("de", "en-de"),
        ("en-de", "de"),
        ("sw", "en-sw"),
        ("en-sw", "sw"),
    ):
        rows, columns = (
            slice(*starts[task.languages.index(lang) :][:2]) for lang in (source, target)
        )
        scores = queries[rows] @ candidates[columns].T
        cells[source, target] = np.mean(scores.argmax(axis=1) == np.arange(len(scores)))
        assert results.grid["recall@1"][source][target] == pytest.approx(cells[source, target])
    assert results.metrics["cross"]["recall@1"] == pytest.approx(np.mean(list(cells.values())))
    to_english = [cells["de", "en-de"], cells["sw", "en-sw"]]
    assert results.metrics["from_first"]["recall@1"] == pytest.approx(np.mean(to_english))
    assert results.grid["recall@1"]["de"]["sw"] is None


@pytest.mark.parametrize("languages", [["swh"], ["sw"], ["SW_ke"], ["swa"], ["deu", "sw"]])
def test_languages_are_chosen_by_codes_in_any_spelling(folder, languages):
    task = load_task("bitext", folder, languages=languages)
    assert "sw" in task.languages
    assert ("de" in task.languages) == ("deu" in languages)


def test_names_of_pairs_with_scripts(tmp_path):
    """As FLORES and mteb name them."""
    for first in ("deu_Latn", "zho_Hans", "zho_Hant"):
        for side in (first, "eng_Latn"):
            write(tmp_path / f"flores.eng_Latn-{first}.{side}", f"{side} of {first}\n")
    sides = ("de", "eng_Latn-zho_Hans", "eng_Latn-zho_Hant", "zho_Hans", "zho_Hant")
    assert {*load_task("bitext", tmp_path).languages} == {*sides, "en"}
    assert load_task("bitext", tmp_path, languages=["de"]).languages == ("de", "en")
    assert load_task("bitext", tmp_path, languages=["zho_Hant"]).languages == ("en", "zh")
    assert len(load_task("bitext", tmp_path, languages=["zh"]).pairs) == 2


def test_pairs_that_would_be_called_alike_keep_their_codes():
    texts = (["a"], ["b"])
    pairs = dict.fromkeys([("kzj", "eng"), ("dtp", "eng"), ("deu", "eng")], texts)
    found = BitextTask("t", pairs).languages
    assert found == ("de", "dtp", "en", "eng-dtp", "eng-kzj", "kzj")


SOURCES = ["ja", "nein", "ja", "doch"]
TARGETS = ["yes", "no", "sure", "yes"]


class ByText:
    """Knows a translation of each sentence, a wrong one of "sure"."""

    def encode(self, texts):
        columns = {"ja": 0, "yes": 0, "nein": 1, "no": 1, "sure": 1, "doch": 0}
        return np.eye(2)[[columns[text] for text in texts]]


@pytest.mark.parametrize(
    ("match", "into_english", "from_english"),
    [
        # Of equal candidates the first line is best, for the third and the last sentence too.
        (None, [1, 1, 0, 0], [1, 1, 0, 0]),
        ("line", [1, 1, 0, 0], [1, 1, 0, 0]),
        # ja is yes or sure, doch is yes; yes is ja or doch; sure is no nein.
        ("text", [1, 1, 1, 1], [1, 1, 0, 1]),
    ],
)
def test_sentences_that_repeat_are_matched_by_line_or_by_text(match, into_english, from_english):
    pairs = {("de", "en"): (SOURCES, TARGETS)}
    task = BitextTask("t", pairs) if match is None else BitextTask("t", pairs, match)
    results = task.evaluate(ByText())
    found = results.per_query.scores["recall@1"]
    assert found[:4, 1].tolist() == into_english
    assert found[4:, 0].tolist() == from_english
    assert results.metrics["from_first"]["recall@1"] == np.mean(into_english)
    assert results.info.settings["match"] == (match or "line")
    assert results.counts.other["repeated"] == {"de": 1, "en": 1}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=8))
def test_by_text_a_sentence_is_right_if_it_translates_the_query_on_some_line(pairs):
    """Against the definition, with the scores of random embeddings; equal texts have equal ones."""
    rng = np.random.default_rng(len(pairs))
    vectors = {text: rng.normal(size=4) for text in "abcxyz"}
    sources, targets = (list(side) for side in zip(*pairs, strict=True))
    task = BitextTask("t", {("de", "en"): (sources, targets)}, "text")
    embeddings = np.array([vectors[text] for text in [*sources, *targets]])
    found = task.score(embeddings, embeddings).per_query.scores["recall@1"][: len(pairs), 1]
    for source, right in zip(sources, found, strict=True):
        best = max(set(targets), key=lambda target: vectors[source] @ vectors[target])
        assert right == ((source, best) in pairs)


def test_match_reaches_tasks_and_is_checked(folder):
    assert load_task("bitext", folder, match="text").match == "text"
    assert load_task("tatoeba", folder).settings["match"] == "line"
    for name in ("bitext", "tatoeba"):
        with pytest.raises(ValueError, match=r"match is 'lines'; .* did you mean 'line'"):
            load_task(name, folder, match="lines")
    with pytest.raises(ValueError, match="task 'builtin' has no match"):
        load_task("builtin", match="line")
    with pytest.raises(ValueError, match="has 1 and 2 lines; they are not aligned"):
        BitextTask("t", {("de", "en"): (["a"], ["b", "c"])})


def test_no_run(folder, tmp_path):
    with pytest.raises(ValueError, match="has no pool of all languages"):
        load_task("tatoeba", folder).evaluate(OneHot(), run=tmp_path / "run")


@pytest.mark.filterwarnings("default:this is not:UserWarning")
def test_published_sizes(folder):
    assert len(TATOEBA) == 112
    with pytest.warns(UserWarning, match="swh has 3 sentences, not 390") as caught:
        load_task("tatoeba", folder, languages=["swh"])
    assert caught[0].filename == __file__
    load_task("bitext", folder)  # of no published size


def test_bad_input(folder):
    with pytest.raises(
        FileNotFoundError, match=r"no pair of fra in data folder .* has deu, eng, swh"
    ):
        load_task("bitext", folder, languages=["fra"])
    write(folder / "tatoeba.deu-eng.eng", "a\n\nb\nc\nd\n")
    with pytest.raises(ValueError, match=r"tatoeba.deu-eng.eng:2: the line is empty"):
        load_task("bitext", folder)
    write(folder / "tatoeba.deu-eng.eng", "a\n")
    with pytest.raises(ValueError, match=r"has 5 lines and .*eng 1: they are not aligned"):
        load_task("bitext", folder)
    (folder / "tatoeba.deu-eng.eng").unlink()
    with pytest.raises(FileNotFoundError, match=r"tatoeba.deu-eng.eng is missing"):
        load_task("bitext", folder)
    write(folder / "new.eng-swh.eng", "a\n")
    with pytest.raises(ValueError, match=r"new.eng-swh and .*swh-eng are both of"):
        load_task("bitext", folder, languages=["swh"])
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no pair of files in data folder .* it has none"):
        load_task("bitext", folder)
