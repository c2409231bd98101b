"""A retriever finds what plain products, fusion and reranking find, by id, language and text."""

import numpy as np
import pytest
from memory_store import MemoryStore
from passages import PASSAGES, QUERIES, TEXTS

import hybrid_fast
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.evaluation.trec_run import evaluate_run
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval import Hit, Retriever, retriever
from hybrid_fast.retrieval.stores import addresses
from hybrid_fast.retrieval.vector_info import VectorInfo


def exact(model, queries, passages=PASSAGES):
    """Rank all passages by their cosines, plainly: ids and scores of each query."""
    left = model.encode_queries(queries)
    right = model.encode_passages([each.text for each in passages])
    scores = left @ right.T / np.outer(*(np.linalg.norm(each, axis=1) for each in (left, right)))
    orders = np.argsort(-scores, axis=1, kind="stable")
    ids = [[passages[row].id for row in order] for order in orders]
    return ids, np.take_along_axis(scores, orders, axis=1)


def check_ranking(hits, ids, scores):
    """Equal scores may stand in any order."""
    np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-5, atol=1e-6)
    by_id = dict(zip(ids, scores, strict=True))
    assert len({hit.id for hit in hits}) == len(hits)
    for hit in hits:
        assert hit.score == pytest.approx(by_id[hit.id], rel=1e-5, abs=1e-6)


def test_finds_the_most_similar_with_language_and_text(model, found):
    ids, scores = exact(model, QUERIES)
    for k in (1, 4, 60, 61, 1000):  # there are 60
        for row, hits in enumerate(found.search(QUERIES, k)):
            assert len(hits) == min(k, 60)
            known = dict(zip(ids[row], scores[row], strict=True))
            np.testing.assert_allclose([hit.score for hit in hits], scores[row][:k], atol=1e-6)
            for hit in hits:
                assert known[hit.id] == pytest.approx(hit.score, abs=1e-6)
                assert CorpusText(hit.id, hit.language, hit.text) in PASSAGES
    assert hybrid_fast.Retriever is Retriever


def test_one_text_gives_its_hits_and_a_list_of_one_a_list(found):
    hits = found.search(QUERIES[0], 3)
    assert all(isinstance(hit, Hit) for hit in hits)
    assert found.search([QUERIES[0]], 3) == [hits]
    assert found.search([], 3) == []
    assert len(found.search(QUERIES[0])) == 10


def test_parts_of_any_size_find_the_same(found, monkeypatch):
    whole = found.search(QUERIES, 5)
    for texts, hits in ((3, 10), (1, 1), (7, 15)):
        monkeypatch.setattr(retriever, "TEXTS_PER_PART", texts)
        monkeypatch.setattr(retriever, "HITS_PER_PART", hits)
        parts = found.search(QUERIES, 5)
        for some, others in zip(whole, parts, strict=True):
            check_ranking(others, [h.id for h in some], [h.score for h in some])


def test_queries_are_read_as_hits_are_taken(found, monkeypatch):
    monkeypatch.setattr(retriever, "TEXTS_PER_PART", 2)
    read = []
    hits = found.search_each((read.append(query) or query for query in QUERIES), 2)
    assert not read
    next(hits)
    assert len(read) == 2
    assert len(list(hits)) == 6
    without = found.search_each(QUERIES, 2, with_texts=False)
    assert {hit.text for some in without for hit in some} == {None}


@pytest.mark.parametrize(
    ("languages", "kept"),
    [
        ("de", {"de"}),
        (["deu", "EN"], {"de", "en"}),
        ({"zh"}, {"zh-Hant"}),
        (("zho_Hant",), {"zh-Hant"}),
        (["de", "de-DE", "zh"], {"de", "zh-Hant"}),
    ],
)
def test_languages_in_any_spelling(model, found, languages, kept):
    passages = [each for each in PASSAGES if each.language in kept]
    ids, scores = exact(model, QUERIES, passages)
    for row, hits in enumerate(found.search(QUERIES, 99, languages)):
        assert {hit.language for hit in hits} == kept
        check_ranking(hits, ids[row], scores[row])


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ("fr", r"'fr'.*de"),
        (["de", "fra"], r"'fr'.*de"),
        ("germn", "unknown language 'germn'; did you mean 'de'"),
        ([], "languages is empty; name at least one"),
    ],
)
def test_languages_that_are_not_there(found, languages, message):
    with pytest.raises(ValueError, match=message):
        found.search(QUERIES, 3, languages)


@pytest.mark.parametrize(
    ("queries", "k", "error", "message"),
    [
        (["a", " "], 1, ValueError, "query 1 is empty"),
        ("", 1, ValueError, "query 0 is empty"),
        (["a", 5], 1, TypeError, "query 1 is a int; it must be text"),
        ([None], 1, TypeError, "query 0 is a NoneType"),
        (["a\ud83d"], 1, ValueError, "query 0 is no valid Unicode"),
        (["a"], 0, ValueError, "k is 0; it must be at least 1"),
        (["a"], 2.5, TypeError, "k is 2.5; a whole number from 1 is needed"),
    ],
)
def test_searches_that_cannot_be(found, queries, k, error, message):
    with pytest.raises(error, match=message):
        found.search(queries, k)


def test_another_model_is_refused_and_the_store_closed_again(model, found, monkeypatch):
    other = BiEncoder.static(QUERIES, 16, 100)
    with pytest.raises(ValueError, match=r"memory: holds vectors of .* is another model"):
        Retriever(other, found.store)
    closed = []
    monkeypatch.setattr(found.store, "close", lambda: closed.append(1))
    monkeypatch.setattr(retriever, "open_store", {"faiss:x": found.store}.__getitem__)
    with pytest.raises(ValueError, match="another model"):
        Retriever(other, "faiss:x")
    assert len(closed) == 1
    with Retriever(model, "faiss:x") as opened:
        assert opened.search(QUERIES, 2) == found.search(QUERIES, 2)
    assert len(closed) == 2
    found.close()  # not its own
    assert len(closed) == 2


def test_another_prompt_of_queries_is_said(model, found, caplog):
    prompted = BiEncoder(model.backbone, query_prompt="query: ")
    store = MemoryStore(VectorInfo.of(prompted))
    Retriever(prompted, store)
    Retriever(prompted, found.store)
    assert not caplog.records
    Retriever(model, store)
    (record,) = caplog.records
    assert "memory: was made by a model that puts 'query: ' before queries" in record.getMessage()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"texts": ["a"]}, TypeError, "texts is a list; give a mapping"),
        ({"sparse": "bm25"}, TypeError, "sparse is a str; give an object with search"),
        ({"reranker": "cross-encoder"}, TypeError, "reranker is 'cross-encoder'"),
        ({"fusion": "rff"}, ValueError, "did you mean 'rrf'"),
        ({"fusion_depth": 0}, ValueError, "fusion_depth is 0"),
        ({"rerank_depth": 0}, ValueError, "rerank_depth is 0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
    ],
)
def test_retrievers_that_cannot_be(model, store, given, error, message):
    with pytest.raises(error, match=message):
        Retriever(model, store, **given)
    with pytest.raises(TypeError, match="load it first"):
        Retriever("model", store)
    with pytest.raises(ValueError, match="is no address of a store"):
        Retriever(model, "fais:x")
    with pytest.raises(TypeError, match="store is a list; give a store or its address"):
        Retriever(model, [])
    assert addresses.store_kinds()


def test_texts_of_a_source_go_before_those_of_the_store(model, found):
    class Source:
        def texts(self, ids):
            return [f"text of {each}" if each < "p3" else None for each in ids]

    assert {hit.text for hit in found.search(QUERIES[0], 60)} == set(TEXTS.values())
    for source in (Source(), {each: f"text of {each}" for each in TEXTS if each < "p3"}):
        hits = Retriever(model, found.store, texts=source).search(QUERIES[0], 60)
        for hit in hits:
            assert hit.text == (f"text of {hit.id}" if hit.id < "p3" else TEXTS[hit.id])


def test_added_passages_replace_and_deleted_ones_are_gone(model, found, monkeypatch):
    commits = []
    monkeypatch.setattr(found.store, "commit", lambda: commits.append(1))
    monkeypatch.setattr(retriever, "TEXTS_PER_PART", 2)
    changed = [("p0", "fra", QUERIES[0]), ("new", "en", QUERIES[1]), ("p2", "zh-Hant", "moon")]
    assert found.add(iter(changed)) == 3
    assert found.store.count() == 61
    assert found.store.languages() == {"de": 19, "en": 21, "zh-Hant": 20, "fr": 1}
    assert found.search(QUERIES[0], 1, "fr") == [Hit("p0", pytest.approx(1), "fr", QUERIES[0])]
    assert found.delete("p0") == 1
    with pytest.raises(TypeError, match="an id to delete is missing"):
        found.delete([None])
    assert found.delete(["new", "p1", "p0", "p1"]) == 2
    assert {"p0", "new", "p1"}.isdisjoint(hit.id for hit in found.search(QUERIES[0], 99))
    assert len(commits) == 3
    found.add([("bare", "en", QUERIES[0])], keep_texts=False)
    assert found.search(QUERIES[0], 1)[0][2:] == ("en", None)


@pytest.mark.parametrize(
    ("passages", "error", "message"),
    [
        ([("a", "en", "x"), ("a", "en", "y")], ValueError, "the id 'a' is given twice"),
        ([("", "en", "x")], ValueError, "the id '' is empty"),
        ([(None, "en", "x")], TypeError, "the id of a passage is missing"),
        ([("a", "en", " ")], ValueError, "the text of 'a' is empty"),
        ([("a", "en", None)], TypeError, "the text of 'a' is a NoneType"),
        ([("a", "germn", "x")], ValueError, "unknown language 'germn'"),
        ([("a", "en")], TypeError, "a passage is .*; give its id, language and text"),
        (["abcd"], TypeError, "a passage is 'abcd'"),
    ],
)
def test_passages_that_cannot_be_added(model, store, passages, error, message):
    made = Retriever(model, store)
    with pytest.raises(error, match=message):
        made.add(passages)
    assert store.count() == 0
    assert made.add([]) == 0
    assert made.search(["cat"]) == [[]]


def test_runs(found, tmp_path):
    queries = {f"q{number}": text for number, text in enumerate(QUERIES)}
    run = found.run(queries, 6, ["de", "en"])
    path = tmp_path / "run.trec.gz"
    found.write_run(path, queries, 6, ["de", "en"], tag="my model")
    assert read_run(path).keys() == run.keys() == queries.keys()
    for (name, hits), text in zip(read_run(path).items(), QUERIES, strict=True):
        assert list(hits) == list(run[name])
        assert list(hits.values()) == pytest.approx(list(run[name].values()))
        assert [hit.id for hit in found.search(text, 6, ["de", "en"])] == list(hits)
        assert len({*run[name].values()}) == 6
    qrels = {name: {next(iter(hits)): 1} for name, hits in run.items()}
    assert evaluate_run(path, qrels, ["mrr@10"]).metrics["mrr@10"] == 1
    assert found.run({}, 3) == {}


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        ({"q 1": "cat"}, ValueError, "id 'q 1' is empty or contains white space"),
        ({"q1": ""}, ValueError, "query 'q1' is empty"),
        ({"1": "cat", 1: "dog"}, ValueError, "an id twice"),
        (["cat"], TypeError, "queries is a list; give a mapping"),
    ],
)
def test_runs_that_cannot_be(found, tmp_path, queries, error, message):
    with pytest.raises(error, match=message):
        found.write_run(tmp_path / "run.trec", queries)
    found.add([("p 0", "de", "cat")])
    with pytest.raises(ValueError, match="id 'p 0' is empty or contains"):
        found.write_run(tmp_path / "run.trec", {"q": "cat"})
    assert not list(tmp_path.iterdir())
