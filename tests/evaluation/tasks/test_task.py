"""A task orders its texts, and evaluates models of every kind."""

import json

import numpy as np
import pytest
import torch
from sample_tasks import LANGUAGES, one_hot, parallel_task
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.results import RunInfo
from hybrid_fast.retrieval import texts


def test_texts_are_sorted_by_language_and_keep_their_order():
    queries = [Query("2", "en", "b"), Query("1", "de", "a"), Query("1", "en", "c")]
    task = RetrievalTask("t", queries, [Candidate("x", "en", "p", ("1", "2", "1"))])
    assert list(task.queries) == ["a", "b", "c"]
    assert task.queries[1:] == ["b", "c"]
    assert task.queries.ids == ["1", "2", "1"]
    assert task.languages == ("de", "en")
    assert task.queries.language_codes.tolist() == [0, 1, 1]
    assert task.queries.language_starts.tolist() == [0, 1, 3]
    assert task.candidates.language_starts.tolist() == [0, 0, 1]
    assert task.relevants.rows.tolist() == [0, 0, 0]


def test_task_without_texts():
    with pytest.raises(ValueError, match="task 'empty' has 0 queries and 1 candidates"):
        RetrievalTask("empty", [], [Candidate("c", "de", "p")])
    with pytest.raises(ValueError, match="has 1 queries and 0 candidates"):
        RetrievalTask("empty", [Query("q", "de", "p")], [])


def test_language_called_all():
    with pytest.raises(ValueError, match="no language can be called 'all'"):
        RetrievalTask("t", [Query("q", "de", "p")], [Candidate("c", "all", "p")])


@pytest.mark.parametrize("in_memory_bytes", [0, 2**20])
def test_a_task_passes_through_its_candidates_once(monkeypatch, in_memory_bytes):
    """Relevants are found whatever the order in which languages arrive."""
    monkeypatch.setattr(texts, "ROWS_PER_BATCH", 7)
    monkeypatch.setattr(texts, "IN_MEMORY_BYTES", in_memory_bytes)
    languages = np.random.default_rng(0).choice(["de", "en", "th"], 40).tolist()
    queries = [Query(f"q{n}", lang, f"ข้อความ {n}") for n, lang in enumerate(languages)]
    passed = []

    def candidates():
        for number, query in enumerate(queries):
            passed.append(number)
            yield Candidate(f"c{number}", query.lang, query.text, (query.id,))

    task = RetrievalTask("t", queries, candidates())
    assert passed == list(range(40))
    assert [task.candidates[row] for row in task.relevants.rows] == list(task.queries)


class GroupModel:
    """Encodes the group named in a text, and notes how it was called."""

    def __init__(self, num_groups=12):
        self.num_groups = num_groups
        self.calls = []

    def encode_queries(self, texts, batch_size=None):
        return self._encode("query", texts, batch_size)

    def encode_passages(self, texts, batch_size=None):
        return self._encode("passage", texts, batch_size)

    def _encode(self, side, texts, batch_size):
        assert all(text.startswith(side) for text in texts)
        self.calls.append((side, len(texts), batch_size))
        return np.eye(self.num_groups, dtype=np.float32)[[int(t.split()[1][1:]) for t in texts]]


def test_evaluate_encodes_each_side_and_scores():
    task, model = parallel_task(), GroupModel()
    results = task.evaluate(model, batch_size=5, info=RunInfo(kind="cross", seed=1))
    assert results.metrics == task.score(*one_hot(task)).metrics
    assert model.calls == [("query", 48, 5), ("passage", 48, 5)]
    assert (results.info.model, results.info.kind, results.info.seed) == ("GroupModel", "cross", 1)
    assert task.evaluate(model, info=RunInfo("mine")).info.model == "mine"


def test_bi_encoder():
    task = parallel_task(num_groups=5)
    texts = [*task.queries, *task.candidates]
    model = BiEncoder.static(texts, dim=16, vocab_size=60, query_prompt="query ")
    results = task.evaluate(model)
    expected = task.score(
        model.encode_queries(list(task.queries)), model.encode_passages(list(task.candidates))
    )
    assert results.metrics == expected.metrics
    assert results.info.model == "static"
    assert results.info.settings == {
        "candidate_text": "passage",
        "max_length": None,
        "prompts": {"query": "query ", "passage": ""},
        "dtype": "float32",
        "similarity": "cosine",
    }


def sentence_transformer(texts):
    """A model whose embedding is the mean of one-hot words, with lengths that differ."""
    words = sorted({word for text in texts for word in text.split()})
    tokenizer = Tokenizer(WordLevel({word: row for row, word in enumerate(words)}, words[0]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    weights = np.diag(np.linspace(1, 3, len(words), dtype=np.float32))
    modules = [StaticEmbedding(tokenizer, embedding_weights=weights)]
    prompts = {"query": "query ", "document": "passage "}
    return SentenceTransformer(modules=modules, prompts=prompts, device="cpu")


def test_sentence_transformer_with_its_prompts_and_cosine():
    task = parallel_task(num_groups=5)
    model = sentence_transformer([*task.queries, *task.candidates])
    results = task.evaluate(model, batch_size=7)
    similarity = model.similarity(
        model.encode_query(list(task.queries)), model.encode_document(list(task.candidates))
    )
    order = similarity.argsort(dim=1, descending=True, stable=True)
    own = torch.from_numpy(task.relevants.rows).reshape(len(task.queries), -1)
    hits = [
        len(set(top[:10]) & set(some))
        for top, some in zip(order.tolist(), own.tolist(), strict=True)
    ]
    assert results.metrics["multi"]["recall@10"] == pytest.approx(np.mean(hits) / len(LANGUAGES))
    assert results.info.settings == {
        "candidate_text": "passage",
        "max_length": None,
        "prompts": {"query": "query ", "document": "passage "},
        "dtype": "float32",
        "similarity": "cosine",
        "encoded_by": {"queries": "encode_query", "passages": "encode_document"},
    }
    assert json.dumps(results.to_dict(), allow_nan=False)
