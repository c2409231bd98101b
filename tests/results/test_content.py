"""`Results.from_dict` is the inverse of `to_dict`, keeps unknown keys, and names errors."""

import copy
import json

import numpy as np
import pytest
from run_contents import make_content, make_run

from hybrid_fast.evaluation import Candidate, Query, RetrievalTask
from hybrid_fast.results import BiasScore, RankingBias, Results, RunInfo


def score_randomly(queries, candidates):
    task = RetrievalTask("builtin", queries, candidates, {"candidate_text": "sentence"})
    rng = np.random.default_rng(0)
    embeddings = [
        rng.normal(size=(len(texts), 4)).astype(np.float32)
        for texts in (task.queries, task.candidates)
    ]
    return task.score(*embeddings, info=RunInfo("/x/model", "hybrid", 3))


def translated():
    """Results of questions in two languages; none in English has an answer in English."""
    queries = [Query(f"q{n}", lang, "q") for lang in ("de", "en") for n in range(6)]
    candidates = [
        Candidate(f"{lang}{n}", lang, "c", (f"q{n}",) if n else ())
        for lang in ("de", "th")
        for n in range(30)
    ]
    return score_randomly(queries, candidates)


def monolingual():
    """Results without rank distance, preference and correlations: there is nothing to average."""
    return score_randomly([Query("q", "de", "q")], [Candidate("c", "de", "c", ("q",))])


@pytest.mark.parametrize("evaluate", [translated, monolingual])
def test_results_of_an_evaluation_come_back_as_they_were(tmp_path, evaluate):
    results = evaluate()
    content = json.loads(results.save(tmp_path).read_text(encoding="utf-8"))
    loaded = Results.from_dict(content)
    assert loaded.to_dict() == content == results.to_dict()
    assert json.dumps(loaded.to_dict()) == json.dumps(results.to_dict())
    for name in ("task", "info", "versions", "metrics", "grid", "language_bias", "counts"):
        assert getattr(loaded, name) == getattr(results, name)
    assert loaded.flat() == results.flat()
    # Nothing of it is unknown but what this task counts.
    assert list(loaded.counts.other) == ["without_relevants"]
    assert loaded.other == loaded.language_bias.other == {}
    assert loaded.language_bias.rankings.mrc.counts.keys() == {"pairs", "undefined"}
    assert "chance" in content["language_bias"]["query_language_preference"]
    assert "rank_distance_median" in content["language_bias"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"kind": None, "seed": None, "model": None, "versions": {}, "settings": {}},
        {"date": "2026-03-01", "note": {"of": ["a", "caller"]}},
        {"counts": {**make_content()["counts"], "segments": 9, "left_out": {"de": 1}}},
        {"language_bias": {**make_content()["language_bias"], "of another version": {"x": [1]}}},
        {"language_bias": {**make_content()["language_bias"], "pool_share": {"de": 0.25}}},
        {"grid": {"ndcg@10": {"de": {"de": 1}}, "map": {}}},
        {"metrics": {**make_content()["metrics"], "official": {"r@2kt": None}}},
    ],
)
def test_content_made_by_hand_comes_back_as_it_was(change):
    content = make_content(**change)
    before = copy.deepcopy(content)
    written = Results.from_dict(content).to_dict()
    assert written == before
    written["counts"]["queries"]["de"] = written["settings"]["new"] = 1
    assert content == before


def test_all_of_language_bias_has_attributes():
    score = {"figure": 0.5, "by_language": {"de": -0.5}, "queries": 4, "left_out": 1}
    rankings = {
        "pool_share": {"de": 0.25, "th": 0.75},
        "language_share@20": {"de": {"de": 0.9, "th": None}},
        "language_share_gap@20": 0.0,
        "query_language_preference": {**score, "chance": 0.125},
        "mrc": {"figure": None, "by_language": {}, "pairs": 0, "undefined": 5},
        "mrc@20": score,
        "peer@20": {"non-relevant": score},
    }
    bias = {**make_content()["language_bias"], **rankings}
    run = make_run(language_bias=bias)
    expected = BiasScore(0.5, {"de": -0.5}, {"queries": 4, "left_out": 1})
    assert run.language_bias.rankings == RankingBias(
        pool_share={"de": 0.25, "th": 0.75},
        language_share={"de": {"de": 0.9, "th": None}},
        language_share_gap=0.0,
        query_language_preference=expected,
        chance=0.125,
        mrc=BiasScore(counts={"pairs": 0, "undefined": 5}),
        mrc_20=expected,
        peer={"non-relevant": expected},
    )
    assert run.to_dict()["language_bias"] == bias
    assert list(run.to_dict()["language_bias"]) == list(bias)


@pytest.mark.parametrize(
    "nothing",
    [
        {"metrics": None},
        {"metrics": {"mono": None, "cross": None, "multi": None}},
        {"grid": None},
        {"grid": {"map": None}},
        {"grid": {"map": {"de": None}}},
        {"language_bias": None},
        {"language_bias": {"rank_distance": None, "by_language": None, "mrc": None}},
        {"counts": None},
        {"counts": {"queries": None, "candidates": None, "pool": None, "dropped": {"de": None}}},
        {"versions": None, "settings": None},
    ],
)
def test_null_in_place_of_an_object_is_one_without_scores(nothing):
    run = make_run(**nothing)
    again = Results.from_dict(run.to_dict())
    assert again == run
    for key in nothing:
        assert again.to_dict()[key] is not None
    if "metrics" in nothing:
        assert run.flat() == {"rank_distance": 12.5}
        assert run.metrics["mono"] == dict.fromkeys(("map", "recall@1", "recall@10"))


def drop(content, path):
    *above, last = path
    for key in above:
        content = content[key]
    del content[last]


@pytest.mark.parametrize(
    "path",
    [
        *[(key,) for key in make_content()],
        *[("metrics", s, m) for s in ("mono", "cross", "multi") for m in ("map", "recall@10")],
        ("grid", "map"),
        ("language_bias", "rank_distance"),
        ("language_bias", "by_language"),
        *[("counts", key) for key in make_content()["counts"]],
    ],
)
def test_a_missing_key_is_named(path):
    content = copy.deepcopy(make_content(grid={"recall@1": {}, **make_content()["grid"]}))
    drop(content, path)
    with pytest.raises(ValueError, match=rf"^run 7 has no '{'.'.join(path)}[.'].* null where"):
        Results.from_dict(content, "run 7")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": None}, '"task" is None; it must be text'),
        ({"model": ["m"]}, r"\"model\" is \['m'\]; it must be text or null"),
        ({"kind": 1}, '"kind" is 1; it must be text or null'),
        ({"metrics": [1]}, r'"metrics" is \[1\]; it must be an object or null'),
        ({"grid": {"map": {"a\nb": {"de": 2}}}}, r'"grid.map.a.b.de" is 2; it must be a finite'),
        ({"versions": "1"}, "\"versions\" is '1'; it must be an object or null"),
    ],
)
def test_a_wrong_value_is_named(change, message):
    with pytest.raises(ValueError, match=f"^the run: {message}"):
        make_run(**change)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({"rank_distance_median": -1}, '"language_bias.rank_distance_median" is -1'),
        ({"language_share_gap@20": 1.5}, '"language_bias.language_share_gap@20" is 1.5; .* -1 to'),
        ({"mrc": 0.5}, '"language_bias.mrc" is 0.5; it must be an object or null'),
        ({"mrc@20": {"figure": -2}}, '"language_bias.mrc@20.figure" is -2; .* from -1 to 1'),
        ({"query_language_preference": {"chance": "1"}}, r"preference.chance\" is '1'"),
        ({"peer@20": {"grade 1": {"by_language": {"de": 2}}}}, "grade 1.by_language.de"),
        ({"pool_share": {"de": -0.5}}, '"language_bias.pool_share.de" is -0.5; .* from 0 to 1'),
    ],
)
def test_a_wrong_score_of_bias_is_named(bias, message):
    with pytest.raises(ValueError, match=message):
        make_run(language_bias={**make_content()["language_bias"], **bias})
