"""All figures of a task equal an independent slow evaluation, ties included; bad input is named."""

import json
import math
import statistics
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from hybrid_fast.evaluation.metrics import METRICS
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.results import RunInfo

LANGUAGES = ("ar", "de", "en", "zh")


def random_task(seed, num_groups=30, presence=0.7):
    """Unsorted queries and candidates; groups lack languages, candidates answer 0 to 3 queries."""
    rng = np.random.default_rng(seed)
    groups = [f"g{number}" for number in range(num_groups)]
    asked = [(group, x) for group in groups for x in LANGUAGES if rng.random() < presence]
    queries = [Query(*asked[row], "text") for row in rng.permutation(len(asked))]
    candidates = [
        Candidate(f"c{number}", str(rng.choice(LANGUAGES)), "text", tuple(answered))
        for number in range(3 * num_groups)
        for answered in [rng.choice(groups, rng.integers(0, 4), replace=False).tolist()]
    ]
    return queries, candidates


def slow_figures(queries, candidates, scores):
    """Everything from the definitions, one query and one pool at a time, in plain Python."""
    queries = sorted(queries, key=lambda query: query.lang)
    candidates = sorted(candidates, key=lambda candidate: candidate.lang)
    names = ("map", "map@20", "ndcg@10", "mrr@10", "recall@1", "recall@10")
    cells, distances, dropped = {}, {}, {}
    for i, query in enumerate(queries):
        for pool in (*LANGUAGES, "all"):
            rows = [j for j, c in enumerate(candidates) if pool in (c.lang, "all")]
            order = sorted(rows, key=lambda j: (-scores[i][j], j))
            ranks = [n for n, j in enumerate(order, 1) if query.id in candidates[j].query_ids]
            if not ranks:
                dropped[query.lang, pool] = dropped.get((query.lang, pool), 0) + 1
                continue
            gains = [found / rank for found, rank in enumerate(ranks, 1)]
            early = [gain for gain, rank in zip(gains, ranks, strict=True) if rank <= 20]
            figures = (
                sum(gains) / len(ranks),
                sum(early) / min(len(ranks), 20),
                sum(1 / math.log2(rank + 1) for rank in ranks if rank <= 10)
                / sum(1 / math.log2(n + 1) for n in range(1, min(len(ranks), 10) + 1)),
                1 / ranks[0] if ranks[0] <= 10 else 0,
                sum(rank <= 1 for rank in ranks) / len(ranks),
                sum(rank <= 10 for rank in ranks) / len(ranks),
            )
            for name, figure in zip(names, figures, strict=True):
                cells.setdefault((name, query.lang, pool), []).append(figure)
            if pool == "all" and len(ranks) > 1:
                distances.setdefault(query.lang, []).append(ranks[-1] - ranks[0])

    grid = {cell: statistics.fmean(figures) for cell, figures in cells.items()}
    settings_of = {
        "mono": lambda x, pool: x == pool,
        "cross": lambda x, pool: pool not in (x, "all"),
        "multi": lambda x, pool: pool == "all",
    }
    metrics = {
        setting: {
            name: statistics.fmean(
                f for (n, x, y), f in grid.items() if n == name and belongs(x, y)
            )
            for name in names
        }
        for setting, belongs in settings_of.items()
    }
    means = {language: statistics.fmean(some) for language, some in distances.items()}
    medians = [statistics.median(some) for some in distances.values()]
    bias = {
        "rank_distance": statistics.fmean(means.values()),
        "rank_distance_median": statistics.fmean(medians),
        "rank_distance_normalised": statistics.fmean(means.values()) / len(candidates),
        "by_language": means,
    }
    return metrics, grid, bias, dropped


def approx(figures):
    return {name: pytest.approx(figure, abs=1e-12, rel=0) for name, figure in figures.items()}


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), levels=st.integers(1, 3), dim=st.integers(1, 4))
def test_equals_slow_evaluation(seed, levels, dim):
    queries, candidates = random_task(seed)
    task = RetrievalTask("random", queries, candidates)
    rng = np.random.default_rng(seed)
    q = rng.integers(-levels, levels + 1, (len(queries), dim)) / 4
    c = rng.integers(-levels, levels + 1, (len(candidates), dim)) / 4
    results = task.score(q, c).to_dict()
    metrics, grid, bias, dropped = slow_figures(queries, candidates, (q @ c.T).tolist())

    assert results["metrics"] == {setting: approx(figures) for setting, figures in metrics.items()}
    by_language = approx(bias.pop("by_language"))
    assert results["language_bias"]["by_language"] == by_language
    assert {name: results["language_bias"][name] for name in bias} == approx(bias)
    for name in ("map", "recall@1"):
        for x in LANGUAGES:
            for y in (*LANGUAGES, "all"):
                expected = grid.get((name, x, y))
                assert results["grid"][name][x][y] == pytest.approx(expected, abs=1e-12, rel=0)
    for x in LANGUAGES:
        for y in LANGUAGES:
            assert results["counts"]["dropped"][x][y] == dropped.get((x, y), 0)


def parallel_task(num_groups=12, languages=LANGUAGES):
    ids = [f"g{number}" for number in range(num_groups)]
    queries = [Query(g, x, f"query {g} {x}") for x in languages for g in ids]
    candidates = [
        Candidate(f"{x}-{g}", x, f"passage {g} {x}", (g,)) for x in languages for g in ids
    ]
    return RetrievalTask("parallel", queries, candidates, {"candidate_text": "passage"})


def one_hot(task):
    """Embeddings that know the group and nothing of the language."""
    groups = {name: column for column, name in enumerate(dict.fromkeys(task.queries.ids))}
    queries = np.eye(len(groups))[[groups[name] for name in task.queries.ids]]
    candidates = np.eye(len(groups))[[groups[name.split("-")[1]] for name in task.candidates.ids]]
    return queries, candidates


def test_perfect_embeddings():
    task = parallel_task()
    results = task.score(*one_hot(task))
    for setting in ("mono", "cross"):
        assert results.metrics[setting] == dict.fromkeys(METRICS, 1)
    assert results.metrics["multi"] == {**dict.fromkeys(METRICS, 1), "recall@1": 0.25}
    assert results.language_bias.rank_distance.mean == len(LANGUAGES) - 1
    assert results.language_bias.rank_distance.normalised == 3 / 48
    assert results.counts.dropped == {x: dict.fromkeys(LANGUAGES, 0) for x in LANGUAGES}


def test_worst_embeddings_rank_last():
    task = parallel_task()
    queries, candidates = one_hot(task)
    results = task.score(-queries, candidates)
    assert results.grid["map"]["ar"]["de"] == 1 / 12
    assert results.metrics["multi"]["recall@10"] == 0
    assert results.language_bias.rank_distance.mean == len(LANGUAGES) - 1


def test_language_bias_of_embeddings_that_see_only_the_language():
    """All candidates of the query's language come first, in order of position."""
    task = parallel_task(num_groups=2, languages=("de", "en"))
    by_language = np.repeat(np.eye(2), 2, axis=0)
    results = task.score(by_language, by_language)
    assert results.language_bias.rank_distance.by_language == {"de": 2.0, "en": 2.0}
    # Query 1: ranks 1 and 3 of the pool; query 2: ranks 2 and 4.
    expected = {"de": 0.75, "en": 0.75, "all": ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2) / 2}
    assert results.grid["map"]["de"] == approx(expected)


def test_shape_of_results():
    task = parallel_task(languages=("de", "en"))
    results = task.score(*one_hot(task), info=RunInfo("m", "hybrid", 3)).to_dict()
    assert list(results) == [
        "task",
        "model",
        "kind",
        "seed",
        "versions",
        "settings",
        "metrics",
        "grid",
        "language_bias",
        "counts",
    ]
    assert [results[key] for key in ("task", "model", "kind", "seed")] == [
        "parallel",
        "m",
        "hybrid",
        3,
    ]
    assert results["settings"] == {
        "candidate_text": "passage",
        "max_length": None,
        "prompts": None,
        "dtype": "float64",
    }
    assert list(results["grid"]) == ["map", "recall@1"]
    assert list(results["grid"]["map"]["de"]) == ["de", "en", "all"]
    assert results["counts"] == {
        "queries": {"de": 12, "en": 12},
        "candidates": {"de": 12, "en": 12},
        "pool": 24,
        "dropped": {"de": {"de": 0, "en": 0}, "en": {"de": 0, "en": 0}},
        "without_relevants": {"de": 0, "en": 0},
    }
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert results["versions"]["numpy"] == np.__version__


def test_language_with_queries_or_candidates_only():
    task = RetrievalTask("lopsided", [Query("g", "de", "q")], [Candidate("c", "en", "p", ("g",))])
    results = task.score(np.ones((1, 2)), np.ones((1, 2)))
    assert results.grid["map"] == {"de": {"de": None, "en": 1.0, "all": 1.0}}
    assert results.metrics["mono"]["map"] is None
    assert results.flat() == {
        **{f"{setting}_{name}": 1.0 for setting in ("cross", "multi") for name in METRICS}
    }
    assert results.counts.queries == {"de": 1}
    assert results.counts.dropped == {"de": {"de": 1, "en": 0}}
    assert results.language_bias.rank_distance.by_language == {"de": None}


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


@pytest.mark.parametrize(
    "convert",
    [
        lambda e: e.astype(np.float16),
        np.asfortranarray,
        torch.from_numpy,
        lambda e: torch.from_numpy(e).to(torch.bfloat16).requires_grad_(),
        lambda e: torch.from_numpy(e).T.contiguous().T,
    ],
    ids=["float16", "fortran", "torch", "bfloat16", "strided"],
)
def test_any_float_array_or_tensor(convert):
    task = parallel_task()
    queries, candidates = one_hot(task)
    results = task.score(convert(queries), convert(candidates))
    assert results.metrics == task.score(queries, candidates).metrics


def test_dtype_of_tensors_is_recorded():
    task = parallel_task()
    queries, candidates = (torch.from_numpy(e).to(torch.bfloat16) for e in one_hot(task))
    assert task.score(queries, candidates).info.settings["dtype"] == "bfloat16"


def spoil(matrix, row, value):
    spoiled = matrix.copy()
    spoiled[row, 0] = value
    return spoiled


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_first_bad_row_is_named_with_its_language(value):
    task = parallel_task()
    queries, candidates = one_hot(task)
    message = r"candidate_embeddings: row 13 \(language de\) holds NaN or infinity, as do 0 other"
    with pytest.raises(ValueError, match=message):
        task.score(queries, spoil(candidates, 13, value))
    with pytest.raises(ValueError, match=r"query_embeddings: row 0 \(language ar\) .* 1 other"):
        task.score(spoil(spoil(queries, 40, value), 0, value), candidates)


def test_wrong_shapes_and_types():
    task = parallel_task()
    queries, candidates = one_hot(task)
    with pytest.raises(ValueError, match=r"query_embeddings has 47 rows; task 'parallel' needs 48"):
        task.score(queries[:-1], candidates)
    with pytest.raises(ValueError, match=r"candidate_embeddings has 49 rows.*task\.candidates"):
        task.score(queries, np.vstack([candidates, candidates[:1]]))
    with pytest.raises(
        ValueError, match="query_embeddings have dim 11, candidate_embeddings dim 12"
    ):
        task.score(queries[:, 1:], candidates)
    with pytest.raises(ValueError, match=r"query_embeddings: got shape \(48,\)"):
        task.score(queries[:, 0], candidates)
    with pytest.raises(ValueError, match=r"query_embeddings: got shape \(48, 0\)"):
        task.score(queries[:, :0], candidates)
    with pytest.raises(TypeError, match="candidate_embeddings: got dtype int64"):
        task.score(queries, candidates.astype(np.int64))
    with pytest.raises(TypeError, match=r"got dtype int64"):
        task.score(torch.from_numpy(queries).long(), candidates)
    with pytest.raises(TypeError, match="query_embeddings: got a list; give a numpy array"):
        task.score(queries.tolist(), candidates)


def judged_task(qrels, **options):
    queries = [Query("1", "de", "a"), Query("1", "en", "b"), Query("2", "en", "c")]
    candidates = [Candidate(c, "de" if c in "xy" else "en", c) for c in "wxyz"]
    return RetrievalTask("judged", queries, candidates, qrels=qrels, **options)


def test_graded_judgements_serve_every_translation_of_a_query():
    task = judged_task({"1": {"z": 1, "x": 3, "w": 0}, "2": {"y": -1}}, more_metrics=["ndcg@2"])
    ids = task.candidates.ids
    assert ids == ["x", "y", "w", "z"]
    assert [ids[row] for row in task.relevants.rows] == ["x", "z", "x", "z"]
    assert task.relevants.grades.tolist() == [3, 1, 3, 1]
    # Order z, y, x, w for every query.
    results = task.score(np.ones((3, 1)), np.array([[2.0], [3.0], [1.0], [4.0]]))
    best = 3 + 1 / math.log2(3)
    assert results.metrics["multi"]["ndcg@2"] == pytest.approx(1 / best)
    assert results.metrics["multi"]["ndcg@10"] == pytest.approx((1 + 3 / math.log2(4)) / best)
    assert results.counts.dropped["en"] == {"de": 1, "en": 1}


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ({"3": {"x": 1}, "1": {"x": 1}}, "qrels name 1 queries that the task lacks: '3'"),
        ({"1": dict.fromkeys("abcdx", 0)}, "qrels name 4 candidates .* 'a', 'b', 'c' ..."),
    ],
)
def test_judgements_of_unknown_ids(qrels, message):
    with pytest.raises(ValueError, match=message):
        judged_task(qrels)


def test_judgements_need_ids_that_are_unique():
    candidates = [Candidate("x", "de", "p"), Candidate("x", "en", "p")]
    with pytest.raises(ValueError, match="candidate id 'x' occurs more than once"):
        RetrievalTask("t", [Query("1", "de", "a")], candidates, qrels={})


def test_task_without_texts():
    with pytest.raises(ValueError, match="task 'empty' has 0 queries and 1 candidates"):
        RetrievalTask("empty", [], [Candidate("c", "de", "p")])
    with pytest.raises(ValueError, match="has 1 queries and 0 candidates"):
        RetrievalTask("empty", [Query("q", "de", "p")], [])


def test_language_called_all():
    with pytest.raises(ValueError, match="'all' is no language"):
        RetrievalTask("t", [Query("q", "de", "p")], [Candidate("c", "all", "p")])


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
        "similarity": "dot",
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
    }
    assert json.dumps(results.to_dict(), allow_nan=False)


def test_rank_distance_is_the_largest_over_pairs():
    queries, candidates = random_task(5)
    task = RetrievalTask("random", queries, candidates)
    rng = np.random.default_rng(5)
    q, c = (rng.standard_normal((n, 3)) for n in (len(queries), len(candidates)))
    scores = q.astype(np.float32) @ c.astype(np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1)
    largest = {language: [] for language in LANGUAGES}
    for i, code in enumerate(task.queries.language_codes):
        rows = task.relevants.rows[task.relevants.offsets[i] : task.relevants.offsets[i + 1]]
        pairs = [abs(int(ranks[i, a]) - int(ranks[i, b])) for a, b in combinations(rows, 2)]
        if pairs:
            largest[task.languages[code]].append(max(pairs))
    expected = {language: pytest.approx(np.mean(some)) for language, some in largest.items()}
    assert task.score(q, c).language_bias.rank_distance.by_language == expected


def test_queries_that_nothing_answers_are_reported(caplog):
    queries = [Query("1", "de", "a"), Query("2", "de", "b"), Query("1", "en", "c")]
    candidates = [Candidate("x", "en", "d"), Candidate("y", "en", "e")]
    task = RetrievalTask("judged", queries, candidates, qrels={"1": {"x": 1}, "2": {"x": 0}})
    assert caplog.messages == [
        "task 'judged': queries without a relevant candidate are left out: de 1 of 2"
    ]
    results = task.score(np.ones((3, 2)), np.ones((2, 2)))
    assert results.counts.other["without_relevants"] == {"de": 1, "en": 0}
    assert results.counts.dropped == {"de": {"de": 2, "en": 1}, "en": {"de": 1, "en": 0}}
